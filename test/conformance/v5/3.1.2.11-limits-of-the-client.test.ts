import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { encodePacket } from "../../../src/mqtt/codec.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker({ packetBytesMax: 1000 });
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

describe("the client's Maximum Packet Size", () => {
  /** Payload bytes of a PUBLISH of 100 bytes on a topic of 3 bytes, without properties. */
  const fits = { 0: 92, 1: 90, 2: 90 } as const;

  for (const qos of [0, 1, 2] as const) {
    for (const lasting of [false, true]) {
      const kind = lasting ? "a lasting" : "a passing";
      test(`holds at QoS ${qos} in ${kind} session: a larger message counts as delivered [MQTT5 3.1.2-24] [MQTT5 3.1.2-25]`, async () => {
        const client = await TestClient.connect(broker.port, {
          properties: { maximumPacketSize: 100, sessionExpiryInterval: lasting ? 100 : 0, receiveMaximum: 1 },
        });
        await client.subscribe("mps", { qos });
        for (const bytes of [fits[qos] + 1, 500, fits[qos]]) {
          const code = await publisher.publish("mps", "x".repeat(bytes), { qos });
          assert.equal(code, ReasonCode.success);
        }
        const publish = await client.receive();
        assert.equal(publish.payload.length, fits[qos]);
        await client.nothing();
        await client.disconnect();
      });
    }
  }

  test("holds for Subscription Identifiers and properties as well [MQTT5 3.1.2-24]", async () => {
    const client = await TestClient.connect(broker.port, { properties: { maximumPacketSize: 100 } });
    await client.subscribe("mps/id", { subscriptionIdentifier: 1 });
    await publisher.publish("mps/id", "x".repeat(88));
    await publisher.publish("mps/id", "", { properties: { userProperties: [["a", "b".repeat(90)]] } });
    await publisher.publish("mps/id", "x".repeat(87));
    assert.equal((await client.receive()).payload.length, 87);
    await client.nothing();
  });

  for (const topicName of ["a", "abc", "a-rather-long-topic-name"]) {
    test(`holds with Topic Aliases, new and known, for ${topicName} [MQTT5 3.1.2-24]`, async () => {
      const properties = { maximumPacketSize: 100, topicAliasMaximum: 5 };
      const client = await TestClient.connect(broker.port, { properties });
      await client.subscribe(topicName);
      // Without an alias the last of these makes a packet of 100 bytes.
      const largest = 95 - topicName.length;
      for (const bytes of [largest, 1, largest - 3, largest - 2, largest - 1, largest]) {
        await publisher.publish(topicName, "x".repeat(bytes));
        const publish = await client.receive();
        assert.equal(publish.payload.length, bytes);
        assert.ok(encodePacket(5, publish).length <= 100);
      }
    });
  }

  test("holds for retained messages [MQTT5 3.1.2-25]", async () => {
    for (const qos of [0, 1] as const) await publisher.publish("mps/kept", "x".repeat(200), { retain: true, qos });
    const client = await TestClient.connect(broker.port, { properties: { maximumPacketSize: 100 } });
    await client.subscribe("mps/kept", { qos: 1 });
    await client.nothing();
  });

  test("holds when a session comes back with a smaller one [MQTT5 3.1.2-25]", async () => {
    const connect = { clientId: "mps-back", cleanStart: false } as const;
    const first = await TestClient.connect(broker.port, { ...connect, properties: { sessionExpiryInterval: 100 } });
    await first.subscribe("mps/back", { qos: 2 });
    await publisher.publish("mps/back", "x".repeat(200), { qos: 1 });
    await first.expect("publish");
    await publisher.publish("mps/back", "y".repeat(200), { qos: 2 });
    await first.disconnect();
    await publisher.publish("mps/back", "small", { qos: 1 });
    const properties = { sessionExpiryInterval: 100, maximumPacketSize: 100 };
    const second = await TestClient.connect(broker.port, { ...connect, properties });
    assert.equal(textOf(await second.receive()), "small");
    await second.nothing();
  });

  test("takes the Reason String from a DISCONNECT that would not fit with it, not the Reason Code [MQTT5 3.14.2-3]", async () => {
    const client = await TestClient.connect(broker.port, { properties: { maximumPacketSize: 20 } });
    client.sendPublish("", "x");
    const disconnect = await client.expect("disconnect");
    assert.equal(disconnect.reasonCode, ReasonCode.protocolError);
    assert.equal(disconnect.properties?.reasonString, undefined);
  });
});

describe("the server's Maximum Packet Size", () => {
  for (const [title, bytes] of [
    ["a PUBLISH one byte too large", Buffer.concat([Buffer.from("30e6070001610" + "0", "hex"), Buffer.alloc(994)])],
    ["the fixed header alone of a larger one", Buffer.from("30ffffff7f", "hex")],
    ["a SUBSCRIBE that is too large", Buffer.from("82ffff03", "hex")],
  ] as const) {
    test(`${title}: DISCONNECT 0x95 before any of it is kept [MQTT5 3.2.2-15]`, async () => {
      const client = await TestClient.connect(broker.port);
      client.sendBytes(bytes);
      assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.packetTooLarge);
      await client.closed();
    });
  }

  test("lets a packet of just that size pass", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("a");
    client.sendBytes(Buffer.concat([Buffer.from("30e5070001610" + "0", "hex"), Buffer.alloc(993)]));
    assert.equal((await client.receive()).payload.length, 993);
  });
});

describe("Request Problem Information 0", () => {
  const properties = { requestProblemInformation: false };

  test("keeps Reason Strings and User Properties out of acknowledgements [MQTT5 3.1.2-29]", async () => {
    const client = await TestClient.connect(broker.port, { properties });
    const answers = [
      await client.subscribe("a/#/b"),
      await client.unsubscribe("never"),
      await answerToPublish(client, 1),
      await answerToPublish(client, 2),
    ];
    for (const answer of answers) assert.equal(answer.properties, undefined);
  });

  test("leaves the User Properties of messages alone [MQTT5 3.1.2-29]", async () => {
    const client = await TestClient.connect(broker.port, { properties });
    await client.subscribe("problem");
    await publisher.publish("problem", "x", { properties: { userProperties: [["a", "b"]] } });
    assert.deepEqual((await client.receive()).properties?.userProperties, [["a", "b"]]);
  });

  async function answerToPublish(client: TestClient, qos: 1 | 2) {
    client.sendPublish("nobody", "x", { qos, packetIdentifier: 500 + qos });
    return client.answerTo(qos === 1 ? "puback" : "pubrec", 500 + qos);
  }
});
