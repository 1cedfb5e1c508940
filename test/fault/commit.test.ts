/**
 * First commit, then speak: an acknowledgement leaves after the commit that makes it true, whatever the disk takes for it
 * and whichever connection it is for. What was spoken survives a crash at any moment; what was not may be lost.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import type { Connack, Connect } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { until } from "../support/until.ts";
import { HoldingStore } from "./holding-store.ts";
import { storedState } from "../../src/store/stored-state.ts";

let store: HoldingStore;
let server: TestBroker;
beforeEach(async () => {
  store = new HoldingStore();
  server = await startBroker({}, { store });
});
afterEach(() => crash());

const lasting = (clientId: string): Partial<Connect> => ({
  clientId,
  cleanStart: false,
  properties: { sessionExpiryInterval: 1000 },
});

/** Everything that has been handed to the store so far is on disk. */
async function committed(): Promise<void> {
  await new Promise(setImmediate);
  while (store.underWay > 0) {
    store.letThrough();
    await new Promise(setImmediate);
  }
}

/** For a CONNECT that makes something durable: its CONNACK waits for that. */
async function connected(connect: Partial<Connect>): Promise<TestClient> {
  const client = await store.through(TestClient.connect(server.port, connect));
  await committed();
  return client;
}

/** Sends a CONNECT that has to wait; what the client sends next comes behind it. */
async function arriving(connect: Partial<Connect>): Promise<{ client: TestClient; connack: Promise<Connack> }> {
  const client = await TestClient.open(server.port);
  const connack = client.request(connect);
  // Whoever does not wait for it has nothing to do with its end.
  connack.catch(() => {});
  await until(() => server.broker.sessions.get(connect.clientId!)?.arriving !== undefined, "it waits for its CONNACK");
  return { client, connack };
}

/** A client with a session that lasts, subscribed to `topicFilter`. */
async function subscriber(clientId: string, topicFilter: string, qos: 1 | 2): Promise<TestClient> {
  const client = await connected(lasting(clientId));
  const subscribed = client.subscribe(topicFilter, { qos });
  await client.roundTrip();
  await committed();
  await subscribed;
  return client;
}

/** The process dies, and what was under way with it. */
async function crash(): Promise<void> {
  const crashed = server.crash();
  while (store.underWay > 0) store.refuse();
  await crashed;
}

/** The process dies and starts again from what is on disk. */
async function restart(): Promise<void> {
  await crash();
  store = new HoldingStore(store.memory);
  server = await startBroker({}, { store });
  await committed();
}

const text = ({ payload }: { payload: Uint8Array }) => Buffer.from(payload).toString();

