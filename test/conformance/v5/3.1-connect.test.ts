import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.close());

describe("the first packet", () => {
  for (const [name, bytes] of [
    ["PINGREQ", "c000"],
    ["PUBLISH", "30 05 0001 61 00 62"],
    ["SUBSCRIBE", "82 07 0001 00 0001 61 00"],
    ["PUBREL", "62 02 0001"],
    ["DISCONNECT", "e000"],
    ["AUTH", "f000"],
    ["CONNACK", "20 03 00 00 00"],
    ["a packet of the reserved type", "0000"],
    ["a huge PUBLISH of which only the beginning comes", "30 ffffff7f 0001"],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n").toString("hex")],
  ] as const) {
    test(`is not ${name}: the server closes without a word [MQTT5 3.1.0-1] [MQTT5 3.14.0-1]`, async () => {
      const client = await TestClient.open(broker.port);
      client.sendBytes(bytes);
      await client.closed();
      assert.deepEqual(client.unread, []);
    });
  }

  test("is a CONNECT once: a second one is a Protocol Error [MQTT5 3.1.0-2]", async () => {
    const client = await TestClient.connect(broker.port);
    client.send({ type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId: "again" });
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.protocolError);
    await client.closed();
  });
});

describe("the protocol name and version", () => {
  for (const [title, written] of [
    ["another protocol name", "10 0d 0004 'MQTX' 05 02 0000 00 0000"],
    ["the name in lower case", "10 0d 0004 'mqtt' 05 02 0000 00 0000"],
    ["the name of 3.1 with the version of 5.0", "10 0f 0006 'MQIsdp' 05 02 0000 00 0000"],
    ["version 0", "10 0d 0004 'MQTT' 00 02 0000 00 0000"],
  ] as const) {
    test(`${title} is refused in words of 3.1.1: unacceptable protocol version [MQTT5 3.1.2-1]`, async () => {
      const client = await TestClient.open(broker.port);
      client.version = 4;
      client.sendBytes(bytesOf(written));
      assert.equal((await client.expect("connack")).reasonCode, ReasonCode.unsupportedProtocolVersion);
      await client.closed();
    });
  }

  test("a version after 5 is answered with CONNACK 0x84 [MQTT5 3.1.2-2]", async () => {
    const client = await TestClient.open(broker.port);
    client.sendBytes(bytesOf("10 0d 0004 'MQTT' 06 02 0000 00 0000"));
    assert.equal((await client.expect("connack")).reasonCode, ReasonCode.unsupportedProtocolVersion);
    await client.closed();
  });
});

describe("a CONNECT that cannot be", () => {
  for (const [title, written, reasonCode, clause] of [
    ["the reserved flag set", "10 0e 0004 'MQTT' 05 03 0000 00 0001 'c'", 0x81, "3.1.2-3"],
    ["Will QoS without a Will", "10 0e 0004 'MQTT' 05 0a 0000 00 0001 'c'", 0x81, "3.1.2-11"],
    ["Will QoS 3", "10 15 0004 'MQTT' 05 1e 0000 00 0001 'c' 00 0001 'w' 0001 'm'", 0x81, "3.1.2-12"],
    ["Will Retain without a Will", "10 0e 0004 'MQTT' 05 22 0000 00 0001 'c'", 0x81, "3.1.2-13"],
    ["a wildcard in the Will Topic", "10 15 0004 'MQTT' 05 06 0000 00 0001 'c' 00 0001 '#' 0001 'm'", 0x81, "4.7.0-1"],
    ["a user name that does not come", "10 0e 0004 'MQTT' 05 82 0000 00 0001 'c'", 0x81, "3.1.2-17"],
    ["a password that does not come", "10 0e 0004 'MQTT' 05 42 0000 00 0001 'c'", 0x81, "3.1.2-19"],
    ["a user name that is not announced", "10 11 0004 'MQTT' 05 02 0000 00 0001 'c' 0001 'u'", 0x81, "3.1.2-16"],
    ["a client identifier that is not UTF-8", "10 0e 0004 'MQTT' 05 02 0000 00 0001 ff", 0x81, "3.1.3-4"],
    ["U+0000 in the client identifier", "10 0e 0004 'MQTT' 05 02 0000 00 0001 00", 0x81, "1.5.4-2"],
    ["a surrogate in the client identifier", "10 10 0004 'MQTT' 05 02 0000 00 0003 eda080", 0x81, "1.5.4-1"],
    [
      "a Will Topic that is not UTF-8",
      "10 15 0004 'MQTT' 05 06 0000 00 0001 'c' 00 0001 fe 0001 'm'",
      0x81,
      "3.1.3-11",
    ],
    ["a user name that is not UTF-8", "10 11 0004 'MQTT' 05 82 0000 00 0001 'c' 0001 80", 0x81, "3.1.3-12"],
    ["Receive Maximum 0", "10 11 0004 'MQTT' 05 02 0000 03 210000 0001 'c'", 0x82, "3.1.2.11.3"],
    ["Maximum Packet Size 0", "10 13 0004 'MQTT' 05 02 0000 05 2700000000 0001 'c'", 0x82, "3.1.2.11.4"],
    ["Request Problem Information 2", "10 10 0004 'MQTT' 05 02 0000 02 1702 0001 'c'", 0x82, "3.1.2.11.7"],
    ["a property twice", "10 14 0004 'MQTT' 05 02 0000 06 210001 210002 0001 'c'", 0x82, "3.1.2.11.3"],
    ["a property of PUBLISH", "10 11 0004 'MQTT' 05 02 0000 03 230001 0001 'c'", 0x81, "2.2.2.2"],
    ["bytes behind its end", "10 0f 0004 'MQTT' 05 02 0000 00 0001 'c' ff", 0x81, "3.1.3-1"],
    ["reserved flags in its fixed header", "11 0e 0004 'MQTT' 05 02 0000 00 0001 'c'", 0x81, "2.1.3-1"],
  ] as const) {
    const code = `0x${reasonCode.toString(16)}`;
    test(`${title} is refused with CONNACK ${code} [MQTT5 ${clause}] [MQTT5 3.1.4-1]`, async () => {
      const client = await TestClient.open(broker.port);
      client.sendBytes(bytesOf(written));
      const connack = await client.expect("connack");
      assert.equal(connack.reasonCode, reasonCode);
      assert.equal(connack.sessionPresent, false);
      await client.closed();
    });
  }
});

