/** Reads the tables back: the present state for a start, and owed deliveries slice by slice. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import type { QoS } from "../mqtt/packet.ts";
import type { BrokerChange, OwedDelivery, StoredSubscription } from "./change.ts";
import type {
  DeadLetter,
  DeliveryStore,
  OwedFacts,
  PositionRange,
  QueuePart,
  Slice,
  SliceLimits,
  StoredDelivery,
  StoredEndpoint,
} from "./deliveries.ts";
import { changesOfEntry } from "./replay.ts";
import type { StoredQueueEntry } from "./store.ts";

/** As they are numbered in `queue.state`. */
export const queueStates: readonly StoredQueueEntry["state"][] = ["queued", "sent", "released"];

type Row = Record<string, SQLOutputValue>;

export class SqliteReader {
  private readonly database: DatabaseSync;
  private readonly sql: Statements;

  constructor(database: DatabaseSync) {
    this.database = database;
    this.sql = prepareStatements(database);
  }

  /** All but the deliveries, as Changes that lead to it from nothing, in one batch. */
  *changes(): Generator<BrokerChange> {
    for (const row of asArrays(this.database.prepare(selectMessages)).iterate()) yield messageKept(row as never);
    const clientIds = new Map<number, string>();
    const sessions = [...this.rows("SELECT * FROM sessions ORDER BY session")];
    for (const { session, client_id, user_name, expiry_seconds } of sessions) {
      const clientId = client_id as string;
      clientIds.set(session as number, clientId);
      const userName = given(user_name as string | null);
      yield { type: "session-opened", clientId, userName, expirySeconds: expiry_seconds as number };
    }
    const clientOf = ({ session }: Row) => clientIds.get(session as number)!;
    for (const row of this.rows("SELECT * FROM subscriptions"))
      yield { type: "subscribed", clientId: clientOf(row), subscription: subscriptionOf(row) };
    // By the primary key: in order of position.
    for (const row of asArrays(this.database.prepare(selectQueue)).iterate() as Iterable<unknown>) {
      const [session, ...entry] = row as QueueRow;
      yield* changesOfEntry(clientIds.get(session)!, queueEntryOf(entry));
    }
    for (const row of this.rows("SELECT * FROM received"))
      yield { type: "received", clientId: clientOf(row), packetIdentifier: row.packet_identifier as number };
    for (const row of sessions) {
      const [at, expirySeconds] = [row.disconnected_at as number | null, row.expiry_seconds as number];
      if (at !== null) yield { type: "session-disconnected", clientId: clientOf(row), at, expirySeconds };
    }
    for (const { topic_name, message_id } of this.rows("SELECT * FROM retained"))
      yield { type: "retained", topicName: topic_name as string, messageId: message_id as number };
    for (const row of this.rows("SELECT * FROM wills")) {
      const { client_id, message_id, delay_seconds, due_at } = row;
      const clientId = client_id as string;
      const [messageId, delaySeconds] = [message_id as number, delay_seconds as number];
      yield { type: "will-set", clientId, messageId, delaySeconds };
      if (due_at !== null) yield { type: "will-due", clientId, at: due_at as number };
    }
  }

  endpoints(): StoredEndpoint[] {
    return Array.from(this.rows("SELECT * FROM endpoints ORDER BY endpoint"), endpointOf);
  }

  owedBehind(endpoint: string, after: number, limits: SliceLimits): Slice {
    return sliceOf(endpoint, this.sql.behind.iterate(endpoint, after, limits.countMax + 1), limits);
  }

  owedInLine(endpoint: string, orderKey: string, { after, upTo }: PositionRange, limits: SliceLimits): Slice {
    const rows = this.sql.inLine.iterate(endpoint, orderKey, after, upTo, limits.countMax + 1);
    return sliceOf(endpoint, rows, limits);
  }

  owedDue(endpoint: string, range: Parameters<DeliveryStore["owedDue"]>[1]): OwedFacts[] {
    const { after, until, upTo, countMax } = range;
    return this.sql.due.all(endpoint, after.dueAt, after.position, until, upTo, countMax).map(factsOf);
  }

  *oldestOwed(endpoint: string, part: QueuePart | undefined, after: number): Iterable<OwedFacts> {
    const statement = part === undefined ? this.sql.oldest : this.sql.oldestOf[part];
    for (const row of statement.iterate(endpoint, after) as Iterable<Row>) yield factsOf(row);
  }

