/**
 * The tutorial's test server: prints each request that comes and answers `ok`, or misbehaves as asked, to see what a
 * broker makes of it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { listenFailure } from "./listen-failure.ts";
import { type ExitCode, printable, type Terminal } from "./terminal.ts";

export interface ReceiverOptions {
  host: string;
  port: number;
  /** Before each answer. */
  delayMs: number;
  /** Answered when a request fails. */
  status: number;
  /** The part of the requests that fail: 0 none, 1 all. */
  failRate: number;
  /** Ends the connection without an answer. */
  close: boolean;
  /** Never answers. */
  hang: boolean;
  /** Prints counts instead of requests. */
  quiet: boolean;
  /** Prints every header instead of `content-type` alone. */
  allHeaders: boolean;
}

export interface RunningReceiver {
  port: number;
  received: number;
  stop(): Promise<void>;
}

/** A broker's bodies end at 1 MiB; what is beyond this is answered with 413. */
const bodyBytesMax = 16 * 1024 * 1024;
const countEveryMs = 1000;

export async function receiver(options: ReceiverOptions, terminal: Terminal, stopped: AbortSignal): Promise<ExitCode> {
  let running: RunningReceiver;
  try {
    running = await startReceiver(options, terminal);
  } catch (error) {
    terminal.complain(listenFailure(error, { what: "the receiver", ...options, remedy: "choose another with --port" }));
    return 1;
  }
  terminal.print(`Receiver is listening on http://${urlHost(options.host)}:${running.port} (Ctrl-C ends it)`);
  await new Promise<void>((resolve) => stopped.addEventListener("abort", () => resolve(), { once: true }));
  await running.stop();
  terminal.print(`${running.received} request${running.received === 1 ? "" : "s"} received`);
  return 0;
}

export async function startReceiver(
  options: ReceiverOptions,
  terminal: Terminal,
  random: () => number = Math.random,
): Promise<RunningReceiver> {
  const running = { port: 0, received: 0, stop: () => stopServer(server, timers) };
  const timers = new Set<NodeJS.Timeout>();
  const server = createServer((request, response) => {
    void readBody(request).then((body) => {
      // It went away in the middle of its request.
      if (body === undefined) return;
      if (body === "too large") return reply(response, 413, "too large\n");
      running.received++;
      if (!options.quiet) printRequest(request, body, options.allHeaders, terminal);
      if (options.hang) return;
      const timer = setTimeout(() => {
        timers.delete(timer);
        answer(response, options, random);
      }, options.delayMs);
      timers.add(timer);
    });
  });
  await listen(server, options);
  running.port = (server.address() as AddressInfo).port;
  if (options.quiet) timers.add(countAloud(running, terminal));
  return running;
}

/** The lines of the tutorial. */
function printRequest(request: IncomingMessage, body: Buffer, allHeaders: boolean, terminal: Terminal): void {
  const { rawHeaders } = request;
  if (allHeaders) terminal.print(`${request.method} ${printable(request.url ?? "")}`);
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (allHeaders || name === "content-type") terminal.print(`header: ${name}: [${printable(rawHeaders[i + 1])}]`);
  }
  terminal.print(`Received: ${printable(body.toString("utf8"))}`);
}

function answer(response: ServerResponse, options: ReceiverOptions, random: () => number): void {
  const fails = options.failRate > 0 && random() < options.failRate;
  if (options.close && (fails || options.failRate === 0)) {
    response.socket?.destroy();
    return;
  }
  if (fails) reply(response, options.status, "failed as asked\n");
  else reply(response, 200, "ok");
}

function reply(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

async function readBody(request: IncomingMessage): Promise<Buffer | "too large" | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request) {
      bytes += chunk.length;
      // Reads on to the end, so that the answer arrives.
      if (bytes <= bodyBytesMax) chunks.push(chunk);
    }
  } catch {
    return undefined;
  }
  return bytes > bodyBytesMax ? "too large" : Buffer.concat(chunks);
}

function countAloud(running: { received: number }, terminal: Terminal): NodeJS.Timeout {
  let before = 0;
  return setInterval(() => {
    const { received } = running;
    if (received !== before) terminal.print(`${received} received (+${received - before})`);
    before = received;
  }, countEveryMs);
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
}

function stopServer(server: Server, timers: Set<NodeJS.Timeout>): Promise<void> {
  for (const timer of timers) clearTimeout(timer);
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
