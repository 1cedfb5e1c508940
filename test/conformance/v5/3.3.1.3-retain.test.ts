import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

const clock = new FakeClock();
let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker({}, { clock });
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

const retain = (topicName: string, payload: string, qos: 0 | 1 | 2 = 0) =>
  publisher.publish(topicName, payload, { retain: true, qos });

for (const qos of [0, 1, 2] as const) {
  test(`a message with RETAIN 1 at QoS ${qos} waits for later subscribers, who get it at most at that QoS [MQTT5 3.3.1-5] [MQTT5 3.3.1-9]`, async () => {
    await retain(`keep/${qos}`, "x", qos);
    const late = await TestClient.connect(broker.port);
    await late.subscribe(`keep/${qos}`, { qos: 2 });
    const publish = await late.receive();
    assert.equal(textOf(publish), "x");
    assert.equal(publish.qos, qos);
    assert.equal(publish.retain, true);
    await late.nothing();
  });
}

test("a subscription's QoS bounds a retained message [MQTT5 3.8.4-8]", async () => {
  await retain("bound", "x", 2);
  const late = await TestClient.connect(broker.port);
  await late.subscribe("bound", { qos: 1 });
  assert.equal((await late.receive()).qos, 1);
});

test("the last one of a topic replaces those before [MQTT5 3.3.1-5]", async () => {
  await retain("last", "one", 1);
  await retain("last", "two", 0);
  const late = await TestClient.connect(broker.port);
  await late.subscribe("last", { qos: 1 });
  const publish = await late.receive();
  assert.equal(textOf(publish), "two");
  assert.equal(publish.qos, 0);
  await late.nothing();
});

test("an empty one is handed on like any other, clears the topic, and is not kept itself [MQTT5 3.3.1-6] [MQTT5 3.3.1-7]", async () => {
  const { count, bytes } = broker.broker.retained;
  await retain("clear", "x");
  const here = await TestClient.connect(broker.port);
  await here.subscribe("clear", { retainHandling: 2 });
  await retain("clear", "");
  const publish = await here.receive();
  assert.equal(textOf(publish), "");
  assert.equal(publish.retain, false);
  const late = await TestClient.connect(broker.port);
  await late.subscribe("clear");
  await late.nothing();
  assert.equal(broker.broker.retained.count, count);
  assert.equal(broker.broker.retained.bytes, bytes);
});

test("a message with RETAIN 0 leaves the retained one as it is [MQTT5 3.3.1-8]", async () => {
  await retain("leave", "kept");
  await publisher.publish("leave", "passing");
  await publisher.publish("leave", "");
  const late = await TestClient.connect(broker.port);
  await late.subscribe("leave");
  assert.equal(textOf(await late.receive()), "kept");
  await late.nothing();
});

describe("Retain Handling", () => {
  for (const [retainHandling, first, second, clause] of [
    [0, true, true, "3.3.1-9"],
    [1, true, false, "3.3.1-10"],
    [2, false, false, "3.3.1-11"],
  ] as const) {
    const sends = (yes: boolean) => (yes ? "sends" : "does not send");
    test(`${retainHandling} ${sends(first)} it to a new subscription and ${sends(second)} it to one there already [MQTT5 ${clause}] [MQTT5 3.8.4-4]`, async () => {
      const topicName = `handling/${retainHandling}`;
      await retain(topicName, "x");
      const client = await TestClient.connect(broker.port);
      for (const sent of [first, second]) {
        await client.subscribe(topicName, { retainHandling });
        if (sent) assert.equal(textOf(await client.receive()), "x");
        await client.nothing();
      }
    });
  }

  test("1 counts a subscription as new again after UNSUBSCRIBE [MQTT5 3.3.1-10]", async () => {
    await retain("handling/again", "x");
    const client = await TestClient.connect(broker.port);
    await client.subscribe("handling/again", { retainHandling: 1 });
    await client.receive();
    await client.unsubscribe("handling/again");
    await client.subscribe("handling/again", { retainHandling: 1 });
    assert.equal(textOf(await client.receive()), "x");
  });

  test("1 knows a subscription of a session that came back [MQTT5 3.3.1-10]", async () => {
    await retain("handling/back", "x");
    const connect = { clientId: "handling-back", cleanStart: false, properties: { sessionExpiryInterval: 100 } };
    const first = await TestClient.connect(broker.port, connect);
    await first.subscribe("handling/back", { retainHandling: 1 });
    await first.receive();
    await first.disconnect();
    const second = await TestClient.connect(broker.port, connect);
    await second.subscribe("handling/back", { retainHandling: 1 });
    await second.nothing();
  });
});

