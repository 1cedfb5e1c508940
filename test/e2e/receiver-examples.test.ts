/**
 * The receivers of `examples/receivers/` that run here, as an operator starts them: they believe what is signed, do the work of
 * a delivery once, and say 200 only when it is done. Signatures are made by the package of Standard Webhooks itself.
 */
import assert from "node:assert/strict";
import { appendFileSync, statSync, readdirSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { Webhook } from "standardwebhooks";
import { describe } from "vitest";
import { endsInTime, type Place, repository, test } from "./support/place.ts";
import type { Program } from "./support/program.ts";
import { olderNode, witness } from "./support/witness.ts";

type Skip = (note: string) => never;
type Environment = Record<string, string>;

const secret = `whsec_${Buffer.from("a secret of thirty-two bytes, yes").toString("base64")}`;
const otherSecret = `whsec_${Buffer.from("another secret, just as long, yes").toString("base64")}`;
const bodyBytesMax = 2 * 1024 * 1024;

const node = { command: () => process.execPath, file: "node/receiver.mjs" };
const python = { command: (skip: Skip) => witness("python3", skip), file: "python/receiver.py" };

describe.each([
  ["the Node receiver", node],
  ["the Python receiver", python],
])("%s", (_name, example) => {
  const start = (place: Place, skip: Skip, env: Environment = {}) =>
    startExample(place, example.command(skip), example.file, { WEBHOOK_SECRET: secret, ...env });

  test("does the work of what is signed and answers 200", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    assert.equal(await receiver.post({ id: "evt_1", body: '{"topic":"a"}' }), 200);
    assert.deepEqual(await receiver.done(1), ['evt_1 {"topic":"a"}']);
  });

  test("takes one matching signature among several", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    const [right, wrong] = [signed("evt_1", "{}", secret), signed("evt_1", "{}", otherSecret)];
    const signature = `v1a,AAAA ${wrong["webhook-signature"]} v1,short ${right["webhook-signature"]}`;
    assert.equal(await receiver.post({ id: "evt_1", headers: { ...right, "webhook-signature": signature } }), 200);
    assert.equal((await receiver.done(1)).length, 1);
  });

  test("answers 401 to what is not signed, or with another secret, body, id or time, and does nothing", async ({
    place,
    skip,
  }) => {
    const receiver = await start(place, skip);
    const good = signed("evt_1", "{}", secret);
    const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000);
    const { "webhook-signature": signature, ...unsigned } = good;
    const refused: Record<string, Record<string, string>> = {
      "another secret": signed("evt_1", "{}", otherSecret),
      "another body": signed("evt_1", '{"a":1}', secret),
      "another id": { ...good, "webhook-id": "evt_2" },
      "another time": { ...good, "webhook-timestamp": `${Number(good["webhook-timestamp"]) + 1}` },
      "no signature": unsigned,
      "an empty signature": { ...good, "webhook-signature": "v1," },
      "another version": { ...good, "webhook-signature": signature.replace("v1,", "v2,") },
      "six minutes old": signed("evt_1", "{}", secret, minutesAgo(6)),
      "six minutes ahead": signed("evt_1", "{}", secret, minutesAgo(-6)),
      "a time that is none": { ...good, "webhook-timestamp": "soon" },
    };
    for (const [what, headers] of Object.entries(refused)) {
      assert.equal(await receiver.post({ id: "evt_1", headers }), 401, what);
    }
    assert.deepEqual(await receiver.done(0), []);
    const headers = signed("evt_1", "{}", secret, minutesAgo(4));
    assert.equal(await receiver.post({ id: "evt_1", headers }), 200, "four minutes old");
  });

  for (const end of ["SIGTERM", "SIGKILL"] as const) {
    test(`does a delivery once, however often it comes, also over a restart by ${end}`, async ({ place, skip }) => {
      const receiver = await start(place, skip);
      const together = await Promise.all(Array.from({ length: 8 }, () => receiver.post({ id: "evt_1" })));
      assert.deepEqual(new Set(together), new Set([200]));
      assert.equal((await receiver.done(1)).length, 1);
      if (end === "SIGTERM") await endsInTime(receiver.program, () => receiver.program.signal(end));
      else await receiver.program.kill();
      const again = await start(place, skip);
      assert.equal(await again.post({ id: "evt_1" }), 200);
      assert.equal(await again.post({ id: "evt_2" }), 200);
      assert.deepEqual(await again.done(1), ["evt_2 {}"]);
    });
  }

  test("does not call done what could not be done", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    receiver.program.closeOutput();
    assert.equal(await receiver.post({ id: "evt_1" }), 500);
    await receiver.program.kill();
    const again = await start(place, skip);
    assert.equal(await again.post({ id: "evt_1" }), 200);
    assert.deepEqual(await again.done(1), ["evt_1 {}"]);
  });

  test("takes batches, as an array and line by line", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    const type = (name: string) => ({ "content-type": name });
    assert.equal(await receiver.post({ id: "bat_1", body: '[{"n":1},{"n":2}]' }), 200);
    const lines = { id: "bat_2", body: '{"n":3}\n{"n":4}\n', headers: type("application/x-ndjson") };
    assert.equal(await receiver.post(lines), 200);
    const done = ['bat_1 {"n":1}', 'bat_1 {"n":2}', 'bat_2 {"n":3}', 'bat_2 {"n":4}'];
    assert.deepEqual(await receiver.done(4), done);
  });

  test("unpacks gzip, and verifies what was packed", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    const body = '{"topic":"packed"}';
    const packed = gzipSync(body);
    assert.equal(await receiver.post({ id: "evt_1", body, packed }), 200);
    assert.deepEqual(await receiver.done(1), [`evt_1 ${body}`]);
    assert.equal(await receiver.post({ id: "evt_2", body, packed: packed.subarray(0, -4) }), 400);
    assert.equal(await receiver.post({ id: "evt_3", body, packed: Buffer.from(body) }), 400);
    assert.equal(await receiver.post({ id: "evt_4", body, headers: { "content-encoding": "zstd" } }), 415);
  });

  test("answers 413 to what is too large, packed or not, and goes on", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    const ofBytes = (bytes: number) => `{"payload":"${"x".repeat(bytes - 14)}"}`;
    assert.equal(await receiver.post({ id: "evt_1", body: ofBytes(bodyBytesMax + 1) }), 413);
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024, "x"));
    assert.equal(await receiver.post({ id: "evt_2", body: "{}", packed: bomb }), 413);
    assert.deepEqual(await receiver.done(0), []);
    assert.equal(await receiver.post({ id: "evt_3", body: ofBytes(bodyBytesMax) }), 200);
  });

  test("answers 400 to what is no event", async ({ place, skip }) => {
    const receiver = await start(place, skip);
    for (const body of ["", "{", "12", '["a"]', "[[{}]]", '{"a":1}\n{"a":2}']) {
      assert.equal(await receiver.post({ id: "evt_1", body }), 400, body);
    }
    assert.equal(await receiver.post({ id: "evt.1" }), 400, "an id with a dot");
    assert.deepEqual(await receiver.done(0), []);
  });

  test("remembers as many ids as it is told, and a bounded number of them", async ({ place, skip }) => {
    const receiver = await start(place, skip, { REMEMBER_IDS: "10" });
    for (let n = 0; n < 45; n++) assert.equal(await receiver.post({ id: `evt_${n}` }), 200);
    await receiver.program.kill();
    const again = await start(place, skip, { REMEMBER_IDS: "10" });
    for (let n = 44; n >= 35; n--) assert.equal(await again.post({ id: `evt_${n}` }), 200);
    assert.deepEqual(await again.done(0), [], "the last ten are known");
    assert.equal(await again.post({ id: "evt_0" }), 200);
    assert.deepEqual(await again.done(1), ["evt_0 {}"], "the first is forgotten");
  });

  test("without a secret it says so and takes everything that has an id", async ({ place, skip }) => {
    const receiver = await startExample(place, example.command(skip), example.file, {});
    await receiver.program.complaint(/WARNING: WEBHOOK_SECRET is not set/);
    assert.equal(
      await receiver.post({ id: "evt_1", headers: { "webhook-id": "evt_1", "webhook-signature": "" } }),
      200,
    );
    assert.equal(await receiver.post({ id: "", headers: { "webhook-id": "" } }), 400);
    assert.deepEqual(await receiver.done(1), ["evt_1 {}"]);
  });

  test("refuses to start with a secret that is none, or a state that cannot be", async ({ place, skip }) => {
    const occupied = place.write("occupied", "");
    const wrong: Environment[] = [
      { WEBHOOK_SECRET: "" },
      { WEBHOOK_SECRET: "whsec_no!" },
      { STATE: occupied },
      { PORT: "many" },
    ];
    for (const env of wrong) {
      const program = runExample(place, example.command(skip), example.file, { WEBHOOK_SECRET: secret, ...env });
      assert.equal(await program.exitCode(), 1);
      assert.match(program.stderr.join("\n"), /^The receiver does not start: /);
    }
  });
});

