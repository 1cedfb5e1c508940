/**
 * What the webhook engine asks of the store that keeps its deliveries. Backlogs may be far larger than memory, so they are
 * read in slices. Every answer counts what was recorded before it.
 */
import type { Instant } from "../base/clock.ts";
import type { DeliveryChange, OwedDelivery } from "./change.ts";
import type { Committed } from "./store.ts";

/** A delivery and how far it has come. */
export interface StoredDelivery {
  /** Counts up in the order of owing, over all endpoints, with gaps. */
  position: number;
  owed: OwedDelivery;
  attempts: number;
  /** Of the attempts, those that the retry schedule counts. */
  failures: number;
  /** Set once it was put back. */
  dueAt: Instant | undefined;
}

/** A delivery without its body. */
export type OwedFacts = Pick<StoredDelivery, "position" | "dueAt"> &
  Pick<OwedDelivery, "deliveryId" | "event" | "orderKey" | "acceptedAt"> & { bodyBytes: number };

/** The two parts of an endpoint's queue: a flood of messages must not push out what clients did. */
export type QueuePart = "messages" | "clientEvents";

interface PartTally {
  count: number;
  bodyBytes: number;
}

/** At all times accepted = delivered + dead + dropped + expired + queued; what is being sent counts as queued here. */
export interface StoredEndpoint {
  endpoint: string;
  accepted: number;
  delivered: number;
  dead: number;
  dropped: number;
  expired: number;
  queued: Record<QueuePart, PartTally>;
  deadLetters: PartTally;
  /** Attempts of which nobody knows what came, if these are read after a crash. */
  underWay: readonly number[];
  /** As last recorded; empty: never. */
  breaker: string;
  heldUntil: Instant;
  /** As last recorded; empty: never, or none. */
  batches: string;
}

/** A delivery that we stopped trying. */
export interface DeadLetter {
  position: number;
  owed: OwedDelivery;
  reason: string;
  /** What was seen last: a status, the beginning of an answer. */
  detail: string;
  attempts: number;
  diedAt: Instant;
}

/** A dead letter without its body. */
export type DeadLetterFacts = Pick<DeadLetter, "position" | "reason" | "detail" | "attempts" | "diedAt"> &
  Pick<OwedDelivery, "deliveryId" | "event" | "orderKey" | "acceptedAt"> & { bodyBytes: number };

/** The place of a waiting delivery among those of its endpoint: by time, then by position. */
export interface DuePlace {
  dueAt: Instant;
  position: number;
}

/** From behind `after` up to `upTo`. */
export interface PositionRange {
  after: number;
  upTo: number;
}

export interface SliceLimits {
  countMax: number;
  /** Of bodies; one delivery always comes, if there is any. */
  bytesMax: number;
}

/** `hasMore`: the limits have cut it short. */
export interface Slice {
  deliveries: StoredDelivery[];
  hasMore: boolean;
}

export interface DeliveryStore {
  /** As `Store.commit`; what others hand in decides nothing here. */
  record(changes: readonly DeliveryChange[], done: Committed): void;
  /** Every endpoint that ever was owed something. */
  endpoints(): StoredEndpoint[];
  /** What an endpoint is owed behind position `after` (0: from the beginning), oldest first. */
  owedBehind(endpoint: string, after: number, limits: SliceLimits): Slice;
  /** What it is owed under one order key at positions in the range, oldest first. */
  owedInLine(endpoint: string, orderKey: string, range: PositionRange, limits: SliceLimits): Slice;
  /** Those that wait, behind the place `after`, due by `until` and at positions up to `upTo`: the first due first. */
  owedDue(endpoint: string, range: { after: DuePlace; until: Instant; upTo: number; countMax: number }): OwedFacts[];
  /** The oldest of one part or of all; stop asking to stop reading. */
  oldestOwed(endpoint: string, part: QueuePart | undefined, after: number): Iterable<OwedFacts>;
  /** Oldest first, behind position `after`. */
  deadLetters(endpoint: string, after: number, limits: SliceLimits): DeadLetter[];
  /** The same without their bodies; stop asking to stop reading. */
  oldestDeadLetters(endpoint: string, after: number): Iterable<DeadLetterFacts>;
}

/** What becomes of messages comes in the numbers of messages. */
export function queuePartOf(event: string): QueuePart {
  return event.startsWith("on_message_") ? "messages" : "clientEvents";
}
