import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { base62PayloadBytesMax } from "./limits.ts";
import { base62, payloadJson } from "./payload-encoding.ts";

describe("base62", () => {
  for (const [payload, expected] of [
    [Buffer.from("hello"), "7tQLFHz"],
    [Buffer.from([0, 0, 0x61, 0x62]), "006U6"],
    [Buffer.from("gone"), "1tRNMz"],
    [Buffer.from("RR"), "5Tu"],
    [Buffer.from("viahttp"), "2SeNpcxej2"],
    [Buffer.from("n0"), "7Ky"],
    [Buffer.from("n1"), "7Kz"],
    [Buffer.from("n2"), "7L0"],
    [Buffer.from("Hello World!"), "T8dgcjRGkZ3aysdN"],
    [Buffer.from("messagei+/"), "2a7oZkl5ty6sG7"],
    [Buffer.from([0xff]), "47"],
    [Buffer.from([0]), "0"],
    [Buffer.from([0, 0, 0]), "000"],
    [Buffer.alloc(0), ""],
  ] as const) {
    test(`${payload.toString("hex") || "nothing"} is "${expected}"`, () => assert.equal(base62(payload), expected));
  }

  test("can be read back to the same bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        assert.deepEqual(readBase62(base62(Buffer.from(bytes))), Buffer.from(bytes));
      }),
    );
  });

  test("can be read back at the largest size taken, where the division is deepest", () => {
    const payload = Buffer.alloc(base62PayloadBytesMax, 0xff);
    assert.deepEqual(readBase62(base62(payload)), payload);
  });
});

/** The definition the other way round: digit by digit. */
function readBase62(text: string): Buffer {
  const zeros = /^0*/.exec(text)![0].length;
  let value = 0n;
  for (const digit of text) {
    const code = digit.charCodeAt(0);
    value = value * 62n + BigInt(code < 58 ? code - 48 : code < 91 ? code - 55 : code - 61);
  }
  const hex = value === 0n ? "" : value.toString(16);
  return Buffer.concat([Buffer.alloc(zeros), Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex")]);
}

describe("plain", () => {
  for (const [title, payload, expected] of [
    ["text as it is", "Hello World!", '"Hello World!"'],
    ["nothing as an empty string", "", '""'],
    ["quotes and backslashes escaped", '{"a":"\\"}', '"{\\"a\\":\\"\\\\\\"}"'],
    ["the short escapes", "\b\f\n\r\t", '"\\b\\f\\n\\r\\t"'],
    ["other control characters in lower-case hex", "\0\x01\x0b\x1f", '"\\u0000\\u0001\\u000b\\u001f"'],
    ["/ and DEL as they are", "/\x7f", '"/\x7f"'],
    ["what is beyond ASCII as it is", "grün 水 😀 \u2028 \ufeff", '"grün 水 😀 \u2028 \ufeff"'],
  ] as const) {
    test(title, () => assert.equal(payloadJson(Buffer.from(payload), "plain"), expected));
  }

  for (const hex of ["6180ff", "c3", "eda080", "c080", "f5808080"]) {
    test(`bytes that are not UTF-8 (${hex}) as base64, and says so`, () => {
      const payload = Buffer.from(hex, "hex");
      assert.equal(payloadJson(payload, "plain"), `"${payload.toString("base64")}","payload_encoding":"base64"`);
    });
  }
});

test("base64 is padded and uses + and /", () => {
  assert.equal(payloadJson(Buffer.from([0xfb, 0xff, 0xfe, 0xff]), "base64"), '"+//+/w=="');
  assert.equal(payloadJson(new Uint8Array(0), "base64"), '""');
});

test("only the view's own bytes are read", () => {
  const view = Buffer.from("__hello__").subarray(2, 7);
  assert.equal(payloadJson(view, "plain"), '"hello"');
  assert.equal(payloadJson(view, "base64"), '"aGVsbG8="');
  assert.equal(payloadJson(view, "base62"), '"7tQLFHz"');
});
