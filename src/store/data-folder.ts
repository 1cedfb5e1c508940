/**
 * The folder that holds the durable store: one data file of SQLite, with its write-ahead log beside it while it is open.
 *
 * The file is locked by SQLite itself for as long as the process lives, however it ends; the pid file beside it only
 * names the holder to whoever comes second. What cannot be used is refused and left as it is: nothing is ever deleted.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { DatabaseSync } from "node:sqlite";
import { cacheBytes, checkedAtStartBytesMax, walBytesKept, walPagesMax } from "./limits.ts";
import { LogSync, type Synced } from "./log-sync.ts";
import { faultsOfFile } from "./sqlite-check.ts";
import { SqliteCode, sqliteCodeOf } from "./sqlite-error.ts";
import { applicationId, formatOf, migrate, newestFormat, pragma } from "./sqlite-schema.ts";
import { hasBrokenHeader } from "./wal.ts";

/** Why a data folder cannot be used. The message is for the operator, and names the file. */
export class StoreUnusable extends Error {
  readonly code: "absent" | "in-use" | "inaccessible" | "foreign" | "newer-format" | "corrupt";
  /** The data file, or the folder where that is what it is about. */
  readonly file: string;
  /** What is damaged. */
  readonly finding: string | undefined;

  constructor(
    code: StoreUnusable["code"],
    file: string,
    message: string,
    { cause, finding }: { cause?: unknown; finding?: string } = {},
  ) {
    super(message, { cause });
    this.name = "StoreUnusable";
    this.code = code;
    this.file = file;
    this.finding = finding;
  }
}

/** Open for looking only: nothing in the folder changes, not even its format, and no broker starts on it meanwhile. */
export interface DataFolderForReading {
  readonly file: string;
  readonly database: DatabaseSync;
  close(): void;
}

export interface DataFolder {
  readonly directory: string;
  readonly database: DatabaseSync;
  /** Left on its disk. */
  freeBytes(): number;
  /** Has what is in the write-ahead log by now put on the disk itself. `done` may be called before this returns. */
  syncLog(done: Synced): void;
  /** The same, and waits for it. */
  syncLogNow(): void;
  /** What SQLite has found damaged, for the operator. */
  damage(cause: unknown): StoreUnusable;
  close(): void;
}

const dataFileName = "hookmq.db";
const pidFileName = "hookmq.db.pid";

/** Makes the folder and the data file where there is none, locks the file, and brings it to the newest format. */
export function openDataFolder(directory: string): DataFolder {
  const file = path.join(directory, dataFileName);
  create(directory, file);
  refuseLostBeginning(directory, file);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    prepare(database, file);
    return new LockedFolder(directory, database);
  } catch (error) {
    database?.close();
    throw error instanceof StoreUnusable ? error : unusable(directory, file, error);
  }
}

export function dataFileOf(directory: string): string {
  return path.join(directory, dataFileName);
}

/** Throws StoreUnusable where there is no store, and where it is in use, not ours, or so damaged that SQLite cannot open it. */
export function openForReading(directory: string): DataFolderForReading {
  const file = dataFileOf(directory);
  // SQLite puts these beside the file even for looking.
  const sideFiles = [`${file}-shm`, `${file}-wal`].filter((name) => !existsSync(name));
  if (!existsSync(file)) throw absent(file, "there is no store");
  refuseLostBeginning(directory, file);
  let database: DatabaseSync | undefined;
  const close = () => {
    // As long as the file is locked nobody else can have begun to use them.
    for (const name of sideFiles) ignoreFailure(() => removeIfUnused(name));
    database?.close();
  };
  try {
    database = new DatabaseSync(locationForReading(directory, file), { readOnly: true });
    // Held until the end: it keeps brokers away.
    database.exec("BEGIN");
    database.prepare("SELECT count(*) FROM sqlite_schema").get();
    if (isEmpty(database)) throw absent(file, "nothing was ever kept");
    identify(database, file);
    return { file, database, close };
  } catch (error) {
    close();
    throw error instanceof StoreUnusable ? error : unusable(directory, file, error);
  }
}

