/**
 * Thousands of bent connections against one broker in this thread, on a clock and wires of our own: a failure repeats
 * exactly from its seed (HOOKMQ_FUZZ_SEED). Whatever comes in,
 *
 * - nothing but its own connection ends, and nothing is thrown;
 * - what goes out is MQTT of the version asked for, whatever the wires take at once and what later;
 * - in the end nothing is left, in memory or in the store, and what is in the store at any time is enough to go on with.
 */
import assert from "node:assert/strict";
import { test } from "vitest";
import { openAccess } from "../../src/access/access.ts";
import { FakeClock } from "../../src/base/fake-clock.ts";
import type { Logger } from "../../src/base/log.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { Wire, WireUser } from "../../src/broker/wire.ts";
import { decodePacket } from "../../src/mqtt/codec.ts";
import { Framer } from "../../src/mqtt/framer.ts";
import type { ProtocolVersion } from "../../src/mqtt/packet.ts";
import { HoldingStore } from "./holding-store.ts";
import { script } from "./mutations.ts";
import { Random } from "./random.ts";
import { storedState } from "../../src/store/stored-state.ts";

const seconds = Number(process.env.HOOKMQ_FUZZ_SECONDS ?? 4);
const timeoutMs = (seconds + 60) * 1000;
const givenSeed = process.env.HOOKMQ_FUZZ_SEED;
const seed = givenSeed === undefined ? Date.now() % 2 ** 31 : Number(givenSeed);

const options: BrokerOptions = {
  nodeName: "fuzz",
  version: "0",
  packetBytesMax: 20_000,
  queuedMessagesMax: 10,
  topicAliasMax: 2,
  receiveMaximum: 4,
  inflightMessagesMax: 3,
  keepAliveMultiplier: 1.5,
  keepAliveSecondsMax: undefined,
  sessionExpirySecondsMax: 5,
  connectionsMax: 15,
  sysIntervalSeconds: 0,
  responseInformation: "r/",
};

/** A wire that takes some bytes at once and some later, and looks at each only when it takes it. */
class FussyWire implements Wire {
  readonly remoteAddress = "192.0.2.1";
  readonly remotePort = 1;
  user: WireUser | undefined;
  closed = false;
  paused = false;
  private ending = false;
  private readonly random: Random;
  private readonly untaken: Uint8Array[] = [];
  private version: ProtocolVersion | undefined;
  private readonly reader = new Framer(
    {
      packet: (bytes, start, bodyStart, end) => this.read(bytes, start, bodyStart, end),
      begins: () => {},
    },
    Number.POSITIVE_INFINITY,
  );

  constructor(random: Random) {
    this.random = random;
  }

  write(bytes: Uint8Array): boolean {
    assert.ok(!this.ending, "nothing is written behind the end");
    if (this.untaken.length === 0 && this.random.chance(0.8)) {
      this.take(bytes);
      return true;
    }
    this.untaken.push(bytes);
    return false;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ending = true;
    this.drain();
    this.closed = true;
  }

  destroy(): void {
    this.ending = true;
    this.closed = true;
  }

  drain(): void {
    if (this.untaken.length === 0) return;
    for (const bytes of this.untaken.splice(0)) this.take(bytes);
    if (!this.ending) this.user?.drained();
  }

  private take(bytes: Uint8Array): void {
    this.reader.push(Buffer.from(bytes));
  }

  private read(bytes: Buffer, start: number, bodyStart: number, end: number): void {
    // What is refused may be answered in another version than the one meant.
    if (bytes[start] === 0x20) this.version = end - bodyStart === 2 ? 4 : 5;
    const packet = decodePacket(this.version ?? 4, bytes[start], bytes, bodyStart, end);
    assert.ok(!["connect", "subscribe", "unsubscribe", "pingreq"].includes(packet.type), packet.type);
  }
}

