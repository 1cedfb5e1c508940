/**
 * What one transaction is to write: the Changes of its batches folded into their net effect, before the disk sees any of
 * it. What begins and ends within the transaction (a message queued, sent and settled) leaves no trace.
 *
 * A draft belongs to one transaction and is thrown away with it, so a transaction that fails leaves nothing behind.
 */
import type { Instant } from "../base/clock.ts";
import type { Change, OwedDelivery, StoredMessage, StoredSubscription } from "./change.ts";
import type { StoredQueueEntry } from "./store.ts";

/** What a draft has to ask the database. */
export interface Stored {
  session(clientId: string): StoredSessionFacts | undefined;
  hasMessage(messageId: number): boolean;
  deadLetter(endpoint: string, position: number): StoredLetterFacts | undefined;
}

export interface StoredLetterFacts {
  /** What stands for its endpoint in the tables. */
  endpoint: number;
  event: string;
  bodyBytes: number;
}

export interface StoredSessionFacts {
  /** What stands for it in the tables. */
  session: number;
  userName: string | undefined;
  /** Of its queue; 0 when that is empty. */
  lastPosition: number;
}

export interface DraftMessage {
  message: StoredMessage;
  /** Places of this draft that name it; without any it is not written. */
  references: number;
}

export interface DraftSession {
  readonly clientId: string;
  readonly stored: StoredSessionFacts | undefined;
  /** It has ended: what is stored of it goes first of all, before what is here. */
  ended: boolean;
  /** `undefined`: there is none, or it stays as it is stored. */
  facts: DraftSessionFacts | undefined;
  /** `undefined` for those that go. */
  readonly subscriptions: Map<string, StoredSubscription | undefined>;
  readonly queue: Map<number, DraftEntry>;
  /** Packet identifiers: `true` for those received, `false` for those completed. */
  readonly received: Map<number, boolean>;
}

interface DraftSessionFacts {
  userName: string | undefined;
  expirySeconds: number;
  disconnectedAt: Instant | undefined;
}

/** What becomes of one position of a queue. */
export type DraftEntry =
  /** `replaces`: the database may hold another at this position. */
  | { kind: "new"; replaces: boolean; entry: StoredQueueEntry }
  | { kind: "moved"; state: "sent" | "released"; packetIdentifier: number | undefined }
  | { kind: "gone" };

export type DraftWill =
  | { kind: "set"; messageId: number; delaySeconds: number; dueAt: Instant | undefined }
  | { kind: "due"; dueAt: Instant }
  | { kind: "cleared" };

/** How a delivery ended. */
export type DraftEnd = Extract<Change, { type: "delivery-settled" | "delivery-died" }>;
export type DraftPutBack = Extract<Change, { type: "delivery-put-back" }>;

/** New to the database; one that has ended already is only counted, or is a dead letter from the beginning. */
export interface DraftDelivery {
  position: number;
  owed: OwedDelivery;
  putBack: DraftPutBack | undefined;
  end: DraftEnd | undefined;
}

/** A stored dead letter that becomes a delivery again. */
export interface DraftReplay {
  letter: number;
  facts: StoredLetterFacts;
  position: number;
  acceptedAt: Instant;
}

/** What is new of an endpoint itself. */
export interface DraftEndpoint {
  underWay: readonly number[] | undefined;
  breaker: { breaker: string; heldUntil: Instant } | undefined;
  batches: string | undefined;
  deadLettersForgottenUpTo: number;
}

export class Draft {
  readonly messages = new Map<number, DraftMessage>();
  /** Stored messages that may have lost their last place. */
  readonly letGo = new Set<number>();
  readonly sessions = new Map<string, DraftSession>();
  /** `undefined` for topic names that are cleared. */
  readonly retained = new Map<string, number | undefined>();
  readonly wills = new Map<string, DraftWill>();
  /** Deliveries by their position: the new ones, and what becomes of those stored. */
  readonly owed = new Map<number, DraftDelivery>();
  readonly ended = new Map<number, DraftEnd>();
  readonly putBack = new Map<number, DraftPutBack>();
  /** Of those that died, the ones that are no dead letters any more. */
  readonly forgotten = new Set<number>();
  /** Stored dead letters that go, whatever the rest of this draft makes. */
  readonly deleted = new Map<number, string>();
  /** Before all that the rest of this draft makes. */
  readonly replayed: DraftReplay[] = [];
  readonly endpoints = new Map<string, DraftEndpoint>();
  private readonly database: Stored;
  /** Of the next delivery owed. */
  nextPosition: number;

  constructor(database: Stored, nextPosition: number) {
    this.database = database;
    this.nextPosition = nextPosition;
  }

