/** PUBACK, PUBREC, PUBREL and PUBCOMP: a Packet Identifier, and in 5.0 how it went. [MQTT5 3.4 – 3.7] [MQTT311 3.4 – 3.7] */
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { ProtocolVersion, PublishAnswer } from "../packet.ts";
import { isWithoutProperties, readProperties, writeProperties } from "../properties.ts";
import { ReasonCode } from "../reason-code.ts";
import { readPacketIdentifier, readReasonCode } from "./fields.ts";

/** [MQTT5 3.4.2.1] [MQTT5 3.5.2.1] */
const received: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.noMatchingSubscribers,
  ReasonCode.unspecifiedError,
  ReasonCode.implementationSpecificError,
  ReasonCode.notAuthorized,
  ReasonCode.topicNameInvalid,
  ReasonCode.packetIdentifierInUse,
  ReasonCode.quotaExceeded,
  ReasonCode.payloadFormatInvalid,
]);

/** [MQTT5 3.6.2.1] [MQTT5 3.7.2.1] */
const released: ReadonlySet<ReasonCode> = new Set([ReasonCode.success, ReasonCode.packetIdentifierNotFound]);

const allowed: Record<PublishAnswer["type"], ReadonlySet<ReasonCode>> = {
  puback: received,
  pubrec: received,
  pubrel: released,
  pubcomp: released,
};

export function decodePublishAnswer(
  version: ProtocolVersion,
  type: PublishAnswer["type"],
  reader: ByteReader,
): PublishAnswer {
  const answer: PublishAnswer = {
    type,
    packetIdentifier: readPacketIdentifier(reader),
    reasonCode: ReasonCode.success,
  };
  // Both the Reason Code and the properties may be left out. [MQTT5 3.4.2.1] [MQTT5 3.4.2.2.1]
  if (version !== 5 || reader.remaining === 0) return answer;
  answer.reasonCode = readReasonCode(reader, allowed[type]);
  const properties = reader.remaining === 0 ? undefined : readProperties(reader, "answer");
  if (properties !== undefined) answer.properties = properties;
  return answer;
}

export function encodePublishAnswer(version: ProtocolVersion, writer: ByteWriter, answer: PublishAnswer): void {
  writer.u16(answer.packetIdentifier);
  if (version !== 5) return;
  const bare = isWithoutProperties("answer", answer.properties);
  if (bare && answer.reasonCode === ReasonCode.success) return;
  writer.u8(answer.reasonCode);
  if (!bare) writeProperties(writer, "answer", answer.properties);
}
