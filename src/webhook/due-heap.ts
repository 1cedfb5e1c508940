import type { Instant } from "../base/clock.ts";

/** Something that waits for its time. */
export interface Waiter {
  dueAt: Instant;
  /** Where it is in the heap; -1 while it is in none. */
  heapIndex: number;
}

/** Waiters by their time, the earliest first; any of them can be taken out again. `dueAt` stands while one is inside. */
export class DueHeap<W extends Waiter> {
  private readonly waiters: W[] = [];

  get first(): W | undefined {
    return this.waiters[0];
  }

  add(waiter: W): void {
    this.waiters.push(waiter);
    this.rise(waiter, this.waiters.length - 1);
  }

  remove(waiter: W): void {
    const index = waiter.heapIndex;
    const last = this.waiters.pop()!;
    waiter.heapIndex = -1;
    if (last === waiter) return;
    if (last.dueAt < waiter.dueAt) this.rise(last, index);
    else this.sink(last, index);
  }

  private rise(waiter: W, from: number): void {
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.waiters[parent].dueAt <= waiter.dueAt) break;
      this.put(this.waiters[parent], index);
      index = parent;
    }
    this.put(waiter, index);
  }

  private sink(waiter: W, from: number): void {
    let index = from;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.waiters.length) break;
      if (child + 1 < this.waiters.length && this.waiters[child + 1].dueAt < this.waiters[child].dueAt) child++;
      if (this.waiters[child].dueAt >= waiter.dueAt) break;
      this.put(this.waiters[child], index);
      index = child;
    }
    this.put(waiter, index);
  }

  private put(waiter: W, index: number): void {
    this.waiters[index] = waiter;
    waiter.heapIndex = index;
  }
}
