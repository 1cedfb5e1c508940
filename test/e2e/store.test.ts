/** The commands that look after the store on disk, on folders that a real broker has filled, whole and damaged. */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect } from "vitest";
import type { PacketIdentifier } from "../../src/mqtt/packet.ts";
import { TestClient, textOf } from "../support/client.ts";
import { type BrokerProcess, endsInTime, type Place, test } from "./support/place.ts";
import type { Program } from "./support/program.ts";
import { deadPort } from "./support/receivers.ts";

const messages = 300;
const retained = 20;
const pageSize = 4096;
const lasting = { clientId: "lasting", cleanStart: false, properties: { sessionExpiryInterval: 3600 } } as const;

function configuration(port: number): string {
  return `store.engine = disk
    log.to = [console]
    webhook { url = "http://127.0.0.1:${port}", events = [{ event = on_message_publish, topic = "plant/#" }] }`;
}

/** Acknowledged: a session that is owed messages, retained topics, and deliveries to an endpoint that is away. */
async function fill(broker: BrokerProcess): Promise<void> {
  const subscriber = await TestClient.connect(broker.port, lasting);
  await subscriber.subscribe("plant/#", { qos: 1 });
  await subscriber.disconnect();
  const publisher = await TestClient.connect(broker.port);
  for (let n = 1; n <= messages; n++) {
    const payload = `${n - 1} `.padEnd(700, "m");
    publisher.sendPublish(`plant/${n - 1}`, payload, { qos: 1, packetIdentifier: n as PacketIdentifier });
  }
  for (let n = 1; n <= messages; n++) await publisher.answerTo("puback", n as PacketIdentifier);
  for (let n = 0; n < retained; n++) await publisher.publish(`kept/${n}`, "still here", { qos: 1, retain: true });
  await publisher.disconnect();
}

/** The data folder `data/` of a broker that has been stopped, or killed with all of it in the write-ahead log. */
async function filledFolder(place: Place, end: "SIGTERM" | "SIGKILL"): Promise<string> {
  const folder = place.file(`filled-by-${end}`);
  if (existsSync(folder)) return folder;
  const broker = await place.startBroker(configuration(await deadPort()));
  await fill(broker);
  broker.program.signal(end);
  await broker.program.ended();
  cpSync(place.file("data"), folder, { recursive: true });
  rmSync(place.file("data"), { recursive: true });
  return folder;
}

interface Outcome {
  code: number;
  said: string;
  complained: string;
}

async function outcomeOf(program: Program): Promise<Outcome> {
  const code = await program.exitCode();
  return { code, said: program.stdout.join("\n"), complained: program.stderr.join("\n") };
}

function store(place: Place, ...args: string[]): Promise<Outcome> {
  return outcomeOf(place.hookmq(["store", ...args]));
}

/** Of the topics that the broker itself retains. */
function isOurs(topicName: string | undefined): boolean {
  return topicName?.startsWith("$SYS/") === true;
}

/** Every file with its content. */
function contentOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(path.join(folder, name)).toString("latin1")]),
  );
}

function pagesOf(file: string, name: string): number[] {
  const copy = `${file}.looked-at`;
  cpSync(file, copy);
  const database = new DatabaseSync(copy);
  const { root } = database.prepare("SELECT rootpage AS root FROM sqlite_schema WHERE name = ?").get(name) as {
    root: number;
  };
  database.close();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(copy + suffix, { force: true });
  const bytes = readFileSync(file);
  const at = (root - 1) * pageSize;
  if (bytes[at] !== 5 && bytes[at] !== 2) return [root];
  return Array.from({ length: bytes.readUInt16BE(at + 3) }, (_, cell) =>
    bytes.readUInt32BE(at + bytes.readUInt16BE(at + 12 + cell * 2)),
  );
}

function overwrite(file: string, from: number, to: number, fill: number): void {
  const bytes = readFileSync(file);
  bytes.fill(fill, from, to);
  writeFileSync(file, bytes);
}

function overwritePage(file: string, page: number, fill: number): void {
  overwrite(file, (page - 1) * pageSize, page * pageSize, fill);
}

interface Damage {
  end: "SIGTERM" | "SIGKILL";
  how(file: string): void;
  /** Messages owed to the session that are still there, at least. */
  owed: number;
}

