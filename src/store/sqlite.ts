/**
 * The engine that keeps: SQLite with a write-ahead log, on the thread of the back.
 *
 *   handed in ──turn of the loop ends──→ one transaction ──COMMIT──→ in the log ──synced──→ done
 *                                              └──any failure──→ rolled back; refused, with what may build on it
 *
 * What the broker hands in during one turn of the event loop, and all that has come while the log was being synced, shares
 * the next transaction. The thread does not wait for the disk: it syncs the log itself, beside what else there is to do
 * (docs/decisions/synced-beside.md). What webhooks record is nobody's to wait for: it joins, or goes a moment later. All
 * state is in the tables, so a transaction that fails leaves nothing to be set right.
 */
import { closeSync, openSync, rmSync } from "node:fs";
import { backup, type DatabaseSync, type StatementSync } from "node:sqlite";
import type { Clock, Timer } from "../base/clock.ts";
import { Histogram } from "../base/histogram.ts";
import type { Logger } from "../base/log.ts";
import type { BrokerChange, Change, DeliveryChange } from "./change.ts";
import {
  type DeadLetter,
  type DeadLetterFacts,
  type DeliveryStore,
  type OwedFacts,
  queuePartOf,
  type Slice,
  type SliceLimits,
  type StoredEndpoint,
} from "./deliveries.ts";
import type { DataFolder } from "./data-folder.ts";
import {
  backupPagesPerStep,
  backupsBegunMax,
  changesPerPart,
  changesPerTransactionMax,
  diskBytesLeft,
  diskBytesLeftAtLast,
  freedPagesPerStep,
  freeingDelayMs,
  freeingPauseMs,
  freePagesKept,
  probeIntervalMs,
  recordDelayMs,
  recordsMax,
  syncIntervalMs,
} from "./limits.ts";
import type { SyncPolicy } from "./options.ts";
import { faultsOfFile, faultsOfState } from "./sqlite-check.ts";
import { Draft } from "./sqlite-draft.ts";
import { isDamage, isOutsideFailure, sqliteCodeOf } from "./sqlite-error.ts";
import { SqliteReader } from "./sqlite-reader.ts";
import { newestFormat, pragma } from "./sqlite-schema.ts";
import { SqliteWriter } from "./sqlite-writer.ts";
import { type Committed, type Engine, type Store, StoreUnavailable } from "./store.ts";

export interface SqliteStoreParts {
  folder: DataFolder;
  sync: SyncPolicy;
  clock: Clock;
  log: Logger;
  /** Told where a transaction is: for tests that end the process there. */
  moment?: (moment: CommitMoment) => void;
  /** The disk has lost what was written. Without it: the thread ends by this error, and the process with it. */
  lost?: (error: Error) => void;
}

/** Around one transaction: not begun, begun, all written, committed, on the disk itself and nobody told, everybody told. */
export const commitMoments = ["asked", "begun", "written", "committed", "synced", "told"] as const;
export type CommitMoment = (typeof commitMoments)[number];

interface Batch {
  from: Source;
  changes: readonly Change[];
  done: Committed;
  firstPosition: number;
  failure: Failure | undefined;
}

interface Failure {
  cause: unknown;
}

interface Shortage extends Failure {
  refuses: (batch: Batch) => boolean;
}

/** Batches of one source may build on each other; those of two do not. */
type Source = "broker" | "webhooks";

const commitSecondsBounds = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
];

export class SqliteStore implements Engine {
  private readonly folder: DataFolder;
  private readonly database: DatabaseSync;
  private readonly sync: SyncPolicy;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly writer: SqliteWriter;
  private readonly reader: SqliteReader;
  private readonly begin: StatementSync;
  private readonly end: StatementSync;
  private waiting: Batch[] = [];
  private flushing: NodeJS.Immediate | undefined;
  private closed = false;
  private nextPosition: number;
  /** In the log, and being synced: nobody has been told yet. */
  private unsynced: readonly Batch[] | undefined;
  /** The last sync that was begun, until it is over. */
  private syncing: Promise<void> | undefined;
  private recordTimer: Timer | undefined;
  private syncTimer: Timer | undefined;
  private readonly probing: Timer;
  /** Once a page was found damaged, nothing is written any more: whoever starts it again hears of it. */
  private damaged: Failure | undefined;
  /** A sync has failed: what was written may be there or not. Nothing more is written, and nobody is told. */
  private loss: Failure | undefined;
  private freeingTimer: Timer | undefined;
  private hasFreed = false;
  private backingUp: Promise<void> | undefined;
  private readonly moment: (moment: CommitMoment) => void;
  private readonly lost: (error: Error) => void;
  /** How long transactions took until they were safe, for metrics. */
  readonly commitSeconds = new Histogram(commitSecondsBounds);
  trouble: string | undefined;
  onTrouble: Store["onTrouble"];

