/** Broker and generator as processes: each on its own core where the machine lets us, and gone when the run is over. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { accepts } from "../load/accepts.ts";
import { microsNow } from "../load/clock.ts";
import type { Job, LoadResult } from "../load/job.ts";
import type { Peer, PeerStart } from "./peers.ts";

/** Binds a process to a core; part of util-linux. */
const pinner = "taskset";
const brokerCore = 0;
const generatorCore = 1;
const startMs = 30_000;
const lookMs = 5;
const stopMs = 5_000;
/** A generator that is not done so long after its measured time waits for a broker that does not answer. */
const generatorMs = 60_000;
/** … and for each message of a fill or drain: slower than this is not worth measuring. */
const generatorMsPerMessage = 0.5;
/** Characters kept of what a process says. */
const heardMax = 16 * 1024;

export interface RunningBroker {
  pid: number;
  port: number;
  /** When its process was started, and until it accepted a connection. */
  startedAtMicros: number;
  startMillis: number;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
  /** Ends it as a crash would, and leaves what it has written. */
  kill(): Promise<void>;
  /** After `kill`: once more, in the same folder and on the same port. */
  startAgain(): Promise<RunningBroker>;
}

export interface BrokerPlace {
  pinned: boolean;
  /** Where its own folder is made. */
  disk?: string;
  webhook?: PeerStart["webhook"];
  forLatency?: boolean;
}

export async function startBroker(
  peer: Peer,
  { pinned, disk, webhook, forLatency }: BrokerPlace,
): Promise<RunningBroker> {
  const folder = mkdtempSync(join(disk ?? tmpdir(), "hookmq-bench-"));
  folders.add(folder);
  const port = await freePort();
  const command = peer.command({ port, folder, webhook, forLatency });
  return await startIn(folder, { port, command, core: pinned ? brokerCore : undefined });
}

async function startIn(
  folder: string,
  of: { port: number; command: readonly string[]; core: number | undefined },
): Promise<RunningBroker> {
  const startedAtMicros = microsNow();
  const broker = start(of.command, { core: of.core, folder });
  const stop = async () => {
    await end(broker.child);
    remove(folder);
  };
  try {
    await accepting(of.port, broker);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    pid: broker.child.pid!,
    port: of.port,
    startedAtMicros,
    startMillis: (microsNow() - startedAtMicros) / 1000,
    stop,
    kill: () => end(broker.child, "SIGKILL"),
    startAgain: () => startIn(folder, of),
  };
}

export async function generate(job: Job, { pinned }: { pinned: boolean }): Promise<LoadResult> {
  return await startGenerator(job, { pinned }).result;
}

export interface RunningGenerator {
  /** It has said that it is; or has ended. */
  ready: Promise<void>;
  result: Promise<LoadResult>;
  /** For when its result is of no use any more. */
  stop(): void;
}

export function startGenerator(job: Job, { pinned }: { pinned: boolean }): RunningGenerator {
  const main = fileURLToPath(new URL("../load/main.ts", import.meta.url));
  const { child, output, errors } = start([process.execPath, main, JSON.stringify(job)], {
    core: pinned ? generatorCore : undefined,
    timeoutMs: Math.ceil(measuredMs(job) + generatorMs),
  });
  const closed = once(child, "close");
  const ready = new Promise<void>((resolve) => {
    child.stdout?.on("data", () => output().startsWith("ready\n") && resolve());
    child.on("close", () => resolve());
  });
  return { ready, result: closed.then(() => resultOf(output(), errors())), stop: () => child.kill() };
}

function resultOf(output: string, errors: string): LoadResult {
  try {
    return JSON.parse(output.trim().split("\n").at(-1)!) as LoadResult;
  } catch {
    return { figures: {}, counts: {}, failure: `the generator ended without a result: ${errors}` };
  }
}

function measuredMs(job: Job): number {
  switch (job.kind) {
    case "flow":
      return job.seconds * 1000;
    case "connect":
      return 0;
    case "fill":
      return job.messages * generatorMsPerMessage;
    case "drain":
      return job.firstMsMax + job.messages * generatorMsPerMessage;
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

/**
 * A port on which nobody will listen by chance, nor connect from: a broker that keeps trying to connect to a free port of the
 * range that connections are given would in the end be given that port itself, and reach itself.
 */
export async function closedPort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue;
    }
    server.close();
    await once(server, "close");
    return port;
  }
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
    await sleep(lookMs);
  }
}

async function end(child: ChildProcess, signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, "exit");
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMs);
  await exited;
  clearTimeout(timer);
}