const damages: Record<string, Damage> = {
  "a page of messages zeroed": {
    end: "SIGTERM",
    how: (file) => overwritePage(file, pagesOf(file, "messages")[3], 0),
    owed: messages - 10,
  },
  "a page of an index scrambled": {
    end: "SIGTERM",
    how: (file) => overwritePage(file, pagesOf(file, "deliveries_by_endpoint")[0], 0xa5),
    owed: messages,
  },
  "the header damaged": { end: "SIGTERM", how: (file) => overwrite(file, 0, 100, 0x5a), owed: messages },
  "the file cut short": {
    end: "SIGTERM",
    how: (file) => writeFileSync(file, readFileSync(file).subarray(0, -pageSize * 8 - 1000)),
    owed: messages / 3,
  },
  "garbage over the beginning of the write-ahead log": {
    end: "SIGKILL",
    how: (file) => overwrite(`${file}-wal`, 0, 32, 0x99),
    owed: messages,
  },
};

for (const [what, { end, how, owed }] of Object.entries(damages)) {
  test(`${what}: check tells, start refuses, export gives what there is, repair saves it`, async ({
    place,
    commonPlace,
  }) => {
    const folder = place.file("data");
    cpSync(await filledFolder(commonPlace, end), folder, { recursive: true });
    const file = path.join(folder, "hookmq.db");
    how(file);
    const before = contentOf(folder);

    const check = await store(place, "check", "--dir", folder);
    assert.equal(check.code, 1);
    assert.match(check.said, /^\d+ faults?:$/m);
    const conf = place.write("nanomq.conf", `listeners.tcp.bind = "127.0.0.1:0"\n${configuration(await deadPort())}`);
    const start = await outcomeOf(place.hookmq(["start", "--conf", conf]));
    assert.equal(start.code, 1);
    assert.ok(start.complained.includes(file), start.complained);
    for (const command of ["check", "export", "repair"]) {
      assert.ok(start.complained.includes(`hookmq store ${command} --dir ${folder}`), start.complained);
    }

    const records = place.file("records.ndjson");
    const exported = await store(place, "export", "--dir", folder, records);
    assert.equal(exported.code, 1);
    assert.match(exported.complained, /^warning: /m);
    const told = readFileSync(records, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.ok(told.filter(({ type }) => type === "message").length >= owed);
    assert.equal(statSync(records).mode & 0o777, 0o600);
    assert.deepEqual(contentOf(folder), before, "nothing was written there");

    const repair = await store(place, "repair", "--conf", conf);
    assert.equal(repair.code, 0, repair.complained);
    const [, aside] = /^The damaged file is kept as (\S+)$/m.exec(repair.said)!;
    assert.equal(readFileSync(aside, "latin1"), before["hookmq.db"]);
    const [, saved] = /^ {2}queue +(\d+) /m.exec(repair.said)!;
    const whole = await store(place, "check", "--dir", folder);
    assert.deepEqual([whole.code, whole.said.split("\n").at(-1)], [0, "no faults"]);

    const broker = await place.startBroker(configuration(await deadPort()));
    const resumed = await TestClient.connect(broker.port, lasting);
    assert.ok(resumed.connack.sessionPresent);
    const texts = await resumed.receiveTexts(Number(saved));
    assert.ok(texts.length >= owed, `${texts.length} messages`);
    for (const text of texts) assert.equal(text, `${Number.parseInt(text, 10)} `.padEnd(700, "m"));
    await resumed.nothing();
  });
}

test("where nothing can be read, repair says so and changes nothing", async ({ place }) => {
  const folder = place.file("data");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "hookmq.db"), "not a database, but somebody's file all the same\n".repeat(500));
  const before = contentOf(folder);
  const { code, complained } = await store(place, "repair", "--dir", folder);
  assert.equal(code, 1);
  assert.match(complained, /^nothing in .*data can be read .*Nothing was changed/);
  assert.deepEqual(contentOf(folder), before);
});

