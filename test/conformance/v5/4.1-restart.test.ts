/** What the store remembers survives the broker: a new one on the same store goes on where the old one stopped. [MQTT5 4.1] */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import type { ConnectProperties } from "../../../src/mqtt/packet.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { storedState } from "../../../src/store/stored-state.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let clock: FakeClock;
let store: MemoryStore;
let broker: TestBroker;
beforeEach(async () => {
  clock = new FakeClock();
  store = new MemoryStore();
  broker = await startBroker({}, { clock, store });
});
afterEach(() => broker.close());

const lasting = (clientId: string, more: ConnectProperties = {}) =>
  TestClient.connect(broker.port, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiryInterval: 1000, ...more },
  });

/** A round trip takes the broker over the end of a turn: what has happened so far is in the store. */
const committed = async () => (await TestClient.connect(broker.port)).roundTrip();

for (const [how, end] of [
  ["a crash", () => broker.crash()],
  ["a stop", () => broker.close()],
] as const) {
  const restart = async () => {
    await end();
    broker = await startBroker({}, { clock, store });
  };

  describe(`after ${how}`, () => {
    test("a session is there with its subscriptions and all their options", async () => {
      const first = await lasting("c");
      await first.subscribe("a/+", { qos: 2, retainAsPublished: true, noLocal: true, subscriptionIdentifier: 300 });
      await first.subscribe("b/#", { qos: 1 });
      await first.subscribe("gone", { qos: 1 });
      await first.unsubscribe("gone");
      await restart();
      const second = await lasting("c");
      assert.equal(second.connack.sessionPresent, true);
      await second.publish("a/own", "own", { qos: 1 });
      const publisher = await TestClient.connect(broker.port);
      await publisher.publish("gone", "x", { qos: 1 });
      await publisher.publish("a/x", "a", { qos: 2, retain: true });
      await publisher.publish("b/x", "b", { qos: 2 });
      const a = await second.receive();
      assert.equal(textOf(a), "a");
      assert.equal(a.qos, 2);
      assert.equal(a.retain, true);
      assert.deepEqual(a.properties?.subscriptionIdentifiers, [300]);
      assert.equal((await second.receive()).qos, 1);
      await second.nothing();
    });

    test("a session that was to end with its connection is gone", async () => {
      const first = await TestClient.connect(broker.port, { clientId: "passing" });
      await first.subscribe("t", { qos: 1 });
      await restart();
      const second = await TestClient.connect(broker.port, { clientId: "passing", cleanStart: false });
      assert.equal(second.connack.sessionPresent, false);
      assert.equal(broker.broker.subscriptions.count, 0);
    });

    test("messages wait for a session that was away, in order, with all their properties", async () => {
      const first = await lasting("c");
      await first.subscribe("t", { qos: 2, subscriptionIdentifier: 4 });
      await first.disconnect();
      const publisher = await TestClient.connect(broker.port);
      const properties = { contentType: "c", messageExpiryInterval: 100, userProperties: [["k", "v"]] } as const;
      await publisher.publish("t", "a", { qos: 1, properties });
      await publisher.publish("t", "b", { qos: 2 });
      clock.advance(30_000);
      await restart();
      const second = await lasting("c");
      const a = await second.receive();
      assert.ok(a.qos === 1 && !a.dup);
      assert.deepEqual(a.properties, { ...properties, messageExpiryInterval: 70, subscriptionIdentifiers: [4] });
      const b = await second.receive();
      assert.equal(b.qos, 2);
      assert.deepEqual([textOf(a), textOf(b)], ["a", "b"]);
      await second.nothing();
    });

    test("messages under way come again with DUP and the same identifier, in order, then what waited [MQTT5 4.4.0-1] [MQTT5 4.6.0-1]", async () => {
      const first = await lasting("c", { receiveMaximum: 3 });
      await first.subscribe("t", { qos: 2 });
      const publisher = await TestClient.connect(broker.port);
      for (const [text, qos] of [
        ["settled", 1],
        ["released", 2],
        ["sent 1", 1],
        ["sent 2", 2],
        ["waits", 1],
      ] as const) {
        await publisher.publish("t", text, { qos });
      }
      await first.receive();
      const released = await first.expect("publish");
      assert.ok(released.qos === 2);
      const { packetIdentifier } = released;
      const identifiers: number[] = [];
      for (let i = 0; i < 2; i++) {
        const sent = await first.expect("publish");
        assert.ok(sent.qos !== 0);
        identifiers.push(sent.packetIdentifier);
      }
      first.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
      await first.expect("pubrel");
      await restart();
      const second = await lasting("c");
      assert.equal((await second.expect("pubrel")).packetIdentifier, packetIdentifier);
      const again = [await second.expect("publish"), await second.expect("publish")];
      assert.deepEqual(again.map(textOf), ["sent 1", "sent 2"]);
      for (const [i, publish] of again.entries()) {
        assert.ok(publish.qos !== 0 && publish.dup);
        assert.equal(publish.packetIdentifier, identifiers[i]);
      }
      const waits = await second.expect("publish");
      assert.equal(textOf(waits), "waits");
      assert.ok(waits.qos === 1 && !waits.dup);
      assert.ok(![packetIdentifier, ...identifiers].includes(waits.packetIdentifier));
      second.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
      await second.nothing();
    });

    test("what comes after it takes its place behind what was there, over any number of them", async () => {
      const first = await lasting("c");
      await first.subscribe("t", { qos: 1 });
      await first.disconnect();
      for (const text of ["a", "b", "c"]) {
        const publisher = await TestClient.connect(broker.port);
        await publisher.publish("t", text, { qos: 1 });
        await restart();
      }
      const last = await lasting("c");
      assert.deepEqual(await last.receiveTexts(3), ["a", "b", "c"]);
      await last.nothing();
    });

    test("a QoS 2 message that was received is known: its duplicate is not published again [MQTT5 4.3.3-10]", async () => {
      const first = await lasting("publisher");
      first.sendPublish("t", "x", { qos: 2, packetIdentifier: 8 });
      await first.answerTo("pubrec", 8);
      await restart();
      const witness = await TestClient.connect(broker.port);
      await witness.subscribe("t");
      const second = await lasting("publisher");
      second.sendPublish("t", "x", { qos: 2, packetIdentifier: 8, dup: true });
      await second.answerTo("pubrec", 8);
      await witness.nothing();
      second.send({ type: "pubrel", packetIdentifier: 8, reasonCode: 0 });
      assert.equal((await second.answerTo("pubcomp", 8)).reasonCode, 0);
    });

    test("retained messages are there, cleared ones are not [MQTT5 3.3.1-5] [MQTT5 3.3.1-6]", async () => {
      const publisher = await TestClient.connect(broker.port);
      await publisher.publish("kept/zero", "zero", { retain: true, qos: 0 });
      await publisher.publish("kept/two", "first", { retain: true, qos: 2 });
      await publisher.publish("kept/two", "second", { retain: true, qos: 2 });
      await publisher.publish("kept/cleared", "x", { retain: true, qos: 1 });
      await publisher.publish("kept/cleared", "", { retain: true, qos: 1 });
      await publisher.roundTrip();
      await restart();
      const late = await TestClient.connect(broker.port);
      await late.subscribe("kept/#", { qos: 2 });
      const received = [await late.receive(), await late.receive()];
      assert.deepEqual(received.map(textOf).toSorted(), ["second", "zero"]);
      assert.ok(received.every(({ retain }) => retain));
      await late.nothing();
    });

    test("a retained message that was kept before can still be replaced and cleared", async () => {
      const publisher = await TestClient.connect(broker.port);
      for (const name of ["a", "b"]) await publisher.publish(`old/${name}`, "old", { retain: true, qos: 1 });
      await restart();
      const later = await TestClient.connect(broker.port);
      await later.publish("old/a", "new", { retain: true, qos: 1 });
      await later.publish("old/b", "", { retain: true, qos: 1 });
      await restart();
      const late = await TestClient.connect(broker.port);
      await late.subscribe("old/#");
      assert.equal(textOf(await late.receive()), "new");
      await late.nothing();
    });

    test("a session's expiry counts from when it was left, the time of the stop included", async () => {
      const first = await lasting("c", { sessionExpiryInterval: 60 });
      await first.disconnect();
      clock.advance(20_000);
      await end();
      clock.advance(30_000);
      broker = await startBroker({}, { clock, store });
      clock.advance(9_999);
      assert.ok(broker.broker.sessions.get("c"));
      clock.advance(1);
      assert.equal(broker.broker.sessions.get("c"), undefined);
      await committed();
      await restart();
      assert.equal((await lasting("c")).connack.sessionPresent, false);
    });

    test("a shared subscription's messages still pass to another member when one's session ends [MQTT5 4.8.2-4]", async () => {
      const first = await lasting("c", { sessionExpiryInterval: 60 });
      await first.subscribe("$share/g/t", { qos: 1 });
      const publisher = await TestClient.connect(broker.port);
      await publisher.publish("t", "x", { qos: 1 });
      await first.expect("publish");
      await restart();
      const other = await TestClient.connect(broker.port);
      await other.subscribe("$share/g/t", { qos: 1 });
      await other.nothing();
      clock.advance(60_000);
      assert.equal(textOf(await other.receive()), "x");
    });

    test("nothing that was settled stays in the store", async () => {
      const first = await lasting("c");
      await first.subscribe("t", { qos: 2 });
      const publisher = await lasting("publisher");
      for (const qos of [1, 2] as const) await publisher.publish("t", "x", { qos });
      await first.receiveTexts(2);
      await first.roundTrip();
      await restart();
      for (const clientId of ["c", "publisher"]) {
        const back = await lasting(clientId);
        await back.nothing();
        await TestClient.connect(broker.port, { clientId, cleanStart: true });
      }
      await end();
      const { messages, sessions } = await storedState(store);
      assert.equal(messages.size, 0);
      assert.deepEqual(sessions, []);
      broker = await startBroker({}, { clock, store });
    });
  });
}

