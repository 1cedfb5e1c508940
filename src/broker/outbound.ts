/**
 * Messages on their way to subscribers. QoS 0 goes or is dropped. QoS 1 and 2 go at once where nothing is ahead of them and
 * the client's Receive Maximum allows; else they wait in the session's queue. What a persistent session is owed is
 * committed before it is sent, so that no Packet Identifier is ever seen that the store does not know.
 */
import { lowerQoS, type QoS } from "../mqtt/packet.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Arrival } from "./arrival.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import { tellAcked, tellDelivered, tellDropped } from "./fates.ts";
import { Awaiting } from "./inflight.ts";
import { queuedBytesMax, queuedBytesPerSessionMax, retainedSliceSteps } from "./limits.ts";
import { fitsClient, writeIdentifier, writeMessage, writeParts } from "./packet-writer.ts";
import { publishBytes } from "./publish-encoder.ts";
import type { Target } from "./route.ts";
import type { Owed, Session } from "./session.ts";
import { slabBytesMax } from "./slabs.ts";

/** Packet Identifiers in use at the most, so that a free one is always near. */
const identifiersInUseMax = 60_000;

/** Passes the message in hand to one target. */
export function deliver(broker: Broker, target: Target, arrival: Arrival): void {
  const { session } = target;
  const { connection } = session;
  const { view } = arrival;
  const qos = lowerQoS(view.qos, target.qos);
  const retain = view.retain && target.retainAsPublished;
  if (qos === 0) {
    if (connection === undefined) return;
    if (connection.outbox.full) {
      broker.figures.dropped.slowReader++;
      const { fates } = arrival.route;
      if (fates.length > 0) tellDropped(broker, fates, arrival.message(), session.publisher, "slow_reader");
    } else send(broker, connection, target, arrival, 0, retain);
    return;
  }
  if (!session.persistent && connection !== undefined && isClear(session, connection)) {
    send(broker, connection, target, arrival, qos, retain);
    return;
  }
  owe(broker, session, {
    message: arrival.message(),
    qos,
    retain,
    subscriptionIdentifiers: target.subscriptionIdentifiers,
    sharedFilter: target.sharedFilter,
  });
}

/** Puts a QoS 1 or 2 message behind all that the session is owed already. */
export function owe(broker: Broker, session: Session, owed: Omit<Owed, "position">): void {
  const bytes = owed.message.bytes;
  if (broker.queuedBytes + bytes > queuedBytesMax) {
    dropOwed(broker, session, owed);
    return;
  }
  while (
    session.queue.length > 0 &&
    (session.queue.length >= broker.options.queuedMessagesMax || session.queuedBytes + bytes > queuedBytesPerSessionMax)
  ) {
    const oldest = shiftQueue(broker, session)!;
    dropOwed(broker, session, oldest);
    letGo(broker, session, oldest);
  }
  const position = session.persistent ? session.nextPosition++ : 0;
  if (session.persistent) {
    const messageId = owed.message.keep(broker.turn, broker.nextMessageId);
    const { qos, retain, subscriptionIdentifiers, sharedFilter } = owed;
    const { clientId } = session;
    broker.turn.add({
      type: "queued",
      clientId,
      position,
      messageId,
      qos,
      retain,
      subscriptionIdentifiers,
      sharedFilter,
    });
  }
  session.queue.push({ ...owed, position });
  session.queuedBytes += bytes;
  broker.queuedBytes += bytes;
  pump(broker, session);
}

function dropOwed(broker: Broker, session: Session, { message }: Pick<Owed, "message">): void {
  broker.figures.dropped.queueFull++;
  tellDropped(broker, broker.routes.fatesOfMessage(message), message, session.publisher, "queue_full");
}

/** Sends what is waiting, as far as the client's Receive Maximum and the outbox allow. */
export function pump(broker: Broker, session: Session): void {
  const { connection } = session;
  if (connection === undefined) return;
  while (connection.sendQuota > 0 && !connection.outbox.full) {
    const packetIdentifier = session.resend.shift();
    if (packetIdentifier !== undefined) {
      sendAgain(broker, session, connection, packetIdentifier);
      continue;
    }
    if (session.inflight.count >= identifiersInUseMax) break;
    const owed = shiftQueue(broker, session);
    if (owed === undefined) break;
    sendOwed(broker, session, connection, owed);
  }
  if (connection.retainedFeed.length > 0 && isClear(session, connection)) broker.feedSoon(connection);
}

