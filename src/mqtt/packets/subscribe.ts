/** SUBSCRIBE and SUBACK. [MQTT5 3.8] [MQTT5 3.9] [MQTT311 3.8] [MQTT311 3.9] */
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { ProtocolVersion, QoS, Suback, Subscribe, SubscriptionRequest } from "../packet.ts";
import { readProperties, writeProperties } from "../properties.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";
import { isShared } from "../topic.ts";
import { readPacketIdentifier, readReasonCodes } from "./fields.ts";

const qosBits = 0x03;
// The rest of the options byte: only in 5.0. [MQTT5 3.8.3.1]
const noLocalFlag = 0x04;
const retainAsPublishedFlag = 0x08;
const retainHandlingShift = 4;

/** A topic filter that is none stays in: SUBACK answers for it alone. [MQTT5 3.9.3] */
export function decodeSubscribe(version: ProtocolVersion, reader: ByteReader): Subscribe {
  const packetIdentifier = readPacketIdentifier(reader);
  const properties = version === 5 ? readProperties(reader, "subscribe") : undefined;
  if (reader.remaining === 0) throw refused("SUBSCRIBE without a topic filter"); // [MQTT5 3.8.3-2] [MQTT311 3.8.3-3]
  const subscriptions: SubscriptionRequest[] = [];
  while (reader.remaining > 0) {
    const topicFilter = reader.utf8String();
    subscriptions.push(readOptions(version, topicFilter, reader.u8()));
  }
  const subscribe: Subscribe = { type: "subscribe", packetIdentifier, subscriptions };
  if (properties !== undefined) subscribe.properties = properties;
  return subscribe;
}

function readOptions(version: ProtocolVersion, topicFilter: string, options: number): SubscriptionRequest {
  const reserved = version === 5 ? 0xc0 : 0xfc;
  if (options & reserved) throw new ProtocolError(ReasonCode.malformedPacket, "a reserved subscription option is set"); // [MQTT5 3.8.3-5] [MQTT311 3.8.3-4]
  const qos = options & qosBits;
  if (qos === 3) throw refused("QoS 3 does not exist"); // [MQTT5 3.8.3.1] [MQTT311 3.8.3-4]
  const noLocal = (options & noLocalFlag) !== 0;
  if (noLocal && isShared(topicFilter)) throw refused("No Local on a Shared Subscription"); // [MQTT5 3.8.3-4]
  const retainHandling = options >> retainHandlingShift;
  if (retainHandling === 3) throw refused("Retain Handling is 3"); // [MQTT5 3.8.3.1]
  return {
    topicFilter,
    qos: qos as QoS,
    noLocal,
    retainAsPublished: (options & retainAsPublishedFlag) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

export function encodeSubscribe(version: ProtocolVersion, writer: ByteWriter, subscribe: Subscribe): void {
  writer.u16(subscribe.packetIdentifier);
  if (version === 5) writeProperties(writer, "subscribe", subscribe.properties);
  for (const subscription of subscribe.subscriptions) {
    writer.utf8String(subscription.topicFilter);
    writer.u8(version === 5 ? optionsOf(subscription) : subscription.qos);
  }
}

function optionsOf({ qos, noLocal, retainAsPublished, retainHandling }: SubscriptionRequest): number {
  const flags = (noLocal ? noLocalFlag : 0) | (retainAsPublished ? retainAsPublishedFlag : 0);
  return qos | flags | (retainHandling << retainHandlingShift);
}

/** [MQTT5 3.9.3], table 3-8. */
const allowed: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.grantedQos1,
  ReasonCode.grantedQos2,
  ReasonCode.unspecifiedError,
  ReasonCode.implementationSpecificError,
  ReasonCode.notAuthorized,
  ReasonCode.topicFilterInvalid,
  ReasonCode.packetIdentifierInUse,
  ReasonCode.quotaExceeded,
  ReasonCode.sharedSubscriptionsNotSupported,
  ReasonCode.subscriptionIdentifiersNotSupported,
  ReasonCode.wildcardSubscriptionsNotSupported,
]);

/** Before 5.0 there is one failure, 0x80. [MQTT311 3.9.3-2] */
const allowedBefore5: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.grantedQos1,
  ReasonCode.grantedQos2,
  ReasonCode.unspecifiedError,
]);

export function decodeSuback(version: ProtocolVersion, reader: ByteReader): Suback {
  const packetIdentifier = readPacketIdentifier(reader);
  const properties = version === 5 ? readProperties(reader, "answer") : undefined;
  const reasonCodes = readReasonCodes(reader, version === 5 ? allowed : allowedBefore5);
  const suback: Suback = { type: "suback", packetIdentifier, reasonCodes };
  if (properties !== undefined) suback.properties = properties;
  return suback;
}

export function encodeSuback(version: ProtocolVersion, writer: ByteWriter, suback: Suback): void {
  writer.u16(suback.packetIdentifier);
  if (version === 5) writeProperties(writer, "answer", suback.properties);
  for (const reasonCode of suback.reasonCodes) {
    const failure = reasonCode >= ReasonCode.unspecifiedError;
    writer.u8(failure && version !== 5 ? ReasonCode.unspecifiedError : reasonCode);
  }
}

function refused(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.protocolError, what);
}
