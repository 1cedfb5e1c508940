/**
 * One endpoint at work: which of what it is owed is in memory (`window.ts`) and which still in the store, how many attempts
 * it may have now (`breaker.ts`), and what is made of each outcome (`delivery.ts`).
 *
 *   in the store:  … gone │ lines that wait, and what is behind a line's share │ not read yet …
 *                         └──── up to `readUpTo` ──────────────────────────────┘
 *
 * Whatever is owed up to `readUpTo` is in the window, behind a line in the window, or in a line whose head waits in the
 * store with its time. So a backlog of any length takes no memory, and a failing head holds its own key only.
 *
 * At all times: accepted = delivered + dead + dropped + expired + queued + inflight.
 */
import type { Clock, Instant, Timer } from "../base/clock.ts";
import type { Facts, Logger } from "../base/log.ts";
import type { OwedDelivery } from "../store/change.ts";
import type { Sender } from "./attempt.ts";
import type { Breaker } from "./breaker.ts";
import type { Attempting, Due, Settled, Terms } from "./delivery.ts";
import type { EndpointOptions } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import type { Entry, Line } from "./window.ts";
import { assert } from "../base/assert.ts";
import {
  type DeliveryStore,
  type DuePlace,
  type OwedFacts,
  type QueuePart,
  queuePartOf,
  type StoredDelivery,
  type StoredEndpoint,
} from "../store/deliveries.ts";
import { StoreUnavailable } from "../store/store.ts";
import { closedBreaker, next, probe, readBreaker, writeBreaker } from "./breaker.ts";
import { BurstLog } from "./burst-log.ts";
import { deadline, due, expire, settle, start } from "./delivery.ts";
import { Ledger } from "./ledger.ts";
import {
  clientEventsShare,
  deadLettersRoomShare,
  deadLettersSweepMs,
  deliveryBytesOverhead,
  endedAtOnceMax,
  ledgerRetryMs,
  retryAfterMsMax,
  lineBytesMax,
  sliceDeliveriesMax,
  waitingKeysMax,
  windowBytesMax,
  wokenAtOnceMax,
} from "./limits.ts";
import { refusal } from "./payload-encoding.ts";
import { RetrySchedule } from "./retry.ts";
import { Window } from "./window.ts";

export interface EndpointFigures {
  endpoint: string;
  accepted: number;
  delivered: number;
  dead: number;
  dropped: number;
  expired: number;
  queued: number;
  inflight: number;
  /** Of bodies queued and in flight, and what keeping them costs. */
  bytes: number;
  /** Dead letters that are still there to be looked at. */
  deadLetters: number;
  /** Since the start of this process. */
  attempts: number;
  droppedBy: Readonly<Record<DropReason, number>>;
  breaker: Breaker["state"];
}

export type DropReason = EndpointOptions["overflow"];

export interface EndpointParts {
  options: EndpointOptions;
  clock: Clock;
  /** `undefined`: nothing is sent. What is owed waits until it is too old. */
  sender: Sender | undefined;
  random: () => number;
  log: Logger;
  store: DeliveryStore;
}

interface Part {
  readonly bytesMax: number;
  count: number;
  bytes: number;
  /** Nothing of this part is older that could be dropped. */
  droppedUpTo: number;
}

const beforeAll: DuePlace = { dueAt: Number.NEGATIVE_INFINITY, position: 0 };

export class Endpoint {
  private readonly options: EndpointOptions;
  private readonly clock: Clock;
  private readonly sender: Sender | undefined;
  private readonly log: Logger;
  private readonly bursts: BurstLog;
  private readonly terms: Terms;
  private readonly store: DeliveryStore;
  private readonly ledger: Ledger;
  private readonly window = new Window();
  private breaker: Breaker;
  /** Retry-After: nothing is sent before. */
  private heldUntil: Instant = 0;

  private readUpTo = 0;
  private hasUnread = false;
  /** The time of the first line that waits in the store; `undefined`: none does. */
  private nextDueAt: Instant | undefined;
  /** The keys of the lines that wait, as long as they are not too many. */
  private waitingKeys: Set<string> | "too many" = new Set();
  /** Of those that wait, all up to this place were looked at when their time had come. */
  private wokenUpTo = beforeAll;
  /** No delivery that could expire is older. */
  private nextExpiryAt: Instant | undefined;
  /** The store could not be read: what is in memory is not all there should be. */
  private readAgainAt: Instant | undefined;