describe("the client identifier", () => {
  test("may be empty: the server assigns one and says which [MQTT5 3.1.3-6] [MQTT5 3.1.3-7] [MQTT5 3.2.2-16]", async () => {
    const one = await TestClient.connect(broker.port, { clientId: "" });
    const other = await TestClient.connect(broker.port, { clientId: "" });
    const assigned = one.connack.properties?.assignedClientIdentifier;
    assert.match(assigned!, /./);
    assert.notEqual(assigned, other.connack.properties?.assignedClientIdentifier);
  });

  test("that was assigned brings its session back", async () => {
    const properties = { sessionExpiryInterval: 100 };
    const first = await TestClient.connect(broker.port, { clientId: "", cleanStart: false, properties });
    await first.disconnect();
    const again = await TestClient.connect(broker.port, { clientId: first.clientId, cleanStart: false, properties });
    assert.equal(again.connack.sessionPresent, true);
    assert.equal(again.connack.properties?.assignedClientIdentifier, undefined);
  });

  for (const clientId of [
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".slice(0, 23),
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ü €/𝄞 #+",
    "x".repeat(65_535),
    "__proto__",
    "constructor",
  ]) {
    const name = clientId.length > 70 ? "of 65,535 bytes" : `"${clientId}"`;
    test(`${name} is taken as it is [MQTT5 3.1.3-5]`, async () => {
      const client = await TestClient.connect(broker.port, { clientId });
      assert.equal(client.connack.properties?.assignedClientIdentifier, undefined);
      await client.nothing();
      assert.ok(broker.broker.sessions.get(clientId)?.connection);
    });
  }
});

describe("Clean Start", () => {
  const lasting = { sessionExpiryInterval: 1000 };

  test("1 discards the session that was [MQTT5 3.1.2-4]", async () => {
    const first = await TestClient.connect(broker.port, { clientId: "clean-1", properties: lasting });
    await first.subscribe("clean/1", { qos: 1 });
    await first.disconnect();
    const second = await TestClient.connect(broker.port, { clientId: "clean-1", properties: lasting });
    assert.equal(second.connack.sessionPresent, false);
    await second.publish("clean/1", "x", { qos: 1 });
    await second.nothing();
  });

  test("0 goes on with the session that was [MQTT5 3.1.2-5]", async () => {
    const first = await TestClient.connect(broker.port, { clientId: "clean-0", properties: lasting });
    await first.subscribe("clean/0", { qos: 1 });
    await first.disconnect();
    const second = await TestClient.connect(broker.port, {
      clientId: "clean-0",
      cleanStart: false,
      properties: lasting,
    });
    assert.equal(second.connack.sessionPresent, true);
    await second.publish("clean/0", "x", { qos: 1 });
    assert.equal(textOf(await second.receive()), "x");
  });

  test("0 makes a new session where there is none [MQTT5 3.1.2-6]", async () => {
    const client = await TestClient.connect(broker.port, { clientId: "clean-none", cleanStart: false });
    assert.equal(client.connack.sessionPresent, false);
  });
});

