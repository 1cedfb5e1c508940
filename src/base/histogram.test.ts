import { expect, test } from "vitest";
import { Histogram } from "./histogram.ts";

test("a value counts in the first bucket whose bound it does not exceed, or in the last, which has none", () => {
  const histogram = new Histogram([1, 2.5]);
  for (const value of [0, 1, 1.1, 2.5, 2.6, 1000]) histogram.observe(value);
  const { bounds, counts, sum } = histogram.figures();
  expect(bounds).toEqual([1, 2.5]);
  expect(counts).toEqual([2, 2, 2]);
  expect(sum).toBeCloseTo(1007.2);
});

test("figures are of their moment, and cross to another thread as they are", () => {
  const histogram = new Histogram([1]);
  const before = histogram.figures();
  histogram.observe(1);
  expect(before.counts).toEqual([0, 0]);
  expect(structuredClone(histogram.figures())).toEqual({ bounds: [1], counts: [1, 0], sum: 1 });
});

test("bounds that do not rise are a mistake of ours", () => {
  expect(() => new Histogram([1, 1])).toThrow("rise");
});