  private underWayChanged = false;
  private wakeTimer: { at: Instant; timer: Timer } | undefined;
  private phase: "running" | "stopping" | "stopped" = "running";
  private onIdle: (() => void) | undefined;
  private readonly parts: Record<QueuePart, Part>;
  private readonly deadLetters = { count: 0, bodyBytes: 0 };
  private deadLettersSweepAt: Instant = 0;
  private readonly count = { accepted: 0, delivered: 0, dead: 0, dropped: 0, expired: 0, attempts: 0 };
  private readonly droppedBy = { drop_oldest: 0, drop_newest: 0 };

  constructor({ options, clock, sender, random, log, store }: EndpointParts) {
    this.options = options;
    this.clock = clock;
    this.sender = sender;
    this.log = log;
    this.bursts = new BurstLog(clock, log);
    this.terms = { schedule: new RetrySchedule(options.retry, random), maxAgeMs: options.maxAgeMs };
    this.store = store;
    this.ledger = new Ledger(store, clock, () => this.readAgain());
    this.breaker = closedBreaker(options.poolSize);
    const clientBytesMax = Math.floor(options.queueBytesMax * clientEventsShare);
    this.parts = {
      messages: { bytesMax: options.queueBytesMax - clientBytesMax, count: 0, bytes: 0, droppedUpTo: 0 },
      clientEvents: { bytesMax: clientBytesMax, count: 0, bytes: 0, droppedUpTo: 0 },
    };
  }

  /** Goes on from what the store remembers; `pump` sends it. */
  resume(stored: StoredEndpoint): void {
    const { accepted, delivered, dead, dropped, expired, queued, deadLetters, underWay, breaker, heldUntil } = stored;
    Object.assign(this.count, { accepted, delivered, dead, dropped, expired });
    Object.assign(this.deadLetters, deadLetters);
    for (const part of ["messages", "clientEvents"] as const) {
      const { count, bodyBytes } = queued[part];
      Object.assign(this.parts[part], { count, bytes: bodyBytes + count * deliveryBytesOverhead });
    }
    const now = this.clock.now();
    this.breaker = readBreaker(breaker, { now, poolSize: this.options.poolSize });
    this.heldUntil = heldUntil;
    if (underWay.length > 0) this.repeat(underWay, now);
    this.recordUnderWay();
    this.hasUnread = this.owedCount > 0;
    this.nextExpiryAt = this.hasUnread ? now : undefined;
  }

  /** Takes over what the store now owes it; `pump` sends it. */
  accept(stored: StoredDelivery): void {
    const { position, owed } = stored;
    const part = this.parts[queuePartOf(owed.event)];
    const bytes = owed.body.length + deliveryBytesOverhead;
    this.count.accepted++;
    part.count++;
    part.bytes += bytes;
    // It has been read from the store already, with others of its commit.
    if (position <= this.readUpTo) return;
    const isTooMuch = bytes > part.bytesMax || (this.options.overflow === "drop_newest" && part.bytes > part.bytesMax);
    if (isTooMuch) this.drop(factsOf(stored), "drop_newest");
    if (this.hasUnread || (this.window.isFull && !isTooMuch)) {
      this.hasUnread = true;
      return;
    }
    this.readUpTo = position;
    if (isTooMuch) return;
    this.expireBy(owed.acceptedAt + this.options.maxAgeMs);
    this.take(stored, this.clock.now());
  }

  /** Starts all the attempts that may start now, and sees to it that the next ones will. */
  pump(): void {
    if (this.phase === "stopped") return;
    const now = this.clock.now();
    if (this.readAgainAt !== undefined && this.readAgainAt <= now) this.readAgain();
    this.dropOldest();
    this.expireOldest(now);
    if (this.sender !== undefined) {
      this.wake(now);
      this.readOn(now);
      for (let entry = this.nextToSend(now); entry !== undefined; entry = this.nextToSend(now))
        this.attempt(entry, now);
      this.recordUnderWay();
    }
    this.setWakeTimer(now);
    if (this.phase === "stopping" && this.window.inflight === 0) this.onIdle?.();
  }