describe("nothing is said before its commit", () => {
  test("PUBACK and PUBREC of what a lasting session is owed", async () => {
    const owed = await subscriber("owed", "owed", 2);
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("owed", "1", { qos: 1, packetIdentifier: 1 });
    publisher.sendPublish("owed", "2", { qos: 2, packetIdentifier: 2 });
    await publisher.nothing();
    await owed.nothing();
    await committed();
    assert.equal((await publisher.expect("puback")).packetIdentifier, 1);
    assert.equal((await publisher.expect("pubrec")).packetIdentifier, 2);
    await committed();
    assert.equal(text(await owed.expect("publish")), "1");
    assert.equal(text(await owed.expect("publish")), "2");
  });

  test("PUBACK of what is retained; what is neither owed nor retained waits for nothing", async () => {
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("a", "1", { qos: 1, packetIdentifier: 1 });
    await publisher.expect("puback");
    publisher.sendPublish("a", "2", { qos: 1, packetIdentifier: 2, retain: true });
    // Behind it in order, though durable in nothing.
    publisher.sendPublish("a", "3", { qos: 1, packetIdentifier: 3 });
    await publisher.nothing();
    await committed();
    assert.equal((await publisher.expect("puback")).packetIdentifier, 2);
    assert.equal((await publisher.expect("puback")).packetIdentifier, 3);
  });

  test("PUBREC and PUBCOMP towards a publisher whose session lasts", async () => {
    const publisher = await connected(lasting("publisher"));
    publisher.sendPublish("a", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.nothing();
    await committed();
    await publisher.expect("pubrec");
    publisher.send({ type: "pubrel", packetIdentifier: 1, reasonCode: 0 });
    await publisher.nothing();
    await committed();
    await publisher.expect("pubcomp");
  });

  test("SUBACK and UNSUBACK of a lasting session", async () => {
    const client = await connected(lasting("client"));
    const subscribed = client.subscribe("a");
    await client.roundTrip();
    assert.deepEqual(client.unread, []);
    await committed();
    await subscribed;
    const unsubscribed = client.unsubscribe("a");
    await client.roundTrip();
    assert.deepEqual(client.unread, []);
    await committed();
    await unsubscribed;
  });

  test("PUBREL towards a subscriber whose session lasts: from then on it may forget the message", async () => {
    const owed = await subscriber("owed", "owed", 2);
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("owed", "x", { qos: 1, packetIdentifier: 1 });
    publisher.sendPublish("owed", "x", { qos: 2, packetIdentifier: 2 });
    await publisher.roundTrip();
    await committed();
    await owed.expect("publish");
    const { packetIdentifier } = (await owed.expect("publish")) as { packetIdentifier: number };
    owed.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
    await owed.nothing();
    await committed();
    await owed.expect("pubrel");
  });

  test("PUBREC for a message sent again over a new connection, its first commit still under way [EMQX CVE-2026-8741]", async () => {
    const first = await connected(lasting("publisher"));
    first.sendPublish("a", "x", { qos: 2, packetIdentifier: 1 });
    await first.nothing();
    const { client: second, connack } = await arriving(lasting("publisher"));
    second.sendPublish("a", "x", { qos: 2, packetIdentifier: 1, dup: true });
    assert.deepEqual(second.unread, []);
    await committed();
    assert.equal((await connack).sessionPresent, true);
    await second.expect("pubrec");
    await second.nothing();
  });

  test("PUBCOMP for a PUBREL sent again over a new connection, its first commit still under way", async () => {
    const first = await connected(lasting("publisher"));
    first.sendPublish("a", "x", { qos: 2, packetIdentifier: 1 });
    await first.roundTrip();
    await committed();
    await first.expect("pubrec");
    first.send({ type: "pubrel", packetIdentifier: 1, reasonCode: 0 });
    await first.nothing();
    const { client: second, connack } = await arriving(lasting("publisher"));
    second.send({ type: "pubrel", packetIdentifier: 1, reasonCode: 0 });
    assert.deepEqual(second.unread, []);
    await committed();
    assert.equal((await connack).sessionPresent, true);
    await second.roundTrip();
    await committed();
    await second.expect("pubcomp");
  });

  test("a message and its identifier, over the connection it was meant for and over the next", async () => {
    const first = await subscriber("owed", "owed", 2);
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("owed", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.roundTrip();
    await first.nothing();
    const { client: second, connack } = await arriving(lasting("owed"));
    assert.deepEqual(second.unread, []);
    await committed();
    assert.equal((await connack).sessionPresent, true);
    assert.equal(text(await second.expect("publish")), "x");
    await second.nothing();
  });
});

describe("what was said survives a crash", () => {
  test("subscriptions, messages owed, in order, and retained messages", async () => {
    await subscriber("owed", "owed/#", 1);
    const publisher = await TestClient.connect(server.port, { protocolVersion: 4 });
    for (let i = 1; i <= 20; i++) publisher.sendPublish(`owed/${i % 3}`, String(i), { qos: 1, packetIdentifier: i });
    publisher.sendPublish("kept", "x", { qos: 1, packetIdentifier: 21, retain: true });
    await publisher.roundTrip();
    await committed();
    for (let i = 1; i <= 21; i++) await publisher.expect("puback");
    publisher.sendPublish("owed/0", "lost", { qos: 1, packetIdentifier: 22 });
    await publisher.nothing();
    await restart();
    const again = await connected(lasting("owed"));
    assert.equal(again.connack.sessionPresent, true);
    await again.roundTrip();
    await committed();
    for (let i = 1; i <= 20; i++) {
      assert.equal(text(await again.receive()), String(i));
      await again.roundTrip();
      await committed();
    }
    await again.nothing();
    const late = await TestClient.connect(server.port);
    await late.subscribe("kept");
    assert.equal(text(await late.receive()), "x");
  });

  test("a QoS 2 message acknowledged with PUBREC is not taken for a new one when it comes again [MQTT311 4.3.3-2]", async () => {
    const publisher = await connected(lasting("publisher"));
    await subscriber("owed", "owed", 2);
    publisher.sendPublish("owed", "x", { qos: 2, packetIdentifier: 7 });
    await publisher.roundTrip();
    await committed();
    await publisher.expect("pubrec");
    await restart();
    const again = await connected(lasting("publisher"));
    again.sendPublish("owed", "x", { qos: 2, packetIdentifier: 7, dup: true });
    await again.roundTrip();
    await committed();
    await again.expect("pubrec");
    const owed = await connected(lasting("owed"));
    await owed.roundTrip();
    await committed();
    assert.equal(text(await owed.expect("publish")), "x");
    await owed.nothing();
  });

  test("a QoS 2 message that was not acknowledged is new when it comes again, and reaches a subscriber once [EMQX CVE-2026-8741]", async () => {
    await subscriber("owed", "owed", 2);
    const publisher = await connected(lasting("publisher"));
    publisher.sendPublish("owed", "x", { qos: 2, packetIdentifier: 7 });
    await publisher.nothing();
    await restart();
    const again = await connected(lasting("publisher"));
    again.sendPublish("owed", "x", { qos: 2, packetIdentifier: 7, dup: true });
    await again.roundTrip();
    await committed();
    await again.expect("pubrec");
    const owed = await connected(lasting("owed"));
    await owed.roundTrip();
    await committed();
    assert.equal(text(await owed.expect("publish")), "x");
    await owed.nothing();
  });

  test("a message that was released is not sent again, its PUBREL is; then its identifier is free [MQTT311 4.4.0-1]", async () => {
    const owed = await subscriber("owed", "owed", 2);
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("owed", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.roundTrip();
    await committed();
    const { packetIdentifier } = (await owed.expect("publish")) as { packetIdentifier: number };
    owed.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
    await owed.roundTrip();
    await committed();
    await owed.expect("pubrel");
    await restart();
    const again = await connected(lasting("owed"));
    assert.equal((await again.expect("pubrel")).packetIdentifier, packetIdentifier);
    again.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
    await again.nothing();
    await committed();
    const { sessions, messages } = await storedState(store);
    assert.deepEqual(sessions[0].queue, []);
    assert.equal(messages.size, 0);
  });

  test("a will promised before the crash is published after it, beside messages that were there", async () => {
    const kept = await TestClient.connect(server.port);
    const doneKeeping = kept.publish("kept", "the first message in the store", { qos: 1, retain: true });
    await kept.roundTrip();
    await committed();
    await doneKeeping;
    const will = { topicName: "will", payload: new Uint8Array(Buffer.from("gone")), qos: 1, retain: true } as const;
    await connected({ clientId: "mortal", will });
    await restart();
    await restart();
    const late = await TestClient.connect(server.port);
    await late.subscribe("#");
    const received = [await late.receive(), await late.receive()];
    assert.deepEqual(
      new Map(received.map((publish) => [publish.topicName, text(publish)])),
      new Map([
        ["kept", "the first message in the store"],
        ["will", "gone"],
      ]),
    );
    assert.deepEqual((await storedState(store)).wills, []);
  });

  test("a session that was to end with its connection ends with the crash, in the store too", async () => {
    await subscriber("ends", "ends", 1);
    await connected({ clientId: "ends", cleanStart: false, properties: { sessionExpiryInterval: 0 } });
    await restart();
    await until(() => server.broker.sessions.count === 0, "it has ended");
    await committed();
    assert.deepEqual((await storedState(store)).sessions, []);
  });
});

describe("when the store refuses", () => {
  test("3.1.1 hears nothing, also of what is behind it; 5.0 hears 0x97, and the truth of what is behind it", async () => {
    for (const protocolVersion of [4, 5] as const) {
      const publisher = await TestClient.connect(server.port, { protocolVersion });
      await committed();
      publisher.sendPublish("kept", "x", { qos: 1, packetIdentifier: 1, retain: true });
      await publisher.nothing();
      store.refuse();
      publisher.sendPublish("passing", "x", { qos: 1, packetIdentifier: 2 });
      await publisher.roundTrip();
      const answers = publisher.unread.map((packet) => "reasonCode" in packet && [packet.type, packet.reasonCode]);
      const truth = [
        ["puback", ReasonCode.quotaExceeded],
        ["puback", ReasonCode.noMatchingSubscribers],
      ];
      // What it sends again must not come behind what was sent after it.
      assert.deepEqual(answers, protocolVersion === 4 ? [] : truth);
      publisher.destroy();
    }
  });
});