test("the Node receiver outlives a torn last line of its ids", async ({ place }) => {
  const env = { WEBHOOK_SECRET: secret };
  const receiver = await startExample(place, process.execPath, node.file, env);
  assert.equal(await receiver.post({ id: "evt_1" }), 200);
  await receiver.program.kill();
  appendFileSync(place.file("state/ids"), "evt_to");
  const again = await startExample(place, process.execPath, node.file, env);
  for (const id of ["evt_1", "evt_torn"]) assert.equal(await again.post({ id }), 200);
  await again.program.kill();
  const last = await startExample(place, process.execPath, node.file, env);
  for (const id of ["evt_1", "evt_torn"]) assert.equal(await last.post({ id }), 200);
  assert.deepEqual(await again.done(1), ["evt_torn {}"]);
  assert.deepEqual(await last.done(0), []);
});

test("the Node receiver keeps two files of ids, neither longer than it is told", async ({ place }) => {
  const receiver = await startExample(place, process.execPath, node.file, {
    WEBHOOK_SECRET: secret,
    REMEMBER_IDS: "10",
  });
  for (let n = 100; n < 145; n++) assert.equal(await receiver.post({ id: `evt_${n}` }), 200);
  const files = readdirSync(place.file("state")).sort();
  assert.deepEqual(files, ["ids", "ids.1"]);
  for (const file of files) assert.ok(statSync(place.file(`state/${file}`)).size <= 10 * "evt_100\n".length);
});

