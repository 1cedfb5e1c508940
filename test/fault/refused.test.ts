/**
 * The store refuses: its disk is full. What a publisher offered is void, in the broker's memory as on disk, and the
 * publisher knows; everything else that happened is told to the store again until it is taken. Then both have the same.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import type { Tap } from "../../src/broker/tap.ts";
import { storeRetryMs } from "../../src/broker/limits.ts";
import type { Connack, Connect, ProtocolVersion, QoS } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient, textOf } from "../support/client.ts";
import { until } from "../support/until.ts";
import { HoldingStore } from "./holding-store.ts";
import { stateOf, storedStateOf } from "./state.ts";
import { storedState } from "../../src/store/stored-state.ts";

let store: HoldingStore;
let server: TestBroker;
/** Interests of the Tap, and what it was told. */
let tapped: { topicName: string; isAwaited: boolean } | undefined;
let told: string[];

const tap: Tap = {
  interest: (topicName) => (topicName === tapped?.topicName ? tapped : undefined),
  isAwaited: (interest) => (interest as { isAwaited: boolean }).isAwaited,
  published(message, interest, turn) {
    told.push(Buffer.from(message.payload).toString());
    const delivery = {
      deliveryId: `evt_${told.length}`,
      endpoint: "e",
      event: "on_message_publish",
      orderKey: message.publisher.clientId,
      body: message.payload,
      acceptedAt: 0,
      expiresAt: undefined,
      head: "",
    };
    if ((interest as { isAwaited: boolean }).isAwaited)
      turn.add({ type: "delivery-owed", durability: "strict", delivery });
    else turn.addUnawaited({ type: "delivery-owed", durability: "disk", delivery });
  },
  connack: ({ clientId }) => void told.push(`connack ${clientId}`),
};

beforeEach(async () => {
  tapped = undefined;
  told = [];
  store = new HoldingStore();
  server = await startBroker({}, { store, taps: [tap] });
});

afterEach(async () => {
  const crashed = server.crash();
  while (store.underWay > 0) store.refuse();
  await crashed;
});

const versions = [
  [5, 1],
  [5, 2],
  [4, 1],
  [4, 2],
] as const satisfies [ProtocolVersion, QoS][];

function lasting(clientId: string, protocolVersion: ProtocolVersion = 5): Partial<Connect> {
  const properties = protocolVersion === 5 ? { sessionExpiryInterval: 1000 } : undefined;
  return { clientId, protocolVersion, cleanStart: false, properties };
}

/** Everything that has been handed to the store so far is on disk. */
async function committed(): Promise<void> {
  await new Promise(setImmediate);
  while (store.underWay > 0) {
    store.letThrough();
    await new Promise(setImmediate);
  }
}

/** Everything under way is refused, once there is something. */
async function refused(): Promise<void> {
  await until(() => store.underWay > 0, "something is under way");
  store.refuse();
}

function full(): void {
  store.become("disk full");
}

