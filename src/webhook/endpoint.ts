/**
 * One endpoint at work: what it is owed (`backlog.ts`), how many attempts it may have now (`breaker.ts`), and what is made
 * of each outcome (`delivery.ts`).
 *
 * At all times: accepted = delivered + dead + dropped + expired + queued + inflight.
 */
import type { Clock, Instant, Timer } from "../base/clock.ts";
import type { Facts, Logger } from "../base/log.ts";
import type { DeliveryChange, OwedDelivery } from "../store/change.ts";
import type { Sender, Settled as Settling } from "./attempt.ts";
import type { Breaker } from "./breaker.ts";
import type { Attempting, Due, Settled, Terms } from "./delivery.ts";
import type { AttemptReport, EndpointReport, Page, QueuedReport } from "./operations.ts";
import type { BatchOptions, EndpointOptions, EventName } from "./options.ts";
import { type AttemptFacts, cancelled, type Outcome } from "./outcome.ts";
import type { Entry } from "./window.ts";
import { assert } from "../base/assert.ts";
import { createUlidSource } from "../base/ulid.ts";
import {
  type DeliveryStore,
  type OwedFacts,
  type QueuePart,
  queuePartOf,
  type StoredDelivery,
  type StoredEndpoint,
} from "../store/deliveries.ts";
import { AttemptLog } from "./attempt-log.ts";
import { Backlog } from "./backlog.ts";
import { attemptOf, type Batch } from "./batch.ts";
import { Batches } from "./batches.ts";
import { closedBreaker, next, probe, readBreaker, readPaused, writeBreaker } from "./breaker.ts";
import { BurstLog } from "./burst-log.ts";
import { compileFormat } from "./format.ts";
import { DeadLetters } from "./dead-letters.ts";
import { deadline, due, expire, settle, start } from "./delivery.ts";
import { EndpointMetrics } from "./endpoint-metrics.ts";
import { Ledger } from "./ledger.ts";
import { Rate } from "./rate.ts";
import {
  clientEventsShare,
  deliveryBytesOverhead,
  endedAtOnceMax,
  ledgerRetryMs,
  operatorPageMax,
  retryAfterMsMax,
  testsWaitingMax,
} from "./limits.ts";
import { readEventHead } from "./event-head.ts";
import { refusal } from "./payload-encoding.ts";
import { RecentOutcomes } from "./recent-outcomes.ts";
import { RetrySchedule } from "./retry.ts";
import { testHappening, testOrderKey } from "./test-event.ts";

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
  /** Taken out of the configuration: what it is owed waits until it is too old. */
  isParked: boolean;
}

interface WaitingTest {
  event: EventName;
  resolve: (report: AttemptReport) => void;
}

interface Part {
  bytesMax: number;
  count: number;
  bytes: number;
  /** Nothing of this part is older that could be dropped. */
  droppedUpTo: number;
}

export class Endpoint {
  private options: EndpointOptions;
  private readonly clock: Clock;
  private sender: Sender | undefined;
  /** Requests under way with each sender; one that was replaced is closed once they have ended. */
  private readonly senders = new Map<Sender, number>();
  private readonly log: Logger;
  private readonly bursts: BurstLog;
  private terms: Terms;
  private readonly ledger: Ledger;
  private readonly backlog: Backlog;
  /** `undefined`: one delivery a request. */
  private batches: Batches | undefined;
  private rate: Rate | undefined;
  readonly deadLetters: DeadLetters;
  readonly attempts = new AttemptLog();
  private readonly recent = new RecentOutcomes();
  private readonly random: () => number;
  private readonly ulid: (now: Instant) => string;
  private isParked: boolean;
  /** By an operator: nothing is sent. */
  private paused = false;
  private breaker: Breaker;
  /** Events of an operator. */
  private readonly testsWaiting: WaitingTest[] = [];
  private testsUnderWay = 0;
  /** Retry-After: nothing is sent before. */
  private heldUntil: Instant = 0;

  /** No delivery that could expire is older. */
  private nextExpiryAt: Instant | undefined;
  private underWayChanged = false;
  private wakeTimer: { at: Instant; timer: Timer } | undefined;
  private phase: "running" | "stopping" | "stopped" = "running";
  private onIdle: (() => void) | undefined;
  private readonly parts: Record<QueuePart, Part>;
  private readonly count = { accepted: 0, delivered: 0, dead: 0, dropped: 0, expired: 0, attempts: 0 };
  private readonly droppedBy = { drop_oldest: 0, drop_newest: 0 };
  readonly metrics = new EndpointMetrics();

