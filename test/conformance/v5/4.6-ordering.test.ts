import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.close());

const numbers = Array.from({ length: 300 }, (_, i) => String(i));

for (const qos of [0, 1, 2] as const) {
  for (const lasting of [false, true]) {
    const kind = lasting ? "a lasting" : "a passing";
    test(`messages of one topic and QoS ${qos} reach ${kind} session in the order they came [MQTT5 4.6.0-5]`, async () => {
      const subscriber = await TestClient.connect(broker.port, {
        properties: { sessionExpiryInterval: lasting ? 100 : 0, receiveMaximum: 7 },
      });
      const topicName = `ordered/${qos}/${lasting}`;
      await subscriber.subscribe(topicName, { qos });
      const publisher = await TestClient.connect(broker.port);
      for (const number of numbers) publisher.sendPublish(topicName, number, { qos });
      assert.deepEqual(await subscriber.receiveTexts(numbers.length), numbers);
      await subscriber.nothing();
      await subscriber.disconnect();
    });
  }
}

describe("answers", () => {
  test("PUBACKs come in the order of the PUBLISHes [MQTT5 4.6.0-2]", async () => {
    const client = await TestClient.connect(broker.port);
    const identifiers = [9, 3, 700, 1, 65_535, 2];
    for (const packetIdentifier of identifiers) client.sendPublish("t", "x", { qos: 1, packetIdentifier });
    for (const packetIdentifier of identifiers) {
      assert.equal((await client.expect("puback")).packetIdentifier, packetIdentifier);
    }
  });

  test("PUBRECs come in the order of the PUBLISHes [MQTT5 4.6.0-3]", async () => {
    const client = await TestClient.connect(broker.port);
    const identifiers = [9, 3, 700, 1];
    for (const packetIdentifier of identifiers) client.sendPublish("t", "x", { qos: 2, packetIdentifier });
    for (const packetIdentifier of identifiers) {
      assert.equal((await client.expect("pubrec")).packetIdentifier, packetIdentifier);
    }
  });

  test("PUBRELs come in the order of the PUBRECs [MQTT5 4.6.0-4]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("rel", { qos: 2 });
    const publisher = await TestClient.connect(broker.port);
    for (const text of ["a", "b", "c"]) await publisher.publish("rel", text, { qos: 2 });
    const identifiers: number[] = [];
    for (let i = 0; i < 3; i++) {
      const publish = await client.expect("publish");
      assert.ok(publish.qos === 2);
      identifiers.push(publish.packetIdentifier);
    }
    identifiers.reverse();
    for (const packetIdentifier of identifiers) client.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
    for (const packetIdentifier of identifiers) {
      assert.equal((await client.expect("pubrel")).packetIdentifier, packetIdentifier);
    }
  });
});

test("messages of one publisher on several topics keep their order for one subscriber", async () => {
  const subscriber = await TestClient.connect(broker.port);
  await subscriber.subscribe("mixed/#", { qos: 1 });
  const publisher = await TestClient.connect(broker.port);
  for (const number of numbers) publisher.sendPublish(`mixed/${Number(number) % 7}`, number, { qos: 1 });
  assert.deepEqual(await subscriber.receiveTexts(numbers.length), numbers);
});

test("a subscription holds for every message behind its SUBSCRIBE", async () => {
  const client = await TestClient.connect(broker.port);
  const request = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  client.sendPublish("order/sub", "before");
  client.send({ type: "subscribe", packetIdentifier: 1, subscriptions: [{ topicFilter: "order/sub", ...request }] });
  client.sendPublish("order/sub", "after");
  await client.expect("suback");
  assert.equal(textOf(await client.receive()), "after");
  await client.nothing();
});