  figures(): EndpointFigures {
    const { messages, clientEvents } = this.parts;
    const { inflight } = this.window;
    return {
      endpoint: this.options.name,
      ...this.count,
      queued: this.owedCount - inflight,
      inflight,
      bytes: messages.bytes + clientEvents.bytes,
      deadLetters: this.deadLetters.count,
      droppedBy: { ...this.droppedBy },
      breaker: this.breaker.state,
    };
  }

  /** Sends what can be sent at once, for so long; takes back what is then still under way. */
  async stop(graceMs: number): Promise<void> {
    assert(this.phase === "running", "an endpoint is stopped once");
    this.phase = "stopping";
    const { promise: idle, resolve } = Promise.withResolvers<void>();
    this.onIdle = resolve;
    const grace = this.clock.after(graceMs, resolve);
    this.pump();
    await idle;
    grace.cancel();
    this.phase = "stopped";
    this.wakeTimer?.timer.cancel();
    await this.sender?.close();
    this.ledger.close();
    this.bursts.close();
  }

  private get owedCount(): number {
    return this.parts.messages.count + this.parts.clientEvents.count;
  }

  // From the store into the window

  /** The next in the order of owing, with all before it read. */
  private take(stored: StoredDelivery, now: Instant): void {
    const { orderKey } = stored.owed;
    const mayWait = stored.dueAt !== undefined || this.mayWait(orderKey);
    if (this.window.line(orderKey) === undefined && mayWait) this.openLine(orderKey, now);
    else this.addToWindow(stored);
  }

  private mayWait(key: string): boolean {
    return this.waitingKeys === "too many" || this.waitingKeys.has(key);
  }

  private addToWindow(stored: StoredDelivery): boolean {
    if (stored.owed.body.length > 0) return this.window.add(stored);
    this.bury(due(stored), stored.position, refusal(this.options.bodyEncoding), "");
    return true;
  }

  /** Takes in the first of a line that is not in memory, unless it waits for a time after `until`. */
  private openLine(key: string, until: Instant): void {
    const { owed, hasMore } = this.firstInLine(key);
    if (owed.length > 0 && owed[0].dueAt !== undefined && owed[0].dueAt > until) {
      this.wakeBy(owed[0].dueAt, key);
      return;
    }
    if (this.waitingKeys !== "too many") this.waitingKeys.delete(key);
    const isWhole = owed.every((stored) => this.addToWindow(stored)) && !hasMore;
    const line = this.window.line(key);
    if (line !== undefined && !isWhole) line.hasMore = true;
  }

  private firstInLine(key: string): { owed: StoredDelivery[]; hasMore: boolean } {
    const limits = { countMax: sliceDeliveriesMax, bytesMax: lineBytesMax };
    for (let after = 0; ; ) {
      const range = { after, upTo: this.readUpTo };
      const slice = this.ask(() => this.store.owedInLine(this.options.name, key, range, limits));
      if (slice === undefined) return { owed: [], hasMore: false };
      const owed = this.asTheyAre(slice.deliveries);
      if (owed.length > 0 || !slice.hasMore) return { owed, hasMore: slice.hasMore };
      after = slice.deliveries.at(-1)!.position;
    }
  }

  /** Opens the lines whose time has come. */
  private wake(now: Instant): void {
    if (this.nextDueAt === undefined || this.nextDueAt > now || this.window.isFull) return;
    this.forgetFutureWaking(now);
    const { name } = this.options;
    const range = { after: this.wokenUpTo, until: now, upTo: this.readUpTo, countMax: wokenAtOnceMax };
    for (const { orderKey, position, dueAt } of this.ask(() => this.store.owedDue(name, range)) ?? []) {
      if (this.window.isFull) break;
      this.wokenUpTo = { dueAt: dueAt!, position };
      if (this.window.line(orderKey) === undefined) this.openLine(orderKey, now);
    }
    this.nextDueAt = this.firstDue(this.wokenUpTo)?.dueAt;
    if (this.nextDueAt === undefined && !this.ledger.isBehind) this.waitingKeys = new Set();
  }

