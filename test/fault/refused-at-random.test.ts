/**
 * Publishers and subscribers over a store that now lets through, now refuses, fills up and is well again, and dies with the
 * process: whatever the order, what was acknowledged arrives, what was refused does not, and the broker's memory is the
 * store's. A seed that fails says so in its test's title; the same seed does the same again, as far as TCP lets it.
 */
import assert from "node:assert/strict";
import { test } from "vitest";
import { FakeClock } from "../../src/base/fake-clock.ts";
import type { Connect, Packet, ProtocolVersion, Publish } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient, textOf } from "../support/client.ts";
import { HoldingStore } from "./holding-store.ts";
import { Random } from "./random.ts";
import { stateOf, storedStateOf } from "./state.ts";
import { storedState } from "../../src/store/stored-state.ts";

const seeds = Array.from({ length: 12 }, (_, i) => 1 + i * 7919);
const steps = 150;
/** More than any run needs to come to rest. */
const roundsMax = 200;

interface Sent {
  text: string;
  topicName: string;
  qos: 1 | 2;
  retain: boolean;
  /** `doubtful`: QoS 1, refused when it was sent again, though its first sending may have been taken. */
  fate: "unknown" | "acknowledged" | "refused" | "doubtful";
  sentAgain: boolean;
}

interface Facts {
  clientId: string;
  version: ProtocolVersion;
  lasts: boolean;
}

abstract class Peer {
  readonly facts: Facts;
  client: TestClient | undefined;

  constructor(facts: Facts) {
    this.facts = facts;
  }

  async connect(port: number, cleanStart = !this.facts.lasts): Promise<boolean> {
    const { clientId, version, lasts } = this.facts;
    const properties = version === 5 && lasts ? { sessionExpiryInterval: 1000 } : undefined;
    const connect: Partial<Connect> = { clientId, protocolVersion: version, cleanStart, properties };
    const client = await TestClient.open(port);
    const { reasonCode, sessionPresent } = await client.request(connect);
    this.client = reasonCode === ReasonCode.success ? client : undefined;
    if (this.client !== undefined) this.connected(sessionPresent);
    return this.client !== undefined;
  }

  /** Handles what has come. True if anything had. */
  async read(): Promise<boolean> {
    const { client } = this;
    if (client === undefined) return false;
    try {
      await client.roundTrip();
    } catch (error) {
      assert.match(String(error), /the server has closed/);
      this.wasSentAway = true;
    }
    const busy = client.unread.length > 0 || this.wasSentAway;
    while (client.unread.length > 0) this.handle(client, await client.next());
    return busy;
  }

  /** The store takes again, and this peer is to send again what it heard nothing of. */
  wasSentAway = false;

  protected abstract connected(sessionPresent: boolean): void;
  protected abstract handle(client: TestClient, packet: Packet): void;
}

class Publisher extends Peer {
  /** In the order they were sent. */
  readonly sent: Sent[] = [];
  /** In the order of their acknowledgements. */
  readonly acknowledged: Sent[] = [];
  private readonly underWay = new Map<number, { message: Sent; released: boolean }>();
  private lastIdentifier = 0;

  get unanswered(): boolean {
    return this.underWay.size > 0;
  }

  publish(message: Sent): void {
    if (this.client === undefined) return;
    this.sent.push(message);
    const packetIdentifier = ++this.lastIdentifier;
    this.underWay.set(packetIdentifier, { message, released: false });
    this.send(message, packetIdentifier, false);
  }

  protected connected(sessionPresent: boolean): void {
    if (!this.facts.lasts) return this.underWay.clear();
    assert.ok(sessionPresent || this.sent.length === 0, `${this.facts.clientId} has its session`);
    for (const [packetIdentifier, { message, released }] of this.underWay) {
      if (released) this.client!.send({ type: "pubrel", packetIdentifier, reasonCode: 0 });
      else {
        message.sentAgain = true;
        this.send(message, packetIdentifier, true);
      }
    }
  }

  protected handle(client: TestClient, packet: Packet): void {
    assert.ok(packet.type === "puback" || packet.type === "pubrec" || packet.type === "pubcomp", packet.type);
    const { type, packetIdentifier, reasonCode } = packet;
    const underWay = this.underWay.get(packetIdentifier);
    if (underWay === undefined) return;
    const { message } = underWay;
    if (type === "pubcomp" || type === "puback" || reasonCode >= 0x80) this.underWay.delete(packetIdentifier);
    if (type === "pubcomp") return;
    if (reasonCode >= 0x80) {
      assert.equal(reasonCode, ReasonCode.quotaExceeded);
      assert.equal(message.fate, "unknown");
      message.fate = message.sentAgain && message.qos === 1 ? "doubtful" : "refused";
      return;
    }
    if (message.fate !== "acknowledged") this.acknowledged.push(message);
    message.fate = "acknowledged";
    if (type === "puback") return;
    underWay.released = true;
    client.send({ type: "pubrel", packetIdentifier, reasonCode: 0 });
  }

