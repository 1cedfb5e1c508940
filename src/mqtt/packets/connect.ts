/** CONNECT: who a client is and what session it wants. [MQTT5 3.1] [MQTT311 3.1] */
import { isUtf8 } from "node:buffer";
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { Connect, ProtocolVersion, QoS, Will } from "../packet.ts";
import { readProperties, writeProperties } from "../properties.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";
import { parseTopicName } from "../topic.ts";

/** A protocol we do not speak: a newer MQTT, or none. A broker answers in the words of 3.1.1. [MQTT311 3.1.2-2] */
export class UnsupportedProtocol extends ProtocolError {
  readonly protocolName: string;
  readonly level: number;

  constructor(protocolName: string, level: number) {
    super(ReasonCode.unsupportedProtocolVersion, `protocol level ${level} of this name is not supported`);
    this.name = "UnsupportedProtocol";
    this.protocolName = protocolName;
    this.level = level;
  }
}

const bridgeBit = 0x80;

// The bits of the connect flags; bits 3 and 4 are the Will QoS. [MQTT5 3.1.2.3]
const reservedFlag = 0x01;
const cleanStartFlag = 0x02;
const willFlag = 0x04;
const willQosShift = 3;
const willRetainFlag = 0x20;
const passwordFlag = 0x40;
const userNameFlag = 0x80;

export function decodeConnect(reader: ByteReader): Connect {
  const protocolName = reader.utf8String();
  const level = reader.u8();
  const protocolVersion = protocolVersionOf(protocolName, level);
  const flags = reader.u8();
  judgeFlags(protocolVersion, flags);
  const keepAliveSeconds = reader.u16();
  const properties = protocolVersion === 5 ? readProperties(reader, "connect") : undefined;
  if (properties?.authenticationData !== undefined && properties.authenticationMethod === undefined)
    throw new ProtocolError(ReasonCode.protocolError, "Authentication Data without a method"); // [MQTT5 3.1.2.11.10]
  const connect: Connect = {
    type: "connect",
    protocolVersion,
    cleanStart: (flags & cleanStartFlag) !== 0,
    keepAliveSeconds,
    clientId: reader.utf8String(),
  };
  if (properties !== undefined) connect.properties = properties;
  if (flags & willFlag) connect.will = readWill(reader, protocolVersion, flags);
  // In 3.1 the remaining length takes precedence over these two flags: the fields may be missing. [MQTT31 3.1]
  const mayBeMissing = protocolVersion === 3;
  if (flags & userNameFlag && !(mayBeMissing && reader.remaining === 0)) connect.userName = reader.utf8String();
  if (flags & passwordFlag && !(mayBeMissing && reader.remaining === 0)) connect.password = reader.binary();
  if (level & bridgeBit) connect.bridge = true;
  return connect;
}

/** [MQTT5 3.1.2-1] [MQTT5 3.1.2-2] [MQTT311 3.1.2-1] [MQTT311 3.1.2-2] */
function protocolVersionOf(protocolName: string, level: number): ProtocolVersion {
  if (protocolName === "MQTT" && level === 5) return 5;
  // Bridges of other brokers mark themselves with the highest bit of the level.
  const version = level & ~bridgeBit;
  if (protocolName === "MQTT" && version === 4) return 4;
  if (protocolName === "MQIsdp" && version === 3) return 3;
  throw new UnsupportedProtocol(protocolName, level);
}

function judgeFlags(version: ProtocolVersion, flags: number): void {
  if (flags & reservedFlag) throw malformed("the reserved connect flag is set"); // [MQTT5 3.1.2-3] [MQTT311 3.1.2-3]
  if (flags & willFlag) {
    if (willQos(flags) === 3) throw malformed("the Will QoS is 3"); // [MQTT5 3.1.2-12] [MQTT311 3.1.2-14]
  } else if (version !== 3 && (willQos(flags) !== 0 || flags & willRetainFlag)) {
    // 3.1 disregards these bits. [MQTT5 3.1.2-11] [MQTT5 3.1.2-13] [MQTT311 3.1.2-13] [MQTT311 3.1.2-15]
    throw malformed("Will QoS or Will Retain is set without a Will");
  }
  if (version !== 5 && flags & passwordFlag && !(flags & userNameFlag))
    throw malformed("a password without a user name"); // [MQTT311 3.1.2-22]
}

function willQos(flags: number): number {
  return (flags >> willQosShift) & 0x03;
}

/** [MQTT5 3.1.3.2] [MQTT5 3.1.3.3] [MQTT5 3.1.3.4] */
function readWill(reader: ByteReader, version: ProtocolVersion, flags: number): Will {
  const properties = version === 5 ? readProperties(reader, "will") : undefined;
  const will: Will = {
    topicName: reader.utf8String(),
    payload: reader.binary(),
    qos: willQos(flags) as QoS,
    retain: (flags & willRetainFlag) !== 0,
  };
  if (parseTopicName(will.topicName) === undefined) throw malformed("the Will Topic is no topic name"); // [MQTT5 4.7.0-1]
  if (properties === undefined) return will;
  if (properties.payloadFormatIndicator === 1 && !isUtf8(will.payload))
    throw new ProtocolError(ReasonCode.payloadFormatInvalid, "the Will Payload is not UTF-8"); // [MQTT5 3.1.3.2.3]
  will.properties = properties;
  return will;
}

export function encodeConnect(writer: ByteWriter, connect: Connect): void {
  const { protocolVersion, will, userName, password } = connect;
  writer.utf8String(protocolVersion === 3 ? "MQIsdp" : "MQTT");
  writer.u8(connect.bridge ? protocolVersion | bridgeBit : protocolVersion);
  let flags = 0;
  if (connect.cleanStart) flags |= cleanStartFlag;
  if (will !== undefined) flags |= willFlag | (will.qos << willQosShift);
  if (will?.retain) flags |= willRetainFlag;
  if (userName !== undefined) flags |= userNameFlag;
  if (password !== undefined) flags |= passwordFlag;
  writer.u8(flags);
  writer.u16(connect.keepAliveSeconds);
  if (protocolVersion === 5) writeProperties(writer, "connect", connect.properties);
  writer.utf8String(connect.clientId);
  if (will !== undefined) {
    if (protocolVersion === 5) writeProperties(writer, "will", will.properties);
    writer.utf8String(will.topicName);
    writer.binary(will.payload);
  }
  if (userName !== undefined) writer.utf8String(userName);
  if (password !== undefined) writer.binary(password);
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, what);
}
