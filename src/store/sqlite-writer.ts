/**
 * Writes a draft into the tables, within the transaction that its caller has begun. Nothing is remembered from one draft
 * to the next, so a rollback needs no other hand.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import type { OwedDelivery, StoredSubscription } from "./change.ts";
import { type QueuePart, queuePartOf } from "./deliveries.ts";
import type {
  Draft,
  DraftDelivery,
  DraftEnd,
  DraftSession,
  DraftWill,
  Stored,
  StoredLetterFacts,
  StoredSessionFacts,
} from "./sqlite-draft.ts";
import { queueStates } from "./sqlite-reader.ts";
import type { StoredQueueEntry } from "./store.ts";

/** Two equal bodies in a row are stored once from this size on: below it, the row of its own costs more. */
const sharedBodyBytesMin = 64;

/** What a transaction adds to the counters of one endpoint. */
interface Tally {
  accepted: number;
  delivered: number;
  dead: number;
  dropped: number;
  expired: number;
  messages: number;
  messageBytes: number;
  clientEvents: number;
  clientEventBytes: number;
  deadLetters: number;
  deadLetterBytes: number;
}

export class SqliteWriter implements Stored {
  private readonly sql: Statements;

  constructor(database: DatabaseSync) {
    this.sql = prepareStatements(database);
  }

  session(clientId: string): StoredSessionFacts | undefined {
    const row = this.sql.findSession.get(clientId) as
      | { session: number; user_name: string | null; last_position: number | null }
      | undefined;
    if (row === undefined) return undefined;
    return { session: row.session, userName: row.user_name ?? undefined, lastPosition: row.last_position ?? 0 };
  }

  hasMessage(messageId: number): boolean {
    return this.sql.findMessage.get(messageId) !== undefined;
  }

  deadLetter(endpoint: string, position: number): StoredLetterFacts | undefined {
    const row = this.sql.findDeadLetter.get(endpoint, position) as
      | { endpoint: number; event: string; body_bytes: number }
      | undefined;
    return row === undefined ? undefined : { endpoint: row.endpoint, event: row.event, bodyBytes: row.body_bytes };
  }

  write(draft: Draft): void {
    const { letGo } = draft;
    this.writeMessages(draft);
    for (const session of draft.sessions.values()) this.writeSession(session, letGo);
    for (const [topicName, messageId] of draft.retained) {
      addMessageId(letGo, this.sql.deleteRetained.get(topicName));
      if (messageId !== undefined) this.sql.insertRetained.run(topicName, messageId);
    }
    for (const [clientId, will] of draft.wills) this.writeWill(clientId, will, letGo);
    for (const [from, to] of runs(letGo)) this.sql.deleteUnnamedMessages.run(from, to);
    this.writeDeliveries(draft);
  }

  private writeMessages({ messages }: Draft): void {
    for (const [messageId, { message, references }] of messages) {
      if (references === 0) continue;
      this.sql.insertMessage.run(
        messageId,
        message.topicName,
        message.qos,
        flag(message.retain),
        message.acceptedAt,
        message.expiresAt ?? null,
        message.publisherClientId,
        message.publisherUserName ?? null,
        message.properties,
        message.payload,
      );
    }
  }

  private writeSession(draft: DraftSession, letGo: Set<number>): void {
    const { clientId, stored, ended, facts } = draft;
    let session = stored?.session;
    if (session !== undefined && ended) {
      this.deleteSession(session, letGo);
      session = undefined;
    }
    if (facts !== undefined) {
      const { userName, expirySeconds, disconnectedAt } = facts;
      const row = this.sql.putSession.get(clientId, userName ?? null, expirySeconds, disconnectedAt ?? null);
      session = (row as { session: number }).session;
    }
    if (session === undefined) return;
    for (const [topicFilter, subscription] of draft.subscriptions) {
      if (subscription === undefined) this.sql.deleteSubscription.run(session, topicFilter);
      else this.sql.putSubscription.run(...subscriptionRow(session, subscription));
    }
    this.writeQueue(session, draft.queue, letGo);
    for (const [packetIdentifier, isReceived] of draft.received) {
      if (isReceived) this.sql.putReceived.run(session, packetIdentifier);
      else this.sql.deleteReceived.run(session, packetIdentifier);
    }
  }

