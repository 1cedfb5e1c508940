/**
 * The real thing: broker, back and store of one process, on the simulation's time. Everything the simulation knows of their
 * making is here, so that it can be killed and started again from what is on its disk.
 */
import { openAccess } from "../../src/access/access.ts";
import { Back } from "../../src/back.ts";
import type { Logger } from "../../src/base/log.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { ClientInfo, DisconnectReason } from "../../src/broker/tap.ts";
import type { Wire } from "../../src/broker/wire.ts";
import type { Connection } from "../../src/broker/connection.ts";
import type { BrokerChange, Change, DeliveryChange, OwedDelivery } from "../../src/store/change.ts";
import { ChangeEncoder, decodeChanges } from "../../src/store/change-codec.ts";
import type { DeliveryStore } from "../../src/store/deliveries.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import type { Committed, Engine, Store, StoreUnavailable } from "../../src/store/store.ts";
import type { Sender, Settled } from "../../src/webhook/attempt.ts";
import type { EndpointFigures } from "../../src/webhook/endpoint.ts";
import { noFacts } from "../../src/webhook/fake-endpoint.ts";
import type { EndpointOptions, WebhookOptions } from "../../src/webhook/options.ts";
import { cancelled, judgeAnswer, judgeFailure, type Outcome } from "../../src/webhook/outcome.ts";
import { Outbox } from "../../src/webhook/outbox.ts";
import type { Random } from "../fault/random.ts";
import { ProcessClock, type Timeline } from "./timeline.ts";

/** How the end of a request looks from the sender's side. */
export type Ending = { status: number; retryAfter?: string } | "refused" | "reset" | "timeout";
/** Where requests go. `answer` is called at most once. */
type Post = (endpoint: EndpointOptions, deliveryId: string, answer: (ending: Ending) => void) => void;

/** What can be seen of the process from outside, as it happens. */
export interface Observer {
  /** A batch of changes leaves the broker; batches are counted 1, 2, 3 … in each life of the process. */
  handedIn(batch: number, owed: readonly OwedDelivery[]): void;
  /** Batch and all before it are on disk. */
  onDisk(batch: number): void;
  settledOnDisk(deliveryId: string, outcome: "delivered" | "dead" | "dropped" | "expired"): void;
  published(topicName: string, payload: string): void;
  connack(port: number): void;
  disconnected(port: number, reason: DisconnectReason): void;
  /** The broker says that it is broken. */
  complained(complaint: string): void;
}

export interface WorldParts {
  timeline: Timeline;
  random: Random;
  disk: Disk;
  options: BrokerOptions;
  webhook: WebhookOptions;
  /** Topics that the observer hears of. */
  isWatched: (topicName: string) => boolean;
  observer: Observer;
  post: Post;
}

/** What outlives the process. */
export class Disk {
  readonly memory = new MemoryStore();

  /** For tests of the simulation itself: something that was committed is not there any more. */
  forget(changes: readonly Change[]): void {
    for (const change of changes) {
      if (isOfWebhooks(change)) this.memory.record([change], () => {});
      else this.memory.commit([change], () => {});
    }
  }
}

function isOfWebhooks(change: Change): change is DeliveryChange {
  return change.type === "delivery-settled";
}

export class World {
  readonly broker: Broker;
  readonly clock: ProcessClock;
  private readonly back: Back;
  private readonly link: Link;
  private deferred: (() => void)[] = [];

  constructor({ timeline, random, disk, options, webhook, isWatched, observer, post }: WorldParts) {
    const clock = new ProcessClock(timeline);
    this.clock = clock;
    const log = complaints(observer);
    const engine = new SlowEngine({ disk, clock, random, observer });
    const chance = () => random.next();
    this.back = new Back({
      engine,
      webhook,
      clock,
      random: chance,
      log,
      createSender: (endpoint) => new PostSender(endpoint, clock, post),
    });
    this.link = new Link({ back: this.back, engine, clock, random, observer });
    const watch = {
      interest: (topicName: string) => (isWatched(topicName) ? {} : undefined),
      published: ({ topicName, payload }: { topicName: string; payload: Uint8Array }) =>
        observer.published(topicName, Buffer.from(payload).toString()),
      connack: ({ remotePort }: ClientInfo) => observer.connack(remotePort),
      disconnected: ({ remotePort }: ClientInfo, reason: DisconnectReason) => observer.disconnected(remotePort, reason),
    };
    this.broker = new Broker({
      options,
      clock,
      log,
      store: this.link,
      access: openAccess,
      taps: [watch, new Outbox({ options: webhook, clock, random: chance })],
      defer: (act) => this.deferred.push(act),
    });
  }

