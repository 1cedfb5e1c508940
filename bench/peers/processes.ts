/** Broker and generator as processes: each on its own core where the machine lets us, and gone when the run is over. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Job, LoadResult } from "../load/job.ts";
import type { Peer, PeerStart } from "./peers.ts";

/** Binds a process to a core; part of util-linux. */
const pinner = "taskset";
const brokerCore = 0;
const generatorCore = 1;
const startMs = 15_000;
const stopMs = 5_000;
/** A generator that is not done so long after its measured time waits for a broker that does not answer. */
const generatorMs = 60_000;
/** Characters kept of what a process says. */
const heardMax = 16 * 1024;

export interface RunningBroker {
  pid: number;
  port: number;
  stop(): Promise<void>;
}

export async function startBroker(
  peer: Peer,
  { pinned, webhook }: { pinned: boolean; webhook?: PeerStart["webhook"] },
): Promise<RunningBroker> {
  const folder = mkdtempSync(join(tmpdir(), "hookmq-bench-"));
  folders.add(folder);
  const port = await freePort();
  const command = peer.command({ port, folder, webhook });
  const broker = start(command, { core: pinned ? brokerCore : undefined, folder });
  const stop = async () => {
    await end(broker.child);
    remove(folder);
  };
  try {
    await accepting(port, broker);
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: broker.child.pid!, port, stop };
}

export async function generate(job: Job, { pinned }: { pinned: boolean }): Promise<LoadResult> {
  const main = fileURLToPath(new URL("../load/main.ts", import.meta.url));
  const generator = start([process.execPath, main, JSON.stringify(job)], {
    core: pinned ? generatorCore : undefined,
    timeoutMs: (job.kind === "flow" ? job.seconds * 1000 : 0) + generatorMs,
  });
  await once(generator.child, "close");
  try {
    return JSON.parse(generator.output()) as LoadResult;
  } catch {
    return { figures: {}, counts: {}, failure: `the generator ended without a result: ${generator.errors()}` };
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Whether processes can be bound to one core each. */
export function canPin(): boolean {
  try {
    execFileSync(pinner, ["-c", `${brokerCore},${generatorCore}`, "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

interface Started {
  child: ChildProcess;
  output: () => string;
  /** The last it said on stderr. */
  errors: () => string;
}

const running = new Set<ChildProcess>();
const folders = new Set<string>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const folder of folders) remove(folder);
});

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

function start(
  command: readonly string[],
  { core, folder, timeoutMs }: { core?: number; folder?: string; timeoutMs?: number },
): Started {
  const [file, ...args] = core === undefined ? command : [pinner, "-c", String(core), ...command];
  const child = spawn(file, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], timeout: timeoutMs });
  running.add(child);
  child.on("exit", () => running.delete(child));
  let [output, errors] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    output = (output + chunk).slice(-heardMax);
  });
  child.stderr.on("data", (chunk: Buffer) => {
    errors = (errors + chunk).slice(-heardMax);
  });
  child.on("error", (error) => {
    errors += error.message;
  });
  return { child, output: () => output, errors: () => errors.trim() };
}

async function accepting(port: number, { child, errors }: Started): Promise<void> {
  const until = performance.now() + startMs;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || child.pid === undefined) throw new Error(`it did not start: ${errors()}`);
    if (performance.now() > until) throw new Error(`it does not listen on its port after ${startMs / 1000} s`);
    await sleep(20);
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect({ host: "127.0.0.1", port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMs);
  await exited;
  clearTimeout(timer);
}
