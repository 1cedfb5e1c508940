import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import type { Waiter } from "./due-heap.ts";
import { DueHeap } from "./due-heap.ts";

test("whatever is added and taken out, the earliest is first", () => {
  // Numbers add a waiter with that time; "remove" takes out the one that was added so many places before.
  const step = fc.oneof(fc.nat({ max: 50 }), fc.record({ remove: fc.nat({ max: 20 }) }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new DueHeap<Waiter>();
      const inside: Waiter[] = [];
      for (const at of steps) {
        if (typeof at === "number") {
          const waiter = { dueAt: at, heapIndex: -1 };
          heap.add(waiter);
          inside.push(waiter);
        } else if (inside.length > 0) {
          const [waiter] = inside.splice(at.remove % inside.length, 1);
          heap.remove(waiter);
          assert.equal(waiter.heapIndex, -1);
        }
        const earliest = inside.length === 0 ? undefined : Math.min(...inside.map(({ dueAt }) => dueAt));
        assert.equal(heap.first?.dueAt, earliest);
      }
    }),
  );
});
