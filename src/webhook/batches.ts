/**
 * The batches of one endpoint: how they come together, which goes next, and what the store is to remember of them. Each
 * holds the lines it takes from, so what belongs to one key is in one batch at a time.
 */
import type { Instant } from "../base/clock.ts";
import type { OwedDelivery } from "../store/change.ts";
import type { Backlog } from "./backlog.ts";
import { type Batch, type FrozenBatch, goesAlone, readBatches, writeBatches } from "./batch.ts";
import { batchesWaitingMax, deliveryBytesOverhead } from "./limits.ts";
import type { BatchOptions } from "./options.ts";
import type { Entry, Line } from "./window.ts";

export interface BatchesParts {
  backlog: Backlog;
  poolSize: number;
  ulid: (now: Instant) => string;
  /** When nobody wants it any more. */
  deadline: (owed: OwedDelivery) => Instant;
  /** One that nobody wants any more is met while a batch is put together. */
  expire: (entry: Entry) => void;
}

export class Batches {
  /** `undefined`: no more are begun; those there are go as they are. */
  private options: BatchOptions | undefined;
  private readonly parts: BatchesParts;
  /** All that have not ended, oldest first. */
  private readonly batches = new Set<Batch>();
  /** Not recorded yet: they are sent once they are. */
  private fresh: Batch[] = [];
  /** Smaller than configured since the receiver found one too large. */
  private eventsMax: number;
  /** What the store remembers is not what there is. */
  private changed = false;

  constructor(options: BatchOptions | undefined, parts: BatchesParts) {
    this.options = options;
    this.parts = parts;
    this.eventsMax = options?.eventsMax ?? 1;
  }

  reconfigure(options: BatchOptions | undefined, poolSize: number): void {
    this.options = options;
    this.parts.poolSize = poolSize;
    this.eventsMax = options?.eventsMax ?? 1;
  }

  /** All have ended, and the store knows. */
  get isEmpty(): boolean {
    return this.batches.size === 0 && !this.changed;
  }

  /** What was sent before this process, as it was; what of it has ended meanwhile sets the rest free. */
  resume(text: string): void {
    for (const frozen of readBatches(text)) this.restore(frozen);
    this.changed = text !== "";
  }

  private restore({ id, attempts, failures, dueAt, format, positions }: FrozenBatch): void {
    const entries = this.parts.backlog.restore(positions);
    if (entries === undefined) return;
    const life = { attempts, failures, resent: false, state: "waiting" as const, dueAt };
    this.add({ id, format, entries, ...life, deadline: this.first(entries) });
  }

  /** Requests that are made, or begin as soon as they are recorded. */
  get underWay(): number {
    let count = 0;
    for (const { state } of this.batches) if (state !== "waiting") count++;
    return count;
  }

  /** Deliveries in them. */
  get inflight(): number {
    let count = 0;
    for (const { state, entries } of this.batches) if (state !== "waiting") count += entries.length;
    return count;
  }

  /** Due at this time or before, the first first. */
  firstWaiting(until: Instant): Batch | undefined {
    let first: Batch | undefined;
    for (const batch of this.batches) {
      if (batch.state !== "waiting" || batch.dueAt > until) continue;
      if (first === undefined || batch.dueAt < first.dueAt) first = batch;
    }
    return first;
  }

  /** When the first of those that wait holds something nobody wants any more. */
  get firstDeadline(): Instant | undefined {
    let first: Instant | undefined;
    for (const { state, deadline } of this.batches) {
      if (state === "waiting" && (first === undefined || deadline < first)) first = deadline;
    }
    return first;
  }

  /** Those that hold something nobody wants any more. */
  overdue(now: Instant): Batch[] {
    return [...this.batches].filter(({ state, deadline }) => state === "waiting" && deadline <= now);
  }

  /** When a new one may begin; `undefined`: there is nothing to put in, or there are too many. */
  beginAt(now: Instant): Instant | undefined {
    const { options } = this;
    const { backlog, poolSize } = this.parts;
    if (options === undefined) return undefined;
    const first = backlog.firstReady;
    if (first === undefined || this.batches.size >= poolSize + batchesWaitingMax) return undefined;
    const { count, bytes } = backlog.sendable;
    if (count >= this.eventsMax || bytes - count * deliveryBytesOverhead >= options.bytesMax) return now;
    const { acceptedAt } = first.delivery.owed;
    // A clock that was set back: it has waited for long enough, as far as anyone knows.
    return acceptedAt > now ? now : Math.max(now, acceptedAt + options.waitMs);
  }