test("the Node receiver runs on an older Node too", async ({ place, skip }) => {
  const receiver = await startExample(place, olderNode(skip), node.file, { WEBHOOK_SECRET: secret });
  const body = '[{"n":1}]';
  assert.equal(await receiver.post({ id: "evt_1", body, packed: gzipSync(body) }), 200);
  assert.equal(await receiver.post({ id: "evt_2", headers: signed("evt_2", "{}", otherSecret) }), 401);
  assert.deepEqual(await receiver.done(1), ['evt_1 {"n":1}']);
  await endsInTime(receiver.program, () => receiver.program.signal("SIGTERM"));
});

interface Posted {
  id: string;
  body?: string;
  /** Sent in place of the body, as gzip. */
  packed?: Buffer;
  /** Over those of a good request. */
  headers?: Record<string, string>;
}

interface Example {
  program: Program;
  /** Resolves with the status. */
  post(posted: Posted): Promise<number>;
  /** The events it has printed, once they are so many: an answer may overtake them. */
  done(count: number): Promise<string[]>;
}

async function startExample(place: Place, command: string, file: string, env: Environment): Promise<Example> {
  const program = runExample(place, command, file, env);
  const [, url] = await program.line(/^Receiver is listening on (http:\/\/127\.0\.0\.1:\d+)$/);
  const post = async ({ id, body = "{}", packed, headers = {} }: Posted) => {
    const encoding = packed === undefined ? {} : { "content-encoding": "gzip" };
    const isSigned = Object.keys(headers).some((name) => name.startsWith("webhook-"));
    const response = await fetch(url, {
      method: "POST",
      body: packed === undefined ? body : new Uint8Array(packed),
      headers: {
        "content-type": "application/json",
        ...encoding,
        ...(isSigned ? {} : signed(id, body, secret)),
        ...headers,
      },
      signal: AbortSignal.timeout(15_000),
    });
    await response.text();
    return response.status;
  };
  const done = async (count: number) => {
    await program.lines(1 + count);
    return program.stdout.slice(1);
  };
  return { program, post, done };
}

function runExample(place: Place, command: string, file: string, env: Environment): Program {
  const script = path.join(repository, "examples", "receivers", file);
  return place.run(command, [script], { env: { PORT: "0", STATE: place.file("state"), ...env } });
}

function signed(id: string, body: string, key: string, at = new Date()): Record<string, string> {
  return {
    "webhook-id": id,
    "webhook-timestamp": `${Math.floor(at.getTime() / 1000)}`,
    "webhook-signature": new Webhook(key).sign(id, at, body),
  };
}
