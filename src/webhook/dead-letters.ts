/**
 * The dead letters of one endpoint: how many there are and how long they stay, and what an operator may do with them. They
 * lie in the store.
 */
import type { Clock, Instant } from "../base/clock.ts";
import type { DeadLetter, DeadLetterFacts, DeliveryStore, StoredDelivery } from "../store/deliveries.ts";
import { StoreUnavailable } from "../store/store.ts";
import type { Ledger } from "./ledger.ts";
import {
  deadLettersRoomShare,
  deadLettersSweepMs,
  deliveryBytesOverhead,
  endedAtOnceMax,
  ledgerRetryMs,
  lettersSeenAtOnceMax,
  operatorPageMax,
} from "./limits.ts";
import type { BulkReport, DeadLetterFilter, DeadLetterReport, Page } from "./operations.ts";
import type { EndpointOptions } from "./options.ts";

export interface DeadLettersParts {
  /** Of the endpoint. */
  name: string;
  store: DeliveryStore;
  ledger: Ledger;
  clock: Clock;
  /** Called for each that is replayed, in the order of the new positions. */
  onReplayed: (fresh: StoredDelivery) => void;
}

/** Where an operator goes on. */
interface Go {
  filter: DeadLetterFilter;
  after: number;
  countMax: number;
}

export class DeadLetters {
  limits: EndpointOptions["deadLetters"];
  private readonly parts: DeadLettersParts;
  private readonly name: string;
  private readonly store: DeliveryStore;
  private readonly tally = { count: 0, bodyBytes: 0 };
  private sweepAt: Instant = 0;
  /** A look for those that are too old has come so far. */
  private sweptUpTo = 0;

  constructor(limits: EndpointOptions["deadLetters"], parts: DeadLettersParts) {
    this.limits = limits;
    this.parts = parts;
    this.name = parts.name;
    this.store = parts.store;
  }

  get count(): number {
    return this.tally.count;
  }

  /** When there is something to forget at the earliest. */
  get forgetAt(): Instant | undefined {
    return this.tally.count > 0 && !this.parts.ledger.isBehind ? this.sweepAt : undefined;
  }

  resume(tally: { count: number; bodyBytes: number }): void {
    Object.assign(this.tally, tally);
  }

  added(bodyBytes: number): void {
    this.tally.count++;
    this.tally.bodyBytes += bodyBytes;
  }

  /** Those that are too old go, and the oldest while there is no room. */
  forget(now: Instant): void {
    const isFull = this.bytes > this.limits.bytesMax;
    if (this.tally.count === 0 || this.parts.ledger.isBehind || (!isFull && now < this.sweepAt)) return;
    try {
      const hasRoom = !isFull || this.makeRoom();
      const isSwept = now < this.sweepAt || this.sweep(now);
      // There were too many for one go, or the next look is in a while.
      if (!hasRoom || !isSwept) this.sweepAt = now;
      else if (now >= this.sweepAt) this.sweepAt = now + deadLettersSweepMs;
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      this.sweepAt = now + ledgerRetryMs;
    }
  }

  page({ filter, after, countMax }: Go): Page<DeadLetterReport> {
    const { found, next } = this.find({ filter, after, countMax });
    return { items: found, next };
  }

  /** `undefined`: there is none. */
  letter(deliveryId: string): DeadLetter | undefined {
    for (const facts of this.store.oldestDeadLetters(this.name, 0)) {
      if (facts.deliveryId === deliveryId) return this.read(facts);
    }
    return undefined;
  }

  delete(go: Go): BulkReport {
    const { found, seen, next } = this.find(go);
    for (const facts of found) this.remove(facts);
    return { done: found.length, seen, next };
  }