  constructor({ folder, sync, clock, log, moment = () => {}, lost = endThread }: SqliteStoreParts) {
    this.moment = moment;
    this.lost = lost;
    this.folder = folder;
    this.database = folder.database;
    // Commits are written, and synced by us. SQLite goes on syncing what its own safety needs: the log before it is carried
    // over, the data file after that.
    this.database.exec("PRAGMA synchronous = NORMAL");
    this.sync = sync;
    this.clock = clock;
    this.log = log;
    this.writer = new SqliteWriter(this.database);
    this.reader = new SqliteReader(this.database);
    this.begin = this.database.prepare("BEGIN IMMEDIATE");
    this.end = this.database.prepare("COMMIT");
    this.nextPosition = this.reader.lastDeliveryPosition() + 1;
    this.probing = clock.every(probeIntervalMs, () => this.probe());
  }

  commit(changes: readonly BrokerChange[], done: Committed): void {
    this.handIn("broker", changes, done);
  }

  record(changes: readonly DeliveryChange[], done: Committed): void {
    this.handIn("webhooks", changes, done);
  }

  async load(take: (part: readonly BrokerChange[]) => void): Promise<void> {
    this.writeAll();
    for (const part of this.readOn(() => this.reader.state(changesPerPart))) take(part);
  }

  endpoints(): StoredEndpoint[] {
    return this.read(() => this.reader.endpoints());
  }

  owedBehind(endpoint: string, after: number, limits: SliceLimits): Slice {
    return this.read(() => this.reader.owedBehind(endpoint, after, limits));
  }

  owedInLine(...asked: Parameters<DeliveryStore["owedInLine"]>): Slice {
    return this.read(() => this.reader.owedInLine(...asked));
  }

  owedDue(endpoint: string, range: Parameters<DeliveryStore["owedDue"]>[1]): OwedFacts[] {
    return this.read(() => this.reader.owedDue(endpoint, range));
  }

  oldestOwed(...asked: Parameters<DeliveryStore["oldestOwed"]>): Iterable<OwedFacts> {
    return this.readOn(() => this.reader.oldestOwed(...asked));
  }

  deadLetters(endpoint: string, after: number, limits: SliceLimits): DeadLetter[] {
    return this.read(() => this.reader.deadLetters(endpoint, after, limits));
  }

  *oldestDeadLetters(...asked: Parameters<DeliveryStore["oldestDeadLetters"]>): Generator<DeadLetterFacts> {
    const rows = this.read(() => this.reader.oldestDeadLetters(...asked));
    try {
      yield* rows;
    } catch (cause) {
      throw this.unreadable(cause);
    }
  }

  /** A consistent copy as of its end, made beside the running store. `file` must not exist yet. */
  async backup(file: string): Promise<void> {
    this.refuseClosed();
    // The copy holds all that was ever published: for the broker's user alone, like the original.
    closeSync(openSync(file, "wx", 0o600));
    const copying = this.copyTo(file);
    this.backingUp = copying;
    try {
      await copying;
    } catch (cause) {
      rmSync(file, { force: true });
      throw cause;
    } finally {
      this.backingUp = undefined;
    }
  }

  /**
   * `node:sqlite` copies on a thread of its own, over the connection that this one writes with. When they meet, a step may
   * end with an error that says it is none (code 0): then the copy is begun anew.
   */
  private async copyTo(file: string): Promise<void> {
    for (let left = backupsBegunMax; ; left--) {
      try {
        await backup(this.database, file, { rate: backupPagesPerStep });
        return;
      } catch (cause) {
        if (sqliteCodeOf(cause) !== 0 || left <= 1 || this.closed) throw cause;
      }
    }
  }

  /** What is wrong with the store; empty when nothing is. Takes a second for each GB. */
  check(): string[] {
    this.writeAll();
    return this.read(() => {
      const faults = faultsOfFile(this.database, "integrity_check");
      return faults.length > 0 ? faults : faultsOfState(this.database);
    });
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearImmediate(this.flushing);
    if (this.loss === undefined) this.writeAll();
    await this.syncing;
    this.probing.cancel();
    this.recordTimer?.cancel();
    this.syncTimer?.cancel();
    this.freeingTimer?.cancel();
    // Whoever asked for the backup hears of its failure.
    await this.backingUp?.catch(() => {});
    this.folder.close();
  }

