import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { decodePacket, encodePacket } from "../mqtt/codec.ts";
import type { Packet, Publish, QoS } from "../mqtt/packet.ts";
import { encodePublishedProperties } from "../mqtt/properties.ts";
import { PublishView, readPublish } from "../mqtt/publish-view.ts";
import { Arena, EncodedPublish, publishBytes, PublishParts, writePublish } from "./publish-encoder.ts";

const message = fc.record({
  topicName: fc.constantFrom("a", "a/é", "x".repeat(200)),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 20 }),
    fc.constantFrom(100, 127, 128, 16_300, 70_000).map((length) => new Uint8Array(length).fill(5)),
  ),
  properties: fc.record(
    {
      contentType: fc.constantFrom("t", "y".repeat(150)),
      userProperties: fc.constant([["a", "b"]] as const),
      messageExpiryInterval: fc.constantFrom(0, 77, 0xffff_ffff),
    },
    { requiredKeys: [] },
  ),
});
const qos = fc.constantFrom<QoS>(0, 1, 2);

function partsOf({
  topicName,
  payload,
  properties,
}: {
  topicName: string;
  payload: Uint8Array;
  properties: object;
}): PublishParts {
  const parts = new PublishParts();
  parts.topic = Buffer.from(topicName);
  // Surrounded by what is none of it.
  const encoded = Buffer.concat([Buffer.of(1, 2), encodePublishedProperties(properties), Buffer.of(3)]);
  parts.properties = encoded;
  parts.propertiesStart = 2;
  parts.propertiesEnd = encoded.length - 1;
  parts.payload = Buffer.concat([Buffer.of(9), payload, Buffer.of(9, 9)]);
  parts.payloadStart = 1;
  parts.payloadEnd = 1 + payload.length;
  return parts;
}

/** A whole packet, with the Packet Identifier written where it was said to go. */
function decoded(version5: boolean, bytes: Buffer, start: number, end: number, identifierAt: number): Packet {
  const packet = Buffer.from(bytes.subarray(start, end));
  if (packet[0] & 0x06) packet.writeUInt16BE(4711, identifierAt - start);
  let bodyStart = 1;
  while (packet[bodyStart] >= 0x80) bodyStart++;
  return decodePacket(version5 ? 5 : 4, packet[0], packet, bodyStart + 1, packet.length);
}

function expected(
  version5: boolean,
  qos: QoS,
  retain: boolean,
  facts: { topicName: string; payload: Uint8Array; properties: object },
): Publish {
  const { topicName, payload, properties } = facts;
  const publish = { type: "publish", topicName, payload: new Uint8Array(payload), retain } as const;
  const whole: Publish = qos === 0 ? { ...publish, qos } : { ...publish, qos, dup: false, packetIdentifier: 4711 };
  if (version5 && Object.keys(properties).length > 0) whole.properties = { ...properties };
  return whole;
}

describe("writePublish", () => {
  test("writes what the codec reads, in as many bytes as was said", () => {
    fc.assert(
      fc.property(message, qos, fc.boolean(), fc.boolean(), fc.nat({ max: 10 }), (facts, qos, retain, version5, at) => {
        const parts = partsOf(facts);
        const bytes = publishBytes(parts, version5, qos, Buffer.alloc(0), parts.topic.length);
        const out = Buffer.alloc(at + bytes + 3, 0xcc);
        const flags = (qos << 1) | (retain ? 1 : 0);
        const identifierAt = writePublish(out, at, parts, version5, flags, Buffer.alloc(0), parts.topic.length);
        assert.deepEqual(decoded(version5, out, at, at + bytes, identifierAt), expected(version5, qos, retain, facts));
        assert.equal(
          out.subarray(0, at).every((byte) => byte === 0xcc),
          true,
        );
        assert.equal(
          out.subarray(at + bytes).every((byte) => byte === 0xcc),
          true,
        );
      }),
      { numRuns: 300 },
    );
  });

  test("further properties join the message's own; a topic name may be left to its alias", () => {
    const facts = { topicName: "a/b", payload: Buffer.from("x"), properties: { contentType: "t" } };
    const parts = partsOf(facts);
    const extra = Buffer.from([0x0b, 0x05, 0x23, 0x00, 0x07]);
    const bytes = publishBytes(parts, true, 1, extra, 0);
    const out = Buffer.alloc(bytes);
    const identifierAt = writePublish(out, 0, parts, true, 2, extra, 0);
    assert.deepEqual(decoded(true, out, 0, bytes, identifierAt), {
      ...expected(true, 1, false, { ...facts, topicName: "" }),
      properties: { contentType: "t", subscriptionIdentifiers: [5], topicAlias: 7 },
    });
  });
});

/** A received packet taken in hand, as the broker does. */
function inHand(publish: Publish, version5: boolean) {
  const packet = encodePacket(version5 ? 5 : 4, publish);
  const view = new PublishView();
  let bodyStart = 1;
  while (packet[bodyStart] >= 0x80) bodyStart++;
  readPublish(view, version5 ? 5 : 4, packet, 0, bodyStart + 1, packet.length);
  return { packet, view };
}

describe("EncodedPublish", () => {
  test("gives each shape of each message in turn, and the received packet where its shape is wanted", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(message, qos, fc.boolean(), fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 5 }),
        fc.array(fc.tuple(qos, fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 15 }),
        (messages, shapes) => {
          const encoded = new EncodedPublish(new Arena());
          for (const [facts, receivedQoS, receivedRetain, dup, from5] of messages) {
            const properties = from5 ? facts.properties : {};
            const seen = { ...facts, properties };
            const publish = expected(from5, receivedQoS, receivedRetain, seen);
            const { packet, view } = inHand(publish.qos === 0 ? publish : { ...publish, dup }, from5);
            Object.assign(encoded.parts, partsOf(seen));
            encoded.begin(view, from5);
            for (const [qos, retain, version5] of shapes) {
              encoded.select(version5, qos, retain);
              const { bytes, start, end, identifierAt } = encoded;
              assert.deepEqual(
                decoded(version5, bytes, start, end, identifierAt),
                expected(version5, qos, retain, seen),
              );
              const asReceived = qos === receivedQoS && retain === receivedRetain && version5 === from5;
              assert.equal(bytes === packet, asReceived && !(dup && receivedQoS !== 0));
            }
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  test("each shape is encoded once, however many want it", () => {
    const arena = new Arena();
    const encoded = new EncodedPublish(arena);
    const { view } = inHand(
      expected(false, 1, false, { topicName: "a", payload: Buffer.from("x"), properties: {} }),
      false,
    );
    Object.assign(encoded.parts, partsOf({ topicName: "a", payload: Buffer.from("x"), properties: {} }));
    encoded.begin(view, false);
    for (let i = 0; i < 100; i++) encoded.select(true, 1, false);
    assert.equal(arena.used, encoded.end - encoded.start);
  });
});

describe("the arena", () => {
  test("is used again in the next turn, unless a Wire still holds bytes of it", () => {
    const arena = new Arena();
    const { buffer } = arena;
    assert.equal(arena.reserve(100), 0);
    assert.equal(arena.reserve(100), 100);
    arena.reset(false);
    assert.equal(arena.reserve(100), 0);
    assert.equal(arena.buffer, buffer);
    arena.reset(true);
    assert.notEqual(arena.buffer, buffer);
  });

  test("gives what does not fit a buffer of its own, and does not keep that", () => {
    const arena = new Arena();
    const { length } = arena.buffer;
    arena.reserve(length + 1);
    assert.equal(arena.buffer.length, length + 1);
    arena.reset(false);
    assert.equal(arena.buffer.length, length);
  });
});