  /** A fresh delivery of each is owed, behind all that is. */
  replay(go: Go): BulkReport {
    const { store, name } = this;
    const { clock, onReplayed } = this.parts;
    const { found, seen, next } = this.find(go);
    const letters = found.flatMap((facts) => this.read(facts) ?? []);
    if (letters.length === 0) return { done: 0, seen, next };
    const at = clock.now();
    const replays = letters.map(({ position }) => {
      return { type: "dead-letter-replayed" as const, endpoint: name, position, at };
    });
    let failure: StoreUnavailable | undefined;
    let first: number | undefined;
    store.record(replays, (error, firstPosition) => {
      failure = error;
      first = firstPosition;
    });
    // Whoever reads hears of what was recorded before: so the store is made to take it now.
    store.owedBehind(name, 0, { countMax: 1, bytesMax: 0 });
    if (failure !== undefined || first === undefined) throw failure ?? new StoreUnavailable("commit");
    for (const [i, { owed }] of letters.entries()) {
      this.subtract(owed.body.length);
      const fresh = { ...owed, acceptedAt: at, expiresAt: undefined };
      onReplayed({ position: first + i, owed: fresh, attempts: 0, failures: 0, dueAt: undefined });
    }
    return { done: letters.length, seen, next };
  }

  private get bytes(): number {
    return this.tally.bodyBytes + this.tally.count * deliveryBytesOverhead;
  }

  private subtract(bodyBytes: number): void {
    this.tally.count--;
    this.tally.bodyBytes -= bodyBytes;
  }

  private remove({ position, bodyBytes }: DeadLetterFacts): void {
    this.subtract(bodyBytes);
    this.parts.ledger.record({ type: "dead-letter-deleted", endpoint: this.name, position });
  }

  /** False: there is more to do. */
  private makeRoom(): boolean {
    const bytesKept = this.limits.bytesMax * (1 - deadLettersRoomShare);
    let upTo = 0;
    let count = 0;
    for (const { position, bodyBytes } of this.store.oldestDeadLetters(this.name, 0)) {
      if (this.bytes <= bytesKept || count === endedAtOnceMax) break;
      upTo = position;
      count++;
      this.subtract(bodyBytes);
    }
    if (upTo > 0) this.parts.ledger.record({ type: "dead-letters-forgotten", endpoint: this.name, upTo });
    return count < endedAtOnceMax;
  }

  /** They died in another order than they were owed in: each is looked at. False: not all were yet. */
  private sweep(now: Instant): boolean {
    const tooOld: DeadLetterFacts[] = [];
    let seen = 0;
    for (const facts of this.store.oldestDeadLetters(this.name, this.sweptUpTo)) {
      if (seen === lettersSeenAtOnceMax || tooOld.length === endedAtOnceMax) break;
      seen++;
      this.sweptUpTo = facts.position;
      if (facts.diedAt + this.limits.maxAgeMs <= now) tooOld.push(facts);
    }
    for (const facts of tooOld) this.remove(facts);
    const isAll = seen < lettersSeenAtOnceMax && tooOld.length < endedAtOnceMax;
    if (isAll) this.sweptUpTo = 0;
    return isAll;
  }

  /** The next that the filter lets through. What the store does not know yet cannot be found. */
  private find({ filter, after, countMax }: Go): { found: DeadLetterFacts[]; seen: number; next: number | undefined } {
    if (this.parts.ledger.isBehind) throw new StoreUnavailable("commit");
    const wanted = Math.min(Math.max(1, countMax), operatorPageMax);
    const ids = filter.deliveryIds === undefined ? undefined : new Set(filter.deliveryIds);
    const found: DeadLetterFacts[] = [];
    let seen = 0;
    let last = after;
    for (const facts of this.store.oldestDeadLetters(this.name, after)) {
      if (found.length === wanted || seen === lettersSeenAtOnceMax) return { found, seen, next: last };
      seen++;
      last = facts.position;
      if (ids !== undefined && !ids.has(facts.deliveryId)) continue;
      if (filter.reason !== undefined && facts.reason !== filter.reason) continue;
      if (filter.event !== undefined && facts.event !== filter.event) continue;
      if (filter.orderKey !== undefined && facts.orderKey !== filter.orderKey) continue;
      found.push(facts);
    }
    return { found, seen, next: undefined };
  }

  private read({ position }: DeadLetterFacts): DeadLetter | undefined {
    return this.store.deadLetters(this.name, position - 1, { countMax: 1, bytesMax: 0 })[0];
  }
}
