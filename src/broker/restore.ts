/** Rebuilds the broker's memory from the store's, for a start: as if every connection had just been cut off. */
import { Buffer } from "node:buffer";
import { scanPublishProperties } from "../mqtt/properties.ts";
import type { StoredMessage } from "../store/change.ts";
import { goneMessage } from "../store/replay.ts";
import type { StoredSession, StoredState } from "../store/store.ts";
import type { Broker } from "./broker.ts";
import { Awaiting } from "./inflight.ts";
import { KeptMessage, ownBytes } from "./message.ts";
import { Session } from "./session.ts";
import { subscriptionOf } from "./subscribe.ts";

const nothing = Buffer.alloc(0);

export function restore(broker: Broker, state: StoredState): void {
  const messages = new Map<number, KeptMessage>();
  const topics = new Map<string, Buffer>();
  for (const [messageId, stored] of state.messages) messages.set(messageId, keptMessage(stored, topics));
  const take = (messageId: number): KeptMessage => {
    const message = messages.get(messageId)!;
    message.restored(messageId);
    return message;
  };
  for (const messageId of state.retained.values()) broker.retained.set(take(messageId));
  for (const stored of state.sessions) restoreSession(broker, stored, take);
  for (const { clientId, messageId, delaySeconds, dueAt } of state.wills) {
    // A session that was to end with its connection is not stored; its will is due all the same.
    const session = broker.sessions.get(clientId) ?? new Session(clientId, undefined, 0);
    broker.wills.restore(session, { message: take(messageId), delaySeconds }, dueAt);
  }
}

function restoreSession(broker: Broker, stored: StoredSession, take: (messageId: number) => KeptMessage): void {
  const { clientId, userName, expirySeconds } = stored;
  // In the store until it ends, also one that was to end with its connection.
  const session = new Session(clientId, userName, expirySeconds, true);
  broker.sessions.restore(session);
  for (const { subscriptionIdentifier, ...request } of stored.subscriptions) {
    const subscription = subscriptionOf(session, request, subscriptionIdentifier);
    if (subscription === undefined) continue;
    session.setSubscription(subscription);
    broker.subscriptions.add(subscription);
  }
  for (const entry of stored.queue) {
    const { position, qos, retain, subscriptionIdentifiers, sharedFilter, packetIdentifier, state } = entry;
    session.nextPosition = position + 1;
    // A released message is the receiver's: all that is left of it is its place.
    const message = state === "released" ? releasedMessage : take(entry.messageId);
    const owed = { message, qos, retain, subscriptionIdentifiers, sharedFilter, position };
    if (state === "queued" || packetIdentifier === undefined) {
      session.queue.push(owed);
      session.queuedBytes += message.bytes;
      broker.queuedBytes += message.bytes;
    } else {
      const awaiting = state === "released" ? Awaiting.pubcomp : qos === 1 ? Awaiting.puback : Awaiting.pubrec;
      session.inflight.restore(packetIdentifier, awaiting, owed);
    }
  }
  if (stored.received.length > 0) session.received = new Set(stored.received);
  const now = broker.clock.now();
  const { disconnectedAt = now } = stored;
  // Cut off with the process: it counts from this start, not from every further one.
  if (stored.disconnectedAt === undefined) {
    broker.turn.add({ type: "session-disconnected", clientId, at: now, expirySeconds });
  }
  const waitedMs = now - disconnectedAt;
  broker.sessions.waitForExpiry(session, Math.max(0, expirySeconds * 1000 - waitedMs));
}

/** `topics`: the bytes of topic names that have come already. */
function keptMessage(stored: StoredMessage, topics: Map<string, Buffer>): KeptMessage {
  const { topicName, payload, qos, retain, acceptedAt, expiresAt, publisherClientId, publisherUserName } = stored;
  const properties = asBuffer(stored.properties);
  let topicBytes = topics.get(topicName);
  if (topicBytes === undefined) {
    topicBytes = ownBytes(Buffer.from(topicName));
    topics.set(topicName, topicBytes);
  }
  return new KeptMessage({
    topicName,
    topicBytes,
    payload: asBuffer(payload),
    qos,
    retain,
    properties,
    expiryOffset: expiryOffsetOf(properties),
    acceptedAt,
    expiresAt,
    publisher: { clientId: publisherClientId, userName: publisherUserName },
  });
}

/** Without a copy: what shares memory was queued at about the same time, and goes so. */
function asBuffer(bytes: Uint8Array): Buffer {
  return bytes.length === 0 ? nothing : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
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

const releasedMessage = keptMessage(goneMessage, new Map());
