import assert from "node:assert/strict";
import { test } from "vitest";
import { RetrySchedule } from "./retry.ts";

test("each failure waits longer, and the one after the last wait was the last", () => {
  const schedule = new RetrySchedule({ scheduleMs: [1_000, 5_000], jitter: 0.2 }, () => 0.5);
  assert.deepEqual(
    [1, 2, 3].map((failures) => schedule.delayMs(failures)),
    [1_000, 5_000, undefined],
  );
});

test("waits are spread by the jitter to both sides, and no further", () => {
  const at = (chance: number) => new RetrySchedule({ scheduleMs: [1_000], jitter: 0.2 }, () => chance).delayMs(1);
  assert.equal(at(0), 800);
  assert.equal(at(1 - Number.EPSILON), 1_200);
});

test("an empty schedule means one attempt only", () => {
  assert.equal(new RetrySchedule({ scheduleMs: [], jitter: 0.2 }, () => 0.5).delayMs(1), undefined);
});