  constructor({ options, clock, sender, random, log, store, isParked }: EndpointParts) {
    this.options = options;
    this.clock = clock;
    this.sender = sender;
    this.log = log;
    this.bursts = new BurstLog(clock, log);
    this.random = random;
    this.terms = { schedule: new RetrySchedule(options.retry, random), maxAgeMs: options.maxAgeMs };
    this.ledger = new Ledger(store, clock, () => this.readAgain());
    const onBodiless = (stored: StoredDelivery) => {
      const { refused = refusal(this.options.bodyEncoding) } = readEventHead(stored.owed.head);
      this.bury(due(stored), stored.position, refused, "");
    };
    this.backlog = new Backlog({ name: options.name, store, ledger: this.ledger, clock, onBodiless });
    const onReplayed = (fresh: StoredDelivery) => this.accept(fresh);
    const { name } = options;
    this.deadLetters = new DeadLetters(options.deadLetters, { name, store, ledger: this.ledger, clock, onReplayed });
    this.ulid = createUlidSource(random);
    this.rate = options.rate === undefined ? undefined : new Rate(options.rate, clock.monotonic());
    this.batches = options.batch && this.createBatches(options.batch);
    this.isParked = isParked;
    this.breaker = closedBreaker(options.poolSize);
    const clientBytesMax = Math.floor(options.queueBytesMax * clientEventsShare);
    this.parts = {
      messages: { bytesMax: options.queueBytesMax - clientBytesMax, count: 0, bytes: 0, droppedUpTo: 0 },
      clientEvents: { bytesMax: clientBytesMax, count: 0, bytes: 0, droppedUpTo: 0 },
    };
  }

  /** What it is owed stays, and is sent by other rules: from now on, but for what is under way. */
  reconfigure({ options, sender, isParked }: Pick<EndpointParts, "options" | "sender" | "isParked">): void {
    const before = this.options;
    const now = this.clock.now();
    const former = this.sender;
    this.options = options;
    this.sender = sender;
    this.isParked = isParked;
    if (former !== undefined) this.closeWhenIdle(former);
    this.terms = { schedule: new RetrySchedule(options.retry, this.random), maxAgeMs: options.maxAgeMs };
    this.rate = options.rate === undefined ? undefined : new Rate(options.rate, this.clock.monotonic());
    this.batches?.reconfigure(options.batch, options.poolSize);
    if (options.batch !== undefined) this.batches ??= this.createBatches(options.batch);
    this.deadLetters.limits = options.deadLetters;
    const clientBytesMax = Math.floor(options.queueBytesMax * clientEventsShare);
    this.parts.messages.bytesMax = options.queueBytesMax - clientBytesMax;
    this.parts.clientEvents.bytesMax = clientBytesMax;
    const { breaker } = this;
    if (breaker.state === "closed") {
      const isWhole = breaker.attemptsMax >= before.poolSize;
      const attemptsMax = isWhole ? options.poolSize : Math.min(breaker.attemptsMax, options.poolSize);
      this.breaker = { ...breaker, attemptsMax };
    } else if (breaker.state === "open") this.breaker = { ...breaker, probeAt: now };
    // What another receiver asked for.
    if (options.url !== before.url) this.heldUntil = 0;
    this.recordBreaker();
    // By another `max_age` some may be too old.
    if (this.owedCount > 0) this.expireBy(now);
    this.pump();
  }

  private closeWhenIdle(sender: Sender): void {
    if (sender === this.sender || (this.senders.get(sender) ?? 0) > 0) return;
    this.senders.delete(sender);
    void sender.close();
  }

  /** With the sender there is now. */
  private send(attempting: Attempting, settled: Settling): void {
    const sender = this.sender!;
    this.senders.set(sender, (this.senders.get(sender) ?? 0) + 1);
    sender.send(attempting, (outcome, facts) => {
      this.senders.set(sender, this.senders.get(sender)! - 1);
      settled(outcome, facts);
      if (this.phase !== "stopped") this.closeWhenIdle(sender);
    });
  }

  private createBatches(batch: BatchOptions | undefined): Batches {
    return new Batches(batch, {
      backlog: this.backlog,
      poolSize: this.options.poolSize,
      ulid: this.ulid,
      deadline: (owed) => deadline(owed, this.terms),
      expire: (entry) => {
        assert(entry.delivery.state === "due", "what is in a batch was not sent alone");
        this.finish(entry, expire(entry.delivery));
      },
    });
  }

