/**
 * The handshake: from CONNECT to CONNACK. [MQTT5 3.1.4] [MQTT311 3.1.4]
 *
 * CONNACK says what became of the client's session, and that its will is kept. Where that is durable it waits for the
 * commit: else a crash could bring back a session that its client knows as gone, or forget one that it counts on.
 */
import { randomBytes } from "node:crypto";
import { stringBytesMax } from "../mqtt/bytes.ts";
import { UnsupportedProtocol, encodePacket } from "../mqtt/codec.ts";
import type { Connack, ConnackProperties, Connect, ProtocolVersion } from "../mqtt/packet.ts";
import type { ProtocolError } from "../mqtt/protocol-error.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import { disconnectReasonOf } from "./disconnect-reason.ts";
import { protocolPacketBytesMax } from "./limits.ts";
import { resume } from "./outbound.ts";
import { Route } from "./route.ts";
import type { ClientInfo } from "./tap.ts";

/** Session Expiry Interval of a 3.1 or 3.1.1 session without Clean Session: it does not expire. [MQTT5 3.1.2.11.2] */
const neverExpires = 0xffff_ffff;

export function receiveConnect(broker: Broker, connection: Connection, packet: Connect): void {
  const { wire } = connection;
  const version = packet.protocolVersion;
  connection.version = version;
  connection.version5 = version === 5;
  connection.packetBytesMax = packet.properties?.maximumPacketSize ?? protocolPacketBytesMax;
  connection.client = {
    clientId: packet.clientId === "" && mayAssign(packet) ? assignClientId() : packet.clientId,
    userName: packet.userName,
    protocolVersion: version,
    keepAliveSeconds: packet.keepAliveSeconds,
    cleanStart: packet.cleanStart,
    remoteAddress: wire.remoteAddress,
    remotePort: wire.remotePort,
  };
  broker.tell((tap) => tap.connect?.(connection.client, broker.turn));
  const refusal = refusalOf(broker, packet);
  if (refusal !== undefined) return refuse(broker, connection, refusal);

  connection.phase = "authenticating";
  const { clientId, userName } = connection.client;
  const { password } = packet;
  const verdict = broker.access.authenticate({ clientId, userName, password, remoteAddress: wire.remoteAddress });
  if (!(verdict instanceof Promise)) return conclude(broker, connection, packet, verdict);
  connection.holdPackets();
  verdict.then(
    (reasonCode) => {
      if (connection.phase !== "authenticating") return;
      connection.releaseWire();
      conclude(broker, connection, packet, reasonCode);
    },
    (cause) => {
      broker.log.error("authentication failed to decide", { clientId, cause: String(cause) });
      if (connection.phase !== "authenticating") return;
      connection.releaseWire();
      refuse(broker, connection, ReasonCode.serverUnavailable);
    },
  );
}

/** A CONNECT that could not be read: the client hears why, if its version has words for it. [MQTT5 4.13.1] */
export function refuseConnect(broker: Broker, connection: Connection, error: ProtocolError, body: Buffer): void {
  const { remoteAddress, remotePort } = connection.wire;
  broker.log.info("CONNECT refused", { from: `${remoteAddress}:${remotePort}`, reason: error.message });
  broker.figures.connectionsRefused++;
  const version = versionToAnswerIn(error, body);
  if (version !== undefined) {
    const bytes = encodePacket(version, { type: "connack", sessionPresent: false, reasonCode: error.reasonCode });
    connection.outbox.append(bytes, 0, bytes.length);
  }
  connection.leave(disconnectReasonOf(error.reasonCode), error.reasonCode);
}

function versionToAnswerIn(error: ProtocolError, body: Buffer): ProtocolVersion | undefined {
  // 3.1.1 has a return code for an unknown level and nothing else. [MQTT311 3.1.2-2] [MQTT5 3.1.2-2]
  if (error instanceof UnsupportedProtocol) return error.protocolName === "MQTT" && error.level > 5 ? 5 : 4;
  const isVersion5 =
    body.length > 6 && body.readUInt16BE(0) === 4 && body.toString("latin1", 2, 6) === "MQTT" && body[6] === 5;
  return isVersion5 ? 5 : undefined;
}

