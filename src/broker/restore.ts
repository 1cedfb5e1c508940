/** Rebuilds the broker's memory from the store's, for a start: as if every connection had just been cut off. */
import { Buffer } from "node:buffer";
import { assert } from "../base/assert.ts";
import { scanPublishProperties } from "../mqtt/properties.ts";
import type { Instant } from "../base/clock.ts";
import type { BrokerChange, StoredMessage } from "../store/change.ts";
import type { Broker } from "./broker.ts";
import { Awaiting } from "./inflight.ts";
import { KeptMessage, ownBytes, type Publisher } from "./message.ts";
import { Session } from "./session.ts";
import { subscriptionOf } from "./subscribe.ts";

const nothing = Buffer.alloc(0);

/** The last entry that was sent: what comes next may be its release. */
interface LastSent {
  session: Session;
  packetIdentifier: number;
  message: KeptMessage;
}

/** Takes the stored state part by part, so that it is put together while the rest of it is still being read. */
export class Restoring {
  private readonly broker: Broker;
  private readonly messages = new Map<number, KeptMessage>();
  /** Topic names that have come already, each with its bytes. */
  private readonly topics = new Map<string, { topicName: string; topicBytes: Buffer }>();
  private publisher: Publisher = { clientId: "", userName: undefined };
  private readonly disconnectedAt = new Map<Session, Instant>();
  private readonly wills = new Map<string, { messageId: number; delaySeconds: number; dueAt: Instant | undefined }>();
  private session: Session | undefined;
  private lastSent: LastSent | undefined;
  lastMessageId = 0;

  constructor(broker: Broker) {
    this.broker = broker;
  }

  take(part: readonly BrokerChange[]): void {
    for (const change of part) this.fold(change);
  }

  /** All has been taken. From here on time counts, and wills that are due are published. */
  finish(): void {
    const { broker } = this;
    const now = broker.clock.now();
    for (const session of broker.sessions.all()) {
      const { clientId, expirySeconds } = session;
      const disconnectedAt = this.disconnectedAt.get(session);
      // Cut off with the process: it counts from this start, not from every further one.
      if (disconnectedAt === undefined) {
        broker.turn.add({ type: "session-disconnected", clientId, at: now, expirySeconds });
      }
      const waitedMs = now - (disconnectedAt ?? now);
      broker.sessions.waitForExpiry(session, Math.max(0, expirySeconds * 1000 - waitedMs));
    }
    for (const [clientId, { messageId, delaySeconds, dueAt }] of this.wills) {
      // A session that was to end with its connection is not stored; its will is due all the same.
      const session = broker.sessions.get(clientId) ?? new Session(clientId, undefined, 0);
      broker.wills.restore(session, { message: this.name(messageId), delaySeconds }, dueAt);
    }
  }

  private fold(change: BrokerChange): void {
    const { broker } = this;
    switch (change.type) {
      case "message-kept":
        this.lastMessageId = Math.max(this.lastMessageId, change.messageId);
        if (!this.messages.has(change.messageId)) this.messages.set(change.messageId, this.keptMessage(change.message));
        return;
      case "retained":
        broker.retained.set(this.name(change.messageId));
        return;
      case "session-opened":
        // In the store until it ends, also one that was to end with its connection.
        broker.sessions.restore(new Session(change.clientId, change.userName, change.expirySeconds, true));
        return;
      case "session-disconnected": {
        const session = this.sessionOf(change.clientId);
        session.expirySeconds = change.expirySeconds;
        this.disconnectedAt.set(session, change.at);
        return;
      }
      case "subscribed": {
        const { subscriptionIdentifier, ...request } = change.subscription;
        const session = this.sessionOf(change.clientId);
        const subscription = subscriptionOf(session, request, subscriptionIdentifier);
        if (subscription === undefined) return;
        session.setSubscription(subscription);
        broker.subscriptions.add(subscription);
        return;
      }
      case "queued": {
        const { clientId, messageId, position, qos, retain, subscriptionIdentifiers, sharedFilter } = change;
        const session = this.sessionOf(clientId);
        const message = this.name(messageId);
        session.nextPosition = position + 1;
        session.queue.push({ message, qos, retain, subscriptionIdentifiers, sharedFilter, position });
        session.queuedBytes += message.bytes;
        broker.queuedBytes += message.bytes;
        return;
      }
      case "sent": {
        const session = this.sessionOf(change.clientId);
        const owed = session.queue.pop();
        assert(owed?.position === change.position, "an entry is queued, then sent");
        session.queuedBytes -= owed.message.bytes;
        broker.queuedBytes -= owed.message.bytes;
        const { packetIdentifier } = change;
        session.inflight.restore(packetIdentifier, owed.qos === 1 ? Awaiting.puback : Awaiting.pubrec, owed);
        this.lastSent = { session, packetIdentifier, message: owed.message };
        return;
      }
      case "released": {
        // It is the receiver's: all that is left of it is its place.
        const { session, packetIdentifier, message } = this.lastSent!;
        session.inflight.release(packetIdentifier);
        message.letGo();
        return;
      }
      case "received": {
        const session = this.sessionOf(change.clientId);
        session.received ??= new Set();
        session.received.add(change.packetIdentifier);
        return;
      }
      case "will-set":
        this.wills.set(change.clientId, { ...change, dueAt: undefined });
        return;
      case "will-due":
        this.wills.get(change.clientId)!.dueAt = change.at;
        return;
      case "session-ended":
      case "unsubscribed":
      case "settled":
      case "receive-completed":
      case "retained-cleared":
      case "will-cleared":
      case "delivery-owed":
        assert(false, `what is over, or not the broker's, is not part of its state: ${change.type}`);
        return;
      default:
        change satisfies never;
    }
  }

  private sessionOf(clientId: string): Session {
    if (this.session?.clientId !== clientId) this.session = this.broker.sessions.get(clientId)!;
    return this.session;
  }

  private name(messageId: number): KeptMessage {
    const message = this.messages.get(messageId)!;
    message.restored(messageId);
    return message;
  }

  private keptMessage(stored: StoredMessage): KeptMessage {
    const {
      payload,
      qos,
      retain,
      acceptedAt,
      expiresAt,
      publisherClientId: clientId,
      publisherUserName: userName,
    } = stored;
    const properties = asBuffer(stored.properties);
    // What is the same for many is there once: a backlog is mostly of few topics and few publishers.
    let topic = this.topics.get(stored.topicName);
    if (topic === undefined) {
      topic = { topicName: stored.topicName, topicBytes: ownBytes(Buffer.from(stored.topicName)) };
      this.topics.set(topic.topicName, topic);
    }
    if (this.publisher.clientId !== clientId || this.publisher.userName !== userName)
      this.publisher = { clientId, userName };
    return new KeptMessage({
      ...topic,
      payload: asBuffer(payload),
      qos,
      retain,
      properties,
      expiryOffset: properties.length === 0 ? -1 : expiryOffsetOf(properties),
      acceptedAt,
      expiresAt,
      publisher: this.publisher,
    });
  }
}

/** Without a copy: what shares memory was queued at about the same time, and goes so. */
function asBuffer(bytes: Uint8Array): Buffer {
  if (bytes.length === 0) return nothing;
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function expiryOffsetOf(properties: Buffer): number {
  const scan = {
    topicAlias: 0,
    aliasStart: -1,
    aliasEnd: -1,
    expirySeconds: -1,
    expiryOffset: -1,
    payloadFormatIndicator: 0 as const,
  };
  scanPublishProperties(properties, 0, properties.length, scan);
  return scan.expiryOffset;
}
