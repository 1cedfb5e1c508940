/**
 * All that one endpoint is owed, of which the window (`window.ts`) is in memory and the rest in the store.
 *
 *   in the store:  … gone │ lines that wait, and what is behind a line's share │ not read yet …
 *                         └──── up to `readUpTo` ──────────────────────────────┘
 *
 * Whatever is owed up to `readUpTo` is in the window, behind a line in the window, or in a line whose head waits in the
 * store with its time. So a backlog of any length takes no memory, and a failing head holds its own key only.
 */
import type { Clock, Instant } from "../base/clock.ts";
import type { DeliveryStore, DuePlace, OwedFacts, QueuePart, StoredDelivery } from "../store/deliveries.ts";
import type { OwedDelivery } from "../store/change.ts";
import { StoreUnavailable } from "../store/store.ts";
import type { Attempting, Due } from "./delivery.ts";
import type { Ledger } from "./ledger.ts";
import { readEventHead } from "./event-head.ts";
import {
  endedAtOnceMax,
  ledgerRetryMs,
  lineBytesMax,
  sliceDeliveriesMax,
  waitingKeysMax,
  windowBytesMax,
  wokenAtOnceMax,
} from "./limits.ts";
import { type Entry, type Line, Window } from "./window.ts";

export interface BacklogParts {
  /** Of the endpoint. */
  name: string;
  store: DeliveryStore;
  ledger: Ledger;
  clock: Clock;
  /** One without a body cannot be sent: it ends here. */
  onBodiless: (stored: StoredDelivery) => void;
}

/** No body could be made of it. One of no bytes may be wanted: then its head says how. */
function isBodiless({ body, head }: OwedDelivery): boolean {
  return body.length === 0 && (head === "" || readEventHead(head).refused !== undefined);
}

const beforeAll: DuePlace = { dueAt: Number.NEGATIVE_INFINITY, position: 0 };

export class Backlog {
  private readonly name: string;
  private readonly store: DeliveryStore;
  private readonly ledger: Ledger;
  private readonly clock: Clock;
  private readonly onBodiless: (stored: StoredDelivery) => void;
  private readonly window = new Window();
  private readUpTo = 0;
  private hasUnread = false;
  /** What is committed behind it is not accepted here yet, and is not to be ended before. At first all there is counts. */
  private handedOverUpTo = Number.POSITIVE_INFINITY;
  /** The time of the first line that waits in the store; `undefined`: none does. */
  private nextDueAt: Instant | undefined;
  /** The keys of the lines that wait, as long as they are not too many. */
  private waitingKeys: Set<string> | "too many" = new Set();
  /** Of those that wait, all up to this place were looked at when their time had come. */
  private wokenUpTo = beforeAll;
  /** The store could not be read: what is in memory is not all there should be, and nothing is added to it. */
  private readAgainAt: Instant | undefined;

  constructor({ name, store, ledger, clock, onBodiless }: BacklogParts) {
    this.name = name;
    this.store = store;
    this.ledger = ledger;
    this.clock = clock;
    this.onBodiless = onBodiless;
  }

  get inflight(): number {
    return this.window.inflight;
  }

  /** Of the attempts under way. */
  get positions(): number[] {
    return this.window.positions;
  }

  /** The head of the line that has been ready the longest. */
  get firstReady(): Entry | undefined {
    return this.window.firstReady;
  }

  get firstReadyLine(): Line | undefined {
    return this.window.firstReadyLine;
  }

  /** All that is in ready lines, overhead included. */
  get sendable(): { readonly count: number; readonly bytes: number } {
    return this.window.sendable;
  }

  /** There is something that could be sent, now or when its time comes. */
  get isWaiting(): boolean {
    return this.window.firstReady !== undefined || this.nextDueAt !== undefined;
  }

  /** The same, or the head of the first line that waits for its time. */
  firstAtAll(): Entry | undefined {
    if (this.window.firstReady !== undefined || this.nextDueAt === undefined) return this.window.firstReady;
    const first = this.firstDue(this.wokenUpTo);
    if (first !== undefined && this.window.line(first.orderKey) === undefined) {
      this.openLine(first.orderKey, Number.POSITIVE_INFINITY);
    }
    return this.window.firstReady;
  }

