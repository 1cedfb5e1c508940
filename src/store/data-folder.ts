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
import { DatabaseSync } from "node:sqlite";
import { cacheBytes, checkedAtStartBytesMax, walBytesKept, walPagesMax } from "./limits.ts";
import { faultsOfFile } from "./sqlite-check.ts";
import { SqliteCode, sqliteCodeOf } from "./sqlite-error.ts";
import { applicationId, formatOf, migrate, newestFormat, pragma } from "./sqlite-schema.ts";

/** Why a data folder cannot be used. The message is for the operator, and names the file. */
export class StoreUnusable extends Error {
  readonly code: "in-use" | "inaccessible" | "foreign" | "newer-format" | "corrupt";
  /** The data file, or the folder where that is what it is about. */
  readonly file: string;

  constructor(code: StoreUnusable["code"], file: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "StoreUnusable";
    this.code = code;
    this.file = file;
  }
}

export interface DataFolder {
  readonly directory: string;
  readonly database: DatabaseSync;
  /** Left on its disk. */
  freeBytes(): number;
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
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    prepare(database, file);
  } catch (error) {
    database?.close();
    throw error instanceof StoreUnusable ? error : unusable(directory, file, error);
  }
  return new LockedFolder(directory, database);
}

class LockedFolder implements DataFolder {
  readonly directory: string;
  readonly database: DatabaseSync;

  constructor(directory: string, database: DatabaseSync) {
    this.directory = directory;
    this.database = database;
    // Only a hint for people: without it the lock holds all the same.
    ignoreFailure(() => writeFileSync(path.join(directory, pidFileName), `${process.pid}\n`));
  }

  freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.directory);
    return bavail * bsize;
  }

  damage(cause: unknown): StoreUnusable {
    return corrupt(path.join(this.directory, dataFileName), (cause as Error).message, cause);
  }

  close(): void {
    ignoreFailure(() => rmSync(path.join(this.directory, pidFileName), { force: true }));
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

function prepare(database: DatabaseSync, file: string): void {
  // Exclusive: no second process, and no shared memory file either. It takes effect with the first look into the file.
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  if (!isEmpty(database)) judge(database, file);
  // An empty file can still be told how its space is to come back; for others this changes nothing.
  database.exec("PRAGMA auto_vacuum = INCREMENTAL");
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = ${walPagesMax};
    PRAGMA journal_size_limit = ${walBytesKept};
    PRAGMA cache_size = ${-cacheBytes / 1024};
    BEGIN EXCLUSIVE; COMMIT;
  `);
  migrate(database);
  // What a killed process had written and not synced is on the disk itself before anyone hears of it.
  database.exec(`PRAGMA user_version = ${newestFormat}`);
}

/** New, or left so by a crash in the first moments of its life. */
function isEmpty(database: DatabaseSync): boolean {
  return formatOf(database) === 0 && database.prepare("SELECT 1 FROM sqlite_schema").get() === undefined;
}

/** Before anything is written: is it ours, is it not from the future, and is it whole? */
function judge(database: DatabaseSync, file: string): void {
  const format = formatOf(database);
  if (pragma(database, "application_id") !== applicationId) {
    const message = `${file} is a database of another program: HookMQ leaves it alone. Choose another folder (store.dir).`;
    throw new StoreUnusable("foreign", file, message);
  }
  if (format > newestFormat) {
    const message =
      `${file} was written by a newer HookMQ (store format ${format}; this one reads up to ${newestFormat}): ` +
      `start that version again, or choose another folder (store.dir).`;
    throw new StoreUnusable("newer-format", file, message);
  }
  if (statSync(file).size > checkedAtStartBytesMax) return;
  const faults = faultsOfFile(database, "quick_check");
  if (faults.length > 0) throw corrupt(file, faults.join("; "));
}

function unusable(directory: string, file: string, cause: unknown): unknown {
  switch (sqliteCodeOf(cause)) {
    case SqliteCode.busy:
      return inUse(directory, cause);
    case SqliteCode.corrupt:
    case SqliteCode.notADatabase:
      return corrupt(file, String((cause as Error).message), cause);
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
  const message = `the data folder cannot be used: ${file}: ${(cause as Error).message}`;
  return new StoreUnusable("inaccessible", file, message, { cause });
}

function corrupt(file: string, finding: string, cause?: unknown): StoreUnusable {
  const message =
    `the store ${file} is damaged (${finding}). It is left as it is: put back a copy of it from before, ` +
    `or choose another folder (store.dir).`;
  return new StoreUnusable("corrupt", file, message, { cause });
}

function holderOf(directory: string): number | undefined {
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
