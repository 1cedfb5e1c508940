/**
 * Repair: all that can be read of a damaged store goes into a fresh file, which takes its place; the damaged one is put
 * aside. Nothing is ever deleted.
 *
 *   read page by page ──→ fresh file ──→ what contradicts itself is dropped ──→ checked ──→ damaged aside, fresh in place
 *
 * Tables and columns are those of a fresh file of the same format, as the migrations make it, and what is saved takes the
 * usual way from there to the newest; only what fits together is named here.
 */
import { chownSync, closeSync, fsyncSync, linkSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import {
  dataFileOf,
  type DataFolderForReading,
  foreign,
  newerFormat,
  openForReading,
  StoreUnusable,
} from "./data-folder.ts";
import { isOutsideFailure } from "./sqlite-error.ts";
import { faultsOfFile, faultsOfState } from "./sqlite-check.ts";
import { type Loss, type SqliteRecord, SqlitePages } from "./sqlite-pages.ts";
import { applicationId, createFormat, migrate, newestFormat } from "./sqlite-schema.ts";
import { faultsOfWal, readWal } from "./wal.ts";

export interface TableSalvage {
  table: string;
  /** Rows in the fresh file. */
  saved: number;
  /** Rows known to be lost; a lost page may have held more. */
  lostRows: number;
  lostPages: number;
  /** Rows that were read, but contradict what else was. */
  dropped: number;
}

export type Repair =
  | { outcome: "whole" }
  /** It stays as it is. */
  | { outcome: "unreadable"; because: string }
  | { outcome: "repaired"; faults: string[]; tables: TableSalvage[]; damagedFile: string };

/** Throws StoreUnusable when there is no store, and where it is in use, of another program or of a newer format. */
export function repair(directory: string, now: Date): Repair {
  const file = dataFileOf(directory);
  const fresh = `${file}.repair-${stamp(now)}`;
  const damaged = openDamaged(directory);
  let pages: SqlitePages | undefined;
  try {
    const faults = typeof damaged === "string" ? [damaged] : faultsOfFolder(damaged);
    if (faults.length === 0) return { outcome: "whole" };
    pages = openPages(file);
    const salvaged = fill(fresh, pages);
    if (salvaged.every(({ saved }) => saved === 0)) return { outcome: "unreadable", because: faults.join("; ") };
    const tables = makeConsistent(fresh, salvaged);
    return { outcome: "repaired", faults, tables, damagedFile: exchange(file, fresh, now) };
  } finally {
    rmSync(fresh, { force: true });
    if (typeof damaged !== "string") damaged.close();
    // Behind it, or its lock would go with this.
    pages?.close();
  }
}

/** What can be read of the store at `file`, contradictions and all, in a fresh database at `target`. */
export function salvageInto(target: string, file: string): TableSalvage[] {
  const pages = openPages(file);
  try {
    return fill(target, pages);
  } finally {
    pages.close();
  }
}

/** All that is wrong with the folder: of the file, of its write-ahead log, and of what is kept. */
export function faultsOfFolder({ database, file }: DataFolderForReading): string[] {
  const faults = [...faultsOfReading(database), ...faultsOfWal(readWal(`${file}-wal`))];
  if (faults.length > 0) return faults;
  const { user_version: format } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  // An older format may lack tables that are asked about; it is brought to the newest at the next start.
  return format === newestFormat ? faultsOfState(database) : [];
}

/** What a disk will not give back is a fault as well. */
function faultsOfReading(database: DatabaseSync): string[] {
  try {
    return faultsOfFile(database, "integrity_check");
  } catch (error) {
    if (!isOutsideFailure(error)) throw error;
    return [(error as Error).message];
  }
}

/** What is wrong, where SQLite cannot even open it. */
function openDamaged(directory: string): DataFolderForReading | string {
  try {
    return openForReading(directory);
  } catch (error) {
    if (!(error instanceof StoreUnusable)) throw error;
    if (error.code === "corrupt") return error.finding ?? error.message;
    // A damaged header may look like another program's: the tables tell.
    if (error.code === "foreign") return "its header is not one of ours";
    throw error;
  }
}

/** Other people's files and those of a newer format are not touched, however damaged. */
function openPages(file: string): SqlitePages {
  const pages = new SqlitePages(file);
  const { header } = pages;
  let refusal: StoreUnusable | undefined;
  if (header?.applicationId === applicationId && header.format > newestFormat)
    refusal = newerFormat(file, header.format);
  if (header !== undefined && header.applicationId !== applicationId && !hasOurTables(pages)) refusal = foreign(file);
  if (refusal === undefined) return pages;
  pages.close();
  throw refusal;
}

function hasOurTables(pages: SqlitePages): boolean {
  return formatOfSchema(schemaOf(pages)) !== undefined;
}

interface SchemaEntry {
  type: string;
  name: string;
  table: string;
  root: number;
  sql: string | null;
}

/** Makes a new file at `target` and saves into it. */
function fill(target: string, pages: SqlitePages): TableSalvage[] {
  const schema = schemaOf(pages);
  const format = formatOfHeader(pages) ?? formatOfSchema(schema);
  if (format !== undefined) return fillAs(format, target, pages, schema);
  // Neither header nor schema is left. In each format the tables have their own places: the right one finds the most.
  let best = newestFormat;
  let saved = -1;
  for (let candidate = newestFormat; candidate > 0; candidate--) {
    const rows = fillAs(candidate, target, pages, schema).reduce((sum, table) => sum + table.saved, 0);
    rmSync(target);
    if (rows > saved) [best, saved] = [candidate, rows];
  }
  return fillAs(best, target, pages, schema);
}

function fillAs(format: number, target: string, pages: SqlitePages, schema: readonly SchemaEntry[]): TableSalvage[] {
  closeSync(openSync(target, "wx", 0o600));
  const database = new DatabaseSync(target);
  try {
    // It counts only once it is whole: a crash before leaves it aside.
    database.exec("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
    createFormat(database, format);
    database.exec("BEGIN");
    const tables = tablesOf(database).map((table) => new TableRescue(database, pages, schema, table).run());
    database.exec("COMMIT");
    migrate(database);
    return tables;
  } finally {
    database.close();
  }
}

function formatOfHeader({ header }: SqlitePages): number | undefined {
  if (header?.applicationId !== applicationId) return undefined;
  return header.format > 0 && header.format <= newestFormat ? header.format : undefined;
}

/** `undefined`: it is not whole, or not ours. */
function formatOfSchema(schema: readonly SchemaEntry[]): number | undefined {
  const names = new Set(schema.map(({ name }) => name));
  if (!firstTables.every((name) => names.has(name))) return undefined;
  if (schema.some(({ name, sql }) => name === "dead_letters" && /\bhead\b/.test(sql ?? ""))) return 3;
  return names.has("dead_letters") ? 2 : 1;
}

function schemaOf(pages: SqlitePages): SchemaEntry[] {
  const entries: SchemaEntry[] = [];
  for (const { values } of pages.records(1, "table", { pages: 0, records: 0 })) {
    const [type, name, table, root, sql] = values;
    if (typeof type !== "string" || typeof name !== "string" || typeof table !== "string") continue;
    if (typeof root !== "number" || (sql !== null && typeof sql !== "string")) continue;
    entries.push({ type, name, table, root, sql });
  }
  return entries;
}

interface Table {
  name: string;
  root: number;
  hasRowid: boolean;
}

function tablesOf(database: DatabaseSync): Table[] {
  const rows = database.prepare(`
    SELECT s.name, s.rootpage AS root, l.wr = 0 AS hasRowid FROM sqlite_schema s JOIN pragma_table_list l USING (name)
    WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite_%' ORDER BY s.rootpage`);
  return rows.all().map((row) => ({
    name: String(row.name),
    root: Number(row.root),
    hasRowid: row.hasRowid === 1,
  }));
}

interface Column {
  name: string;
  type: string;
  notnull: number;
  dflt_value: string | null;
  pk: number;
}

/** Carries one table over. */
class TableRescue {
  private readonly database: DatabaseSync;
  private readonly pages: SqlitePages;
  private readonly schema: readonly SchemaEntry[];
  private readonly table: Table;
  /** In the order of a record. */
  private readonly columns: Column[];
  /** Of the column that stands for the rowid, if there is one. */
  private readonly rowidColumn: string | undefined;
  private readonly inserts = new Map<string, StatementSync>();
  private saved = 0;
  private readonly loss: Loss = { pages: 0, records: 0 };

  constructor(database: DatabaseSync, pages: SqlitePages, schema: readonly SchemaEntry[], table: Table) {
    this.database = database;
    this.pages = pages;
    this.schema = schema;
    this.table = table;
    const columns = database.prepare("SELECT * FROM pragma_table_info(?)").all(table.name) as unknown as Column[];
    const key = columns.filter(({ pk }) => pk > 0).sort((left, right) => left.pk - right.pk);
    this.columns = table.hasRowid ? columns : [...key, ...columns.filter(({ pk }) => pk === 0)];
    this.rowidColumn = table.hasRowid && key.length === 1 && key[0].type === "INTEGER" ? key[0].name : undefined;
  }

  run(): TableSalvage {
    const { name, hasRowid } = this.table;
    // Where the schema is lost, the tables are where they are in every file of this format.
    const root = this.schema.find((entry) => entry.type === "table" && entry.name === name)?.root ?? this.table.root;
    const names = this.columns.map((column) => column.name);
    for (const record of this.pages.records(root, hasRowid ? "table" : "index", this.loss)) {
      if (this.insert(names.slice(0, record.values.length), record)) this.saved++;
      else this.loss.records++;
    }
    if (this.loss.pages + this.loss.records > 0 && hasRowid) this.askIndexes();
    return { table: name, saved: this.saved, lostRows: this.loss.records, lostPages: this.loss.pages, dropped: 0 };
  }

  /** An index knows how many rows there were, and some are all in their index but for what has a default. */
  private askIndexes(): void {
    let rows = 0;
    let restored = 0;
    const indexes = this.database
      .prepare("SELECT name FROM pragma_index_list(?) WHERE partial = 0")
      .all(this.table.name);
    for (const { name } of indexes) {
      const found = this.schema.find((entry) => entry.type === "index" && entry.name === name);
      if (found === undefined) continue;
      const info = this.database.prepare("SELECT name FROM pragma_index_info(?)").all(String(name));
      const names = info.map((column) => String(column.name));
      let entries = 0;
      for (const { values } of this.pages.records(found.root, "index", { pages: 0, records: 0 })) {
        entries++;
        if (!this.isEnough(names) || values.length !== names.length + 1) continue;
        const rowid = values.at(-1);
        if (typeof rowid !== "number" && typeof rowid !== "bigint") continue;
        if (this.insert(names, { rowid, values: values.slice(0, -1) })) restored++;
      }
      rows = Math.max(rows, entries);
    }
    this.saved += restored;
    this.loss.records = Math.max(this.loss.records - restored, rows - this.saved);
  }

  private isEnough(names: readonly string[]): boolean {
    return this.columns.every(
      ({ name, notnull, dflt_value, pk }) => names.includes(name) || pk > 0 || notnull === 0 || dflt_value !== null,
    );
  }

  /** False when the fresh table does not take it: it breaks a rule that every row keeps, or is there already. */
  private insert(names: readonly string[], { rowid, values }: SqliteRecord): boolean {
    if (values.length > this.columns.length || names.length !== values.length) return false;
    const row = names.map((name, index) => (name === this.rowidColumn ? (rowid ?? null) : values[index]));
    const columns = [...names];
    if (this.rowidColumn === undefined ? this.table.hasRowid : !names.includes(this.rowidColumn)) {
      columns.push("rowid");
      row.push(rowid ?? null);
    }
    try {
      return this.insertInto(columns).run(...row).changes === 1;
    } catch (error) {
      if (isConstraint(error)) return false;
      throw error;
    }
  }

  private insertInto(columns: readonly string[]): StatementSync {
    const list = columns.map((name) => `"${name}"`).join(", ");
    let insert = this.inserts.get(list);
    if (insert === undefined) {
      const places = columns.map(() => "?").join(", ");
      insert = this.database.prepare(`INSERT OR IGNORE INTO "${this.table.name}" (${list}) VALUES (${places})`);
      this.inserts.set(list, insert);
    }
    return insert;
  }
}

function isConstraint(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === 19;
}

/** Of every format. */
const firstTables = [
  "messages",
  "sessions",
  "subscriptions",
  "queue",
  "received",
  "retained",
  "wills",
  "endpoints",
  "deliveries",
  "shared_bodies",
];

/** In this order: what each drops may leave the next without a name. */
const contradictions: readonly (readonly [table: string, where: string])[] = [
  ["subscriptions", "session NOT IN (SELECT session FROM sessions)"],
  ["received", "session NOT IN (SELECT session FROM sessions)"],
  ["queue", "session NOT IN (SELECT session FROM sessions)"],
  ["queue", "state < 2 AND message_id NOT IN (SELECT message_id FROM messages)"],
  ["retained", "message_id NOT IN (SELECT message_id FROM messages)"],
  ["wills", "message_id NOT IN (SELECT message_id FROM messages)"],
  [
    "messages",
    `NOT EXISTS (SELECT 1 FROM queue q WHERE q.message_id = messages.message_id AND q.state < 2)
     AND NOT EXISTS (SELECT 1 FROM retained r WHERE r.message_id = messages.message_id)
     AND NOT EXISTS (SELECT 1 FROM wills w WHERE w.message_id = messages.message_id)`,
  ],
  ["deliveries", "endpoint NOT IN (SELECT endpoint FROM endpoints)"],
  [
    "deliveries",
    "body IS NULL AND (shared_body IS NULL OR shared_body NOT IN (SELECT shared_body FROM shared_bodies))",
  ],
  ["dead_letters", "endpoint NOT IN (SELECT endpoint FROM endpoints)"],
  // Owed once too often rather than never.
  ["dead_letters", "position IN (SELECT position FROM deliveries)"],
  ["shared_bodies", "shared_body NOT IN (SELECT shared_body FROM deliveries WHERE shared_body IS NOT NULL)"],
];

/**
 * What is there is counted anew. Deliveries lost are counted as dropped, so that what was accepted still adds up. What was
 * under way and is lost is forgotten with its position.
 */
const recount = `
  UPDATE endpoints AS e SET (messages, message_bytes, client_events, client_event_bytes) = (
    SELECT count(*) FILTER (WHERE client_event = 0), coalesce(sum(body_bytes) FILTER (WHERE client_event = 0), 0),
      count(*) FILTER (WHERE client_event = 1), coalesce(sum(body_bytes) FILTER (WHERE client_event = 1), 0)
    FROM deliveries d WHERE d.endpoint = e.endpoint);
  UPDATE endpoints AS e SET (dead_letters, dead_letter_bytes) = (
    SELECT count(*), coalesce(sum(length(body)), 0) FROM dead_letters d WHERE d.endpoint = e.endpoint);
  UPDATE endpoints SET dead = max(dead, dead_letters);
  UPDATE endpoints SET accepted = max(accepted, delivered + dead + dropped + expired + messages + client_events);
  UPDATE endpoints SET dropped = accepted - delivered - dead - expired - messages - client_events;
  UPDATE endpoints SET under_way = '[]' WHERE NOT json_valid(under_way);
  -- Another's text, but JSON: what is not would be a mistake in it at every start.
  UPDATE endpoints SET breaker = '' WHERE NOT json_valid(breaker);
  UPDATE endpoints SET batches = '' WHERE NOT json_valid(batches);
  UPDATE endpoints SET under_way = (
    SELECT json_group_array(value) FROM json_each(under_way)
    WHERE type = 'integer' AND value IN (SELECT position FROM deliveries))`;

/** Throws when what is saved does not fit together all the same: then nothing is put in place. */
function makeConsistent(file: string, salvaged: readonly TableSalvage[]): TableSalvage[] {
  const database = new DatabaseSync(file);
  try {
    const tables = salvaged.map((table) => ({ ...table }));
    database.exec("BEGIN");
    for (const [name, where] of contradictions) {
      const { changes } = database.prepare(`DELETE FROM ${name} WHERE ${where}`).run();
      const table = tables.find((candidate) => candidate.table === name);
      if (table === undefined) continue;
      table.dropped += Number(changes);
      table.saved -= Number(changes);
    }
    database.exec(`${recount}; COMMIT`);
    const faults = [...faultsOfFile(database, "integrity_check"), ...faultsOfState(database)];
    if (faults.length > 0) throw new Error(`what could be read does not fit together: ${faults.join("; ")}`);
    return tables;
  } finally {
    database.close();
  }
}

/**
 * The damaged file keeps its name until the fresh one takes it: at no moment is there a folder that looks new. Its log goes
 * first, or the fresh file would be taken for what it belongs to.
 */
function exchange(file: string, fresh: string, now: Date): string {
  const aside = `${file}.damaged-${stamp(now)}`;
  const { uid, gid } = statSync(file);
  // Root may repair what belongs to the broker's user.
  if (process.getuid?.() === 0) chownSync(fresh, uid, gid);
  sync(fresh);
  if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) renameSync(`${file}-wal`, `${aside}-wal`);
  try {
    linkSync(file, aside);
  } catch {
    // Not every file system has second names for a file.
    renameSync(file, aside);
  }
  renameSync(fresh, file);
  sync(path.dirname(file));
  return aside;
}

function sync(name: string): void {
  const descriptor = openSync(name, statSync(name).isDirectory() ? "r" : "r+");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** `20261125T205500Z` */
function stamp(now: Date): string {
  return now
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:]/g, "");
}