  deadLetters(endpoint: string, after: number, { countMax, bytesMax }: SliceLimits): DeadLetter[] {
    const letters: DeadLetter[] = [];
    let bytes = 0;
    for (const row of this.sql.deadLetters.iterate(endpoint, after, countMax) as Iterable<Row>) {
      bytes += (row.body as Uint8Array).length;
      if (bytes > bytesMax && letters.length > 0) break;
      letters.push({
        position: row.position as number,
        owed: owedOfLetter(row),
        reason: row.reason as string,
        detail: row.detail as string,
        attempts: row.attempts as number,
        diedAt: row.died_at as number,
      });
    }
    return letters;
  }

  /**
   * 0: there was none yet. Each delivery owed was accepted once, so that those gone are counted as well; a repaired store
   * may have lost the counts, but not what bears a position.
   */
  lastDeliveryPosition(): number {
    const [row] = this.rows(`
      SELECT max(
        (SELECT coalesce(sum(accepted), 0) FROM endpoints),
        (SELECT coalesce(max(position), 0) FROM deliveries),
        (SELECT coalesce(max(position), 0) FROM dead_letters)) AS last`);
    return row.last as number;
  }

  private rows(sql: string): Iterable<Row> {
    return this.database.prepare(sql).iterate() as Iterable<Row>;
  }
}

type Statements = ReturnType<typeof prepareStatements>;

// As arrays: half the time of objects, and these are read by the million.
const selectDelivery = `
  SELECT position, attempts, failures, due_at, delivery_id, event, order_key, accepted_at, expires_at, head,
    coalesce(d.body, (SELECT b.body FROM shared_bodies b WHERE b.shared_body = d.shared_body))
  FROM deliveries d WHERE endpoint = (SELECT endpoint FROM endpoints WHERE name = ?)`;
type DeliveryRow = [
  position: number,
  attempts: number,
  failures: number,
  dueAt: number | null,
  deliveryId: string,
  event: string,
  orderKey: string,
  acceptedAt: number,
  expiresAt: number | null,
  head: string,
  body: Uint8Array,
];
const selectFacts = `
  SELECT position, delivery_id, event, order_key, accepted_at, body_bytes, due_at FROM deliveries
  WHERE endpoint = (SELECT endpoint FROM endpoints WHERE name = ?)`;

function prepareStatements(database: DatabaseSync) {
  const prepare = (sql: string): StatementSync => database.prepare(sql);
  return {
    behind: asArrays(prepare(`${selectDelivery} AND position > ? ORDER BY position LIMIT ?`)),
    inLine: asArrays(
      prepare(`${selectDelivery} AND order_key = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?`),
    ),
    due: prepare(`
      ${selectFacts} AND due_at IS NOT NULL AND (due_at, position) > (?, ?) AND due_at <= ? AND position <= ?
      ORDER BY due_at, position LIMIT ?`),
    oldest: prepare(`${selectFacts} AND position > ? ORDER BY position`),
    oldestOf: {
      messages: prepare(`${selectFacts} AND position > ? AND client_event = 0 ORDER BY position`),
      clientEvents: prepare(`${selectFacts} AND position > ? AND client_event = 1 ORDER BY position`),
    },
    deadLetters: prepare(`
      SELECT l.*, e.name AS endpoint_name
      FROM endpoints e JOIN dead_letters l ON l.endpoint = e.endpoint
      WHERE e.name = ? AND l.position > ? ORDER BY l.position LIMIT ?`),
  };
}

function endpointOf(row: Row): StoredEndpoint {
  const numbers = row as Record<string, number>;
  return {
    endpoint: row.name as string,
    accepted: numbers.accepted,
    delivered: numbers.delivered,
    dead: numbers.dead,
    dropped: numbers.dropped,
    expired: numbers.expired,
    queued: {
      messages: { count: numbers.messages, bodyBytes: numbers.message_bytes },
      clientEvents: { count: numbers.client_events, bodyBytes: numbers.client_event_bytes },
    },
    deadLetters: { count: numbers.dead_letters, bodyBytes: numbers.dead_letter_bytes },
    underWay: JSON.parse(row.under_way as string),
    breaker: row.breaker as string,
    heldUntil: numbers.held_until,
  };
}