  private deleteSession(session: number, letGo: Set<number>): void {
    for (const row of this.sql.deleteQueue.all(session, 0, Number.MAX_SAFE_INTEGER)) addMessageId(letGo, row);
    this.sql.deleteSubscriptions.run(session);
    this.sql.deleteAllReceived.run(session);
    this.sql.deleteSession.run(session);
  }

  /** Settled in the order they were sent, as most are, many go in one statement. */
  private writeQueue(session: number, queue: DraftSession["queue"], letGo: Set<number>): void {
    const gone: number[] = [];
    for (const [position, entry] of queue) {
      if (entry.kind === "gone" || (entry.kind === "new" && entry.replaces)) gone.push(position);
    }
    for (const [from, to] of runs(gone)) {
      for (const row of this.sql.deleteQueue.all(session, from, to)) addMessageId(letGo, row);
    }
    for (const [position, entry] of queue) {
      switch (entry.kind) {
        case "new":
          this.sql.insertQueue.run(...queueRow(session, entry.entry));
          break;
        case "moved": {
          const state = queueStates.indexOf(entry.state);
          const row = this.sql.moveQueue.get(state, entry.packetIdentifier ?? null, session, position);
          if (entry.state === "released") addMessageId(letGo, row);
          break;
        }
        case "gone":
          break;
        default:
          entry satisfies never;
      }
    }
  }

  private writeWill(clientId: string, will: DraftWill, letGo: Set<number>): void {
    if (will.kind === "due") {
      this.sql.makeWillDue.run(will.dueAt, clientId);
      return;
    }
    addMessageId(letGo, this.sql.deleteWill.get(clientId));
    if (will.kind === "set") this.sql.insertWill.run(clientId, will.messageId, will.delaySeconds, will.dueAt ?? null);
  }

  private writeDeliveries(draft: Draft): void {
    const tallies = new Map<number, Tally>();
    this.replay(draft, tallies);
    this.deleteLetters(draft, tallies);
    this.writeEndpoints(draft, tallies);
    this.writeOwed(draft, tallies);
    for (const { position, attempts, failures, dueAt } of draft.putBack.values())
      this.sql.putDeliveryBack.run(attempts, failures, dueAt, position);
    this.deleteEnded(draft, tallies);
    for (const [endpoint, tally] of tallies) this.sql.countEndpoint.run(...Object.values(tally), endpoint);
  }

  private replay({ replayed }: Draft, tallies: Map<number, Tally>): void {
    for (const { letter, facts, position, acceptedAt } of replayed) {
      const tally = tallyOf(tallies, facts.endpoint);
      const part = queuePartOf(facts.event);
      this.sql.replayDeadLetter.run(position, flag(part === "clientEvents"), acceptedAt, letter);
      this.sql.deleteDeadLetter.run(facts.endpoint, letter);
      tally.accepted++;
      queue(tally, part, 1, facts.bodyBytes);
      addDeadLetter(tally, -1, facts.bodyBytes);
    }
  }

  private deleteLetters({ deleted }: Draft, tallies: Map<number, Tally>): void {
    for (const [position, name] of deleted) {
      const facts = this.deadLetter(name, position);
      if (facts === undefined) continue;
      this.sql.deleteDeadLetter.run(facts.endpoint, position);
      addDeadLetter(tallyOf(tallies, facts.endpoint), -1, facts.bodyBytes);
    }
  }

  private writeOwed({ owed: deliveries, forgotten }: Draft, tallies: Map<number, Tally>): void {
    const endpoints = new Map<string, number>();
    /** The delivery before, with its body's number once that is shared. */
    let before: { owed: OwedDelivery; position: number; sharedBody: number | undefined } | undefined;
    for (const delivery of deliveries.values()) {
      const { position, owed, end } = delivery;
      const endpoint = endpoints.get(owed.endpoint) ?? this.endpointNumber(owed.endpoint);
      endpoints.set(owed.endpoint, endpoint);
      const tally = tallyOf(tallies, endpoint);
      tally.accepted++;
      if (end !== undefined) {
        count(tally, end);
        if (end.type === "delivery-died" && !forgotten.has(position)) this.bury(endpoint, owed, end, tally);
        continue;
      }
      let sharedBody: number | undefined;
      if (before !== undefined && sharesBody(before.owed, owed)) {
        sharedBody = before.sharedBody ?? this.shareBody(before.position, owed.body);
      }
      this.sql.insertDelivery.run(...deliveryRow(delivery, endpoint, sharedBody));
      queue(tally, queuePartOf(owed.event), 1, owed.body.length);
      before = { owed, position, sharedBody };
    }
  }

