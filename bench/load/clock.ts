/**
 * Microseconds on the machine's monotonic clock, which every process reads alike: a message stamped in the generator
 * can be judged in the webhook sink.
 */
export function microsNow(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1e3;
}

/** A stamp keeps the low 32 bits; good for waits of up to 71 minutes. */
export function microsSince(stamp: number, nowMicros: number): number {
  return ((nowMicros | 0) - stamp) >>> 0;
}
