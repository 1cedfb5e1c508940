/**
 * The tutorial as it stands, with the real command: its configuration, its start line, its three events, the lines its
 * receiver prints. Only the ports are others, so that nothing on this machine is met by accident.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe } from "vitest";
import { connectMqttJs } from "./support/mqtt-js.ts";
import { type BrokerProcess, listening, type Place, type ReceiverProcess, repository, test } from "./support/place.ts";
import type { Program } from "./support/program.ts";
import { witness } from "./support/witness.ts";

const header = "header: content-type: [application/json]";
const connack = (protocolVersion: number, keepAlive = 60) =>
  `Received: {"proto_ver":${protocolVersion},"keepalive":${keepAlive},"conn_ack":"success","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_connack"}`;
const publish =
  'Received: {"ts":<now>,"topic":"nmq/pub","retain":true,"qos":1,"action":"message_publish","from_username":"wbhk_test","from_client_id":"wbhk_clientid","payload":"Hello World!"}';
const disconnected =
  'Received: {"reason":"normal","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_disconnected"}';

describe.concurrent("the tutorial, step by step", () => {
  test("emqx-edge start on its configuration says what listens and which rules are active", async ({ place }) => {
    const { broker, receiver } = await follow(place);
    assert.deepEqual(await broker.program.lines(9), [
      "HookMQ Broker is started successfully!",
      `  version   ${packageVersion()}, process ${broker.pid}`,
      `  settings  path/to/nanomq.conf (named on the command line)`,
      `  store     disk, ${place.file("path/to/data")}`,
      `  mqtt      127.0.0.1:${broker.port} (default)`,
      `  webhook   default: POST http://127.0.0.1:${receiver.port}`,
      "            on_message_publish, topic nmq/pub",
      "            on_client_connack",
      "            on_client_disconnected",
    ]);
    assert.deepEqual(broker.program.stderr, []);
  });

  for (const [version, protocolVersion] of [
    ["mqttv31", 3],
    ["mqttv311", 4],
    ["mqttv5", 5],
  ] as const) {
    test(`mosquitto_pub ${version}: connack, publish, disconnected, byte for byte`, async ({ place, skip }) => {
      const mosquittoPub = witness("mosquitto_pub", skip);
      const mosquittoSub = witness("mosquitto_sub", skip);
      const { broker, receiver } = await follow(place);
      const port = `${broker.port}`;
      const pub = place.run(mosquittoPub, ["-p", port, "-V", version, ...tutorialClient, ...tutorialMessage]);
      assert.equal(await pub.exitCode(), 0);
      await expectEvents(receiver.program, [connack(protocolVersion), publish, disconnected]);

      const sub = place.run(mosquittoSub, ["-p", port, "-V", version, "-t", "nmq/pub", "-C", "1", "-F", "%r %p"]);
      assert.equal(await sub.exitCode(), 0);
      assert.deepEqual(sub.stdout, ["1 Hello World!"]);
    });
  }

  for (const protocolVersion of [4, 5] as const) {
    test(`MQTT.js, version ${protocolVersion}: each event comes when its step is taken`, async ({ place }) => {
      const { broker, receiver } = await follow(place);
      const client = await connectMqttJs(place, broker.port, {
        protocolVersion,
        clientId: "wbhk_clientid",
        username: "wbhk_test",
      });
      await expectEvents(receiver.program, [connack(protocolVersion)]);
      await client.publishAsync("nmq/pub", "Hello World!", { qos: 1, retain: true });
      await expectEvents(receiver.program, [connack(protocolVersion), publish]);
      await client.endAsync();
      await expectEvents(receiver.program, [connack(protocolVersion), publish, disconnected]);
    });
  }

  test("hookmq pub and sub, as docs/tutorial.md has them", async ({ place }) => {
    const { broker, receiver } = await follow(place);
    const port = `${broker.port}`;
    const sub = place.hookmq(["sub", "-p", port, ...tutorialClient, "-t", "nmq/answers"]);
    await expectEvents(receiver.program, [connack(4)]);
    sub.signal("SIGINT");
    assert.equal(await sub.exitCode(), 0);
    await expectEvents(receiver.program, [connack(4), disconnected]);

    const pub = place.hookmq(["pub", "-p", port, ...tutorialClient, ...tutorialMessage]);
    assert.equal(await pub.exitCode(), 0);
    await expectEvents(receiver.program, [connack(4), disconnected, connack(4), publish, disconnected]);

    const late = place.hookmq(["sub", "-p", port, "-t", "nmq/#", "-v", "-C", "1"]);
    assert.equal(await late.exitCode(), 0);
    assert.deepEqual(late.stdout, ["nmq/pub Hello World!"]);
  });

  test("the configuration in docs/tutorial.md is the one in etc/nanomq.conf", async ({ place }) => {
    const page = readFileSync(path.join(repository, "docs", "tutorial.md"), "utf8");
    const [, block] = /```hocon nanomq\.conf\n(.*?)```/s.exec(page) ?? assert.fail("the page has a configuration");
    place.write("page.conf", `listeners.tcp { bind = "0.0.0.0:1883" }\n${block}`);
    place.write("etc.conf", tutorialConfiguration());
    const [ofPage, ofEtc] = await Promise.all(["page.conf", "etc.conf"].map((file) => settingsInForce(place, file)));
    assert.ok(ofPage.length > 10);
    assert.deepEqual(ofPage, ofEtc);
  });
});

test.concurrent("npm start prints the next commands to try, and they work", async ({ place }) => {
  const receiver = await place.startReceiver();
  place.write("nanomq.conf", configurationFor(receiver));
  const start = place.hookmq(["start", "--conf", "nanomq.conf"], { env: { npm_lifecycle_event: "start" } });
  const broker = await listening(start);
  const hint = async (command: string) => {
    const [, line] = await start.line(new RegExp(`^ {2}(node bin/hookmq\\.cjs ${command} .*?) +# `));
    return line;
  };
  const inRepository = (line: string) => place.run("sh", ["-c", `cd '${repository}' && exec ${line}`]);
  assert.equal(await hint("receiver"), `node bin/hookmq.cjs receiver --port ${receiver.port}`);
  const sub = inRepository(await hint("sub"));
  // Retained, so that the subscriber gets it whenever its subscription stands.
  const client = await connectMqttJs(place, broker.port);
  await client.publishAsync("standing", "yes", { qos: 1, retain: true });
  await sub.line(/^standing yes$/);
  assert.equal(await inRepository(await hint("pub")).exitCode(), 0);
  await sub.line(/^nmq\/pub Hello World!$/);
  await receiver.program.line(/"topic":"nmq\/pub","retain":false,"qos":1,.*"payload":"Hello World!"/);
});

describe.concurrent("what the tutorial promises besides", () => {
  test("a client without a user name is undefined, and other topics are no events", async ({ place }) => {
    const { broker, receiver } = await follow(place);
    const client = await connectMqttJs(place, broker.port, { clientId: "nobody", keepalive: 30 });
    await client.publishAsync("nmq/pub1", "not configured", { qos: 1 });
    await client.publishAsync("nmq/pub", "configured", { qos: 2 });
    await client.endAsync();
    await expectEvents(receiver.program, [
      'Received: {"proto_ver":4,"keepalive":30,"conn_ack":"success","username":"undefined","clientid":"nobody","action":"client_connack"}',
      'Received: {"ts":<now>,"topic":"nmq/pub","retain":false,"qos":2,"action":"message_publish","from_username":"undefined","from_client_id":"nobody","payload":"configured"}',
      'Received: {"reason":"normal","username":"undefined","clientid":"nobody","action":"client_disconnected"}',
    ]);
  });

  test("topic = nmq/# hears every subtopic and nothing else", async ({ place }) => {
    const { broker, receiver } = await follow(place, (text) => onlyMessages(text).replace('"nmq/pub"', '"nmq/#"'));
    const client = await connectMqttJs(place, broker.port, { clientId: "wild" });
    for (const topicName of ["nmq", "nmq/pub1", "other/nmq", "nmq/pub2/deep", "nmqx", "nmq/last"]) {
      await client.publishAsync(topicName, topicName, { qos: 1 });
    }
    await expectEvents(
      receiver.program,
      ["nmq", "nmq/pub1", "nmq/pub2/deep", "nmq/last"].map((topicName) => messageEvent(topicName, "wild", topicName)),
    );
  });

  for (const [encoding, rows] of [
    [
      "plain",
      [
        ["hello", "hello"],
        ['"\n\u0000é', '\\"\\n\\u0000é'],
        ["", ""],
      ],
    ],
    [
      "base64",
      [
        ["Hello World!", "SGVsbG8gV29ybGQh"],
        ["hello", "aGVsbG8="],
        ["", ""],
      ],
    ],
    [
      "base62",
      [
        ["Hello World!", "T8dgcjRGkZ3aysdN"],
        ["hello", "7tQLFHz"],
        ["\0\0ab", "006U6"],
        ["", ""],
      ],
    ],
  ] as const) {
    test(`body.encoding = ${encoding}`, async ({ place }) => {
      const { broker, receiver } = await follow(place, (text) =>
        onlyMessages(text).replace("= plain", `= ${encoding}`),
      );
      const client = await connectMqttJs(place, broker.port, { clientId: "encoder" });
      for (const [payload] of rows) await client.publishAsync("nmq/pub", payload, { qos: 1 });
      await expectEvents(
        receiver.program,
        rows.map(([, expected]) => messageEvent("nmq/pub", "encoder", expected)),
      );
    });
  }

  test("bytes that are no text arrive as base64 and say so", async ({ place }) => {
    const { broker, receiver } = await follow(place, onlyMessages);
    const client = await connectMqttJs(place, broker.port, { clientId: "binary" });
    await client.publishAsync("nmq/pub", Buffer.from("ff00c3", "hex"), { qos: 1 });
    await expectEvents(receiver.program, [
      messageEvent("nmq/pub", "binary", "/wDD").replace(/}$/, ',"payload_encoding":"base64"}'),
    ]);
  });

  test("the receiver can fail as asked: the event comes again with a higher attempt", async ({ place }) => {
    const receiver = await place.startReceiver("--status", "500", "--all-headers");
    const broker = await place.startBroker(
      `webhook { url = "http://127.0.0.1:${receiver.port}/hook", retry.schedule = [10ms], events = [ { event = on_message_publish } ] }`,
    );
    const client = await connectMqttJs(place, broker.port);
    await client.publishAsync("a", "x", { qos: 1 });
    const [, id] = await receiver.program.line(/^header: webhook-id: \[(evt_[0-9A-Z]{26})\]$/);
    await receiver.program.line(/^header: x-webhook-attempt: \[2\]$/);
    await broker.program.line(/became a dead letter.*attempts=2/);
    const said = receiver.program.stdout.filter(
      (line) => line.startsWith("header: webhook-id") || line.startsWith("POST"),
    );
    assert.deepEqual(said, ["POST /hook", `header: webhook-id: [${id}]`, "POST /hook", `header: webhook-id: [${id}]`]);
  });
});

const tutorialClient = ["-i", "wbhk_clientid", "-u", "wbhk_test"];
const tutorialMessage = ["-t", "nmq/pub", "-q", "1", "-r", "-m", "Hello World!"];

function tutorialConfiguration(): string {
  return readFileSync(path.join(repository, "etc", "nanomq.conf"), "utf8");
}

/** On ports that are free. */
function configurationFor(receiver: ReceiverProcess): string {
  return tutorialConfiguration()
    .replace('"0.0.0.0:1883"', '"127.0.0.1:0"')
    .replace("http://127.0.0.1:8888", `http://127.0.0.1:${receiver.port}`);
}