  private handIn(from: Source, changes: readonly Change[], done: Committed): void {
    if (this.closed) return done(new StoreUnavailable("closed"));
    this.waiting.push({ from, changes, done, firstPosition: 0, failure: undefined });
    if (from === "broker" || this.waiting.length >= recordsMax) this.flushing ??= setImmediate(() => this.flush());
    else this.recordTimer ??= this.clock.after(recordDelayMs, () => this.flush());
  }

  private flush(): void {
    clearImmediate(this.flushing);
    this.flushing = undefined;
    this.recordTimer?.cancel();
    this.recordTimer = undefined;
    // What comes while the last transaction is being synced goes with the next.
    if (this.unsynced !== undefined) return;
    if (this.waiting.length > 0) this.writeNext();
    if (this.unsynced !== undefined) return;
    // What is over the bound, or was handed in meanwhile.
    if (this.waiting.length > 0) this.flushing ??= setImmediate(() => this.flush());
    else this.freeSoon(freeingDelayMs);
  }

  private writeNext(): void {
    const since = performance.now();
    const group = this.takeGroup();
    const { damaged } = this;
    const shortage = damaged === undefined ? this.shortage() : undefined;
    const failure = damaged ?? shortage;
    if (failure !== undefined) this.hasFailed(failure.cause);
    const writable = group.filter((batch) => {
      if (damaged !== undefined) batch.failure = damaged;
      else if (shortage?.refuses(batch) === true) batch.failure = shortage;
      else batch.failure = group.find(({ from, failure }) => from === batch.from && failure !== undefined)?.failure;
      return batch.failure === undefined;
    });
    if (this.write(writable) && failure === undefined) this.hasSucceeded();
    this.refuseWhatBuildsOn(group);
    if (this.sync === "commit" && group.some(isAwaited)) return this.syncThenTell(group, since);
    this.commitSeconds.observe((performance.now() - since) / 1000);
    this.tell(group);
  }

  private syncThenTell(group: readonly Batch[], since: number): void {
    this.unsynced = group;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.syncing = promise;
    this.folder.syncLog((error) => {
      resolve();
      // Somebody could not wait so long, and it is over already.
      if (this.unsynced !== group) return;
      this.hasSynced(error);
      this.commitSeconds.observe((performance.now() - since) / 1000);
      if (this.waiting.length > 0) this.flushing ??= setImmediate(() => this.flush());
      else this.freeSoon(freeingDelayMs);
    });
  }

  /**
   * A sync that fails may have lost what was written before it, and a second one would not say so: only a new start, which
   * reads what is really there, can be sure. So the process ends, with nobody told anything.
   */
  private hasSynced(error: Error | null): void {
    if (error !== null) {
      const facts = { folder: this.folder.directory, error };
      this.log.error(
        "the disk has failed to sync: HookMQ ends, and a new start goes on from what is really there",
        facts,
      );
      this.loss = { cause: error };
      return this.lost(new Error("the disk has lost what was written to it", { cause: error }));
    }
    this.moment("synced");
    const group = this.unsynced!;
    this.unsynced = undefined;
    this.tell(group);
  }

  private tell(group: readonly Batch[]): void {
    for (const { done, firstPosition, failure } of group) {
      if (failure === undefined) done(undefined, firstPosition);
      else done(new StoreUnavailable("commit", failure));
    }
    this.moment("told");
  }

  private takeGroup(): Batch[] {
    let changes = 0;
    let count = 0;
    do changes += this.waiting[count++].changes.length;
    while (count < this.waiting.length && changes + this.waiting[count].changes.length <= changesPerTransactionMax);
    return this.waiting.splice(0, count);
  }

  /** What waits of a source of which something was refused joins it. */
  private refuseWhatBuildsOn(group: Batch[]): void {
    const broken = new Map<Source, Failure>();
    for (const { from, failure } of group) if (failure !== undefined) broken.set(from, failure);
    if (broken.size === 0) return;
    const kept: Batch[] = [];
    for (const batch of this.waiting) {
      batch.failure = broken.get(batch.from);
      if (batch.failure === undefined) kept.push(batch);
      else group.push(batch);
    }
    this.waiting = kept;
  }

  /** False when the disk is to blame for a failure. */
  private write(group: readonly Batch[]): boolean {
    if (group.length === 0) return true;
    const failure = this.transact(group);
    for (const batch of group) batch.failure = failure;
    if (failure === undefined) return true;
    if (isOutsideFailure(failure.cause)) {
      this.hasFailed(failure.cause);
      return false;
    }
    // One of them cannot be written, whatever the disk does: what does not build on it need not suffer.
    if (group.length > 1) return this.writeOneByOne(group);
    this.log.error("a batch that cannot be written was refused by the store", { error: failure.cause });
    return true;
  }

