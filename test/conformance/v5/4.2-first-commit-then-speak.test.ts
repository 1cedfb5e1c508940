/** "First commit, then speak": what a client is told has happened is in the store. [MQTT5 4.2] [MQTT5 4.3] */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import type { BrokerChange } from "../../../src/store/change.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Store, StoreUnavailable } from "../../../src/store/store.ts";
import { storedState } from "../../../src/store/stored-state.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { until } from "../../support/until.ts";

/** A store that answers when it is told to, in the order it was asked. */
class SlowStore implements Store {
  readonly trouble = undefined;
  onTrouble: Store["onTrouble"];
  slow = false;
  private readonly memory = new MemoryStore();
  private readonly waiting: { changes: readonly BrokerChange[]; done: (error?: StoreUnavailable) => void }[] = [];

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    if (this.slow) this.waiting.push({ changes, done });
    else this.memory.commit(changes, done);
  }

  load: Store["load"] = (take) => this.memory.load(take);
  close = () => this.memory.close();

  /** Everything handed in that waits for its answer. */
  get handedIn(): BrokerChange["type"][] {
    return this.waiting.flatMap(({ changes }) => changes.map(({ type }) => type));
  }

  commitAll(): void {
    for (const { changes, done } of this.waiting.splice(0)) this.memory.commit(changes, done);
  }

  failAll(): void {
    for (const { done } of this.waiting.splice(0)) done(new StoreUnavailable("commit"));
  }
}

let store: SlowStore;
let broker: TestBroker;
beforeEach(async () => {
  store = new SlowStore();
  broker = await startBroker({}, { store });
});
afterEach(async () => {
  store.slow = false;
  store.commitAll();
  await broker.close();
});

const lasting = (clientId: string, cleanStart = false) =>
  TestClient.connect(broker.port, { clientId, cleanStart, properties: { sessionExpiryInterval: 100 } });

/** A session that is owed what is published to `t`, and a publisher who asks for nothing to last. */
async function sleeperAndPublisher(): Promise<{ sleeper: TestClient; publisher: TestClient }> {
  const sleeper = await lasting("sleeper");
  await sleeper.subscribe("t", { qos: 2 });
  const publisher = await TestClient.connect(broker.port);
  await publisher.roundTrip();
  store.slow = true;
  return { sleeper, publisher };
}

