/** What the webhook engine is told, typed and with every default filled in. `config/` reads it from the file. */

import type { QoS } from "../mqtt/packet.ts";
import type { Durability } from "../store/change.ts";
import type { TlsOptions } from "./certificates.ts";
import type { Compression } from "./compression.ts";
import type { EgressOptions } from "./egress.ts";

export type BodyEncoding = "plain" | "base64" | "base62";

/** Every event there is: in the order of a client's life, then of a message's. */
export const eventNames = [
  "on_client_connect",
  "on_client_connack",
  "on_client_connected",
  "on_client_disconnected",
  "on_client_subscribe",
  "on_client_unsubscribe",
  "on_session_subscribed",
  "on_session_unsubscribed",
  "on_session_terminated",
  "on_message_publish",
  "on_message_delivered",
  "on_message_acked",
  "on_message_dropped",
] as const;
export type EventName = (typeof eventNames)[number];

export interface RuleOptions {
  event: EventName;
  /** Only for message events; empty: every topic that does not begin with `$`. */
  topicFilters: readonly string[];
  /** Absent: everything. */
  filter?: RuleFilter;
}

/** All that is given must hold. */
export interface RuleFilter {
  /** Globs (`*`, `?`), one of which must match: of the client whose event it is. */
  clientIds?: readonly string[];
  /** The same; a client without a user name matches none. */
  userNames?: readonly string[];
  /** Only for message events. */
  qos?: readonly QoS[];
  retain?: boolean;
  /** The part of the events that is taken, over 0 and up to 1. */
  sample?: number;
}

/** The shape of a request. */
type Format = "edge" | "cloudevents" | "cloudevents-binary" | "raw" | "template";

/** Texts with placeholders, as `template.ts` compiles them. */
export interface TemplateOptions {
  urlPath?: string;
  query?: string;
  headers: readonly (readonly [name: string, text: string])[];
  body?: string;
}

/** Deliveries with one key are sent one after another: the key is of the event's client, its topic, one for all, or none. */
export type OrderBy = "client" | "topic" | "endpoint" | "none";

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
  request: RequestOptions;
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
  orderBy: OrderBy;
  format: Format;
  /** The CloudEvents source: a URI. */
  source: string;
  /** Only for `format = template`; what is absent is as without a template. */
  template: TemplateOptions | undefined;
  /** `undefined`: one event a request. */
  batch?: BatchOptions | undefined;
  /** The most requests a second; `undefined`: as many as go. */
  rate?: number | undefined;
  rules: readonly RuleOptions[];
}

/** What is made of each request beside its URL and headers, and of the connection it goes over. */
export interface RequestOptions {
  /** Sign each request; newest first. Empty: none is signed. */
  secrets: readonly string[];
  egress: EgressOptions;
  /** For https. */
  tls: TlsOptions;
  auth: AuthOptions;
  /** `http://user:password@host:port`; `undefined`: straight to the endpoint. */
  proxy: string | undefined;
  compression: Compression;
}

/** How we say who we are. */
export type AuthOptions =
  | { kind: "none" }
  | { kind: "basic"; username: string; password: string }
  | { kind: "bearer"; token: string }
  | ({ kind: "oauth2" } & OAuth2Options);

/** Client credentials. */
export interface OAuth2Options {
  tokenUrl: string;
  clientId: string;
  clientSecret: string;
  scope: string | undefined;
  audience: string | undefined;
  /** Where the token endpoint wants id and secret: as Basic authorization, or in the form. */
  sendsCredentials: "header" | "body";
}

/** Requests as they are where nothing is configured. */
export const plainRequest: RequestOptions = {
  secrets: [],
  egress: { mode: "guarded" },
  tls: {
    authorityFile: undefined,
    certificateFile: undefined,
    keyFile: undefined,
    keyPassword: undefined,
    verifiesPeer: true,
    serverName: undefined,
  },
  auth: { kind: "none" },
  proxy: undefined,
  compression: "none",
};

export interface WebhookOptions {
  endpoints: readonly EndpointOptions[];
}
