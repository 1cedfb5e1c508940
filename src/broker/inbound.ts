/** Messages from publishers: the rule for a received PUBLISH, and the handshake of QoS 2. */
import { isUtf8 } from "node:buffer";
import type { PublishView } from "../mqtt/publish-view.ts";
import { isValidTopicNameBytes } from "../mqtt/topic.ts";
import { ProtocolError } from "../mqtt/protocol-error.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import type { Route, Target } from "./route.ts";
import type { Session } from "./session.ts";

/** Decides, in this order: topic (alias), duplicate, permission, quota, store; then routes and answers. */
export function receivePublish(broker: Broker, connection: Connection, view: PublishView): void {
  const { session } = connection;
  const { qos, packetIdentifier } = view;
  const { figures, turn } = broker;
  figures.messagesReceived++;
  figures.messagesReceivedByQoS[qos]++;
  const route = resolveRoute(broker, connection, view);
  if (qos === 2 && session.received?.has(packetIdentifier)) {
    // [MQTT5 4.3.3-10] [MQTT311 4.3.3-2] Its first sending may have come over another connection, its commit be under way.
    return connection.answerDuplicate(packetIdentifier);
  }
  if (route.reserved || !broker.access.mayPublish(connection.client, route.topicName))
    return refuse(connection, view, ReasonCode.notAuthorized);
  if (connection.version5 && qos !== 0 && isOverReceiveMaximum(connection)) {
    const message = "more messages are unacknowledged than Receive Maximum allows";
    throw new ProtocolError(ReasonCode.receiveMaximumExceeded, message); // [MQTT5 3.3.4-9]
  }
  if (view.scan.payloadFormatIndicator === 1 && !isText(view))
    return refuse(connection, view, ReasonCode.payloadFormatInvalid);

  if (qos !== 0 && (connection.isUnheard || (turn.isTroubled && mustBeKept(broker, connection, view, route))))
    return refuseUnkept(broker, connection, view);

  const from = turn.changeCount;
  const awaitedBefore = turn.awaitedCount;
  const { arrival } = broker;
  arrival.begin(route, session.publisher, session, connection.version5);
  const reasonCode = broker.route(arrival);
  if (qos === 0) return;
  if (qos === 2) rememberReceived(broker, connection, packetIdentifier);
  const answer = qos === 1 ? "puback" : "pubrec";
  if (turn.awaitedCount === awaitedBefore) connection.answerPublish(answer, packetIdentifier, reasonCode);
  else connection.answerOffer(answer, packetIdentifier, reasonCode, { from, former: broker.formerRetained });
}

/** PUBREL: the identifier may be used for a new message. [MQTT5 4.3.3-11] [MQTT311 4.3.3-2] */
export function receivePubrel(broker: Broker, connection: Connection, packetIdentifier: number): void {
  const { session } = connection;
  const known = session.received?.delete(packetIdentifier) ?? false;
  if (known && session.persistent) {
    broker.turn.add({ type: "receive-completed", clientId: session.clientId, packetIdentifier });
  }
  const reasonCode = known ? ReasonCode.success : ReasonCode.packetIdentifierNotFound;
  // A new message under this identifier must not be taken for the old one after a crash.
  connection.answerRelease("pubcomp", packetIdentifier, reasonCode);
}

function rememberReceived(broker: Broker, connection: Connection, packetIdentifier: number): void {
  const { session } = connection;
  session.received ??= new Set();
  session.received.add(packetIdentifier);
  if (session.persistent) broker.turn.add({ type: "received", clientId: session.clientId, packetIdentifier });
}