  /** The body of the delivery just written turns out to be another's as well: it moves to where both find it. */
  private shareBody(position: number, body: Uint8Array): number {
    // The position is not given a second time while anything stored knows it.
    this.sql.insertSharedBody.run(position, body);
    this.sql.shareBody.run(position, position);
    return position;
  }

  /** Most end nearly in the order they were owed: many go in one statement. */
  private deleteEnded({ ended, forgotten }: Draft, tallies: Map<number, Tally>): void {
    for (const end of ended.values()) {
      if (end.type !== "delivery-died" || forgotten.has(end.position)) continue;
      this.sql.buryDelivery.run(end.attempts, end.reason, end.detail, end.at, end.position);
    }
    const bodiesLetGo = new Set<number>();
    for (const [from, to] of runs(ended.keys())) {
      for (const row of this.sql.deleteDeliveries.all(from, to) as unknown as DeletedDelivery[]) {
        const end = ended.get(row.position)!;
        const tally = tallyOf(tallies, row.endpoint);
        count(tally, end);
        queue(tally, row.client_event === 1 ? "clientEvents" : "messages", -1, row.body_bytes);
        if (end.type === "delivery-died" && !forgotten.has(row.position)) addDeadLetter(tally, 1, row.body_bytes);
        if (row.shared_body !== null) bodiesLetGo.add(row.shared_body);
      }
    }
    for (const sharedBody of bodiesLetGo) this.sql.deleteUnnamedBody.run(sharedBody, sharedBody);
  }

  private bury(
    endpoint: number,
    owed: OwedDelivery,
    end: Extract<DraftEnd, { type: "delivery-died" }>,
    tally: Tally,
  ): void {
    const { deliveryId, event, orderKey, acceptedAt, expiresAt, body, head } = owed;
    const { position, attempts, reason, detail, at } = end;
    const facts = [deliveryId, event, orderKey, acceptedAt, expiresAt ?? null];
    this.sql.insertDeadLetter.run(position, endpoint, ...facts, attempts, reason, detail, at, body, head);
    addDeadLetter(tally, 1, body.length);
  }

  private writeEndpoints({ endpoints }: Draft, tallies: Map<number, Tally>): void {
    for (const [name, { underWay, breaker, batches, deadLettersForgottenUpTo }] of endpoints) {
      const endpoint = this.endpointNumber(name);
      if (underWay !== undefined) this.sql.setUnderWay.run(JSON.stringify(underWay), endpoint);
      if (breaker !== undefined) this.sql.moveBreaker.run(breaker.breaker, breaker.heldUntil, endpoint);
      if (batches !== undefined) this.sql.freezeBatches.run(batches, endpoint);
      if (deadLettersForgottenUpTo === 0) continue;
      const tally = tallyOf(tallies, endpoint);
      for (const row of this.sql.forgetDeadLetters.all(endpoint, deadLettersForgottenUpTo)) {
        tally.deadLetters--;
        tally.deadLetterBytes -= row.bytes as number;
      }
    }
  }

  private endpointNumber(name: string): number {
    const row = this.sql.findEndpoint.get(name) ?? this.sql.putEndpoint.get(name);
    return (row as { endpoint: number }).endpoint;
  }
}

type Statements = ReturnType<typeof prepareStatements>;

