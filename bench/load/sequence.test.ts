import assert from "node:assert/strict";
import { test } from "vitest";
import { SequenceCheck } from "./sequence.ts";

function judged(sequences: readonly number[]): { first: number; duplicates: number; outOfOrder: number } {
  const check = new SequenceCheck({ senders: 3, receivers: 2 });
  const first = sequences.filter((sequence) => check.arrived(1, 2, sequence)).length;
  return { first, duplicates: check.duplicates, outOfOrder: check.outOfOrder };
}

for (const [title, sequences, expected] of [
  ["in order", [0, 1, 2, 3], { first: 4, duplicates: 0, outOfOrder: 0 }],
  ["the same one again", [0, 1, 1, 0, 2], { first: 3, duplicates: 2, outOfOrder: 0 }],
  ["two changed places", [0, 2, 1, 3], { first: 4, duplicates: 0, outOfOrder: 1 }],
  ["late, and then again", [0, 3, 1, 1, 2], { first: 4, duplicates: 1, outOfOrder: 2 }],
  ["a gap that is never filled", [0, 5], { first: 2, duplicates: 0, outOfOrder: 0 }],
  ["the first one missing", [1, 0], { first: 2, duplicates: 0, outOfOrder: 1 }],
] as const) {
  test(title, () => assert.deepEqual(judged(sequences), expected));
}

test("each receiver's view of each sender is its own", () => {
  const check = new SequenceCheck({ senders: 2, receivers: 2 });
  for (const receiver of [0, 1]) for (const sender of [0, 1]) assert.ok(check.arrived(receiver, sender, 0));
  assert.equal(check.arrived(1, 0, 0), false);
  assert.equal(check.duplicates, 1);
});