  /** The next deliveries of the lines that have been ready the longest. `undefined`: all there was has expired. */
  begin(now: Instant): Batch | undefined {
    const { options } = this;
    const { backlog, ulid } = this.parts;
    if (options === undefined) return undefined;
    const entries: Entry[] = [];
    let bytes = 0;
    for (let line = backlog.firstReadyLine; line !== undefined; line = backlog.firstReadyLine) {
      const before = entries.length;
      const isWhole = this.takeFrom(line, entries, { bytes, bytesMax: options.bytesMax, now });
      if (entries.length > before) backlog.hold(line);
      if (!isWhole) break;
      for (let i = before; i < entries.length; i++) bytes += entries[i].delivery.owed.body.length;
    }
    if (entries.length === 0) return undefined;
    const life = { attempts: 0, failures: 0, resent: false, state: "frozen" as const, dueAt: now };
    const { format } = options;
    const batch: Batch = { id: `bat_${ulid(now)}`, format, entries, ...life, deadline: this.first(entries) };
    this.add(batch);
    this.fresh.push(batch);
    this.changed = true;
    return batch;
  }

  /** False: the batch is full. */
  private takeFrom(
    line: Line,
    entries: Entry[],
    { bytes, bytesMax, now }: { bytes: number; bytesMax: number; now: Instant },
  ): boolean {
    const { deadline, expire } = this.parts;
    const isHead = entries.length;
    for (let link = line.entries.first; link !== undefined; ) {
      const entry = link.value;
      link = link.next;
      const { owed } = entry.delivery;
      if (deadline(owed) <= now) {
        expire(entry);
        // Another is the head, and the line goes to the end of those that are ready.
        if (entries.length === isHead) return true;
        continue;
      }
      const isAlone = goesAlone(owed, this.options!.format);
      if (isAlone && entries.length > 0) return false;
      bytes += owed.body.length;
      if (entries.length > 0 && (entries.length >= this.eventsMax || bytes > bytesMax)) return false;
      entries.push(entry);
      if (isAlone) return false;
    }
    return entries.length < this.eventsMax;
  }

  hasChanged(): void {
    this.changed = true;
  }

  /** It has ended, or is to be put together anew: what is left of its lines may go. */
  dissolve(batch: Batch): void {
    this.batches.delete(batch);
    this.changed = true;
    for (const entry of batch.entries) entry.batch = undefined;
    for (const { line } of batch.entries) this.parts.backlog.release(line);
  }

  /** It has ended, and so have its deliveries. */
  forget(batch: Batch): void {
    this.batches.delete(batch);
    this.changed = true;
    for (const entry of batch.entries) {
      entry.batch = undefined;
      this.parts.backlog.leave(entry);
    }
  }

  /** The receiver took one: slowly as many as configured. */
  grow(): void {
    this.eventsMax = Math.min(this.options?.eventsMax ?? 1, Math.ceil(this.eventsMax * 1.25));
  }

  /** It was too large for the receiver: two of half its size go instead. */
  halve(batch: Batch): void {
    this.eventsMax = Math.max(1, Math.ceil(batch.entries.length / 2));
    this.dissolve(batch);
  }

  /** What the store is to remember, and those that may be sent once it does; `undefined`: nothing is new. */
  takeChanged(): { text: string; fresh: readonly Batch[] } | undefined {
    if (!this.changed) return undefined;
    const { fresh } = this;
    this.changed = false;
    this.fresh = [];
    return { text: writeBatches(this.batches), fresh };
  }

  private add(batch: Batch): void {
    this.batches.add(batch);
    for (const entry of batch.entries) entry.batch = batch;
  }

  private first(entries: readonly Entry[]): Instant {
    let first = Number.POSITIVE_INFINITY;
    for (const { delivery } of entries) first = Math.min(first, this.parts.deadline(delivery.owed));
    return first;
  }
}
