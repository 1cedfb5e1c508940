/**
 * Syncs the write-ahead log: on this thread where the disk is quick, beside it where it is not. To hand a sync to another
 * thread and hear back costs about what a quick one takes; a slow one would hold up everything else that this thread does.
 *
 *   waiting for it ──took longer than `quickSyncMs`──→ beside ──took less──→ waiting for it
 */
import { quickSyncMs } from "./limits.ts";

export type Synced = (error: Error | null) => void;

export interface LogSyncParts {
  /** Milliseconds. */
  monotonic: () => number;
  /** Waits until the log is on the disk itself. */
  now: () => void;
  /** The same on another thread. */
  beside: (done: Synced) => void;
}

export class LogSync {
  private readonly parts: LogSyncParts;
  private lastMs = 0;

  constructor(parts: LogSyncParts) {
    this.parts = parts;
  }

  /** `done` may be called before this returns. */
  sync(done: Synced): void {
    const { monotonic, now, beside } = this.parts;
    const since = monotonic();
    const ended: Synced = (error) => {
      this.lastMs = monotonic() - since;
      done(error);
    };
    if (this.lastMs > quickSyncMs) return beside(ended);
    let failure: Error | null = null;
    try {
      now();
    } catch (error) {
      failure = error as Error;
    }
    ended(failure);
  }
}