/** `emqx-edge start --conf path/to/nanomq.conf`, and the receiver its webhook leads to. */
async function follow(
  place: Place,
  change: (text: string) => string = (text) => text,
): Promise<{ broker: BrokerProcess; receiver: ReceiverProcess }> {
  const receiver = await place.startReceiver();
  place.write("path/to/nanomq.conf", change(configurationFor(receiver)));
  const broker = await listening(place.run("emqx-edge", ["start", "--conf", "path/to/nanomq.conf"]));
  return { broker, receiver };
}

/** Client events left out. */
function onlyMessages(text: string): string {
  return text.replaceAll(/\{\s*event = "on_client_\w+"\s*\}/g, "");
}

function messageEvent(topicName: string, clientId: string, payload: string): string {
  return `Received: {"ts":<now>,"topic":"${topicName}","retain":false,"qos":1,"action":"message_publish","from_username":"undefined","from_client_id":"${clientId}","payload":"${payload}"}`;
}

/** That the receiver has printed these, each under its header line, and nothing else; `ts` must be now, in milliseconds. */
async function expectEvents(receiver: Program, events: readonly string[]): Promise<void> {
  const said = (await receiver.lines(1 + 2 * events.length)).slice(1);
  const now = Date.now();
  const expected = events.flatMap((event) => [header, event]);
  const stamped = said.map((line) =>
    line.replace(/(?<=^Received: \{"ts":)\d+/, (digits) =>
      Math.abs(Number(digits) - now) < 20_000 ? "<now>" : `${digits}, which is not now (${now})`,
    ),
  );
  assert.deepEqual(stamped, expected);
}

/** `check` without where each setting comes from. */
async function settingsInForce(place: Place, file: string): Promise<string[]> {
  const check = place.hookmq(["check", "--conf", file]);
  assert.equal(await check.exitCode(), 0);
  return check.stdout.map((line) => line.replace(/ *# .*$/, ""));
}

function packageVersion(): string {
  return JSON.parse(readFileSync(path.join(repository, "package.json"), "utf8")).version;
}
