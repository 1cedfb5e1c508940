/**
 * All that a store keeps as records for other programs, one at a time: each is one line of JSON in `hookmq store export`.
 * docs/operations.md tells the fields. What belongs together is put together: a subscription has its session's client id, a
 * delivery its body and its endpoint's name; where that is lost it is `null`.
 */
import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import { queueStates } from "./sqlite-reader.ts";

type Row = Record<string, SQLOutputValue>;
export type ExportRecord = { type: string } & Record<string, unknown>;

interface Kind {
  type: string;
  sql: string;
  /** Fields for columns that are told in another way. */
  told: Readonly<Record<string, (value: SQLOutputValue) => unknown>>;
}

// Damaged files may hold any number, and any text.
const time = (value: SQLOutputValue) =>
  typeof value === "number" && Math.abs(value) <= 8.64e15 ? new Date(value).toISOString() : null;
const flag = (value: SQLOutputValue) => value === 1;
const base64 = (value: SQLOutputValue) =>
  value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") : null;

const numbers = (value: SQLOutputValue) => (typeof value === "string" ? (value.match(/\d+/g) ?? []).map(Number) : []);

const withClientId = (table: string) =>
  `SELECT s.client_id, t.* FROM ${table} t LEFT JOIN sessions s ON s.session = t.session`;

/** Sessions first, so that whoever reads on knows whose the rest is. */
const kinds: readonly Kind[] = [
  { type: "session", sql: "SELECT * FROM sessions", told: { disconnected_at: time } },
  {
    type: "subscription",
    sql: withClientId("subscriptions"),
    told: { no_local: flag, retain_as_published: flag },
  },
  {
    type: "message",
    sql: "SELECT * FROM messages",
    told: { retain: flag, accepted_at: time, expires_at: time, properties: base64, payload: base64 },
  },
  {
    type: "queued",
    sql: withClientId("queue"),
    told: {
      retain: flag,
      state: (value) => queueStates[Number(value)] ?? value,
      subscription_identifiers: numbers,
    },
  },
  { type: "received", sql: withClientId("received"), told: {} },
  { type: "retained", sql: "SELECT * FROM retained", told: {} },
  { type: "will", sql: "SELECT * FROM wills", told: { due_at: time } },
  // Of a time that never was, there is none to tell.
  {
    type: "endpoint",
    sql: "SELECT * FROM endpoints",
    told: {
      under_way: numbers,
      breaker: (value) => (value === "" ? null : value),
      batches: (value) => (value === "" ? null : value),
      held_until: (value) => (value === 0 ? null : time(value)),
    },
  },
];

/** These have columns that later formats add to: what is there is told. */
const deliveryTold = { client_event: flag, accepted_at: time, expires_at: time, due_at: time, died_at: time };

/** Rows are read as they are asked for: memory stays flat. */
export function* exportRecords(database: DatabaseSync): Generator<ExportRecord> {
  for (const kind of kinds) yield* recordsOf(database, kind);
  yield* deliveriesOf(database, "deliveries", "delivery");
  if (hasTable(database, "dead_letters")) yield* deliveriesOf(database, "dead_letters", "dead-letter");
}

/** With the endpoint's name, and the body wherever it is kept. */
function deliveriesOf(database: DatabaseSync, table: string, type: string): Iterable<ExportRecord> {
  const columns = columnsOf(database, table);
  const plain = columns
    .filter((name) => !["endpoint", "body", "shared_body"].includes(name))
    .map((name) => `d.${name}`);
  const shares = columns.includes("shared_body");
  const joins = shares ? "LEFT JOIN shared_bodies b ON b.shared_body = d.shared_body" : "";
  const body = shares ? "coalesce(d.body, b.body)" : "d.body";
  const sql = `SELECT ${plain.join(", ")}, coalesce(e.name, d.endpoint) AS endpoint, ${body} AS body
    FROM ${table} d LEFT JOIN endpoints e ON e.endpoint = d.endpoint ${joins}`;
  return recordsOf(database, { type, sql, told: { ...deliveryTold, body: base64 } });
}

function* recordsOf(database: DatabaseSync, { type, sql, told }: Kind): Generator<ExportRecord> {
  for (const row of database.prepare(sql).iterate() as Iterable<Row>) {
    const record: ExportRecord = { type };
    for (const [column, value] of Object.entries(row)) {
      record[camelCase(column)] = column in told ? told[column](value) : value;
    }
    yield record;
  }
}

function hasTable(database: DatabaseSync, name: string): boolean {
  return columnsOf(database, name).length > 0;
}

function columnsOf(database: DatabaseSync, table: string): string[] {
  return database
    .prepare("SELECT name FROM pragma_table_info(?)")
    .all(table)
    .map(({ name }) => String(name));
}

function camelCase(column: string): string {
  return column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