  /** What the store shows, less what has ended since without its knowing. */
  private asTheyAre(seen: readonly StoredDelivery[]): StoredDelivery[] {
    return this.ledger.isBehind ? seen.flatMap((stored) => this.ledger.asItIs(stored) ?? []) : [...seen];
  }

  private firstDue(after: DuePlace): OwedFacts | undefined {
    const range = { after, until: Number.POSITIVE_INFINITY, upTo: this.readUpTo, countMax: 1 };
    return this.ask(() => this.store.owedDue(this.options.name, range))?.[0];
  }

  private readOn(now: Instant): void {
    if (!this.hasUnread || !this.window.isHalfEmpty) return;
    const limits = { countMax: sliceDeliveriesMax, bytesMax: windowBytesMax / 2 };
    const slice = this.ask(() => this.store.owedBehind(this.options.name, this.readUpTo, limits));
    if (slice === undefined) return;
    for (const stored of slice.deliveries) {
      this.readUpTo = stored.position;
      for (const owed of this.asTheyAre([stored])) this.take(owed, now);
    }
    this.hasUnread = slice.hasMore;
  }

  /** From the beginning, over what is in memory: nothing is taken in twice. */
  private readAgain(): void {
    this.readAgainAt = undefined;
    this.readUpTo = 0;
    this.hasUnread = this.owedCount > 0;
    this.wokenUpTo = beforeAll;
    this.nextDueAt = undefined;
    this.waitingKeys = new Set();
    if (this.hasUnread) this.expireBy(this.clock.now());
    this.setWakeTimer(this.clock.now());
  }

  /** `undefined`: the store cannot be read. It is asked again later, from the beginning. */
  private ask<Answer>(question: () => Answer): Answer | undefined {
    try {
      return question();
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      this.readAgainAt ??= this.clock.now() + ledgerRetryMs;
      return undefined;
    }
  }

  // Attempts

  private nextToSend(now: Instant): Entry | undefined {
    if (now < this.blockedUntil(now) || this.ledger.isFull) return undefined;
    switch (this.breaker.state) {
      case "closed":
        return this.window.inflight < this.breaker.attemptsMax ? this.window.firstReady : undefined;
      case "open":
        return this.phase === "stopping" ? undefined : this.nextProbe();
      case "probing":
        return undefined;
      default:
        return this.breaker satisfies never;
    }
  }

  /** Held by Retry-After or an open breaker. A time further away than either ever sets is from before a clock was set back. */
  private blockedUntil(now: Instant): Instant {
    const { breaker } = this;
    if (this.heldUntil > now + retryAfterMsMax) this.heldUntil = now;
    if (breaker.state !== "open" || breaker.probeAt > now + breaker.delayMs) return this.heldUntil;
    return Math.max(this.heldUntil, breaker.probeAt);
  }

  /**
   * The line that is ready the longest: after a failed probe the next one is another's, so that no single delivery which
   * its receiver cannot bear speaks for all. In an outage a delivery need not be due.
   */
  private nextProbe(): Entry | undefined {
    if (this.window.firstReady !== undefined || this.nextDueAt === undefined) return this.window.firstReady;
    const first = this.firstDue(this.wokenUpTo);
    if (first !== undefined && this.window.line(first.orderKey) === undefined) {
      this.openLine(first.orderKey, Number.POSITIVE_INFINITY);
    }
    return this.window.firstReady;
  }

  private attempt(entry: Entry, now: Instant): void {
    assert(entry.delivery.state === "due", "what is under way is not sent again");
    if (deadline(entry.delivery.owed, this.terms) <= now) {
      this.finish(entry, expire(entry.delivery));
      return;
    }
    if (this.breaker.state === "open") this.breaker = probe(this.breaker);
    const attempting = start(entry.delivery, now);
    this.window.attempt(entry, attempting);
    this.underWayChanged = true;
    this.count.attempts++;
    this.sender!.send(attempting, (outcome) => {
      this.settle(entry, attempting, outcome);
      this.pump();
    });
  }