describe("a client identifier in use", () => {
  test("passes to the new connection: the old one hears 0x8E and is closed [MQTT5 3.1.4-3]", async () => {
    const old = await TestClient.connect(broker.port, { clientId: "taken" });
    const young = await TestClient.connect(broker.port, { clientId: "taken" });
    assert.equal((await old.expect("disconnect")).reasonCode, ReasonCode.sessionTakenOver);
    await old.closed();
    await young.nothing();
  });

  test("takes its session along without Clean Start, messages not acknowledged included [MQTT5 3.1.4-4]", async () => {
    const properties = { sessionExpiryInterval: 100 };
    const old = await TestClient.connect(broker.port, { clientId: "taken-session", properties });
    await old.subscribe("taken/session", { qos: 1 });
    await old.publish("taken/session", "x", { qos: 1 });
    await old.expect("publish");
    const young = await TestClient.connect(broker.port, { clientId: "taken-session", cleanStart: false, properties });
    assert.equal((await old.expect("disconnect")).reasonCode, ReasonCode.sessionTakenOver);
    assert.equal(young.connack.sessionPresent, true);
    assert.equal(textOf(await young.receive()), "x");
  });

  test("held by a session that ends with its connection leaves nothing to take along", async () => {
    const old = await TestClient.connect(broker.port, { clientId: "taken-short" });
    await old.subscribe("taken/short");
    const young = await TestClient.connect(broker.port, { clientId: "taken-short", cleanStart: false });
    assert.equal(young.connack.sessionPresent, false);
    await young.publish("taken/short", "x");
    await young.nothing();
  });
});

describe("packets behind the CONNECT", () => {
  test("are read without waiting for the CONNACK, which comes first [MQTT5 3.1.4-5] [MQTT5 3.2.0-1]", async () => {
    const client = await TestClient.open(broker.port);
    client.sendBytes(
      bytesOf(
        "10 10 0004 'MQTT' 05 02 0000 00 0003 'fst' 82 0b 0001 00 0005 'a/fst' 00 30 09 0005 'a/fst' 00 'x' c000",
      ),
    );
    await client.expect("connack");
    await client.expect("suback");
    assert.equal(textOf(await client.expect("publish")), "x");
    await client.expect("pingresp");
  });

  test("of a client that is refused are not processed [MQTT5 3.1.4-6]", async () => {
    const access = { ...openAccess, authenticate: async () => ReasonCode.notAuthorized };
    const strict = await startBroker({}, { access });
    const client = await TestClient.open(strict.port);
    client.sendBytes(bytesOf("10 10 0004 'MQTT' 05 02 0000 00 0003 'fst' 31 09 0005 'a/fst' 00 'x'"));
    assert.equal((await client.expect("connack")).reasonCode, ReasonCode.notAuthorized);
    await client.closed();
    assert.equal(strict.broker.retained.count, 0);
    await strict.close();
  });

  test("wait while the server decides who it is, and are then handled in order", async () => {
    let decide: (verdict: ReasonCode) => void = () => {};
    const access = { ...openAccess, authenticate: () => new Promise<ReasonCode>((resolve) => (decide = resolve)) };
    const slow = await startBroker({}, { access });
    const client = await TestClient.open(slow.port);
    client.send({ type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId: "slow" });
    const topics = ["a", "b", "c"];
    for (const topic of topics) client.sendPublish(topic, "x", { qos: 1 });
    const other = await TestClient.open(slow.port);
    other.sendBytes("c000");
    await other.closed();
    assert.deepEqual(client.unread, []);
    decide(ReasonCode.success);
    await client.expect("connack");
    for (const packetIdentifier of [1, 2, 3]) {
      assert.equal((await client.expect("puback")).packetIdentifier, packetIdentifier);
    }
    await slow.close();
  });
});

test("a will whose topic is too deep is refused with Topic Name invalid, before it is promised [MQTT5 3.2.2.2]", async () => {
  const server = await startBroker();
  try {
    const client = await TestClient.open(server.port);
    const topicName = "a/".repeat(200);
    const will = { topicName, payload: Buffer.from("x"), qos: 0, retain: false } as const;
    assert.equal((await client.request({ will })).reasonCode, ReasonCode.topicNameInvalid);
    await client.closed();
  } finally {
    await server.close();
  }
});

test("at the limit of connections a client may still take over its own [MQTT5 3.1.4-3]", async () => {
  const server = await startBroker({ connectionsMax: 1 });
  try {
    const first = await TestClient.connect(server.port, { clientId: "mine" });
    const other = await TestClient.open(server.port);
    assert.equal((await other.request({ clientId: "other" })).reasonCode, ReasonCode.serverBusy);
    const second = await TestClient.connect(server.port, { clientId: "mine" });
    await first.closed();
    await second.disconnect();
  } finally {
    await server.close();
  }
});
