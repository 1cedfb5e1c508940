import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import { rateBurstShare } from "./limits.ts";
import { Rate } from "./rate.ts";

test("no second sees more requests than the rate and its burst, and none fewer when they are wanted", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2_000 }), fc.array(fc.integer({ min: 1, max: 50 })), (perSecond, idleMs) => {
      const rate = new Rate(perSecond, 0);
      const sentAt: number[] = [];
      let now = 0;
      for (const idle of [...idleMs, 1]) {
        now += idle;
        for (let wanted = 0; wanted < perSecond; wanted++) {
          const waitMs = rate.waitMs(now);
          if (waitMs > 0 && wanted > 5) break;
          now += waitMs;
          assert.equal(rate.waitMs(now), 0);
          rate.take();
          sentAt.push(now);
        }
      }
      const most = perSecond + Math.max(1, perSecond * rateBurstShare);
      for (let i = 0; i + Math.ceil(most) < sentAt.length; i++) {
        assert.ok(sentAt[i + Math.ceil(most)] - sentAt[i] >= 999);
      }
    }),
  );
});

test("two a second are half a second apart", () => {
  const rate = new Rate(2, 0);
  const sentAt: number[] = [];
  for (let now = 0; sentAt.length < 4; now += rate.waitMs(now)) {
    assert.equal(rate.waitMs(now), 0);
    rate.take();
    sentAt.push(now);
  }
  assert.deepEqual(sentAt, [0, 500, 1_000, 1_500]);
});
