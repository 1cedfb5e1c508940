/** What another configuration means for the endpoints there are. */
import type { EndpointOptions, WebhookOptions } from "./options.ts";

/** Names. Who is in none of these goes on as before. */
export interface EndpointChanges {
  added: readonly string[];
  /** They go on with what they are owed, under other options. */
  changed: readonly string[];
  /** No longer configured: what they are owed waits until it is too old, or they are configured again. */
  parked: readonly string[];
}

export function endpointChanges(before: WebhookOptions, after: WebhookOptions): EndpointChanges {
  const old = byName(before);
  const now = byName(after);
  return {
    added: [...now.keys()].filter((name) => !old.has(name)),
    changed: [...now].flatMap(([name, text]) => (old.has(name) && old.get(name) !== text ? [name] : [])),
    parked: [...old.keys()].filter((name) => !now.has(name)),
  };
}

function byName({ endpoints }: WebhookOptions): ReadonlyMap<string, string> {
  return new Map(endpoints.map((endpoint: EndpointOptions) => [endpoint.name, JSON.stringify(endpoint)]));
}
