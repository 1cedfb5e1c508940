/**
 * The properties of MQTT 5.0 [MQTT5 2.2.2]: one table says which there are, of what type, and which packets hold them.
 * `readProperties` and `writeProperties` follow it; `scanPublishProperties` judges those of a received PUBLISH by the same
 * rules without making anything.
 */
import { ByteReader, ByteWriter } from "./bytes.ts";
import type {
  AnswerProperties,
  AuthProperties,
  ConnackProperties,
  ConnectProperties,
  DisconnectProperties,
  PublishedProperties,
  PublishProperties,
  SubscribeProperties,
  UnsubscribeProperties,
  WillProperties,
} from "./packet.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";
import { isValidTopicNameBytes, parseTopicName } from "./topic.ts";
import { isWellFormedUtf8 } from "./utf8.ts";

/** What can hold properties: a packet, the Will in a CONNECT, or a message on its own (`published`). */
interface PropertiesOf {
  connect: ConnectProperties;
  will: WillProperties;
  connack: ConnackProperties;
  publish: PublishProperties;
  published: PublishedProperties;
  answer: AnswerProperties;
  subscribe: SubscribeProperties;
  unsubscribe: UnsubscribeProperties;
  disconnect: DisconnectProperties;
  auth: AuthProperties;
}

type Holder = keyof PropertiesOf;
type PropertyName = { [H in Holder]: keyof PropertiesOf[H] }[Holder];

interface Property {
  identifier: number;
  name: PropertyName;
  type: ValueType<unknown>;
  holders: readonly Holder[];
  /** May come more than once: its values are an array. */
  many?: true;
}

interface ValueType<Value> {
  read(reader: ByteReader, name: PropertyName): Value;
  write(writer: ByteWriter, value: Value): void;
}

const twoByteInteger: ValueType<number> = {
  read: (reader) => reader.u16(),
  write: (writer, value) => writer.u16(value),
};

const fourByteInteger: ValueType<number> = {
  read: (reader) => reader.u32(),
  write: (writer, value) => writer.u32(value),
};

const variableByteInteger: ValueType<number> = {
  read: (reader) => reader.variableByteInteger(),
  write: (writer, value) => writer.variableByteInteger(value),
};

const text: ValueType<string> = {
  read: (reader) => reader.utf8String(),
  write: (writer, value) => writer.utf8String(value),
};

const binary: ValueType<Uint8Array> = {
  read: (reader) => reader.binary(),
  write: (writer, value) => writer.binary(value),
};

const pair: ValueType<readonly [string, string]> = {
  read: (reader) => [reader.utf8String(), reader.utf8String()],
  write(writer, [name, value]) {
    writer.utf8String(name);
    writer.utf8String(value);
  },
};

const zeroOrOne: ValueType<number> = {
  read(reader, name) {
    const value = reader.u8();
    if (value > 1) throw notZeroOrOne(name);
    return value;
  },
  write: (writer, value) => writer.u8(value),
};

const boolean: ValueType<boolean> = {
  read: (reader, name) => zeroOrOne.read(reader, name) === 1,
  write: (writer, value) => writer.u8(value ? 1 : 0),
};

/** Topic Alias 0 has a Reason Code of its own. [MQTT5 3.3.2-8] */
const alias: ValueType<number> = {
  ...twoByteInteger,
  read(reader) {
    const value = reader.u16();
    if (value === 0) throw aliasIsZero();
    return value;
  },
};

const responseTopic: ValueType<string> = {
  ...text,
  read(reader) {
    const value = reader.utf8String();
    if (parseTopicName(value) === undefined) throw responseTopicInvalid();
    return value;
  },
};

function positive(type: ValueType<number>): ValueType<number> {
  return {
    ...type,
    read(reader, name) {
      const value = type.read(reader, name);
      if (value === 0) throw refused(`${name} is 0`);
      return value;
    },
  };
}

const published: readonly Holder[] = ["publish", "will", "published"];

