/**
 * PUBLISH packets on their way out. A message that goes to many is encoded once per shape (version, QoS, RETAIN) and
 * shared; where the packet it came in has the wanted shape already, that packet's own bytes are it.
 */
import type { QoS } from "../mqtt/packet.ts";
import type { PublishView } from "../mqtt/publish-view.ts";
import type { KeptMessage } from "./message.ts";

/** What a PUBLISH is made of, as ranges of bytes. */
export class PublishParts {
  topic: Buffer = nothing;
  properties: Buffer = nothing;
  propertiesStart = 0;
  propertiesEnd = 0;
  /** Where the Message Expiry Interval's value is, from `propertiesStart`; -1 without one. */
  expiryOffset = -1;
  payload: Buffer = nothing;
  payloadStart = 0;
  payloadEnd = 0;

  ofMessage(message: KeptMessage): void {
    this.topic = message.topicBytes;
    this.properties = message.properties;
    this.propertiesStart = 0;
    this.propertiesEnd = message.properties.length;
    this.expiryOffset = message.expiryOffset;
    this.payload = message.payload;
    this.payloadStart = 0;
    this.payloadEnd = message.payload.length;
  }
}

const nothing: Buffer = Buffer.alloc(0);
const arenaBytes = 64 * 1024;

/** Buffer space for the encodings of one turn. */
export class Arena {
  buffer: Buffer = Buffer.allocUnsafeSlow(arenaBytes);
  used = 0;

  /** A place for `bytes` bytes in `buffer`. */
  reserve(bytes: number): number {
    if (this.used + bytes > this.buffer.length) {
      this.buffer = Buffer.allocUnsafeSlow(Math.max(arenaBytes, bytes));
      this.used = 0;
    }
    const at = this.used;
    this.used += bytes;
    return at;
  }

  /** The turn is over. Its bytes may be overwritten unless a Wire still holds some. */
  reset(inUse: boolean): void {
    if (inUse || this.buffer.length > arenaBytes) this.buffer = Buffer.allocUnsafeSlow(arenaBytes);
    this.used = 0;
  }
}

/** Bytes of the PUBLISH packet that `writePublish` would write. */
export function publishBytes(
  parts: PublishParts,
  version5: boolean,
  qos: QoS,
  extra: Uint8Array,
  topicBytes: number,
): number {
  const remaining = remainingBytes(parts, version5, qos, extra, topicBytes);
  return 1 + lengthBytes(remaining) + remaining;
}

function remainingBytes(
  parts: PublishParts,
  version5: boolean,
  qos: QoS,
  extra: Uint8Array,
  topicBytes: number,
): number {
  let remaining = 2 + topicBytes + (qos === 0 ? 0 : 2) + parts.payloadEnd - parts.payloadStart;
  if (version5) {
    const properties = parts.propertiesEnd - parts.propertiesStart + extra.length;
    remaining += lengthBytes(properties) + properties;
  }
  return remaining;
}

/**
 * Writes a PUBLISH at `out[at]`; returns where its Packet Identifier goes (meaningless at QoS 0), which is left to the
 * caller. `extra`: further encoded properties. `topicBytes` 0: the topic name is left to an alias in `extra`.
 */
export function writePublish(
  out: Buffer,
  at: number,
  parts: PublishParts,
  version5: boolean,
  flags: number,
  extra: Uint8Array,
  topicBytes: number,
): number {
  const qos = ((flags >> 1) & 3) as QoS;
  out[at++] = 0x30 | flags;
  at = writeLength(out, at, remainingBytes(parts, version5, qos, extra, topicBytes));
  out[at++] = topicBytes >> 8;
  out[at++] = topicBytes & 0xff;
  if (topicBytes > 0) at += parts.topic.copy(out, at);
  const identifierAt = at;
  if (qos !== 0) at += 2;
  if (version5) {
    at = writeLength(out, at, parts.propertiesEnd - parts.propertiesStart + extra.length);
    at += parts.properties.copy(out, at, parts.propertiesStart, parts.propertiesEnd);
    out.set(extra, at);
    at += extra.length;
  }
  parts.payload.copy(out, at, parts.payloadStart, parts.payloadEnd);
  return identifierAt;
}

/** The message in hand, encoded at most once for each shape. */
export class EncodedPublish {
  readonly parts = new PublishParts();
  /** The encoding last asked for: a range of `bytes`, and where its Packet Identifier is. */
  bytes: Buffer = nothing;
  start = 0;
  end = 0;
  identifierAt = 0;
  private readonly arena: Arena;
  private readonly shapes = Array.from({ length: 12 }, () => ({
    made: 0,
    bytes: nothing,
    start: 0,
    end: 0,
    identifierAt: 0,
  }));
  private message = 0;

  constructor(arena: Arena) {
    this.arena = arena;
  }

  /** Takes a message in hand. `parts` must be filled; the packet itself serves where its shape is wanted as it is. */
  begin(view: PublishView, fromVersion5: boolean): void {
    this.message++;
    // A packet with a Topic Alias speaks only to us; one with DUP set is a first sending to everyone else.
    if (view.dup || view.scan.topicAlias !== 0) return;
    const shape = this.shapes[shapeOf(fromVersion5, view.qos, view.retain)];
    shape.made = this.message;
    shape.bytes = view.bytes;
    shape.start = view.start;
    shape.end = view.end;
    shape.identifierAt = view.topicEnd;
  }

  /** Fills `bytes`, `start`, `end` and `identifierAt` with the encoding for one shape. */
  select(version5: boolean, qos: QoS, retain: boolean): void {
    const shape = this.shapes[shapeOf(version5, qos, retain)];
    if (shape.made !== this.message) {
      const { parts, arena } = this;
      const topicBytes = parts.topic.length;
      const bytes = publishBytes(parts, version5, qos, nothing, topicBytes);
      const at = arena.reserve(bytes);
      shape.made = this.message;
      shape.bytes = arena.buffer;
      shape.start = at;
      shape.end = at + bytes;
      shape.identifierAt = writePublish(
        arena.buffer,
        at,
        parts,
        version5,
        (qos << 1) | (retain ? 1 : 0),
        nothing,
        topicBytes,
      );
    }
    this.bytes = shape.bytes;
    this.start = shape.start;
    this.end = shape.end;
    this.identifierAt = shape.identifierAt;
  }
}

function shapeOf(version5: boolean, qos: QoS, retain: boolean): number {
  return (version5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0);
}

function lengthBytes(length: number): number {
  return length < 128 ? 1 : length < 16_384 ? 2 : length < 2_097_152 ? 3 : 4;
}

function writeLength(out: Buffer, at: number, length: number): number {
  let rest = length;
  while (rest >= 128) {
    out[at++] = (rest & 0x7f) | 0x80;
    rest >>= 7;
  }
  out[at++] = rest;
  return at;
}
