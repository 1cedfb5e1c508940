/**
 * The life of one delivery. What it waits for is told by its neighbours: its turn in its line (`window.ts`), its endpoint
 * (`breaker.ts`).
 *
 *   due ⇄ attempting → delivered
 *    │         └→ dead
 *    └→ expired (or dropped, when the queue is full)
 */
import type { Instant } from "../base/clock.ts";
import type { OwedDelivery } from "../store/change.ts";
import type { StoredDelivery } from "../store/deliveries.ts";
import type { Outcome } from "./outcome.ts";
import type { RetrySchedule } from "./retry.ts";

interface Life {
  readonly owed: OwedDelivery;
  /** HTTP requests made, the present one included. */
  readonly attempts: number;
  /** Those that the retry schedule counts: what an endpoint's outage costs is age, never attempts. */
  readonly failures: number;
  /** Has had its free second request. */
  readonly resent: boolean;
}

export type Due = Life & { readonly state: "due"; readonly dueAt: Instant };
export type Attempting = Life & {
  readonly state: "attempting";
  readonly startedAt: Instant;
  /** Of a batch: its own. */
  readonly contentType?: string;
};
export type Settled = Life &
  (
    | { readonly state: "delivered" }
    | { readonly state: "dead"; readonly because: string; readonly detail: string }
    | { readonly state: "expired" }
  );

export interface Terms {
  schedule: RetrySchedule;
  maxAgeMs: number;
}

export function due({ owed, attempts, failures, dueAt = owed.acceptedAt }: StoredDelivery): Due {
  return { owed, attempts, failures, resent: false, state: "due", dueAt };
}

export function start({ owed, attempts, failures, resent }: Due, now: Instant): Attempting {
  return { owed, attempts: attempts + 1, failures, resent, state: "attempting", startedAt: now };
}

export function expire({ owed, attempts, failures, resent }: Due): Settled {
  return { owed, attempts, failures, resent, state: "expired" };
}

/** When nobody wants it any more. */
export function deadline(owed: OwedDelivery, { maxAgeMs }: Pick<Terms, "maxAgeMs">): Instant {
  return Math.min(owed.acceptedAt + maxAgeMs, owed.expiresAt ?? Number.POSITIVE_INFINITY);
}

/** `endpointDown`: the breaker was already open, so this failure says nothing new and costs nothing. */
export function settle(
  { owed, attempts, failures, resent }: Attempting,
  outcome: Outcome,
  { now, terms, endpointDown }: { now: Instant; terms: Terms; endpointDown: boolean },
): Due | Settled {
  const life = { owed, attempts, failures, resent };
  switch (outcome.kind) {
    case "accepted":
      return { ...life, state: "delivered" };
    case "rejected":
      return { ...life, state: "dead", because: outcome.reason, detail: outcome.detail };
    case "cancelled":
      return { ...life, state: "due", dueAt: now };
    case "unanswered":
      return { ...life, resent: true, state: "due", dueAt: now };
    case "endpoint":
    case "auth":
    case "gone":
      if (endpointDown) return { ...life, state: "due", dueAt: now };
      return later(life, outcome.reason, now, terms);
    case "retry":
      return later(life, outcome.reason, now, terms);
    default:
      return outcome satisfies never;
  }
}

function later(life: Life, reason: string, now: Instant, terms: Terms): Due | Settled {
  const failures = life.failures + 1;
  const delayMs = terms.schedule.delayMs(failures);
  if (delayMs === undefined) return { ...life, state: "dead", because: "retries_exhausted", detail: reason };
  return { ...life, failures, state: "due", dueAt: Math.min(now + delayMs, deadline(life.owed, terms)) };
}