  /** When `refill` has something to do; `undefined`: when something else happens. */
  get refillAt(): Instant | undefined {
    if (this.readAgainAt !== undefined) return this.readAgainAt;
    if (this.hasUnread && this.window.isHalfEmpty) return 0;
    return this.window.isFull ? undefined : this.nextDueAt;
  }

  /** Attempts that a crash cut off: they may have arrived or not, so they count, and are made again. */
  repeat(positions: readonly number[], now: Instant): void {
    for (const position of positions) {
      const slice = this.ask(() => this.store.owedBehind(this.name, position - 1, { countMax: 1, bytesMax: 0 }));
      const [stored] = slice?.deliveries ?? [];
      if (stored?.position !== position) continue;
      this.waitInStore({ ...stored, attempts: stored.attempts + 1, dueAt: now }, stored.owed.orderKey, now);
    }
  }

  /** From the store, with others of its commit, before it was handed over. */
  hasRead({ position }: StoredDelivery): boolean {
    return position <= this.readUpTo;
  }

  /** The store now owes this, or owes it no more (`isOver`). */
  accept(stored: StoredDelivery, isOver: boolean, now: Instant): void {
    this.handedOverUpTo = stored.position;
    if (this.hasRead(stored)) return;
    if (this.hasUnread || this.readAgainAt !== undefined || (this.window.isFull && !isOver)) {
      this.hasUnread = true;
      return;
    }
    this.readUpTo = stored.position;
    if (!isOver) this.take(stored, now);
  }

  /** Takes in the lines whose time has come, then what is not read yet, as far as there is room. */
  refill(now: Instant): void {
    if (this.readAgainAt !== undefined && this.readAgainAt <= now) this.beginAgain();
    this.wake(now);
    this.readOn(now);
  }

  /** At the next `refill`, from the beginning. Not at once: who asks may do so in the middle of a reading. */
  readAgain(): void {
    this.readAgainAt = this.clock.now();
  }

  /** Over what is in memory: nothing is taken in twice. */
  private beginAgain(): void {
    this.readAgainAt = undefined;
    this.readUpTo = 0;
    this.hasUnread = true;
    this.wokenUpTo = beforeAll;
    this.nextDueAt = undefined;
    this.waitingKeys = new Set();
  }

  attempt(entry: Entry, delivery: Attempting): void {
    this.window.attempt(entry, delivery);
  }

  /** It was sent in vain: it goes again at once, or waits in the store for its time, and its line with it. */
  putBack(entry: Entry, delivery: Due, now: Instant): void {
    if (delivery.dueAt <= now) return this.window.putBack(entry, delivery);
    const { attempts, failures, dueAt } = delivery;
    this.window.close(entry.line);
    this.waitInStore({ position: entry.position, attempts, failures, dueAt }, entry.line.key, now);
  }

  /** The first of this line are in a batch now, */
  hold(line: Line): void {
    this.window.hold(line);
  }

  /** and no more. */
  release(line: Line): void {
    this.window.release(line);
  }

  /**
   * Of a batch that was sent before this process, the deliveries as the first of their lines, which it holds. `undefined`:
   * they are not all there. Called before anything else is read.
   */
  restore(positions: readonly number[]): Entry[] | undefined {
    const found: StoredDelivery[] = [];
    while (found.length < positions.length) {
      const next = positions[found.length];
      const limits = { countMax: positions.length - found.length, bytesMax: windowBytesMax };
      const slice = this.ask(() => this.store.owedBehind(this.name, next - 1, limits));
      const before = found.length;
      for (const stored of slice?.deliveries ?? []) {
        if (stored.position !== positions[found.length]) break;
        found.push(stored);
      }
      if (found.length === before) return undefined;
    }
    return found.map((stored) => this.window.addHeld(stored));
  }

  /** It has ended, which is recorded: its line goes on. */
  leave(entry: Entry): void {
    const { line } = entry;
    this.window.remove(entry);
    if (line.entries.first !== undefined) return;
    this.window.close(line);
    if (line.hasMore) this.openLine(line.key, this.clock.now());
  }