  fold(change: Change): void {
    switch (change.type) {
      case "message-kept":
        if (!this.messages.has(change.messageId))
          this.messages.set(change.messageId, { message: change.message, references: 0 });
        return;
      case "retained":
        if (!this.name(change.messageId)) return;
        this.unname(this.retained.get(change.topicName));
        this.retained.set(change.topicName, change.messageId);
        return;
      case "retained-cleared":
        this.unname(this.retained.get(change.topicName));
        this.retained.set(change.topicName, undefined);
        return;
      case "will-set":
        if (!this.name(change.messageId)) return;
        this.replaceWill(change.clientId, {
          kind: "set",
          messageId: change.messageId,
          delaySeconds: change.delaySeconds,
          dueAt: undefined,
        });
        return;
      case "will-due":
        return this.makeWillDue(change.clientId, change.at);
      case "will-cleared":
        return this.replaceWill(change.clientId, { kind: "cleared" });
      case "delivery-owed":
        this.owed.set(this.nextPosition, {
          position: this.nextPosition,
          owed: change.delivery,
          putBack: undefined,
          end: undefined,
        });
        this.nextPosition++;
        return;
      case "delivery-put-back":
        return this.putDeliveryBack(change);
      case "delivery-settled":
      case "delivery-died":
        return this.endDelivery(change);
      case "attempts-under-way":
        this.endpointOf(change.endpoint).underWay = change.positions;
        return;
      case "breaker-moved":
        this.endpointOf(change.endpoint).breaker = change;
        return;
      case "batches-frozen":
        this.endpointOf(change.endpoint).batches = change.batches;
        return;
      case "dead-letters-forgotten":
        return this.forgetDeadLetters(change.endpoint, change.upTo);
      case "dead-letter-deleted":
        return this.deleteDeadLetter(change.endpoint, change.position);
      case "dead-letter-replayed":
        return this.replay(change.endpoint, change.position, change.at);
      case "session-opened":
      case "session-disconnected":
      case "session-ended":
      case "subscribed":
      case "unsubscribed":
      case "queued":
      case "sent":
      case "released":
      case "settled":
      case "received":
      case "receive-completed": {
        const session = this.sessionOf(change.clientId);
        if (change.type === "session-opened") return open(session, change.userName, change.expirySeconds);
        if (exists(session)) this.foldInto(session, change);
        return;
      }
      default:
        change satisfies never;
    }
  }

  private foldInto(session: DraftSession, change: SessionChange): void {
    switch (change.type) {
      case "session-disconnected": {
        const { userName } = session.facts ?? session.stored!;
        session.facts = { userName, expirySeconds: change.expirySeconds, disconnectedAt: change.at };
        return;
      }
      case "session-ended":
        for (const entry of session.queue.values()) this.leave(entry);
        session.facts = undefined;
        session.subscriptions.clear();
        session.queue.clear();
        session.received.clear();
        session.ended = true;
        return;
      case "subscribed":
        session.subscriptions.set(change.subscription.topicFilter, change.subscription);
        return;
      case "unsubscribed":
        session.subscriptions.set(change.topicFilter, undefined);
        return;
      case "queued":
        return this.queue(session, change);
      case "sent":
        return move(session, change.position, "sent", change.packetIdentifier);
      case "released":
        this.leave(session.queue.get(change.position));
        return move(session, change.position, "released", undefined);
      case "settled": {
        this.leave(session.queue.get(change.position));
        if (mayBeStored(session, change.position)) session.queue.set(change.position, gone);
        else session.queue.delete(change.position);
        return;
      }
      case "received":
        session.received.set(change.packetIdentifier, true);
        return;
      case "receive-completed":
        session.received.set(change.packetIdentifier, false);
        return;
      default:
        change satisfies never;
    }
  }

  private sessionOf(clientId: string): DraftSession {
    let session = this.sessions.get(clientId);
    if (session === undefined) {
      session = {
        clientId,
        stored: this.database.session(clientId),
        ended: false,
        facts: undefined,
        subscriptions: new Map(),
        queue: new Map(),
        received: new Map(),
      };
      this.sessions.set(clientId, session);
    }
    return session;
  }

  private queue(session: DraftSession, change: Extract<Change, { type: "queued" }>): void {
    const { position, messageId, qos, retain, subscriptionIdentifiers, sharedFilter } = change;
    if (!this.name(messageId)) return;
    this.leave(session.queue.get(position));
    session.queue.set(position, {
      kind: "new",
      replaces: mayBeStored(session, position),
      entry: {
        position,
        messageId,
        qos,
        retain,
        subscriptionIdentifiers,
        sharedFilter,
        state: "queued",
        packetIdentifier: undefined,
      },
    });
  }

  /** An entry of this draft goes, or its message is released. Of stored ones the database knows what they name. */
  private leave(entry: DraftEntry | undefined): void {
    if (entry?.kind === "new" && entry.entry.state !== "released") this.unname(entry.entry.messageId);
  }