describe("Retain As Published", () => {
  for (const [retainAsPublished, published, received, clause] of [
    [false, true, false, "3.3.1-12"],
    [false, false, false, "3.3.1-12"],
    [true, true, true, "3.3.1-13"],
    [true, false, false, "3.3.1-13"],
  ] as const) {
    for (const qos of [0, 1] as const) {
      test(`${Number(retainAsPublished)}: RETAIN ${Number(published)} arrives as ${Number(received)} at QoS ${qos} [MQTT5 ${clause}]`, async () => {
        const client = await TestClient.connect(broker.port);
        const topicName = `as-published/${client.clientId}`;
        await client.subscribe(topicName, { qos, retainAsPublished });
        await publisher.publish(topicName, "x", { qos, retain: published });
        assert.equal((await client.receive()).retain, received);
      });
    }
  }

  test("0 does not take RETAIN from a retained message for a new subscription [MQTT5 3.3.1-12]", async () => {
    await retain("as-published/old", "x");
    const client = await TestClient.connect(broker.port);
    await client.subscribe("as-published/old", { retainAsPublished: false });
    assert.equal((await client.receive()).retain, true);
  });
});

describe("retained messages for a wildcard", () => {
  test("are all that match, each once, after the SUBACK", async () => {
    const names = Array.from({ length: 200 }, (_, i) => `many/${i}/x`);
    for (const name of names) publisher.sendPublish(name, name, { retain: true });
    await publisher.roundTrip();
    const client = await TestClient.connect(broker.port);
    client.send({
      type: "subscribe",
      packetIdentifier: 1,
      subscriptions: [{ topicFilter: "many/+/x", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
    });
    assert.equal((await client.next()).type, "suback");
    assert.deepEqual((await client.receiveTexts(200)).toSorted(), names.toSorted());
    await client.nothing();
  });

  test("keep to Receive Maximum", async () => {
    for (const name of ["a", "b", "c", "d"]) await retain(`window/${name}`, name, 1);
    const client = await TestClient.connect(broker.port, { properties: { receiveMaximum: 2 } });
    await client.subscribe("window/#", { qos: 1 });
    const first = await client.expect("publish");
    const second = await client.expect("publish");
    await client.nothing();
    for (const publish of [first, second]) {
      assert.ok(publish.qos === 1);
      client.send({ type: "puback", packetIdentifier: publish.packetIdentifier, reasonCode: 0 });
    }
    const rest = await client.receiveTexts(2);
    assert.deepEqual([textOf(first), textOf(second), ...rest].toSorted(), ["a", "b", "c", "d"]);
    await client.nothing();
  });

  test("carry the identifier of the subscription they answer [MQTT5 3.3.4-3]", async () => {
    await retain("identified", "x");
    const client = await TestClient.connect(broker.port);
    await client.subscribe("identified", { subscriptionIdentifier: 5 });
    assert.deepEqual((await client.receive()).properties?.subscriptionIdentifiers, [5]);
  });

  test("leave out those that begin with $ [MQTT5 4.7.2-1]", async () => {
    await retain("$hidden/x", "x");
    const client = await TestClient.connect(broker.port);
    await client.subscribe("+/x");
    await client.nothing();
    await client.subscribe("$hidden/+");
    assert.equal(textOf(await client.receive()), "x");
  });

  test("do not go back to their publisher for a No Local subscription [MQTT5 3.8.3-3]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.publish("local/retained", "x", { retain: true });
    await client.subscribe("local/#", { noLocal: true });
    await client.nothing();
    const other = await TestClient.connect(broker.port);
    await other.subscribe("local/#", { noLocal: true });
    assert.equal(textOf(await other.receive()), "x");
  });
});

test("retained messages do not go to Shared Subscriptions [MQTT5 4.8.2]", async () => {
  await retain("shared-retained", "x");
  const client = await TestClient.connect(broker.port);
  await client.subscribe("$share/g/shared-retained");
  await client.nothing();
});

test("a retained message counts its Message Expiry Interval down and is gone at its end [MQTT5 3.3.2-5] [MQTT5 3.3.2-6]", async () => {
  await publisher.publish("expires", "x", { retain: true, properties: { messageExpiryInterval: 60 } });
  clock.advance(45_000);
  const early = await TestClient.connect(broker.port);
  await early.subscribe("expires");
  assert.equal((await early.receive()).properties?.messageExpiryInterval, 15);
  clock.advance(15_000);
  const late = await TestClient.connect(broker.port);
  await late.subscribe("expires");
  await late.nothing();
});
