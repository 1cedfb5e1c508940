/**
 * The little MQTT 3.1.1 that load needs. It shares nothing with the broker it measures: a mistake made on both sides
 * would hide itself. Packets to send are made once and patched in place; packets that came are looked at in place.
 */
import { binaryStamp, type Stamp, type StampFormat } from "./stamp.ts";

export type Qos = 0 | 1 | 2;

export const packetType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
} as const;

export const disconnectPacket: Uint8Array = Uint8Array.of(0xe0, 0);

const keepAliveSeconds = 600;

/** Without Clean Session the broker keeps for this client what it owes it, also while it is away. */
export function connectPacket(clientId: string, { cleanSession }: { cleanSession: boolean }): Buffer {
  const flags = cleanSession ? 0x02 : 0;
  const variableHeader = [...text("MQTT"), 4, flags, keepAliveSeconds >> 8, keepAliveSeconds & 0xff];
  return packet(0x10, [...variableHeader, ...text(clientId)]);
}

export function subscribePacket(topicFilter: string, qos: Qos): Buffer {
  return packet(0x82, [0, 1, ...text(topicFilter), qos]);
}

function packet(first: number, body: number[]): Buffer {
  return Buffer.from([first, ...remainingLength(body.length), ...body]);
}

function text(value: string): number[] {
  const bytes = Buffer.from(value);
  return [bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

function remainingLength(value: number): number[] {
  return value < 128 ? [value] : [(value & 0x7f) | 0x80, ...remainingLength(value >>> 7)];
}

/**
 * PUBLISH packets of one sender lying ready one behind the other. Sending k of them is patching stamp, number and
 * packet identifier of the first k and handing their bytes to the socket: nothing is encoded or copied. The bytes may
 * not be touched again before the socket has taken them.
 */
export class PublishBatch {
  readonly slots: number;
  private readonly bytes: Buffer;
  private readonly view: DataView;
  private readonly packetBytes: number;
  private readonly identifierAt: number;
  private readonly payloadAt: number;
  private readonly format: StampFormat;
  private readonly stamp: Stamp;

  constructor(of: {
    topicName: string;
    qos: Qos;
    payloadBytes: number;
    sender: number;
    slots: number;
    format?: StampFormat;
  }) {
    this.slots = of.slots;
    this.format = of.format ?? binaryStamp;
    if (of.payloadBytes < this.format.bytes) throw new Error(`a payload needs at least ${this.format.bytes} bytes`);
    this.stamp = { micros: 0, sender: of.sender, sequence: 0 };
    const payload = Array.from({ length: of.payloadBytes }, (_, i) => 97 + (i % 26));
    const identifier = of.qos === 0 ? [] : [0, 0];
    const one = packet(0x30 | (of.qos << 1), [...text(of.topicName), ...identifier, ...payload]);
    this.packetBytes = one.length;
    this.payloadAt = one.length - of.payloadBytes;
    this.identifierAt = this.payloadAt - 2;
    this.bytes = Buffer.alloc(one.length * of.slots, one);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  }

  write(slot: number, { micros, sequence }: { micros: number; sequence: number }): void {
    this.stamp.micros = micros;
    this.stamp.sequence = sequence;
    this.format.write(this.view, slot * this.packetBytes + this.payloadAt, this.stamp);
  }

  identify(slot: number, packetIdentifier: number): void {
    this.view.setUint16(slot * this.packetBytes + this.identifierAt, packetIdentifier);
  }

  first(count: number): Buffer {
    return this.bytes.subarray(0, count * this.packetBytes);
  }
}

/** Hears each whole packet: its first byte, where it starts, and its body as [at, end). */
export interface PacketHandler {
  packet(first: number, start: number, at: number, end: number): void;
}

/** Hands over the whole packets in bytes[at, end); answers where the first incomplete one starts. */
export function cutPackets(bytes: Uint8Array, start: number, end: number, handler: PacketHandler): number {
  let at = start;
  while (at + 2 <= end) {
    let body = at + 1;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      if (body === end) return at;
      if (shift > 21) throw new Error("a packet with a remaining length of more than four bytes");
      const byte = bytes[body++];
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    const next = body + length;
    if (next > end) return at;
    handler.packet(bytes[at], at, body, next);
    at = next;
  }
  return at;
}