  /** Goes on from what the store remembers; `pump` sends it. */
  resume(stored: StoredEndpoint): void {
    const { accepted, delivered, dead, dropped, expired, queued, deadLetters, underWay, breaker, heldUntil } = stored;
    Object.assign(this.count, { accepted, delivered, dead, dropped, expired });
    this.deadLetters.resume(deadLetters);
    for (const part of ["messages", "clientEvents"] as const) {
      const { count, bodyBytes } = queued[part];
      Object.assign(this.parts[part], { count, bytes: bodyBytes + count * deliveryBytesOverhead });
    }
    const now = this.clock.now();
    this.breaker = readBreaker(breaker, { now, poolSize: this.options.poolSize });
    this.paused = readPaused(breaker);
    this.heldUntil = heldUntil;
    if (this.sender !== undefined && stored.batches !== "") {
      this.batches ??= this.createBatches(undefined);
      this.batches.resume(stored.batches);
    }
    this.backlog.repeat(underWay, now);
    this.underWayChanged = underWay.length > 0;
    this.recordUnderWay();
    if (this.owedCount > 0) this.readAgain();
  }

  /** Takes over what the store now owes it; `pump` sends it. */
  accept(stored: StoredDelivery): void {
    const { owed } = stored;
    const part = this.parts[queuePartOf(owed.event)];
    const bytes = owed.body.length + deliveryBytesOverhead;
    this.count.accepted++;
    part.count++;
    part.bytes += bytes;
    const hasNoRoom = bytes > part.bytesMax || (this.options.overflow === "drop_newest" && part.bytes > part.bytesMax);
    // What has been read with others of its commit may be under way.
    const isTooMuch = hasNoRoom && !this.backlog.hasRead(stored);
    if (isTooMuch) this.drop(factsOf(stored), "drop_newest");
    else this.expireBy(owed.acceptedAt + this.options.maxAgeMs);
    this.backlog.accept(stored, isTooMuch, this.clock.now());
  }

  /** Starts all the attempts that may start now, and sees to it that the next ones will. */
  pump(): void {
    if (this.phase === "stopped") return;
    const now = this.clock.now();
    this.dropOldest(now);
    this.dissolveOverdue(now);
    this.expireOldest(now);
    this.deadLetters.forget(now);
    if (this.sender !== undefined) {
      this.sendTests();
      this.backlog.refill(now);
      if (this.batches !== undefined) this.attemptBatches(this.batches, now);
      if (this.options.batch === undefined) {
        for (let entry = this.nextToSend(now); entry !== undefined; entry = this.nextToSend(now))
          this.attempt(entry, now);
        if (this.batches?.isEmpty === true) this.batches = undefined;
      }
      this.recordUnderWay();
    }
    this.setWakeTimer(now);
    if (this.phase === "stopping" && this.underWay === 0) this.onIdle?.();
  }

