import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { Histogram } from "./histogram.ts";

describe("percentiles", () => {
  test("of nothing there are none", () => {
    assert.equal(new Histogram().percentile(50), undefined);
  });

  test("small values are exact", () => {
    const histogram = of(Array.from({ length: 60 }, (_, i) => i + 1));
    assert.equal(histogram.percentile(50), 30);
    assert.equal(histogram.percentile(99), 60);
    assert.equal(histogram.percentile(0), 1);
    assert.equal(histogram.percentile(100), 60);
  });

  test("large values are at most 1.6 % off those of the sorted list", () => {
    // A fixed pseudo-random series over six decades.
    let seed = 42;
    const values = Array.from({ length: 20_000 }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor(10 ** ((seed / 2 ** 32) * 6));
    });
    const sorted = [...values].sort((a, b) => a - b);
    const histogram = of(values);
    for (const share of [1, 10, 50, 90, 99, 99.9]) {
      const exact = sorted[Math.ceil((share / 100) * sorted.length) - 1];
      const told = histogram.percentile(share)!;
      assert.ok(Math.abs(told - exact) <= exact * 0.016 + 0.5, `p${share}: ${told} for ${exact}`);
    }
  });

  test("none is beyond the largest value, up to the last that fits", () => {
    for (const value of [63, 64, 65, 1_000_003, 2 ** 31, 2 ** 32 - 1]) {
      const histogram = of([value]);
      assert.equal(histogram.max, value);
      assert.ok(histogram.percentile(100)! <= value);
      assert.ok(histogram.percentile(100)! >= value * 0.984);
    }
  });

  test("one outlier in a thousand shows in p99.9 and not in p99", () => {
    const histogram = of([...Array(998).fill(10), 5_000_000, 5_000_000]);
    assert.equal(histogram.percentile(99), 10);
    assert.ok(histogram.percentile(99.9)! > 4_900_000);
  });
});

function of(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.add(value);
  assert.equal(histogram.count, values.length);
  return histogram;
}
