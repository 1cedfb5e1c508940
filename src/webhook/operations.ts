/**
 * What an operator asks of the webhook engine and what it answers, as plain data: it crosses threads and sockets as it is.
 * Whatever may be long comes in pages; a bulk action does so much at one go and says how to go on, so nothing holds up
 * deliveries and progress can be shown.
 */
import type { Instant } from "../base/clock.ts";
import type { EndpointFigures } from "./endpoint.ts";

export type Operation =
  | { what: "endpoints" }
  /** Nothing is sent until `resume`, over restarts as well; what comes is queued. */
  | { what: "pause"; endpoint: string }
  /** Ends a pause, and has an endpoint that is not answering probed at once. */
  | { what: "resume"; endpoint: string }
  /** Sends one event made up for the purpose, outside the queue and the order; nothing of it is kept. */
  | { what: "test"; endpoint: string; event: string }
  | { what: "queue"; endpoint: string; after: number; countMax: number }
  /** The last attempts, newest first; of one delivery where it is named. */
  | { what: "attempts"; endpoint: string; deliveryId: string | undefined; countMax: number }
  | { what: "dead-letters"; endpoint: string; filter: DeadLetterFilter; after: number; countMax: number }
  /** With its body. */
  | { what: "dead-letter"; endpoint: string; deliveryId: string }
  /** Makes a fresh delivery of each, under the same `webhook-id`. */
  | { what: "replay"; endpoint: string; filter: DeadLetterFilter; after: number; countMax: number }
  | { what: "delete-dead-letters"; endpoint: string; filter: DeadLetterFilter; after: number; countMax: number };

/** All of it must fit. */
export interface DeadLetterFilter {
  deliveryIds?: readonly string[];
  reason?: string;
  event?: string;
  /** The order key: a client id, unless the endpoint orders otherwise. */
  orderKey?: string;
}

export interface OperationResults {
  endpoints: EndpointReport[];
  pause: EndpointReport;
  resume: EndpointReport;
  test: AttemptReport;
  queue: Page<QueuedReport>;
  attempts: AttemptReport[];
  "dead-letters": Page<DeadLetterReport>;
  "dead-letter": DeadLetterReport & { body: Uint8Array };
  replay: BulkReport;
  "delete-dead-letters": BulkReport;
}

/** Answers an Operation that cannot be done. `message` is for the operator. */
export interface OperationRefusal {
  refused: "no_such_endpoint" | "no_such_dead_letter" | "no_such_event" | "store_unavailable" | "not_sending";
  message: string;
}

/** What comes back for operations of this kind. */
export type OperationAnswer<What extends Operation["what"]> = OperationResults[What] | OperationRefusal;

export function isRefusal(answer: unknown): answer is OperationRefusal {
  return typeof answer === "object" && answer !== null && "refused" in answer;
}

export interface Page<Item> {
  items: Item[];
  /** `after` of the next page; `undefined`: this was the last. */
  next: number | undefined;
}

export interface BulkReport {
  /** How many this go did something to. */
  done: number;
  /** How many it looked at. */
  seen: number;
  /** `after` of the next go; `undefined`: all is done. */
  next: number | undefined;
}

export interface EndpointReport extends EndpointFigures {
  url: string;
  /**
   * delivering; held: by Retry-After; unreachable: it does not take deliveries and is probed; auth_failed: it refuses our
   * credentials; gone: it said 410; paused: by an operator; disabled: `enable = false`; parked: no longer configured.
   */
  condition: "delivering" | "held" | "unreachable" | "auth_failed" | "gone" | "paused" | "disabled" | "parked";
  /** Next probe or end of the hold, while there is one. */
  nextAttemptAt: Instant | undefined;
  /** Of the oldest that waits; `undefined`: nothing does. */
  oldestAgeMs: number | undefined;
  /** Of the last attempts that are remembered: 0 to 1; `undefined`: there were none. */
  successRate: number | undefined;
  requestMsP50: number | undefined;
  requestMsP95: number | undefined;
}

export interface QueuedReport {
  position: number;
  deliveryId: string;
  event: string;
  orderKey: string;
  bodyBytes: number;
  acceptedAt: Instant;
  /** Set once an attempt was in vain. */
  dueAt: Instant | undefined;
  inflight: boolean;
}

/** One request as it went. */
export interface AttemptReport {
  /** `webhook-id`: of a delivery, or of a batch. */
  deliveryId: string;
  event: string;
  orderKey: string;
  /** 1, 2, 3 … of this delivery. */
  attempt: number;
  at: Instant;
  /** As in the table of outcomes: accepted, endpoint, retry, auth, gone, rejected, unanswered, cancelled. */
  outcome: string;
  reason: string;
  /** HTTP status; `undefined`: there was no answer. */
  status: number | undefined;
  durationMs: number;
  /** The first KiB of the answer, as text. */
  excerpt: string;
}

export interface DeadLetterReport {
  position: number;
  deliveryId: string;
  event: string;
  orderKey: string;
  acceptedAt: Instant;
  diedAt: Instant;
  attempts: number;
  reason: string;
  detail: string;
  bodyBytes: number;
}