  /** The same for one that was not sent, wherever it is. */
  leaveUnsent({ orderKey, position, dueAt }: OwedFacts, now: Instant): void {
    const entry = this.window.find(orderKey, position);
    if (entry !== undefined) return this.leave(entry);
    if (dueAt === undefined || this.window.line(orderKey) !== undefined) return;
    // It was the head of a line that waits: now the next one is, and has nothing to wait for. A store that is behind does
    // not know which that is; once it is not, all is read again.
    if (this.ledger.isBehind) return;
    const range = { after: position, upTo: this.readUpTo };
    const slice = this.ask(() => this.store.owedInLine(this.name, orderKey, range, { countMax: 1, bytesMax: 0 }));
    const [head] = slice?.deliveries ?? [];
    if (head !== undefined && head.dueAt === undefined) this.waitInStore({ ...head, dueAt: now }, orderKey, now);
  }

  /** The oldest that nobody is sending, of one part or of all, as long as they are wanted. `undefined`: it cannot be read. */
  oldest(part: QueuePart | undefined, after: number, isWanted: (facts: OwedFacts) => boolean): OwedFacts[] | undefined {
    const wanted: OwedFacts[] = [];
    return this.ask(() => {
      for (const facts of this.store.oldestOwed(this.name, part, after)) {
        const { orderKey, position } = facts;
        if (position > this.handedOverUpTo) break;
        const entry = this.window.find(orderKey, position);
        if (isUnderWay(entry) || entry?.batch !== undefined || this.ledger.asItIs(facts) === undefined) continue;
        if (!isWanted(facts)) break;
        wanted.push(facts);
        if (wanted.length === endedAtOnceMax) break;
      }
      return wanted;
    });
  }

  /** What is owed behind position `after`, oldest first. */
  *owedBehind(after: number): Generator<OwedFacts & { inflight: boolean }> {
    for (const facts of this.store.oldestOwed(this.name, undefined, after)) {
      if (facts.position > this.handedOverUpTo) return;
      const seen = this.ledger.asItIs(facts);
      const entry = this.window.find(facts.orderKey, facts.position);
      if (seen !== undefined) yield { ...seen, inflight: isUnderWay(entry) };
    }
  }

  /** The next in the order of owing, with all before it read. */
  private take(stored: StoredDelivery, now: Instant): void {
    const { orderKey } = stored.owed;
    const mayWait = stored.dueAt !== undefined || this.waitingKeys === "too many" || this.waitingKeys.has(orderKey);
    if (mayWait && this.window.line(orderKey) === undefined) this.openLine(orderKey, now);
    else this.addToWindow(stored);
  }

  /** False: the store has it, behind its line's share. */
  private addToWindow(stored: StoredDelivery): boolean {
    if (!isBodiless(stored.owed)) return this.window.add(stored);
    this.onBodiless(stored);
    return true;
  }

  /** Takes in the first of a line that is not in memory, unless it waits for a time after `until`. */
  private openLine(key: string, until: Instant): void {
    for (let isWhole = false; !isWhole; ) {
      const first = this.firstInLine(key);
      if (first === undefined) return;
      const { owed, hasMore } = first;
      if (owed.length > 0 && owed[0].dueAt !== undefined && owed[0].dueAt > until) {
        this.wakeBy(owed[0].dueAt, key);
        return;
      }
      if (this.waitingKeys !== "too many") this.waitingKeys.delete(key);
      isWhole = owed.every((stored) => this.addToWindow(stored)) && !hasMore;
      const line = this.window.line(key);
      if (line === undefined) continue; // None of these had a body.
      if (!isWhole) line.hasMore = true;
      return;
    }
  }

