/** Milliseconds since the Unix epoch. */
export type Instant = number;

/** A timer that can be taken back. */
export interface Timer {
  cancel(): void;
}

/** All time the broker and the webhook core know. Handed in by `server.ts`, so that tests run a week in a second. */
export interface Clock {
  /** Wall-clock time, for timestamps that leave the process. */
  now(): Instant;
  /** Milliseconds that only ever go forward, for measuring spans. */
  monotonic(): number;
  after(delayMs: number, act: () => void): Timer;
  every(intervalMs: number, act: () => void): Timer;
}

// Node holds a delay in 31 bits; a longer one would fire at once.
const delayMsMax = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, act) {
    let handle: NodeJS.Timeout;
    const arm = (remainingMs: number) => {
      const stepMs = Math.min(remainingMs, delayMsMax);
      handle = setTimeout(() => (remainingMs > stepMs ? arm(remainingMs - stepMs) : act()), stepMs);
    };
    arm(Math.max(0, delayMs));
    return { cancel: () => clearTimeout(handle) };
  },
  every(intervalMs, act) {
    const handle = setInterval(act, intervalMs);
    return { cancel: () => clearInterval(handle) };
  },
};
