/**
 * Counts of waiting times in microseconds: exact below 64, then 64 steps to each doubling, so a percentile is at most
 * 1.6 % off. Adding costs a few instructions and no memory: every message of a run is counted, none is sampled.
 */
export class Histogram {
  private readonly counts = new Float64Array((32 - 5) * steps);
  private total = 0;
  private highest = 0;

  add(micros: number): void {
    this.counts[bucketOf(micros)]++;
    this.total++;
    if (micros > this.highest) this.highest = micros;
  }

  get count(): number {
    return this.total;
  }

  get max(): number {
    return this.highest;
  }

  /** The value that this share (0 to 100) of all values does not exceed; `undefined` when nothing was added. */
  percentile(share: number): number | undefined {
    if (this.total === 0) return undefined;
    const rank = Math.max(1, Math.ceil((share / 100) * this.total));
    let seen = 0;
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      seen += this.counts[bucket];
      if (seen >= rank) return Math.min(middleOf(bucket), this.highest);
    }
    return this.highest;
  }
}

const steps = 64;

function bucketOf(micros: number): number {
  if (micros < steps) return micros;
  const doubling = 31 - Math.clz32(micros); // at least 6
  return (doubling - 5) * steps + ((micros >>> (doubling - 6)) & (steps - 1));
}

function middleOf(bucket: number): number {
  if (bucket < steps) return bucket;
  const doubling = Math.floor(bucket / steps) + 5;
  const width = 2 ** (doubling - 6);
  return (steps + (bucket % steps)) * width + Math.floor(width / 2);
}