/** Hands over a slice of the retained messages that new subscriptions of this connection are owed. */
export function feedRetained(broker: Broker, connection: Connection): void {
  const { session } = connection;
  for (let i = 0; i < retainedSliceSteps; i++) {
    // QoS 1 and 2 keep to the window, QoS 0 to the outbox: a large retained set fills neither.
    if (!isClear(session, connection)) return;
    const feed = connection.retainedFeed.first();
    if (feed === undefined) return;
    const { subscription, walk } = feed;
    const step = walk.next();
    if (step.done) connection.retainedFeed.shift();
    const message = step.value;
    if (message === undefined || message.isExpired(broker.clock.now())) continue;
    if (subscription.noLocal && message.publisher.clientId === session.clientId) continue; // [MQTT5 3.8.3-3]
    const qos = lowerQoS(message.qos, subscription.qos);
    const { subscriptionIdentifier } = subscription;
    const subscriptionIdentifiers = subscriptionIdentifier === undefined ? [] : [subscriptionIdentifier];
    if (qos !== 0) {
      owe(broker, session, { message, qos, retain: true, subscriptionIdentifiers, sharedFilter: undefined });
    } else if (fitsClient(broker, connection, message, 0, subscriptionIdentifiers)) {
      tellDelivered(broker, broker.routes.fatesOfMessage(message), message, session.publisher);
      writeMessage(broker, connection, message, 0x01, 0, subscriptionIdentifiers);
    }
  }
  if (connection.retainedFeed.length > 0) broker.feedSoon(connection);
}

/** A connection has opened on a session that had messages in flight: they go again, in order. [MQTT5 4.4.0-1] [MQTT311 4.4.0-1] */
export function resume(broker: Broker, session: Session): void {
  session.resend.clear();
  for (const { packetIdentifier } of session.inflight.inOrder()) session.resend.push(packetIdentifier);
  pump(broker, session);
}

export function receivePuback(
  broker: Broker,
  session: Session,
  packetIdentifier: number,
  reasonCode: ReasonCode,
): void {
  if (session.inflight.state(packetIdentifier) !== Awaiting.puback) return;
  tellAnswered(broker, session, packetIdentifier, reasonCode);
  settle(broker, session, packetIdentifier);
}

export function receivePubrec(
  broker: Broker,
  connection: Connection,
  packetIdentifier: number,
  reasonCode: ReasonCode,
): void {
  const { session } = connection;
  const state = session.inflight.state(packetIdentifier);
  if (state === Awaiting.pubrec) tellAnswered(broker, session, packetIdentifier, reasonCode);
  if (state === Awaiting.pubrec && reasonCode >= 0x80) return settle(broker, session, packetIdentifier); // [MQTT5 4.3.3]
  if (state === Awaiting.pubrec) {
    const owed = session.inflight.entry(packetIdentifier);
    session.inflight.release(packetIdentifier);
    if (session.persistent && owed !== undefined) {
      // The message is the receiver's now: only its place in the order is still kept.
      broker.turn.add({ type: "released", clientId: session.clientId, position: owed.position });
      owed.message.letGo();
    }
  }
  const known = state === Awaiting.pubrec || state === Awaiting.pubcomp;
  // After PUBREL the client may forget the identifier, so the message must never be sent again, not after a crash either.
  const answer = known ? ReasonCode.success : ReasonCode.packetIdentifierNotFound;
  connection.answerRelease("pubrel", packetIdentifier, answer);
}

export function receivePubcomp(broker: Broker, session: Session, packetIdentifier: number): void {
  if (session.inflight.state(packetIdentifier) !== Awaiting.pubcomp) return;
  settle(broker, session, packetIdentifier);
}

/** PUBACK or PUBREC says what the subscriber makes of a message; only of those that someone follows it is known which. */
function tellAnswered(broker: Broker, session: Session, packetIdentifier: number, reasonCode: ReasonCode): void {
  const message = session.inflight.entry(packetIdentifier)?.message;
  if (message === undefined) return;
  if (reasonCode < 0x80) return tellAcked(broker, message, session.publisher);
  tellDropped(broker, broker.routes.fatesOfMessage(message), message, session.publisher, "refused_by_receiver");
}

