/**
 * The power goes while the store writes. A process that commits is recorded below itself (`journal.c`), and from the recording
 * come the disks that a power cut could have left (`disk.ts`, with all that is assumed of them): each must open, be whole,
 * and hold what had been acknowledged. HOOKMQ_POWER_CUTS says how many cuts are tried in each test, HOOKMQ_POWER_CUT_SEED which.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SyncPolicy } from "../../../src/store/options.ts";
import type { StoredState } from "../../../src/store/store.ts";
import { Disk } from "./disk.ts";
import { cutsWanted, type Exploration, exploreAloud, seedWanted } from "./exploring.ts";
import { buildLayer, readJournal, recordedBy, type Snapshot, type Step, snapshotOf } from "./recording.ts";
import { differences, lastBatch } from "./workload.ts";
import { type WriterPlan, writerFile } from "./writer.ts";

type Skip = (note: string) => never;

/** Steps: in the middle of the first wave, and of a transaction. */
const killedAfter = 9001;

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(path.join(tmpdir(), "hookmq-power-cut-")));
});
afterAll(() => rmSync(root, { recursive: true }));

interface Recorded {
  before: Snapshot;
  steps: Step[];
}

let folders = 0;
function newFolder(): string {
  const folder = path.join(root, `${++folders}`);
  mkdirSync(folder);
  return folder;
}

/** One process after another on the data folder `directory`, which is `folder` or in it. */
async function record(
  skip: Skip,
  folder: string,
  plan: WriterPlan,
  lives: readonly { killAfter?: number }[],
): Promise<Recorded> {
  const library = buildLayer(root, skip);
  const journal = `${folder}.journal`;
  const before = snapshotOf(folder);
  for (const { killAfter } of lives) {
    const writer = spawn(process.execPath, [writerFile, JSON.stringify(plan)], {
      env: { ...process.env, ...recordedBy(library, { folder, journal, killAfter }) },
      stdio: "inherit",
      timeout: 60_000,
    });
    const [code, signal] = await once(writer, "close");
    expect([code, signal]).toEqual([null, "SIGKILL"]);
  }
  return { before, steps: readJournal(journal) };
}

const recordings = new Map<SyncPolicy, Promise<Recorded>>();

/** A wave in two lives, on a data folder that was there and empty; recorded once. */
function recordedWith(skip: Skip, sync: SyncPolicy): Promise<Recorded> {
  const make = () => {
    const folder = newFolder();
    return record(skip, folder, { directory: folder, sync, wave: 1 }, [{ killAfter: killedAfter }, {}]);
  };
  const recorded = recordings.get(sync) ?? make();
  recordings.set(sync, recorded);
  return recorded;
}

/** What nobody may take any more is there, in whole batches, and in their order. */
function judge(state: StoredState, notes: readonly string[]): string[] {
  const found = lastBatch(state);
  const owed = Math.max(0, ...notes.map(Number));
  const lost = found < owed ? [`lost: batches ${found + 1} to ${owed}`] : [];
  return [...lost, ...differences(state, found)];
}

const common = { directory: "", cuts: cutsWanted, seed: seedWanted, judge } as const;

test("the recording misses nothing: played in full, it gives every file byte for byte", async ({ skip }) => {
  const { before, steps } = await recordedWith(skip, "commit");
  const disk = new Disk({ before, names: "own" });
  for (const step of steps) disk.play(step);
  const image = disk.present();
  const names = readdirSync(before.folder, { recursive: true, encoding: "utf8" });
  expect([...image.keys()].sort()).toEqual(names.sort());
  expect(names).toContain("hookmq.db-wal");
  for (const [name, bytes] of image) {
    expect(bytes?.equals(readFileSync(path.join(before.folder, name))), name).toBe(true);
  }
});

describe("wherever the power goes, the store is whole and nothing is lost that was safe", () => {
  for (const sync of ["commit", "interval", "none"] as const) {
    test(`sync = ${sync}`, async ({ skip }) => {
      const { before, steps } = await recordedWith(skip, sync);
      const findings = await exploreAloud(`sync = ${sync}`, { ...common, steps, disk: { before, names: "own" } });
      expect(findings.faults).toEqual([]);
      expect(findings.cutsInCheckpoints).toBeGreaterThan(0);
    });
  }
});

describe("the model finds what is lost", () => {
  const without = (steps: readonly Step[], inode: number) =>
    steps.filter((step) => !((step.type === "sync-begun" || step.type === "synced") && step.inode === inode));
  const inodeOf = (steps: readonly Step[], name: string) =>
    steps.find((step) => step.type === "created" && path.basename(step.path) === name)!.inode;

  for (const [title, cheat, expected] of [
    ["when nothing is ever synced", (steps) => steps.filter(({ type }) => type !== "synced"), /lost/],
    ["when the log is not", (steps) => without(steps, inodeOf(steps, "hookmq.db-wal")), /lost/],
    [
      "when the data file is not, after a checkpoint",
      (steps) => without(steps, inodeOf(steps, "hookmq.db")),
      /not whole|cannot be used/,
    ],
    ["when the folder is not", (steps, before) => without(steps, before.found[0].inode), /lost/],
  ] as const satisfies readonly (readonly [string, (steps: Step[], before: Snapshot) => Step[], RegExp])[]) {
    test(title, async ({ skip }) => {
      const { before, steps } = await recordedWith(skip, "commit");
      const exploration: Exploration = {
        ...common,
        steps: cheat(steps, before),
        disk: { before, names: "own" },
        cuts: 10,
      };
      const { faults } = await exploreAloud(title, exploration);
      expect(faults.filter((fault) => expected.test(fault))).not.toEqual([]);
    });
  }
});
