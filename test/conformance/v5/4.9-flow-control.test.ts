import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  const mayPublish = (_: unknown, topicName: string) => !topicName.startsWith("forbidden");
  broker = await startBroker({ receiveMaximum: 3, inflightMessagesMax: 20 }, { access: { ...openAccess, mayPublish } });
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

async function unacknowledged(client: TestClient) {
  const publish = await client.expect("publish");
  assert.ok(publish.qos !== 0);
  return publish;
}

describe("the client's Receive Maximum", () => {
  for (const lasting of [false, true]) {
    const kind = lasting ? "a lasting" : "a passing";
    test(`bounds what is under way to ${kind} session; each acknowledgement lets one more go [MQTT5 3.3.4-9] [MQTT5 4.9.0-1] [MQTT5 4.9.0-2]`, async () => {
      const properties = { receiveMaximum: 2, sessionExpiryInterval: lasting ? 100 : 0 };
      const client = await TestClient.connect(broker.port, { properties });
      const topicName = `window/${lasting}`;
      await client.subscribe(topicName, { qos: 2 });
      for (const [text, qos] of [
        ["a", 1],
        ["b", 2],
        ["c", 1],
        ["d", 2],
      ] as const) {
        await publisher.publish(topicName, text, { qos });
      }
      const [a, b] = [await unacknowledged(client), await unacknowledged(client)];
      await client.nothing();
      // PUBREC alone frees nothing, PUBCOMP does.
      client.send({ type: "pubrec", packetIdentifier: b.packetIdentifier, reasonCode: 0 });
      await client.expect("pubrel");
      await client.nothing();
      client.send({ type: "pubcomp", packetIdentifier: b.packetIdentifier, reasonCode: 0 });
      const c = await unacknowledged(client);
      await client.nothing();
      client.send({ type: "puback", packetIdentifier: a.packetIdentifier, reasonCode: 0 });
      const d = await unacknowledged(client);
      assert.deepEqual([a, b, c, d].map(textOf), ["a", "b", "c", "d"]);
      // A PUBREC that refuses frees its place as well.
      await publisher.publish(topicName, "e", { qos: 1 });
      client.send({ type: "pubrec", packetIdentifier: d.packetIdentifier, reasonCode: 0x80 });
      assert.equal(textOf(await unacknowledged(client)), "e");
      await client.disconnect();
    });
  }

  test("does not hold up QoS 0 or any other packet [MQTT5 3.3.4-10] [MQTT5 4.9.0-3]", async () => {
    const client = await TestClient.connect(broker.port, { properties: { receiveMaximum: 1 } });
    await client.subscribe("pass/#", { qos: 1 });
    for (const text of ["sent", "waits"]) await publisher.publish("pass/1", text, { qos: 1 });
    assert.equal(textOf(await client.expect("publish")), "sent");
    await publisher.publish("pass/0", "passes");
    assert.equal(textOf(await client.expect("publish")), "passes");
    assert.deepEqual((await client.subscribe("other")).reasonCodes, [0]);
    assert.ok((await client.publish("unheard", "x", { qos: 2 })) < 0x80);
  });

  test("is not changed by an acknowledgement that nothing waits for", async () => {
    const client = await TestClient.connect(broker.port, { properties: { receiveMaximum: 1 } });
    await client.subscribe("stray", { qos: 1 });
    for (const packetIdentifier of [5, 6, 7]) client.send({ type: "puback", packetIdentifier, reasonCode: 0 });
    for (const text of ["a", "b"]) await publisher.publish("stray", text, { qos: 1 });
    await client.expect("publish");
    await client.nothing();
  });

  test("is 65,535 when not given, within what the server itself keeps under way [MQTT5 3.1.2.11.3]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("absent", { qos: 1 });
    for (let i = 0; i < 25; i++) await publisher.publish("absent", "x", { qos: 1 });
    for (let i = 0; i < 20; i++) await client.expect("publish");
    await client.nothing();
  });
});

describe("the server's Receive Maximum", () => {
  test("lets that many QoS 2 messages be under way, and ends the connection with 0x93 at one more [MQTT5 3.3.4-7] [MQTT5 4.9]", async () => {
    const client = await TestClient.connect(broker.port);
    for (const packetIdentifier of [1, 2, 3]) client.sendPublish("t", "x", { qos: 2, packetIdentifier });
    for (const packetIdentifier of [1, 2, 3]) await client.answerTo("pubrec", packetIdentifier);
    client.sendPublish("t", "x", { qos: 2, packetIdentifier: 4 });
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.receiveMaximumExceeded);
    await client.closed();
  });

  test("counts PUBCOMP as the end of one, and a duplicate as none", async () => {
    const client = await TestClient.connect(broker.port);
    for (const packetIdentifier of [1, 2, 3]) client.sendPublish("t", "x", { qos: 2, packetIdentifier });
    for (const packetIdentifier of [1, 2, 3]) await client.answerTo("pubrec", packetIdentifier);
    client.sendPublish("t", "x", { qos: 2, packetIdentifier: 2, dup: true });
    await client.answerTo("pubrec", 2);
    client.send({ type: "pubrel", packetIdentifier: 1, reasonCode: 0 });
    await client.answerTo("pubcomp", 1);
    client.sendPublish("t", "x", { qos: 2, packetIdentifier: 4 });
    await client.answerTo("pubrec", 4);
  });

  test("is not used up by messages that are refused [MQTT5 4.9]", async () => {
    const client = await TestClient.connect(broker.port);
    for (let i = 0; i < 10; i++) {
      assert.equal(await client.publish("forbidden", "x", { qos: 2 }), ReasonCode.notAuthorized);
    }
    await client.nothing();
  });

  test("does not count QoS 0, nor QoS 1 that is answered at once", async () => {
    const client = await TestClient.connect(broker.port);
    for (let i = 0; i < 50; i++) client.sendPublish("t", "x", { qos: 0 });
    for (let i = 0; i < 50; i++) await client.publish("t", "x", { qos: 1 });
    await client.nothing();
  });
});

describe("a PUBLISH that is not permitted", () => {
  for (const qos of [1, 2] as const) {
    test(`gets 0x87 at QoS ${qos}; the connection lives and nobody hears it [MQTT5 3.4.2.1] [MQTT5 4.13.2-1]`, async () => {
      const witness = await TestClient.connect(broker.port);
      await witness.subscribe("forbidden/#");
      assert.equal(await publisher.publish("forbidden/x", "x", { qos, retain: true }), ReasonCode.notAuthorized);
      await publisher.nothing();
      await witness.nothing();
      assert.equal(broker.broker.retained.get("forbidden/x"), undefined);
    });
  }
});
