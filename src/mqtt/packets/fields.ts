/** The fields that several packets have. */
import type { ByteReader } from "../bytes.ts";
import type { PacketIdentifier } from "../packet.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";

/** Reads a Packet Identifier, which is never 0. [MQTT5 2.2.1-3] [MQTT311 2.3.1-1] */
export function readPacketIdentifier(reader: ByteReader): PacketIdentifier {
  const packetIdentifier = reader.u16();
  if (packetIdentifier !== 0) return packetIdentifier;
  throw new ProtocolError(ReasonCode.malformedPacket, "the Packet Identifier is 0");
}

/** Reads a Reason Code; each packet has its own few, and any other is a Protocol Error. [MQTT5 2.4] */
export function readReasonCode(reader: ByteReader, allowed: ReadonlySet<ReasonCode>): ReasonCode {
  const reasonCode = reader.u8() as ReasonCode;
  if (allowed.has(reasonCode)) return reasonCode;
  throw new ProtocolError(ReasonCode.protocolError, `Reason Code ${reasonCode} does not belong in this packet`);
}

/** Reads the Reason Codes of a SUBACK or UNSUBACK, one for each topic filter asked for: at least one. */
export function readReasonCodes(reader: ByteReader, allowed: ReadonlySet<ReasonCode>): ReasonCode[] {
  const reasonCodes: ReasonCode[] = [];
  do reasonCodes.push(readReasonCode(reader, allowed));
  while (reader.remaining > 0);
  return reasonCodes;
}