  private replaceWill(clientId: string, will: DraftWill): void {
    const before = this.wills.get(clientId);
    if (before?.kind === "set") this.unname(before.messageId);
    this.wills.set(clientId, will);
  }

  private makeWillDue(clientId: string, dueAt: Instant): void {
    const will = this.wills.get(clientId);
    if (will?.kind === "set") this.wills.set(clientId, { ...will, dueAt });
    else if (will?.kind !== "cleared") this.wills.set(clientId, { kind: "due", dueAt });
  }

  private putDeliveryBack(change: DraftPutBack): void {
    if (change.position >= this.nextPosition) return;
    const owed = this.owed.get(change.position);
    if (owed !== undefined) owed.putBack = change;
    else this.putBack.set(change.position, change);
  }

  private endDelivery(change: DraftEnd): void {
    if (change.position >= this.nextPosition) return;
    const owed = this.owed.get(change.position);
    if (owed === undefined) {
      if (!this.ended.has(change.position)) this.ended.set(change.position, change);
    } else owed.end ??= change;
  }

  /** Those of this draft are never written; later ones are not meant, whatever their position. */
  private forgetDeadLetters(endpoint: string, upTo: number): void {
    const draft = this.endpointOf(endpoint);
    draft.deadLettersForgottenUpTo = Math.max(draft.deadLettersForgottenUpTo, upTo);
    const isMeant = (end: DraftEnd | undefined) => end?.endpoint === endpoint && end.position <= upTo;
    for (const end of this.ended.values()) if (isMeant(end)) this.forgotten.add(end.position);
    for (const { position, end } of this.owed.values()) if (isMeant(end)) this.forgotten.add(position);
  }

  private deleteDeadLetter(endpoint: string, position: number): void {
    const end = this.ended.get(position) ?? this.owed.get(position)?.end;
    if (end?.endpoint === endpoint) this.forgotten.add(position);
    this.deleted.set(position, endpoint);
  }

  /** The database must know of all before: a draft that has anything in it is written first. */
  private replay(endpoint: string, letter: number, acceptedAt: Instant): void {
    const facts = this.database.deadLetter(endpoint, letter);
    if (facts !== undefined) this.replayed.push({ letter, facts, position: this.nextPosition++, acceptedAt });
  }

  private endpointOf(name: string): DraftEndpoint {
    let endpoint = this.endpoints.get(name);
    if (endpoint === undefined) {
      endpoint = { underWay: undefined, breaker: undefined, batches: undefined, deadLettersForgottenUpTo: 0 };
      this.endpoints.set(name, endpoint);
    }
    return endpoint;
  }

  /** One more place names it. False when it is not kept: the batch that was to keep it was refused. */
  private name(messageId: number): boolean {
    const message = this.messages.get(messageId);
    if (message === undefined) return this.database.hasMessage(messageId);
    message.references++;
    return true;
  }

  private unname(messageId: number | undefined): void {
    if (messageId === undefined) return;
    const message = this.messages.get(messageId);
    if (message === undefined) this.letGo.add(messageId);
    else message.references--;
  }
}

type SessionChange = Extract<
  Change,
  {
    type:
      | "session-disconnected"
      | "session-ended"
      | "subscribed"
      | "unsubscribed"
      | "queued"
      | "sent"
      | "released"
      | "settled"
      | "received"
      | "receive-completed";
  }
>;

const gone: DraftEntry = { kind: "gone" };

function exists({ stored, ended, facts }: DraftSession): boolean {
  return facts !== undefined || (stored !== undefined && !ended);
}

function open(session: DraftSession, userName: string | undefined, expirySeconds: number): void {
  session.facts = { userName, expirySeconds, disconnectedAt: undefined };
}

/** Positions count up, so one behind the last stored is new, and the database need not be asked. */
function mayBeStored({ stored }: DraftSession, position: number): boolean {
  return stored !== undefined && position <= stored.lastPosition;
}

function move(
  session: DraftSession,
  position: number,
  state: "sent" | "released",
  packetIdentifier: number | undefined,
): void {
  const before = session.queue.get(position);
  switch (before?.kind) {
    case "new": {
      const { entry } = before;
      if (entry.state === "released") return;
      entry.state = state;
      entry.packetIdentifier = packetIdentifier ?? entry.packetIdentifier;
      return;
    }
    case "moved":
      if (before.state === "released") return;
      before.state = state;
      before.packetIdentifier = packetIdentifier ?? before.packetIdentifier;
      return;
    case "gone":
      return;
    case undefined:
      if (mayBeStored(session, position)) session.queue.set(position, { kind: "moved", state, packetIdentifier });
      return;
    default:
      before satisfies never;
  }
}