/** On a medium that cannot be written, SQLite must be told that nothing will change; it then looks at no log. */
function locationForReading(directory: string, file: string): string | URL {
  try {
    accessSync(directory, constants.W_OK);
    return file;
  } catch (cause) {
    if (hasContent(`${file}-wal`)) throw inaccessible(directory, cause);
    const location = pathToFileURL(file);
    location.searchParams.set("immutable", "1");
    return location;
  }
}

function removeIfUnused(name: string): void {
  if (name.endsWith("-wal") && hasContent(name)) return;
  rmSync(name, { force: true });
}

function hasContent(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

class LockedFolder implements DataFolder {
  readonly directory: string;
  readonly database: DatabaseSync;
  /** SQLite keeps it as long as the database is open, and holds no lock on it that closing this could take away. */
  private readonly log: number;
  private readonly logSync: LogSync;

  constructor(directory: string, database: DatabaseSync) {
    this.directory = directory;
    this.database = database;
    this.log = openSync(path.join(directory, `${dataFileName}-wal`), "r+");
    this.logSync = new LogSync({
      monotonic: () => performance.now(),
      now: () => fdatasyncSync(this.log),
      beside: (done) => fdatasync(this.log, done),
    });
    // Only a hint for people: without it the lock holds all the same.
    ignoreFailure(() => writeFileSync(path.join(directory, pidFileName), `${process.pid}\n`));
  }

  freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.directory);
    return bavail * bsize;
  }

  syncLog(done: Synced): void {
    this.logSync.sync(done);
  }

  syncLogNow(): void {
    fdatasyncSync(this.log);
  }

  damage(cause: unknown): StoreUnusable {
    const { directory } = this;
    return corrupt(directory, path.join(directory, dataFileName), (cause as Error).message, cause);
  }

  close(): void {
    ignoreFailure(() => rmSync(path.join(this.directory, pidFileName), { force: true }));
    closeSync(this.log);
    this.database.close();
  }
}

/** What is kept is for the broker's user alone. */
function create(directory: string, file: string): void {
  try {
    const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (made !== undefined) syncNames(path.resolve(made), path.resolve(directory));
    // SQLite says no more of a read-only folder than "disk I/O error".
    accessSync(directory, constants.W_OK);
    // SQLite gives the write-ahead log the mode of the data file. An existing one is not even opened here: closing it
    // again would take away the lock of another store in this process.
    if (!existsSync(file)) closeSync(openSync(file, "wx", 0o600));
  } catch (error) {
    throw inaccessible(directory, error);
  }
}

/** The name of a folder is safe once the folder that holds it is synced: of those from `first` down to `last`. */
function syncNames(first: string, last: string): void {
  if (process.platform === "win32") return;
  for (let folder = last; folder.length >= first.length; folder = path.dirname(folder)) {
    const parent = openSync(path.dirname(folder), "r");
    try {
      fsyncSync(parent);
    } finally {
      closeSync(parent);
    }
  }
}

/** What SQLite would pass over without a word, or even delete: a log beside an empty file, and one that it cannot read. */
function refuseLostBeginning(directory: string, file: string): void {
  const log = `${file}-wal`;
  try {
    if (hasContent(log) && !hasContent(file)) throw corrupt(directory, file, "it is empty beside a write-ahead log");
    if (hasBrokenHeader(log)) throw corrupt(directory, file, "its write-ahead log has no valid header");
  } catch (error) {
    throw error instanceof StoreUnusable ? error : inaccessible(log, error);
  }
}