function resolveRoute(broker: Broker, connection: Connection, view: PublishView): Route {
  const { topicAlias } = view.scan;
  const { bytes, topicStart, topicEnd } = view;
  let route: Route | undefined = connection.lastRoute;
  if (topicStart === topicEnd) {
    if (topicAlias === 0)
      throw topicError(connection, ReasonCode.protocolError, "the topic name is empty and there is no Topic Alias"); // [MQTT5 3.3.2-8]
    checkAlias(connection, topicAlias);
    route = connection.inboundAliases?.[topicAlias];
    if (route === undefined)
      throw new ProtocolError(ReasonCode.protocolError, `Topic Alias ${topicAlias} stands for no topic yet`); // [MQTT5 3.3.4]
    return route;
  }
  if (route === undefined || !route.is(bytes, topicStart, topicEnd)) {
    route = broker.routes.find(bytes, topicStart, topicEnd);
    // [MQTT5 3.3.2-1] [MQTT5 3.3.2-2] [MQTT311 3.3.2-1] [MQTT311 3.3.2-2]
    if (!route.valid) throw topicError(connection, reasonForTopic(view), "the topic name is not valid");
    connection.lastRoute = route;
  }
  if (topicAlias !== 0) {
    checkAlias(connection, topicAlias);
    connection.inboundAliases ??= [];
    connection.inboundAliases[topicAlias] = route;
  }
  return route;
}

function checkAlias({ inboundAliasMax }: Connection, topicAlias: number): void {
  if (topicAlias <= inboundAliasMax) return;
  const message = `Topic Alias ${topicAlias} is over the maximum of ${inboundAliasMax}`;
  throw new ProtocolError(ReasonCode.topicAliasInvalid, message); // [MQTT5 3.3.2-9]
}

/** What is no topic name makes the packet malformed, [MQTT5 1.5.4-1] [MQTT5 3.3.2-2]; one of too many levels is not accepted. */
function reasonForTopic({ bytes, topicStart, topicEnd }: PublishView): ReasonCode {
  const isTopicName = isValidTopicNameBytes(bytes, topicStart, topicEnd);
  return isTopicName ? ReasonCode.topicNameInvalid : ReasonCode.malformedPacket;
}

function topicError(connection: Connection, reasonCode: ReasonCode, message: string): ProtocolError {
  return new ProtocolError(connection.version5 ? reasonCode : ReasonCode.malformedPacket, message);
}

/** [MQTT5 3.3.2-4] lets a server check this; NUL is text here, unlike in an MQTT string. */
function isText({ bytes, payloadStart, payloadEnd }: PublishView): boolean {
  return isUtf8(bytes.subarray(payloadStart, payloadEnd));
}

/** Not taken: QoS 1 and 2 hear why, [MQTT5 4.13.2]; before 5.0 there is no way to say so but to acknowledge. [MQTT311 3.3.5-2] */
function refuse(connection: Connection, view: PublishView, reasonCode: ReasonCode): void {
  if (view.qos === 0) {
    if (reasonCode === ReasonCode.payloadFormatInvalid)
      throw new ProtocolError(reasonCode, "the payload is not UTF-8 as it claims");
    return;
  }
  connection.answerPublish(view.qos === 1 ? "puback" : "pubrec", view.packetIdentifier, reasonCode);
}

/** Not taken for want of a store: to a client before 5.0 that is silence, so that it sends the message again. */
function refuseUnkept(broker: Broker, connection: Connection, view: PublishView): void {
  broker.figures.messagesRefused++;
  if (connection.version5) refuse(connection, view, ReasonCode.quotaExceeded);
  else connection.isUnheard = true;
}

/** The message cannot be taken without the store: someone would be owed it beyond this process, or its duplicate be known. */
function mustBeKept(broker: Broker, { session }: Connection, view: PublishView, route: Route): boolean {
  if (view.qos === 2 && session.persistent) return true;
  if (view.retain) {
    const clears = view.payloadStart === view.payloadEnd;
    if (!clears || broker.retained.get(route.topicName) !== undefined) return true;
  }
  broker.routes.refresh(route);
  const { targets, shared, interests } = route;
  return (
    interests.some(({ tap, interest }) => tap.isAwaited?.(interest) ?? true) ||
    targets.some((target) => isOwedTo(target, session)) ||
    shared.some(({ members }) => members.some((member) => isOwedTo(member)))
  );
}

function isOwedTo(target: Target, publisher?: Session): boolean {
  const reached = target.session === publisher && target.own !== "all" ? target.toSelf : target;
  return target.session.persistent && reached !== undefined && reached.qos > 0;
}

function isOverReceiveMaximum({ session, heldPubacks, receiveMaximum }: Connection): boolean {
  return heldPubacks + (session.received?.size ?? 0) >= receiveMaximum;
}
