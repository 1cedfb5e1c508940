import assert from "node:assert/strict";
import { test } from "vitest";
import { AttemptLog } from "./attempt-log.ts";
import { attemptsRememberedMax } from "./limits.ts";
import type { AttemptReport } from "./operations.ts";

function report(deliveryId: string, fields: Partial<AttemptReport> = {}): AttemptReport {
  const owed = { event: "on_message_publish", orderKey: "a", attempt: 1, at: 0 };
  return { deliveryId, ...owed, outcome: "accepted", reason: "", status: 200, durationMs: 1, excerpt: "", ...fields };
}

test("the last attempts are told, newest first, and no more than are remembered", () => {
  const log = new AttemptLog();
  for (let i = 0; i < attemptsRememberedMax + 10; i++) log.add(report(`${i}`));
  const ids = log.newest(undefined, 10_000).map(({ deliveryId }) => Number(deliveryId));
  assert.equal(ids.length, attemptsRememberedMax);
  assert.deepEqual([ids[0], ids.at(-1)], [attemptsRememberedMax + 9, 10]);
  assert.deepEqual(
    log.newest("12", 5).map(({ deliveryId }) => deliveryId),
    ["12"],
  );
  assert.equal(log.newest(undefined, 3).length, 3);
});

test("rates and durations come from what is remembered; what we took back is left out", () => {
  const log = new AttemptLog();
  assert.deepEqual(log.figures, { successRate: undefined, requestMsP50: undefined, requestMsP95: undefined });
  for (let ms = 1; ms <= 20; ms++) log.add(report("a", { durationMs: ms, outcome: ms > 15 ? "retry" : "accepted" }));
  log.add(report("a", { durationMs: 9_999, outcome: "cancelled" }));
  assert.deepEqual(log.figures, { successRate: 0.75, requestMsP50: 10, requestMsP95: 19 });
});
