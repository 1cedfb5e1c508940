/** DISCONNECT: in 5.0 with a reason, and from either side. [MQTT5 3.14] [MQTT311 3.14] */
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { Disconnect, ProtocolVersion } from "../packet.ts";
import { isWithoutProperties, readProperties, writeProperties } from "../properties.ts";
import { ReasonCode } from "../reason-code.ts";
import { readReasonCode } from "./fields.ts";

/** [MQTT5 2.4], table 2-6: which codes only one side sends is for the receiver to know. */
const allowed: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.disconnectWithWill,
  ReasonCode.unspecifiedError,
  ReasonCode.malformedPacket,
  ReasonCode.protocolError,
  ReasonCode.implementationSpecificError,
  ReasonCode.notAuthorized,
  ReasonCode.serverBusy,
  ReasonCode.serverShuttingDown,
  ReasonCode.badAuthenticationMethod,
  ReasonCode.keepAliveTimeout,
  ReasonCode.sessionTakenOver,
  ReasonCode.topicFilterInvalid,
  ReasonCode.topicNameInvalid,
  ReasonCode.receiveMaximumExceeded,
  ReasonCode.topicAliasInvalid,
  ReasonCode.packetTooLarge,
  ReasonCode.messageRateTooHigh,
  ReasonCode.quotaExceeded,
  ReasonCode.administrativeAction,
  ReasonCode.payloadFormatInvalid,
  ReasonCode.retainNotSupported,
  ReasonCode.qosNotSupported,
  ReasonCode.useAnotherServer,
  ReasonCode.serverMoved,
  ReasonCode.sharedSubscriptionsNotSupported,
  ReasonCode.connectionRateExceeded,
  ReasonCode.maximumConnectTime,
  ReasonCode.subscriptionIdentifiersNotSupported,
  ReasonCode.wildcardSubscriptionsNotSupported,
]);

export function decodeDisconnect(version: ProtocolVersion, reader: ByteReader): Disconnect {
  const disconnect: Disconnect = { type: "disconnect", reasonCode: ReasonCode.success };
  // Both the Reason Code and the properties may be left out. [MQTT5 3.14.2.1] [MQTT5 3.14.2.2.1]
  if (version !== 5 || reader.remaining === 0) return disconnect;
  disconnect.reasonCode = readReasonCode(reader, allowed);
  const properties = reader.remaining === 0 ? undefined : readProperties(reader, "disconnect");
  if (properties !== undefined) disconnect.properties = properties;
  return disconnect;
}

export function encodeDisconnect(version: ProtocolVersion, writer: ByteWriter, disconnect: Disconnect): void {
  if (version !== 5) return;
  const bare = isWithoutProperties("disconnect", disconnect.properties);
  if (bare && disconnect.reasonCode === ReasonCode.success) return;
  writer.u8(disconnect.reasonCode);
  if (!bare) writeProperties(writer, "disconnect", disconnect.properties);
}
