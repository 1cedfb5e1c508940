/**
 * The running broker's door for commands: a Unix socket beside the pid file that only its owner can open.
 * `control-protocol.ts` has what is said there.
 */
import { lstatSync, unlinkSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import {
  type ControlAnswer,
  type ControlRequest,
  type FromBroker,
  parseRequest,
  type Progress,
} from "./control-protocol.ts";

export type Handle = (request: ControlRequest, progress: (progress: Progress) => void) => Promise<ControlAnswer>;

/** A request with the longest path there is. */
const requestBytesMax = 16 * 1024;
const answerBytesMax = 4 * 1024 * 1024;
const waitMs = 10_000;
/** What takes long shows within the asker's patience that it goes on. */
const stillAtItMs = 2_000;

export function controlPathOf(pidFile: string): string {
  return `${pidFile.replace(/\.pid$/, "")}.sock`;
}

/** Listens until it is closed. Only the holder of the pid file may call this: it removes what an earlier one left. */
export async function listenForControl(path: string, handle: Handle): Promise<{ close(): Promise<void> }> {
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
export async function askBroker<Command extends ControlRequest["command"]>(
  path: string,
  request: Extract<ControlRequest, { command: Command }>,
  onProgress: (progress: Progress) => void = () => {},
): Promise<ControlAnswer<Command>> {
  const socket = createConnection(path);
  // Told by whoever reads from it.
  socket.on("error", () => {});
  try {
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    for await (const line of linesOf(socket, answerBytesMax)) {
      const said: FromBroker = JSON.parse(line);
      if (!("progress" in said)) return said as ControlAnswer<Command>;
      if (said.progress !== undefined) onProgress(said.progress);
    }
    throw new Error("the connection ended before the answer");
  } finally {
    socket.destroy();
  }
}

async function serve(socket: Socket, handle: Handle): Promise<void> {
  const say = (line: FromBroker) => socket.write(`${JSON.stringify(line)}\n`);
  // Whoever has gone is no reason to fall over.
  socket.on("error", () => {});
  let stillAtIt: NodeJS.Timeout | undefined;
  try {
    const line = (await linesOf(socket, requestBytesMax).next()).value;
    const request = line === undefined ? undefined : parseRequest(line);
    stillAtIt = setInterval(() => say({ progress: undefined }), stillAtItMs);
    const answer =
      request === undefined
        ? { succeeded: false, lines: ["not a request"] }
        : await handle(request, (progress) => say({ progress }));
    clearInterval(stillAtIt);
    say(answer);
    socket.end();
  } catch {
    // Whoever asked has gone, or never finished asking.
    socket.destroy();
  } finally {
    clearInterval(stillAtIt);
  }
}

/** Fails when a line is too long, or does not come in time. The socket stays open for an answer. */
async function* linesOf(socket: Socket, bytesMax: number): AsyncGenerator<string, undefined> {
  let text = "";
  socket.setEncoding("utf8");
  socket.setTimeout(waitMs, () => socket.destroy(new Error("no answer in time")));
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
    if (text.length > bytesMax) throw new Error("the line is too long");
  }
  return undefined;
}
