/**
 * The only time there is in a simulation: acts in order of their time, of their rank within a moment, and of their making.
 * The model looks first, then the process runs its timers, then the world outside acts: so both agree on what came first.
 */
import type { Clock, Instant, Timer } from "../../src/base/clock.ts";

export const Rank = { model: 0, process: 1, outside: 2 } as const;
type Rank = (typeof Rank)[keyof typeof Rank];

interface Entry {
  at: number;
  rank: Rank;
  sequence: number;
  act: (() => void) | undefined;
}

export class Timeline {
  /** Milliseconds since the start. */
  elapsed = 0;
  readonly epoch: Instant = 1_700_000_000_000;
  private readonly heap: Entry[] = [];
  private sequence = 0;

  now(): Instant {
    return this.epoch + this.elapsed;
  }

  /** At `elapsed` time, never before now. */
  at(at: number, rank: Rank, act: () => void): Timer {
    const entry: Entry = { at: Math.max(at, this.elapsed), rank, sequence: this.sequence++, act };
    this.push(entry);
    return { cancel: () => (entry.act = undefined) };
  }

  after(delayMs: number, act: () => void): Timer {
    return this.at(this.elapsed + delayMs, Rank.outside, act);
  }

  every(intervalMs: number, rank: Rank, act: () => void): Timer {
    const entry: Entry = {
      at: this.elapsed + intervalMs,
      rank,
      sequence: this.sequence++,
      act: () => {
        entry.at += intervalMs;
        entry.sequence = this.sequence++;
        this.push(entry);
        act();
      },
    };
    this.push(entry);
    return { cancel: () => (entry.act = undefined) };
  }

  /** The time of the next act. */
  get nextAt(): number {
    while (this.heap.length > 0 && this.heap[0].act === undefined) this.pop();
    return this.heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** More timers are due at this very time: the process runs them in one turn of its event loop. */
  get hasTimersNow(): boolean {
    return this.nextAt === this.elapsed && this.heap[0].rank !== Rank.outside;
  }

  /** Runs the next act. */
  step(): void {
    const { act, at } = this.pop();
    if (act === undefined) return;
    this.elapsed = at;
    act();
  }

  private push(entry: Entry): void {
    const { heap } = this;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(entry, heap[parent])) break;
      heap[index] = heap[parent];
      index = parent;
    }
    heap[index] = entry;
  }

  private pop(): Entry {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (!isBefore(heap[child], last)) break;
      heap[index] = heap[child];
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(one: Entry, other: Entry): boolean {
  if (one.at !== other.at) return one.at < other.at;
  if (one.rank !== other.rank) return one.rank < other.rank;
  return one.sequence < other.sequence;
}

/** The clock of one process: its timers end with it. */
export class ProcessClock implements Clock {
  /** Timers that wait; a process that has stopped well leaves none. */
  armed = 0;
  private readonly timeline: Timeline;
  dead = false;

  constructor(timeline: Timeline) {
    this.timeline = timeline;
  }

  now(): Instant {
    return this.timeline.now();
  }

  monotonic(): number {
    return this.timeline.elapsed;
  }

  after(delayMs: number, act: () => void): Timer {
    let waits = true;
    this.armed++;
    const done = () => {
      if (waits) this.armed--;
      waits = false;
    };
    const timer = this.timeline.at(this.timeline.elapsed + delayMs, Rank.process, () => {
      done();
      if (!this.dead) act();
    });
    return {
      cancel: () => {
        done();
        timer.cancel();
      },
    };
  }

  every(intervalMs: number, act: () => void): Timer {
    let waits = true;
    this.armed++;
    const timer = this.timeline.every(intervalMs, Rank.process, () => {
      if (this.dead) timer.cancel();
      else act();
    });
    return {
      cancel: () => {
        if (waits) this.armed--;
        waits = false;
        timer.cancel();
      },
    };
  }

  /** The process is gone, without a word. */
  kill(): void {
    this.dead = true;
  }
}