describe("before the commit", () => {
  test("no PUBACK for a message that a lasting session is owed [MQTT5 4.3.2-4]", async () => {
    const { publisher } = await sleeperAndPublisher();
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await publisher.nothing();
    assert.deepEqual(store.handedIn, ["message-kept", "queued", "sent"]);
    store.commitAll();
    assert.equal((await publisher.expect("puback")).reasonCode, ReasonCode.success);
  });

  test("no PUBREC for a message that a lasting session is owed [MQTT5 4.3.3-8]", async () => {
    const { publisher } = await sleeperAndPublisher();
    publisher.sendPublish("t", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.nothing();
    store.commitAll();
    assert.equal((await publisher.expect("pubrec")).reasonCode, ReasonCode.success);
  });

  test("no PUBREC for a lasting session's message, though nobody is owed it: a duplicate must be known after a crash", async () => {
    const publisher = await lasting("publisher");
    store.slow = true;
    publisher.sendPublish("nobody", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.nothing();
    assert.deepEqual(store.handedIn, ["received"]);
    store.commitAll();
    await publisher.answerTo("pubrec", 1);
  });

  test("no PUBCOMP of a lasting session: the identifier must be free after a crash", async () => {
    const publisher = await lasting("publisher");
    publisher.sendPublish("nobody", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.answerTo("pubrec", 1);
    store.slow = true;
    publisher.send({ type: "pubrel", packetIdentifier: 1, reasonCode: 0 });
    await publisher.nothing();
    assert.deepEqual(store.handedIn, ["receive-completed"]);
    store.commitAll();
    await publisher.answerTo("pubcomp", 1);
  });

  test("no PUBACK for a retained message [MQTT5 3.3.1-5]", async () => {
    const publisher = await TestClient.connect(broker.port);
    store.slow = true;
    publisher.sendPublish("retained", "x", { qos: 1, retain: true, packetIdentifier: 1 });
    await publisher.nothing();
    store.commitAll();
    await publisher.answerTo("puback", 1);
  });

  test("no SUBACK and no UNSUBACK of a lasting session", async () => {
    const client = await lasting("c");
    store.slow = true;
    const suback = client.subscribe("t");
    await client.roundTrip();
    assert.deepEqual(store.handedIn, ["subscribed"]);
    await client.nothing();
    store.commitAll();
    assert.deepEqual((await suback).reasonCodes, [0]);
    const unsuback = client.unsubscribe("t");
    await client.nothing();
    store.commitAll();
    assert.deepEqual((await unsuback).reasonCodes, [0]);
  });

  test("no message goes to a lasting session: the store must know its identifier first", async () => {
    const { sleeper, publisher } = await sleeperAndPublisher();
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await publisher.nothing();
    await sleeper.nothing();
    store.commitAll();
    assert.equal(textOf(await sleeper.expect("publish")), "x");
  });
});

describe("what needs no commit does not wait for one", () => {
  test("QoS 0, and QoS 1 and 2 for passing sessions", async () => {
    const subscriber = await TestClient.connect(broker.port);
    await subscriber.subscribe("passing", { qos: 2 });
    const publisher = await TestClient.connect(broker.port);
    store.slow = true;
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish("passing", "x", { qos });
      assert.equal((await subscriber.receive()).qos, qos);
    }
    assert.deepEqual(store.handedIn, []);
  });

  test("SUBACK of a passing session", async () => {
    const client = await TestClient.connect(broker.port);
    store.slow = true;
    assert.deepEqual((await client.subscribe("t")).reasonCodes, [0]);
    assert.deepEqual(store.handedIn, []);
  });
});

describe("answers stay in order", () => {
  test("one that needs no commit waits behind one that does [MQTT5 4.6.0-2] [MQTT5 4.6.0-3]", async () => {
    const { publisher } = await sleeperAndPublisher();
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    publisher.sendPublish("nobody", "x", { qos: 1, packetIdentifier: 2 });
    publisher.sendPublish("nobody", "x", { qos: 2, packetIdentifier: 3 });
    await publisher.nothing();
    store.commitAll();
    assert.equal((await publisher.expect("puback")).packetIdentifier, 1);
    assert.equal((await publisher.expect("puback")).packetIdentifier, 2);
    assert.equal((await publisher.expect("pubrec")).packetIdentifier, 3);
  });

  test("over several turns, each answered with its own commit", async () => {
    const { publisher } = await sleeperAndPublisher();
    for (const packetIdentifier of [1, 2, 3]) {
      publisher.sendPublish("t", "x", { qos: 1, packetIdentifier });
      await publisher.nothing();
    }
    store.commitAll();
    for (const packetIdentifier of [1, 2, 3]) {
      assert.equal((await publisher.expect("puback")).packetIdentifier, packetIdentifier);
    }
  });

  test("another client's answers do not wait for it when they need no commit", async () => {
    const { publisher } = await sleeperAndPublisher();
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await publisher.nothing();
    const other = await TestClient.connect(broker.port);
    assert.equal(await other.publish("nobody", "x", { qos: 1 }), ReasonCode.noMatchingSubscribers);
  });
});

test("messages that wait for the commit count against Receive Maximum", async () => {
  await broker.close();
  store = new SlowStore();
  broker = await startBroker({ receiveMaximum: 2 }, { store });
  const { publisher } = await sleeperAndPublisher();
  for (const packetIdentifier of [1, 2]) publisher.sendPublish("t", "x", { qos: 1, packetIdentifier });
  await publisher.nothing();
  publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 3 });
  assert.equal((await publisher.expect("disconnect")).reasonCode, ReasonCode.receiveMaximumExceeded);
});

