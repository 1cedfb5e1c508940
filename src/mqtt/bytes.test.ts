import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

const hex = (digits: string) => Buffer.from(digits, "hex");

function written(write: (writer: ByteWriter) => void): string {
  const writer = new ByteWriter();
  write(writer);
  return writer.written().toString("hex");
}

describe("Variable Byte Integer", () => {
  // [MQTT5 1.5.5], table 1-1: the first and the last of each length.
  for (const [value, digits] of [
    [0, "00"],
    [127, "7f"],
    [128, "8001"],
    [16_383, "ff7f"],
    [16_384, "808001"],
    [2_097_151, "ffff7f"],
    [2_097_152, "80808001"],
    [268_435_455, "ffffff7f"],
  ] as const) {
    test(`${value} is ${digits}`, () => {
      assert.equal(
        written((writer) => writer.variableByteInteger(value)),
        digits,
      );
      assert.equal(new ByteReader(hex(digits)).variableByteInteger(), value);
    });
  }

  for (const [what, digits] of [
    ["five bytes", "8080808001"],
    ["five bytes without end", "ffffffffff"],
    ["a longer form of 0", "8000"],
    ["a longer form of 127", "ff00"],
    ["a longer form of 16383", "ffff8000"],
    ["cut off", "8080"],
    ["nothing", ""],
  ] as const) {
    test(`${what} is malformed`, () => {
      assert.throws(() => new ByteReader(hex(digits)).variableByteInteger(), isMalformed);
    });
  }

  test("none is written that could not be read", () => {
    assert.throws(() => written((writer) => writer.variableByteInteger(268_435_456)), /broken invariant/);
  });
});

function isMalformed(error: unknown): boolean {
  return error instanceof ProtocolError && error.reasonCode === ReasonCode.malformedPacket && error.message !== "";
}

describe("ByteReader", () => {
  for (const [what, digits, read] of [
    ["a byte", "", (reader: ByteReader) => reader.u8()],
    ["two bytes", "00", (reader: ByteReader) => reader.u16()],
    ["four bytes", "000000", (reader: ByteReader) => reader.u32()],
    ["the length of a string", "00", (reader: ByteReader) => reader.utf8String()],
    ["a string", "000261", (reader: ByteReader) => reader.utf8String()],
    ["the length of binary data", "00", (reader: ByteReader) => reader.binary()],
    ["binary data", "ffff00", (reader: ByteReader) => reader.binary()],
    ["a section", "0000", (reader: ByteReader) => reader.section(3, "a section")],
  ] as const) {
    test(`${what} cut off is malformed, though bytes lie behind the end`, () => {
      const bytes = Buffer.concat([hex(digits), Buffer.alloc(70_000)]);
      assert.throws(() => read(new ByteReader(bytes, 0, digits.length / 2)), isMalformed);
    });
  }

  test("begins at its start, ends at its end", () => {
    const reader = new ByteReader(hex("ff0102ff"), 1, 3);
    assert.equal(reader.remaining, 2);
    assert.equal(reader.u8(), 1);
    assert.deepEqual(reader.rest(), Uint8Array.of(2));
    reader.finish();
  });

  test("a section ends where it ends, and the reader goes on behind it", () => {
    const reader = new ByteReader(hex("010203"));
    const section = reader.section(2, "a section");
    assert.equal(section.u16(), 0x0102);
    assert.throws(() => section.u8(), isMalformed);
    assert.equal(reader.u8(), 3);
  });

  test("bytes that remain at the end are malformed", () => {
    const reader = new ByteReader(hex("0102"));
    reader.u8();
    assert.throws(() => reader.finish(), isMalformed);
  });

  test("what it gives has bytes of its own", () => {
    const bytes = hex("00020102aabb");
    const reader = new ByteReader(bytes);
    const binary = reader.binary();
    const rest = reader.rest();
    bytes.fill(0);
    assert.deepEqual([binary, rest], [Uint8Array.of(1, 2), Uint8Array.of(0xaa, 0xbb)]);
    assert.equal(binary.buffer.byteLength, 2);
  });

  test("reads bytes that are no Buffer, from the middle of what they are a view of", () => {
    const view = new Uint8Array(Uint8Array.of(9, 9, 0, 1, 0x61, 9).buffer, 2, 3);
    assert.equal(new ByteReader(view).utf8String(), "a");
  });
});

describe("ByteWriter", () => {
  type Step =
    | readonly ["u8" | "u16" | "u32", number]
    | readonly ["utf8String", string]
    | readonly ["binary", Uint8Array];
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.tuple(fc.constant("u8" as const), fc.nat(0xff)),
    fc.tuple(fc.constant("u16" as const), fc.nat(0xffff)),
    fc.tuple(fc.constant("u32" as const), fc.nat(0xffff_ffff)),
    fc.tuple(
      fc.constant("utf8String" as const),
      fc.string({ unit: "binary" }).map((text) => text.replaceAll("\0", ".")),
    ),
    fc.tuple(fc.constant("binary" as const), fc.uint8Array({ maxLength: 200 })),
  );

  test("what it has written is read back, however often it had to grow", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const writer = new ByteWriter();
        for (const [kind, value] of steps) (writer[kind] as (value: unknown) => void).call(writer, value);
        const reader = new ByteReader(writer.written());
        for (const [kind, value] of steps) assert.deepEqual(reader[kind](), value);
        reader.finish();
      }),
    );
  });

  test("a string or binary data of 65535 bytes fits, one more does not", () => {
    assert.equal(written((writer) => writer.utf8String("a".repeat(65_535))).length, 2 * 65_537);
    assert.equal(written((writer) => writer.binary(new Uint8Array(65_535))).length, 2 * 65_537);
    assert.throws(() => written((writer) => writer.utf8String(`${"a".repeat(65_534)}é`)), /broken invariant/);
    assert.throws(() => written((writer) => writer.binary(new Uint8Array(65_536))), /broken invariant/);
  });
});