function prepareStatements(database: DatabaseSync) {
  const prepare = (sql: string): StatementSync => database.prepare(sql);
  return {
    findMessage: prepare("SELECT 1 FROM messages WHERE message_id = ?"),
    insertMessage: prepare("INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    deleteUnnamedMessages: prepare(`
      DELETE FROM messages WHERE message_id BETWEEN ? AND ?
        AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.message_id = messages.message_id AND q.state < 2)
        AND NOT EXISTS (SELECT 1 FROM retained r WHERE r.message_id = messages.message_id)
        AND NOT EXISTS (SELECT 1 FROM wills w WHERE w.message_id = messages.message_id)`),

    findSession: prepare(`
      SELECT session, user_name, (SELECT max(position) FROM queue q WHERE q.session = s.session) AS last_position
      FROM sessions s WHERE client_id = ?`),
    putSession: prepare(`
      INSERT INTO sessions (client_id, user_name, expiry_seconds, disconnected_at) VALUES (?, ?, ?, ?)
      ON CONFLICT (client_id) DO UPDATE SET user_name = excluded.user_name,
        expiry_seconds = excluded.expiry_seconds, disconnected_at = excluded.disconnected_at
      RETURNING session`),
    deleteSession: prepare("DELETE FROM sessions WHERE session = ?"),
    putSubscription: prepare("INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?, ?, ?)"),
    deleteSubscription: prepare("DELETE FROM subscriptions WHERE session = ? AND topic_filter = ?"),
    deleteSubscriptions: prepare("DELETE FROM subscriptions WHERE session = ?"),
    putReceived: prepare("INSERT OR IGNORE INTO received VALUES (?, ?)"),
    deleteReceived: prepare("DELETE FROM received WHERE session = ? AND packet_identifier = ?"),
    deleteAllReceived: prepare("DELETE FROM received WHERE session = ?"),

    insertQueue: prepare("INSERT INTO queue VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    moveQueue: prepare(`
      UPDATE queue SET state = ?, packet_identifier = coalesce(?, packet_identifier)
      WHERE session = ? AND position = ? AND state < 2 RETURNING message_id`),
    deleteQueue: prepare("DELETE FROM queue WHERE session = ? AND position BETWEEN ? AND ? RETURNING message_id"),

    insertRetained: prepare("INSERT INTO retained VALUES (?, ?)"),
    deleteRetained: prepare("DELETE FROM retained WHERE topic_name = ? RETURNING message_id"),
    insertWill: prepare("INSERT INTO wills VALUES (?, ?, ?, ?)"),
    makeWillDue: prepare("UPDATE wills SET due_at = ? WHERE client_id = ?"),
    deleteWill: prepare("DELETE FROM wills WHERE client_id = ? RETURNING message_id"),

    findEndpoint: prepare("SELECT endpoint FROM endpoints WHERE name = ?"),
    putEndpoint: prepare(`
      INSERT INTO endpoints (name) VALUES (?) RETURNING endpoint`),
    countEndpoint: prepare(`
      UPDATE endpoints SET accepted = accepted + ?, delivered = delivered + ?, dead = dead + ?,
        dropped = dropped + ?, expired = expired + ?, messages = messages + ?, message_bytes = message_bytes + ?,
        client_events = client_events + ?, client_event_bytes = client_event_bytes + ?,
        dead_letters = dead_letters + ?, dead_letter_bytes = dead_letter_bytes + ? WHERE endpoint = ?`),
    setUnderWay: prepare("UPDATE endpoints SET under_way = ? WHERE endpoint = ?"),
    moveBreaker: prepare("UPDATE endpoints SET breaker = ?, held_until = ? WHERE endpoint = ?"),
    freezeBatches: prepare("UPDATE endpoints SET batches = ? WHERE endpoint = ?"),
    insertDelivery: prepare("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    putDeliveryBack: prepare("UPDATE deliveries SET attempts = ?, failures = ?, due_at = ? WHERE position = ?"),
    deleteDeliveries: prepare(`
      DELETE FROM deliveries WHERE position BETWEEN ? AND ?
      RETURNING position, endpoint, client_event, body_bytes, shared_body`),
    buryDelivery: prepare(`
      INSERT INTO dead_letters
        SELECT position, endpoint, delivery_id, event, order_key, accepted_at, expires_at, ?, ?, ?, ?,
          coalesce(d.body, (SELECT b.body FROM shared_bodies b WHERE b.shared_body = d.shared_body)), head
        FROM deliveries d WHERE position = ?`),
    insertDeadLetter: prepare("INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    findDeadLetter: prepare(`
      SELECT l.endpoint, l.event, length(l.body) AS body_bytes FROM dead_letters l JOIN endpoints e USING (endpoint)
      WHERE e.name = ? AND l.position = ?`),
    deleteDeadLetter: prepare("DELETE FROM dead_letters WHERE endpoint = ? AND position = ?"),
    replayDeadLetter: prepare(`
      INSERT INTO deliveries
        SELECT ?, endpoint, ?, delivery_id, event, order_key, ?, NULL, 0, 0, NULL, length(body), NULL, body, head
        FROM dead_letters WHERE position = ?`),
    forgetDeadLetters: prepare(
      "DELETE FROM dead_letters WHERE endpoint = ? AND position <= ? RETURNING length(body) AS bytes",
    ),
    insertSharedBody: prepare("INSERT INTO shared_bodies VALUES (?, ?)"),
    shareBody: prepare("UPDATE deliveries SET body = NULL, shared_body = ? WHERE position = ?"),
    deleteUnnamedBody: prepare(`
      DELETE FROM shared_bodies WHERE shared_body = ?
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE shared_body = ?)`),
  };
}

function subscriptionRow(session: number, subscription: StoredSubscription): SQLInputValue[] {
  const { topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } = subscription;
  return [
    session,
    topicFilter,
    qos,
    flag(noLocal),
    flag(retainAsPublished),
    retainHandling,
    subscriptionIdentifier ?? null,
  ];
}

function queueRow(session: number, entry: StoredQueueEntry): SQLInputValue[] {
  const { position, messageId, qos, retain, state, packetIdentifier, subscriptionIdentifiers, sharedFilter } = entry;
  return [
    session,
    position,
    messageId,
    qos,
    flag(retain),
    queueStates.indexOf(state),
    packetIdentifier ?? null,
    subscriptionIdentifiers.length === 0 ? null : JSON.stringify(subscriptionIdentifiers),
    sharedFilter ?? null,
  ];
}

function deliveryRow(
  { position, owed, putBack }: DraftDelivery,
  endpoint: number,
  sharedBody: number | undefined,
): SQLInputValue[] {
  return [
    position,
    endpoint,
    flag(queuePartOf(owed.event) === "clientEvents"),
    owed.deliveryId,
    owed.event,
    owed.orderKey,
    owed.acceptedAt,
    owed.expiresAt ?? null,
    putBack?.attempts ?? 0,
    putBack?.failures ?? 0,
    putBack?.dueAt ?? null,
    owed.body.length,
    sharedBody ?? null,
    sharedBody === undefined ? owed.body : null,
    owed.head,
  ];
}

/** What is left to know of a delivery that goes. */
interface DeletedDelivery {
  position: number;
  endpoint: number;
  client_event: 0 | 1;
  body_bytes: number;
  shared_body: number | null;
}

/** One event that several endpoints are owed comes as deliveries in a row. */
function sharesBody({ body: before }: OwedDelivery, { body }: OwedDelivery): boolean {
  return body.length >= sharedBodyBytesMin && body.length === before.length && Buffer.compare(body, before) === 0;
}

function tallyOf(tallies: Map<number, Tally>, endpoint: number): Tally {
  let tally = tallies.get(endpoint);
  if (tally === undefined) {
    // In the order in which `countEndpoint` takes them.
    tally = {
      accepted: 0,
      delivered: 0,
      dead: 0,
      dropped: 0,
      expired: 0,
      messages: 0,
      messageBytes: 0,
      clientEvents: 0,
      clientEventBytes: 0,
      deadLetters: 0,
      deadLetterBytes: 0,
    };
    tallies.set(endpoint, tally);
  }
  return tally;
}

function count(tally: Tally, end: DraftEnd): void {
  tally[end.type === "delivery-died" ? "dead" : end.outcome]++;
}

/** One more (1) or one fewer (-1). */
function addDeadLetter(tally: Tally, one: 1 | -1, bodyBytes: number): void {
  tally.deadLetters += one;
  tally.deadLetterBytes += one * bodyBytes;
}

/** One more (1) or one fewer (-1) of so many bytes waits. */
function queue(tally: Tally, part: QueuePart, one: 1 | -1, bodyBytes: number): void {
  if (part === "messages") {
    tally.messages += one;
    tally.messageBytes += one * bodyBytes;
  } else {
    tally.clientEvents += one;
    tally.clientEventBytes += one * bodyBytes;
  }
}

function addMessageId(letGo: Set<number>, row: unknown): void {
  if (row !== undefined) letGo.add((row as { message_id: number }).message_id);
}

/** The numbers in order, as runs without a gap: first and last of each. */
function* runs(numbers: Iterable<number>): Generator<[number, number]> {
  const sorted = Float64Array.from(numbers).sort();
  for (let start = 0, end = 1; start < sorted.length; start = end, end++) {
    while (end < sorted.length && sorted[end] === sorted[end - 1] + 1) end++;
    yield [sorted[start], sorted[end - 1]];
  }
}

function flag(value: boolean): 0 | 1 {
  return value ? 1 : 0;
}
