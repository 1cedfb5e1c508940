/**
 * CONNACK waits for the commit that makes it true: what it says of a session, and the will that comes with it, survive a
 * crash at any moment after it. Who leaves, or is sent away, while it waits has been here all the same.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import { FakeClock } from "../../src/base/fake-clock.ts";
import { connectWaitMs } from "../../src/broker/limits.ts";
import type { Connection } from "../../src/broker/connection.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { Tap } from "../../src/broker/tap.ts";
import type { Wire } from "../../src/broker/wire.ts";
import { encodePacket } from "../../src/mqtt/codec.ts";
import type { Connack, Connect } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient, textOf } from "../support/client.ts";
import { until } from "../support/until.ts";
import { HoldingStore } from "./holding-store.ts";
import { storedState } from "../../src/store/stored-state.ts";

let clock: FakeClock;
let store: HoldingStore;
let server: TestBroker;
/** What the Tap heard of clients. */
let told: string[];
/** What the Tap hears of a CONNACK it adds to the Turn, as something that must survive. */
let owesEvents: boolean;

const tap: Tap = {
  connack: ({ clientId, remotePort }, reasonCode, turn) => {
    told.push(`${nameOf(clientId, remotePort)} ${reasonCode}`);
    if (owesEvents) turn.addUnawaited({ type: "retained-cleared", topicName: "told" });
  },
  disconnected: ({ clientId, remotePort }, reason) => void told.push(`${nameOf(clientId, remotePort)} ${reason}`),
};

beforeEach(async () => {
  clock = new FakeClock();
  store = new HoldingStore();
  await start();
});
afterEach(() => crash());

async function start(options: Partial<BrokerOptions> = {}): Promise<void> {
  told = [];
  owesEvents = false;
  server = await startBroker(options, { store, clock, taps: [tap] });
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
  await start();
  await committed();
}

/** Everything that has been handed to the store so far is on disk. */
async function committed(): Promise<void> {
  await new Promise(setImmediate);
  while (store.underWay > 0) {
    store.letThrough();
    await new Promise(setImmediate);
  }
}

async function connected(connect: Partial<Connect>): Promise<TestClient> {
  const client = await store.through(TestClient.connect(server.port, connect));
  await committed();
  return client;
}

/** Sends a CONNECT that has to wait. */
async function arriving(connect: Partial<Connect>): Promise<{ client: TestClient; connack: Promise<Connack> }> {
  const former = waitingOf(connect);
  const client = await TestClient.open(server.port);
  const connack = client.request(connect);
  connack.catch(() => {});
  await until(() => ![undefined, former].includes(waitingOf(connect)), "it waits for its CONNACK");
  return { client, connack };
}

function waitingOf({ clientId }: Partial<Connect>): Connection | undefined {
  return server.broker.sessions.get(clientId!)?.arriving;
}

/** Peers without a socket have ports that are no other's: 1, 2, 3. */
function nameOf(clientId: string, remotePort: number): string {
  return remotePort < 1000 ? `${clientId}@${remotePort}` : clientId;
}

/** A peer whose end the broker hears of at once, though it does not read from it. */
function dial(remotePort: number, connect: Partial<Connect>): Connection {
  const wire: Wire = {
    remoteAddress: "192.0.2.1",
    remotePort,
    write: () => true,
    pause: () => {},
    resume: () => {},
    end: () => {},
    destroy: () => {},
  };
  const connection = server.broker.accept(wire)!;
  const { protocolVersion = 5 } = connect;
  const defaults = {
    type: "connect",
    protocolVersion,
    cleanStart: true,
    keepAliveSeconds: 0,
    clientId: "client",
  } as const;
  connection.received(encodePacket(protocolVersion, { ...defaults, ...connect }));
  return connection;
}

function willOf(text: string): NonNullable<Connect["will"]> {
  return { topicName: "will", payload: new Uint8Array(Buffer.from(text)), qos: 1, retain: true };
}

const willLeft = () => server.broker.retained.get("will")?.payload.toString();

