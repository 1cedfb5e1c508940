/** What all requests to one endpoint have in common. */
import { assert } from "../base/assert.ts";
import type { EventHead } from "./event-head.ts";
import type { EndpointOptions } from "./options.ts";

export interface RequestHead {
  /** Scheme, host and port. */
  origin: string;
  /** Path and query: `/` where the URL has none. */
  path: string;
  /** Names and values in turn: the configured ones in the order of the file, then ours. */
  headers: readonly string[];
  /** The configuration has one: an event's own is for those without. */
  hasContentType: boolean;
}

/** They belong to the connection, or are ours in each request: what is configured for them is left out. */
const notConfigurable: ReadonlySet<string> = new Set([
  "content-length",
  "expect",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
  "webhook-id",
  "webhook-timestamp",
  "x-webhook-attempt",
]);

export function requestHead({ name, url, headers }: EndpointOptions, version: string): RequestHead {
  const { origin, pathname, search, username, password } = new URL(url);
  const configured = headers.filter(([header]) => !notConfigurable.has(header.toLowerCase()));
  for (const [header, value] of configured) {
    assert(isHeader(header, value), `the configuration of webhook endpoint ${name} let through the header ${header}`);
  }
  const given = new Set(configured.map(([header]) => header.toLowerCase()));
  const ours: [string, string][] = [
    ["content-type", "application/json"],
    ["user-agent", `hookmq/${version}`],
  ];
  // Credentials in the URL are for the receiver, as every HTTP client takes them; a configured header has precedence.
  if (username !== "" || password !== "") ours.push(["authorization", basicAuthorization(username, password)]);
  const added = ours.filter(([header]) => !given.has(header));
  return {
    origin,
    path: pathname + search,
    headers: [...configured, ...added].flat(),
    hasContentType: given.has("content-type"),
  };
}

/** The endpoint's head with what an event puts in place of it. */
export function withEventHead(head: RequestHead, event: EventHead): RequestHead {
  const { path = head.path, contentType, headers = [] } = event;
  if (event.path === undefined && contentType === undefined && headers.length === 0) return head;
  const own = new Map(headers.map(([name, value]) => [name.toLowerCase(), [name, value]]));
  if (contentType !== undefined && !head.hasContentType && !own.has("content-type"))
    own.set("content-type", ["content-type", contentType]);
  const kept: string[] = [];
  for (let i = 0; i < head.headers.length; i += 2) {
    if (!own.has(head.headers[i].toLowerCase())) kept.push(head.headers[i], head.headers[i + 1]);
  }
  return { ...head, path, headers: [...kept, ...[...own.values()].flat()] };
}

/** A token, and a value without CR, LF or NUL that Latin-1 can spell. [RFC 9110 5.1] [RFC 9110 5.5] */
function isHeader(name: string, value: string): boolean {
  return /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
}

function basicAuthorization(username: string, password: string): string {
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(credentials).toString("base64")}`;
}