  private send({ topicName, text, qos, retain }: Sent, packetIdentifier: number, dup: boolean): void {
    this.client!.sendPublish(topicName, text, { qos, retain, packetIdentifier, dup });
  }
}

class Subscriber extends Peer {
  /** How often each message has come, duplicates of QoS 2 left out as the specification has it. */
  readonly received = new Map<string, number>();
  private readonly unreleased = new Set<number>();

  protected connected(sessionPresent: boolean): void {
    if (!sessionPresent) this.unreleased.clear();
  }

  protected handle(client: TestClient, packet: Packet): void {
    if (packet.type === "publish") return this.take(client, packet);
    if (packet.type !== "pubrel") return;
    this.unreleased.delete(packet.packetIdentifier);
    client.send({ type: "pubcomp", packetIdentifier: packet.packetIdentifier, reasonCode: 0 });
  }

  private take(client: TestClient, publish: Publish): void {
    const text = textOf(publish);
    const isDuplicate = publish.qos === 2 && this.unreleased.has(publish.packetIdentifier);
    if (!isDuplicate) this.received.set(text, (this.received.get(text) ?? 0) + 1);
    if (publish.qos === 0) return;
    const { packetIdentifier } = publish;
    if (publish.qos === 2) this.unreleased.add(packetIdentifier);
    client.send({ type: publish.qos === 1 ? "puback" : "pubrec", packetIdentifier, reasonCode: 0 });
  }
}