/** Nothing is ahead of a new message. */
function isClear(session: Session, connection: Connection): boolean {
  return (
    connection.sendQuota > 0 &&
    session.queue.length === 0 &&
    session.resend.length === 0 &&
    session.inflight.count < identifiersInUseMax &&
    !connection.outbox.full
  );
}

/** Sends the message in hand at once; nothing is ahead of it. */
function send(
  broker: Broker,
  connection: Connection,
  target: Target,
  arrival: Arrival,
  qos: QoS,
  retain: boolean,
): void {
  const isItsOwn = target.identifierProperties.length > 0 || connection.outboundAliases !== undefined;
  const { fates } = arrival.route;
  const sent =
    isItsOwn && connection.version5
      ? sendAlone(connection, target, arrival, qos, retain)
      : sendShared(connection, target, arrival, qos, retain);
  if (!sent) {
    broker.figures.dropped.tooLarge++; // [MQTT5 3.1.2-25]
    if (fates.length > 0) tellDropped(broker, fates, arrival.message(), connection.session.publisher, "too_large");
    return;
  }
  if (fates.length > 0) tellDelivered(broker, fates, arrival.message(), connection.session.publisher);
  broker.figures.messagesSent++;
  broker.figures.messagesSentByQoS[qos]++;
}

/** In bytes that many connections send alike, but for the Packet Identifier. False: too large for the client. */
function sendShared(connection: Connection, target: Target, arrival: Arrival, qos: QoS, retain: boolean): boolean {
  const { outbox } = connection;
  const { encoded } = arrival;
  encoded.select(connection.version5, qos, retain);
  const { bytes, start, end, identifierAt } = encoded;
  if (end - start > connection.packetBytesMax) return false;
  if (qos === 0) {
    outbox.append(bytes, start, end);
    return true;
  }
  const identifier = takeIdentifier(connection, target, arrival, qos, retain);
  if (end - start <= slabBytesMax) {
    const at = outbox.reserve(end - start);
    bytes.copy(outbox.slab, at, start, end);
    writeIdentifier(outbox.slab, at + identifierAt - start, identifier);
  } else {
    const own = Buffer.from(bytes.subarray(start, end));
    writeIdentifier(own, identifierAt - start, identifier);
    outbox.append(own, 0, own.length);
  }
  return true;
}

/** With Subscription Identifiers or a Topic Alias, which are this connection's alone. False: too large for the client. */
function sendAlone(connection: Connection, target: Target, arrival: Arrival, qos: QoS, retain: boolean): boolean {
  const { parts } = arrival.encoded;
  const extra = target.identifierProperties;
  if (publishBytes(parts, true, qos, extra, parts.topic.length) > connection.packetBytesMax) return false;
  const identifier = qos === 0 ? 0 : takeIdentifier(connection, target, arrival, qos, retain);
  const flags = (qos << 1) | (retain ? 1 : 0);
  writeParts(connection, parts, arrival.route.topicName, flags, identifier, extra);
  return true;
}

function takeIdentifier(connection: Connection, target: Target, arrival: Arrival, qos: 1 | 2, retain: boolean): number {
  connection.sendQuota--;
  const { subscriptionIdentifiers, sharedFilter } = target;
  // A session that ends with its connection never sends again; only what others could take over, or someone follows, is
  // worth keeping.
  const owed: Owed | undefined =
    sharedFilter === undefined && arrival.route.fates.length === 0
      ? undefined
      : { message: arrival.message(), qos, retain, subscriptionIdentifiers, sharedFilter, position: 0 };
  return connection.session.inflight.take(firstAwaited(qos), owed);
}

function firstAwaited(qos: 1 | 2): Awaiting {
  return qos === 1 ? Awaiting.puback : Awaiting.pubrec;
}

