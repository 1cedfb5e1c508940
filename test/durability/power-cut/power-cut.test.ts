/**
 * The power goes while the store writes. A process that commits is recorded below itself (`journal.c`), and from the recording
 * come the disks that a power cut could have left (`disk.ts`, with all that is assumed of them): each must open, be whole,
 * and hold what had been acknowledged. HOOKMQ_POWER_CUTS says how many cuts are tried in each test, HOOKMQ_POWER_CUT_SEED which.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SyncPolicy } from "../../../src/store/options.ts";
import type { Engine, StoredState } from "../../../src/store/store.ts";
import { Disk, writeImage } from "./disk.ts";
import { cutInCheckpoint, cutsWanted, explore, scratchFolder, seedWanted } from "./exploring.ts";
import { buildLayer, type Recording, readJournal, recordedBy, snapshotOf } from "./recording.ts";
import { differences, lastBatch } from "./workload.ts";
import { type WriterPlan, writerFile } from "./writer.ts";

type Skip = (note: string) => never;

/** Steps: in the middle of the first wave, and of a transaction. */
const midWave = 9001;
/** Steps: the store is made, and has acknowledged its first batches. */
const firstMoments = 200;

let root: string;
beforeAll(() => {
  root = scratchFolder();
});
afterAll(() => rmSync(root, { recursive: true }));

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
): Promise<Recording> {
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

const recordings = new Map<SyncPolicy, Promise<Recording>>();

/** A wave in two lives, on a data folder that was there and empty; recorded once. */
function recordingWith(sync: SyncPolicy, skip: Skip): Promise<Recording> {
  const make = () => {
    const folder = newFolder();
    return record(skip, folder, { directory: folder, sync, wave: 1 }, [{ killAfter: midWave }, {}]);
  };
  const recording = recordings.get(sync) ?? make();
  recordings.set(sync, recording);
  return recording;
}

/** What nobody may take any more is there, in whole batches, and in their order. */
function judge(store: Engine, state: StoredState, notes: readonly string[]): string[] {
  const found = lastBatch(state);
  const owed = Math.max(0, ...notes.map(Number));
  const lost = found < owed ? [`lost: batches ${found + 1} to ${owed}`] : [];
  return [...lost, ...differences(store, state, found)];
}

const common = { names: "own", directory: "", cuts: cutsWanted, seed: seedWanted, judge } as const;

test("the recording misses nothing: played in full, it gives every file byte for byte", async ({ skip }) => {
  const { before, steps } = await recordingWith("commit", skip);
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
      const recording = await recordingWith(sync, skip);
      const { faults, cutsInCheckpoints } = await explore(`sync = ${sync}`, { ...common, recording });
      expect(faults).toEqual([]);
      expect(cutsInCheckpoints).toBeGreaterThan(0);
    });
  }
});

test("the power goes again while the store goes on after a cut", async ({ skip }) => {
  const first = cutInCheckpoint(await recordingWith("commit", skip), "own", seedWanted);
  const folder = newFolder();
  writeImage(first.image, folder);
  const recording = await record(skip, folder, { directory: folder, sync: "commit", wave: 1 }, [
    { killAfter: midWave },
  ]);
  const { faults } = await explore("after a cut", {
    ...common,
    recording,
    judge: (store, state, notes) => judge(store, state, [...first.notes, ...notes]),
  });
  expect(faults).toEqual([]);
});

/** The first moments of a store in a data folder that is there (`""`), or made with those above it. */
function recordFirstStart(directory: string, skip: Skip): Promise<Recording> {
  const folder = newFolder();
  const plan = { directory: path.join(folder, directory), sync: "commit", wave: 1 } as const;
  return record(skip, folder, plan, [{ killAfter: firstMoments }]);
}

const newDirectory = "new/data";
const firstStart = { ...common, cuts: 5 * cutsWanted } as const;

describe("the power goes at any step of a first start", () => {
  test("in a folder that is there", async ({ skip }) => {
    const recording = await recordFirstStart("", skip);
    const { faults } = await explore("first start", { ...firstStart, recording, cuts: "every" });
    expect(faults).toEqual([]);
  });

  test("in a folder that it makes", async ({ skip }) => {
    const recording = await recordFirstStart(newDirectory, skip);
    const exploration = { ...firstStart, recording, directory: newDirectory } as const;
    const { faults } = await explore("first start, new folder", exploration);
    expect(faults).toEqual([]);
  });
});

describe("the model finds what is lost", () => {
  const without = (recording: Recording, isMissing: (inode: number) => boolean): Recording => {
    const steps = recording.steps.filter(({ type, inode }) => type !== "synced" || !isMissing(inode));
    return { ...recording, steps };
  };
  const fileOf = ({ steps }: Recording, name: string) =>
    steps.find((step) => step.type === "created" && path.basename(step.path) === name)?.inode;
  const folderOf = ({ before }: Recording) => before.found[0].inode;

  for (const [title, expected, isMissing] of [
    ["when nothing is ever synced", /lost/, () => true],
    ["when the log is not", /lost/, (inode, recording) => inode === fileOf(recording, "hookmq.db-wal")],
    [
      "when the data file is not, after a checkpoint",
      /not whole|cannot be used/,
      (inode, recording) => inode === fileOf(recording, "hookmq.db"),
    ],
    ["when the folder is not", /lost/, (inode, recording) => inode === folderOf(recording)],
  ] as const satisfies readonly (readonly [string, RegExp, (inode: number, recording: Recording) => boolean])[]) {
    test(title, async ({ skip }) => {
      const whole = await recordingWith("commit", skip);
      const recording = without(whole, (inode) => isMissing(inode, whole));
      expect(recording.steps.length).toBeLessThan(whole.steps.length);
      const { faults } = await explore(title, { ...common, recording, cuts: 12 });
      expect(faults.filter((fault) => expected.test(fault))).not.toEqual([]);
    });
  }

  test("when the folder that a new one is in is not", async ({ skip }) => {
    const whole = await recordFirstStart(newDirectory, skip);
    const recording = without(whole, (inode) => inode === folderOf(whole));
    const { faults } = await explore("new folder unsynced", { ...firstStart, recording, directory: newDirectory });
    expect(faults.filter((fault) => /lost/.test(fault))).not.toEqual([]);
  });
});