  private settle(entry: Entry, attempting: Attempting, outcome: Outcome): void {
    const now = this.clock.now();
    const before = { breaker: this.breaker, heldUntil: this.heldUntil };
    this.breaker = next(before.breaker, outcome, { now, poolSize: this.options.poolSize });
    if ("retryAfterMs" in outcome && outcome.retryAfterMs > 0) {
      this.heldUntil = Math.max(this.heldUntil, now + outcome.retryAfterMs);
    }
    const endpointDown = before.breaker.state !== "closed";
    const delivery = settle(attempting, outcome, { now, terms: this.terms, endpointDown });
    this.underWayChanged = true;
    if (delivery.state !== "due") this.finish(entry, delivery);
    else if (delivery.dueAt > now) this.putBack(entry, delivery, now);
    else this.window.putBack(entry, delivery);
    if (delivery.state === "due") this.expireBy(delivery.owed.acceptedAt + this.options.maxAgeMs);
    if (this.breaker.state !== before.breaker.state) this.sayBreaker(before.breaker, outcome);
    if (this.breaker.state !== before.breaker.state || this.heldUntil !== before.heldUntil) this.recordBreaker();
  }

  /** It waits in the store, and its line with it. */
  private putBack(entry: Entry, { attempts, failures, dueAt }: Due, now: Instant): void {
    this.window.close(entry.line);
    this.recordPutBack({ position: entry.position, attempts, failures, dueAt }, entry.line.key, now);
  }

  private recordPutBack(
    facts: Pick<StoredDelivery, "position" | "attempts" | "failures"> & { dueAt: Instant },
    key: string,
    now: Instant,
  ): void {
    this.forgetFutureWaking(now);
    // Behind all that were looked at, or it would not be seen when its time comes.
    const dueAt = Math.max(facts.dueAt, this.wokenUpTo.dueAt + 1);
    const { position, attempts, failures } = facts;
    this.ledger.record({
      type: "delivery-put-back",
      endpoint: this.options.name,
      position,
      attempts,
      failures,
      dueAt,
    });
    this.wakeBy(dueAt, key);
  }

  /** A clock that was set back: what was looked at is looked at again when its time comes again. */
  private forgetFutureWaking(now: Instant): void {
    if (this.wokenUpTo.dueAt > now) this.wokenUpTo = beforeAll;
  }

  /** Attempts that a crash cut off: they may have arrived or not, so they count, and are made again. */
  private repeat(positions: readonly number[], now: Instant): void {
    const { name } = this.options;
    for (const position of positions) {
      const slice = this.ask(() => this.store.owedBehind(name, position - 1, { countMax: 1, bytesMax: 0 }));
      const [stored] = slice?.deliveries ?? [];
      if (stored?.position !== position) continue;
      const { owed, attempts, failures } = stored;
      this.recordPutBack({ position, attempts: attempts + 1, failures, dueAt: now }, owed.orderKey, now);
    }
    this.underWayChanged = true;
  }

  private recordUnderWay(): void {
    if (!this.underWayChanged) return;
    this.underWayChanged = false;
    this.ledger.record({ type: "attempts-under-way", endpoint: this.options.name, positions: this.window.positions });
  }

  private recordBreaker(): void {
    const breaker = writeBreaker(this.breaker);
    this.ledger.record({ type: "breaker-moved", endpoint: this.options.name, breaker, heldUntil: this.heldUntil });
  }

  // Ends

  private finish(entry: Entry, delivery: Settled): void {
    const { owed } = delivery;
    const { position } = entry;
    switch (delivery.state) {
      case "delivered":
        this.end("delivered", { ...owed, bodyBytes: owed.body.length, position });
        break;
      case "expired":
        this.end("expired", { ...owed, bodyBytes: owed.body.length, position });
        this.sayExpired(owed);
        break;
      case "dead":
        this.bury(delivery, position, delivery.because, delivery.detail);
        break;
      default:
        delivery satisfies never;
    }
    this.leaveWindow(entry);
  }

  private bury({ owed, attempts }: Due | Settled, position: number, reason: string, detail: string): void {
    const at = this.clock.now();
    this.uncount(owed.event, owed.body.length);
    this.count.dead++;
    this.ledger.record({ type: "delivery-died", endpoint: this.options.name, position, reason, detail, attempts, at });
    this.deadLetters.count++;
    this.deadLetters.bodyBytes += owed.body.length;
    this.forgetDeadLetters(at);
    this.bursts.warn(`webhook delivery became a dead letter: ${reason}`, { ...this.tellOf(owed), detail, attempts });
  }