test(
  `bent packets, repeatable with HOOKMQ_FUZZ_SEED=${seed}`,
  async () => {
    const since = performance.now();
    for (let round = 0; round === 0 || performance.now() - since < seconds * 1000; round++) {
      // With a seed given the first round is the one to see again.
      await playRound(seed + round).catch((cause) => {
        throw new Error(`HOOKMQ_FUZZ_SEED=${seed + round} HOOKMQ_FUZZ_SECONDS=0`, { cause });
      });
    }
  },
  timeoutMs,
);

async function playRound(roundSeed: number): Promise<void> {
  const random = new Random(roundSeed);
  const store = new HoldingStore();
  const slowDisk = random.chance(0.5);
  const deferred: (() => void)[] = [];
  const log: Logger = {
    debug() {},
    info() {},
    warn() {},
    error: (message, facts) => assert.fail(`${message} ${JSON.stringify(facts)}`),
  };
  const defer = (act: () => void) => deferred.push(act);
  const runDeferred = () => {
    for (let act = deferred.shift(); act !== undefined; act = deferred.shift()) act();
    store.letThrough(slowDisk ? random.below(store.underWay + 1) : undefined);
  };
  let clock = new FakeClock();
  const start = async () => {
    // Time goes on, but the timers of a process that died do not.
    clock = new FakeClock(clock.now());
    const started = new Broker({ options, clock, log, store, access: openAccess, taps: [], defer });
    await started.start();
    return started;
  };
  let broker = await start();
  const clientIds = ["one", "two", "three", "", "\u0001", "__proto__"];
  type Peer = { wire: FussyWire; pieces: Generator<Buffer>; user: WireUser };
  let peers: Peer[] = [];

  for (let steps = 0; steps < 400; steps++) {
    if (peers.length < 8 && random.chance(0.2)) {
      const wire = new FussyWire(random);
      const user = broker.accept(wire);
      assert.ok(user !== undefined);
      wire.user = user;
      peers.push({ wire, user, pieces: script(random, clientIds) });
    }
    const peer = peers.length === 0 ? undefined : random.pick(peers);
    if (peer !== undefined) {
      const { value: piece, done } = peer.pieces.next();
      if (done || peer.wire.closed) {
        if (!peer.wire.closed) peer.user.closed();
        peers = peers.filter((other) => other !== peer);
      } else if (random.chance(0.7)) {
        peer.user.received(Buffer.from(piece));
      } else {
        const cut = random.below(piece.length + 1);
        if (cut > 0) peer.user.received(Buffer.from(piece.subarray(0, cut)));
        if (random.chance(0.5)) runDeferred();
        if (!peer.wire.closed && cut < piece.length) peer.user.received(Buffer.from(piece.subarray(cut)));
      }
    }
    if (random.chance(0.5)) runDeferred();
    if (random.chance(0.3) && peers.length > 0) random.pick(peers).wire.drain();
    if (random.chance(0.02)) clock.advance(random.pick([100, 1000, 2500]));
    if (random.chance(0.005)) {
      // The process dies: its connections with it, what it had in hand is lost.
      deferred.length = 0;
      store.forget();
      peers = [];
      broker = await start();
    }
  }

  for (const { wire, user } of peers) if (!wire.closed) user.closed();
  clock.advance(20_000);
  while (deferred.length > 0 || store.underWay > 0) {
    runDeferred();
    store.letThrough();
  }
  const { connections, sessions, subscriptions, queuedBytes, waitingBytes, retained } = broker;
  assert.deepEqual(
    {
      connections: connections.size,
      sessions: sessions.count,
      subscriptions: subscriptions.count,
      queuedBytes,
      waitingBytes,
    },
    { connections: 0, sessions: 0, subscriptions: 0, queuedBytes: 0, waitingBytes: 0 },
  );
  const state = await storedState(store);
  assert.deepEqual(state.sessions, []);
  assert.deepEqual(state.wills, []);
  assert.equal(state.retained.size, retained.count);
  assert.deepEqual(new Set(state.messages.keys()), new Set(state.retained.values()));
}