/** [MQTT5 2.2.2.2], table 2-4; beside each property its rule on values, if it has one. */
const table: readonly Property[] = [
  { identifier: 0x01, name: "payloadFormatIndicator", type: zeroOrOne, holders: published }, // [MQTT5 3.3.2.3.2]
  { identifier: 0x02, name: "messageExpiryInterval", type: fourByteInteger, holders: published },
  { identifier: 0x03, name: "contentType", type: text, holders: published },
  { identifier: 0x08, name: "responseTopic", type: responseTopic, holders: published }, // [MQTT5 3.3.2-14]
  { identifier: 0x09, name: "correlationData", type: binary, holders: published },
  // One in a SUBSCRIBE; in a PUBLISH one for each subscription it comes from. [MQTT5 3.8.2.1.2] [MQTT5 3.3.2.3.8]
  { identifier: 0x0b, name: "subscriptionIdentifier", type: positive(variableByteInteger), holders: ["subscribe"] },
  {
    identifier: 0x0b,
    name: "subscriptionIdentifiers",
    type: positive(variableByteInteger),
    holders: ["publish"],
    many: true,
  },
  {
    identifier: 0x11,
    name: "sessionExpiryInterval",
    type: fourByteInteger,
    holders: ["connect", "connack", "disconnect"],
  },
  { identifier: 0x12, name: "assignedClientIdentifier", type: text, holders: ["connack"] },
  { identifier: 0x13, name: "serverKeepAlive", type: twoByteInteger, holders: ["connack"] },
  { identifier: 0x15, name: "authenticationMethod", type: text, holders: ["connect", "connack", "auth"] },
  { identifier: 0x16, name: "authenticationData", type: binary, holders: ["connect", "connack", "auth"] },
  { identifier: 0x17, name: "requestProblemInformation", type: boolean, holders: ["connect"] }, // [MQTT5 3.1.2.11.7]
  { identifier: 0x18, name: "willDelayInterval", type: fourByteInteger, holders: ["will"] },
  { identifier: 0x19, name: "requestResponseInformation", type: boolean, holders: ["connect"] }, // [MQTT5 3.1.2.11.6]
  { identifier: 0x1a, name: "responseInformation", type: text, holders: ["connack"] },
  { identifier: 0x1c, name: "serverReference", type: text, holders: ["connack", "disconnect"] },
  { identifier: 0x1f, name: "reasonString", type: text, holders: ["connack", "answer", "disconnect", "auth"] },
  // [MQTT5 3.1.2.11.3]
  { identifier: 0x21, name: "receiveMaximum", type: positive(twoByteInteger), holders: ["connect", "connack"] },
  { identifier: 0x22, name: "topicAliasMaximum", type: twoByteInteger, holders: ["connect", "connack"] },
  { identifier: 0x23, name: "topicAlias", type: alias, holders: ["publish"] },
  { identifier: 0x24, name: "maximumQoS", type: zeroOrOne, holders: ["connack"] }, // [MQTT5 3.2.2.3.4]
  { identifier: 0x25, name: "retainAvailable", type: boolean, holders: ["connack"] }, // [MQTT5 3.2.2.3.5]
  {
    identifier: 0x26,
    name: "userProperties",
    type: pair,
    holders: [...published, "connect", "connack", "answer", "subscribe", "unsubscribe", "disconnect", "auth"],
    many: true,
  },
  // [MQTT5 3.1.2.11.4]
  { identifier: 0x27, name: "maximumPacketSize", type: positive(fourByteInteger), holders: ["connect", "connack"] },
  { identifier: 0x28, name: "wildcardSubscriptionAvailable", type: boolean, holders: ["connack"] },
  { identifier: 0x29, name: "subscriptionIdentifiersAvailable", type: boolean, holders: ["connack"] },
  { identifier: 0x2a, name: "sharedSubscriptionAvailable", type: boolean, holders: ["connack"] },
];

/** Reads a Property Length and that many bytes of properties; `undefined` when there are none. */
export function readProperties<H extends Holder>(reader: ByteReader, holder: H): PropertiesOf[H] | undefined {
  const length = reader.variableByteInteger();
  return length === 0 ? undefined : readAll(reader.section(length, "its properties"), holder);
}

/** Writes the properties behind their length; a single 0 when there are none. [MQTT5 2.2.2-1] */
export function writeProperties<H extends Holder>(writer: ByteWriter, holder: H, values?: PropertiesOf[H]): void {
  const encoded = writeAll(holder, values);
  writer.variableByteInteger(encoded.length);
  writer.raw(encoded);
}

/** True when `writeProperties` would write a single 0. */
export function isWithoutProperties<H extends Holder>(holder: H, values?: PropertiesOf[H]): boolean {
  return values === undefined || writeAll(holder, values).length === 0;
}

/** Reads the properties of a message as the store keeps them: without a length before them. */
export function decodePublishedProperties(bytes: Uint8Array): PublishedProperties {
  return readAll(new ByteReader(bytes), "published");
}

/** The properties that travel with a message, and none else that `values` may have; without a length before them. */
export function encodePublishedProperties(values: PublishedProperties): Uint8Array {
  return new Uint8Array(writeAll("published", values));
}

function readAll<H extends Holder>(reader: ByteReader, holder: H): PropertiesOf[H] {
  const values: Record<string, unknown> = {};
  while (reader.remaining > 0) {
    const { name, type, many } = propertyOf(holder, reader.variableByteInteger());
    const value = type.read(reader, name);
    const before = values[name];
    if (many !== undefined) {
      if (before === undefined) values[name] = [value];
      else (before as unknown[]).push(value);
    } else {
      if (before !== undefined) throw twice(name);
      values[name] = value;
    }
  }
  return values as PropertiesOf[H];
}