function sendOwed(broker: Broker, session: Session, connection: Connection, owed: Owed): void {
  const { message, qos, retain, subscriptionIdentifiers, position } = owed;
  if (message.isExpired(broker.clock.now())) {
    broker.figures.dropped.expired++; // [MQTT5 3.3.2-5]
    tellDropped(broker, broker.routes.fatesOfMessage(message), message, session.publisher, "expired");
    return letGo(broker, session, owed);
  }
  if (!fitsClient(broker, connection, message, qos, subscriptionIdentifiers)) return letGo(broker, session, owed);
  const fates = broker.routes.fatesOfMessage(message);
  const keep = session.persistent || owed.sharedFilter !== undefined || fates.length > 0;
  const packetIdentifier = session.inflight.take(firstAwaited(qos), keep ? owed : undefined);
  connection.sendQuota--;
  const flags = (qos << 1) | (retain ? 1 : 0);
  if (!session.persistent) {
    tellDelivered(broker, fates, message, session.publisher);
    writeMessage(broker, connection, message, flags, packetIdentifier, subscriptionIdentifiers);
    return;
  }
  broker.turn.add({ type: "sent", clientId: session.clientId, position, packetIdentifier });
  sendWhenCommitted(broker, session, connection, { owed, packetIdentifier, flags });
}

function sendAgain(broker: Broker, session: Session, connection: Connection, packetIdentifier: number): void {
  const state = session.inflight.state(packetIdentifier);
  if (state === Awaiting.nothing) return;
  connection.sendQuota--;
  if (state === Awaiting.pubcomp) {
    connection.answerRelease("pubrel", packetIdentifier, ReasonCode.success);
    return;
  }
  const owed = session.inflight.entry(packetIdentifier)!;
  const { message, qos, retain, subscriptionIdentifiers } = owed;
  if (!fitsClient(broker, connection, message, qos, subscriptionIdentifiers)) {
    return free(broker, session, packetIdentifier);
  }
  const flags = 0x08 | (qos << 1) | (retain ? 1 : 0); // DUP [MQTT5 3.3.1-1] [MQTT311 3.3.1-1]
  // The commit of its first sending may still be under way.
  sendWhenCommitted(broker, session, connection, { owed, packetIdentifier, flags });
}

/** Unless it is not owed any more by then: what the store refused is taken back. */
function sendWhenCommitted(
  broker: Broker,
  session: Session,
  connection: Connection,
  { owed, packetIdentifier, flags }: { owed: Owed; packetIdentifier: number; flags: number },
): void {
  broker.turn.whenCommitted(() => {
    if (session.connection !== connection || session.inflight.entry(packetIdentifier) !== owed) return;
    const isFirstSending = (flags & 0x08) === 0;
    if (isFirstSending)
      tellDelivered(broker, broker.routes.fatesOfMessage(owed.message), owed.message, session.publisher);
    writeMessage(broker, connection, owed.message, flags, packetIdentifier, owed.subscriptionIdentifiers);
  });
}

/** A handshake has ended: its place is free for the next, which goes now. */
function settle(broker: Broker, session: Session, packetIdentifier: number): void {
  free(broker, session, packetIdentifier);
  const { connection } = session;
  if (session.queue.length > 0 || session.resend.length > 0 || (connection?.retainedFeed.length ?? 0) > 0)
    pump(broker, session);
}

function free(broker: Broker, session: Session, packetIdentifier: number): void {
  const owed = session.inflight.entry(packetIdentifier);
  const released = session.inflight.state(packetIdentifier) === Awaiting.pubcomp;
  session.inflight.settle(packetIdentifier);
  const { connection } = session;
  if (connection !== undefined && connection.sendQuota < connection.sendQuotaMax) connection.sendQuota++;
  if (owed !== undefined) letGo(broker, session, owed, released);
}

/** The session is not owed this any more; `released`: its message was let go already. */
export function letGo(broker: Broker, session: Session, owed: Owed, released = false): void {
  if (!session.persistent) return;
  broker.turn.add({ type: "settled", clientId: session.clientId, position: owed.position });
  if (!released) owed.message.letGo();
}

export function shiftQueue(broker: Broker, session: Session): Owed | undefined {
  const owed = session.queue.shift();
  if (owed !== undefined) forgetBytes(broker, session, owed);
  return owed;
}

export function forgetBytes(broker: Broker, session: Session, { message }: Owed): void {
  session.queuedBytes -= message.bytes;
  broker.queuedBytes -= message.bytes;
}