describe("a whole store", () => {
  test("is exported with all that is in it, to the standard output as well", async ({ place, commonPlace }) => {
    const folder = await filledFolder(commonPlace, "SIGKILL");
    const before = contentOf(folder);
    const { code, said, complained } = await store(place, "export", "--dir", folder);
    assert.deepEqual([code, complained], [0, ""]);
    const records = said.split("\n").map((line) => JSON.parse(line));
    const of = (type: string) => records.filter((record) => record.type === type && !isOurs(record.topicName));
    assert.deepEqual(
      ["session", "subscription", "queued", "retained", "delivery", "message"].map((type) => of(type).length),
      [1, 1, messages, retained, messages, messages + retained],
    );
    const [first] = of("queued");
    assert.deepEqual([first.clientId, first.state, first.qos], ["lasting", "queued", 1]);
    const message = of("message").find(({ messageId }) => messageId === first.messageId);
    assert.equal(Buffer.from(message.payload, "base64").toString(), "0 ".padEnd(700, "m"));
    const [delivery] = of("delivery");
    assert.equal(delivery.endpoint, "default");
    assert.equal(JSON.parse(Buffer.from(delivery.body, "base64").toString()).topic, "plant/0");
    assert.deepEqual(contentOf(folder), before);
  });

  test("is checked for programs, and copied while no broker runs; nothing is written over", async ({
    place,
    commonPlace,
  }) => {
    const folder = place.file("data");
    cpSync(await filledFolder(commonPlace, "SIGKILL"), folder, { recursive: true });
    const before = contentOf(folder);
    const report = JSON.parse((await store(place, "check", "--dir", folder, "--json")).said);
    assert.deepEqual(
      [report.faults, report.sessions, report.queued, report.deliveries],
      [[], 1, messages, [{ endpoint: "default", deliveries: messages, deadLetters: 0 }]],
    );
    assert.ok(report.retained >= retained);
    const conf = place.write("nanomq.conf", "store.engine = disk");
    const copy = await store(place, "backup", "--conf", conf, "copy.db");
    assert.equal(copy.code, 0, copy.complained);
    assert.match(copy.said, /copy\.db: .* copied in [\d.]+ s$/);
    assert.deepEqual(contentOf(folder), before);
    for (const command of ["backup", "export"]) {
      const again = await store(place, command, "--conf", conf, "copy.db");
      assert.equal(again.code, 1);
      assert.match(again.complained, /copy\.db is there already/);
    }
    place.write("restored/hookmq.db", "");
    cpSync(place.file("copy.db"), place.file("restored/hookmq.db"));
    assert.match((await store(place, "check", "--dir", "restored")).said, /no faults$/);
  });
});

