import type { Clock, Timer } from "../base/clock.ts";
import type { Facts, Logger } from "../base/log.ts";
import { burstMs } from "./limits.ts";

/** Says what happens again and again once at its start, then in sums, so that a flood of drops is no flood of lines. */
export class BurstLog {
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly bursts = new Map<string, { more: number; timer: Timer }>();

  constructor(clock: Clock, log: Logger) {
    this.clock = clock;
    this.log = log;
  }

  /** `text` names the burst; `facts` are said of its first only. */
  warn(text: string, facts: Facts): void {
    const burst = this.bursts.get(text);
    if (burst !== undefined) {
      burst.more++;
      return;
    }
    this.log.warn(text, facts);
    this.bursts.set(text, { more: 0, timer: this.clock.every(burstMs, () => this.sum(text)) });
  }

  /** Says what is not said yet. */
  close(): void {
    for (const text of [...this.bursts.keys()]) {
      this.sum(text);
      this.end(text);
    }
  }

  private sum(text: string): void {
    const burst = this.bursts.get(text);
    if (burst === undefined) return;
    if (burst.more === 0) {
      this.end(text);
      return;
    }
    this.log.warn(`${text} (more of the same)`, { more: burst.more });
    burst.more = 0;
  }

  private end(text: string): void {
    this.bursts.get(text)?.timer.cancel();
    this.bursts.delete(text);
  }
}
