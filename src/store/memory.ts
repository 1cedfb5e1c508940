/**
 * The engine that forgets at the end of the process: folds Changes into the present state, in the order they come.
 * `test/contract/` holds it and the durable engine to the same suite.
 */
import { assert } from "../base/assert.ts";
import type { Instant } from "../base/clock.ts";
import type { BrokerChange, DeliveryChange, StoredMessage, StoredSubscription } from "./change.ts";
import type { DeliveryStore } from "./deliveries.ts";
import { MemoryDeliveries } from "./memory-deliveries.ts";
import { changesOf } from "./replay.ts";
import {
  type Committed,
  type Engine,
  type Store,
  type StoredQueueEntry,
  type StoredSession,
  type StoredState,
  StoreUnavailable,
} from "./store.ts";

interface KeptMessage {
  message: StoredMessage;
  references: number;
}

interface Session {
  clientId: string;
  userName: string | undefined;
  expirySeconds: number;
  disconnectedAt: Instant | undefined;
  subscriptions: Map<string, StoredSubscription>;
  queue: Map<number, StoredQueueEntry>;
  received: Set<number>;
}

interface Will {
  messageId: number;
  delaySeconds: number;
  dueAt: Instant | undefined;
}

export class MemoryStore implements Engine {
  readonly trouble = undefined;
  onTrouble: Store["onTrouble"];
  private readonly messages = new Map<number, KeptMessage>();
  private readonly sessions = new Map<string, Session>();
  private readonly retained = new Map<string, number>();
  private readonly wills = new Map<string, Will>();
  private readonly deliveries = new MemoryDeliveries();
  /** Messages that nothing named at some moment of this batch; what is still so at its end is freed. */
  private readonly unnamed = new Set<number>();
  private closed = false;

  commit(changes: readonly BrokerChange[], done: Committed): void {
    if (this.closed) return done(new StoreUnavailable("closed"));
    const firstPosition = this.take(changes);
    this.freeUnnamed();
    done(undefined, firstPosition);
  }

  /** Folds in a part of a batch; returns the position of its first delivery owed. */
  take(changes: readonly BrokerChange[]): number {
    let firstPosition = 0;
    for (const change of changes) {
      if (change.type !== "delivery-owed") this.fold(change);
      else if (firstPosition === 0) firstPosition = this.deliveries.owe(change.delivery);
      else this.deliveries.owe(change.delivery);
    }
    return firstPosition;
  }

  /** The batch has ended. */
  private freeUnnamed(): void {
    for (const messageId of this.unnamed) {
      if (this.messages.get(messageId)?.references === 0) this.messages.delete(messageId);
    }
    this.unnamed.clear();
  }

  record(changes: readonly DeliveryChange[], done: Committed): void {
    if (this.closed) return done(new StoreUnavailable("closed"));
    this.deliveries.record(changes, done);
  }

  endpoints: DeliveryStore["endpoints"] = () => this.deliveries.endpoints();
  owedBehind: DeliveryStore["owedBehind"] = (...asked) => this.deliveries.owedBehind(...asked);
  owedInLine: DeliveryStore["owedInLine"] = (...asked) => this.deliveries.owedInLine(...asked);
  owedDue: DeliveryStore["owedDue"] = (...asked) => this.deliveries.owedDue(...asked);
  oldestOwed: DeliveryStore["oldestOwed"] = (...asked) => this.deliveries.oldestOwed(...asked);
  deadLetters: DeliveryStore["deadLetters"] = (...asked) => this.deliveries.deadLetters(...asked);
  oldestDeadLetters: DeliveryStore["oldestDeadLetters"] = (...asked) => this.deliveries.oldestDeadLetters(...asked);

  async load(take: (part: readonly BrokerChange[]) => void): Promise<void> {
    if (this.closed) throw new StoreUnavailable("closed");
    take(changesOf(this.state()));
  }

