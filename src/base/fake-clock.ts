import type { Clock, Instant, Timer } from "./clock.ts";

type Entry = { at: number; sequence: number; act: () => void; everyMs?: number };

/** A clock that stands still until `advance`: timers then fire in order of their time, ties in order of arming. */
export class FakeClock implements Clock {
  private entries: Entry[] = [];
  private elapsedMs = 0;
  private sequence = 0;
  private epoch: Instant;

  constructor(epoch: Instant = 1_700_000_000_000) {
    this.epoch = epoch;
  }

  now(): Instant {
    return this.epoch + this.elapsedMs;
  }

  monotonic(): number {
    return this.elapsedMs;
  }

  after(delayMs: number, act: () => void): Timer {
    return this.arm({ at: this.elapsedMs + Math.max(0, delayMs), sequence: this.sequence++, act });
  }

  every(intervalMs: number, act: () => void): Timer {
    return this.arm({ at: this.elapsedMs + intervalMs, sequence: this.sequence++, act, everyMs: intervalMs });
  }

  /** Moves time forward, firing what falls due on the way, also what those timers arm themselves. */
  advance(ms: number): void {
    const until = this.elapsedMs + ms;
    for (let next = this.next(until); next !== undefined; next = this.next(until)) {
      this.elapsedMs = next.at;
      if (next.everyMs === undefined) this.entries.splice(this.entries.indexOf(next), 1);
      else next.at += next.everyMs;
      next.act();
    }
    this.elapsedMs = until;
  }

  /** The wall clock is set back; timers run on the time that only goes forward. */
  setBack(ms: number): void {
    this.epoch -= ms;
  }

  /** How many timers are armed: a test that cleans up leaves none. */
  get armed(): number {
    return this.entries.length;
  }

  private arm(entry: Entry): Timer {
    this.entries.push(entry);
    return {
      cancel: () => {
        const at = this.entries.indexOf(entry);
        if (at >= 0) this.entries.splice(at, 1);
      },
    };
  }

  private next(until: number): Entry | undefined {
    let first: Entry | undefined;
    for (const entry of this.entries) {
      if (entry.at > until) continue;
      if (first === undefined || entry.at < first.at || (entry.at === first.at && entry.sequence < first.sequence))
        first = entry;
    }
    return first;
  }
}