  private end(
    outcome: "delivered" | "dropped" | "expired",
    { position, event, bodyBytes }: Pick<OwedFacts, "position" | "event" | "bodyBytes">,
  ): void {
    this.uncount(event, bodyBytes);
    this.count[outcome]++;
    this.ledger.record({ type: "delivery-settled", endpoint: this.options.name, position, outcome });
  }

  private uncount(event: string, bodyBytes: number): void {
    const part = this.parts[queuePartOf(event)];
    part.count--;
    part.bytes -= bodyBytes + deliveryBytesOverhead;
  }

  private leaveWindow(entry: Entry): void {
    this.window.remove(entry);
    this.closeEmpty(entry.line);
  }

  private closeEmpty(line: Line): void {
    if (line.entries.first !== undefined) return;
    this.window.close(line);
    if (line.hasMore) this.openLine(line.key, this.clock.now());
  }

  private drop(facts: OwedFacts, reason: DropReason): void {
    this.end("dropped", facts);
    this.droppedBy[reason]++;
    this.bursts.warn(`webhook delivery dropped: the queue is full (${reason})`, this.tellOf(facts));
  }

  private dropOldest(): void {
    for (const [name, part] of Object.entries(this.parts) as [QueuePart, Part][]) {
      let overBytes = part.bytes - part.bytesMax;
      if (overBytes <= 0) continue;
      const victims = this.oldest(name, part.droppedUpTo, ({ bodyBytes }) => {
        if (overBytes <= 0) return false;
        overBytes -= bodyBytes + deliveryBytesOverhead;
        return true;
      });
      for (const victim of victims) {
        part.droppedUpTo = victim.position;
        this.drop(victim, "drop_oldest");
        this.goOnBehind(victim);
      }
    }
  }

  /** Age counts also for those that a held or dead endpoint keeps from being looked at. */
  private expireOldest(now: Instant): void {
    if (this.nextExpiryAt === undefined || this.nextExpiryAt > now) return;
    let first: OwedFacts | undefined;
    const victims = this.oldest(undefined, 0, (facts) => {
      first = facts;
      return facts.acceptedAt + this.options.maxAgeMs <= now;
    });
    // Of the last that was looked at: a victim itself where there were too many for one go.
    this.nextExpiryAt = first === undefined ? undefined : first.acceptedAt + this.options.maxAgeMs;
    if (first === victims.at(-1) && victims.length < endedAtOnceMax) this.nextExpiryAt = undefined;
    for (const victim of victims) {
      this.end("expired", victim);
      this.sayExpired(victim);
      this.goOnBehind(victim);
    }
  }

  /** The oldest that nobody is sending, as long as they are wanted. */
  private oldest(part: QueuePart | undefined, after: number, isWanted: (facts: OwedFacts) => boolean): OwedFacts[] {
    const wanted: OwedFacts[] = [];
    this.ask(() => {
      for (const facts of this.store.oldestOwed(this.options.name, part, after)) {
        const { orderKey, position } = facts;
        const entry = this.window.find(orderKey, position);
        if (entry?.delivery.state === "attempting" || this.ledger.asItIs(facts) === undefined) continue;
        if (!isWanted(facts)) break;
        wanted.push(facts);
        if (wanted.length === endedAtOnceMax) break;
      }
    });
    return wanted;
  }

  /** One that was not sent is owed no more: its line goes on with the next. */
  private goOnBehind({ orderKey, position, dueAt }: OwedFacts): void {
    const entry = this.window.find(orderKey, position);
    if (entry !== undefined) return this.leaveWindow(entry);
    if (dueAt === undefined || this.window.line(orderKey) !== undefined) return;
    // It was the head of a line that waits: now the next one is, and has nothing to wait for. A store that is behind does
    // not know which that is; once it is not, all is read again.
    if (this.ledger.isBehind) return;
    const limits = { countMax: 1, bytesMax: 0 };
    const range = { after: position, upTo: this.readUpTo };
    const slice = this.ask(() => this.store.owedInLine(this.options.name, orderKey, range, limits));
    const [head] = slice?.deliveries ?? [];
    if (head === undefined || head.dueAt !== undefined) return;
    const now = this.clock.now();
    this.recordPutBack({ ...head, dueAt: now }, orderKey, now);
  }

