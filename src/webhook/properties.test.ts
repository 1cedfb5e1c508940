/** What holds of a delivery and of a breaker whatever comes, also while the wall clock jumps. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { type Breaker, closedBreaker, next, probe, readBreaker, readPaused, writeBreaker } from "./breaker.ts";
import { type Attempting, type Due, deadline, due, expire, settle, start } from "./delivery.ts";
import { owedDelivery } from "./fake-endpoint.ts";
import { breakerSpanMs, breakerSpanRequestsMin } from "./limits.ts";
import type { Outcome } from "./outcome.ts";
import { RecentOutcomes } from "./recent-outcomes.ts";
import { RetrySchedule } from "./retry.ts";

const retryAfterMs = fc.constantFrom(0, 5_000);
const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.constant<Outcome>({ kind: "accepted" }),
  fc.constant<Outcome>({ kind: "unanswered" }),
  fc.constant<Outcome>({ kind: "cancelled" }),
  fc
    .record({ kind: fc.constantFrom("endpoint" as const, "auth" as const, "gone" as const), retryAfterMs })
    .map((fault): Outcome => ({ reason: "r", ...fault })),
  fc
    .record({ slowDown: fc.boolean(), retryAfterMs })
    .map((retry): Outcome => ({ kind: "retry", reason: "r", ...retry })),
  fc.constant<Outcome>({ kind: "rejected", reason: "rejected", detail: "", retryAfterMs: 0 }),
);
/** Forth and back, by seconds or by days. */
const jump = fc.oneof(fc.integer({ min: 0, max: 60_000 }), fc.integer({ min: -1e9, max: 1e9 }));

describe("a delivery", () => {
  const schedule = new RetrySchedule({ scheduleMs: [1_000, 5_000, 15_000], jitter: 0.2 }, () => 0.5);
  const terms = { schedule, maxAgeMs: 86_400_000 };
  const life = fc.array(fc.record({ outcome, jump, endpointDown: fc.boolean() }), { maxLength: 40 });

  test("is tried no more often than its schedule and outages ask for, and never waits behind its end", () => {
    fc.assert(
      fc.property(life, fc.option(fc.integer({ min: 1, max: 1e9 }), { nil: undefined }), (steps, lifeMs) => {
        let now = 1_700_000_000_000;
        const expiresAt = lifeMs && now + lifeMs;
        const owed = owedDelivery({ deliveryId: "d", acceptedAt: now, expiresAt });
        const end = deadline(owed, terms);
        assert.ok(end <= owed.acceptedAt + terms.maxAgeMs && end <= (expiresAt ?? end));
        let delivery: Due | Attempting = due({ position: 1, owed, attempts: 0, failures: 0, dueAt: undefined });
        for (const [i, { outcome, jump, endpointDown }] of steps.entries()) {
          now += jump;
          const attempting: Attempting = start(delivery, now);
          assert.equal(attempting.attempts, i + 1);
          const settled = settle(attempting, outcome, { now, terms, endpointDown });
          assert.equal(settled.attempts, i + 1);
          assert.ok(settled.failures - attempting.failures === 0 || settled.failures - attempting.failures === 1);
          if (settled.state !== "due") {
            assert.ok(settled.state === "delivered" || settled.state === "dead");
            assert.equal(settled.state === "delivered", outcome.kind === "accepted");
            return;
          }
          assert.ok(settled.failures <= 3);
          assert.ok(settled.dueAt <= Math.max(now, end));
          assert.ok(settled.dueAt <= now + 15_000);
          delivery = settled;
        }
        assert.equal(expire(delivery).attempts, steps.length);
      }),
    );
  });
});

describe("a breaker", () => {
  const poolSize = fc.integer({ min: 1, max: 64 });
  const run = fc.array(fc.record({ outcome, jump, isBad: fc.boolean() }), { maxLength: 60 });

  test("lets through between one and the pool, or one probe at a time, at known pauses, and is read as it was written", () => {
    fc.assert(
      fc.property(poolSize, run, (poolSize, steps) => {
        let now = 1_700_000_000_000;
        let breaker: Breaker = closedBreaker(poolSize);
        for (const { outcome, jump, isBad } of steps) {
          now += jump;
          if (breaker.state === "open") breaker = probe(breaker);
          const before = breaker;
          breaker = next(breaker, outcome, { now, poolSize, isBad });
          assert.notEqual(breaker.state, "probing");
          if (breaker.state === "closed") {
            assert.ok(breaker.attemptsMax >= 1 && breaker.attemptsMax <= poolSize);
            if (before.state !== "closed") assert.equal(breaker.attemptsMax, 1);
          } else if (breaker.state === "open") {
            assert.ok(breaker.delayMs >= 1_000 && breaker.delayMs <= 600_000);
            assert.ok(breaker.probeAt >= now && breaker.probeAt <= now + breaker.delayMs);
          }
          for (const paused of [true, false]) {
            const text = writeBreaker(breaker, paused);
            assert.equal(readPaused(text), paused);
            const read = readBreaker(text, { now, poolSize });
            assert.equal(read.state, breaker.state);
            if (read.state === "open" && breaker.state === "open") assert.equal(read.delayMs, breaker.delayMs);
          }
        }
      }),
    );
  });

  test("that is closed gives everything again after enough successes, however it was slowed down", () => {
    fc.assert(
      fc.property(poolSize, run, (poolSize, steps) => {
        let breaker: Breaker = closedBreaker(poolSize);
        const accepted: Outcome = { kind: "accepted" };
        const meet = (outcome: Outcome) => {
          if (breaker.state === "open") breaker = probe(breaker);
          breaker = next(breaker, outcome, { now: 0, poolSize, isBad: false });
        };
        for (const { outcome } of steps) meet(outcome);
        for (let i = 0; i < 8; i++) meet(accepted);
        assert.deepEqual(breaker, closedBreaker(poolSize));
      }),
    );
  });
});

test("half of at least twenty requests in half a minute are bad; what is older does not count", () => {
  const failed: Outcome = { kind: "endpoint", reason: "refused", retryAfterMs: 0 };
  const recent = new RecentOutcomes();
  for (let i = 0; i < breakerSpanRequestsMin - 1; i++) recent.add(i % 2 === 0 ? failed : { kind: "accepted" }, i);
  assert.equal(recent.areBad, false);
  recent.add({ kind: "cancelled" }, 20);
  assert.equal(recent.areBad, false);
  recent.add({ kind: "accepted" }, 20);
  assert.equal(recent.areBad, true);
  recent.add({ kind: "accepted" }, 21);
  assert.equal(recent.areBad, false);
  for (let i = 0; i < 40; i++) recent.add(failed, breakerSpanMs / 2);
  assert.equal(recent.areBad, true);
  recent.add({ kind: "accepted" }, 2 * breakerSpanMs);
  assert.equal(recent.areBad, false);
});
