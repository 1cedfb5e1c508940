/**
 * Cuts whole MQTT Control Packets out of the chunks of a byte stream, in place: a packet that lies whole within a chunk
 * is handed on as offsets into it. Only one that is cut by a chunk's end is copied, into a buffer that grows with what
 * has arrived, never with what was merely announced.
 */
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

export interface PacketSink {
  /** A whole packet: its first byte at `start`, its variable header from `bodyStart`, its end before `end`. */
  packet(bytes: Buffer, start: number, bodyStart: number, end: number): void;
  /** The first byte of a packet that has not arrived whole: the moment to refuse one that would never be taken. */
  begins(firstByte: number): void;
}

const fixedHeaderBytesMax = 5;
const partialBytesMin = 4096;

export class Framer {
  /** Largest packet taken, fixed header included; judged as soon as the fixed header is there. [MQTT5 3.1.2-24] */
  packetBytesMax: number;
  private readonly sink: PacketSink;
  private partial: Buffer | undefined;
  private partialBytes = 0;
  /** Bytes of the packet being put together; 0 while its fixed header is incomplete. */
  private partialTotal = 0;
  private stopped = false;
  /** What came while `hold` was in force. */
  private held: Buffer | undefined;
  private holding = false;

  constructor(sink: PacketSink, packetBytesMax: number) {
    this.sink = sink;
    this.packetBytesMax = packetBytesMax;
  }

  /** Hands every packet completed by `chunk` to the sink, in order. Throws ProtocolError on a bad fixed header. */
  push(chunk: Buffer): void {
    if (this.holding) {
      this.held = this.held === undefined ? chunk : Buffer.concat([this.held, chunk]);
      return;
    }
    let at = this.partialBytes > 0 ? this.fill(chunk) : 0;
    const length = chunk.length;
    while (at < length && !this.stopped) {
      if (this.holding) {
        this.held = chunk.subarray(at);
        return;
      }
      const lengthByte = at + 1 < length ? chunk[at + 1] : 0x80;
      let bodyStart = at + 2;
      let end = bodyStart + lengthByte;
      if (lengthByte >= 0x80) {
        const header = readFixedHeader(chunk, at, length);
        if (header < 0) return this.keep(chunk, at);
        bodyStart = at + header;
        end = bodyStart + remainingLength(chunk, at + 1);
      }
      if (end - at > this.packetBytesMax) throw tooLarge(end - at, this.packetBytesMax);
      if (end > length) return this.keep(chunk, at, end - at);
      this.sink.packet(chunk, at, bodyStart, end);
      at = end;
    }
  }

  /** Packets wait from now on, also those left in the present chunk, until `release`. */
  hold(): void {
    this.holding = true;
  }

  release(): void {
    const { held } = this;
    this.holding = false;
    this.held = undefined;
    if (held !== undefined) this.push(held);
  }

  /** Hands on no further packet. */
  stop(): void {
    this.stopped = true;
    this.partial = undefined;
    this.partialBytes = 0;
    this.held = undefined;
  }

  private keep(chunk: Buffer, at: number, total = 0): void {
    this.sink.begins(chunk[at]);
    const bytes = chunk.length - at;
    this.partial = Buffer.allocUnsafeSlow(Math.max(partialCapacity(total, bytes), fixedHeaderBytesMax));
    chunk.copy(this.partial, 0, at);
    this.partialBytes = bytes;
    this.partialTotal = total;
  }

  /** Completes the partial packet as far as `chunk` goes; returns where in `chunk` the next packet begins. */
  private fill(chunk: Buffer): number {
    let at = 0;
    while (this.partialTotal === 0) {
      if (at === chunk.length) return at;
      this.partial![this.partialBytes++] = chunk[at++];
      const header = readFixedHeader(this.partial!, 0, this.partialBytes);
      if (header < 0) continue;
      this.partialTotal = header + remainingLength(this.partial!, 1);
      if (this.partialTotal > this.packetBytesMax) throw tooLarge(this.partialTotal, this.packetBytesMax);
    }
    const bytes = Math.min(this.partialTotal - this.partialBytes, chunk.length - at);
    this.makeRoom(this.partialBytes + bytes);
    chunk.copy(this.partial!, this.partialBytes, at, at + bytes);
    this.partialBytes += bytes;
    at += bytes;
    if (this.partialBytes === this.partialTotal) {
      const packet = this.partial!;
      const end = this.partialTotal;
      this.partial = undefined;
      this.partialBytes = 0;
      this.partialTotal = 0;
      this.sink.packet(packet, 0, readFixedHeader(packet, 0, end), end);
    }
    return at;
  }

  private makeRoom(bytes: number): void {
    if (this.partial!.length >= bytes) return;
    const larger = Buffer.allocUnsafeSlow(partialCapacity(this.partialTotal, bytes));
    this.partial!.copy(larger, 0, 0, this.partialBytes);
    this.partial = larger;
  }
}

/** At most twice what has arrived, or the smallest buffer worth having; never more than the packet needs. */
function partialCapacity(total: number, arrived: number): number {
  const capacity = Math.max(partialBytesMin, arrived * 2);
  return total === 0 ? Math.max(arrived, fixedHeaderBytesMax) : Math.min(total, capacity);
}

/** Bytes of the fixed header at `at`, or -1 while it is incomplete. */
function readFixedHeader(bytes: Buffer, at: number, end: number): number {
  for (let i = 1; i <= 4; i++) {
    if (at + i >= end) return -1;
    const byte = bytes[at + i];
    if (byte >= 0x80) continue;
    // The shortest form is the only one. [MQTT5 1.5.5-1]
    if (byte === 0 && i > 1) throw malformedLength("is not in its shortest form");
    return i + 1;
  }
  throw malformedLength("has more than four bytes"); // [MQTT5 1.5.5] [MQTT311 2.2.3]
}

function remainingLength(bytes: Buffer, at: number): number {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

function malformedLength(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, `the Remaining Length ${what}`);
}

function tooLarge(bytes: number, bytesMax: number): ProtocolError {
  return new ProtocolError(ReasonCode.packetTooLarge, `a packet of ${bytes} bytes is over the limit of ${bytesMax}`);
}