function refusalOf(broker: Broker, packet: Connect): ReasonCode | undefined {
  const { clientId, properties } = packet;
  if (packet.clientId === "" && !mayAssign(packet)) return ReasonCode.clientIdentifierNotValid;
  const willRoute = packet.will && new Route(Buffer.from(packet.will.topicName));
  if (willRoute?.valid === false) return ReasonCode.topicNameInvalid;
  if (willRoute?.reserved) return ReasonCode.notAuthorized;
  if (properties?.authenticationMethod !== undefined) return ReasonCode.badAuthenticationMethod; // [MQTT5 4.12.0-1]
  if (broker.connections.size > broker.options.connectionsMax && !takesOver(broker, clientId))
    return ReasonCode.serverBusy;
  if (sessionExpirySeconds(broker, packet) > 0 && !broker.sessions.hasRoomFor(clientId))
    return ReasonCode.quotaExceeded;
  return undefined;
}

function conclude(broker: Broker, connection: Connection, packet: Connect, verdict: ReasonCode): void {
  if (verdict !== ReasonCode.success) return refuse(broker, connection, verdict);
  const { clientId, userName } = connection.client;
  const expirySeconds = sessionExpirySeconds(broker, packet);
  const keepAliveSeconds = grantedKeepAlive(broker, packet);
  const properties = connection.version5
    ? connackProperties(broker, packet, clientId, expirySeconds, keepAliveSeconds)
    : undefined;
  const connack: Connack = { type: "connack", sessionPresent: false, reasonCode: ReasonCode.success, properties };
  // A client whose Maximum Packet Size leaves no room for it would never know that it is connected. [MQTT5 3.1.2-24]
  if (connection.version5 && encodePacket(5, connack).length > connection.packetBytesMax)
    return refuse(broker, connection, ReasonCode.packetTooLarge);
  const unkept = refusalForWantOfStore(broker, packet, { clientId, userName, expirySeconds });
  if (unkept !== undefined) return refuse(broker, connection, unkept);
  const { sessions, turn } = broker;
  // The old connection's events come before the new one's. One that waits for its CONNACK is not connected yet: it is
  // closed without a word. [MQTT5 3.1.4-3] [MQTT311 3.1.4-2] [MQTT5 3.14.0-1]
  sessions.get(clientId)?.holder?.end("session_taken_over", ReasonCode.sessionTakenOver);
  const changesBefore = turn.awaitedCount;
  const { session, sessionPresent } = sessions.open({
    clientId,
    userName,
    expirySeconds,
    cleanStart: packet.cleanStart,
  });

  connection.session = session;
  connection.silenceMsMax = keepAliveSeconds * 1000 * broker.options.keepAliveMultiplier;
  connection.sendQuotaMax = Math.min(packet.properties?.receiveMaximum ?? 0xffff, broker.options.inflightMessagesMax);
  connection.sendQuota = connection.sendQuotaMax;
  connection.receiveMaximum = broker.options.receiveMaximum;
  connection.inboundAliasMax = broker.options.topicAliasMax;
  connection.outboundAliasMax = packet.properties?.topicAliasMaximum ?? 0;
  if (connection.outboundAliasMax > 0) connection.outboundAliases = new Map();
  broker.wills.set(session, packet.will);

  connack.sessionPresent = sessionPresent;
  const isDurable = turn.awaitedCount > changesBefore || sessions.isEnding(clientId);
  // In trouble only sessions that go on and clean ones are accepted: they are served as if the store were well.
  if (!isDurable || turn.isTroubled) return welcome(broker, connection, connack);
  connection.phase = "accepted";
  session.arriving = connection;
  connection.holdPackets();
  turn.whenCommitted(() => {
    if (connection.phase !== "accepted") return;
    connection.releaseWire();
    welcome(broker, connection, connack);
  });
}

/** The client hears that it is connected, and so does everybody else. */
function welcome(broker: Broker, connection: Connection, connack: Connack): void {
  const { session } = connection;
  session.arriving = undefined;
  session.connection = connection;
  // Ahead of all that the session may be sent, of its own coming too.
  connection.send(connack);
  announce(broker, connection.client);
  connection.phase = "open";
  resume(broker, session);
  connection.opened();
}

/** Everybody but the client hears that it is connected. */
export function announce(broker: Broker, client: ClientInfo): void {
  broker.figures.connectionsOpened++;
  broker.tell((tap) => tap.connack?.(client, ReasonCode.success, broker.turn));
  broker.tell((tap) => tap.connected?.(client, broker.turn));
  broker.presence.online(client);
}

