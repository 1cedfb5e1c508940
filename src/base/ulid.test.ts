import assert from "node:assert/strict";
import { test } from "vitest";
import { createUlidSource } from "./ulid.ts";

test("a ULID is 26 characters: 10 of time, 16 of chance", () => {
  // The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41.
  const ulid = createUlidSource(() => 0);
  assert.equal(ulid(1_469_918_176_385), "01ARYZ6S410000000000000000");
  assert.equal(ulid(1_469_918_176_385), "01ARYZ6S410000000000000001");
});

test("chance fills both halves of the random part", () => {
  assert.match(createUlidSource(Math.random)(1_700_000_000_000), /^01HF7YAT00[0-9A-HJKMNP-TV-Z]{16}$/);
  assert.equal(createUlidSource(() => 1 - Number.EPSILON / 2)(0), "0000000000ZZZZZZZZFZZZZZZZ");
});

test("those of one source sort in the order they were made, also when the clock stands or steps back", () => {
  const ulid = createUlidSource(Math.random);
  const made: string[] = [];
  for (let i = 0; i < 5000; i++) made.push(ulid(1_700_000_000_000 + ((i * 7) % 50)));
  assert.deepEqual(made, made.toSorted());
  assert.equal(new Set(made).size, made.length);
});
