import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { Framer, type PacketSink } from "./framer.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

/** Takes packets as they are handed over, first byte and body. */
class Collector implements PacketSink {
  readonly packets: string[] = [];
  readonly begun: number[] = [];
  onPacket = () => {};

  packet(bytes: Buffer, start: number, bodyStart: number, end: number): void {
    this.packets.push(`${bytes.toString("hex", start, start + 1)} ${bytes.toString("hex", bodyStart, end)}`);
    this.onPacket();
  }

  begins(firstByte: number): void {
    this.begun.push(firstByte);
  }
}

function framed(chunks: readonly Buffer[], packetBytesMax = Number.POSITIVE_INFINITY): Collector {
  const collector = new Collector();
  const framer = new Framer(collector, packetBytesMax);
  for (const chunk of chunks) framer.push(chunk);
  return collector;
}

function packetOf(firstByte: number, body: Uint8Array): Buffer {
  const length: number[] = [];
  let rest = body.length;
  do {
    length.push((rest & 0x7f) | (rest >= 0x80 ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.of(firstByte, ...length), body]);
}

const expectedOf = (packets: readonly (readonly [number, Uint8Array])[]) =>
  packets.map(([firstByte, body]) => `${Buffer.of(firstByte).toString("hex")} ${Buffer.from(body).toString("hex")}`);

/** Bodies of the lengths where the Remaining Length grows by a byte, and of others. */
const bodies = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom(126, 127, 128, 129, 4094, 4095, 4096, 5000)
      .map((length) => new Uint8Array(length).fill(7)),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(16_382, 16_383, 16_384, 16_385).map((length) => new Uint8Array(length).fill(9)),
  },
);
const packets = fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), bodies), { maxLength: 12 });

function cutAt(stream: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (stream.length + 1)).sort((a, b) => a - b), stream.length];
  return at.slice(1).map((end, i) => stream.subarray(at[i], end));
}

describe("packets come out as they went in", () => {
  test("whole, in one chunk", () => {
    fc.assert(
      fc.property(packets, (packets) => {
        const stream = Buffer.concat(packets.map(([firstByte, body]) => packetOf(firstByte, body)));
        assert.deepEqual(framed([stream]).packets, expectedOf(packets));
      }),
    );
  });

  test("cut anywhere, empty chunks among them", () => {
    fc.assert(
      fc.property(packets, fc.array(fc.nat(), { maxLength: 20 }), (packets, places) => {
        const stream = Buffer.concat(packets.map(([firstByte, body]) => packetOf(firstByte, body)));
        assert.deepEqual(framed(cutAt(stream, places)).packets, expectedOf(packets));
      }),
    );
  });

  test("byte by byte", () => {
    fc.assert(
      fc.property(packets, (packets) => {
        const stream = Buffer.concat(packets.map(([firstByte, body]) => packetOf(firstByte, body)));
        const chunks = Array.from(stream, (byte) => Buffer.of(byte));
        assert.deepEqual(framed(chunks).packets, expectedOf(packets));
      }),
      { numRuns: 30 },
    );
  });

  test("cut in two at each place", () => {
    const stream = Buffer.concat([
      packetOf(0x30, Buffer.alloc(200, 1)),
      packetOf(0xc0, Buffer.alloc(0)),
      packetOf(0x82, Buffer.from("abc")),
    ]);
    const whole = framed([stream]).packets;
    assert.equal(whole.length, 3);
    for (let at = 0; at <= stream.length; at++) {
      assert.deepEqual(framed([stream.subarray(0, at), stream.subarray(at)]).packets, whole);
    }
  });

  test("what follows in a chunk is there even when the sink keeps the bytes it was given", () => {
    // Chunks are the sink's for good: a packet put together later must not be put together in them.
    const kept: Buffer[] = [];
    const framer = new Framer(
      { packet: (bytes, start, _, end) => kept.push(bytes.subarray(start, end)), begins: () => {} },
      1000,
    );
    const one = packetOf(0x30, Buffer.alloc(10, 1));
    const two = packetOf(0x30, Buffer.alloc(10, 2));
    const three = packetOf(0x30, Buffer.alloc(10, 3));
    const stream = Buffer.concat([one, two, three]);
    framer.push(stream.subarray(0, 15));
    framer.push(stream.subarray(15, 30));
    framer.push(stream.subarray(30));
    assert.deepEqual(Buffer.concat(kept), stream);
  });
});

describe("the Remaining Length", () => {
  const refused = (hex: string) => {
    const bytes = Buffer.from(hex, "hex");
    for (const chunks of [[bytes], Array.from(bytes, (byte) => Buffer.of(byte))]) {
      assert.throws(
        () => framed(chunks),
        (error) => error instanceof ProtocolError && error.reasonCode === ReasonCode.malformedPacket,
      );
    }
  };

  test("has at most four bytes [MQTT5 1.5.5] [MQTT311 2.2.3]", () => {
    refused("30ffffffff7f");
    refused("3080808080");
    refused("30ffffffff");
  });

  test("has its shortest form [MQTT5 1.5.5-1]", () => {
    refused("c08000");
    refused("30818000");
    refused("3081808000");
  });

  test("may be the largest there is", () => {
    const collector = framed([Buffer.from("30ffffff7f", "hex")]);
    assert.deepEqual(collector.packets, []);
    assert.deepEqual(collector.begun, [0x30]);
  });
});