test("a QoS 2 duplicate on a new connection is not acknowledged while its first commit is under way", async () => {
  const first = await lasting("publisher");
  store.slow = true;
  first.sendPublish("t", "x", { qos: 2, packetIdentifier: 1 });
  await first.nothing();
  first.destroy();
  await broker.gone("publisher");
  const second = await TestClient.open(broker.port);
  const connack = second.request({
    clientId: "publisher",
    cleanStart: false,
    properties: { sessionExpiryInterval: 100 },
  });
  second.sendPublish("t", "x", { qos: 2, packetIdentifier: 1, dup: true });
  await until(() => store.handedIn.includes("session-opened"), "it waits for its CONNACK");
  assert.deepEqual(second.unread, []);
  store.commitAll();
  assert.equal((await connack).sessionPresent, true);
  await second.answerTo("pubrec", 1);
});

test("a connection that ends before the commit hears nothing of it, and nobody else does", async () => {
  const { sleeper, publisher } = await sleeperAndPublisher();
  publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
  await publisher.nothing();
  const { clientId } = publisher;
  publisher.destroy();
  await broker.gone(clientId);
  const next = await TestClient.connect(broker.port, { clientId });
  store.commitAll();
  assert.equal(textOf(await sleeper.expect("publish")), "x");
  await next.nothing();
});

describe("when the store fails", () => {
  for (const qos of [1, 2] as const) {
    test(`QoS ${qos} gets 0x97 and the connection lives [MQTT5 3.4.2.1] [MQTT5 3.5.2.1]`, async () => {
      const { publisher } = await sleeperAndPublisher();
      publisher.sendPublish("t", "x", { qos, packetIdentifier: 1 });
      await publisher.nothing();
      store.failAll();
      const answer = await publisher.expect(qos === 1 ? "puback" : "pubrec");
      assert.equal(answer.reasonCode, ReasonCode.quotaExceeded);
      await publisher.nothing();
    });

    test(`a later QoS ${qos} under the same identifier is a new message, and taken when the store works again [MQTT5 4.3.2-5] [MQTT5 4.3.3-9]`, async () => {
      const publisher = await lasting("publisher");
      const witness = await TestClient.connect(broker.port);
      await witness.subscribe("w");
      store.slow = true;
      publisher.sendPublish("w", "lost", { qos, packetIdentifier: 1, retain: true });
      await publisher.nothing();
      store.failAll();
      await publisher.answerTo(qos === 1 ? "puback" : "pubrec", 1);
      store.slow = false;
      store.commitAll();
      assert.equal(await publisher.publish("w", "kept", { qos, packetIdentifier: 1 }), ReasonCode.success);
      await until(
        () => witness.unread.some((packet) => packet.type === "publish" && textOf(packet) === "kept"),
        "heard",
      );
    });
  }

  test("a lasting session is not sent what the store does not know it was sent", async () => {
    const { sleeper, publisher } = await sleeperAndPublisher();
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await publisher.nothing();
    store.failAll();
    await publisher.answerTo("puback", 1);
    await sleeper.nothing();
  });

  test("SUBSCRIBE of a lasting session is answered when the store has taken it after all [MQTT5 4.2]", async () => {
    const client = await lasting("c");
    store.slow = true;
    client.send({
      type: "subscribe",
      packetIdentifier: 1,
      subscriptions: [{ topicFilter: "t", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
    });
    await client.nothing();
    store.failAll();
    await client.nothing();
    store.commitAll();
    assert.deepEqual((await client.expect("suback")).reasonCodes, [ReasonCode.grantedQos1]);
    assert.equal((await storedState(store)).sessions[0].subscriptions[0].topicFilter, "t");
  });
});
