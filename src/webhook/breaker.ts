/**
 * An endpoint's breaker: how many attempts it may have at the same time, from what came of the last ones.
 *
 *   closed ──endpoint failures (*), or one of auth, gone──────────→ open ──probeAt──→ probing
 *     ↑                                                             ↑                  │
 *     │                                                             └──same again──────┤
 *     └── any answer, at one attempt at a time, doubled by each success ───────────────┘
 *
 * (*) 5 in a row, or half of at least 20 requests within 30 s (`recent-outcomes.ts`).
 */
import type { Instant } from "../base/clock.ts";
import { isByUs, type Outcome } from "./outcome.ts";
import { breakerFailures } from "./limits.ts";

/** The kinds of outcome that are the endpoint's fault, whatever is delivered. */
type Fault = "endpoint" | "auth" | "gone";

export type Breaker =
  | { readonly state: "closed"; readonly failuresInRow: number; readonly attemptsMax: number }
  | { readonly state: "open"; readonly fault: Fault; readonly probeAt: Instant; readonly delayMs: number }
  | { readonly state: "probing"; readonly fault: Fault; readonly delayMs: number };

/** The wait before a probe: the first, and the longest it grows to by doubling. */
const probeDelayMs: Readonly<Record<Fault, { first: number; longest: number }>> = {
  endpoint: { first: 1_000, longest: 60_000 },
  auth: { first: 60_000, longest: 600_000 },
  gone: { first: 600_000, longest: 600_000 },
};

export function closedBreaker(poolSize: number): Breaker {
  return { state: "closed", failuresInRow: 0, attemptsMax: poolSize };
}

/** As the store keeps it; empty: there is nothing to remember. `paused`: an operator holds the endpoint. */
export function writeBreaker(breaker: Breaker, paused = false): string {
  const kept = breaker.state === "closed" ? undefined : breaker;
  if (paused) return JSON.stringify({ ...kept, paused });
  return kept === undefined ? "" : JSON.stringify(kept);
}

export function readPaused(text: string): boolean {
  if (text === "") return false;
  try {
    const kept: unknown = JSON.parse(text);
    return typeof kept === "object" && kept !== null && "paused" in kept && kept.paused === true;
  } catch {
    return false; // A damaged store: as an endpoint of which nothing is known.
  }
}

/** Whoever starts the broker again has often mended something: a closed door stays closed, but is tried at once. */
export function readBreaker(text: string, { now, poolSize }: { now: Instant; poolSize: number }): Breaker {
  if (text === "") return closedBreaker(poolSize);
  try {
    const { fault, delayMs } = JSON.parse(text) as Exclude<Breaker, { state: "closed" }>;
    if (fault in probeDelayMs && delayMs > 0) return { state: "open", fault, delayMs, probeAt: now };
  } catch {
    // A damaged store: the endpoint itself says soon enough how it is.
  }
  return closedBreaker(poolSize);
}

export function probe(breaker: Breaker & { state: "open" }): Breaker {
  return { state: "probing", fault: breaker.fault, delayMs: breaker.delayMs };
}

export function next(
  breaker: Breaker,
  outcome: Outcome,
  { now, poolSize, isBad }: { now: Instant; poolSize: number; isBad: boolean },
): Breaker {
  switch (outcome.kind) {
    case "accepted":
      if (breaker.state !== "closed") return { state: "closed", failuresInRow: 0, attemptsMax: 1 };
      if (breaker.failuresInRow === 0 && breaker.attemptsMax === poolSize) return breaker;
      return { state: "closed", failuresInRow: 0, attemptsMax: Math.min(poolSize, breaker.attemptsMax * 2) };
    case "retry":
    case "rejected": {
      if (isByUs(outcome)) {
        // Each probe that is refused costs a delivery: they go no faster than those that ask the endpoint.
        if (breaker.state === "probing") return { ...breaker, state: "open", probeAt: now + breaker.delayMs };
        return breaker;
      }
      // It answers, so it lives.
      if (breaker.state !== "closed") return { state: "closed", failuresInRow: 0, attemptsMax: 1 };
      const slowDown = outcome.kind === "retry" && outcome.slowDown;
      const attemptsMax = slowDown ? Math.ceil(breaker.attemptsMax / 2) : breaker.attemptsMax;
      return { state: "closed", failuresInRow: 0, attemptsMax };
    }
    case "endpoint":
    case "auth":
    case "gone":
      return afterFault(breaker, outcome.kind, { now, isBad });
    case "unanswered":
    case "cancelled":
      // A probe that told nothing: another one may go at once.
      if (breaker.state === "probing") return { ...breaker, state: "open", probeAt: now };
      return breaker;
    default:
      return outcome satisfies never;
  }
}

function afterFault(breaker: Breaker, fault: Fault, { now, isBad }: { now: Instant; isBad: boolean }): Breaker {
  // One that was under way when the breaker opened.
  if (breaker.state === "open") return breaker;
  const { first, longest } = probeDelayMs[fault];
  if (breaker.state === "closed") {
    const failuresInRow = breaker.failuresInRow + 1;
    if (fault === "endpoint" && failuresInRow < breakerFailures && !isBad) return { ...breaker, failuresInRow };
    return { state: "open", fault, probeAt: now + first, delayMs: first };
  }
  const delayMs = fault === breaker.fault ? Math.min(breaker.delayMs * 2, longest) : first;
  return { state: "open", fault, probeAt: now + delayMs, delayMs };
}
