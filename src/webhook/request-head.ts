/** What all requests to one endpoint have in common. */
import { assert } from "../base/assert.ts";
import type { EventHead } from "./event-head.ts";
import type { EndpointOptions } from "./options.ts";

export interface RequestHead {
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
  "webhook-signature",
  "webhook-timestamp",
  "x-webhook-attempt",
]);

export function requestHead({ name, url, headers, request }: EndpointOptions, version: string): RequestHead {
  const { pathname, search, username, password } = new URL(url);
  const { auth, compression } = request;
  const isOurs = (header: string) =>
    notConfigurable.has(header) ||
    (header === "authorization" && auth.kind !== "none") ||
    (header === "content-encoding" && compression !== "none");
  const configured = headers.filter(([header]) => !isOurs(header.toLowerCase()));
  for (const [header, value] of configured) {
    assert(isHeader(header, value), `the configuration of webhook endpoint ${name} let through the header ${header}`);
  }
  const given = new Set(configured.map(([header]) => header.toLowerCase()));
  const ours: [string, string][] = [
    ["content-type", "application/json"],
    ["user-agent", `hookmq/${version}`],
  ];
  // Credentials in the URL are for the receiver, as every HTTP client takes them; what is configured has precedence.
  const inUrl = username !== "" || password !== "";
  if (auth.kind === "basic") ours.push(["authorization", basicAuthorization(auth.username, auth.password)]);
  else if (auth.kind === "bearer") ours.push(["authorization", `Bearer ${auth.token}`]);
  else if (auth.kind === "none" && inUrl) {
    ours.push(["authorization", basicAuthorization(decodeURIComponent(username), decodeURIComponent(password))]);
  }
  const added = ours.filter(([header]) => !given.has(header));
  return {
    path: pathname + search,
    headers: [...configured, ...added].flat(),
    hasContentType: given.has("content-type"),
  };
}

/** Names and values in turn; `added` are those that nothing says yet. */
export function withDefaults(headers: readonly string[], added: readonly string[]): readonly string[] {
  const given = new Set(headers.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()));
  const isNew = (index: number) => !given.has(added[index - (index % 2)]!.toLowerCase());
  return [...headers, ...added.filter((_, index) => isNew(index))];
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
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
