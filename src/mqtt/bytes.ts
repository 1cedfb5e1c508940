/** The data representations of MQTT [MQTT5 1.5], read from and written to bytes. What a reader gives has its own bytes. */
import { assert } from "../base/assert.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";
import { decodeUtf8 } from "./utf8.ts";

/** The longest string and Binary Data there can be. [MQTT5 1.5.4] [MQTT5 1.5.6] */
export const stringBytesMax = 0xffff;
/** The largest Variable Byte Integer, and with it the longest packet. [MQTT5 1.5.5] [MQTT311 2.2.3] */
const variableByteIntegerMax = 0xfff_ffff;

/** Reads `bytes[start..end)` from front to back. Throws ProtocolError (Malformed Packet) where they do not suffice. */
export class ByteReader {
  private readonly bytes: Buffer;
  private readonly end: number;
  private at: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.at;
  }

  u8(): number {
    return this.bytes[this.take(1, "a byte")];
  }

  u16(): number {
    return this.bytes.readUInt16BE(this.take(2, "a two byte integer"));
  }

  u32(): number {
    return this.bytes.readUInt32BE(this.take(4, "a four byte integer"));
  }

  variableByteInteger(): number {
    let value = 0;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.bytes[this.take(1, "a variable byte integer")];
      value |= (byte & 0x7f) << shift;
      if (byte >= 0x80) continue;
      if (byte === 0 && shift > 0) throw malformed("a variable byte integer is not in its shortest form"); // [MQTT5 1.5.5-1]
      return value;
    }
    throw malformed("a variable byte integer has more than four bytes"); // [MQTT5 1.5.5]
  }

  utf8String(): string {
    const start = this.takePrefixed("a string");
    const text = decodeUtf8(this.bytes, start, this.at);
    if (text === undefined) throw malformed("a string is not well-formed UTF-8 or holds U+0000");
    return text;
  }

  binary(): Uint8Array {
    return this.copy(this.takePrefixed("binary data"));
  }

  /** All that remains. */
  rest(): Uint8Array {
    return this.copy(this.take(this.remaining, "the rest"));
  }

  /** The next `length` bytes as a reader of their own. */
  section(length: number, what: string): ByteReader {
    const start = this.take(length, what);
    return new ByteReader(this.bytes, start, this.at);
  }

  /** Nothing may remain. */
  finish(): void {
    if (this.remaining > 0) throw malformed(`${this.remaining} bytes too many at the end of the packet`);
  }

  private takePrefixed(what: string): number {
    return this.take(this.u16(), what);
  }

  /** Moves on by `length` bytes; returns where they begin. */
  private take(length: number, what: string): number {
    const start = this.at;
    if (length > this.end - start) throw malformed(`the packet ends within ${what}`);
    this.at = start + length;
    return start;
  }

  private copy(start: number): Uint8Array {
    return new Uint8Array(this.bytes.subarray(start, this.at));
  }
}

/** Bytes in the making. Values that do not fit their field are our own mistake, hence asserts. */
export class ByteWriter {
  private bytes = Buffer.allocUnsafe(64);
  private length = 0;

  u8(value: number): void {
    const start = this.grow(1);
    this.bytes[start] = value;
  }

  u16(value: number): void {
    const start = this.grow(2);
    this.bytes.writeUInt16BE(value, start);
  }

  u32(value: number): void {
    const start = this.grow(4);
    this.bytes.writeUInt32BE(value, start);
  }

  variableByteInteger(value: number): void {
    assert(value >= 0 && value <= variableByteIntegerMax, `${value} fits a variable byte integer`);
    let rest = value;
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.u8(rest);
  }

  utf8String(text: string): void {
    const length = Buffer.byteLength(text);
    assert(length <= stringBytesMax, "a string has at most 65535 bytes");
    this.u16(length);
    const start = this.grow(length);
    this.bytes.write(text, start, "utf8");
  }

  binary(bytes: Uint8Array): void {
    assert(bytes.length <= stringBytesMax, "binary data has at most 65535 bytes");
    this.u16(bytes.length);
    this.raw(bytes);
  }

  /** The bytes as they are, without a length. */
  raw(bytes: Uint8Array): void {
    const start = this.grow(bytes.length);
    this.bytes.set(bytes, start);
  }

  /** What has been written. */
  written(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  /** Makes room for `count` more bytes, possibly in other `bytes`; returns where they go. */
  private grow(count: number): number {
    const start = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.length, this.bytes.length * 2));
      this.bytes.copy(larger, 0, 0, start);
      this.bytes = larger;
    }
    return start;
  }
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, what);
}
