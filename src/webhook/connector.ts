/**
 * How connections to an endpoint are made: where to they may go is judged for each (`egress.ts`), by what certificates a
 * receiver is met, and through which proxy.
 *
 * Through a proxy https is tunnelled: CONNECT, then TLS with the receiver itself. http is asked of the proxy, with the whole
 * URL as path. In both a connection is to the one endpoint and is kept as any other.
 */
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import type { buildConnector } from "undici";
import type { TlsOptions } from "./certificates.ts";
import type { EgressGuard } from "./egress.ts";
import { answerHeaderBytesMax } from "./limits.ts";
import { undici } from "./undici.ts";

export type Connector = buildConnector.connector;

/** How a URL is reached. */
export interface Approach {
  /** Whom the connection is to: scheme, host and port. */
  origin: string;
  /** Stands before the path. */
  pathPrefix: string;
  /** Names and values in turn that the way itself asks for. */
  headers: readonly string[];
  connector: Connector;
}

export interface ApproachParts {
  guard: EgressGuard;
  connectTimeoutMs: number;
  tls: TlsOptions;
  /** Of the files that `tls` names; `undefined`: none. */
  context: SecureContext | undefined;
  /** `http://user:password@host:port`; `undefined`: straight there. */
  proxy: string | undefined;
}

/** With other certificates it is another connector: what that remembers of TLS sessions goes with them. */
export function approachTo(url: URL, parts: ApproachParts): Approach {
  const { tls, context, proxy: proxyUrl } = parts;
  let built: Connector | undefined;
  const straight: Connector = (options, connected) => {
    built ??= undici().buildConnector({
      allowH2: false,
      timeout: parts.connectTimeoutMs,
      lookup: parts.guard.lookup,
      rejectUnauthorized: tls.verifiesPeer,
      secureContext: context,
    });
    built(options, connected);
  };
  const nameOf = (servername: string | undefined) => tls.serverName ?? servername;
  // A literal address is never looked up. Names are judged by the guard's lookup; behind a proxy that is the proxy's affair.
  const guarded = (connect: Connector): Connector => {
    return (options, connected) => {
      const fault = parts.guard.faultOf(options.hostname) ?? parts.guard.faultOf(bare(url.hostname));
      if (fault === undefined) connect(options, connected);
      else queueMicrotask(() => connected(fault, null));
    };
  };
  if (proxyUrl === undefined) {
    const connector = guarded((options, connected) =>
      straight({ ...options, servername: nameOf(options.servername) }, connected),
    );
    return { origin: url.origin, pathPrefix: "", headers: [], connector };
  }
  const proxy = new URL(proxyUrl);
  const credentials = proxyAuthorization(proxy);
  if (url.protocol === "http:") {
    const headers = ["host", url.host, ...credentials];
    return { origin: proxy.origin, pathPrefix: url.origin, headers, connector: guarded(straight) };
  }
  const connector = guarded((options, connected) => {
    openTunnel({ proxy, credentials, target: `${url.hostname}:${url.port || 443}`, parts }, (error, socket) => {
      if (error !== null) return connected(error, null);
      straight({ ...options, servername: nameOf(options.servername), httpSocket: socket }, connected);
    });
  });
  return { origin: url.origin, pathPrefix: "", headers: [], connector };
}

/** For an endpoint whose certificates cannot be used: they are there for a reason, so nothing goes without them. */
export const unusableConnector: Connector = (_options, connected) => {
  const error = Object.assign(new Error("the certificates cannot be used"), { code: "TLS_FILES_UNUSABLE" });
  queueMicrotask(() => connected(error, null));
};

interface Tunnel {
  proxy: URL;
  credentials: readonly string[];
  /** Host and port. */
  target: string;
  parts: ApproachParts;
}

/** [RFC 9110 9.3.6] */
function openTunnel(
  { proxy, credentials, target, parts: { guard, connectTimeoutMs } }: Tunnel,
  opened: (...args: [null, Socket] | [Error, null]) => void,
): void {
  const fault = guard.faultOf(bare(proxy.hostname));
  if (fault !== undefined) return queueMicrotask(() => opened(fault, null));
  let asked: ClientRequest | undefined;
  const timer = setTimeout(() => asked?.destroy(failure("ETIMEDOUT", "the proxy is silent")), connectTimeoutMs);
  const end = (...args: Parameters<typeof opened>) => {
    clearTimeout(timer);
    opened(...args);
  };
  asked = request({
    method: "CONNECT",
    host: bare(proxy.hostname),
    port: proxy.port || 80,
    path: target,
    headers: ["host", target, ...credentials],
    agent: false,
    lookup: guard.lookup,
    maxHeaderSize: answerHeaderBytesMax,
  });
  asked.on("error", (error) => end(error, null));
  asked.on("connect", ({ statusCode = 0 }: IncomingMessage, socket: Socket, head: Buffer) => {
    if (statusCode >= 200 && statusCode < 300 && head.length === 0) return end(null, socket);
    socket.destroy();
    end(failure(`PROXY_STATUS_${statusCode}`, `the proxy answers CONNECT with ${statusCode}`), null);
  });
  asked.end();
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function proxyAuthorization({ username, password }: URL): string[] {
  if (username === "" && password === "") return [];
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return ["proxy-authorization", `Basic ${Buffer.from(credentials).toString("base64")}`];
}

/** An IPv6 address without its brackets. */
function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}
