import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import type { Link } from "./linked-list.ts";
import { LinkedList } from "./linked-list.ts";

function values(list: LinkedList<number>): number[] {
  const found: number[] = [];
  for (let link = list.first; link !== undefined; link = link.next) found.push(link.value);
  return found;
}

test("keeps its order whatever leaves from wherever", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ push: fc.boolean(), at: fc.nat() })), (steps) => {
      const list = new LinkedList<number>();
      const links: Link<number>[] = [];
      steps.forEach(({ push, at }, value) => {
        if (push) links.push(list.push(value));
        else if (links.length > 0) list.remove(links.splice(at % links.length, 1)[0]);
        assert.deepEqual(
          values(list),
          links.map((link) => link.value),
        );
      });
    }),
  );
});

test("a link that was taken out keeps nothing else alive", () => {
  const list = new LinkedList<number>();
  const [, second] = [list.push(1), list.push(2), list.push(3)];
  list.remove(second);
  assert.deepEqual([second.previous, second.next], [undefined, undefined]);
  assert.deepEqual(values(list), [1, 3]);
});
