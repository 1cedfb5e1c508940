/**
 * The engine that keeps: SQLite with a write-ahead log, on the thread of the back.
 *
 *   handed in ──turn of the loop ends──→ one transaction ──COMMIT──→ done
 *                                              └──any failure──→ rolled back; each batch refused; the next is tried anew
 *
 * What is handed in during one turn of the event loop, and all that has come while a transaction was being synced, shares
 * the next transaction. All state is in the tables, so a transaction that fails leaves nothing to be set right.
 */
import { closeSync, openSync, rmSync } from "node:fs";
import { backup, type DatabaseSync, type StatementSync } from "node:sqlite";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Change } from "./change.ts";
import type { DataFolder } from "./data-folder.ts";
import {
  backupPagesPerStep,
  changesPerTransactionMax,
  diskBytesLeft,
  freedPagesPerStep,
  freeingDelayMs,
  freeingPauseMs,
  freePagesKept,
  syncIntervalMs,
} from "./limits.ts";
import type { SyncPolicy } from "./options.ts";
import { faultsOfFile, faultsOfState } from "./sqlite-check.ts";
import { Draft } from "./sqlite-draft.ts";
import { isOutsideFailure } from "./sqlite-error.ts";
import { type EndpointTally, SqliteReader, type StoredDelivery } from "./sqlite-reader.ts";
import { newestFormat, pragma } from "./sqlite-schema.ts";
import { SqliteWriter } from "./sqlite-writer.ts";
import { type Store, type StoredState, StoreUnavailable } from "./store.ts";

export interface SqliteStoreParts {
  folder: DataFolder;
  sync: SyncPolicy;
  clock: Clock;
  log: Logger;
  /** Told where a transaction is: for tests that end the process there. */
  moment?: (moment: CommitMoment) => void;
}

/** Around one transaction: not begun, begun, all written, committed and nobody told, everybody told. */
export const commitMoments = ["asked", "begun", "written", "committed", "told"] as const;
export type CommitMoment = (typeof commitMoments)[number];

interface Batch {
  changes: readonly Change[];
  done: Done;
  firstPosition: number;
  failure: Failure | undefined;
}

interface Failure {
  cause: unknown;
}

/** `firstPosition`: of the batch's first delivery owed; the others follow it one by one. */
type Done = (error?: StoreUnavailable, firstPosition?: number) => void;

export class SqliteStore implements Store {
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
  /** As SQLite is told; it begins with FULL. */
  private syncsCommits = true;
  private syncTimer: Timer | undefined;
  private freeingTimer: Timer | undefined;
  private hasFreed = false;
  private backingUp: Promise<void> | undefined;
  private readonly moment: (moment: CommitMoment) => void;
  trouble: string | undefined;
  onTrouble: Store["onTrouble"];

  constructor({ folder, sync, clock, log, moment = () => {} }: SqliteStoreParts) {
    this.moment = moment;
    this.folder = folder;
    this.database = folder.database;
    this.sync = sync;
    this.clock = clock;
    this.log = log;
    this.writer = new SqliteWriter(this.database);
    this.reader = new SqliteReader(this.database);
    this.begin = this.database.prepare("BEGIN IMMEDIATE");
    this.end = this.database.prepare("COMMIT");
    this.nextPosition = this.reader.lastDeliveryPosition() + 1;
  }

  commit(changes: readonly Change[], done: Done): void {
    if (this.closed) return done(new StoreUnavailable("closed"));
    this.waiting.push({ changes, done, firstPosition: 0, failure: undefined });
    this.flushing ??= setImmediate(() => this.flush());
  }

  async load(): Promise<StoredState> {
    return this.read(() => ({ ...this.reader.state(), deliveries: [...this.reader.deliveries()] }));
  }

  /** All but the deliveries, which may be more than memory holds. */
  async loadBroker(): Promise<Omit<StoredState, "deliveries">> {
    return this.read(() => this.reader.state());
  }

  /** What an endpoint is owed behind position `after` (0: from the beginning), oldest first; at least one if there is any. */
  owedDeliveries(endpoint: string, after: number, limits: { countMax: number; bytesMax: number }): StoredDelivery[] {
    return this.read(() => this.reader.deliveriesOf(endpoint, after, limits));
  }

  tallies(): EndpointTally[] {
    return this.read(() => this.reader.tallies());
  }

