/**
 * MQTT Control Packets: bytes to plain values and back, for 3.1, 3.1.1 and 5.0, whoever sends them. Decoding is strict and
 * throws ProtocolError, nothing else; values share no bytes with what they were read from. Encoding takes the shortest form.
 */
import { assert } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import type { Packet, ProtocolVersion } from "./packet.ts";
import { decodeAuth, encodeAuth } from "./packets/auth.ts";
import { decodeConnack, encodeConnack } from "./packets/connack.ts";
import { decodeConnect, encodeConnect } from "./packets/connect.ts";
import { decodeDisconnect, encodeDisconnect } from "./packets/disconnect.ts";
import { decodePublish, encodePublish, publishFlags } from "./packets/publish.ts";
import { decodePublishAnswer, encodePublishAnswer } from "./packets/publish-answer.ts";
import { decodeSuback, decodeSubscribe, encodeSuback, encodeSubscribe } from "./packets/subscribe.ts";
import { decodeUnsuback, decodeUnsubscribe, encodeUnsuback, encodeUnsubscribe } from "./packets/unsubscribe.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

export { returnCodeOf } from "./packets/connack.ts";
export { UnsupportedProtocol } from "./packets/connect.ts";

/** By number: the upper half of a packet's first byte. [MQTT5 2.1.2] [MQTT311 2.2.1] */
const types = [
  undefined, // reserved
  "connect",
  "connack",
  "publish",
  "puback",
  "pubrec",
  "pubrel",
  "pubcomp",
  "subscribe",
  "suback",
  "unsubscribe",
  "unsuback",
  "pingreq",
  "pingresp",
  "disconnect",
  "auth", // reserved before 5.0
] as const satisfies readonly (Packet["type"] | undefined)[];

const dupFlag = 0x08;

/**
 * Decodes one packet: its first byte, and in `bytes[start..end)` all that follows its Remaining Length. A CONNECT says
 * itself which version it speaks.
 */
export function decodePacket(
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  start: number,
  end: number,
): Packet {
  const type = types[firstByte >> 4];
  if (type === undefined || (type === "auth" && version !== 5)) throw malformed("a reserved packet type");
  const flags = firstByte & 0x0f;
  if (type !== "publish") judgeFlags(version, type, flags);
  const reader = new ByteReader(bytes, start, end);
  const packet = decodeBody(version, type, flags, reader);
  reader.finish();
  return packet;
}

/** [MQTT5 2.1.3-1] [MQTT5 3.6.1-1] [MQTT5 3.8.1-1] [MQTT5 3.10.1-1] [MQTT311 2.2.2-2] */
function judgeFlags(version: ProtocolVersion, type: Exclude<Packet["type"], "publish">, flags: number): void {
  const expected = fixedFlags(type);
  // 3.1 sends these three at QoS 1, and so with DUP when it sends them again. [MQTT31 3.6] [MQTT31 3.8] [MQTT31 3.10]
  const resent = version === 3 && expected !== 0 && flags === (expected | dupFlag);
  if (flags !== expected && !resent) throw malformed(`the flags of ${type.toUpperCase()} are wrong`);
}

function fixedFlags(type: Exclude<Packet["type"], "publish">): number {
  return type === "pubrel" || type === "subscribe" || type === "unsubscribe" ? 0x02 : 0x00;
}

function decodeBody(version: ProtocolVersion, type: Packet["type"], flags: number, reader: ByteReader): Packet {
  switch (type) {
    case "connect":
      return decodeConnect(reader);
    case "connack":
      return decodeConnack(version, reader);
    case "publish":
      return decodePublish(version, flags, reader);
    case "puback":
    case "pubrec":
    case "pubrel":
    case "pubcomp":
      return decodePublishAnswer(version, type, reader);
    case "subscribe":
      return decodeSubscribe(version, reader);
    case "suback":
      return decodeSuback(version, reader);
    case "unsubscribe":
      return decodeUnsubscribe(version, reader);
    case "unsuback":
      return decodeUnsuback(version, reader);
    case "pingreq":
    case "pingresp":
      return { type };
    case "disconnect":
      return decodeDisconnect(version, reader);
    case "auth":
      return decodeAuth(reader);
    default:
      return type satisfies never;
  }
}

/** Encodes a whole packet, fixed header included. A CONNECT is encoded for the version it speaks. */
export function encodePacket(version: ProtocolVersion, packet: Packet): Buffer {
  const body = new ByteWriter();
  encodeBody(version, packet, body);
  const flags = packet.type === "publish" ? publishFlags(packet) : fixedFlags(packet.type);
  const whole = new ByteWriter();
  whole.u8((types.indexOf(packet.type) << 4) | flags);
  whole.variableByteInteger(body.written().length);
  whole.raw(body.written());
  return whole.written();
}

function encodeBody(version: ProtocolVersion, packet: Packet, writer: ByteWriter): void {
  switch (packet.type) {
    case "connect":
      encodeConnect(writer, packet);
      break;
    case "connack":
      encodeConnack(version, writer, packet);
      break;
    case "publish":
      encodePublish(version, writer, packet);
      break;
    case "puback":
    case "pubrec":
    case "pubrel":
    case "pubcomp":
      encodePublishAnswer(version, writer, packet);
      break;
    case "subscribe":
      encodeSubscribe(version, writer, packet);
      break;
    case "suback":
      encodeSuback(version, writer, packet);
      break;
    case "unsubscribe":
      encodeUnsubscribe(version, writer, packet);
      break;
    case "unsuback":
      encodeUnsuback(version, writer, packet);
      break;
    case "pingreq":
    case "pingresp":
      break;
    case "disconnect":
      encodeDisconnect(version, writer, packet);
      break;
    case "auth":
      assert(version === 5, "AUTH exists in 5.0 only");
      encodeAuth(writer, packet);
      break;
    default:
      packet satisfies never;
  }
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, what);
}