  /** Batches the broker has handed in. */
  get handedIn(): number {
    return this.link.handedIn;
  }

  get hasDeferred(): boolean {
    return this.deferred.length > 0;
  }

  start(): Promise<void> {
    return this.broker.start();
  }

  accept(wire: Wire): Connection | undefined {
    return this.broker.accept(wire);
  }

  figures(): EndpointFigures[] {
    return this.back.figures();
  }

  /**
   * The turn of the event loop ends, and what that sets off are turns of their own: what is spoken at its end, because all
   * before is committed, may add to the next. Only after the last of them has all been handed in that had to be.
   */
  endTurn(ended: (isLast: boolean) => void): void {
    for (let act = this.deferred.shift(); act !== undefined; act = this.deferred.shift()) {
      act();
      ended(!this.hasDeferred);
    }
  }

  /** What an operator does to an endpoint. */
  pause(endpoint: string): void {
    void this.back.operate({ what: "pause", endpoint });
  }

  resume(endpoint: string): void {
    void this.back.operate({ what: "resume", endpoint });
  }

  /** The dispatcher has other options from here on; what is owed to whom stays as it is. */
  reconfigure(webhook: WebhookOptions): void {
    void this.back.reconfigure(webhook);
  }

  crash(): void {
    this.clock.kill();
    this.deferred = [];
  }

  async stop(graceMs: number): Promise<void> {
    await this.broker.stop();
    await this.back.stopDeliveries(graceMs);
    await this.back.close();
  }
}

/** Delays, none of which lets anything overtake. */
class Line {
  private readonly clock: ProcessClock;
  private last = 0;

  constructor(clock: ProcessClock) {
    this.clock = clock;
  }

  after(delayMs: number, act: () => void): void {
    const now = this.clock.monotonic();
    this.last = Math.max(this.last, now + delayMs);
    this.clock.after(this.last - now, act);
  }
}

/** The front's end of the way to the back: batches cross as bytes, and take their time both ways. */
class Link implements Store {
  readonly trouble = undefined;
  onTrouble: Store["onTrouble"];
  handedIn = 0;
  private readonly parts: { back: Back; engine: SlowEngine; random: Random; observer: Observer };
  private readonly encoder = new ChangeEncoder();
  private readonly there: Line;
  private readonly backAgain: Line;

  constructor({
    clock,
    ...parts
  }: { back: Back; engine: SlowEngine; clock: ProcessClock; random: Random; observer: Observer }) {
    this.parts = parts;
    this.there = new Line(clock);
    this.backAgain = new Line(clock);
  }

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    const { back, engine, random, observer } = this.parts;
    const batch = ++this.handedIn;
    const bytes = this.encoder.encode(changes);
    observer.handedIn(batch, owedIn(changes));
    this.there.after(random.below(2), () => {
      engine.batch = batch;
      back.commit(decodeChanges(bytes), (error) => this.backAgain.after(random.below(2), () => done(error)));
      engine.batch = undefined;
    });
  }

  load(...asked: Parameters<Store["load"]>): Promise<void> {
    return this.parts.back.load(...asked);
  }

  async close(): Promise<void> {}
}

/** The engine: writes to the disk in order, each batch whole, after a while, or before it is asked what is there. */
class SlowEngine implements Engine {
  readonly trouble = undefined;
  onTrouble: Store["onTrouble"];
  /** The broker's batch that is being handed over. */
  batch: number | undefined;
  private readonly parts: { disk: Disk; random: Random; observer: Observer };
  private readonly writes: Line;
  private readonly answers: Line;
  private waiting: (() => void)[] = [];
  /** Of the deliveries on disk, by position. */
  private readonly ids = new Map<number, string>();

  constructor({ clock, ...parts }: { disk: Disk; clock: ProcessClock; random: Random; observer: Observer }) {
    this.parts = parts;
    this.writes = new Line(clock);
    this.answers = new Line(clock);
    const { memory } = parts.disk;
    for (const { endpoint } of memory.endpoints()) {
      for (const { position, owed } of memory.owedBehind(endpoint, 0, everything).deliveries)
        this.ids.set(position, owed.deliveryId);
    }
  }

  commit(changes: readonly BrokerChange[], done: Committed): void {
    const { disk, random, observer } = this.parts;
    const { batch } = this;
    this.write(() => {
      disk.memory.commit(changes, (error, firstPosition) => {
        for (const [i, { deliveryId }] of owedIn(changes).entries()) this.ids.set(firstPosition! + i, deliveryId);
        this.answers.after(random.below(3), () => done(error, firstPosition));
      });
      if (batch !== undefined) observer.onDisk(batch);
    });
  }

