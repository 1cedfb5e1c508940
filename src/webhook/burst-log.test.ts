import assert from "node:assert/strict";
import { test } from "vitest";
import { FakeClock } from "../base/fake-clock.ts";
import type { Facts } from "../base/log.ts";
import { silentLogger } from "../base/log.ts";
import { BurstLog } from "./burst-log.ts";
import { burstMs } from "./limits.ts";

function setUp() {
  const clock = new FakeClock();
  const lines: [string, Facts | undefined][] = [];
  const log = new BurstLog(clock, { ...silentLogger, warn: (text, facts) => void lines.push([text, facts]) });
  return { clock, lines, log };
}

test("a burst is said at once, then summed up while it goes on, then forgotten", () => {
  const { clock, lines, log } = setUp();
  for (let i = 0; i < 1000; i++) log.warn("dropped", { i });
  assert.deepEqual(lines.splice(0), [["dropped", { i: 0 }]]);
  clock.advance(burstMs);
  assert.deepEqual(lines.splice(0), [["dropped (more of the same)", { more: 999 }]]);
  clock.advance(burstMs);
  assert.equal(clock.armed, 0);
  log.warn("dropped", { i: "again" });
  assert.deepEqual(lines.splice(0), [["dropped", { i: "again" }]]);
});

test("what is not said yet is said when it closes, and no timer is left", () => {
  const { clock, lines, log } = setUp();
  for (let i = 0; i < 3; i++) log.warn("dropped", {});
  log.warn("rejected", {});
  log.close();
  assert.deepEqual(lines.slice(2), [["dropped (more of the same)", { more: 2 }]]);
  assert.equal(clock.armed, 0);
});
