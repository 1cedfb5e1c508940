/** Counts values in fixed buckets, as Prometheus has it. Observing makes nothing; figures are plain data. */
import { assert } from "./assert.ts";

export interface HistogramFigures {
  /** The upper bound of each bucket but the last, which has none. */
  bounds: readonly number[];
  /** Of each bucket alone; one more than there are bounds. */
  counts: readonly number[];
  sum: number;
}

export class Histogram {
  private readonly bounds: readonly number[];
  private readonly counts: Float64Array;
  private sum = 0;

  /** `bounds` rise. */
  constructor(bounds: readonly number[]) {
    assert(
      bounds.every((bound, index) => index === 0 || bound > bounds[index - 1]),
      "the bounds of a histogram rise",
    );
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > this.bounds[bucket]) bucket++;
    this.counts[bucket]++;
    this.sum += value;
  }

  figures(): HistogramFigures {
    return { bounds: this.bounds, counts: [...this.counts], sum: this.sum };
  }
}
