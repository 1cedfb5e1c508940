/** The most requests a second: a bucket that fills evenly, and holds so few that no second sees many more. */
import { rateBurstShare } from "./limits.ts";

export class Rate {
  private readonly perMs: number;
  private readonly capacity: number;
  private tokens: number;
  private filledAt: number;

  /** Times are those of a clock that only goes forward. */
  constructor(perSecond: number, monotonic: number) {
    this.perMs = perSecond / 1000;
    this.capacity = Math.max(1, perSecond * rateBurstShare);
    this.tokens = this.capacity;
    this.filledAt = monotonic;
  }

  /** Until the next request may go: 0, or the milliseconds to wait. */
  waitMs(monotonic: number): number {
    this.tokens = Math.min(this.capacity, this.tokens + (monotonic - this.filledAt) * this.perMs);
    this.filledAt = monotonic;
    // What is missing by rounding is not waited for.
    const missing = 1 - this.tokens;
    return missing <= 1e-9 ? 0 : Math.ceil(missing / this.perMs);
  }

  take(): void {
    this.tokens = Math.max(0, this.tokens - 1);
  }
}
