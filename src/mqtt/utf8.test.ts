import assert from "node:assert/strict";
import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { describe, test } from "vitest";
import { decodeUtf8, isWellFormedUtf8 } from "./utf8.ts";

const judge = (bytes: Uint8Array) => isWellFormedUtf8(bytes, 0, bytes.length);

describe("isWellFormedUtf8", () => {
  for (const [what, hex, expected] of [
    ["nothing", "", true],
    ["ASCII", "68656c6c6f", true],
    ["U+0001", "01", true],
    ["U+007F", "7f", true],
    ["U+0080, the first of two bytes", "c280", true],
    ["U+07FF, the last of two bytes", "dfbf", true],
    ["U+0800, the first of three bytes", "e0a080", true],
    ["U+D7FF, before the surrogates", "ed9fbf", true],
    ["U+E000, behind the surrogates", "ee8080", true],
    ["U+FEFF, the byte order mark", "efbbbf", true],
    ["U+FFFF, a noncharacter", "efbfbf", true],
    ["U+10000, the first of four bytes", "f0908080", true],
    ["U+10FFFF, the last there is", "f48fbfbf", true],
    ["U+0000", "00", false],
    ["U+0000 behind text", "6100", false],
    ["a lone continuation byte", "80", false],
    ["overlong U+0000", "c080", false],
    ["overlong U+007F", "c1bf", false],
    ["overlong of three bytes", "e09fbf", false],
    ["overlong of four bytes", "f08fbfbf", false],
    ["U+D800, the first surrogate", "eda080", false],
    ["U+DFFF, the last surrogate", "edbfbf", false],
    ["a pair of surrogates", "eda080edb080", false],
    ["U+110000, one too many", "f4908080", false],
    ["a lead byte of five", "f888808080", false],
    ["0xFF", "ff", false],
    ["two bytes cut off", "c3", false],
    ["three bytes cut off", "e282", false],
    ["four bytes cut off", "f09f98", false],
    ["ASCII where a second byte should be", "c341", false],
    ["ASCII where a third byte should be", "e28241", false],
    ["ASCII where a fourth byte should be", "f09f9841", false],
  ] as const) {
    test(`${expected ? "takes" : "refuses"} ${what}`, () => {
      assert.equal(judge(Buffer.from(hex, "hex")), expected);
    });
  }

  test("looks at nothing outside of its range", () => {
    const bytes = Buffer.from("ff61c3a9ff", "hex");
    assert.equal(isWellFormedUtf8(bytes, 1, 4), true);
    assert.equal(isWellFormedUtf8(bytes, 1, 3), false);
    assert.equal(isWellFormedUtf8(Buffer.from("e282ac", "hex"), 0, 2), false);
  });

  test("agrees with Node about any bytes, but for U+0000", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc
        .array(fc.constantFrom(0x41, 0x80, 0x9f, 0xa0, 0xbf, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5))
        .map((each) => Uint8Array.from(each)),
    );
    fc.assert(
      fc.property(bytes, (each) => judge(each) === (isUtf8(each) && !each.includes(0))),
      { numRuns: 2000 },
    );
  });
});

test("decodeUtf8 gives back any text, a byte order mark included", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (each) => {
      const text = `\ufeff${each.replaceAll("\0", "")}`;
      const bytes = Buffer.from(text);
      assert.equal(decodeUtf8(bytes, 0, bytes.length), text);
    }),
  );
  assert.equal(decodeUtf8(Buffer.of(0x61, 0xff), 0, 2), undefined);
});
