/**
 * What an attempt came to, and what class that is: the one table that decides who is to blame and what follows.
 *
 * | seen | kind |
 * |---|---|
 * | 200–299 | accepted |
 * | refused, reset, timeout, DNS, TLS, no HTTP; 502, 503, 504 | endpoint: its breaker counts it |
 * | closed before a byte of answer, on a connection that had served before | unanswered: free, sent again at once, once |
 * | 401, 403, 407 | auth: the endpoint waits |
 * | 410 | gone: the endpoint waits, longer |
 * | 404, 408, 409, 421, 425, 429, 500, other 5xx | retry: this delivery waits, by the schedule |
 * | 413, 3xx, other 4xx, 501, 505 | rejected: a dead letter |
 * | an address that `egress` refuses | rejected, as `blocked` |
 * | taken back by ourselves, because we stop | cancelled |
 */
import type { Instant } from "../base/clock.ts";
import { egressRefused } from "./egress.ts";
import { retryAfterMsMax } from "./limits.ts";

export type Outcome =
  | { kind: "accepted" }
  | { kind: "endpoint" | "auth" | "gone"; reason: string; retryAfterMs: number }
  | { kind: "retry"; reason: string; retryAfterMs: number; slowDown: boolean }
  | { kind: "rejected"; reason: string; detail: string; retryAfterMs: number }
  | { kind: "unanswered" }
  | { kind: "cancelled" };

/** What is remembered of an attempt beside its outcome. */
export interface AttemptFacts {
  /** `undefined`: there was no answer. */
  status: number | undefined;
  /** From its start to the end of the answer. */
  durationMs: number;
  /** The beginning of the answer's body, as text. */
  excerpt: string;
}

export interface Answer {
  status: number;
  /** As received; `undefined`: none. */
  retryAfter: string | undefined;
  /** The beginning of its body. */
  excerpt: string;
}

const accepted: Outcome = { kind: "accepted" };
const unanswered: Outcome = { kind: "unanswered" };
export const cancelled: Outcome = { kind: "cancelled" };

export function judgeAnswer({ status, retryAfter, excerpt }: Answer, now: Instant): Outcome {
  if (status >= 200 && status < 300) return accepted;
  const reason = `status_${status}`;
  const retryAfterMs = retryAfter === undefined ? 0 : (parseRetryAfter(retryAfter, now) ?? 0);
  const rejected = (because: string): Outcome => ({
    kind: "rejected",
    reason: because,
    detail: excerpt === "" ? reason : `${reason}: ${excerpt}`,
    retryAfterMs,
  });
  if (status >= 300 && status < 400) return rejected("redirect");
  switch (status) {
    case 502:
    case 503:
    case 504:
      return { kind: "endpoint", reason, retryAfterMs };
    case 401:
    case 403:
    case 407:
      return { kind: "auth", reason, retryAfterMs };
    case 410:
      return { kind: "gone", reason, retryAfterMs };
    case 413:
      return rejected("too_large");
    case 404:
    case 408:
    case 409:
    case 421:
    case 425:
    case 429:
      return { kind: "retry", reason, retryAfterMs, slowDown: status === 429 };
    case 501:
    case 505:
      return rejected("rejected");
  }
  if (status >= 500 && status < 600) return { kind: "retry", reason, retryAfterMs, slowDown: false };
  if (status >= 400 && status < 500) return rejected("rejected");
  return { kind: "endpoint", reason: "bad_answer", retryAfterMs }; // No status that HTTP has.
}

/** No request was made, by a rule of our own: it says nothing of the endpoint. */
export function isByUs(outcome: Outcome): boolean {
  return outcome.kind === "rejected" && outcome.reason === "blocked";
}

/** How an attempt failed that got no answer. */
export interface Failure {
  /** What a dead letter remembers of it. */
  detail?: string;
  /** The error's `code` or else its name, or the word for why we gave up ourselves. */
  code: string;
  /** Not a byte of an answer came, on a connection that had served before, for a delivery not sent again yet. */
  free: boolean;
}

export function judgeFailure({ code, free, detail = code }: Failure): Outcome {
  if (code === egressRefused) return { kind: "rejected", reason: "blocked", detail, retryAfterMs: 0 };
  if (code === "PROXY_STATUS_407") return { kind: "auth", reason: "proxy_status_407", retryAfterMs: 0 };
  const reason = failureReason(code);
  if (reason === "reset" && free) return unanswered;
  return { kind: "endpoint", reason, retryAfterMs: 0 };
}

const failureReasons: ReadonlyMap<string, string> = new Map([
  ["timeout", "timeout"],
  ["interim_answers", "bad_answer"],
  ["ECONNREFUSED", "refused"],
  ["ECONNRESET", "reset"],
  ["EPIPE", "reset"],
  ["UND_ERR_SOCKET", "reset"],
  ["ETIMEDOUT", "connect_timeout"],
  ["UND_ERR_CONNECT_TIMEOUT", "connect_timeout"],
  ["ENOTFOUND", "dns"],
  ["EAI_AGAIN", "dns"],
  ["EHOSTUNREACH", "unreachable"],
  ["ENETUNREACH", "unreachable"],
  ["UND_ERR_HEADERS_OVERFLOW", "bad_answer"],
  ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "bad_answer"],
  ["TLS_FILES_UNUSABLE", "tls"],
  ["ERR_ASSERTION", "bad_answer"], // undici's parser, on answers out of step with the requests
]);

function failureReason(code: string): string {
  const reason = failureReasons.get(code);
  if (reason !== undefined) return reason;
  if (code.startsWith("PROXY_")) return "proxy";
  if (code.startsWith("HPE_") || code === "HTTPParserError") return "bad_answer";
  if (/TLS|SSL|CERT|SIGNATURE|SIGNED/.test(code)) return "tls";
  return "connection_failed";
}

/** Milliseconds to wait; `undefined` when the value is malformed. [RFC 9110 10.2.3] */
export function parseRetryAfter(value: string, now: Instant): number | undefined {
  const text = value.trim();
  const isSeconds = /^\d+$/.test(text);
  const waitMs = isSeconds ? Number(text) * 1000 : httpDate.test(text) ? Date.parse(text) - now : Number.NaN;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(0, waitMs), retryAfterMsMax);
}

/** The preferred form, the only one that may be sent. [RFC 9110 5.6.7] */
const httpDate = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;