/**
 * While the store takes nothing no new session is promised to last; those that are there go on. When as much is held for the
 * store as may be, nobody comes in who would add to it.
 */
function refusalForWantOfStore(
  { sessions, turn }: Broker,
  { cleanStart, will }: Connect,
  { clientId, userName, expirySeconds }: { clientId: string; userName: string | undefined; expirySeconds: number },
): ReasonCode | undefined {
  const former = sessions.get(clientId);
  const lasts = expirySeconds > 0;
  // One that ends with the connection that is taken over is not there any more.
  const outlives = former !== undefined && (former.holder === undefined || former.expirySeconds > 0);
  const goesOn = outlives && sessions.goesOn({ clientId, userName, cleanStart });
  if (turn.isTroubled && lasts && !goesOn) return ReasonCode.serverUnavailable;
  const adds = lasts || will !== undefined || former?.persistent || former?.will !== undefined;
  return turn.isStuck && adds ? ReasonCode.serverUnavailable : undefined;
}

function refuse(broker: Broker, connection: Connection, reasonCode: ReasonCode): void {
  broker.figures.connectionsRefused++;
  broker.tell((tap) => tap.connack?.(connection.client, reasonCode, broker.turn));
  const connack: Connack = { type: "connack", sessionPresent: false, reasonCode }; // [MQTT5 3.2.2-6] [MQTT311 3.2.2-4]
  connection.send(connack);
  connection.leave(disconnectReasonOf(reasonCode), reasonCode); // [MQTT5 3.2.2-7] [MQTT311 3.2.2-5]
}

function sessionExpirySeconds(broker: Broker, { protocolVersion, cleanStart, properties }: Connect): number {
  const asked = protocolVersion === 5 ? (properties?.sessionExpiryInterval ?? 0) : cleanStart ? 0 : neverExpires;
  return Math.min(asked, broker.options.sessionExpirySecondsMax);
}

function grantedKeepAlive(broker: Broker, { keepAliveSeconds, protocolVersion }: Connect): number {
  const { keepAliveSecondsMax } = broker.options;
  // Only a v5 client can be told of another one. [MQTT5 3.1.2-21]
  if (keepAliveSecondsMax === undefined || protocolVersion !== 5) return keepAliveSeconds;
  return keepAliveSeconds === 0 ? keepAliveSecondsMax : Math.min(keepAliveSeconds, keepAliveSecondsMax);
}

/** What differs from the defaults and from what the client asked for. [MQTT5 3.2.2.3] */
function connackProperties(
  broker: Broker,
  packet: Connect,
  clientId: string,
  expirySeconds: number,
  keepAliveSeconds: number,
): ConnackProperties {
  const { options } = broker;
  const properties: ConnackProperties = {
    receiveMaximum: options.receiveMaximum,
    maximumPacketSize: options.packetBytesMax,
    topicAliasMaximum: options.topicAliasMax,
  };
  if (packet.clientId === "") properties.assignedClientIdentifier = clientId; // [MQTT5 3.1.3-7]
  if (keepAliveSeconds !== packet.keepAliveSeconds) properties.serverKeepAlive = keepAliveSeconds;
  if (expirySeconds !== (packet.properties?.sessionExpiryInterval ?? 0))
    properties.sessionExpiryInterval = expirySeconds;
  if (packet.properties?.requestResponseInformation && options.responseInformation !== undefined) {
    const responseInformation = `${options.responseInformation}${clientId}`;
    // The longest names leave no room for it: then there is none. [MQTT5 3.2.2.3.15]
    if (Buffer.byteLength(responseInformation) <= stringBytesMax) properties.responseInformation = responseInformation;
  }
  return properties;
}

/** Its former connection makes room for the new one. */
function takesOver({ sessions }: Broker, clientId: string): boolean {
  return sessions.get(clientId)?.holder !== undefined;
}

/** An empty identifier asks for one of ours; before 5.0 only for a session that is not meant to last. [MQTT311 3.1.3-8] */
function mayAssign({ protocolVersion, cleanStart }: Connect): boolean {
  return protocolVersion === 5 || (protocolVersion === 4 && cleanStart);
}

function assignClientId(): string {
  return `hookmq-${randomBytes(10).toString("hex")}`;
}
