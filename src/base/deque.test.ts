import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import { Deque } from "./deque.ts";

test("does what an array does, whatever is asked of it", () => {
  const act = fc.oneof(
    { weight: 5, arbitrary: fc.constant("push" as const) },
    { weight: 4, arbitrary: fc.constant("shift" as const) },
    { weight: 1, arbitrary: fc.constant("look" as const) },
    { weight: 1, arbitrary: fc.constant("clear" as const) },
  );
  fc.assert(
    fc.property(fc.array(act, { maxLength: 300 }), (acts) => {
      const deque = new Deque<number>();
      let model: number[] = [];
      acts.forEach((act, i) => {
        if (act === "push") {
          deque.push(i);
          model.push(i);
        } else if (act === "shift") {
          assert.equal(deque.shift(), model.shift());
        } else if (act === "look") {
          assert.deepEqual([...deque], model);
        } else if (i % 10 === 0) {
          deque.clear();
          model = [];
        }
        assert.equal(deque.length, model.length);
        assert.equal(deque.first(), model[0]);
      });
    }),
  );
});

test("keeps its order over growth with its head anywhere in the ring", () => {
  for (let head = 0; head < 20; head++) {
    const deque = new Deque<number>();
    for (let i = 0; i < head; i++) {
      deque.push(i);
      deque.shift();
    }
    for (let i = 0; i < 1000; i++) deque.push(i);
    for (let i = 0; i < 1000; i++) assert.equal(deque.shift(), i);
    assert.equal(deque.shift(), undefined);
  }
});

test("two that are empty share nothing", () => {
  const one = new Deque<string>();
  const other = new Deque<string>();
  one.push("one's");
  assert.equal(other.length, 0);
  assert.equal(other.first(), undefined);
  other.clear();
  assert.equal(one.first(), "one's");
});