  private forgetDeadLetters(now: Instant): void {
    const { bytesMax, maxAgeMs } = this.options.deadLetters;
    const { deadLetters } = this;
    if (this.ledger.isBehind || (deadLetters.bodyBytes <= bytesMax && now < this.deadLettersSweepAt)) return;
    this.deadLettersSweepAt = now + deadLettersSweepMs;
    const bytesKept = bytesMax * (1 - deadLettersRoomShare);
    const limits = { countMax: endedAtOnceMax, bytesMax: lineBytesMax };
    let upTo = 0;
    for (const { position, owed, diedAt } of this.ask(() => this.store.deadLetters(this.options.name, 0, limits)) ??
      []) {
      if (deadLetters.bodyBytes <= bytesKept && diedAt + maxAgeMs > now) break;
      upTo = position;
      deadLetters.count--;
      deadLetters.bodyBytes -= owed.body.length;
    }
    if (upTo > 0) this.ledger.record({ type: "dead-letters-forgotten", endpoint: this.options.name, upTo });
  }

  // Time

  private wakeBy(at: Instant, key: string): void {
    this.nextDueAt = Math.min(this.nextDueAt ?? at, at);
    if (this.waitingKeys === "too many") return;
    this.waitingKeys.add(key);
    if (this.waitingKeys.size > waitingKeysMax) this.waitingKeys = "too many";
  }

  private expireBy(at: Instant): void {
    this.nextExpiryAt = Math.min(this.nextExpiryAt ?? at, at);
  }

  /** One timer, for whatever comes first; one that fires too early does no harm, so it is only ever set earlier. */
  private setWakeTimer(now: Instant): void {
    const at = this.phase === "stopped" ? undefined : this.nextWakeAt(now);
    if (at === undefined || (this.wakeTimer !== undefined && this.wakeTimer.at <= at)) return;
    this.wakeTimer?.timer.cancel();
    const timer = this.clock.after(at - now, () => {
      this.wakeTimer = undefined;
      this.pump();
    });
    this.wakeTimer = { at, timer };
  }

  private nextWakeAt(now: Instant): Instant | undefined {
    const times: (Instant | undefined)[] = [this.readAgainAt];
    if (this.phase === "running") times.push(this.nextExpiryAt);
    if (this.sender !== undefined && !this.ledger.isFull) {
      if (this.hasUnread && this.window.isHalfEmpty) times.push(now);
      if (this.phase === "running" && !this.window.isFull) times.push(this.nextDueAt);
      const blockedUntil = this.blockedUntil(now);
      const isWaiting = this.window.firstReady !== undefined || this.nextDueAt !== undefined;
      if (this.phase === "running" && blockedUntil > now && isWaiting) times.push(blockedUntil);
    }
    const known = times.filter((at) => at !== undefined);
    return known.length === 0 ? undefined : Math.max(now, Math.min(...known));
  }

  // Words

  private sayBreaker(before: Breaker, outcome: Outcome): void {
    const endpoint = this.options.name;
    const { breaker } = this;
    if (breaker.state === "closed") {
      this.log.info("webhook endpoint answers again", { endpoint });
    } else if (breaker.state === "open" && before.state === "closed") {
      const reason = "reason" in outcome ? outcome.reason : "";
      const facts = { endpoint, reason, probeInMs: breaker.delayMs };
      this.log.error("webhook endpoint does not take deliveries: they wait, it is probed", facts);
    }
  }

  private sayExpired(facts: Pick<OwedDelivery, "deliveryId" | "event" | "orderKey">): void {
    this.bursts.warn("webhook delivery expired: it was owed for too long", this.tellOf(facts));
  }

  private tellOf({ deliveryId, event, orderKey }: Pick<OwedDelivery, "deliveryId" | "event" | "orderKey">): Facts {
    return { endpoint: this.options.name, deliveryId, event, orderKey };
  }
}

function factsOf({ position, owed, dueAt }: StoredDelivery): OwedFacts {
  const { deliveryId, event, orderKey, acceptedAt, body } = owed;
  return { position, deliveryId, event, orderKey, acceptedAt, bodyBytes: body.length, dueAt };
}