describe("while the broker runs", () => {
  test("a copy holds all that was acknowledged before, though messages go on", async ({ place }) => {
    const broker = await place.startBroker(configuration(await deadPort()));
    await fill(broker);
    const publisher = await TestClient.connect(broker.port);
    let goesOn = true;
    const flow = (async () => {
      for (let n = 0; goesOn; n++) await publisher.publish("plant/later", `later ${n}`, { qos: 1 });
    })();
    const backup = await store(place, "backup", "--conf", "nanomq.conf", "copy.db");
    goesOn = false;
    await flow;
    assert.deepEqual([backup.code, backup.complained], [0, ""]);
    assert.equal(statSync(place.file("copy.db")).mode & 0o777, 0o600);
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));

    rmSync(place.file("data"), { recursive: true });
    mkdirSync(place.file("data"));
    cpSync(place.file("copy.db"), place.file("data/hookmq.db"));
    assert.match((await store(place, "check", "--dir", "data")).said, /no faults$/);
    const restored = await place.startBroker(configuration(await deadPort()));
    const resumed = await TestClient.connect(restored.port, lasting);
    for (let n = 0; n < messages; n++) {
      assert.equal(textOf(await resumed.receive()), `${n} `.padEnd(700, "m"));
    }
  });

  test("its folder is in use: check has it check itself, the others say whose it is", async ({ place }) => {
    const broker = await place.startBroker(configuration(await deadPort()));
    await fill(broker);
    const check = await store(place, "check", "--conf", "nanomq.conf");
    assert.equal(check.code, 0, check.complained);
    assert.match(check.complained, new RegExp(`in use by process ${broker.pid}`));
    assert.match(
      check.said,
      new RegExp(`deliveries to default +${messages}\\n +dead letters of default +0\\nno faults$`),
    );
    for (const command of ["export", "repair"]) {
      const refused = await store(place, command, "--dir", "data");
      assert.equal(refused.code, 1);
      assert.match(refused.complained, new RegExp(`in use by process ${broker.pid}`));
    }
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));
  });

  test("health is ok, degraded with its reason, or nobody there", async ({ place }) => {
    const health = (...flags: string[]) => outcomeOf(place.hookmq(["health", "--conf", "nanomq.conf", ...flags]));
    const broker = await place.startBroker(configuration(await deadPort()));
    const well = await health();
    assert.deepEqual([well.code, well.said.split("\n")[0]], [0, "ok"]);
    // Of one client, one event is tried at a time.
    for (let n = 0; n < 8; n++) {
      const publisher = await TestClient.connect(broker.port);
      await publisher.publish(`plant/${n}`, "x", { qos: 1 });
    }
    await broker.program.line(/does not take deliveries/);
    const degraded = await health("--json");
    assert.equal(degraded.code, 1);
    const body = JSON.parse(degraded.said);
    assert.equal(body.status, "degraded");
    assert.match(
      body.reasons[0],
      /^webhook endpoint default does not take deliveries, \d+ wait \(hookmq webhook attempts default /,
    );
    assert.deepEqual([body.pid, body.store.engine, body.store.directory], [broker.pid, "disk", place.file("data")]);
    assert.match((await health()).said, /^degraded: webhook endpoint default /);
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));
    assert.equal((await health()).code, 2);
  });

  test("health counts dead letters, and export tells them, with what waits for its next attempt", async ({ place }) => {
    const rejecting = await place.startReceiver("--status", "400");
    const failing = await place.startReceiver("--status", "500");
    const events = `events = [{ event = on_message_publish, topic = "plant/#" }]`;
    const broker = await place.startBroker(`
      log.to = [console]
      webhook.retry.schedule = [1h]
      webhook.endpoints {
        no { url = "http://127.0.0.1:${rejecting.port}", ${events} }
        later { url = "http://127.0.0.1:${failing.port}", ${events} }
      }`);
    await (await TestClient.connect(broker.port, { clientId: "pump" })).publish("plant/1", "x", { qos: 1 });
    await broker.program.line(/webhook delivery became a dead letter/);
    await failing.program.line(/^Received: /);
    const figures = async () => {
      const { endpoints } = JSON.parse((await outcomeOf(place.hookmq(["health", "--json"]))).said);
      const of = (name: string) => endpoints.find(({ endpoint }: { endpoint: string }) => endpoint === name);
      const { dead, deadLetters } = of("no");
      const { attempts, queued, inflight, breaker } = of("later");
      return { dead, deadLetters, attempts, queued, inflight, breaker };
    };
    await expect
      .poll(figures, { timeout: 10_000 })
      .toEqual({ dead: 1, deadLetters: 1, attempts: 1, queued: 1, inflight: 0, breaker: "closed" });
    const health = await outcomeOf(place.hookmq(["health"]));
    assert.match(health.said, /^ {2}endpoint +condition +queued .* dead +dead letters +dropped/m);
    assert.match(health.said, /^ {2}no +delivering +0 +0 +0 B +0 +1 +1 +0 +0$/m);
    assert.match(health.said, /^ {2}later +delivering +1 +0 .* 0 +0 +0 +0 +0$/m);
    const check = await store(place, "check", "--conf", "nanomq.conf");
    assert.match(check.said, /^ {2}dead letters of no +1$/m);
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));

    const { code, said } = await store(place, "export", "--dir", "data");
    assert.equal(code, 0);
    const records = said.split("\n").map((line) => JSON.parse(line));
    const letter = records.find(({ type }) => type === "dead-letter");
    assert.deepEqual(
      [letter.endpoint, letter.event, letter.orderKey, letter.attempts, letter.reason],
      ["no", "on_message_publish", "pump", 1, "rejected"],
    );
    assert.equal(JSON.parse(Buffer.from(letter.body, "base64").toString()).topic, "plant/1");
    const delivery = records.find(({ type }) => type === "delivery");
    assert.deepEqual(
      [delivery.endpoint, delivery.clientEvent, delivery.attempts, delivery.failures],
      ["later", false, 1, 1],
    );
    const waits = Date.parse(delivery.dueAt) - Date.parse(delivery.acceptedAt);
    assert.ok(waits > 40 * 60_000 && waits < 80 * 60_000, delivery.dueAt);
    const endpoint = records.find(({ type, name }) => type === "endpoint" && name === "no");
    assert.deepEqual(
      [endpoint.dead, endpoint.deadLetters, endpoint.messages, endpoint.underWay, endpoint.breaker, endpoint.heldUntil],
      [1, 1, 0, [], null, null],
    );
  });

  test("a broker that keeps nothing on disk refuses to check or copy it", async ({ place }) => {
    const { program } = await place.startBroker("store.engine = memory");
    await program.line(/^ {2}store +memory: a stop forgets all that is kept$/);
    const backup = await store(place, "backup", "--conf", "nanomq.conf", "copy.db");
    assert.equal(backup.code, 1);
    assert.match(backup.complained, /no copy was made: this broker keeps nothing on disk \(store\.engine = memory\)/);
    assert.equal(existsSync(place.file("copy.db")), false);
    const check = await store(place, "check", "--conf", "nanomq.conf");
    assert.equal(check.code, 1);
    assert.match(check.complained, /keeps nothing on disk/);
  });
});