  private firstInLine(key: string): { owed: readonly StoredDelivery[]; hasMore: boolean } | undefined {
    const limits = { countMax: sliceDeliveriesMax, bytesMax: lineBytesMax };
    for (let after = 0; ; ) {
      const range = { after, upTo: this.readUpTo };
      const slice = this.ask(() => this.store.owedInLine(this.name, key, range, limits));
      if (slice === undefined) return undefined;
      const owed = this.asTheyAre(slice.deliveries);
      if (owed.length > 0 || !slice.hasMore) return { owed, hasMore: slice.hasMore };
      after = slice.deliveries.at(-1)!.position;
    }
  }

  private wake(now: Instant): void {
    if (this.nextDueAt === undefined || this.nextDueAt > now || this.window.isFull) return;
    this.forgetFutureWaking(now);
    const range = { after: this.wokenUpTo, until: now, upTo: this.readUpTo, countMax: wokenAtOnceMax };
    for (const { orderKey, position, dueAt } of this.ask(() => this.store.owedDue(this.name, range)) ?? []) {
      if (this.window.isFull || this.readAgainAt !== undefined) break;
      this.wokenUpTo = { dueAt: dueAt!, position };
      if (this.window.line(orderKey) === undefined) this.openLine(orderKey, now);
    }
    const next = this.firstDue(this.wokenUpTo);
    if (this.readAgainAt !== undefined) return;
    this.nextDueAt = next?.dueAt;
    if (this.nextDueAt === undefined && !this.ledger.isBehind) this.waitingKeys = new Set();
  }

  private firstDue(after: DuePlace): OwedFacts | undefined {
    const range = { after, until: Number.POSITIVE_INFINITY, upTo: this.readUpTo, countMax: 1 };
    return this.ask(() => this.store.owedDue(this.name, range))?.[0];
  }

  private readOn(now: Instant): void {
    if (!this.hasUnread || !this.window.isHalfEmpty || this.readAgainAt !== undefined) return;
    const limits = { countMax: sliceDeliveriesMax, bytesMax: windowBytesMax / 2 };
    const slice = this.ask(() => this.store.owedBehind(this.name, this.readUpTo, limits));
    if (slice === undefined) return;
    this.hasUnread = slice.hasMore;
    for (const stored of slice.deliveries) {
      this.readUpTo = stored.position;
      for (const owed of this.asTheyAre([stored])) this.take(owed, now);
      if (this.readAgainAt !== undefined) return;
    }
  }

  private waitInStore(
    delivery: Pick<StoredDelivery, "position" | "attempts" | "failures"> & { dueAt: Instant },
    key: string,
    now: Instant,
  ): void {
    this.forgetFutureWaking(now);
    const { position, attempts, failures } = delivery;
    // Behind all that were looked at, or it would not be seen when its time comes.
    const dueAt = Math.max(delivery.dueAt, this.wokenUpTo.dueAt + 1);
    this.ledger.record({ type: "delivery-put-back", endpoint: this.name, position, attempts, failures, dueAt });
    this.wakeBy(dueAt, key);
  }

  private wakeBy(at: Instant, key: string): void {
    this.nextDueAt = Math.min(this.nextDueAt ?? at, at);
    if (this.waitingKeys === "too many") return;
    this.waitingKeys.add(key);
    if (this.waitingKeys.size > waitingKeysMax) this.waitingKeys = "too many";
  }

  /** A clock that was set back: what was looked at is looked at again when its time comes again. */
  private forgetFutureWaking(now: Instant): void {
    if (this.wokenUpTo.dueAt > now) this.wokenUpTo = beforeAll;
  }

  /** What the store shows, less what has ended since without its knowing. */
  private asTheyAre(seen: readonly StoredDelivery[]): readonly StoredDelivery[] {
    return this.ledger.isBehind ? seen.flatMap((stored) => this.ledger.asItIs(stored) ?? []) : seen;
  }

  /** `undefined`: the store cannot be read. Later it is, from the beginning. */
  private ask<Answer>(question: () => Answer): Answer | undefined {
    try {
      return question();
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      this.readAgainAt ??= this.clock.now() + ledgerRetryMs;
      return undefined;
    }
  }
}

function isUnderWay(entry: Entry | undefined): boolean {
  if (entry?.batch !== undefined) return entry.batch.state !== "waiting";
  return entry?.delivery.state === "attempting";
}
