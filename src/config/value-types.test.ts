import assert from "node:assert/strict";
import { test } from "vitest";
import type { ValueType } from "./schema.ts";
import { parseBind } from "./sections/listeners.ts";
import { choice, count, decimal, duration, flag, listOf, orWord, seconds, size, text } from "./value-types.ts";

const day = 86_400_000;
const inMs = duration({ bare: "ms", maxMs: day });
const inSeconds = duration({ bare: "s", minMs: 1, maxMs: day });
const bytes = size({ min: 1, max: 1024 ** 3 });
const small = count({ min: 1, max: 10 });

const refused = Symbol("refused");
const rows: [name: string, type: ValueType<unknown>, input: unknown, expected: unknown][] = [
  ["duration", inMs, "1500", 1500],
  ["duration", inMs, "1.5s", 1500],
  ["duration", inMs, "500ms", 500],
  ["duration", inMs, "500 MS", 500],
  ["duration", inMs, "5m", 300_000],
  ["duration", inMs, "2H", 7_200_000],
  ["duration", inMs, "1d", day],
  ["duration", inMs, "25h", refused],
  ["duration", inMs, "-1s", refused],
  ["duration", inMs, "1 week", refused],
  ["duration", inMs, "", refused],
  ["duration", inMs, ["1s"], refused],
  ["duration in seconds", inSeconds, "10", 10_000],
  ["duration in seconds", inSeconds, "10s", 10_000],
  ["duration in seconds", inSeconds, "0", refused],
  ["seconds", seconds({ max: 100 }), "1500ms", 2],
  ["seconds", seconds({ max: 100 }), "2m", refused],
  ["size", bytes, "512", 512],
  ["size", bytes, "1b", 1],
  ["size", bytes, "1KB", 1024],
  ["size", bytes, "1k", 1024],
  ["size", bytes, "10 mb", 10 * 1024 ** 2],
  ["size", bytes, "1GiB", 1024 ** 3],
  ["size", bytes, "2GB", refused],
  ["size", bytes, "0", refused],
  ["size", bytes, "10MBit", refused],
  ["count", small, "7", 7],
  ["count", small, "7.0", 7],
  ["count", small, "11", refused],
  ["count", small, "1.5", refused],
  ["count", small, "0x7", refused],
  ["count", small, true, refused],
  ["decimal", decimal({ above: 0.5, max: 10 }), "1.25", 1.25],
  ["decimal", decimal({ above: 0.5, max: 10 }), "0.5", refused],
  ["decimal", decimal({ above: 0.5, max: 10 }), "Infinity", refused],
  ["flag", flag, true, true],
  ["flag", flag, "TRUE", true],
  ["flag", flag, "yes", true],
  ["flag", flag, "off", false],
  ["flag", flag, "1", refused],
  ["choice", choice(["Plain", "base64"]), "PLAIN", "Plain"],
  ["choice", choice(["Plain", "base64"]), "plane", refused],
  ["text", text(), "x", "x"],
  ["text", text(), true, "true"],
  ["text", text(), { a: 1 }, refused],
  ["list", listOf(small), ["1", "2"], [1, 2]],
  ["list", listOf(small), "3", [3]],
  ["list", listOf(small), [], []],
  ["list", listOf(small), ["1", "99"], refused],
  ["or word", orWord("never", -1, small), "Never", -1],
  ["or word", orWord("never", -1, small), "3", 3],
  ["or word", orWord("never", -1, small), "ever", refused],
];

for (const [name, type, input, expected] of rows) {
  test(`${name} ${expected === refused ? "refuses" : "takes"} ${JSON.stringify(input)}`, () => {
    const reading = type.read(input);
    if ("value" in reading) assert.deepEqual(reading.value, expected);
    else {
      assert.equal(expected, refused);
      assert.notEqual(reading.expected, "");
    }
  });
}

for (const [input, expected] of [
  ["1883", { host: "0.0.0.0", port: 1883 }],
  [":1883", { host: "0.0.0.0", port: 1883 }],
  ["0.0.0.0:0", { host: "0.0.0.0", port: 0 }],
  ["my-host.local:65535", { host: "my-host.local", port: 65_535 }],
  ["[::]:1883", { host: "::", port: 1883 }],
  ["[fe80::1%eth0]:1883", { host: "fe80::1%eth0", port: 1883 }],
  ["host:65536", undefined],
  ["host", undefined],
  ["host:", undefined],
  ["::1:1883", undefined],
  ["[x]:1883", undefined],
  ["a b:1883", undefined],
  ["host:1883/mqtt", undefined],
] as const) {
  test(`the address ${input} is ${expected ? `${expected.host} ${expected.port}` : "none"}`, () => {
    assert.deepEqual(parseBind(input), expected);
  });
}