describe.each([4, 5] as const)("CONNACK of %i.x", (protocolVersion) => {
  const client = { clientId: "client", protocolVersion };
  const lasting: Partial<Connect> = {
    ...client,
    cleanStart: false,
    properties: protocolVersion === 5 ? { sessionExpiryInterval: 1000 } : undefined,
  };
  const clean: Partial<Connect> = { ...client, cleanStart: true };

  test("waits until the session that Clean Start ends has ended on disk: it does not come back with its messages", async () => {
    const first = await connected(lasting);
    await store.through(first.subscribe("t", { qos: 2 }));
    const publisher = await TestClient.connect(server.port);
    await store.through(publisher.publish("t", "x", { qos: 2 }));
    await store.through(first.expect("publish"));
    const unheard = await arriving(clean);
    assert.deepEqual(unheard.client.unread, []);
    await restart();
    // Its client knows of no end, and has the identifiers of what it got.
    const again = await store.through(TestClient.connect(server.port, lasting));
    assert.equal(again.connack.sessionPresent, true);
    const heard = await arriving(clean);
    await committed();
    assert.equal((await heard.connack).sessionPresent, false);
    await restart();
    const anew = await connected(lasting);
    assert.equal(anew.connack.sessionPresent, false);
    await anew.nothing();
  });

  test("waits for the end of a session that has ended before it came", async () => {
    const first = await connected({ ...lasting, protocolVersion: 5, properties: { sessionExpiryInterval: 1000 } });
    first.send({ type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await first.closed();
    assert.equal(server.broker.sessions.count, 0);
    const second = await arriving(clean);
    assert.deepEqual(second.client.unread, []);
    await committed();
    assert.equal((await second.connack).sessionPresent, false);
    await restart();
    assert.equal((await connected(lasting)).connack.sessionPresent, false);
  });

  test("waits for the end of a lasting session that was over before the disk had it, though a clean one came between", async () => {
    const timersBefore = clock.armed;
    const lasted = dial(1, lasting);
    await new Promise(setImmediate);
    const between = dial(2, clean);
    await new Promise(setImmediate);
    const last = dial(3, clean);
    await new Promise(setImmediate);
    assert.deepEqual([lasted.phase, between.phase, last.phase], ["closed", "closed", "accepted"]);
    store.letThrough(1);
    // A crash would bring it back now, to a client that was told of none.
    assert.equal((await storedState(store.memory)).sessions.length, 1);
    assert.equal(last.phase, "accepted");
    await committed();
    assert.equal(last.phase, "open");
    assert.deepEqual((await storedState(store.memory)).sessions, []);
    assert.equal(clock.armed, timersBefore);
  });

  test("that waits for the end of a session waits for all of its own turn, though the disk has that end before", async () => {
    const first = await connected({ ...lasting, protocolVersion: 5, properties: { sessionExpiryInterval: 1000 } });
    first.send({ type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await first.closed();
    await until(() => store.underWay === 1, "the end of its session is handed in");
    const second = dial(1, clean);
    dial(2, { ...clean, clientId: "other", will: willOf("of the same turn") });
    await until(() => store.underWay === 2, "their turn is handed in");
    store.letThrough(1);
    assert.deepEqual((await storedState(store.memory)).sessions, []);
    assert.equal(second.phase, "accepted");
    store.letThrough();
    assert.equal(second.phase, "open");
  });

  test("that need not wait by the end of its turn leaves with that, and the store hears of it with the next", async () => {
    const first = await connected({ ...lasting, protocolVersion: 5, properties: { sessionExpiryInterval: 1000 } });
    first.send({ type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await first.closed();
    await until(() => store.underWay > 0, "the end of its session is handed in");
    told = [];
    owesEvents = true;
    const second = dial(1, clean);
    assert.equal(second.phase, "accepted");
    store.letThrough();
    assert.deepEqual([second.phase, store.underWay], ["accepted", 0]);
    await until(() => second.phase === "open", "it is connected");
    assert.deepEqual(told, ["client@1 0"]);
    await until(() => store.underWay === 1, "its event is handed in");
  });

  test("waits until a new lasting session is on disk", async () => {
    const unheard = await arriving(lasting);
    assert.deepEqual(unheard.client.unread, []);
    await restart();
    assert.equal((await connected(lasting)).connack.sessionPresent, false);
    await restart();
    assert.equal((await connected(lasting)).connack.sessionPresent, true);
  });

  test("waits until the will is on disk", async () => {
    const unheard = await arriving({ ...clean, will: willOf("unheard") });
    assert.deepEqual(unheard.client.unread, []);
    await restart();
    assert.equal(willLeft(), undefined);
    await connected({ ...clean, will: willOf("heard") });
    await restart();
    await until(() => willLeft() === "heard", "the will is published");
  });

  test("waits for nothing where nothing is durable: a clean session, and one that takes it over", async () => {
    await TestClient.connect(server.port, clean);
    await TestClient.connect(server.port, clean);
    assert.equal(store.underWay, 0);
  });

  test("comes before all that the session gets, and before the answers to what came behind CONNECT", async () => {
    const first = await connected(lasting);
    await store.through(first.subscribe("t", { qos: 1 }));
    await first.disconnect();
    await committed();
    const publisher = await TestClient.connect(server.port);
    const second = await arriving(lasting);
    second.client.send({ type: "pingreq" });
    publisher.sendPublish("t", "to who is there", { qos: 0 });
    publisher.sendPublish("t", "owed", { qos: 1, packetIdentifier: 1 });
    await publisher.roundTrip();
    assert.deepEqual(second.client.unread, []);
    await committed();
    await second.connack;
    await second.client.expect("pingresp");
    await committed();
    assert.equal(textOf(await second.client.expect("publish")), "owed");
    await second.client.nothing();
  });

  test("of the first of two that come at once is never sent: it is told of, taken over and closed without a word", async () => {
    await connected(lasting);
    told = [];
    const a = await arriving({ ...lasting, will: willOf("a") });
    const b = await arriving(lasting);
    await a.client.closed();
    await assert.rejects(a.connack, /the server has closed/);
    assert.deepEqual(a.client.unread, []);
    assert.equal(willLeft(), "a");
    assert.deepEqual(b.client.unread, []);
    await committed();
    assert.equal((await b.connack).sessionPresent, true);
    assert.deepEqual(told, ["client session_taken_over", "client 0", "client session_taken_over", "client 0"]);
    await b.client.nothing();
    assert.equal(server.broker.sessions.get("client")?.will, undefined);
  });

  test("of one whose session the Clean Start of the next ends is never sent, and nothing is left of it", async () => {
    const a = await arriving({ ...lasting, will: willOf("a") });
    const b = await arriving(clean);
    await a.client.closed();
    assert.deepEqual(a.client.unread, []);
    await committed();
    assert.equal((await b.connack).sessionPresent, false);
    assert.equal(server.broker.connections.size, 1);
    assert.equal(server.broker.sessions.count, 1);
    await b.client.disconnect();
    await committed();
    const { sessions, wills } = await storedState(store);
    assert.deepEqual([sessions, wills], [[], []]);
  });

  test("of a peer that leaves meanwhile: its session waits and its will is published, as if it had been cut off", async () => {
    const timersBefore = clock.armed;
    const peer = dial(1, { ...lasting, will: willOf("gone") });
    assert.equal(peer.phase, "accepted");
    peer.closed();
    assert.equal(willLeft(), "gone");
    assert.deepEqual(told, ["client@1 0", "client@1 connection_lost"]);
    await committed();
    assert.equal(told.length, 2);
    assert.equal(server.broker.connections.size, 0);
    const session = server.broker.sessions.get("client")!;
    assert.deepEqual([session.connection, session.arriving], [undefined, undefined]);
    // A session before 5.0 does not expire.
    assert.equal(clock.armed - timersBefore, protocolVersion === 5 ? 1 : 0);
    const { sessions, wills } = await storedState(store);
    assert.equal(sessions[0].disconnectedAt, clock.now());
    assert.deepEqual(wills, []);
    assert.equal((await connected(lasting)).connack.sessionPresent, true);
    assert.equal(clock.armed, timersBefore);
  });

  test("of a peer that leaves meanwhile: its clean session ends and its will is published", async () => {
    const timersBefore = clock.armed;
    const peer = dial(1, { ...clean, will: willOf("gone") });
    peer.closed();
    assert.equal(willLeft(), "gone");
    assert.equal(server.broker.sessions.count, 0);
    assert.equal(clock.armed, timersBefore);
    await committed();
    assert.deepEqual(told, ["client@1 0", "client@1 connection_lost"]);
    assert.deepEqual((await storedState(store)).wills, []);
  });

  test("waits until the store takes what it has refused", async () => {
    const { client, connack } = await arriving(lasting);
    await until(() => store.underWay > 0, "it is handed in");
    store.refuse();
    await until(() => store.underWay > 0, "it is handed in again");
    assert.deepEqual(client.unread, []);
    store.letThrough();
    assert.equal((await connack).reasonCode, ReasonCode.success);
  });

  test("that waits too long is not waited for: the peer is closed, its session stays", async () => {
    const { client } = await arriving(lasting);
    clock.advance(connectWaitMs + 1000);
    await client.closed();
    assert.deepEqual(client.unread, []);
    assert.deepEqual(told, ["client 0", "client connection_lost"]);
    await committed();
    assert.equal(told.length, 2);
    assert.equal((await connected(lasting)).connack.sessionPresent, true);
  });

  test("waits for nothing while the store is in trouble: who comes again is served at once, who waited before is closed", async () => {
    const a = await arriving(lasting);
    store.become("disk full");
    const b = await TestClient.connect(server.port, lasting);
    assert.equal(b.connack.sessionPresent, true);
    await a.client.closed();
    assert.deepEqual(a.client.unread, []);
    store.become(undefined);
    await committed();
    await b.nothing();
    assert.equal(server.broker.connections.size, 1);
  });

  test("is not sent by a broker that stops: the session is there at the next start, its will is published", async () => {
    const a = await arriving({ ...lasting, will: willOf("gone") });
    await store.through(server.close());
    assert.deepEqual(a.client.unread, []);
    assert.deepEqual(told, ["client 0", "client server_shutdown"]);
    assert.equal(clock.armed, 0);
    await start();
    assert.equal(willLeft(), "gone");
    assert.equal((await connected(lasting)).connack.sessionPresent, true);
  });

  test("is counted when it is sent; who waits for it counts as connected where there is no room for more", async () => {
    await crash();
    await start({ connectionsMax: 1 });
    const a = await arriving(lasting);
    assert.equal(server.broker.figures.connectionsOpened, 0);
    const other = await TestClient.open(server.port);
    const busy = await other.request({ clientId: "other", protocolVersion });
    assert.equal(busy.reasonCode, protocolVersion === 5 ? ReasonCode.serverBusy : ReasonCode.serverUnavailable);
    await other.closed();
    await committed();
    await a.connack;
    assert.equal(server.broker.figures.connectionsOpened, 1);
    assert.equal(server.broker.figures.connectionsRefused, 1);
    const b = await arriving(lasting);
    const c = await connected(lasting);
    await b.client.closed();
    await c.nothing();
    assert.equal(server.broker.figures.connectionsOpened, 3);
  });
});
