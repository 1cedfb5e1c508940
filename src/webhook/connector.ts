/** How connections to an endpoint are made: where to they may go is judged for each (`egress.ts`). */
import { buildConnector } from "undici";
import type { EgressGuard } from "./egress.ts";

export type Connector = buildConnector.connector;

export interface ConnectorParts {
  guard: EgressGuard;
  connectTimeoutMs: number;
}

export function createConnector({ guard, connectTimeoutMs }: ConnectorParts): Connector {
  const connect = buildConnector({ allowH2: false, timeout: connectTimeoutMs, lookup: guard.lookup });
  return (options, connected) => {
    // A literal address is never looked up.
    const fault = guard.faultOf(options.hostname);
    if (fault === undefined) connect(options, connected);
    else queueMicrotask(() => connected(fault, null));
  };
}