  private writeOneByOne(group: readonly Batch[]): boolean {
    const broken = new Map<Source, Failure>();
    for (const batch of group) {
      batch.failure = broken.get(batch.from);
      if (batch.failure !== undefined) continue;
      if (!this.write([batch])) return false;
      if (batch.failure !== undefined) broken.set(batch.from, batch.failure);
    }
    return true;
  }

  private transact(group: readonly Batch[]): Failure | undefined {
    if (group.every(({ changes }) => changes.length === 0)) return undefined;
    let draft = new Draft(this.writer, this.nextPosition);
    this.moment("asked");
    try {
      this.begin.run();
      this.moment("begun");
      for (const batch of group) {
        batch.firstPosition = draft.nextPosition;
        for (const change of batch.changes) {
          if (change.type === "dead-letter-replayed") {
            this.writer.write(draft);
            draft = new Draft(this.writer, draft.nextPosition);
          }
          draft.fold(change);
        }
      }
      this.writer.write(draft);
      this.moment("written");
      this.end.run();
      this.moment("committed");
    } catch (cause) {
      if (this.database.isTransaction) this.database.exec("ROLLBACK");
      return { cause };
    }
    this.nextPosition = draft.nextPosition;
    const isWanted = this.sync === "interval" || (this.sync === "commit" && group.some(isWantedSoon));
    if (isWanted) this.syncTimer ??= this.clock.after(syncIntervalMs, () => this.syncSoon());
    return undefined;
  }

  /** A full disk is met before it is quite full. Free pages of the file are room as well. */
  private shortage(): Shortage | undefined {
    const { database, folder } = this;
    let free: number;
    try {
      free = folder.freeBytes();
      if (free < diskBytesLeft) free += pragma(database, "freelist_count") * pragma(database, "page_size");
    } catch (cause) {
      // Without its folder the file would not be found again.
      return { cause, refuses: ({ changes }) => changes.some(takesRoom) };
    }
    if (free >= diskBytesLeft) return undefined;
    const least = `less than ${diskBytesLeft / 2 ** 20} MiB are free`;
    const isTooMuch = free < diskBytesLeftAtLast ? takesRoom : isOffer;
    return {
      cause: new Error(`the disk of ${folder.directory} is full: ${least}`),
      refuses: ({ changes }) => changes.some(isTooMuch),
    };
  }

  /** Looks whether the disk is full before anyone is refused, and whether it works again when nobody asks any more. */
  private probe(): void {
    if (this.waiting.length > 0 || this.damaged !== undefined) return;
    const shortage = this.shortage();
    if (shortage !== undefined) {
      this.freeSoon(freeingDelayMs);
      return this.hasFailed(shortage.cause);
    }
    if (this.trouble === undefined) return;
    try {
      // The least that can be written.
      this.database.exec(`PRAGMA user_version = ${newestFormat}`);
      this.hasSucceeded();
    } catch (cause) {
      this.hasFailed(cause);
    }
  }

  /** What nobody waits for. */
  private syncSoon(): void {
    this.syncTimer = undefined;
    if (this.unsynced === undefined) this.syncThenTell([], performance.now());
    // What is being synced now may have begun before the last of it was written.
    else this.syncTimer = this.clock.after(syncIntervalMs, () => this.syncSoon());
  }

  private freeSoon(delayMs: number): void {
    if (!this.closed) this.freeingTimer ??= this.clock.after(delayMs, () => this.free());
  }

  /**
   * After a backlog has drained, gives its space back step by step, and at last cuts the write-ahead log. On a full disk
   * its length may be all that is missing.
   */
  private free(): void {
    this.freeingTimer = undefined;
    try {
      if (pragma(this.database, "freelist_count") > freePagesKept) {
        this.database.exec(`PRAGMA incremental_vacuum(${freedPagesPerStep})`);
        this.hasFreed = true;
        this.freeSoon(freeingPauseMs);
      } else if (this.hasFreed || this.trouble !== undefined) {
        this.database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        this.hasFreed = false;
      }
    } catch (cause) {
      // On a full disk even giving back takes room in the log: the next commit says whether it is over.
      this.hasFailed(cause);
    }
  }

  private read<Answer>(ask: () => Answer): Answer {
    this.refuseClosed();
    this.writeRecorded();
    try {
      return ask();
    } catch (cause) {
      throw this.unreadable(cause);
    }
  }

