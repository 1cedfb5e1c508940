import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { decodePacket, encodePacket } from "../../src/mqtt/codec.ts";
import { Framer } from "../../src/mqtt/framer.ts";
import type { Packet, ProtocolVersion } from "../../src/mqtt/packet.ts";
import { ProtocolError } from "../../src/mqtt/protocol-error.ts";
import { PublishView, readPublish } from "../../src/mqtt/publish-view.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { isValidTopicNameBytes } from "../../src/mqtt/topic.ts";
import { bytesOf } from "./hex.ts";
import { malformedVectors } from "./malformed.ts";
import { packetVectors } from "./packets.ts";
import { readByMqttPacket, writtenByMqttPacket } from "./second-opinion.ts";

/** All the packets that a stream of chunks holds. */
function decodeStream(version: ProtocolVersion, chunks: readonly Buffer[]): Packet[] {
  const packets: Packet[] = [];
  const framer = new Framer(
    {
      packet: (bytes, start, bodyStart, end) => {
        packets.push(decodePacket(version, bytes[start], bytes, bodyStart, end));
      },
      begins() {},
    },
    1_000_000,
  );
  for (const chunk of chunks) framer.push(chunk);
  return packets;
}

function refusalOf(act: () => unknown): ProtocolError {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof ProtocolError, `threw ${error}`);
    return error;
  }
  throw new assert.AssertionError({ message: "was not refused" });
}

/** A packet, or the reason for which there is none. */
function outcomeOf(decode: () => Packet): Packet | string {
  try {
    return decode();
  } catch (error) {
    if (error instanceof ProtocolError) return error.message;
    throw error;
  }
}

describe("golden packets", () => {
  for (const { title, versions, written, packet, long } of packetVectors) {
    for (const version of versions) {
      const bytes = bytesOf(written);
      test(`${title} [level ${version}] is read`, () => {
        assert.deepEqual(decodeStream(version, [bytes]), [packet]);
      });
      test(`${title} [level ${version}] is read byte by byte, and again behind itself`, () => {
        const twice = Buffer.concat([bytes, bytes]);
        assert.deepEqual(
          decodeStream(
            version,
            Array.from(twice, (byte) => Buffer.of(byte)),
          ),
          [packet, packet],
        );
      });
      test(`${title} [level ${version}] is written${long ? " in its shortest form" : ""}`, () => {
        const encoded = encodePacket(version, packet);
        if (!long) assert.equal(encoded.toString("hex"), bytes.toString("hex"));
        else assert.deepEqual(decodeStream(version, [encoded]), [packet]);
        assert.ok(encoded.length <= bytes.length);
      });
      test(`${title} [level ${version}] shares no bytes with what it was read from`, () => {
        const read = Buffer.from(bytes);
        const packets = decodeStream(version, [read]);
        read.fill(0xaa);
        assert.deepEqual(packets, [packet]);
      });
      test(`${title} [level ${version}] cut at any place is another packet or none, whatever lies behind the cut`, () => {
        const bodyStart = bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1;
        for (let end = bodyStart; end < bytes.length; end++) {
          const outcome = outcomeOf(() => decodePacket(version, bytes[0], bytes, bodyStart, end));
          const alone = bytes.subarray(0, end);
          assert.deepEqual(
            outcomeOf(() => decodePacket(version, alone[0], alone, bodyStart, end)),
            outcome,
          );
          if (!long) assert.notDeepEqual(outcome, packet);
        }
      });
    }
  }
});

describe("golden packets in the eyes of mqtt-packet", () => {
  for (const vector of packetVectors) {
    const bytes = bytesOf(vector.written);
    for (const version of vector.versions) {
      const theirs = writtenByMqttPacket(version, vector);
      if (theirs !== undefined) {
        test(`${vector.title} [level ${version}] is written the same`, () => {
          assert.equal(theirs.toString("hex"), bytes.toString("hex"));
        });
      }
      const opinion = readByMqttPacket(version, vector, bytes);
      if (opinion !== undefined) {
        test(`${vector.title} [level ${version}] is read the same`, () => {
          assert.partialDeepStrictEqual(opinion.read, opinion.expected);
        });
      }
    }
  }
});

describe("malformed packets", () => {
  for (const { title, version, written, reasonCode, clause } of malformedVectors) {
    test(`${title} [level ${version}] earns 0x${reasonCode.toString(16)} [${clause}]`, () => {
      const bytes = bytesOf(written);
      const refusal = refusalOf(() => decodeStream(version, [bytes]));
      assert.equal(refusal.reasonCode, reasonCode, refusal.message);
      assert.notEqual(refusal.message, "");
    });
  }

  test("no two rows are the same", () => {
    const seen = new Set(
      malformedVectors.map(({ version, written }) => `${version} ${bytesOf(written).toString("hex")}`),
    );
    assert.equal(seen.size, malformedVectors.length);
  });
});

describe("PUBLISH as a view judges as the codec does", () => {
  const view = new PublishView();
  for (const { title, version, from, written, reasonCode } of malformedVectors) {
    const bytes = bytesOf(written);
    // What the Framer refuses never becomes a view.
    if (from !== "client" || bytes[0] >> 4 !== 3) continue;
    const bodyStart = bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1;
    test(`${title} [level ${version}]`, () => {
      try {
        readPublish(view, version, bytes, 0, bodyStart, bytes.length);
      } catch (error) {
        assert.ok(error instanceof ProtocolError);
        assert.equal(error.reasonCode, reasonCode);
        return;
      }
      // The topic name and the payload's format are judged by who takes the view.
      const named = isValidTopicNameBytes(bytes, view.topicStart, view.topicEnd);
      const formatJudged = reasonCode === ReasonCode.payloadFormatInvalid && view.scan.payloadFormatIndicator === 1;
      assert.ok(!named || formatJudged);
    });
  }
});