test.each(seeds)("seed %i", { timeout: 60_000 }, async (seed) => {
  const random = new Random(seed);
  const clock = new FakeClock();
  let store = new HoldingStore();
  let server: TestBroker = await startBroker({}, { store, clock });
  const publishers = [
    new Publisher({ clientId: "p5", version: 5, lasts: true }),
    new Publisher({ clientId: "p4", version: 4, lasts: true }),
    new Publisher({ clientId: "p5-clean", version: 5, lasts: false }),
    new Publisher({ clientId: "p4-clean", version: 4, lasts: false }),
  ];
  const owed = [
    new Subscriber({ clientId: "s5", version: 5, lasts: true }),
    new Subscriber({ clientId: "s4", version: 4, lasts: true }),
  ];
  const live = new Subscriber({ clientId: "live", version: 5, lasts: false });
  // Come and go, begin anew, share: nothing is sure to reach them, but nothing refused may.
  const fickle = ["f1", "f2"].map((clientId) => new Subscriber({ clientId, version: 5, lasts: true }));
  const steady: Peer[] = [...publishers, ...owed, live];
  const peers: Peer[] = [...steady, ...fickle];
  let count = 0;

  /** What waits for the store is let through, and the time passes after which what was refused is handed to it again. */
  const connect = (peer: Peer, cleanStart?: boolean) =>
    store.through(peer.connect(server.port, cleanStart), () => clock.advance(100));
  const readAll = async () => {
    let busy = false;
    for (const peer of peers) {
      busy = (await peer.read()) || busy;
      if (!peer.wasSentAway) continue;
      assert.equal(peer.facts.version, 4, "only who is told nothing is sent away");
      peer.wasSentAway = false;
      assert.ok(await connect(peer));
    }
    return busy;
  };
  const subscribe = ({ client }: Subscriber, packetIdentifier: number, topicFilters: string[], qos: 1 | 2) => {
    const request = { qos, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    const subscriptions = topicFilters.map((topicFilter) => ({ ...request, topicFilter }));
    client?.send({ type: "subscribe", packetIdentifier, subscriptions });
  };
  const leave = async (peer: Peer) => {
    peer.client?.destroy();
    peer.client = undefined;
    await server.gone(peer.facts.clientId);
  };
  const crash = async () => {
    const crashed = server.crash();
    while (store.underWay > 0) store.refuse();
    await crashed;
    for (const peer of peers) peer.client = undefined;
  };
  const restart = async () => {
    await crash();
    const { trouble } = store;
    store = new HoldingStore(store.memory);
    store.trouble = trouble;
    server = await startBroker({}, { store, clock });
    for (const peer of steady) assert.ok(await connect(peer));
    subscribe(live, 1, ["t/#"], 2);
  };
  /** Until nobody has anything left to say and the store has it all. */
  const comeToRest = async () => {
    for (let round = 0; round < roundsMax; round++) {
      store.letThrough();
      if (!(await readAll()) && store.underWay === 0) return;
    }
    assert.fail("it does not come to rest");
  };

  for (const peer of steady) assert.ok(await connect(peer));
  for (const subscriber of [...owed, live]) subscribe(subscriber, 1, ["t/#"], 2);
  await comeToRest();

  const doSomething: [weight: number, act: () => unknown][] = [
    [
      40,
      () => {
        const publisher = random.pick(publishers);
        for (let i = random.below(4); i >= 0; i--) {
          const retain = random.chance(0.3);
          const topicName = retain ? `r/${publisher.facts.clientId}` : `t/${random.below(3)}`;
          const text = retain && random.chance(0.2) ? "" : `${seed}.${++count}`;
          publisher.publish({ text, topicName, qos: random.pick([1, 2]), retain, fate: "unknown", sentAgain: false });
        }
      },
    ],
    [15, () => store.letThrough(1 + random.below(3))],
    [10, () => store.letThrough()],
    [8, () => store.refuse()],
    [3, () => store.become("disk full")],
    [5, () => store.become(undefined)],
    [5, () => clock.advance(random.below(1500))],
    [
      6,
      async () => {
        const peer = random.pick(steady);
        await leave(peer);
        assert.ok(await connect(peer));
        if (peer === live) subscribe(live, 1, ["t/#"], 2);
      },
    ],
    [
      8,
      async () => {
        const peer = random.pick(fickle);
        if (peer.client !== undefined && random.chance(0.5)) return leave(peer);
        if (!(await connect(peer, random.chance(0.4)))) return;
        subscribe(peer, 1, ["$share/group/t/#", "t/0", "r/#"], random.pick([1, 2]));
      },
    ],
    [1, restart],
  ];
  const weights = doSomething.reduce((sum, [weight]) => sum + weight, 0);
  for (let step = 0; step < steps; step++) {
    let at = random.below(weights);
    const chosen = doSomething.find(([weight]) => {
      at -= weight;
      return at < 0;
    });
    await chosen![1]();
    if (random.chance(0.7)) await readAll();
  }

  store.become(undefined);
  clock.advance(2000);
  await comeToRest();
  // What a 3.1.1 client heard nothing of it sends again over its next connection.
  for (const peer of steady) {
    await leave(peer);
    assert.ok(await connect(peer));
  }
  await comeToRest();

  assert.deepEqual(stateOf(server.broker), storedStateOf(await storedState(store)));
  const waiting = [...server.broker.sessions.all()].flatMap(({ queue }) => [...queue]);
  assert.equal(
    server.broker.queuedBytes,
    waiting.reduce((sum, { message }) => sum + message.bytes, 0),
  );
  const acknowledged = publishers.flatMap((publisher) => publisher.acknowledged).filter(({ retain }) => !retain);
  assert.ok(acknowledged.length > 0);
  for (const { facts, received } of owed) {
    for (const { text, qos } of acknowledged) {
      const times = received.get(text) ?? 0;
      assert.ok(qos === 1 ? times >= 1 : times === 1, `${facts.clientId} got ${text} (QoS ${qos}) ${times} times`);
    }
  }
  const refused = publishers.flatMap(({ sent }) => sent).filter(({ fate, text }) => fate === "refused" && text !== "");
  for (const { facts, received } of [...owed, ...fickle]) {
    for (const { text } of refused) assert.ok(!received.has(text), `${facts.clientId} got ${text}, which was refused`);
  }
  for (const publisher of publishers) {
    if (publisher.facts.lasts) assert.equal(publisher.unanswered, false);
    const retained = publisher.acknowledged.filter(({ retain }) => retain);
    // QoS 2 that was sent again may have been taken at its first sending, before others that were taken at their second.
    const lastSure = retained.findLastIndex(({ qos, sentAgain }) => qos === 1 || !sentAgain);
    const latest = retained.slice(Math.max(0, lastSure));
    const last = retained.at(-1);
    // One that was never answered, its connection having ended first, may have been taken all the same.
    const later = publisher.sent.slice(last === undefined ? 0 : publisher.sent.indexOf(last) + 1);
    const isInDoubt = ({ retain, fate }: Sent) => retain && (fate === "unknown" || fate === "doubtful");
    const inDoubt = later.filter(isInDoubt).map(({ text }) => text);
    const value = server.broker.retained.get(`r/${publisher.facts.clientId}`)?.payload.toString() ?? "";
    const possible = [...latest.map(({ text }) => text), ...inDoubt];
    if (lastSure < 0) possible.push("");
    assert.ok(possible.includes(value), `${publisher.facts.clientId} retains ${value}, not ${possible.join(" or ")}`);
  }
  await crash();
  assert.equal(clock.armed, 0);
});
