/**
 * The tables of the durable store, and the way to them from every format there ever was. A format is a number, kept in the
 * file's `user_version`; each migration leads from one to the next, and the last of them to the present.
 *
 * No table counts references: a message is in use while a queue entry, a retained topic or a will names it, which their
 * indexes on `message_id` answer. So there is no count that could be wrong.
 */
import type { DatabaseSync } from "node:sqlite";

/** "HkMQ", in the file's header: other people's databases are left alone. */
export const applicationId = 0x486b4d51;

const first = `
  CREATE TABLE messages (
    message_id INTEGER PRIMARY KEY,
    topic_name TEXT NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    expires_at REAL,
    publisher_client_id TEXT NOT NULL,
    publisher_user_name TEXT,
    properties BLOB NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;

  -- A session is a number in all that belongs to it.
  CREATE TABLE sessions (
    session INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL UNIQUE,
    user_name TEXT,
    expiry_seconds REAL NOT NULL,
    disconnected_at REAL
  ) STRICT;

  CREATE TABLE subscriptions (
    session INTEGER NOT NULL,
    topic_filter TEXT NOT NULL,
    qos INTEGER NOT NULL,
    no_local INTEGER NOT NULL,
    retain_as_published INTEGER NOT NULL,
    retain_handling INTEGER NOT NULL,
    subscription_identifier INTEGER,
    PRIMARY KEY (session, topic_filter)
  ) STRICT, WITHOUT ROWID;

  -- subscription_identifiers: a JSON array, NULL when empty. state: 0 queued, 1 sent, 2 released.
  CREATE TABLE queue (
    session INTEGER NOT NULL,
    position INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    state INTEGER NOT NULL,
    packet_identifier INTEGER,
    subscription_identifiers TEXT,
    shared_filter TEXT,
    PRIMARY KEY (session, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX queue_by_message ON queue (message_id);

  CREATE TABLE received (
    session INTEGER NOT NULL,
    packet_identifier INTEGER NOT NULL,
    PRIMARY KEY (session, packet_identifier)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE retained (
    topic_name TEXT PRIMARY KEY,
    message_id INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX retained_by_message ON retained (message_id);

  CREATE TABLE wills (
    client_id TEXT PRIMARY KEY,
    message_id INTEGER NOT NULL,
    delay_seconds REAL NOT NULL,
    due_at REAL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX wills_by_message ON wills (message_id);

  -- Counted in the transaction that owes or settles: accepted = delivered + dead + dropped + expired + rows in deliveries.
  CREATE TABLE endpoints (
    endpoint INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    accepted INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    body_bytes INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  -- A body that several endpoints are owed is in shared_bodies once; else it is in the row itself.
  CREATE TABLE deliveries (
    position INTEGER PRIMARY KEY,
    delivery_id TEXT NOT NULL UNIQUE,
    endpoint INTEGER NOT NULL,
    event TEXT NOT NULL,
    order_key TEXT NOT NULL,
    accepted_at REAL NOT NULL,
    expires_at REAL,
    body_bytes INTEGER NOT NULL,
    shared_body INTEGER,
    body BLOB
  ) STRICT;
  CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint);
  CREATE INDEX deliveries_by_shared_body ON deliveries (shared_body) WHERE shared_body IS NOT NULL;
  CREATE TABLE shared_bodies (
    shared_body INTEGER PRIMARY KEY,
    body BLOB NOT NULL
  ) STRICT;
`;