  state(): StoredState {
    this.freeUnnamed();
    return {
      messages: new Map([...this.messages].map(([messageId, { message }]) => [messageId, message])),
      sessions: [...this.sessions.values()].map(toStoredSession),
      retained: new Map(this.retained),
      wills: [...this.wills].map(([clientId, will]) => ({ clientId, ...will })),
    };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  private fold(change: Exclude<BrokerChange, { type: "delivery-owed" }>): void {
    switch (change.type) {
      case "message-kept":
        if (this.messages.has(change.messageId)) return;
        this.messages.set(change.messageId, { message: ownCopy(change.message), references: 0 });
        this.unnamed.add(change.messageId);
        return;
      case "session-opened":
        return this.openSession(change.clientId, change.userName, change.expirySeconds);
      case "session-ended":
        return this.endSession(change.clientId);
      case "retained":
        this.name(change.messageId);
        this.letGo(this.retained.get(change.topicName));
        this.retained.set(change.topicName, change.messageId);
        return;
      case "retained-cleared":
        this.letGo(this.retained.get(change.topicName));
        this.retained.delete(change.topicName);
        return;
      case "will-set":
        this.name(change.messageId);
        this.letGo(this.wills.get(change.clientId)?.messageId);
        this.wills.set(change.clientId, {
          messageId: change.messageId,
          delaySeconds: change.delaySeconds,
          dueAt: undefined,
        });
        return;
      case "will-due": {
        const will = this.wills.get(change.clientId);
        if (will !== undefined) will.dueAt = change.at;
        return;
      }
      case "will-cleared":
        this.letGo(this.wills.get(change.clientId)?.messageId);
        this.wills.delete(change.clientId);
        return;
      case "session-disconnected":
      case "subscribed":
      case "unsubscribed":
      case "queued":
      case "sent":
      case "released":
      case "settled":
      case "received":
      case "receive-completed": {
        const session = this.sessions.get(change.clientId);
        if (session !== undefined) this.foldInto(session, change);
        return;
      }
      default:
        change satisfies never;
    }
  }

  private foldInto(session: Session, change: SessionChange): void {
    switch (change.type) {
      case "session-disconnected":
        session.disconnectedAt = change.at;
        session.expirySeconds = change.expirySeconds;
        return;
      case "subscribed":
        session.subscriptions.set(change.subscription.topicFilter, change.subscription);
        return;
      case "unsubscribed":
        session.subscriptions.delete(change.topicFilter);
        return;
      case "queued": {
        const { position, messageId, qos, retain, subscriptionIdentifiers, sharedFilter } = change;
        this.name(messageId);
        this.leave(session.queue.get(position));
        session.queue.set(position, {
          position,
          messageId,
          qos,
          retain,
          subscriptionIdentifiers,
          sharedFilter,
          state: "queued",
          packetIdentifier: undefined,
        });
        return;
      }
      case "sent": {
        const entry = session.queue.get(change.position);
        if (entry === undefined || entry.state === "released") return;
        session.queue.set(change.position, {
          ...entry,
          state: "sent",
          packetIdentifier: change.packetIdentifier,
        });
        return;
      }
      case "released": {
        const entry = session.queue.get(change.position);
        if (entry === undefined) return;
        this.leave(entry);
        session.queue.set(change.position, { ...entry, state: "released" });
        return;
      }
      case "settled":
        this.leave(session.queue.get(change.position));
        session.queue.delete(change.position);
        return;
      case "received":
        session.received.add(change.packetIdentifier);
        return;
      case "receive-completed":
        session.received.delete(change.packetIdentifier);
        return;
      default:
        change satisfies never;
    }
  }

  private openSession(clientId: string, userName: string | undefined, expirySeconds: number): void {
    const session = this.sessions.get(clientId);
    if (session === undefined) {
      this.sessions.set(clientId, {
        clientId,
        userName,
        expirySeconds,
        disconnectedAt: undefined,
        subscriptions: new Map(),
        queue: new Map(),
        received: new Set(),
      });
      return;
    }
    session.userName = userName;
    session.expirySeconds = expirySeconds;
    session.disconnectedAt = undefined;
  }

  private endSession(clientId: string): void {
    const session = this.sessions.get(clientId);
    if (session === undefined) return;
    for (const entry of session.queue.values()) this.leave(entry);
    this.sessions.delete(clientId);
  }

  /** A queue entry goes, or its message is released. */
  private leave(entry: StoredQueueEntry | undefined): void {
    if (entry !== undefined && entry.state !== "released") this.letGo(entry.messageId);
  }

  private name(messageId: number): void {
    const kept = this.messages.get(messageId);
    assert(kept !== undefined, `message ${messageId} is kept before it is named`);
    kept.references++;
  }

  private letGo(messageId: number | undefined): void {
    if (messageId === undefined) return;
    const kept = this.messages.get(messageId);
    assert(kept !== undefined && kept.references > 0, `message ${messageId} is kept while it is named`);
    kept.references--;
    if (kept.references === 0) this.unnamed.add(messageId);
  }
}

type SessionChange = Extract<
  BrokerChange,
  {
    type:
      | "session-disconnected"
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

function toStoredSession(session: Session): StoredSession {
  return {
    clientId: session.clientId,
    userName: session.userName,
    expirySeconds: session.expirySeconds,
    disconnectedAt: session.disconnectedAt,
    subscriptions: [...session.subscriptions.values()],
    queue: [...session.queue.values()].sort((a, b) => a.position - b.position),
    received: [...session.received],
  };
}

/** What came may share its bytes with a batch. */
function ownCopy(message: StoredMessage): StoredMessage {
  return { ...message, payload: Buffer.from(message.payload), properties: Buffer.from(message.properties) };
}
