/**
 * One endpoint at work: what it is owed (`backlog.ts`), how many attempts it may have now (`breaker.ts`), and what is made
 * of each outcome (`delivery.ts`).
 *
 * At all times: accepted = delivered + dead + dropped + expired + queued + inflight.
 */
import type { Clock, Instant, Timer } from "../base/clock.ts";
import type { Facts, Logger } from "../base/log.ts";
import type { OwedDelivery } from "../store/change.ts";
import type { Sender } from "./attempt.ts";
import type { Entry } from "./backlog.ts";
import type { Breaker } from "./breaker.ts";
import type { Attempting, Settled, Terms } from "./delivery.ts";
import type { EndpointOptions } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import { assert } from "../base/assert.ts";
import { Backlog } from "./backlog.ts";
import { closedBreaker, next, probe } from "./breaker.ts";
import { BurstLog } from "./burst-log.ts";
import { DeadLetters } from "./dead-letters.ts";
import { deadline, expire, settle, start } from "./delivery.ts";
import { refusal } from "./payload-encoding.ts";
import { RetrySchedule } from "./retry.ts";

/** The end of a delivery, as the store is told. */
type SettledAs = "delivered" | "dead" | "dropped" | "expired";
export type OnSettled = (owed: OwedDelivery, as: SettledAs, reason: string) => void;

export interface EndpointFigures {
  endpoint: string;
  accepted: number;
  delivered: number;
  dead: number;
  dropped: number;
  droppedBy: Readonly<Record<EndpointOptions["overflow"], number>>;
  expired: number;
  queued: number;
  inflight: number;
  /** Of bodies queued and in flight, and what keeping them costs. */
  bytes: number;
  attempts: number;
  breaker: Breaker["state"];
}

export interface EndpointParts {
  options: EndpointOptions;
  clock: Clock;
  sender: Sender;
  random: () => number;
  log: Logger;
  onSettled: OnSettled;
}

export class Endpoint {
  readonly deadLetters = new DeadLetters();
  private readonly options: EndpointOptions;
  private readonly clock: Clock;
  private readonly sender: Sender;
  private readonly log: Logger;
  private readonly bursts: BurstLog;
  private readonly onSettled: OnSettled;
  private readonly terms: Terms;
  private readonly backlog: Backlog;
  private breaker: Breaker;
  /** Retry-After: nothing is sent before. */
  private heldUntil: Instant = 0;
  private wakeTimer: { at: Instant; timer: Timer } | undefined;
  private phase: "running" | "stopping" | "stopped" = "running";
  private onIdle: (() => void) | undefined;
  private readonly count = { accepted: 0, delivered: 0, dead: 0, expired: 0, attempts: 0 };
  private readonly droppedBy = { drop_oldest: 0, drop_newest: 0 };

  constructor({ options, clock, sender, random, log, onSettled }: EndpointParts) {
    this.options = options;
    this.clock = clock;
    this.sender = sender;
    this.log = log;
    this.bursts = new BurstLog(clock, log);
    this.onSettled = onSettled;
    this.terms = { schedule: new RetrySchedule(options.retry, random), maxAgeMs: options.maxAgeMs };
    this.backlog = new Backlog(options.queueBytesMax);
    this.breaker = closedBreaker(options.poolSize);
  }

  /** Takes over what is owed; `pump` sends it. */
  accept(owed: OwedDelivery): void {
    this.count.accepted++;
    if (owed.body.length === 0) this.bury(owed, refusal(this.options.bodyEncoding), "", 0);
    else if (this.makeRoom(owed)) this.backlog.add(owed);
    else this.drop(owed, "drop_newest");
  }

  /** Starts all the attempts that may start now, and sees to it that the next ones will. */
  pump(): void {
    if (this.phase === "stopped") return;
    const now = this.clock.now();
    this.expireOldest(now);
    this.backlog.wake(now);
    for (let entry = this.nextToSend(now); entry !== undefined; entry = this.nextToSend(now)) this.attempt(entry, now);
    this.setWakeTimer(now);
    if (this.phase === "stopping" && this.backlog.inflight === 0) this.onIdle?.();
  }

  figures(): EndpointFigures {
    const { accepted, delivered, dead, expired, attempts } = this.count;
    const { queued, inflight, bytes } = this.backlog;
    const droppedBy = { ...this.droppedBy };
    const dropped = droppedBy.drop_oldest + droppedBy.drop_newest;
    const breaker = this.breaker.state;
    const endpoint = this.options.name;
    const figures = { accepted, delivered, dead, dropped, droppedBy, expired, queued, inflight, bytes, attempts };
    return { endpoint, ...figures, breaker };
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
    await this.sender.close();
    this.bursts.close();
  }

