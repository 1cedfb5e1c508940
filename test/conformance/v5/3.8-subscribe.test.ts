import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import type { SubscriptionRequest } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  const maySubscribe = (_: unknown, topicFilter: string) => !topicFilter.startsWith("forbidden");
  broker = await startBroker({}, { access: { ...openAccess, maySubscribe } });
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

const request = (topicFilter: string, options: Partial<SubscriptionRequest> = {}): SubscriptionRequest => ({
  topicFilter,
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  ...options,
});

describe("a SUBSCRIBE that cannot be ends its sender's connection", () => {
  for (const [title, written, reasonCode, clause] of [
    ["wrong flags", "80 07 0001 00 0001 'a' 00", 0x81, "3.8.1-1"],
    ["Packet Identifier 0", "82 07 0000 00 0001 'a' 00", 0x81, "2.2.1-3"],
    ["no topic filter", "82 03 0001 00", 0x82, "3.8.3-2"],
    ["a topic filter without its options", "82 06 0001 00 0001 'a'", 0x81, "3.8.3-2"],
    ["a topic filter that is not UTF-8", "82 07 0001 00 0001 ff 00", 0x81, "3.8.3-1"],
    ["U+0000 in a topic filter", "82 07 0001 00 0001 00 00", 0x81, "4.7.3-2"],
    ["a reserved option", "82 07 0001 00 0001 'a' 40", 0x81, "3.8.3-5"],
    ["QoS 3", "82 07 0001 00 0001 'a' 03", 0x82, "3.8.3.1"],
    ["Retain Handling 3", "82 07 0001 00 0001 'a' 30", 0x82, "3.8.3.1"],
    ["No Local on a Shared Subscription", "82 10 0001 00 000a '$share/g/a' 04", 0x82, "3.8.3-4"],
    ["Subscription Identifier 0", "82 09 0001 02 0b00 0001 'a' 00", 0x82, "3.8.2.1.2"],
    ["two Subscription Identifiers", "82 0b 0001 04 0b01 0b02 0001 'a' 00", 0x82, "3.8.2.1.2"],
    ["a Subscription Identifier of five bytes", "82 0d 0001 06 0bffffffff7f 0001 'a' 00", 0x81, "1.5.5"],
    ["a property of PUBLISH", "82 0a 0001 03 230001 0001 'a' 00", 0x81, "2.2.2.2"],
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

describe("SUBACK", () => {
  test("has the identifier of its SUBSCRIBE [MQTT5 3.8.4-1] [MQTT5 3.8.4-2]", async () => {
    const client = await TestClient.connect(broker.port);
    for (const packetIdentifier of [1, 77, 65_535]) {
      client.send({ type: "subscribe", packetIdentifier, subscriptions: [request("a")] });
      assert.equal((await client.expect("suback")).packetIdentifier, packetIdentifier);
    }
  });

  test("answers every filter in its place: granted QoS or why not [MQTT5 3.8.4-5] [MQTT5 3.8.4-6] [MQTT5 3.8.4-7] [MQTT5 3.9.3-1]", async () => {
    const client = await TestClient.connect(broker.port);
    client.send({
      type: "subscribe",
      packetIdentifier: 9,
      subscriptions: [
        request("suback/a", { qos: 2 }),
        request("suback/#/b", { qos: 2 }),
        request("suback/c", { qos: 0 }),
        request("forbidden/d", { qos: 1 }),
        request("suback/e", { qos: 1 }),
        request("", { qos: 1 }),
        request("$share//a", { qos: 1 }),
      ],
    });
    const { reasonCodes } = await client.expect("suback");
    assert.deepEqual(reasonCodes, [0x02, 0x8f, 0x00, 0x87, 0x01, 0x8f, 0x8f]);
    for (const name of ["a", "b", "c", "d", "e"]) await publisher.publish(`suback/${name}`, name);
    await publisher.publish("forbidden/d", "d");
    assert.deepEqual(await client.receiveTexts(3), ["a", "c", "e"]);
    await client.nothing();
  });

  test("says 0x87 for a forbidden filter behind $share too", async () => {
    const client = await TestClient.connect(broker.port);
    const { reasonCodes } = await client.subscribe("$share/g/forbidden/a");
    assert.deepEqual(reasonCodes, [ReasonCode.notAuthorized]);
  });

  test("comes once for a hundred filters", async () => {
    const client = await TestClient.connect(broker.port);
    const subscriptions = Array.from({ length: 100 }, (_, i) => request(`hundred/${i}`, { qos: (i % 3) as 0 | 1 | 2 }));
    client.send({ type: "subscribe", packetIdentifier: 1, subscriptions });
    const { reasonCodes } = await client.expect("suback");
    assert.deepEqual(
      reasonCodes,
      subscriptions.map(({ qos }) => qos),
    );
    await client.nothing();
  });
});

describe("the QoS of what arrives", () => {
  for (const published of [0, 1, 2] as const) {
    for (const granted of [0, 1, 2] as const) {
      const expected = Math.min(published, granted);
      test(`is ${expected} when published at ${published} and granted ${granted} [MQTT5 3.8.4-8]`, async () => {
        const client = await TestClient.connect(broker.port);
        const topicName = `granted/${published}/${granted}`;
        await client.subscribe(topicName, { qos: granted });
        await publisher.publish(topicName, "x", { qos: published });
        assert.equal((await client.receive()).qos, expected);
      });
    }
  }
});

describe("a second SUBSCRIBE to the same filter", () => {
  test("replaces the first with all its options [MQTT5 3.8.4-3]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("replace", { qos: 2, noLocal: true, subscriptionIdentifier: 1 });
    await client.subscribe("replace", { qos: 1, retainAsPublished: true, subscriptionIdentifier: 2 });
    await client.publish("replace", "x", { qos: 2, retain: true });
    const publish = await client.receive();
    assert.equal(publish.qos, 1);
    assert.equal(publish.retain, true);
    assert.deepEqual(publish.properties?.subscriptionIdentifiers, [2]);
    await client.nothing();
  });

  test("without an identifier takes the first one's away [MQTT5 3.8.4-3]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("unidentified", { subscriptionIdentifier: 1 });
    await client.subscribe("unidentified");
    await publisher.publish("unidentified", "x");
    assert.equal((await client.receive()).properties?.subscriptionIdentifiers, undefined);
  });

  test("in the same packet counts like one in a packet of its own [MQTT5 3.8.4-5]", async () => {
    const client = await TestClient.connect(broker.port);
    const subscriptions = [request("twice", { qos: 0 }), request("twice", { qos: 2 })];
    client.send({ type: "subscribe", packetIdentifier: 1, subscriptions });
    assert.deepEqual((await client.expect("suback")).reasonCodes, [0, 2]);
    await publisher.publish("twice", "x", { qos: 2 });
    assert.equal((await client.receive()).qos, 2);
    await client.nothing();
  });
});

describe("No Local", () => {
  test("keeps a client's own messages from it, not those of others [MQTT5 3.8.3-3]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("local/a", { qos: 2, noLocal: true });
    for (const qos of [0, 1, 2] as const) await client.publish("local/a", "own", { qos });
    await client.nothing();
    await publisher.publish("local/a", "other's", { qos: 1 });
    assert.equal(textOf(await client.receive()), "other's");
  });

  test("keeps a client's own will from it [MQTT5 3.8.3-3]", async () => {
    const first = await TestClient.connect(broker.port, {
      clientId: "local-will",
      will: { topicName: "local/will", payload: Buffer.from("gone"), qos: 1, retain: false },
      properties: { sessionExpiryInterval: 100 },
    });
    await first.subscribe("local/will", { qos: 1, noLocal: true });
    await publisher.subscribe("local/will");
    const second = await TestClient.connect(broker.port, { clientId: "local-will", cleanStart: false });
    assert.equal(textOf(await publisher.receive()), "gone");
    await publisher.unsubscribe("local/will");
    assert.equal(second.connack.sessionPresent, true);
    await second.nothing();
  });

  test("0 lets a client hear itself", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("local/b", { noLocal: false });
    await client.publish("local/b", "own");
    assert.equal(textOf(await client.receive()), "own");
  });

  test("is each subscription's own: another one that matches still delivers, on its own terms [MQTT5 3.8.3-3]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("local/c", { qos: 2, noLocal: true, subscriptionIdentifier: 1 });
    await client.subscribe("local/+", { qos: 1, subscriptionIdentifier: 2 });
    await client.publish("local/c", "own", { qos: 2 });
    const own = await client.receive();
    assert.equal(own.qos, 1);
    assert.deepEqual(own.properties?.subscriptionIdentifiers, [2]);
    await publisher.publish("local/c", "other's", { qos: 2 });
    assert.equal((await client.receive()).qos, 2);
  });
});

test("an identifier goes with messages until the subscription has another [MQTT5 3.8.2.1.2] [MQTT5 3.3.4-3]", async () => {
  const client = await TestClient.connect(broker.port);
  for (const subscriptionIdentifier of [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
    await client.subscribe("identifier", { subscriptionIdentifier, qos: 1 });
    await publisher.publish("identifier", "x", { qos: 1 });
    assert.deepEqual((await client.receive()).properties?.subscriptionIdentifiers, [subscriptionIdentifier]);
  }
});

test("an identifier goes with what waited for the session, as it was when the message came", async () => {
  const connect = { clientId: "identified", cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const first = await TestClient.connect(broker.port, connect);
  await first.subscribe("identified/#", { subscriptionIdentifier: 3, qos: 1 });
  await first.subscribe("identified/+", { subscriptionIdentifier: 4, qos: 1 });
  await first.disconnect();
  await publisher.publish("identified/a", "x", { qos: 1 });
  const second = await TestClient.connect(broker.port, connect);
  const { subscriptionIdentifiers = [] } = (await second.receive()).properties ?? {};
  assert.deepEqual(subscriptionIdentifiers.toSorted(), [3, 4]);
});
