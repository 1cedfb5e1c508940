import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { judgeAnswer, judgeFailure } from "./outcome.ts";

const now = Date.UTC(2026, 10, 23, 12, 0, 0);
const judge = (status: number, retryAfter?: string, excerpt = "") => judgeAnswer({ status, retryAfter, excerpt }, now);

for (const [statuses, kind] of [
  [[200, 201, 202, 204, 299], "accepted"],
  [[502, 503, 504], "endpoint"],
  [[401, 403, 407], "auth"],
  [[410], "gone"],
  [[404, 408, 409, 421, 425, 429, 500, 507, 599], "retry"],
  [[300, 301, 302, 304, 307, 308], "rejected"],
  [[400, 405, 413, 415, 422, 451, 501, 505], "rejected"],
  [[600, 999], "endpoint"],
] as const) {
  for (const status of statuses) test(`${status} is ${kind}`, () => assert.equal(judge(status).kind, kind));
}

for (const [status, reason] of [
  [307, "redirect"],
  [413, "too_large"],
  [422, "rejected"],
  [501, "rejected"],
  [503, "status_503"],
] as const) {
  test(`${status} gives the reason ${reason}`, () => {
    const outcome = judge(status);
    assert.ok("reason" in outcome && outcome.reason === reason);
  });
}

test("a rejection remembers the status and what the receiver said", () => {
  const outcome = judge(422, undefined, '{"error":"no such plant"}');
  assert.ok(outcome.kind === "rejected");
  assert.equal(outcome.detail, 'status_422: {"error":"no such plant"}');
});

test("only 429 asks to slow down", () => {
  for (const status of [429, 500]) {
    const outcome = judge(status);
    assert.ok(outcome.kind === "retry");
    assert.equal(outcome.slowDown, status === 429);
  }
});

describe("Retry-After", () => {
  for (const [value, waitMs] of [
    ["2", 2_000],
    [" 30 ", 30_000],
    ["0", 0],
    ["86400", 3_600_000],
    ["999999999", 3_600_000],
    ["99999999999999999999", 3_600_000],
    ["-5", 0],
    ["1.5", 0],
    ["soon", 0],
    ["", 0],
    ["Mon, 23 Nov 2026 12:01:30 GMT", 90_000],
    ["Mon, 23 Nov 2026 11:00:00 GMT", 0],
    ["Tue, 24 Nov 2026 12:00:00 GMT", 3_600_000],
    ["2026-11-23T12:01:30Z", 0],
    ["Mon, 99 Nov 2026 12:01:30 GMT", 0],
  ] as const) {
    test(`"${value}" holds the endpoint ${waitMs} ms`, () => {
      const outcome = judge(503, value);
      assert.ok("retryAfterMs" in outcome);
      assert.equal(outcome.retryAfterMs, waitMs);
    });
  }
});

for (const [code, reason] of [
  ["ECONNREFUSED", "refused"],
  ["ECONNRESET", "reset"],
  ["EPIPE", "reset"],
  ["UND_ERR_SOCKET", "reset"],
  ["UND_ERR_CONNECT_TIMEOUT", "connect_timeout"],
  ["timeout", "timeout"],
  ["ENOTFOUND", "dns"],
  ["HPE_INVALID_CONSTANT", "bad_answer"],
  ["HTTPParserError", "bad_answer"],
  ["UND_ERR_HEADERS_OVERFLOW", "bad_answer"],
  ["interim_answers", "bad_answer"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "tls"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "tls"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "tls"],
  ["ESOMETHINGNEW", "connection_failed"],
] as const) {
  test(`${code} is the endpoint's fault: ${reason}`, () => {
    assert.deepEqual(judgeFailure({ code, free: false }), { kind: "endpoint", reason, retryAfterMs: 0 });
  });
}

test("a used connection that was closed without a byte is nobody's fault; a timeout on one is", () => {
  assert.deepEqual(judgeFailure({ code: "UND_ERR_SOCKET", free: true }), { kind: "unanswered" });
  assert.equal(judgeFailure({ code: "timeout", free: true }).kind, "endpoint");
});