describe("the size limit", () => {
  const isTooLarge = (error: unknown) =>
    error instanceof ProtocolError && error.reasonCode === ReasonCode.packetTooLarge;

  test("counts the fixed header, and is judged as soon as that is there", () => {
    const largest = packetOf(0x30, Buffer.alloc(97, 1));
    assert.equal(framed([largest], 99).packets.length, 1);
    assert.throws(() => framed([largest.subarray(0, 2)], 98), isTooLarge);
    assert.throws(() => framed([largest.subarray(0, 1), largest.subarray(1, 2)], 98), isTooLarge);
  });

  test("lets what came before through", () => {
    const collector = new Collector();
    const framer = new Framer(collector, 10);
    const stream = Buffer.concat([packetOf(0xc0, Buffer.alloc(0)), packetOf(0x30, Buffer.alloc(9))]);
    assert.throws(() => framer.push(stream), isTooLarge);
    assert.deepEqual(collector.packets, ["c0 "]);
  });

  test("may be raised between packets", () => {
    const collector = new Collector();
    const framer = new Framer(collector, 10);
    collector.onPacket = () => {
      framer.packetBytesMax = 100;
    };
    framer.push(Buffer.concat([packetOf(0x10, Buffer.alloc(3)), packetOf(0x30, Buffer.alloc(50))]));
    assert.equal(collector.packets.length, 2);
  });
});

test("a packet that has not arrived whole is announced once, whatever comes of it", () => {
  const collector = new Collector();
  const framer = new Framer(collector, 1000);
  framer.push(packetOf(0xc0, Buffer.alloc(0)));
  assert.deepEqual(collector.begun, []);
  for (const byte of packetOf(0x30, Buffer.alloc(200))) framer.push(Buffer.of(byte));
  assert.deepEqual(collector.begun, [0x30]);
  framer.push(Buffer.from("82", "hex"));
  assert.deepEqual(collector.begun, [0x30, 0x82]);
});

describe("hold and release", () => {
  test("packets wait from the one that asked for it, in this chunk and in later ones, and lose no order", () => {
    fc.assert(
      fc.property(packets, fc.array(fc.nat(), { maxLength: 10 }), fc.nat(), (packets, places, holdAt) => {
        const stream = Buffer.concat(packets.map(([firstByte, body]) => packetOf(firstByte, body)));
        const expected = expectedOf(packets);
        const collector = new Collector();
        const framer = new Framer(collector, Number.POSITIVE_INFINITY);
        const before = packets.length === 0 ? 0 : (holdAt % packets.length) + 1;
        collector.onPacket = () => {
          if (collector.packets.length === before) framer.hold();
        };
        for (const chunk of cutAt(stream, places)) framer.push(chunk);
        assert.deepEqual(collector.packets, expected.slice(0, before));
        framer.release();
        assert.deepEqual(collector.packets, expected);
      }),
    );
  });

  test("packets may be held again while they are released", () => {
    const collector = new Collector();
    const framer = new Framer(collector, 100);
    collector.onPacket = () => framer.hold();
    const ping = packetOf(0xc0, Buffer.alloc(0));
    framer.push(Buffer.concat([ping, ping, ping]));
    assert.equal(collector.packets.length, 1);
    framer.release();
    assert.equal(collector.packets.length, 2);
    framer.push(ping);
    framer.release();
    framer.release();
    assert.equal(collector.packets.length, 4);
  });
});

describe("stop", () => {
  test("hands on nothing more: not of this chunk, not of later ones, not of what was held", () => {
    const ping = packetOf(0xc0, Buffer.alloc(0));
    const collector = new Collector();
    const framer = new Framer(collector, 100);
    collector.onPacket = () => framer.stop();
    framer.push(Buffer.concat([ping, ping, Buffer.of(0x30)]));
    framer.push(ping);
    assert.equal(collector.packets.length, 1);

    const holding = new Collector();
    const held = new Framer(holding, 100);
    held.hold();
    held.push(ping);
    held.stop();
    held.release();
    assert.deepEqual(holding.packets, []);
  });

  test("also when the packet that asks for it was put together", () => {
    const collector = new Collector();
    const framer = new Framer(collector, 100);
    collector.onPacket = () => framer.stop();
    const packet = packetOf(0x30, Buffer.alloc(5));
    framer.push(packet.subarray(0, 3));
    framer.push(Buffer.concat([packet.subarray(3), packet]));
    assert.equal(collector.packets.length, 1);
  });

  test("forgets a packet that was half there: what is malformed behind it is not looked at", () => {
    const collector = new Collector();
    const framer = new Framer(collector, 100);
    framer.push(Buffer.from("30", "hex"));
    framer.stop();
    framer.push(Buffer.from("ffffffffff", "hex"));
    assert.deepEqual(collector.packets, []);
  });
});
