import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { runBacklog, type BacklogPlan } from "./backlog.ts";
import { peers } from "./peers/peers.ts";

const small: Omit<BacklogPlan, "shape" | "subscribers"> = {
  kind: "backlog",
  publishers: 4,
  qos: 1,
  payloadBytes: 64,
  batch: 8,
  window: 20,
  messages: 1_000,
  warmupMessages: 100,
  crash: true,
  firstMsMax: 15_000,
  silenceMsMax: 5_000,
};

describe("left behind by a crash of HookMQ", { timeout: 60_000 }, () => {
  for (const [what, of] of [
    ["events for a receiver that was not there", { shape: "to-webhook", subscribers: 0 }],
    ["messages for sessions whose clients were away", { shape: "pairs", subscribers: 4 }],
  ] as const) {
    test(`on disk, ${what}: all are drained`, async () => {
      const { failure, counts, figures } = await runBacklog(peers["hookmq-disk"], { ...small, ...of }, place);
      assert.equal(failure, undefined);
      assert.equal(counts.acknowledged, 1_000);
      assert.equal(counts.received, 1_000);
      for (const name of [
        "acknowledgedPerSecond",
        "drainedPerSecond",
        "restartMillis",
        "firstDeliveryMillis",
      ] as const) {
        assert.ok(figures[name]! > 0, name);
      }
    });
  }

  test("in memory: the run fails", async () => {
    const plan: BacklogPlan = { ...small, shape: "pairs", subscribers: 4, firstMsMax: 1_000 };
    const { failure } = await runBacklog(peers.hookmq, plan, place);
    assert.equal(failure, "1000 deliveries lost");
  });
});

const place = { pinned: false };
