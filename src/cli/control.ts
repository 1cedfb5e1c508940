/**
 * The running broker's door for `hookmq reload`: a Unix socket beside the pid file that only its owner can open. One
 * line of JSON asks, one line answers.
 */
import { lstatSync, unlinkSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";

/** `conf` is an absolute path; without it, the file that the broker was started with. */
export interface ReloadRequest {
  command: "reload";
  conf: string | undefined;
  oldConf: boolean;
}

export interface ReloadAnswer {
  succeeded: boolean;
  /** What the operator should read, line by line: the report, or what needs a restart. */
  lines: readonly string[];
}

/** A request with the longest path there is. */
const requestBytesMax = 16 * 1024;
const answerBytesMax = 4 * 1024 * 1024;
const waitMs = 10_000;

export function controlPathOf(pidFile: string): string {
  return `${pidFile.replace(/\.pid$/, "")}.sock`;
}

/** Listens until it is closed. Only the holder of the pid file may call this: it removes what an earlier one left. */
export async function listenForControl(
  path: string,
  handle: (request: ReloadRequest) => Promise<ReloadAnswer>,
): Promise<{ close(): Promise<void> }> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    serve(socket, handle);
  });
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    const before = process.umask(0o177);
    try {
      server.listen(path, resolve);
    } finally {
      process.umask(before);
    }
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of connections) socket.destroy();
      }),
  };
}

/** Asks the broker behind `path`. */
export async function askForReload(path: string, request: ReloadRequest): Promise<ReloadAnswer> {
  const socket = createConnection(path);
  try {
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    return JSON.parse(await readLine(socket, answerBytesMax));
  } finally {
    socket.destroy();
  }
}

async function serve(socket: Socket, handle: (request: ReloadRequest) => Promise<ReloadAnswer>): Promise<void> {
  try {
    const request = parseRequest(await readLine(socket, requestBytesMax));
    const answer = request === undefined ? { succeeded: false, lines: ["not a request"] } : await handle(request);
    socket.end(`${JSON.stringify(answer)}\n`);
  } catch {
    // Whoever asked has gone, or never finished asking.
    socket.destroy();
  }
}

function parseRequest(line: string): ReloadRequest | undefined {
  const request: unknown = JSON.parse(line);
  if (typeof request !== "object" || request === null) return undefined;
  const { command, conf, oldConf } = request as Record<string, unknown>;
  if (command !== "reload" || (conf !== undefined && typeof conf !== "string")) return undefined;
  return { command, conf, oldConf: oldConf === true };
}

function readLine(socket: Socket, bytesMax: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.setTimeout(waitMs, () => reject(new Error("no answer in time")));
    socket.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
      else if (text.length > bytesMax) reject(new Error("the line is too long"));
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the connection ended before the line did")));
  });
}
