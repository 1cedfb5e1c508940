/**
 * The file that says which process is the broker, for `stop`, `restart` and `reload`. It holds the process number in
 * digits and nothing else, so that `kill $(cat …)` works too. It is made anew and never written over: what a stranger put in
 * its place, a symbolic link above all, is not followed.
 */
import {
  constants,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import path from "node:path";

/** What a broker's process calls itself, and how one is told from a program that got its number later. */
export const processTitle = "hookmq";

/** The pid file cannot be had; the message says why and what to do. */
export class PidFileRefused extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "PidFileRefused";
  }
}

/** The running broker that this pid file names; `undefined` when there is none, or it is gone. */
export function runningBroker(file: string, isBroker: (pid: number) => boolean = isBrokerProcess): number | undefined {
  const pid = readPid(file);
  return pid !== undefined && isBroker(pid) ? pid : undefined;
}

/** Refuses when another broker holds the pid file; leaves everything as it is. */
export function refuseSecond(file: string, isBroker: (pid: number) => boolean = isBrokerProcess): void {
  const pid = runningBroker(file, isBroker);
  if (pid === undefined || pid === process.pid) return;
  throw new PidFileRefused(
    `HookMQ is already running as process ${pid}, says ${file}. Stop it with "hookmq stop"; ` +
      "or, to run two beside each other, give each its own pid file: HOOKMQ_PID_FILE=/tmp/hookmq/second.pid hookmq start …",
  );
}

/** Takes the pid file for this process; what a broker that is gone left there is removed. Returns how to give it back. */
export function claimPidFile(file: string, isBroker: (pid: number) => boolean = isBrokerProcess): () => void {
  makeFolder(path.dirname(file));
  refuseSecond(file, isBroker);
  try {
    removeStale(file);
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const descriptor = openSync(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
    try {
      writeSync(descriptor, `${process.pid}\n`);
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    if (cause instanceof PidFileRefused) throw cause;
    throw new PidFileRefused(`the pid file ${file} cannot be written: ${(cause as Error).message}`, { cause });
  }
  return () => {
    if (readPid(file) === process.pid) unlinkSync(file);
  };
}

function readPid(file: string): number | undefined {
  try {
    if (!lstatSync(file).isFile()) return undefined;
    // The original pads the number with NUL bytes.
    const digits = /^(\d{1,10})[\s\0]*$/.exec(readFileSync(file, "latin1"))?.[1];
    const pid = Number(digits);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // In /tmp anyone may have made it first, and could swap what we put there.
    const owners = [lstatSync(folder).uid, statSync(folder).uid];
    const mine = process.getuid?.();
    if (mine === undefined || owners.every((owner) => owner === 0 || owner === mine)) return;
  } catch (cause) {
    throw new PidFileRefused(`the folder ${folder} for the pid file cannot be made: ${(cause as Error).message}`, {
      cause,
    });
  }
  throw new PidFileRefused(
    `the folder ${folder} for the pid file belongs to another user: choose another place with HOOKMQ_PID_FILE`,
  );
}

function removeStale(file: string): void {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new PidFileRefused(`${file} is no regular file, so it is no pid file: remove it first`);
  unlinkSync(file);
}

/**
 * Alive, and a broker. Where the system does not tell what a process is called, any living one counts: better to refuse a
 * start than to run over a broker.
 */
export function isBrokerProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: alive, and somebody else's.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replace(/[\s\0]+$/, "") === processTitle;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT" || process.platform !== "linux";
  }
}
