/** Reads the tables back: the present state for a start, and owed deliveries slice by slice. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import type { QoS } from "../mqtt/packet.ts";
import type { OwedDelivery, StoredMessage, StoredSubscription } from "./change.ts";
import type { StoredQueueEntry, StoredSession, StoredState } from "./store.ts";

/** As they are numbered in `queue.state`. */
export const queueStates: readonly StoredQueueEntry["state"][] = ["queued", "sent", "released"];

export interface StoredDelivery {
  /** Counts up in the order of owing, over all endpoints, with gaps. */
  position: number;
  owed: OwedDelivery;
}

/** At all times accepted = delivered + dead + dropped + expired + queued; what is being sent counts as queued here. */
export interface EndpointTally {
  endpoint: string;
  accepted: number;
  delivered: number;
  dead: number;
  dropped: number;
  expired: number;
  queued: number;
  /** Of the bodies queued. */
  bytes: number;
}

type Row = Record<string, SQLOutputValue>;

export class SqliteReader {
  private readonly database: DatabaseSync;
  private readonly slice: StatementSync;

  constructor(database: DatabaseSync) {
    this.database = database;
    this.slice = database.prepare(`${selectDelivery} WHERE d.endpoint = (SELECT endpoint FROM endpoints WHERE name = ?)
      AND d.position > ? ORDER BY d.position LIMIT ?`);
  }

  /** All but the deliveries. */
  state(): Omit<StoredState, "deliveries"> {
    const messages = new Map<number, StoredMessage>();
    for (const row of this.rows("SELECT * FROM messages")) messages.set(row.message_id as number, messageOf(row));
    const retained = new Map<string, number>();
    for (const { topic_name, message_id } of this.rows("SELECT * FROM retained"))
      retained.set(topic_name as string, message_id as number);
    const wills = Array.from(this.rows("SELECT * FROM wills"), (row) => ({
      clientId: row.client_id as string,
      messageId: row.message_id as number,
      delaySeconds: row.delay_seconds as number,
      dueAt: given(row.due_at as number | null),
    }));
    return { messages, sessions: this.sessions(), retained, wills };
  }

  /** Of all endpoints, in the order they were owed. */
  *deliveries(): Iterable<OwedDelivery> {
    for (const row of this.rows(`${selectDelivery} ORDER BY d.position`)) yield deliveryOf(row);
  }

  deliveriesOf(endpoint: string, after: number, limits: { countMax: number; bytesMax: number }): StoredDelivery[] {
    const slice: StoredDelivery[] = [];
    let bytes = 0;
    for (const row of this.slice.iterate(endpoint, after, limits.countMax) as Iterable<Row>) {
      bytes += row.body_bytes as number;
      if (bytes > limits.bytesMax && slice.length > 0) break;
      slice.push({ position: row.position as number, owed: deliveryOf(row) });
    }
    return slice;
  }

  tallies(): EndpointTally[] {
    return Array.from(this.rows("SELECT * FROM endpoints ORDER BY endpoint"), (row) => {
      const { accepted, delivered, dead, dropped, expired, body_bytes: bytes } = row as Record<string, number>;
      const queued = accepted - delivered - dead - dropped - expired;
      return { endpoint: row.name as string, accepted, delivered, dead, dropped, expired, queued, bytes };
    });
  }

  lastDeliveryPosition(): number {
    const [row] = this.rows("SELECT max(position) AS last FROM deliveries");
    return (row.last as number | null) ?? 0;
  }

  private sessions(): StoredSession[] {
    const sessions = new Map<number, StoredSession & Parts>();
    for (const row of this.rows("SELECT * FROM sessions ORDER BY session")) {
      sessions.set(row.session as number, {
        clientId: row.client_id as string,
        userName: given(row.user_name as string | null),
        expirySeconds: row.expiry_seconds as number,
        disconnectedAt: given(row.disconnected_at as number | null),
        subscriptions: [],
        queue: [],
        received: [],
      });
    }
    for (const row of this.rows("SELECT * FROM subscriptions"))
      sessions.get(row.session as number)?.subscriptions.push(subscriptionOf(row));
    // By the primary key: in order of position.
    for (const row of this.rows("SELECT * FROM queue ORDER BY session, position"))
      sessions.get(row.session as number)?.queue.push(queueEntryOf(row));
    for (const row of this.rows("SELECT * FROM received"))
      sessions.get(row.session as number)?.received.push(row.packet_identifier as number);
    return [...sessions.values()];
  }

  private rows(sql: string): Iterable<Row> {
    return this.database.prepare(sql).iterate() as Iterable<Row>;
  }
}

interface Parts {
  subscriptions: StoredSubscription[];
  queue: StoredQueueEntry[];
  received: number[];
}

const selectDelivery = `
  SELECT d.position, d.delivery_id, e.name AS endpoint, d.event, d.order_key, d.accepted_at, d.expires_at, d.body_bytes,
    coalesce(d.body, b.body) AS body
  FROM deliveries d JOIN endpoints e ON e.endpoint = d.endpoint
    LEFT JOIN shared_bodies b ON b.shared_body = d.shared_body`;

function messageOf(row: Row): StoredMessage {
  return {
    topicName: row.topic_name as string,
    payload: row.payload as Uint8Array,
    qos: row.qos as QoS,
    retain: row.retain === 1,
    properties: row.properties as Uint8Array,
    acceptedAt: row.accepted_at as number,
    expiresAt: given(row.expires_at as number | null),
    publisherClientId: row.publisher_client_id as string,
    publisherUserName: given(row.publisher_user_name as string | null),
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

function queueEntryOf(row: Row): StoredQueueEntry {
  const identifiers = row.subscription_identifiers as string | null;
  return {
    position: row.position as number,
    messageId: row.message_id as number,
    qos: row.qos as 1 | 2,
    retain: row.retain === 1,
    subscriptionIdentifiers: identifiers === null ? [] : JSON.parse(identifiers),
    sharedFilter: given(row.shared_filter as string | null),
    state: queueStates[row.state as number],
    packetIdentifier: given(row.packet_identifier as number | null),
  };
}

function deliveryOf(row: Row): OwedDelivery {
  return {
    deliveryId: row.delivery_id as string,
    endpoint: row.endpoint as string,
    event: row.event as string,
    orderKey: row.order_key as string,
    body: row.body as Uint8Array,
    acceptedAt: row.accepted_at as number,
    expiresAt: given(row.expires_at as number | null),
  };
}

function given<Value>(value: Value | null): Value | undefined {
  return value ?? undefined;
}
