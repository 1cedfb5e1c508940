/**
 * The back thread of a broker on trial. It does as its orders say (HOOKMQ_ORDERS, JSON): ends the whole process in the
 * middle of a commit, takes the disk for full, or lies.
 */
import fs, { type PathLike } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { MessageChannel, type MessagePort, parentPort, workerData } from "node:worker_threads";
import { serve } from "../../src/back.ts";
import type { Change } from "../../src/store/change.ts";
import { ChangeEncoder, decodeChanges } from "../../src/store/change-codec.ts";
import type { CommitMoment } from "../../src/store/sqlite.ts";

export interface Orders {
  /** Ends at this moment, the so manieth time it is reached. */
  killAt?: { moment: CommitMoment; reached: number };
  /** While there is such a file, the disk says that nothing of it is free. */
  fullWhile?: string;
  /** Environment of the process, for a layer below it. */
  layer?: Record<string, string>;
  /** Acknowledges these and never keeps them: to see whether the judge finds out. */
  forgets?: readonly Change["type"][];
}

const { killAt, fullWhile, forgets } = JSON.parse(process.env.HOOKMQ_ORDERS ?? "{}") as Orders;

let reached = 0;
const moment = (at: CommitMoment) => {
  if (at === killAt?.moment && ++reached === killAt.reached) process.kill(process.pid, "SIGKILL");
};

if (fullWhile !== undefined) pretendFull(fullWhile);
const port = parentPort!;
serve(forgets === undefined ? port : forgetful(port, forgets), workerData, moment);

/** Below the store, which asks the system itself. */
function pretendFull(file: string): void {
  const { statfsSync } = fs;
  const pretending = (folder: PathLike) => ({ ...statfsSync(folder), bavail: fs.existsSync(file) ? 0 : 2 ** 20 });
  fs.statfsSync = pretending as typeof fs.statfsSync;
  syncBuiltinESMExports();
}

/** What comes through it lacks all changes of these types. */
function forgetful(port: MessagePort, types: readonly Change["type"][]): MessagePort {
  const { port1: inner, port2: outer } = new MessageChannel();
  const encoder = new ChangeEncoder();
  port.on("message", (message: unknown) => {
    if (!(message instanceof ArrayBuffer)) return inner.postMessage(message);
    inner.postMessage(encoder.encode(decodeChanges(message).filter(({ type }) => !types.includes(type))));
  });
  inner.on("message", (message: unknown) => port.postMessage(message));
  return outer;
}
