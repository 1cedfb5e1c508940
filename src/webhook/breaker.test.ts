import assert from "node:assert/strict";
import { test } from "vitest";
import type { Breaker } from "./breaker.ts";
import { closedBreaker, next, probe, readBreaker, writeBreaker } from "./breaker.ts";
import type { Outcome } from "./outcome.ts";

const poolSize = 32;
const accepted: Outcome = { kind: "accepted" };
const refused: Outcome = { kind: "endpoint", reason: "refused", retryAfterMs: 0 };
const forbidden: Outcome = { kind: "auth", reason: "status_403", retryAfterMs: 0 };
const gone: Outcome = { kind: "gone", reason: "status_410", retryAfterMs: 0 };
const failing: Outcome = { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false };
const busy: Outcome = { kind: "retry", reason: "status_429", retryAfterMs: 0, slowDown: true };

function after(outcomes: readonly Outcome[], from: Breaker = closedBreaker(poolSize)): Breaker {
  return outcomes.reduce((breaker, outcome) => next(breaker, outcome, { now: 0, poolSize, isBad: false }), from);
}

/** The waits before the probes while each of them comes to `outcome`. */
function probeDelays(outcome: Outcome, opened: Breaker, count: number): number[] {
  const delays: number[] = [];
  let breaker = opened;
  for (let i = 0; i < count; i++) {
    assert.ok(breaker.state === "open");
    delays.push(breaker.delayMs);
    breaker = after([outcome], probe(breaker));
  }
  return delays;
}

test("opens after five endpoint failures in a row, not before", () => {
  assert.equal(after([refused, refused, refused, refused]).state, "closed");
  assert.equal(after([refused, refused, refused, refused, refused]).state, "open");
});

test("opens at a failure when the last requests were bad, though others went well in between", () => {
  const breaker = closedBreaker(poolSize);
  assert.equal(next(breaker, refused, { now: 0, poolSize, isBad: true }).state, "open");
  assert.equal(next(breaker, accepted, { now: 0, poolSize, isBad: true }).state, "closed");
});

test("any answer in between breaks the row", () => {
  for (const answer of [accepted, failing]) {
    assert.equal(after([refused, refused, refused, refused, answer, refused]).state, "closed");
  }
});

test("probes after 1, 2, 4 … 60 s", () => {
  const opened = after([refused, refused, refused, refused, refused]);
  const seconds = [1, 2, 4, 8, 16, 32, 60, 60];
  assert.deepEqual(
    probeDelays(refused, opened, 8),
    seconds.map((second) => second * 1000),
  );
});

test("refused credentials open at once; probes after 60 s, growing to 10 min", () => {
  const seconds = [60, 120, 240, 480, 600, 600];
  assert.deepEqual(
    probeDelays(forbidden, after([forbidden]), 6),
    seconds.map((second) => second * 1000),
  );
});

test("an endpoint that is gone is asked again every 10 min", () => {
  assert.deepEqual(probeDelays(gone, after([gone]), 3), [600_000, 600_000, 600_000]);
});

test("a probe that fails in another way starts that way's waits", () => {
  const opened = after([forbidden]);
  assert.ok(opened.state === "open");
  assert.deepEqual(after([refused], probe(opened)), { state: "open", fault: "endpoint", probeAt: 1000, delayMs: 1000 });
});

test("after a success attempts double from 1 up to the pool", () => {
  const opened = after([refused, refused, refused, refused, refused]);
  assert.ok(opened.state === "open");
  let breaker = probe(opened);
  const seen: number[] = [];
  for (let i = 0; i < 7; i++) {
    breaker = after([accepted], breaker);
    assert.ok(breaker.state === "closed");
    seen.push(breaker.attemptsMax);
  }
  assert.deepEqual(seen, [1, 2, 4, 8, 16, 32, 32]);
});

test("429 halves the attempts, down to one", () => {
  const seen = [1, 2, 3, 4, 5, 6, 7].map((count) => {
    const breaker = after(Array.from({ length: count }, () => busy));
    return breaker.state === "closed" && breaker.attemptsMax;
  });
  assert.deepEqual(seen, [16, 8, 4, 2, 1, 1, 1]);
});

test("failures of attempts that were under way when it opened change nothing", () => {
  const opened = after([refused, refused, refused, refused, refused]);
  assert.equal(after([refused, refused, forbidden], opened), opened);
});

test("a probe that tells nothing is followed by another at once", () => {
  const opened = after([forbidden]);
  assert.ok(opened.state === "open");
  const breaker = after([{ kind: "unanswered" }], probe(opened));
  assert.deepEqual(breaker, { state: "open", fault: "auth", probeAt: 0, delayMs: 60_000 });
});

test("an address that egress refuses is no answer: the breaker stays open, and waits as long as before", () => {
  const blocked: Outcome = { kind: "rejected", reason: "blocked", detail: "169.254.169.254", retryAfterMs: 0 };
  const opened = after([forbidden]);
  assert.ok(opened.state === "open");
  const breaker = after([blocked], probe(opened));
  assert.deepEqual(breaker, { state: "open", fault: "auth", probeAt: 60_000, delayMs: 60_000 });
  assert.equal(after([blocked], opened), opened);
  assert.equal(after([refused, refused, refused, refused, blocked, refused]).state, "open");
});

test("what the store remembers of a breaker is that it was open, and how long the pauses were", () => {
  const opened = after([forbidden]);
  const read = (text: string) => readBreaker(text, { now: 7, poolSize });
  assert.deepEqual(read(writeBreaker(opened)), { state: "open", fault: "auth", delayMs: 60_000, probeAt: 7 });
  assert.ok(opened.state === "open");
  assert.deepEqual(read(writeBreaker(probe(opened))), read(writeBreaker(opened)));
  for (const text of [writeBreaker(closedBreaker(poolSize)), "", "{", "{}", '{"fault":"none","delayMs":5}']) {
    assert.deepEqual(read(text), closedBreaker(poolSize));
  }
});