function writeAll<H extends Holder>(holder: H, values: PropertiesOf[H] = {}): Buffer {
  const writer = new ByteWriter();
  for (const { identifier, name, type, holders, many } of table) {
    const value = (values as Record<string, unknown>)[name];
    if (value === undefined || !holders.includes(holder)) continue;
    for (const one of many === undefined ? [value] : (value as unknown[])) {
      writer.variableByteInteger(identifier);
      type.write(writer, one);
    }
  }
  return writer.written();
}

function propertyOf(holder: Holder, identifier: number): Property {
  const property = table.find((each) => each.identifier === identifier && each.holders.includes(holder));
  if (property === undefined) throw misplaced(identifier, holder);
  return property;
}

/** What the broker wants to know of the properties of a received PUBLISH. Made once, filled by each scan. */
export interface PublishPropertyScan {
  /** 0: none. */
  topicAlias: number;
  /** Where the Topic Alias property, identifier included, begins and ends in the scanned `bytes`; -1: none. */
  aliasStart: number;
  aliasEnd: number;
  /** -1: none. */
  expirySeconds: number;
  /** Where the four bytes of the Message Expiry Interval begin, counted from the scan's `start`; -1: none. */
  expiryOffset: number;
  payloadFormatIndicator: 0 | 1;
}

/** Judges the properties in `bytes[start..end)` of a PUBLISH from a client, and fills `out`. Makes nothing. */
export function scanPublishProperties(bytes: Uint8Array, start: number, end: number, out: PublishPropertyScan): void {
  out.topicAlias = 0;
  out.aliasStart = -1;
  out.aliasEnd = -1;
  out.expirySeconds = -1;
  out.expiryOffset = -1;
  out.payloadFormatIndicator = 0;
  let seen = 0;
  let at = start;
  while (at < end) {
    const identifierAt = at;
    const identifier = bytes[at++];
    switch (identifier) {
      case 0x01: {
        if (at >= end) throw overrun();
        const value = bytes[at++];
        if (value > 1) throw notZeroOrOne("payloadFormatIndicator");
        out.payloadFormatIndicator = value as 0 | 1;
        break;
      }
      case 0x02:
        if (at + 4 > end) throw overrun();
        out.expirySeconds = ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
        out.expiryOffset = at - start;
        at += 4;
        break;
      case 0x03:
        at = skipText(bytes, at, end);
        break;
      case 0x08: {
        const textAt = at + 2;
        at = skipText(bytes, at, end);
        if (!isValidTopicNameBytes(bytes, textAt, at)) throw responseTopicInvalid();
        break;
      }
      case 0x09:
        at = skipBinary(bytes, at, end);
        break;
      case 0x23: {
        if (at + 2 > end) throw overrun();
        const value = (bytes[at] << 8) | bytes[at + 1];
        if (value === 0) throw aliasIsZero();
        if (out.topicAlias !== 0) throw twice("topicAlias");
        at += 2;
        out.topicAlias = value;
        out.aliasStart = identifierAt;
        out.aliasEnd = at;
        continue;
      }
      case 0x26:
        at = skipText(bytes, skipText(bytes, at, end), end);
        continue;
      // Only a server may send these. [MQTT5 3.3.4-6]
      case 0x0b:
        throw refused("a client has sent a Subscription Identifier in a PUBLISH");
      default:
        throw misplaced(new ByteReader(bytes, identifierAt, end).variableByteInteger(), "publish");
    }
    // Only identifiers up to 9 come here.
    if ((seen & (1 << identifier)) !== 0) throw twice(propertyOf("publish", identifier).name);
    seen |= 1 << identifier;
  }
}

function skipBinary(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 > end) throw overrun();
  const behind = at + 2 + ((bytes[at] << 8) | bytes[at + 1]);
  if (behind > end) throw overrun();
  return behind;
}

function skipText(bytes: Uint8Array, at: number, end: number): number {
  const behind = skipBinary(bytes, at, end);
  if (isWellFormedUtf8(bytes, at + 2, behind)) return behind;
  throw malformed("a property is not well-formed UTF-8 or holds U+0000"); // [MQTT5 1.5.4-1] [MQTT5 1.5.4-2]
}

/** A property that does not exist, or not in this packet. [MQTT5 2.2.2.2] */
function misplaced(identifier: number, holder: Holder): ProtocolError {
  const property = table.find((each) => each.identifier === identifier);
  if (property === undefined) return malformed(`there is no property 0x${identifier.toString(16)}`);
  return malformed(`${property.name} is no property of ${holder}`);
}

function twice(name: PropertyName): ProtocolError {
  return refused(`${name} comes twice`);
}

function notZeroOrOne(name: PropertyName): ProtocolError {
  return refused(`${name} is neither 0 nor 1`);
}

function aliasIsZero(): ProtocolError {
  return new ProtocolError(ReasonCode.topicAliasInvalid, "topicAlias is 0");
}

function responseTopicInvalid(): ProtocolError {
  return refused("responseTopic is no topic name");
}

function overrun(): ProtocolError {
  return malformed("a property is longer than the properties together");
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, what);
}

function refused(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.protocolError, what);
}
