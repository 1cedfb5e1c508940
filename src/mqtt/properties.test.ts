import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { ByteReader } from "./bytes.ts";
import type { PublishedProperties } from "./packet.ts";
import {
  decodePublishedProperties,
  encodePublishedProperties,
  type PublishPropertyScan,
  readProperties,
  scanPublishProperties,
} from "./properties.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

const hex = (digits: string) => Buffer.from(digits.replaceAll(" ", ""), "hex");

function newScan(): PublishPropertyScan {
  // As a scan before it may have left it.
  return {
    topicAlias: 9,
    aliasStart: 9,
    aliasEnd: 9,
    expirySeconds: 9,
    expiryOffset: 9,
    payloadFormatIndicator: 1,
  };
}

function scanOf(bytes: Uint8Array, start = 0, end = bytes.length): PublishPropertyScan {
  const scan = newScan();
  scanPublishProperties(bytes, start, end, scan);
  return scan;
}

/** The Reason Code thrown, or 0. */
function verdict(judge: () => unknown): ReasonCode {
  try {
    judge();
    return ReasonCode.success;
  } catch (error) {
    if (error instanceof ProtocolError) return error.reasonCode;
    throw error;
  }
}

describe("scanPublishProperties", () => {
  test("says that there is nothing where there is nothing", () => {
    assert.deepEqual(scanOf(hex("")), {
      topicAlias: 0,
      aliasStart: -1,
      aliasEnd: -1,
      expirySeconds: -1,
      expiryOffset: -1,
      payloadFormatIndicator: 0,
    });
  });

  test("finds alias, expiry and format between others, and counts the expiry from its start", () => {
    //                      other  content type  alias   expiry        format user property  other
    const bytes = hex("ffff 03 0001 61    230102  02 fffffffe   0101   26 0000 0000   ffff");
    const scan = scanOf(bytes, 2, bytes.length - 2);
    assert.deepEqual(scan, {
      topicAlias: 0x0102,
      aliasStart: 6,
      aliasEnd: 9,
      expirySeconds: 0xffff_fffe,
      expiryOffset: 8,
      payloadFormatIndicator: 1,
    });
    assert.equal(bytes.readUInt32BE(2 + scan.expiryOffset), scan.expirySeconds);
    assert.equal(bytes.subarray(scan.aliasStart, scan.aliasEnd).toString("hex"), "230102");
  });

  test("without the alias the rest is what travels on", () => {
    const bytes = hex("0101 230001 26 0001 61 0001 62");
    const { aliasStart, aliasEnd } = scanOf(bytes);
    const rest = Buffer.concat([bytes.subarray(0, aliasStart), bytes.subarray(aliasEnd)]);
    assert.deepEqual(decodePublishedProperties(rest), { payloadFormatIndicator: 1, userProperties: [["a", "b"]] });
  });

  test("a Subscription Identifier from a client is a Protocol Error [MQTT5 3.3.4-6]", () => {
    assert.equal(
      verdict(() => scanOf(hex("0b01"))),
      ReasonCode.protocolError,
    );
  });

  test("takes very many User Properties in one go", () => {
    const scan = scanOf(Buffer.concat(Array.from({ length: 20_000 }, () => hex("26 0001 61 0001 62"))));
    assert.equal(scan.topicAlias, 0);
  });

  test("judges any bytes as the decoder does", () => {
    const valid = [
      "0101",
      "0200000001",
      "03000161",
      "08000161",
      "09000161",
      "230001",
      "2600016100016226",
      "2600000000",
      "1100000001",
      "7f",
    ].map(hex);
    const spoiled = fc
      .tuple(fc.constantFrom(...valid), fc.nat(), fc.nat(255))
      .map(([bytes, at, byte]) => bytes.map((before, index) => (index === at % bytes.length ? byte : before)));
    const piece = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...valid) },
      spoiled,
      fc.uint8Array({ maxLength: 3 }),
    );
    const anyBytes = fc.array(piece, { maxLength: 5 }).map((pieces) => Buffer.concat(pieces));
    let taken = 0;
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const expected = verdict(() => {
          const length = Buffer.of((bytes.length & 0x7f) | 0x80, bytes.length >> 7);
          const prefix = bytes.length < 0x80 ? Buffer.of(bytes.length) : length;
          const properties = readProperties(new ByteReader(Buffer.concat([prefix, bytes])), "publish");
          // Only the scan knows that it is a client who speaks.
          fc.pre(properties?.subscriptionIdentifiers === undefined);
        });
        fc.pre(!bytes.includes(0x0b));
        assert.equal(
          verdict(() => scanOf(bytes)),
          expected,
        );
        if (expected === ReasonCode.success) taken++;
      }),
      { numRuns: 4000 },
    );
    assert.ok(taken > 100, `only ${taken} were taken`);
  });
});

describe("published properties", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 }).map((each) => each.replaceAll("\0", ""));
  const published: fc.Arbitrary<PublishedProperties> = fc.record(
    {
      payloadFormatIndicator: fc.constantFrom(0 as const, 1 as const),
      messageExpiryInterval: fc.nat(0xffff_ffff),
      contentType: text,
      responseTopic: text.map((each) => `r/${each.replaceAll(/[+#]/g, "")}`),
      correlationData: fc.uint8Array(),
      userProperties: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 3 }),
    },
    { requiredKeys: [], noNullPrototype: true },
  );

  test("survive the store", () => {
    fc.assert(
      fc.property(published, (properties) => {
        const encoded = encodePublishedProperties(properties);
        assert.deepEqual(decodePublishedProperties(encoded), properties);
        assert.equal(
          verdict(() => scanOf(encoded)),
          ReasonCode.success,
        );
      }),
    );
  });

  test("none are no bytes", () => {
    assert.deepEqual(encodePublishedProperties({}), new Uint8Array());
    assert.deepEqual(decodePublishedProperties(new Uint8Array()), {});
  });

  test("leave behind what belongs to one connection or to the Will alone", () => {
    const properties = { contentType: "a", topicAlias: 1, subscriptionIdentifiers: [1], willDelayInterval: 5 };
    assert.deepEqual(decodePublishedProperties(encodePublishedProperties(properties)), { contentType: "a" });
  });

  test("named after members of Object.prototype are ordinary text", () => {
    const properties: PublishedProperties = { userProperties: [["__proto__", "constructor"]] };
    assert.deepEqual(decodePublishedProperties(encodePublishedProperties(properties)), properties);
  });
});
