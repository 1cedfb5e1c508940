import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker();
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

describe("an UNSUBSCRIBE that cannot be ends its sender's connection", () => {
  for (const [title, written, reasonCode, clause] of [
    ["wrong flags", "a0 06 0001 00 0001 'a'", 0x81, "3.10.1-1"],
    ["Packet Identifier 0", "a2 06 0000 00 0001 'a'", 0x81, "2.2.1-3"],
    ["no topic filter", "a2 03 0001 00", 0x82, "3.10.3-2"],
    ["a topic filter that is not UTF-8", "a2 06 0001 00 0001 ff", 0x81, "3.10.3-1"],
    ["a topic filter that is cut off", "a2 06 0001 00 0002 'a'", 0x81, "3.10.3-1"],
    ["a Subscription Identifier", "a2 08 0001 02 0b01 0001 'a'", 0x81, "2.2.2.2"],
  ] as const) {
    const code = `0x${reasonCode.toString(16)}`;
    test(`${title}: DISCONNECT ${code} [MQTT5 ${clause}] [MQTT5 4.13.1-1]`, async () => {
      const client = await TestClient.connect(broker.port);
      client.sendBytes(bytesOf(written));
      assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
      await client.closed();
    });
  }
});

test("only a filter that is the same, character by character, is taken away [MQTT5 3.10.4-1]", async () => {
  const client = await TestClient.connect(broker.port);
  await client.subscribe("exact/+");
  const { reasonCodes } = await client.unsubscribe(
    "exact/a",
    "exact/#",
    "+/+",
    "exact/",
    "EXACT/+",
    "/exact/+",
    "exact/+",
  );
  const none = ReasonCode.noSubscriptionExisted;
  assert.deepEqual(reasonCodes, [none, none, none, none, none, none, ReasonCode.success]);
});

test("after UNSUBACK nothing new comes [MQTT5 3.10.4-2]", async () => {
  const client = await TestClient.connect(broker.port);
  await client.subscribe("stop", { qos: 1 });
  await publisher.publish("stop", "before", { qos: 1 });
  assert.equal(textOf(await client.receive()), "before");
  await client.unsubscribe("stop");
  for (const qos of [0, 1, 2] as const) await publisher.publish("stop", "after", { qos });
  await client.nothing();
});

test("other subscriptions that match go on", async () => {
  const client = await TestClient.connect(broker.port);
  await client.subscribe("other/a", { qos: 2, subscriptionIdentifier: 1 });
  await client.subscribe("other/#", { qos: 1, subscriptionIdentifier: 2 });
  await client.unsubscribe("other/a");
  await publisher.publish("other/a", "x", { qos: 2 });
  const publish = await client.receive();
  assert.equal(publish.qos, 1);
  assert.deepEqual(publish.properties?.subscriptionIdentifiers, [2]);
});

test("a QoS 2 delivery that has begun is completed [MQTT5 3.10.4-3]", async () => {
  const client = await TestClient.connect(broker.port);
  await client.subscribe("begun", { qos: 2 });
  await publisher.publish("begun", "x", { qos: 2 });
  const publish = await client.expect("publish");
  assert.ok(publish.qos === 2);
  await client.unsubscribe("begun");
  const { packetIdentifier } = publish;
  client.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
  assert.equal((await client.expect("pubrel")).reasonCode, ReasonCode.success);
});

test("UNSUBACK has the identifier of its UNSUBSCRIBE, also when nothing was subscribed [MQTT5 3.10.4-4] [MQTT5 3.10.4-5]", async () => {
  const client = await TestClient.connect(broker.port);
  client.send({ type: "unsubscribe", packetIdentifier: 4711, topicFilters: ["never"] });
  const unsuback = await client.expect("unsuback");
  assert.equal(unsuback.packetIdentifier, 4711);
  assert.deepEqual(unsuback.reasonCodes, [ReasonCode.noSubscriptionExisted]);
});

test("several filters are handled in order and answered each in its place [MQTT5 3.10.4-6] [MQTT5 3.11.3-1] [MQTT5 3.11.3-2]", async () => {
  const client = await TestClient.connect(broker.port);
  await client.subscribe("several/a");
  await client.subscribe("$share/g/several/b");
  const { reasonCodes } = await client.unsubscribe(
    "several/x",
    "several/a",
    "several/a",
    "$share/g/several/b",
    "several/b",
  );
  assert.deepEqual(reasonCodes, [0x11, 0x00, 0x11, 0x00, 0x11]);
  for (const name of ["a", "b"]) await publisher.publish(`several/${name}`, "x");
  await client.nothing();
});

test("what waits for a session that has left stays owed to it after UNSUBSCRIBE", async () => {
  const connect = {
    clientId: "owed",
    cleanStart: false,
    properties: { sessionExpiryInterval: 100, receiveMaximum: 1 },
  };
  const first = await TestClient.connect(broker.port, connect);
  await first.subscribe("owed", { qos: 1 });
  for (const text of ["a", "b"]) await publisher.publish("owed", text, { qos: 1 });
  const publish = await first.expect("publish");
  assert.ok(publish.qos === 1);
  await first.unsubscribe("owed");
  first.send({ type: "puback", packetIdentifier: publish.packetIdentifier, reasonCode: 0 });
  assert.equal(textOf(await first.receive()), "b");
});