  record(changes: readonly DeliveryChange[], done: Committed): void {
    const { disk, random, observer } = this.parts;
    this.write(() => {
      disk.memory.record(changes, (...answer) => this.answers.after(random.below(3), () => done(...answer)));
      for (const change of changes) {
        if (change.type === "delivery-settled") observer.settledOnDisk(this.ids.get(change.position)!, change.outcome);
        if (change.type === "delivery-died") observer.settledOnDisk(this.ids.get(change.position)!, "dead");
      }
    });
  }

  load(...asked: Parameters<Store["load"]>): Promise<void> {
    return this.memory.load(...asked);
  }

  endpoints: DeliveryStore["endpoints"] = () => this.memory.endpoints();
  owedBehind: DeliveryStore["owedBehind"] = (...asked) => this.memory.owedBehind(...asked);
  owedInLine: DeliveryStore["owedInLine"] = (...asked) => this.memory.owedInLine(...asked);
  owedDue: DeliveryStore["owedDue"] = (...asked) => this.memory.owedDue(...asked);
  oldestOwed: DeliveryStore["oldestOwed"] = (...asked) => this.memory.oldestOwed(...asked);
  deadLetters: DeliveryStore["deadLetters"] = (...asked) => this.memory.deadLetters(...asked);
  oldestDeadLetters: DeliveryStore["oldestDeadLetters"] = (...asked) => this.memory.oldestDeadLetters(...asked);

  close(): Promise<void> {
    return new Promise((resolve) => this.writes.after(0, () => this.answers.after(0, resolve)));
  }

  /** What was handed in before counts. */
  private get memory(): MemoryStore {
    for (const act of this.waiting.splice(0)) act();
    return this.parts.disk.memory;
  }

  private write(act: () => void): void {
    this.waiting.push(act);
    this.writes.after(diskDelayMs(this.parts.random), () => {
      // It may have been asked for before.
      const upTo = this.waiting.indexOf(act) + 1;
      for (const write of this.waiting.splice(0, upTo)) write();
    });
  }
}

const everything = { countMax: 1_000_000, bytesMax: 2 ** 40 };

/** Mostly quick, now and then a flush of the drive's own, rarely a hang. */
function diskDelayMs(random: Random): number {
  const luck = random.next();
  return luck < 0.9 ? 1 + random.below(4) : luck < 0.997 ? 10 + random.below(90) : 500 + random.below(4500);
}

function owedIn(changes: readonly BrokerChange[]): OwedDelivery[] {
  return changes.flatMap((change) => (change.type === "delivery-owed" ? [change.delivery] : []));
}

/** Requests as the dispatcher makes them; their ends are judged by the product's own table. */
class PostSender implements Sender {
  private readonly endpoint: EndpointOptions;
  private readonly clock: ProcessClock;
  private readonly post: Post;
  private readonly underWay = new Set<Settled>();

  constructor(endpoint: EndpointOptions, clock: ProcessClock, post: Post) {
    this.endpoint = endpoint;
    this.clock = clock;
    this.post = post;
  }

  send(...[{ owed, resent }, settled]: Parameters<Sender["send"]>): void {
    this.underWay.add(settled);
    this.post(this.endpoint, owed.deliveryId, (ending) => {
      if (this.clock.dead || !this.underWay.delete(settled)) return;
      settled(this.outcomeOf(ending, !resent), noFacts);
    });
  }

  async close(): Promise<void> {
    const left = [...this.underWay];
    this.underWay.clear();
    for (const settled of left) settled(cancelled, noFacts);
  }

  private outcomeOf(ending: Ending, free: boolean): Outcome {
    switch (ending) {
      case "refused":
        return judgeFailure({ code: "ECONNREFUSED", free: false });
      case "reset":
        return judgeFailure({ code: "ECONNRESET", free });
      case "timeout":
        return judgeFailure({ code: "timeout", free: false });
      default: {
        const { status, retryAfter } = ending;
        return judgeAnswer({ status, retryAfter, excerpt: "" }, this.clock.now());
      }
    }
  }
}

/** An error that the broker logs is one that nobody should ever see, but for an endpoint that is down. */
function complaints(observer: Observer): Logger {
  const ignore = () => {};
  const error: Logger["error"] = (message, facts) => {
    if (message.startsWith("webhook endpoint does not take")) return;
    observer.complained(`${message} ${JSON.stringify(facts)}`);
  };
  return { debug: ignore, info: ignore, warn: ignore, error };
}
