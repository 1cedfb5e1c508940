/** Reads the tables back: the present state for a start, and owed deliveries slice by slice. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import type { QoS } from "../mqtt/packet.ts";
import type { BrokerChange, OwedDelivery, StoredMessage } from "./change.ts";
import type {
  DeadLetter,
  DeadLetterFacts,
  DeliveryStore,
  OwedFacts,
  PositionRange,
  QueuePart,
  Slice,
  SliceLimits,
  StoredDelivery,
  StoredEndpoint,
} from "./deliveries.ts";
import { addChangesOfEntry } from "./replay.ts";
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

  /** All but the deliveries, as Changes that lead to it from nothing; so many in one part, or a few more. */
  *state(changesPerPart: number): Generator<BrokerChange[]> {
    const clientIds = new Map<number, string>();
    let part: BrokerChange[] = [];
    for (const { sql, add } of stateTables) {
      for (const row of asArrays(this.database.prepare(sql)).iterate()) {
        add(row as never, part, clientIds);
        if (part.length < changesPerPart) continue;
        yield part;
        part = [];
      }
    }
    yield part;
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

  *oldestDeadLetters(endpoint: string, after: number): Iterable<DeadLetterFacts> {
    for (const row of this.sql.deadLetterFacts.iterate(endpoint, after) as Iterable<Row>) {
      const { position, reason, detail, attempts, died_at, delivery_id, event, order_key, accepted_at, body_bytes } =
        row;
      yield {
        position: position as number,
        reason: reason as string,
        detail: detail as string,
        attempts: attempts as number,
        diedAt: died_at as number,
        deliveryId: delivery_id as string,
        event: event as string,
        orderKey: order_key as string,
        acceptedAt: accepted_at as number,
        bodyBytes: body_bytes as number,
      };
    }
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
    deadLetterFacts: prepare(`
      SELECT position, reason, detail, attempts, died_at, delivery_id, event, order_key, accepted_at,
        length(body) AS body_bytes
      FROM dead_letters WHERE endpoint = (SELECT endpoint FROM endpoints WHERE name = ?) AND position > ?
      ORDER BY position`),
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
    batches: row.batches as string,
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

/** A table of the broker's state, and what a row of it says. `clientIds`: of the sessions so far, by what stands for them. */
interface StateTable {
  sql: string;
  add(row: never, part: BrokerChange[], clientIds: Map<number, string>): void;
}

// Rows as arrays, read by index: half the time of objects, and there may be a hundred thousand of them.
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
type SessionRow = [session: number, clientId: string, userName: string | null, expirySeconds: number];
type SubscriptionRow = [
  session: number,
  topicFilter: string,
  qos: QoS,
  noLocal: 0 | 1,
  retainAsPublished: 0 | 1,
  retainHandling: 0 | 1 | 2,
  subscriptionIdentifier: number | null,
];
type QueueRow = [
  session: number,
  position: number,
  messageId: number,
  qos: 1 | 2,
  retain: 0 | 1,
  state: number,
  packetIdentifier: number | null,
  subscriptionIdentifiers: string | null,
  sharedFilter: string | null,
];
type WillRow = [clientId: string, messageId: number, delaySeconds: number, dueAt: number | null];

const nothing = new Uint8Array(0);
const noIdentifiers: readonly number[] = [];

/** In the order in which one may name what another has. */
const stateTables: readonly StateTable[] = [
  {
    // Most messages have no properties: NULL costs less to bring over than an empty blob.
    sql: `
      SELECT message_id, topic_name, payload, qos, retain, nullif(properties, x''), accepted_at, expires_at,
        publisher_client_id, publisher_user_name
      FROM messages`,
    add(row: MessageRow, part) {
      const message: StoredMessage = {
        topicName: row[1],
        payload: row[2],
        qos: row[3],
        retain: row[4] === 1,
        properties: row[5] ?? nothing,
        acceptedAt: row[6],
        expiresAt: given(row[7]),
        publisherClientId: row[8],
        publisherUserName: given(row[9]),
      };
      part.push({ type: "message-kept", messageId: row[0], message });
    },
  },
  {
    sql: "SELECT session, client_id, user_name, expiry_seconds FROM sessions",
    add([session, clientId, userName, expirySeconds]: SessionRow, part, clientIds) {
      clientIds.set(session, clientId);
      part.push({ type: "session-opened", clientId, userName: given(userName), expirySeconds });
    },
  },
  {
    sql: `
      SELECT session, topic_filter, qos, no_local, retain_as_published, retain_handling, subscription_identifier
      FROM subscriptions`,
    add(row: SubscriptionRow, part, clientIds) {
      const [session, topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier] = row;
      const subscription = {
        topicFilter,
        qos,
        noLocal: noLocal === 1,
        retainAsPublished: retainAsPublished === 1,
        retainHandling,
        subscriptionIdentifier: given(subscriptionIdentifier),
      };
      part.push({ type: "subscribed", clientId: clientIds.get(session)!, subscription });
    },
  },
  {
    // By the primary key: in order of position.
    sql: `
      SELECT session, position, message_id, qos, retain, state, packet_identifier, subscription_identifiers,
        shared_filter
      FROM queue ORDER BY session, position`,
    add(row: QueueRow, part, clientIds) {
      const entry: StoredQueueEntry = {
        position: row[1],
        messageId: row[2],
        qos: row[3],
        retain: row[4] === 1,
        state: queueStates[row[5]],
        packetIdentifier: given(row[6]),
        subscriptionIdentifiers: row[7] === null ? noIdentifiers : JSON.parse(row[7]),
        sharedFilter: given(row[8]),
      };
      addChangesOfEntry(part, clientIds.get(row[0])!, entry);
    },
  },
  {
    sql: "SELECT session, packet_identifier FROM received",
    add([session, packetIdentifier]: [session: number, packetIdentifier: number], part, clientIds) {
      part.push({ type: "received", clientId: clientIds.get(session)!, packetIdentifier });
    },
  },
  {
    sql: "SELECT client_id, disconnected_at, expiry_seconds FROM sessions WHERE disconnected_at IS NOT NULL",
    add([clientId, at, expirySeconds]: [clientId: string, at: number, expirySeconds: number], part) {
      part.push({ type: "session-disconnected", clientId, at, expirySeconds });
    },
  },
  {
    sql: "SELECT topic_name, message_id FROM retained",
    add([topicName, messageId]: [topicName: string, messageId: number], part) {
      part.push({ type: "retained", topicName, messageId });
    },
  },
  {
    sql: "SELECT client_id, message_id, delay_seconds, due_at FROM wills",
    add([clientId, messageId, delaySeconds, dueAt]: WillRow, part) {
      part.push({ type: "will-set", clientId, messageId, delaySeconds });
      if (dueAt !== null) part.push({ type: "will-due", clientId, at: dueAt });
    },
  },
];

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