async function well(): Promise<void> {
  store.become(undefined);
  await committed();
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

function connectLasting(clientId: string, protocolVersion: ProtocolVersion = 5): Promise<TestClient> {
  return connected(lasting(clientId, protocolVersion));
}

async function subscriber(clientId: string, topicFilter: string, qos: QoS = 2): Promise<TestClient> {
  const client = await connectLasting(clientId);
  const subscribed = client.subscribe(topicFilter, { qos });
  await client.roundTrip();
  await committed();
  await subscribed;
  return client;
}

/** What the front has is what is on disk: a broker restored from it would go on the same. */
async function sameAsStored(): Promise<void> {
  await committed();
  assert.deepEqual(stateOf(server.broker), storedStateOf(await storedState(store)));
}

async function expectRefusal(publisher: TestClient, qos: QoS, packetIdentifier: number): Promise<void> {
  if (publisher.version !== 5) return publisher.nothing();
  const answer = await publisher.answerTo(qos === 1 ? "puback" : "pubrec", packetIdentifier);
  assert.equal(answer.reasonCode, ReasonCode.quotaExceeded);
  await publisher.nothing();
}

/** Who met with silence is sent away when the store takes again, and comes back to send again; others stay. */
async function returned(publisher: TestClient, connect: Partial<Connect>): Promise<TestClient> {
  if (publisher.version === 5) return publisher;
  await publisher.closed();
  return connected(connect);
}

/** The last hand-shake goes to the store too. */
async function receiveCommitted(client: TestClient): Promise<string> {
  const received = await store.through(client.receive());
  await client.roundTrip();
  await committed();
  return textOf(received);
}

describe.each(versions)("a refused PUBLISH of %i.x, QoS %i", (protocolVersion, qos) => {
  test("is owed to nobody: neither who is there nor who is away gets it, and it is new when it comes again", async () => {
    const there = await subscriber("there", "t");
    await (await subscriber("away", "t")).disconnect();
    await committed();
    let publisher = await connectLasting("publisher", protocolVersion);
    publisher.sendPublish("t", "x", { qos, packetIdentifier: 1 });
    await publisher.nothing();
    await refused();
    await expectRefusal(publisher, qos, 1);
    await committed();
    publisher = await returned(publisher, lasting("publisher", protocolVersion));
    await there.nothing();
    await sameAsStored();
    assert.equal(server.broker.queuedBytes, 0);
    publisher.sendPublish("t", "again", { qos, packetIdentifier: 1, dup: true });
    await publisher.roundTrip();
    await committed();
    await publisher.answerTo(qos === 1 ? "puback" : "pubrec", 1);
    assert.equal(await receiveCommitted(there), "again");
    const back = await connectLasting("away");
    assert.equal(await receiveCommitted(back), "again");
    await back.nothing();
    await there.nothing();
    await sameAsStored();
  });

  test("leaves the retained message as it was, through several in a row", async () => {
    const publisher = await TestClient.connect(server.port, { protocolVersion });
    const first = publisher.publish("t", "A", { qos, retain: true });
    await publisher.roundTrip();
    await committed();
    await first;
    publisher.sendPublish("t", "B", { qos, packetIdentifier: 11, retain: true });
    await publisher.roundTrip();
    publisher.sendPublish("t", "", { qos, packetIdentifier: 12, retain: true });
    await publisher.roundTrip();
    publisher.sendPublish("t", "C", { qos, packetIdentifier: 13, retain: true });
    publisher.sendPublish("new", "D", { qos, packetIdentifier: 14, retain: true });
    await publisher.roundTrip();
    store.refuse();
    await publisher.roundTrip();
    if (protocolVersion === 5) {
      const answers = publisher.unread.map((packet) => "packetIdentifier" in packet && packet.packetIdentifier);
      assert.deepEqual(answers, [11, 12, 13, 14]);
    }
    assert.equal(server.broker.retained.get("t")?.payload.toString(), "A");
    assert.equal(server.broker.retained.get("new"), undefined);
    await sameAsStored();
    assert.equal((await storedState(store)).messages.size, 1);
  });

  test("is refused at the door while the store is in trouble: nobody hears it, and it is new when it comes again", async () => {
    const live = await TestClient.connect(server.port);
    await live.subscribe("t", { qos: 1 });
    await (await subscriber("away", "t")).disconnect();
    await committed();
    let publisher = await TestClient.connect(server.port, { protocolVersion });
    full();
    publisher.sendPublish("t", "x", { qos, packetIdentifier: 1 });
    publisher.sendPublish("live", "x", { qos, packetIdentifier: 2, retain: true });
    await publisher.roundTrip();
    if (protocolVersion === 5) await publisher.answerTo(qos === 1 ? "puback" : "pubrec", 1);
    await expectRefusal(publisher, qos, 2);
    await live.nothing();
    assert.equal(store.underWay, 0);
    assert.equal(server.broker.figures.messagesRefused, 2);
    await well();
    publisher = await returned(publisher, { protocolVersion });
    publisher.sendPublish("t", "x", { qos, packetIdentifier: 1, dup: true });
    await publisher.roundTrip();
    await committed();
    const answer = await publisher.answerTo(qos === 1 ? "puback" : "pubrec", 1);
    assert.equal(answer.reasonCode, ReasonCode.success);
    assert.equal(textOf(await live.receive()), "x");
    await sameAsStored();
  });

  test("keeps the order of who hears nothing: what comes behind it is not taken either, and comes again behind it", async () => {
    if (protocolVersion === 5) return;
    const owed = await subscriber("owed", "t");
    let publisher = await connectLasting("publisher", protocolVersion);
    full();
    publisher.sendPublish("t", "first", { qos, packetIdentifier: 1 });
    await publisher.roundTrip();
    // Nobody would have to wait for the store.
    publisher.sendPublish("nobody", "second", { qos, packetIdentifier: 2 });
    await publisher.nothing();
    await well();
    publisher = await returned(publisher, lasting("publisher", protocolVersion));
    publisher.sendPublish("t", "first", { qos, packetIdentifier: 1, dup: true });
    publisher.sendPublish("t", "second", { qos, packetIdentifier: 2, dup: true });
    assert.equal(await receiveCommitted(owed), "first");
    assert.equal(await receiveCommitted(owed), "second");
    await committed();
  });

  test("of nothing durable goes through as always, though the store is in trouble", async () => {
    const live = await TestClient.connect(server.port);
    await live.subscribe("t", { qos: 1 });
    const publisher = await TestClient.connect(server.port, { protocolVersion });
    full();
    assert.equal(await publisher.publish("t", "x", { qos }), ReasonCode.success);
    assert.equal(textOf(await live.receive()), "x");
    // Clears what is not there: nothing to keep.
    await publisher.publish("t", "", { qos, retain: true });
    assert.equal(server.broker.figures.messagesRefused, 0);
  });
});

describe("what is taken back", () => {
  test("gives the receiver's quota back: what is behind it goes", async () => {
    const properties = { sessionExpiryInterval: 1000, receiveMaximum: 1 };
    const owed = await connected({ ...lasting("owed"), properties });
    const subscribed = owed.subscribe("t", { qos: 1 });
    await owed.roundTrip();
    await committed();
    await subscribed;
    const publisher = await TestClient.connect(server.port);
    for (let i = 1; i <= 2; i++) {
      publisher.sendPublish("t", `void ${i}`, { qos: 1, packetIdentifier: i });
      await publisher.roundTrip();
    }
    store.refuse();
    publisher.sendPublish("t", "taken", { qos: 1, packetIdentifier: 3 });
    await publisher.roundTrip();
    await committed();
    assert.equal(textOf(await owed.expect("publish")), "taken");
    await owed.nothing();
    await sameAsStored();
  });

  test("gives no quota back for what a new connection has not sent again yet", async () => {
    const first = await connectLasting("owed");
    const subscribed = first.subscribe("t", { qos: 1 });
    await first.roundTrip();
    await committed();
    await subscribed;
    const publisher = await TestClient.connect(server.port);
    for (let i = 1; i <= 3; i++) publisher.sendPublish("t", `void ${i}`, { qos: 1, packetIdentifier: i });
    await publisher.roundTrip();
    const properties = { sessionExpiryInterval: 1000, receiveMaximum: 1 };
    // In trouble a session that is there is served at once.
    full();
    const second = await TestClient.connect(server.port, { ...lasting("owed"), properties });
    await second.roundTrip();
    store.refuse();
    await well();
    for (let i = 4; i <= 6; i++) publisher.sendPublish("t", `${i}`, { qos: 1, packetIdentifier: i });
    await publisher.roundTrip();
    await committed();
    assert.equal(textOf(await second.expect("publish")), "4");
    await second.nothing();
    await sameAsStored();
  });

  test("is left alone where the client has a new session since", async () => {
    await subscriber("owed", "t");
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("t", "void", { qos: 1, packetIdentifier: 1 });
    await publisher.roundTrip();
    const { client: anew, connack } = await arriving({ ...lasting("owed"), cleanStart: true });
    store.refuse();
    await committed();
    assert.equal((await connack).sessionPresent, false);
    await store.through(anew.subscribe("t", { qos: 1 }));
    publisher.sendPublish("t", "taken", { qos: 1, packetIdentifier: 2 });
    await publisher.roundTrip();
    await committed();
    assert.equal(textOf(await anew.expect("publish")), "taken");
    await anew.nothing();
    await sameAsStored();
  });

  test("goes from the member of a shared subscription to whom it was passed on", async () => {
    const first = await subscriber("first", "$share/g/t", 1);
    const publisher = await TestClient.connect(server.port);
    const second = await subscriber("second", "$share/g/t", 1);
    publisher.sendPublish("t", "void", { qos: 1, packetIdentifier: 1 });
    await publisher.roundTrip();
    // Whoever has it passes it on.
    const holder = server.broker.sessions.get("first")!.inflight.count > 0 ? first : second;
    const other = holder === first ? second : first;
    await arriving({ clientId: holder.clientId, cleanStart: true });
    await other.roundTrip();
    store.refuse();
    await committed();
    await other.nothing();
    await sameAsStored();
    assert.equal((await storedState(store)).messages.size, 0);
  });

  test("has no name in the store any more: where a live member of a shared subscription leaves it to another, it gets a new one", async () => {
    await (await subscriber("away", "t", 1)).disconnect();
    const member = await TestClient.connect(server.port);
    await member.subscribe("$share/g/t", { qos: 1 });
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await member.expect("publish");
    await refused();
    await expectRefusal(publisher, 1, 1);
    const heir = await subscriber("heir", "$share/g/t", 1);
    await member.disconnect();
    assert.equal(await receiveCommitted(heir), "x");
    await sameAsStored();
  });

  test("a QoS 2 duplicate that came over a new connection meanwhile is refused with its first", async () => {
    const first = await connectLasting("publisher");
    first.sendPublish("t", "x", { qos: 2, packetIdentifier: 1 });
    await first.roundTrip();
    // In trouble a session that is there is served at once.
    full();
    const second = await TestClient.connect(server.port, lasting("publisher"));
    second.sendPublish("t", "x", { qos: 2, packetIdentifier: 1, dup: true });
    await second.roundTrip();
    store.refuse();
    assert.equal((await second.expect("pubrec")).reasonCode, ReasonCode.quotaExceeded);
    await well();
    await sameAsStored();
  });

  test("a QoS 2 message that was taken is still known as such when it comes again in trouble", async () => {
    const publisher = await connectLasting("publisher");
    publisher.sendPublish("t", "x", { qos: 2, packetIdentifier: 1 });
    await publisher.roundTrip();
    await committed();
    await publisher.expect("pubrec");
    full();
    publisher.sendPublish("t", "x", { qos: 2, packetIdentifier: 1, dup: true });
    assert.equal((await publisher.expect("pubrec")).reasonCode, ReasonCode.success);
  });

  test("a topic that another message has taken since keeps that", async () => {
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("t", "void", { qos: 1, packetIdentifier: 1, retain: true });
    publisher.sendPublish("t", "kept", { qos: 0, retain: true });
    await publisher.roundTrip();
    store.refuse();
    await committed();
    assert.equal(server.broker.retained.get("t")?.payload.toString(), "kept");
    await sameAsStored();
  });

  test("the PUBACKs of one connection keep the order of their PUBLISHes [MQTT5 4.6.0-2]", async () => {
    await subscriber("owed", "t");
    const publisher = await TestClient.connect(server.port);
    for (let i = 1; i <= 6; i++)
      publisher.sendPublish(i % 2 === 0 ? "t" : "nobody", "x", { qos: 1, packetIdentifier: i });
    await publisher.roundTrip();
    await publisher.expect("puback");
    store.refuse();
    for (let i = 7; i <= 10; i++)
      publisher.sendPublish(i % 2 === 0 ? "t" : "nobody", "x", { qos: 1, packetIdentifier: i });
    await publisher.roundTrip();
    await committed();
    for (let i = 2; i <= 10; i++) {
      const { packetIdentifier, reasonCode } = await publisher.expect("puback");
      const refused = i % 2 === 0 && i <= 6;
      const answer = i % 2 === 1 ? ReasonCode.noMatchingSubscribers : refused ? ReasonCode.quotaExceeded : 0;
      assert.deepEqual([packetIdentifier, reasonCode], [i, answer]);
    }
    await sameAsStored();
  });
});

describe("what has happened is held until the store takes it, and its answer waits", () => {
  test("a session that has opened, and what it is owed then", async () => {
    const { client, connack } = await arriving(lasting("client"));
    await refused();
    await refused();
    assert.deepEqual(client.unread, []);
    await until(() => store.underWay > 0, "it is handed in again");
    await committed();
    assert.equal((await connack).reasonCode, ReasonCode.success);
    await store.through(client.subscribe("t", { qos: 1 }));
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await publisher.roundTrip();
    await committed();
    assert.equal(textOf(await client.expect("publish")), "x");
    await sameAsStored();
    assert.equal((await storedState(store)).sessions[0].queue.length, 1);
  });

  test("UNSUBSCRIBE, while the store is in trouble", async () => {
    const client = await subscriber("client", "t");
    full();
    const unsubscribed = client.unsubscribe("t");
    await client.nothing();
    assert.equal(server.broker.subscriptions.count, 0);
    await well();
    await unsubscribed;
    await sameAsStored();
  });

  test("PUBCOMP and PUBREL, while PUBACKs go on", async () => {
    const client = await subscriber("client", "t", 2);
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("t", "x", { qos: 2, packetIdentifier: 1 });
    client.sendPublish("nobody", "x", { qos: 2, packetIdentifier: 1 });
    await client.roundTrip();
    await publisher.roundTrip();
    await committed();
    const packets = [await client.next(), await client.next()];
    const { packetIdentifier } = packets.find(({ type }) => type === "publish") as { packetIdentifier: number };
    full();
    client.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
    client.send({ type: "pubrel", packetIdentifier: 1, reasonCode: 0 });
    await client.nothing();
    assert.equal(await client.publish("nobody", "x", { qos: 1 }), ReasonCode.noMatchingSubscribers);
    await well();
    await client.answerTo("pubrel", packetIdentifier);
    await client.answerTo("pubcomp", 1);
    client.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
    await client.roundTrip();
    await sameAsStored();
    assert.deepEqual((await storedState(store)).sessions[0].queue, []);
  });

  test("acknowledgements, ends of sessions, and wills, retained too", async () => {
    const client = await subscriber("client", "t", 1);
    const ends = await subscriber("ends", "e", 1);
    const will = { topicName: "t", payload: new Uint8Array(Buffer.from("gone")), qos: 1, retain: true } as const;
    const mortal = await connected({ clientId: "mortal", will });
    const publisher = await TestClient.connect(server.port);
    publisher.sendPublish("t", "x", { qos: 1, packetIdentifier: 1 });
    await publisher.roundTrip();
    await committed();
    full();
    await client.receive();
    const again = await TestClient.connect(server.port, { clientId: "ends", cleanStart: true });
    await ends.closed().catch(() => {});
    await again.disconnect();
    mortal.destroy();
    await server.gone("mortal");
    await client.nothing();
    assert.equal(server.broker.retained.get("t")?.payload.toString(), "gone");
    await well();
    assert.equal(await receiveCommitted(client), "gone");
    await sameAsStored();
    const { sessions, wills, retained } = await storedState(store);
    assert.deepEqual(
      sessions.map(({ clientId }) => clientId),
      ["client"],
    );
    assert.deepEqual(sessions[0].queue, []);
    assert.deepEqual(wills, []);
    assert.equal(retained.size, 1);
  });

  test("after a second of silence too, though the store does not say that its trouble is over", async () => {
    const client = await subscriber("client", "t");
    full();
    const unsubscribed = client.unsubscribe("t");
    await client.nothing();
    const since = performance.now();
    await until(() => store.underWay > 0, "it is handed in");
    assert.ok(performance.now() - since > storeRetryMs / 2);
    store.refuse();
    await until(() => store.underWay > 0, "it is handed in once more");
    store.letThrough();
    await unsubscribed;
  });
});

describe("while the store is in trouble", () => {
  test.each([4, 5] as const)(
    "SUBSCRIBE of a lasting session is refused, each filter, %i.x",
    async (protocolVersion) => {
      const client = await connectLasting("client", protocolVersion);
      full();
      const request = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
      const subscriptions = [
        { ...request, topicFilter: "a" },
        { ...request, topicFilter: "b/#" },
      ];
      client.send({ type: "subscribe", packetIdentifier: 1, subscriptions });
      assert.deepEqual((await client.expect("suback")).reasonCodes, [0x80, 0x80]);
      assert.equal(server.broker.subscriptions.count, 0);
      const clean = await TestClient.connect(server.port, { protocolVersion });
      assert.deepEqual((await clean.subscribe("a", { qos: 1 })).reasonCodes, [1]);
    },
  );

  test.each([
    [4, ReasonCode.serverUnavailable],
    [5, ReasonCode.serverUnavailable],
  ] as const)(
    "CONNECT %i.x for a new session that is to last is refused; one that is there goes on",
    async (protocolVersion, reasonCode) => {
      await (await connectLasting("there", protocolVersion)).disconnect();
      const clean = await TestClient.connect(server.port, { clientId: "clean", cleanStart: true, protocolVersion });
      await committed();
      full();
      for (const clientId of ["new", "clean"]) {
        const refused = await TestClient.open(server.port);
        assert.equal((await refused.request(lasting(clientId, protocolVersion))).reasonCode, reasonCode);
        await refused.closed();
      }
      await clean.nothing();
      const refused = await TestClient.open(server.port);
      const anew = protocolVersion === 5 ? { ...lasting("there"), cleanStart: true } : lasting("new", 4);
      assert.equal((await refused.request(anew)).reasonCode, reasonCode);
      const there = await TestClient.connect(server.port, lasting("there", protocolVersion));
      assert.equal(there.connack.sessionPresent, true);
      await well();
      await sameAsStored();
    },
  );

  test("a new clean session is accepted, and its will is kept", async () => {
    full();
    const will = { topicName: "t", payload: new Uint8Array(Buffer.from("gone")), qos: 0, retain: false } as const;
    await TestClient.connect(server.port, { clientId: "mortal", will });
    await well();
    assert.deepEqual(
      (await storedState(store)).wills.map(({ clientId }) => clientId),
      ["mortal"],
    );
  });

  test("QoS 0 goes to who is there; it is not retained, and no Tap is told: both are counted", async () => {
    tapped = { topicName: "t", isAwaited: true };
    const live = await TestClient.connect(server.port);
    await live.subscribe("t");
    full();
    const publisher = await TestClient.connect(server.port);
    await publisher.publish("t", "x", { retain: true });
    assert.equal(textOf(await live.receive()), "x");
    assert.equal(server.broker.retained.count, 0);
    assert.equal(server.broker.figures.retainedRefused, 1);
    assert.equal(server.broker.figures.happeningsUntold, 1);
    assert.ok(!told.includes("x"));
    assert.equal(store.underWay, 0);
  });

  test("a QoS 1 message that a Tap must keep is refused; one that it need not keep goes to who is there", async () => {
    const live = await TestClient.connect(server.port);
    await live.subscribe("+", { qos: 1 });
    const publisher = await TestClient.connect(server.port);
    full();
    tapped = { topicName: "must", isAwaited: true };
    assert.equal(await publisher.publish("must", "x", { qos: 1 }), ReasonCode.quotaExceeded);
    tapped = { topicName: "may", isAwaited: false };
    assert.equal(await publisher.publish("may", "y", { qos: 1 }), ReasonCode.success);
    assert.equal(textOf(await live.receive()), "y");
    await live.nothing();
    assert.equal(server.broker.figures.happeningsUntold, 1);
  });

  test("what is held has an end: then nobody adds to it who is not there already", async () => {
    const will = { topicName: "t", payload: new Uint8Array(60_000), qos: 1, retain: false } as const;
    full();
    while (!server.broker.turn.isStuck) await TestClient.connect(server.port, { will });
    const toldBefore = told.length;
    const refused = await TestClient.open(server.port);
    assert.equal((await refused.request({ will })).reasonCode, ReasonCode.serverUnavailable);
    const { figures } = server.broker;
    assert.ok(figures.happeningsUntold > 0);
    await TestClient.connect(server.port);
    assert.equal(told.length, toldBefore);
    await well();
    await connected({ will });
    assert.equal(told.length, toldBefore + 1);
  });

  test("the broker says so", async () => {
    assert.equal(server.broker.storeTrouble, undefined);
    full();
    assert.equal(server.broker.storeTrouble, "disk full");
  });
});

describe("what nobody waits for", () => {
  test("a QoS 1 message to live clients that matches no rule is answered at once", async () => {
    const live = await TestClient.connect(server.port);
    await live.subscribe("t", { qos: 1 });
    const publisher = await TestClient.connect(server.port);
    assert.equal(await publisher.publish("t", "x", { qos: 1 }), ReasonCode.success);
    assert.equal(textOf(await live.receive()), "x");
    assert.equal(store.underWay, 0);
  });

  test("a QoS 1 message whose delivery nobody waits for is answered before the store has it", async () => {
    tapped = { topicName: "t", isAwaited: false };
    const publisher = await TestClient.connect(server.port);
    assert.equal(await publisher.publish("t", "x", { qos: 1 }), ReasonCode.success);
    assert.deepEqual(told.at(-1), "x");
    assert.equal(store.underWay, 1);
    tapped = { topicName: "u", isAwaited: true };
    publisher.sendPublish("u", "y", { qos: 1, packetIdentifier: 7 });
    await publisher.nothing();
    await committed();
    await publisher.answerTo("puback", 7);
  });
});