  figures(): EndpointFigures {
    const { messages, clientEvents } = this.parts;
    const inflight = this.backlog.inflight + (this.batches?.inflight ?? 0);
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

  get configuredAs(): EndpointOptions {
    return this.options;
  }

  /** For an operator. */
  report(): EndpointReport {
    const now = this.clock.now();
    const condition = this.condition(now);
    const [oldest] = this.backlog.oldest(undefined, 0, onlyOne()) ?? [];
    const isBlocked = condition !== "paused" && this.sender !== undefined && this.blockedUntil(now) > now;
    return {
      ...this.figures(),
      url: this.options.url,
      condition,
      nextAttemptAt: isBlocked ? this.blockedUntil(now) : undefined,
      oldestAgeMs: oldest === undefined ? undefined : Math.max(0, now - oldest.acceptedAt),
      ...this.attempts.figures,
    };
  }

  private condition(now: Instant): EndpointReport["condition"] {
    if (this.isParked) return "parked";
    if (!this.options.enable) return "disabled";
    if (this.paused) return "paused";
    const { breaker } = this;
    if (breaker.state === "closed") return this.blockedUntil(now) > now ? "held" : "delivering";
    return conditions[breaker.fault];
  }

  /** What is owed behind position `after`, oldest first. */
  queue(after: number, countMax: number): Page<QueuedReport> {
    const wanted = Math.min(Math.max(1, countMax), operatorPageMax);
    const items: QueuedReport[] = [];
    for (const facts of this.backlog.owedBehind(after)) {
      if (items.length === wanted) return { items, next: items.at(-1)!.position };
      items.push(facts);
    }
    return { items, next: undefined };
  }

  /** What is under way ends as it may. */
  pause(): void {
    this.paused = true;
    this.recordBreaker();
  }

  /** Ends a pause, and what makes it wait: it is tried at once. */
  goOn(): void {
    this.paused = false;
    this.heldUntil = 0;
    if (this.breaker.state === "open") this.breaker = { ...this.breaker, probeAt: this.clock.now() };
    this.recordBreaker();
    this.pump();
  }

  /** Sends one event made up for it, outside of queue and order; `undefined`: it sends nothing. */
  test(event: EventName): Promise<AttemptReport> | undefined {
    if (this.sender === undefined || this.phase !== "running" || this.testsWaiting.length >= testsWaitingMax) {
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<AttemptReport>();
    this.testsWaiting.push({ event, resolve });
    this.pump();
    return promise;
  }

  /** They go first, each on one of the connections there may be. */
  private sendTests(): void {
    while (this.testsWaiting.length > 0 && this.underWay < this.options.poolSize) {
      this.sendTest(this.testsWaiting.shift()!);
    }
  }

  private sendTest({ event, resolve }: WaitingTest): void {
    const now = this.clock.now();
    const deliveryId = `evt_${this.ulid(now)}`;
    const formatted = compileFormat(this.options)(testHappening(event, now), deliveryId, now);
    const facts = { deliveryId, endpoint: this.options.name, event, orderKey: testOrderKey, ...formatted };
    const owed: OwedDelivery = { ...facts, acceptedAt: now, expiresAt: undefined };
    const attempting = start(due({ position: 0, owed, attempts: 0, failures: 0, dueAt: undefined }), now);
    if (this.phase !== "running") return resolve(this.remember(attempting, cancelled, undefined));
    const { refused } = readEventHead(owed.head);
    if (refused !== undefined) {
      // As with an event: there is no body to send.
      const outcome: Outcome = { kind: "rejected", reason: refused, detail: "", retryAfterMs: 0 };
      return resolve(this.remember(attempting, outcome, undefined));
    }
    this.testsUnderWay++;
    this.send(attempting, (outcome, seen) => {
      this.testsUnderWay--;
      resolve(this.remember(attempting, outcome, seen));
      this.pump();
    });
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
    for (const test of this.testsWaiting.splice(0)) this.sendTest(test);
    this.wakeTimer?.timer.cancel();
    const senders = new Set(this.senders.keys());
    if (this.sender !== undefined) senders.add(this.sender);
    await Promise.all(Array.from(senders, (sender) => sender.close()));
    this.ledger.close();
    this.bursts.close();
  }

  /** Requests, each with a connection. */
  private get underWay(): number {
    return this.backlog.inflight + (this.batches?.underWay ?? 0) + this.testsUnderWay;
  }

  private get owedCount(): number {
    return this.parts.messages.count + this.parts.clientEvents.count;
  }

  /** After what the store could not tell, or was not told. */
  private readAgain(): void {
    const now = this.clock.now();
    this.backlog.readAgain();
    this.expireBy(now);
    this.setWakeTimer(now);
  }

  // Attempts

  private mayBegin(now: Instant): boolean {
    if (this.paused || now < this.blockedUntil(now) || this.ledger.isFull) return false;
    if (!this.hasFreeConnection) return false;
    return this.rate === undefined || this.rate.waitMs(this.clock.monotonic()) === 0;
  }

  private get hasFreeConnection(): boolean {
    const { underWay } = this;
    if (underWay >= this.options.poolSize) return false;
    switch (this.breaker.state) {
      case "closed":
        return underWay < this.breaker.attemptsMax;
      case "open":
        return this.phase !== "stopping";
      case "probing":
        return false;
      default:
        return this.breaker satisfies never;
    }
  }

  private nextToSend(now: Instant): Entry | undefined {
    if (!this.mayBegin(now)) return undefined;
    // A probe is with the line that is ready the longest: after a failed one the next is another's, so that no single
    // delivery which its receiver cannot bear speaks for all. In an outage a delivery need not be due.
    return this.breaker.state === "open" ? this.backlog.firstAtAll() : this.backlog.firstReady;
  }

  /** Held by Retry-After or an open breaker. A time further away than either ever sets is from before a clock was set back. */
  private blockedUntil(now: Instant): Instant {
    const { breaker } = this;
    if (this.heldUntil > now + retryAfterMsMax) this.heldUntil = now;
    if (breaker.state !== "open" || breaker.probeAt > now + breaker.delayMs) return this.heldUntil;
    return Math.max(this.heldUntil, breaker.probeAt);
  }

  private attempt(entry: Entry, now: Instant): void {
    assert(entry.delivery.state === "due", "what is under way is not sent again");
    if (deadline(entry.delivery.owed, this.terms) <= now) {
      this.finish(entry, expire(entry.delivery));
      return;
    }
    if (this.breaker.state === "open") this.breaker = probe(this.breaker);
    const attempting = start(entry.delivery, now);
    this.backlog.attempt(entry, attempting);
    this.underWayChanged = true;
    this.count.attempts++;
    this.rate?.take();
    this.send(attempting, (outcome, facts) => {
      this.remember(attempting, outcome, facts);
      this.settle(entry, attempting, outcome);
      this.pump();
    });
  }

  private attemptBatches(batches: Batches, now: Instant): void {
    for (let batch = this.nextBatch(batches, now); batch !== undefined; batch = this.nextBatch(batches, now)) {
      if (batch.deadline <= now) {
        batches.dissolve(batch);
        continue;
      }
      if (this.breaker.state === "open") this.breaker = probe(this.breaker);
      this.rate?.take();
      // One that is new is sent once it is recorded.
      if (batch.state === "waiting") this.sendBatch(batches, batch);
    }
    this.recordBatches(batches);
  }

  private nextBatch(batches: Batches, now: Instant): Batch | undefined {
    if (!this.mayBegin(now)) return undefined;
    const isProbe = this.breaker.state === "open";
    const waiting = batches.firstWaiting(isProbe ? Number.POSITIVE_INFINITY : now);
    if (waiting !== undefined) return waiting;
    if (isProbe) this.backlog.firstAtAll();
    const beginAt = batches.beginAt(now);
    if (beginAt === undefined || (beginAt > now && !isProbe && this.phase === "running")) return undefined;
    return batches.begin(now);
  }

  private recordBatches(batches: Batches): void {
    const changed = batches.takeChanged();
    if (changed === undefined) return;
    const { text, fresh } = changed;
    this.ledger.recordAll([{ type: "batches-frozen", endpoint: this.options.name, batches: text }], () => {
      if (this.phase === "stopped") return;
      for (const batch of fresh) this.sendBatch(batches, batch);
    });
  }

  private sendBatch(batches: Batches, batch: Batch): void {
    // Switched off while it was recorded: it waits as it is.
    if (this.sender === undefined) {
      batch.state = "waiting";
      this.breaker = next(this.breaker, cancelled, {
        now: this.clock.now(),
        poolSize: this.options.poolSize,
        isBad: false,
      });
      return;
    }
    const attempting = attemptOf(batch, this.options.name, this.clock.now());
    batch.state = "attempting";
    batch.attempts = attempting.attempts;
    batches.hasChanged();
    this.count.attempts++;
    this.send(attempting, (outcome, facts) => {
      this.remember(attempting, outcome, facts);
      this.settleBatch(batches, batch, attempting, outcome);
      this.pump();
    });
  }

  private settleBatch(batches: Batches, batch: Batch, attempting: Attempting, outcome: Outcome): void {
    const now = this.clock.now();
    this.metrics.attempted(outcome, now - attempting.startedAt);
    const endpointDown = this.judge(outcome, now);
    const settled = settle(attempting, outcome, { now, terms: this.terms, endpointDown });
    const { entries } = batch;
    switch (settled.state) {
      case "due":
        batch.state = "waiting";
        batch.failures = settled.failures;
        batch.resent = settled.resent;
        batch.dueAt = settled.dueAt;
        batches.hasChanged();
        this.expireBy(batch.deadline);
        return;
      case "delivered":
        this.endDelivered(entries);
        batches.forget(batch);
        batches.grow();
        return;
      case "dead": {
        const { because, detail, attempts } = settled;
        if (because === "too_large" && entries.length > 1) return batches.halve(batch);
        for (const { delivery, position } of entries) this.bury({ ...delivery, attempts }, position, because, detail);
        batches.forget(batch);
        return;
      }
      case "expired":
        return batches.dissolve(batch);
      default:
        settled satisfies never;
    }
  }

  private remember(attempting: Attempting, outcome: Outcome, facts: AttemptFacts | undefined): AttemptReport {
    const { owed, attempts, startedAt } = attempting;
    const { deliveryId, event, orderKey } = owed;
    const report: AttemptReport = {
      deliveryId,
      event,
      orderKey,
      attempt: attempts,
      at: startedAt,
      outcome: outcome.kind,
      reason: "reason" in outcome ? outcome.reason : "",
      status: facts?.status,
      durationMs: facts?.durationMs ?? Math.max(0, this.clock.now() - startedAt),
      excerpt: facts?.excerpt ?? "",
    };
    this.attempts.add(report);
    return report;
  }

  private settle(entry: Entry, attempting: Attempting, outcome: Outcome): void {
    const now = this.clock.now();
    this.metrics.attempted(outcome, now - attempting.startedAt);
    const endpointDown = this.judge(outcome, now);
    const delivery = settle(attempting, outcome, { now, terms: this.terms, endpointDown });
    this.underWayChanged = true;
    if (delivery.state === "due") {
      this.backlog.putBack(entry, delivery, now);
      this.expireBy(delivery.owed.acceptedAt + this.options.maxAgeMs);
    } else this.finish(entry, delivery);
  }

  /** What it says of the endpoint. True: that it is down was known before. */
  private judge(outcome: Outcome, now: Instant): boolean {
    const before = { breaker: this.breaker, heldUntil: this.heldUntil };
    this.recent.add(outcome, this.clock.monotonic());
    const isBad = outcome.kind === "endpoint" && this.recent.areBad;
    this.breaker = next(before.breaker, outcome, { now, poolSize: this.options.poolSize, isBad });
    if (this.breaker.state !== "closed") this.recent.clear();
    if ("retryAfterMs" in outcome && outcome.retryAfterMs > 0) {
      this.heldUntil = Math.max(this.heldUntil, now + outcome.retryAfterMs);
    }
    if (this.breaker.state !== before.breaker.state) this.sayBreaker(before.breaker, outcome);
    if (this.breaker.state !== before.breaker.state || this.heldUntil !== before.heldUntil) this.recordBreaker();
    return before.breaker.state !== "closed";
  }

  private recordUnderWay(): void {
    if (!this.underWayChanged) return;
    this.underWayChanged = false;
    this.ledger.record({ type: "attempts-under-way", endpoint: this.options.name, positions: this.backlog.positions });
  }

  private recordBreaker(): void {
    const breaker = writeBreaker(this.breaker, this.paused);
    this.ledger.record({ type: "breaker-moved", endpoint: this.options.name, breaker, heldUntil: this.heldUntil });
  }

  // Ends

  private finish(entry: Entry, delivery: Settled): void {
    const { owed } = delivery;
    const { position } = entry;
    switch (delivery.state) {
      case "delivered":
        this.metrics.delivered(this.clock.now() - owed.acceptedAt);
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
    this.backlog.leave(entry);
  }

  /** All of a batch, in one go. */
  private endDelivered(entries: readonly Entry[]): void {
    const endpoint = this.options.name;
    const now = this.clock.now();
    const changes: DeliveryChange[] = [];
    for (const { position, delivery } of entries) {
      this.metrics.delivered(now - delivery.owed.acceptedAt);
      this.uncount(delivery.owed.event, delivery.owed.body.length);
      changes.push({ type: "delivery-settled", endpoint, position, outcome: "delivered" });
    }
    this.count.delivered += entries.length;
    this.ledger.recordAll(changes);
  }

  private bury(
    { owed, attempts }: Pick<Due, "owed" | "attempts">,
    position: number,
    reason: string,
    detail: string,
  ): void {
    const at = this.clock.now();
    this.uncount(owed.event, owed.body.length);
    this.count.dead++;
    this.ledger.record({ type: "delivery-died", endpoint: this.options.name, position, reason, detail, attempts, at });
    this.deadLetters.added(owed.body.length);
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

  private drop(facts: OwedFacts, reason: DropReason): void {
    this.end("dropped", facts);
    this.droppedBy[reason]++;
    this.bursts.warn(`webhook delivery dropped: the queue is full (${reason})`, this.tellOf(facts));
  }

  private dropOldest(now: Instant): void {
    for (const [name, part] of Object.entries(this.parts) as [QueuePart, Part][]) {
      let overBytes = part.bytes - part.bytesMax;
      if (overBytes <= 0) continue;
      const victims = this.backlog.oldest(name, part.droppedUpTo, ({ bodyBytes }) => {
        if (overBytes <= 0) return false;
        overBytes -= bodyBytes + deliveryBytesOverhead;
        return true;
      });
      if (victims === undefined) return;
      for (const victim of victims) this.drop(victim, "drop_oldest");
      part.droppedUpTo = victims.at(-1)?.position ?? part.droppedUpTo;
      this.leaveUnsent(victims, now);
    }
  }

  /** What is too old in a batch that waits ends alone; the rest is put together anew. */
  private dissolveOverdue(now: Instant): void {
    if (this.batches === undefined || this.nextExpiryAt === undefined || this.nextExpiryAt > now) return;
    for (const batch of this.batches.overdue(now)) this.batches.dissolve(batch);
  }

  /** Age counts also for those that a held or dead endpoint keeps from being looked at. */
  private expireOldest(now: Instant): void {
    if (this.nextExpiryAt === undefined || this.nextExpiryAt > now || this.ledger.isFull) return;
    let first: OwedFacts | undefined;
    const victims = this.backlog.oldest(undefined, 0, (facts) => {
      first = facts;
      return facts.acceptedAt + this.options.maxAgeMs <= now;
    });
    if (victims === undefined) {
      this.nextExpiryAt = now + ledgerRetryMs;
      return;
    }
    // Of the last that was looked at: a victim itself where there were too many for one go.
    this.nextExpiryAt = first === undefined ? undefined : first.acceptedAt + this.options.maxAgeMs;
    if (first === victims.at(-1) && victims.length < endedAtOnceMax) this.nextExpiryAt = undefined;
    // What is in batches was passed over.
    const batchDeadline = this.batches?.firstDeadline;
    if (batchDeadline !== undefined) this.expireBy(batchDeadline);
    for (const victim of victims) {
      this.end("expired", victim);
      this.sayExpired(victim);
    }
    this.leaveUnsent(victims, now);
  }

  /** All have ended before any line goes on: who takes a head's place must not be one that goes as well. */
  private leaveUnsent(victims: readonly OwedFacts[], now: Instant): void {
    for (const victim of victims) this.backlog.leaveUnsent(victim, now);
  }

  // Time

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
    const isRunning = this.phase === "running";
    const times: (Instant | undefined)[] = [];
    if (isRunning && !this.ledger.isFull) times.push(this.nextExpiryAt);
    if (isRunning) times.push(this.deadLetters.forgetAt);
    if (this.sender !== undefined && !this.ledger.isFull && !this.paused) {
      times.push(this.backlog.refillAt);
      times.push(this.nextAttemptAt(now));
    }
    const known = times.filter((at) => at !== undefined);
    return known.length === 0 ? undefined : Math.max(now, Math.min(...known));
  }

  private nextAttemptAt(now: Instant): Instant | undefined {
    const { batches, backlog, rate } = this;
    const waitingBatch = batches?.firstWaiting(Number.POSITIVE_INFINITY);
    const blockedUntil = this.blockedUntil(now);
    if (blockedUntil > now) {
      const isWanted = this.phase === "running" && (backlog.isWaiting || waitingBatch !== undefined);
      return isWanted ? blockedUntil : undefined;
    }
    // Whatever is done with it first makes room.
    if (!this.hasFreeConnection) return undefined;
    const rateAt = now + (rate?.waitMs(this.clock.monotonic()) ?? 0);
    if (this.options.batch === undefined && waitingBatch === undefined)
      return rateAt > now && backlog.firstReady !== undefined ? rateAt : undefined;
    const beginAt = batches?.beginAt(now);
    const first = Math.min(waitingBatch?.dueAt ?? Number.POSITIVE_INFINITY, beginAt ?? Number.POSITIVE_INFINITY);
    return first === Number.POSITIVE_INFINITY ? undefined : Math.max(first, rateAt);
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

const conditions = { endpoint: "unreachable", auth: "auth_failed", gone: "gone" } as const;

function onlyOne(): () => boolean {
  let left = 1;
  return () => left-- > 0;
}

function factsOf({ position, owed, dueAt }: StoredDelivery): OwedFacts {
  const { deliveryId, event, orderKey, acceptedAt, body } = owed;
  return { position, deliveryId, event, orderKey, acceptedAt, bodyBytes: body.length, dueAt };
}