function prepare(database: DatabaseSync, file: string): void {
  // Exclusive: no second process, and no shared memory file either. It takes effect with the first look into the file.
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  // An empty file can still be told how its space is to come back; for others it would be a write, for nothing.
  if (isEmpty(database)) database.exec("PRAGMA auto_vacuum = INCREMENTAL");
  else judge(database, file);
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = ${walPagesMax};
    PRAGMA journal_size_limit = ${walBytesKept};
    PRAGMA cache_size = ${-cacheBytes / 1024};
    BEGIN EXCLUSIVE; COMMIT;
  `);
  migrate(database);
  syncWhatWasWritten(database);
}

/** What a killed process had written and not synced is on the disk itself before anyone hears of it. */
function syncWhatWasWritten(database: DatabaseSync): void {
  try {
    database.exec(`PRAGMA user_version = ${newestFormat}`);
  } catch (error) {
    // On a disk without any room the store can still be read, and what it owes be delivered.
    if (sqliteCodeOf(error) !== SqliteCode.full) throw error;
  }
}

/** New, or left so by a crash in the first moments of its life. */
function isEmpty(database: DatabaseSync): boolean {
  return formatOf(database) === 0 && database.prepare("SELECT 1 FROM sqlite_schema").get() === undefined;
}

/** Before anything is written: is it ours, is it not from the future, and is it whole? */
function judge(database: DatabaseSync, file: string): void {
  identify(database, file);
  if (statSync(file).size > checkedAtStartBytesMax) return;
  const faults = faultsOfFile(database, "quick_check");
  if (faults.length > 0) throw corrupt(path.dirname(file), file, faults.join("; "));
}

function identify(database: DatabaseSync, file: string): void {
  const format = formatOf(database);
  if (pragma(database, "application_id") !== applicationId) throw foreign(file);
  if (format > newestFormat) throw newerFormat(file, format);
}

function unusable(directory: string, file: string, cause: unknown): unknown {
  switch (sqliteCodeOf(cause)) {
    case SqliteCode.busy:
      return inUse(directory, cause);
    case SqliteCode.corrupt:
    case SqliteCode.notADatabase:
      return corrupt(directory, file, String((cause as Error).message), cause);
    case undefined:
      return cause;
    default:
      return inaccessible(file, cause);
  }
}

function inUse(directory: string, cause: unknown): StoreUnusable {
  const pid = holderOf(directory);
  const holder = pid === undefined ? "another process" : `process ${pid}`;
  const message = `the data folder ${directory} is in use by ${holder}: one store serves one broker.`;
  return new StoreUnusable("in-use", directory, message, { cause });
}

function inaccessible(file: string, cause: unknown): StoreUnusable {
  const message =
    `the data folder cannot be used: ${file}: ${(cause as Error).message}. ` +
    `Choose another one (store.dir), or keep nothing beyond a stop (store.engine = memory).`;
  return new StoreUnusable("inaccessible", file, message, { cause });
}

export function foreign(file: string): StoreUnusable {
  const message = `${file} is a database of another program: HookMQ leaves it alone. Choose another folder (store.dir).`;
  return new StoreUnusable("foreign", file, message);
}

export function newerFormat(file: string, format: number): StoreUnusable {
  const message =
    `${file} was written by a newer HookMQ (store format ${format}; this one reads up to ${newestFormat}): ` +
    `start that version again, or choose another folder (store.dir).`;
  return new StoreUnusable("newer-format", file, message);
}

function absent(file: string, finding: string): StoreUnusable {
  return new StoreUnusable("absent", file, `${finding}: ${file}`);
}

function corrupt(directory: string, file: string, finding: string, cause?: unknown): StoreUnusable {
  const message =
    `the store ${file} is damaged (${finding}). It is left as it is.\n` +
    `  hookmq store check --dir ${directory}     says what is wrong with it\n` +
    `  hookmq store export --dir ${directory} -  writes out what can be read of it\n` +
    `  hookmq store repair --dir ${directory}    puts what can be read into a new file, and this one aside\n` +
    `Or put back a copy of it from before, or choose another folder (store.dir).`;
  return new StoreUnusable("corrupt", file, message, { cause, finding });
}

/** Who says that it uses the folder. */
export function holderOf(directory: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(path.join(directory, pidFileName), "utf8"), 10);
    return Number.isNaN(pid) ? undefined : pid;
  } catch {
    return undefined;
  }
}

function ignoreFailure(act: () => void): void {
  try {
    act();
  } catch {
    // By its name.
  }
}
