/** Packets as nobody should send them: valid ones, bent in every way that is known to break readers. */
import { encodePacket } from "../../src/mqtt/codec.ts";
import type { Connect, Packet, ProtocolVersion, QoS } from "../../src/mqtt/packet.ts";
import { bytesOf } from "../vectors/hex.ts";
import { packetVectors } from "../vectors/packets.ts";
import type { Random } from "./random.ts";

const versions = [3, 4, 5] as const;
const corpora = new Map<ProtocolVersion, readonly Buffer[]>(
  versions.map((version) => [
    version,
    packetVectors.filter((vector) => vector.versions.includes(version)).map(({ written }) => bytesOf(written)),
  ]),
);

/** Bytes that mean something somewhere. */
const telling = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x23, 0x2b, 0x2f, 0x24, 0x10, 0x26, 0x0b, 0x82, 0x30];
const topics = ["a", "a/b", "a/b/c", "b", "$x", "a/é", "/", "a//b", "#", "+", "a/+", "a/#", "$share/g/a/#", "$SYS/#"];

/** All that one connection sends, piece by piece. */
export function* script(random: Random, clientIds: readonly string[]): Generator<Buffer> {
  const version = random.pick(versions);
  if (random.chance(0.9)) {
    const connect = encodePacket(version, sensibleConnect(random, version, clientIds));
    yield random.chance(0.1) ? mutate(random, version, connect) : connect;
  }
  for (let packets = random.below(30); packets > 0; packets--) yield packetOf(random, version);
}

function packetOf(random: Random, version: ProtocolVersion): Buffer {
  const way = random.next();
  if (way < 0.65) return encodePacket(version, sensiblePacket(random, version));
  if (way < 0.7) return random.pick(corpora.get(version)!);
  if (way < 0.85) return mutate(random, version, encodePacket(version, sensiblePacket(random, version)));
  if (way < 0.98) return mutate(random, version, random.pick(corpora.get(version)!));
  return random.bytes(random.below(40));
}

function sensibleConnect(random: Random, version: ProtocolVersion, clientIds: readonly string[]): Connect {
  const connect: Connect = {
    type: "connect",
    protocolVersion: version,
    cleanStart: random.chance(0.4),
    keepAliveSeconds: random.pick([0, 1, 60]),
    clientId: random.pick(clientIds),
  };
  if (random.chance(0.3)) {
    const qos = random.below(3) as QoS;
    const properties = version === 5 ? { willDelayInterval: random.below(3) } : undefined;
    connect.will = { topicName: "a/b", payload: random.bytes(5), qos, retain: random.chance(0.3), properties };
  }
  if (version === 5 && random.chance(0.7)) {
    connect.properties = {
      sessionExpiryInterval: random.pick([0, 1, 0xffff_ffff]),
      receiveMaximum: random.pick([1, 2, 10, 65_535]),
      topicAliasMaximum: random.pick([0, 1, 10]),
      maximumPacketSize: random.pick([20, 100, 10_000]),
    };
  }
  return connect;
}

function sensiblePacket(random: Random, version: ProtocolVersion): Packet {
  const packetIdentifier = 1 + random.below(6);
  const reasonCode = 0;
  switch (random.below(12)) {
    case 0:
    case 1:
      return {
        type: "subscribe",
        packetIdentifier,
        subscriptions: Array.from({ length: 1 + random.below(3) }, () => {
          const topicFilter = random.pick(topics);
          return {
            topicFilter,
            qos: random.below(3) as QoS,
            noLocal: version === 5 && !topicFilter.startsWith("$share") && random.chance(0.2),
            retainAsPublished: version === 5 && random.chance(0.5),
            retainHandling: version === 5 ? (random.below(3) as 0 | 1 | 2) : 0,
          };
        }),
        properties: version === 5 && random.chance(0.3) ? { subscriptionIdentifier: 1 + random.below(300) } : undefined,
      };
    case 2:
      return { type: "unsubscribe", packetIdentifier, topicFilters: [random.pick(topics)] };
    case 3:
    case 4:
      // What the broker has sent has low identifiers too.
      return { type: random.pick(["puback", "pubrec", "pubcomp"]), packetIdentifier, reasonCode };
    case 5:
      return { type: "pubrel", packetIdentifier, reasonCode };
    case 6:
      return random.chance(0.1) ? { type: "disconnect", reasonCode } : { type: "pingreq" };
    default: {
      const payload = new Uint8Array(random.pick([0, 1, 10, 200, 5000]));
      const properties =
        version === 5 && random.chance(0.4)
          ? {
              topicAlias: random.pick([undefined, 1, 2, 16]),
              messageExpiryInterval: random.pick([undefined, 0, 1, 100]),
              userProperties: [["a", "b"]] as const,
            }
          : undefined;
      const topicName = random.pick(topics.slice(0, 8));
      const message = { type: "publish", topicName, payload, retain: random.chance(0.2), properties } as const;
      const qos = random.below(3) as QoS;
      return qos === 0 ? { ...message, qos } : { ...message, qos, packetIdentifier, dup: random.chance(0.2) };
    }
  }
}

/** One packet, bent. Often its Remaining Length is made right again, so that the harm gets past the first look. */
function mutate(random: Random, version: ProtocolVersion, packet: Buffer): Buffer {
  const headerBytes = 1 + lengthBytes(packet);
  let body = Buffer.from(packet.subarray(headerBytes));
  let firstByte = packet[0];
  for (let bends = 1 + random.below(3); bends > 0; bends--) {
    const at = random.below(body.length + 1);
    const length = random.below(Math.min(20, body.length - at) + 1);
    switch (random.below(9)) {
      case 0:
        if (at < body.length) body[at] ^= 1 << random.below(8);
        break;
      case 1:
        if (at < body.length) body[at] = random.pick(telling);
        break;
      case 2:
        body = body.subarray(0, at);
        break;
      case 3:
        body = Buffer.concat([body.subarray(0, at), body.subarray(at + length)]);
        break;
      case 4:
        body = Buffer.concat([body.subarray(0, at + length), body.subarray(at)]);
        break;
      case 5:
        body = Buffer.concat([body.subarray(0, at), random.bytes(random.below(10)), body.subarray(at)]);
        break;
      case 6: {
        const other = random.pick(corpora.get(version)!);
        body = Buffer.concat([body.subarray(0, at), other.subarray(random.below(other.length))]);
        break;
      }
      case 7:
        firstByte = random.chance(0.5) ? firstByte ^ (1 << random.below(8)) : random.below(256);
        break;
      case 8:
        if (at + 2 <= body.length) body.writeUInt16BE(random.pick([0, 1, body.length, 0x7fff, 0xffff]), at);
        break;
    }
  }
  const lie = random.chance(0.15) ? random.pick([-1, 1, 100, 20_000, 268_435_455 - body.length]) : 0;
  const header = random.chance(0.03) ? random.bytes(4) : encodeLength(Math.max(0, body.length + lie));
  return Buffer.concat([Buffer.of(firstByte), header, body]);
}

function lengthBytes(packet: Buffer): number {
  let bytes = 1;
  while (bytes < 4 && packet[bytes] >= 0x80) bytes++;
  return bytes;
}

function encodeLength(length: number): Buffer {
  const bytes: number[] = [];
  let rest = length;
  do {
    bytes.push((rest & 0x7f) | (rest >= 0x80 ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.from(bytes);
}