describe("wills", () => {
  const will = (willDelayInterval: number) => ({
    topicName: "will",
    payload: Buffer.from("gone"),
    qos: 1 as const,
    retain: false,
    properties: { willDelayInterval, messageExpiryInterval: 50 },
  });
  /** A session that is owed the will. */
  const witness = async () => {
    const client = await lasting("witness");
    await client.subscribe("will", { qos: 1 });
    await client.disconnect();
  };
  const restart = async () => {
    await broker.crash();
    broker = await startBroker({}, { clock, store });
  };
  const dying = (sessionExpiryInterval: number, willDelayInterval: number) =>
    TestClient.connect(broker.port, {
      clientId: "dying",
      will: will(willDelayInterval),
      properties: { sessionExpiryInterval },
    });

  test("of clients that a crash cut off are published at the next start [MQTT5 3.1.2-8]", async () => {
    await witness();
    await dying(0, 0);
    await restart();
    const back = await lasting("witness");
    const publish = await back.receive();
    assert.equal(textOf(publish), "gone");
    assert.equal(publish.properties?.messageExpiryInterval, 50);
    await committed();
    await restart();
    await (await lasting("witness")).nothing();
  });

  test("with a delay wait for it after a crash, and are cancelled by who comes back [MQTT5 3.1.3-9]", async () => {
    await witness();
    for (const comesBack of [false, true]) {
      await dying(100, 30);
      await restart();
      const back = await lasting("witness");
      clock.advance(29_999);
      await back.nothing();
      if (comesBack) await lasting("dying");
      clock.advance(1);
      if (!comesBack) assert.equal(textOf(await back.receive()), "gone");
      await back.nothing();
      await back.disconnect();
    }
  });

  test("whose delay was running when the broker stopped are due at the same moment", async () => {
    await witness();
    const client = await dying(100, 30);
    client.destroy();
    await broker.gone("dying");
    await committed();
    clock.advance(10_000);
    await broker.crash();
    clock.advance(10_000);
    broker = await startBroker({}, { clock, store });
    const back = await lasting("witness");
    clock.advance(9_999);
    await back.nothing();
    clock.advance(1);
    assert.equal(textOf(await back.receive()), "gone");
  });

  test("of clients that left with DISCONNECT are forgotten [MQTT5 3.14.4-3]", async () => {
    await witness();
    await (await dying(100, 0)).disconnect();
    await restart();
    await (await lasting("witness")).nothing();
  });
});

test("a session that a crash cut off ends when its expiry is over, however often the broker starts", async () => {
  await (await lasting("c")).roundTrip();
  await broker.crash();
  broker = await startBroker({}, { clock, store });
  await committed();
  clock.advance(600_000);
  await broker.crash();
  broker = await startBroker({}, { clock, store });
  clock.advance(399_999);
  assert.notEqual(broker.broker.sessions.get("c"), undefined);
  clock.advance(1);
  assert.equal(broker.broker.sessions.get("c"), undefined);
});
