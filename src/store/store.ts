import type { BrokerChange, StoredMessage, StoredSubscription } from "./change.ts";
import type { Instant } from "../base/clock.ts";
import type { DeliveryStore } from "./deliveries.ts";

/** What is not on disk must not be acknowledged: `code` says which step failed. */
export class StoreUnavailable extends Error {
  readonly code: "commit" | "load" | "closed";

  constructor(code: "commit" | "load" | "closed", options?: { cause?: unknown }) {
    super(`the store is unavailable (${code})`, options);
    this.name = "StoreUnavailable";
    this.code = code;
  }
}

/** `firstPosition`: of the batch's first delivery owed, or replayed; the others follow it one by one. */
export type Committed = (error?: StoreUnavailable, firstPosition?: number) => void;

/** The broker's memory. Engines: `memory.ts`, and the durable one on disk. */
export interface Store {
  /**
   * Makes a batch true, whole or not at all, after every batch handed in before it. `done` is called exactly once, in
   * the order of the calls, possibly before `commit` returns.
   *
   * What was handed in before its caller heard of a refusal may build on what was refused, so it is refused as well.
   */
  commit(changes: readonly BrokerChange[], done: Committed): void;
  /** Why nothing new can be kept at present, in words for the operator; `undefined` while all is well. */
  readonly trouble: string | undefined;
  /** Called at each change of `trouble`, also when nothing is handed in. */
  onTrouble: ((trouble: string | undefined) => void) | undefined;
  /**
   * Hands over the present state of all but deliveries, for a start: part by part, as Changes that lead to it from nothing.
   * What another names comes before it, messages before all.
   */
  load(take: (part: readonly BrokerChange[]) => void): Promise<void>;
  /** Waits for what was handed in, then lets go of files and threads. */
  close(): Promise<void>;
}

/** What an engine is: one memory for the broker and for the webhook engine, as each of them sees it. */
export interface Engine extends Store, DeliveryStore {}

/** What all Changes so far add up to, but for deliveries: of those there may be more than memory holds. */
export interface StoredState {
  messages: ReadonlyMap<number, StoredMessage>;
  sessions: readonly StoredSession[];
  retained: ReadonlyMap<string, number>;
  wills: readonly { clientId: string; messageId: number; delaySeconds: number; dueAt: Instant | undefined }[];
}

export interface StoredSession {
  clientId: string;
  userName: string | undefined;
  expirySeconds: number;
  /** `undefined` while connected (or cut off by a crash). */
  disconnectedAt: Instant | undefined;
  subscriptions: readonly StoredSubscription[];
  /** In order of position. */
  queue: readonly StoredQueueEntry[];
  /** Packet identifiers of QoS 2 messages received and not yet released. */
  received: readonly number[];
}

export interface StoredQueueEntry {
  position: number;
  /** No longer in `messages` once the entry is released. */
  messageId: number;
  qos: 1 | 2;
  retain: boolean;
  subscriptionIdentifiers: readonly number[];
  sharedFilter: string | undefined;
  state: "queued" | "sent" | "released";
  /** Set from `sent` on. */
  packetIdentifier: number | undefined;
}