  /** A consistent copy as of its end, made beside the running store. `file` must not exist yet. */
  async backup(file: string): Promise<void> {
    this.refuseClosed();
    // The copy holds all that was ever published: for the broker's user alone, like the original.
    closeSync(openSync(file, "wx", 0o600));
    const copying = backup(this.database, file, { rate: backupPagesPerStep }).then(() => {});
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

  /** What is wrong with the store; empty when nothing is. Takes a second for each GB. */
  check(): string[] {
    return this.read(() => {
      const faults = faultsOfFile(this.database, "integrity_check");
      return faults.length > 0 ? faults : faultsOfState(this.database);
    });
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearImmediate(this.flushing);
    while (this.waiting.length > 0) this.writeNext();
    this.syncTimer?.cancel();
    this.freeingTimer?.cancel();
    // Whoever asked for the backup hears of its failure.
    await this.backingUp?.catch(() => {});
    this.folder.close();
  }

  private flush(): void {
    this.flushing = undefined;
    if (this.waiting.length > 0) this.writeNext();
    // What is over the bound, or was handed in meanwhile.
    if (this.waiting.length > 0) this.flushing ??= setImmediate(() => this.flush());
    else this.freeSoon(freeingDelayMs);
  }

  private writeNext(): void {
    const group = this.takeGroup();
    const shortage = this.shortage();
    if (shortage === undefined) {
      if (this.write(group)) this.hasSucceeded();
    } else {
      this.hasFailed(shortage);
      for (const batch of group) batch.failure = { cause: shortage };
      this.write(group.filter(({ changes }) => !changes.some(takesRoom)));
    }
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
    // One of them cannot be written, whatever the disk does: the others need not suffer for it.
    if (group.length > 1) return group.every((batch) => this.write([batch]));
    this.log.error("a batch that cannot be written was refused by the store", { error: failure.cause });
    return true;
  }

  private transact(group: readonly Batch[]): Failure | undefined {
    const draft = new Draft(this.writer, this.nextPosition);
    this.moment("asked");
    try {
      this.syncCommits(this.sync === "commit" && group.some(({ changes }) => changes.some(isPromised)));
      this.begin.run();
      this.moment("begun");
      for (const batch of group) {
        batch.firstPosition = draft.nextPosition;
        for (const change of batch.changes) draft.fold(change);
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
    if (this.sync === "interval") this.syncTimer ??= this.clock.after(syncIntervalMs, () => this.syncNow());
    return undefined;
  }

  /** A full disk is met before it is quite full. Free pages of the file are room as well. */
  private shortage(): unknown {
    const { database, folder } = this;
    try {
      const free = folder.freeBytes();
      if (free >= diskBytesLeft) return undefined;
      const freePages = pragma(database, "freelist_count");
      if (free + freePages * pragma(database, "page_size") >= diskBytesLeft) return undefined;
    } catch (cause) {
      // Without its folder the file would not be found again.
      return cause;
    }
    return new Error(`the disk of ${folder.directory} is full: less than ${diskBytesLeft / 2 ** 20} MiB are free`);
  }

  /** Before a transaction: is its COMMIT to wait for the disk? */
  private syncCommits(wanted: boolean): void {
    if (this.syncsCommits === wanted) return;
    this.database.exec(`PRAGMA synchronous = ${wanted ? "FULL" : "NORMAL"}`);
    this.syncsCommits = wanted;
  }

  /** A synced COMMIT takes with it all that was written before; writing the format once more is the least it can hold. */
  private syncNow(): void {
    this.syncTimer = undefined;
    try {
      this.syncCommits(true);
      this.database.exec(`PRAGMA user_version = ${newestFormat}`);
    } catch (cause) {
      this.hasFailed(cause);
    }
  }

  private freeSoon(delayMs: number): void {
    if (!this.closed) this.freeingTimer ??= this.clock.after(delayMs, () => this.free());
  }

  /** After a backlog has drained, gives its space back step by step, and at last cuts the write-ahead log. */
  private free(): void {
    this.freeingTimer = undefined;
    try {
      if (pragma(this.database, "freelist_count") > freePagesKept) {
        this.database.exec(`PRAGMA incremental_vacuum(${freedPagesPerStep})`);
        this.hasFreed = true;
        this.freeSoon(freeingPauseMs);
      } else if (this.hasFreed) {
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
    // What was handed in before counts.
    while (this.waiting.length > 0) this.writeNext();
    try {
      return ask();
    } catch (cause) {
      throw new StoreUnavailable("load", { cause });
    }
  }

  private refuseClosed(): void {
    if (this.closed) throw new StoreUnavailable("closed");
  }

  private hasFailed(error: unknown): void {
    const before = this.trouble;
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
    this.log.info("the store writes again", { folder: this.folder.directory });
  }
}

/** Of those that end something, a power cut may undo the last: it is then done once more, and at least once is promised. */
function isPromised({ type }: Change): boolean {
  return type !== "settled" && type !== "delivery-settled";
}

function takesRoom({ type }: Change): boolean {
  switch (type) {
    case "message-kept":
    case "session-opened":
    case "subscribed":
    case "queued":
    case "received":
    case "retained":
    case "will-set":
    case "delivery-owed":
      return true;
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
    case "delivery-settled":
      return false;
    default:
      return type satisfies never;
  }
}