/** How far each delivery has come, what an endpoint was last seen to do, and dead letters. */
const second = `
  ALTER TABLE endpoints DROP COLUMN body_bytes;
  ALTER TABLE endpoints ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE endpoints ADD COLUMN message_bytes INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE endpoints ADD COLUMN client_events INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE endpoints ADD COLUMN client_event_bytes INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE endpoints ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE endpoints ADD COLUMN dead_letter_bytes INTEGER NOT NULL DEFAULT 0;
  -- Positions of the attempts under way: a JSON array.
  ALTER TABLE endpoints ADD COLUMN under_way TEXT NOT NULL DEFAULT '[]';
  ALTER TABLE endpoints ADD COLUMN breaker TEXT NOT NULL DEFAULT '';
  ALTER TABLE endpoints ADD COLUMN held_until REAL NOT NULL DEFAULT 0;

  -- due_at: set once a delivery was put back. A body that several endpoints are owed is in shared_bodies once; else it is
  -- in the row itself.
  CREATE TABLE deliveries_2 (
    position INTEGER PRIMARY KEY,
    endpoint INTEGER NOT NULL,
    client_event INTEGER NOT NULL,
    delivery_id TEXT NOT NULL,
    event TEXT NOT NULL,
    order_key TEXT NOT NULL,
    accepted_at REAL NOT NULL,
    expires_at REAL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    due_at REAL,
    body_bytes INTEGER NOT NULL,
    shared_body INTEGER,
    body BLOB
  ) STRICT;
  INSERT INTO deliveries_2
    SELECT position, endpoint, event <> 'on_message_publish', delivery_id, event, order_key, accepted_at, expires_at,
      0, 0, NULL, body_bytes, shared_body, body
    FROM deliveries;
  DROP TABLE deliveries;
  ALTER TABLE deliveries_2 RENAME TO deliveries;
  CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint);
  CREATE INDEX deliveries_by_line ON deliveries (endpoint, order_key);
  CREATE INDEX deliveries_of_clients ON deliveries (endpoint) WHERE client_event = 1;
  CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE due_at IS NOT NULL;
  CREATE INDEX deliveries_by_shared_body ON deliveries (shared_body) WHERE shared_body IS NOT NULL;
  UPDATE endpoints AS e SET
    messages = (SELECT count(*) FROM deliveries d WHERE d.endpoint = e.endpoint AND client_event = 0),
    message_bytes = (SELECT coalesce(sum(body_bytes), 0) FROM deliveries d WHERE d.endpoint = e.endpoint AND client_event = 0),
    client_events = (SELECT count(*) FROM deliveries d WHERE d.endpoint = e.endpoint AND client_event = 1),
    client_event_bytes = (SELECT coalesce(sum(body_bytes), 0) FROM deliveries d WHERE d.endpoint = e.endpoint AND client_event = 1);

  -- Under the position they had as deliveries.
  CREATE TABLE dead_letters (
    position INTEGER PRIMARY KEY,
    endpoint INTEGER NOT NULL,
    delivery_id TEXT NOT NULL,
    event TEXT NOT NULL,
    order_key TEXT NOT NULL,
    accepted_at REAL NOT NULL,
    expires_at REAL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    died_at REAL NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE INDEX dead_letters_by_endpoint ON dead_letters (endpoint);
`;

/** Batches that were sent and have not ended, as the webhook engine's own text; what a request has beside its body. */
const third = `
  ALTER TABLE endpoints ADD COLUMN batches TEXT NOT NULL DEFAULT '';
  ALTER TABLE deliveries ADD COLUMN head TEXT NOT NULL DEFAULT '';
  ALTER TABLE dead_letters ADD COLUMN head TEXT NOT NULL DEFAULT '';
`;

/** Leads from format 0, an empty file, to 1; the next from 1 to 2; and so on. What has been released stays as it is. */
const released: readonly string[] = [first, second, third];

/** Brings the file to the newest format, one transaction a step. `migrations` is for tests. */
export function migrate(database: DatabaseSync, migrations: readonly string[] = released): void {
  for (let format = formatOf(database); format < migrations.length; format++) {
    database.exec("BEGIN IMMEDIATE");
    try {
      database.exec(`${migrations[format]}; PRAGMA user_version = ${format + 1}`);
      database.exec(`PRAGMA application_id = ${applicationId}; COMMIT`);
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
  }
}

export const newestFormat = released.length;

/** A new file as an older HookMQ made it. */
export function createFormat(database: DatabaseSync, format: number): void {
  migrate(database, released.slice(0, format));
}

export function formatOf(database: DatabaseSync): number {
  return pragma(database, "user_version");
}

/** The value of a PRAGMA that is a number. */
export function pragma(database: DatabaseSync, name: string): number {
  const row = database.prepare(`PRAGMA ${name}`).get();
  return Number(row?.[name]);
}
