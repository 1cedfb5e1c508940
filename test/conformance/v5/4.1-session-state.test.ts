import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let clock: FakeClock;
let broker: TestBroker;
beforeEach(async () => {
  clock = new FakeClock();
  broker = await startBroker({}, { clock });
});
afterEach(() => broker.close());

const connect = (sessionExpiryInterval: number | undefined, cleanStart = false) =>
  TestClient.connect(broker.port, { clientId: "c", cleanStart, properties: { sessionExpiryInterval } });

const exists = () => broker.broker.sessions.get("c") !== undefined;

describe("the Session Expiry Interval", () => {
  for (const absentOrZero of [undefined, 0]) {
    test(`${absentOrZero ?? "absent"} ends the session with its connection [MQTT5 3.1.2.11.2]`, async () => {
      const client = await connect(absentOrZero);
      await client.subscribe("t");
      client.destroy();
      await broker.gone("c");
      assert.equal(exists(), false);
      assert.equal(broker.broker.subscriptions.count, 0);
      assert.equal((await connect(0)).connack.sessionPresent, false);
    });
  }

  test("runs from the end of the connection, to the second [MQTT5 3.1.2-23] [MQTT5 4.1.0-1] [MQTT5 4.1.0-2]", async () => {
    const client = await connect(60);
    clock.advance(1_000_000);
    client.destroy();
    await broker.gone("c");
    clock.advance(59_999);
    assert.equal(exists(), true);
    clock.advance(1);
    assert.equal(exists(), false);
  });

  test("starts anew each time the client has been back", async () => {
    const first = await connect(60);
    await first.disconnect();
    clock.advance(50_000);
    const second = await connect(60);
    assert.equal(second.connack.sessionPresent, true);
    clock.advance(50_000);
    await second.disconnect();
    clock.advance(59_999);
    assert.equal(exists(), true);
  });

  test("is the last CONNECT's: a client may come back to a session and let it go", async () => {
    await (await connect(60)).disconnect();
    const second = await connect(0);
    assert.equal(second.connack.sessionPresent, true);
    await second.disconnect();
    assert.equal(exists(), false);
  });

  test("0xFFFFFFFF never ends: nothing waits for its end [MQTT5 3.1.2.11.2]", async () => {
    const before = clock.armed;
    await (await connect(0xffff_ffff)).disconnect();
    assert.equal(exists(), true);
    assert.equal(clock.armed, before);
    await (await connect(0xffff_fffe)).disconnect();
    assert.equal(clock.armed, before + 1);
  });

  test("that runs out leaves no timer behind", async () => {
    const before = clock.armed;
    await (await connect(60)).disconnect();
    clock.advance(60_000);
    assert.equal(clock.armed, before);
  });
});

describe("a session that comes back", () => {
  test("still has its subscriptions, with all their options [MQTT5 4.1]", async () => {
    const first = await connect(60);
    await first.subscribe("t/+", { qos: 2, noLocal: true, retainAsPublished: true, subscriptionIdentifier: 7 });
    await first.disconnect();
    const second = await connect(60);
    await second.publish("t/own", "x");
    const other = await TestClient.connect(broker.port);
    await other.publish("t/other", "x", { qos: 2, retain: true });
    const publish = await second.receive();
    assert.equal(publish.topicName, "t/other");
    assert.equal(publish.qos, 2);
    assert.equal(publish.retain, true);
    assert.deepEqual(publish.properties?.subscriptionIdentifiers, [7]);
  });

  test("still knows the QoS 2 messages it has received: a duplicate is not published again [MQTT5 4.1] [MQTT5 4.3.3-10]", async () => {
    const witness = await TestClient.connect(broker.port);
    await witness.subscribe("t");
    const first = await connect(60);
    const sent = { qos: 2, packetIdentifier: 5 } as const;
    first.sendPublish("t", "x", sent);
    await first.answerTo("pubrec", 5);
    first.destroy();
    await broker.gone("c");
    const second = await connect(60);
    second.sendPublish("t", "x", { ...sent, dup: true });
    await second.answerTo("pubrec", 5);
    second.send({ type: "pubrel", packetIdentifier: 5, reasonCode: 0 });
    assert.equal((await second.answerTo("pubcomp", 5)).reasonCode, 0);
    assert.equal(textOf(await witness.receive()), "x");
    await witness.nothing();
  });

  test("gets nothing of QoS 0 that was published while it was away [MQTT5 4.5]", async () => {
    const first = await connect(60);
    await first.subscribe("t", { qos: 2 });
    await first.disconnect();
    const other = await TestClient.connect(broker.port);
    await other.publish("t", "zero", { qos: 0 });
    await other.publish("t", "one", { qos: 1 });
    const second = await connect(60);
    assert.equal(textOf(await second.receive()), "one");
    await second.nothing();
  });
});

test("a session that has expired has taken all it was owed with it [MQTT5 3.1.2-23]", async () => {
  const first = await connect(60);
  await first.subscribe("t", { qos: 1 });
  await first.disconnect();
  const other = await TestClient.connect(broker.port);
  await other.publish("t", "x", { qos: 1 });
  clock.advance(60_000);
  const second = await connect(60);
  assert.equal(second.connack.sessionPresent, false);
  await second.nothing();
  assert.equal(broker.broker.queuedBytes, 0);
});
