/**
 * What processes did to the files of one folder, in order: `journal.c`, loaded below a process, writes it down, and this
 * reads it. A test adds notes of its own to the same journal: a note stands behind all that had been done before it.
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeSync } from "node:fs";
import path from "node:path";
import { witness } from "../../e2e/support/witness.ts";

export type Step = {
  /** Of the file or folder, while it lives; may be given again. */
  inode: number;
  thread: number;
} & (
  | { type: "created" | "unlinked" | "folder-created" | "folder-removed"; path: string }
  | { type: "renamed"; path: string; to: string }
  | { type: "written"; offset: number; bytes: Buffer }
  | { type: "truncated"; size: number }
  | { type: "sync-begun" | "synced" }
  | { type: "noted"; text: string }
);

export interface Recording {
  before: Snapshot;
  steps: readonly Step[];
}

/** As `journal.c` numbers them, from 1. */
const kinds = [
  "created",
  "written",
  "truncated",
  "sync-begun",
  "synced",
  "unlinked",
  "renamed",
  "folder-created",
  "folder-removed",
  "noted",
  "unseen",
] as const;

/** length, kind, inode, offset, length of the path, thread; then the path, then data. */
const headBytes = 32;

const journalLayer = path.join(import.meta.dirname, "journal.c");

/** Builds a layer in `folder`; what cannot be built skips the test that calls this, aloud. */
export function buildLayer(folder: string, skip: (note: string) => never, source = journalLayer): string {
  if (process.platform !== "linux") skip("what a process does to its files is recorded on Linux only");
  const compiler = witness("cc", skip);
  const library = path.join(folder, `${path.basename(source, ".c")}.so`);
  const { status, stderr } = spawnSync(
    compiler,
    ["-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"],
    {
      encoding: "utf8",
    },
  );
  if (status !== 0) throw new Error(`the layer cannot be built: ${stderr}`);
  return library;
}

/** A folder as it is before a recording begins. */
export interface Snapshot {
  folder: string;
  /** Of the folder itself first, then of what is in it; `bytes` undefined for a folder. */
  found: readonly { path: string; inode: number; bytes: Buffer | undefined }[];
}

export function snapshotOf(folder: string): Snapshot {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => path.join(folder, name));
  const found = [folder, ...paths.sort()].map((path) => {
    const is = statSync(path);
    return { path, inode: is.ino, bytes: is.isFile() ? readFileSync(path) : undefined };
  });
  return { folder, found };
}

/**
 * The environment of a process to be recorded. `folder` must exist, and `journal` be outside of it. With `killAfter` the
 * process is killed after so many steps.
 */
export function recordedBy(
  library: string,
  { folder, journal, killAfter = 0 }: { folder: string; journal: string; killAfter?: number },
): NodeJS.ProcessEnv {
  return {
    LD_PRELOAD: library,
    POWER_CUT_FOLDER: folder,
    POWER_CUT_JOURNAL: journal,
    POWER_CUT_KILL: `${killAfter}`,
  };
}

/** Writes notes into a journal, each as it is made. */
export class Notes {
  private readonly file: number;

  constructor(journal: string) {
    this.file = openSync(journal, "a", 0o600);
  }

  /** In the process that is recorded. */
  static here(): Notes {
    return new Notes(process.env.POWER_CUT_JOURNAL!);
  }

  note(text: string): void {
    const bytes = Buffer.alloc(headBytes + Buffer.byteLength(text));
    bytes.writeUInt32LE(bytes.length, 0);
    bytes.writeUInt32LE(1 + kinds.indexOf("noted"), 4);
    bytes.write(text, headBytes);
    writeSync(this.file, bytes);
  }

  close(): void {
    closeSync(this.file);
  }
}

export function readJournal(journal: string): Step[] {
  const bytes = readFileSync(journal);
  const steps: Step[] = [];
  for (let at = 0; at + headBytes <= bytes.length; ) {
    const end = at + bytes.readUInt32LE(at);
    // Killed while it appended: that call had not returned.
    if (end > bytes.length) break;
    steps.push(stepOf(bytes.subarray(at, end)));
    at = end;
  }
  return steps;
}

function stepOf(record: Buffer): Step {
  const type = kinds[record.readUInt32LE(4) - 1];
  const inode = Number(record.readBigUInt64LE(8));
  const offset = Number(record.readBigUInt64LE(16));
  const dataStart = headBytes + record.readUInt32LE(24);
  const thread = record.readUInt32LE(28);
  const path = record.toString("utf8", headBytes, dataStart);
  const bytes = record.subarray(dataStart);
  switch (type) {
    case "created":
    case "unlinked":
    case "folder-created":
    case "folder-removed":
      return { type, inode, thread, path };
    case "renamed":
      return { type, inode, thread, path, to: bytes.toString() };
    case "written":
      return { type, inode, thread, offset, bytes };
    case "truncated":
      return { type, inode, thread, size: offset };
    case "sync-begun":
    case "synced":
      return { type, inode, thread };
    case "noted":
      return { type, inode, thread, text: bytes.toString() };
    case "unseen":
      throw new Error(`the recording has a gap: ${bytes} on ${path || `inode ${inode}`}`);
    default:
      return type satisfies never;
  }
}