function asArrays(statement: StatementSync): StatementSync {
  statement.setReturnArrays(true);
  return statement;
}

function sliceOf(endpoint: string, rows: Iterable<unknown>, { countMax, bytesMax }: SliceLimits): Slice {
  const deliveries: StoredDelivery[] = [];
  let bytes = 0;
  for (const row of rows as Iterable<DeliveryRow>) {
    const [position, attempts, failures, dueAt, deliveryId, event, orderKey, acceptedAt, expiresAt, head, body] = row;
    bytes += body.length;
    if (deliveries.length === countMax || (bytes > bytesMax && deliveries.length > 0)) {
      return { deliveries, hasMore: true };
    }
    const owed = { deliveryId, endpoint, event, orderKey, body, head, acceptedAt, expiresAt: given(expiresAt) };
    deliveries.push({ position, owed, attempts, failures, dueAt: given(dueAt) });
  }
  return { deliveries, hasMore: false };
}

function factsOf(row: Row): OwedFacts {
  return {
    position: row.position as number,
    deliveryId: row.delivery_id as string,
    event: row.event as string,
    orderKey: row.order_key as string,
    acceptedAt: row.accepted_at as number,
    bodyBytes: row.body_bytes as number,
    dueAt: given(row.due_at as number | null),
  };
}

// As arrays, as what there are most of. Most messages have no properties: NULL costs less to bring over than an empty blob.
const selectMessages = `
  SELECT message_id, topic_name, payload, qos, retain, nullif(properties, x''), accepted_at, expires_at,
    publisher_client_id, publisher_user_name
  FROM messages`;
type MessageRow = [
  messageId: number,
  topicName: string,
  payload: Uint8Array,
  qos: QoS,
  retain: 0 | 1,
  properties: Uint8Array | null,
  acceptedAt: number,
  expiresAt: number | null,
  publisherClientId: string,
  publisherUserName: string | null,
];
const nothing = new Uint8Array(0);

function messageKept([messageId, topicName, payload, qos, retain, properties, ...rest]: MessageRow): BrokerChange {
  const [acceptedAt, expiresAt, publisherClientId, publisherUserName] = rest;
  return {
    type: "message-kept",
    messageId,
    message: {
      topicName,
      payload,
      qos,
      retain: retain === 1,
      properties: properties ?? nothing,
      acceptedAt,
      expiresAt: given(expiresAt),
      publisherClientId,
      publisherUserName: given(publisherUserName),
    },
  };
}

const selectQueue = `
  SELECT session, position, message_id, qos, retain, state, packet_identifier, subscription_identifiers, shared_filter
  FROM queue ORDER BY session, position`;
type QueueRow = [session: number, ...QueueEntryRow];
type QueueEntryRow = [
  position: number,
  messageId: number,
  qos: 1 | 2,
  retain: 0 | 1,
  state: number,
  packetIdentifier: number | null,
  subscriptionIdentifiers: string | null,
  sharedFilter: string | null,
];

function queueEntryOf([position, messageId, qos, retain, state, ...rest]: QueueEntryRow): StoredQueueEntry {
  const [packetIdentifier, subscriptionIdentifiers, sharedFilter] = rest;
  return {
    position,
    messageId,
    qos,
    retain: retain === 1,
    subscriptionIdentifiers: subscriptionIdentifiers === null ? [] : JSON.parse(subscriptionIdentifiers),
    sharedFilter: given(sharedFilter),
    state: queueStates[state],
    packetIdentifier: given(packetIdentifier),
  };
}

function subscriptionOf(row: Row): StoredSubscription {
  return {
    topicFilter: row.topic_filter as string,
    qos: row.qos as QoS,
    noLocal: row.no_local === 1,
    retainAsPublished: row.retain_as_published === 1,
    retainHandling: row.retain_handling as 0 | 1 | 2,
    subscriptionIdentifier: given(row.subscription_identifier as number | null),
  };
}

function owedOfLetter(row: Row): OwedDelivery {
  return {
    deliveryId: row.delivery_id as string,
    endpoint: row.endpoint_name as string,
    event: row.event as string,
    orderKey: row.order_key as string,
    body: row.body as Uint8Array,
    head: row.head as string,
    acceptedAt: row.accepted_at as number,
    expiresAt: given(row.expires_at as number | null),
  };
}

function given<Value>(value: Value | null): Value | undefined {
  return value ?? undefined;
}
