/** What the webhook engine is told, typed and with every default filled in. `config/` reads it from the file. */

import type { Durability } from "../store/change.ts";

export type BodyEncoding = "plain" | "base64" | "base62";

/** The events that fire today; `config/` knows the other names of the family and warns about them. */
export const eventNames = ["on_client_connack", "on_client_disconnected", "on_message_publish"] as const;
export type EventName = (typeof eventNames)[number];

export interface RuleOptions {
  event: EventName;
  /** Only for message events; empty: every topic that does not begin with `$`. */
  topicFilters: readonly string[];
}

export interface RetryOptions {
  /** The wait before attempt 2, 3, …; after the last the delivery is dead. */
  scheduleMs: readonly number[];
  /** Each wait is spread by ± this fraction. */
  jitter: number;
}

/** The first limit that is reached sends. */
export interface BatchOptions {
  eventsMax: number;
  /** Of the single bodies. */
  bytesMax: number;
  /** After the event was accepted. */
  waitMs: number;
  format: "json" | "ndjson" | "cloudevents";
}

/** Where the configuration asks for batches and leaves one of these out. */
export const batchDefaults: BatchOptions = { eventsMax: 500, bytesMax: 1024 * 1024, waitMs: 50, format: "json" };

export interface EndpointOptions {
  name: string;
  enable: boolean;
  url: string;
  /** In the order of the file, names as typed. */
  headers: readonly (readonly [name: string, value: string])[];
  bodyEncoding: BodyEncoding;
  /** Connections at the same time. */
  poolSize: number;
  /** One attempt, from its start to the answer's end. */
  attemptTimeoutMs: number;
  connectTimeoutMs: number;
  retry: RetryOptions;
  maxAgeMs: number;
  /** What of its deliveries outlives the process, and whether their publishers wait for that. */
  durability: Durability;
  /** Bodies that wait, each with an overhead; beyond it `overflow` decides. */
  queueBytesMax: number;
  overflow: "drop_oldest" | "drop_newest";
  /** Dead letters beyond either make room, the oldest first; they stay counted. */
  deadLetters: { bytesMax: number; maxAgeMs: number };
  timestampUnit: "ms" | "s";
  /** `undefined`: one event a request. */
  batch?: BatchOptions | undefined;
  /** The most requests a second; `undefined`: as many as go. */
  rate?: number | undefined;
  rules: readonly RuleOptions[];
}

export interface WebhookOptions {
  endpoints: readonly EndpointOptions[];
}
