/** How connections to an endpoint are made: where to they may go is judged for each (`egress.ts`), and by what certificates. */
import type { SecureContext } from "node:tls";
import { buildConnector } from "undici";
import type { TlsOptions } from "./certificates.ts";
import type { EgressGuard } from "./egress.ts";

export type Connector = buildConnector.connector;

export interface ConnectorParts {
  guard: EgressGuard;
  connectTimeoutMs: number;
  tls: TlsOptions;
  /** Of the files that `tls` names; `undefined`: none. */
  context: SecureContext | undefined;
}

/** With other certificates it is another one: what it remembers of TLS sessions goes with them. */
export function createConnector({ guard, connectTimeoutMs, tls, context }: ConnectorParts): Connector {
  const connect = buildConnector({
    allowH2: false,
    timeout: connectTimeoutMs,
    lookup: guard.lookup,
    rejectUnauthorized: tls.verifiesPeer,
    secureContext: context,
  });
  return (options, connected) => {
    // A literal address is never looked up.
    const fault = guard.faultOf(options.hostname);
    if (fault !== undefined) return queueMicrotask(() => connected(fault, null));
    connect({ ...options, servername: tls.serverName ?? options.servername }, connected);
  };
}

/** For an endpoint whose certificates cannot be used: they are there for a reason, so nothing goes without them. */

export const unusableConnector: Connector = (_options, connected) => {
  const error = Object.assign(new Error("the certificates cannot be used"), { code: "TLS_FILES_UNUSABLE" });
  queueMicrotask(() => connected(error, null));
};