  private nextToSend(now: Instant): Entry | undefined {
    if (now < this.heldUntil) return undefined;
    switch (this.breaker.state) {
      case "closed":
        return this.backlog.inflight < this.breaker.attemptsMax ? this.backlog.firstReady : undefined;
      case "open":
        return now < this.breaker.probeAt || this.phase === "stopping" ? undefined : this.nextProbe();
      case "probing":
        return undefined;
      default:
        return this.breaker satisfies never;
    }
  }

  /**
   * The line that is ready the longest: after a failed probe the next one is another's, so that no single delivery which
   * its receiver cannot bear speaks for all. In an outage a delivery need not be due.
   */
  private nextProbe(): Entry | undefined {
    return this.backlog.firstReady ?? this.backlog.firstWaiting;
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
    this.count.attempts++;
    this.sender.send(attempting, (outcome) => {
      this.settle(entry, attempting, outcome);
      this.pump();
    });
  }

  private settle(entry: Entry, attempting: Attempting, outcome: Outcome): void {
    const now = this.clock.now();
    const before = this.breaker;
    this.breaker = next(before, outcome, { now, poolSize: this.options.poolSize });
    if ("retryAfterMs" in outcome) this.heldUntil = Math.max(this.heldUntil, now + outcome.retryAfterMs);
    const endpointDown = before.state !== "closed";
    const delivery = settle(attempting, outcome, { now, terms: this.terms, endpointDown });
    if (delivery.state === "due") this.backlog.putBack(entry, delivery, now);
    else this.finish(entry, delivery);
    if (this.breaker.state !== before.state) this.sayBreaker(before, outcome);
  }

  private finish(entry: Entry, delivery: Settled): void {
    this.backlog.remove(entry);
    const { owed, attempts } = delivery;
    switch (delivery.state) {
      case "delivered":
        this.count.delivered++;
        this.onSettled(owed, "delivered", "");
        break;
      case "expired":
        this.count.expired++;
        this.bursts.warn("webhook delivery expired: it was owed for too long", factsOf(owed));
        this.onSettled(owed, "expired", "max_age");
        break;
      case "dead":
        this.bury(owed, delivery.because, delivery.detail, attempts);
        break;
      default:
        delivery satisfies never;
    }
  }

  private bury(owed: OwedDelivery, reason: string, detail: string, attempts: number): void {
    this.count.dead++;
    this.deadLetters.add({ owed, reason, detail, attempts, diedAt: this.clock.now() });
    this.bursts.warn(`webhook delivery became a dead letter: ${reason}`, { ...factsOf(owed), detail, attempts });
    this.onSettled(owed, "dead", reason);
  }

  private drop(owed: OwedDelivery, overflow: EndpointOptions["overflow"]): void {
    this.droppedBy[overflow]++;
    this.bursts.warn(`webhook delivery dropped: the queue is full (${overflow})`, factsOf(owed));
    this.onSettled(owed, "dropped", overflow);
  }

  /** By dropping older ones if that is configured; false when there is none for `owed`. */
  private makeRoom(owed: OwedDelivery): boolean {
    while (!this.backlog.hasRoomFor(owed)) {
      const oldest = this.options.overflow === "drop_oldest" ? this.backlog.oldest(owed) : undefined;
      if (oldest === undefined) return false;
      this.backlog.remove(oldest);
      this.drop(oldest.delivery.owed, "drop_oldest");
    }
    return true;
  }

  /** Age counts also for those that a held or dead endpoint keeps from being looked at. */
  private expireOldest(now: Instant): void {
    for (;;) {
      const oldest = this.backlog.oldest();
      if (oldest?.delivery.state !== "due" || oldest.delivery.owed.acceptedAt + this.options.maxAgeMs > now) return;
      this.finish(oldest, expire(oldest.delivery));
    }
  }

  /** One timer, for whatever comes first; one that fires too early does no harm, so it is only ever set earlier. */
  private setWakeTimer(now: Instant): void {
    const at = this.phase === "running" ? this.nextWakeAt(now) : undefined;
    if (at === undefined || (this.wakeTimer !== undefined && this.wakeTimer.at <= at)) return;
    this.wakeTimer?.timer.cancel();
    const timer = this.clock.after(at - now, () => {
      this.wakeTimer = undefined;
      this.pump();
    });
    this.wakeTimer = { at, timer };
  }

  private nextWakeAt(now: Instant): Instant | undefined {
    if (this.backlog.queued === 0) return undefined;
    let at = this.backlog.oldest()!.delivery.owed.acceptedAt + this.options.maxAgeMs;
    const { nextDueAt } = this.backlog;
    if (nextDueAt !== undefined) at = Math.min(at, nextDueAt);
    const probeAt = this.breaker.state === "open" && this.nextProbe() !== undefined ? this.breaker.probeAt : 0;
    const blockedUntil = Math.max(probeAt, this.heldUntil);
    return blockedUntil > now ? Math.min(at, blockedUntil) : at;
  }

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
}

function factsOf({ deliveryId, endpoint, event, orderKey }: OwedDelivery): Facts {
  return { endpoint, deliveryId, event, orderKey };
}
