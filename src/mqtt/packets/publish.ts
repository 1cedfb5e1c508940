/**
 * PUBLISH as a plain value. [MQTT5 3.3] [MQTT311 3.3] The broker itself takes received ones as a `PublishView`.
 * `decodePublish` reads what a client sends and what a server sends; what only one of them may do is for the caller.
 */
import { isUtf8 } from "node:buffer";
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { ProtocolVersion, Publish, PublishProperties } from "../packet.ts";
import { readProperties, writeProperties } from "../properties.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";
import { parseTopicName } from "../topic.ts";
import { readPacketIdentifier } from "./fields.ts";

const retainFlag = 0x01;
const qosShift = 1;
const dupFlag = 0x08;

export function decodePublish(version: ProtocolVersion, flags: number, reader: ByteReader): Publish {
  const retain = (flags & retainFlag) !== 0;
  const qos = (flags >> qosShift) & 0x03;
  const dup = (flags & dupFlag) !== 0;
  if (dup && qos === 0) throw malformed("DUP is set at QoS 0"); // [MQTT5 3.3.1-2] [MQTT311 3.3.1-2]
  if (qos === 3) throw malformed("QoS 3 does not exist"); // [MQTT5 3.3.1-4] [MQTT311 3.3.1-4]
  const topicName = reader.utf8String();
  const packetIdentifier = qos === 0 ? 0 : readPacketIdentifier(reader);
  const properties = version === 5 ? readProperties(reader, "publish") : undefined;
  judgeTopicName(topicName, properties);
  const payload = reader.rest();
  if (properties?.payloadFormatIndicator === 1 && !isUtf8(payload))
    throw new ProtocolError(ReasonCode.payloadFormatInvalid, "the payload is not UTF-8"); // [MQTT5 3.3.2.3.2]
  const message = { type: "publish", topicName, payload, retain } as const;
  const publish: Publish = qos === 0 ? { ...message, qos } : { ...message, qos: qos as 1 | 2, packetIdentifier, dup };
  if (properties !== undefined) publish.properties = properties;
  return publish;
}

function judgeTopicName(topicName: string, properties: PublishProperties | undefined): void {
  if (topicName === "") {
    if (properties?.topicAlias !== undefined) return;
    throw new ProtocolError(ReasonCode.protocolError, "neither Topic Name nor Topic Alias"); // [MQTT5 3.3.2.1] [MQTT311 4.7.3-1]
  }
  if (parseTopicName(topicName) === undefined) throw malformed("a wildcard in the Topic Name"); // [MQTT5 3.3.2-2] [MQTT311 3.3.2-2]
}

export function publishFlags(publish: Publish): number {
  const flags = (publish.qos << qosShift) | (publish.retain ? retainFlag : 0);
  return publish.qos !== 0 && publish.dup ? flags | dupFlag : flags;
}

export function encodePublish(version: ProtocolVersion, writer: ByteWriter, publish: Publish): void {
  writer.utf8String(publish.topicName);
  if (publish.qos !== 0) writer.u16(publish.packetIdentifier);
  if (version === 5) writeProperties(writer, "publish", publish.properties);
  writer.raw(publish.payload);
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, what);
}
