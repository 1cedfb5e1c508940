import type { RetryOptions } from "./options.ts";

/** When a delivery is tried again: the configured waits, each spread so that what failed together does not return together. */
export class RetrySchedule {
  private readonly options: RetryOptions;
  private readonly random: () => number;

  constructor(options: RetryOptions, random: () => number) {
    this.options = options;
    this.random = random;
  }

  /** The wait after so many failures (1, 2, …); `undefined`: it was the last. */
  delayMs(failures: number): number | undefined {
    const { scheduleMs, jitter } = this.options;
    if (failures > scheduleMs.length) return undefined;
    return Math.round(scheduleMs[failures - 1] * (1 + jitter * (2 * this.random() - 1)));
  }
}