  /** What is read step by step may fail at each. */
  private *readOn<Step>(ask: () => Iterable<Step>): Generator<Step> {
    const steps = this.read(ask);
    try {
      yield* steps;
    } catch (cause) {
      throw this.unreadable(cause);
    }
  }

  private writeAll(): void {
    this.finishSync();
    while (this.waiting.length > 0 && this.loss === undefined) {
      this.writeNext();
      this.finishSync();
    }
  }

  /** Waits for the disk, where somebody waits for that. */
  private finishSync(): void {
    if (this.unsynced === undefined || this.loss !== undefined) return;
    let failure: Error | null = null;
    try {
      this.folder.syncLogNow();
    } catch (error) {
      failure = error as Error;
    }
    this.hasSynced(failure);
  }

  /**
   * What webhooks have recorded counts in what they read. What the broker hands in keeps its own time: whoever reads may be
   * in the middle of hearing what was committed, and must hear of that before anything later.
   */
  private writeRecorded(): void {
    const isRecorded = ({ from }: Batch) => from === "webhooks";
    while (this.waiting.some(isRecorded)) {
      const others = this.waiting.filter((batch) => !isRecorded(batch));
      this.waiting = this.waiting.filter(isRecorded);
      this.writeNext();
      this.waiting = [...others, ...this.waiting];
    }
  }

  private unreadable(cause: unknown): StoreUnavailable {
    if (isOutsideFailure(cause)) this.hasFailed(cause);
    return new StoreUnavailable("load", { cause });
  }

  private refuseClosed(): void {
    if (this.closed) throw new StoreUnavailable("closed");
  }

  private hasFailed(error: unknown): void {
    const before = this.trouble;
    if (isDamage(error)) this.damaged ??= { cause: this.folder.damage(error) };
    error = this.damaged?.cause ?? error;
    this.trouble = error instanceof Error ? error.message : String(error);
    if (before !== this.trouble) this.onTrouble?.(this.trouble);
    if (before !== undefined) return;
    this.log.error("the store cannot write: nothing more is acknowledged that needs it", {
      folder: this.folder.directory,
      error,
    });
  }

  private hasSucceeded(): void {
    if (this.trouble === undefined) return;
    this.trouble = undefined;
    this.onTrouble?.(undefined);
    // As loud as what it ends.
    this.log.warn("the store writes again", { folder: this.folder.directory });
  }
}

function isAwaited({ changes, failure }: Batch): boolean {
  return failure === undefined && changes.some(isPromised);
}

function endThread(error: Error): void {
  setImmediate(() => {
    throw error;
  });
}

/** Is somebody told that it is safe? What ends something is not: a power cut may undo it, and then it is done once more. */
function isPromised(change: Change): boolean {
  switch (change.type) {
    case "settled":
    case "attempts-under-way":
    case "delivery-put-back":
    case "delivery-settled":
    case "delivery-died":
    case "dead-letters-forgotten":
    case "dead-letter-replayed":
    case "dead-letter-deleted":
    case "batches-frozen":
    case "breaker-moved":
      return false;
    case "delivery-owed":
      return change.durability === "strict";
    default:
      return true;
  }
}

function isWantedSoon({ changes }: Batch): boolean {
  return changes.some((change) => change.type === "delivery-owed" && change.durability === "disk");
}

/** What nobody need be told is safe: it is refused on a full disk, so that what follows from it need not be. */
function isOffer(change: Change): boolean {
  switch (change.type) {
    case "queued":
    case "received":
    case "retained":
    case "subscribed":
      return true;
    case "delivery-owed":
      return queuePartOf(change.delivery.event) === "messages";
    default:
      return false;
  }
}

/**
 * The last of a full disk is for what ends something, and for sessions that go on: whoever comes to fetch the backlog
 * that filled the disk begins with it. New ones are refused at the door.
 */
function takesRoom({ type }: Change): boolean {
  switch (type) {
    case "message-kept":
    case "subscribed":
    case "queued":
    case "received":
    case "retained":
    case "will-set":
    case "delivery-owed":
    case "dead-letter-replayed":
      return true;
    case "session-opened":
    case "session-disconnected":
    case "session-ended":
    case "unsubscribed":
    case "sent":
    case "released":
    case "settled":
    case "receive-completed":
    case "retained-cleared":
    case "will-due":
    case "will-cleared":
    case "attempts-under-way":
    case "delivery-put-back":
    case "delivery-settled":
    case "delivery-died":
    case "dead-letters-forgotten":
    case "dead-letter-deleted":
    case "batches-frozen":
    case "breaker-moved":
      return false;
    default:
      return type satisfies never;
  }
}
