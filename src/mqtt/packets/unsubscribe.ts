/** UNSUBSCRIBE and UNSUBACK. [MQTT5 3.10] [MQTT5 3.11] [MQTT311 3.10] [MQTT311 3.11] */
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { ProtocolVersion, Unsuback, Unsubscribe } from "../packet.ts";
import { readProperties, writeProperties } from "../properties.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";
import { readPacketIdentifier, readReasonCodes } from "./fields.ts";

export function decodeUnsubscribe(version: ProtocolVersion, reader: ByteReader): Unsubscribe {
  const packetIdentifier = readPacketIdentifier(reader);
  const properties = version === 5 ? readProperties(reader, "unsubscribe") : undefined;
  if (reader.remaining === 0) throw new ProtocolError(ReasonCode.protocolError, "UNSUBSCRIBE without a topic filter"); // [MQTT5 3.10.3-2] [MQTT311 3.10.3-2]
  const topicFilters: string[] = [];
  while (reader.remaining > 0) topicFilters.push(reader.utf8String());
  const unsubscribe: Unsubscribe = { type: "unsubscribe", packetIdentifier, topicFilters };
  if (properties !== undefined) unsubscribe.properties = properties;
  return unsubscribe;
}

export function encodeUnsubscribe(version: ProtocolVersion, writer: ByteWriter, unsubscribe: Unsubscribe): void {
  writer.u16(unsubscribe.packetIdentifier);
  if (version === 5) writeProperties(writer, "unsubscribe", unsubscribe.properties);
  for (const topicFilter of unsubscribe.topicFilters) writer.utf8String(topicFilter);
}

/** [MQTT5 3.11.3], table 3-9. */
const allowed: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.noSubscriptionExisted,
  ReasonCode.unspecifiedError,
  ReasonCode.implementationSpecificError,
  ReasonCode.notAuthorized,
  ReasonCode.topicFilterInvalid,
  ReasonCode.packetIdentifierInUse,
]);

export function decodeUnsuback(version: ProtocolVersion, reader: ByteReader): Unsuback {
  const packetIdentifier = readPacketIdentifier(reader);
  // Before 5.0 it has no payload. [MQTT311 3.11.3]
  if (version !== 5) return { type: "unsuback", packetIdentifier, reasonCodes: [] };
  const properties = readProperties(reader, "answer");
  const unsuback: Unsuback = { type: "unsuback", packetIdentifier, reasonCodes: readReasonCodes(reader, allowed) };
  if (properties !== undefined) unsuback.properties = properties;
  return unsuback;
}

export function encodeUnsuback(version: ProtocolVersion, writer: ByteWriter, unsuback: Unsuback): void {
  writer.u16(unsuback.packetIdentifier);
  if (version !== 5) return;
  writeProperties(writer, "answer", unsuback.properties);
  for (const reasonCode of unsuback.reasonCodes) writer.u8(reasonCode);
}
