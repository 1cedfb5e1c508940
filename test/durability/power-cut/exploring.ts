/** Takes the power away at many steps of a recording, and judges what is found on each disk. */
import { existsSync, mkdtempSync, realpathSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { openDataFolder } from "../../../src/store/data-folder.ts";
import { SqliteStore } from "../../../src/store/sqlite.ts";
import type { Engine, StoredState } from "../../../src/store/store.ts";
import { storedState } from "../../../src/store/stored-state.ts";
import { Random } from "../../fault/random.ts";
import { Disk, type DiskOptions, type Image, writeImage } from "./disk.ts";
import type { Recording, Snapshot, Step } from "./recording.ts";

/** In each test of a long recording; of a short one more are tried, they are cheap. */
export const cutsWanted = Number(process.env.HOOKMQ_POWER_CUTS ?? 12);
export const seedWanted = Number(process.env.HOOKMQ_POWER_CUT_SEED ?? 1);

/** A folder of the caller's own: in memory where there is room, since nothing here needs a disk and another may need it. */
export function scratchFolder(): string {
  const inMemory = "/dev/shm";
  const roomy = existsSync(inMemory) && roomIn(inMemory) > 2 ** 30;
  return realpathSync(mkdtempSync(path.join(roomy ? inMemory : tmpdir(), "hookmq-power-cut-")));
}

function roomIn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

export interface Exploration {
  recording: Recording;
  names: DiskOptions["names"];
  /** The data folder, within the recorded one. */
  directory: string;
  /** `every`: one after each step. */
  cuts: number | "every";
  seed: number;
  /** What is wrong with a store that opened and is whole, given what had been noted before the cut; empty when nothing is. */
  judge: (store: Engine, state: StoredState, notes: readonly string[]) => string[];
}

export interface Findings {
  cuts: number;
  /** While the data file held what was carried over into it and not yet synced. */
  cutsInCheckpoints: number;
  /** One line each, with what leads there again. */
  faults: string[];
}

/** Tries the cuts, and says what was tried. */
export async function explore(title: string, exploration: Exploration): Promise<Findings> {
  const { recording, names, directory, cuts, seed, judge } = exploration;
  const { steps } = recording;
  const points = cuts === "every" ? new Map(steps.map((_, i) => [i + 1, 1])) : choosePoints(recording, cuts, seed);
  const findings: Findings = { cuts: 0, cutsInCheckpoints: 0, faults: [] };
  const playback = new Playback(recording, names);
  do {
    const { done } = playback;
    for (let again = 0; again < (points.get(done) ?? 0); again++) {
      // Its chance is its own, so that it can be had without those before it.
      const image = playback.disk.cut(new Random(seed * 1_000_003 + done * 101 + again));
      const faults = await faultsAfterCut(image, directory, (store, state) => judge(store, state, playback.notes));
      for (const fault of faults) findings.faults.push(`seed ${seed}, cut ${again} after step ${done}: ${fault}`);
      findings.cuts++;
      if (playback.checkpoints.isUnderWay) findings.cutsInCheckpoints++;
    }
  } while (playback.next());
  say(title, exploration, playback, findings);
  return findings;
}

/** What a cut leaves, and had been noted by then, at a moment of the seed's choice in a checkpoint. */
export function cutInCheckpoint(recording: Recording, names: DiskOptions["names"], seed: number) {
  const random = new Random(seed);
  const done = random.pick(stepsOf(recording).inCheckpoints);
  const playback = new Playback(recording, names);
  while (playback.done < done) playback.next();
  return { image: playback.disk.cut(random), notes: playback.notes };
}

/** A recording played step by step. */
class Playback {
  readonly disk: Disk;
  readonly checkpoints: CheckpointWatch;
  readonly notes: string[] = [];
  /** So many steps. */
  done = 0;
  private readonly steps: readonly Step[];

  constructor({ before, steps }: Recording, names: DiskOptions["names"]) {
    this.disk = new Disk({ before, names });
    this.checkpoints = new CheckpointWatch(before);
    this.steps = steps;
  }

  /** False at the end. */
  next(): boolean {
    if (this.done === this.steps.length) return false;
    const step = this.steps[this.done++];
    this.disk.play(step);
    this.checkpoints.see(step);
    if (step.type === "noted") this.notes.push(step.text);
    return true;
  }
}

/** How often to cut after so many steps: at the end, a third of the others anywhere, and the rest where it may hurt. */
function choosePoints(recording: Recording, cuts: number, seed: number): Map<number, number> {
  const random = new Random(seed);
  const { inCheckpoints, atEdges } = stepsOf(recording);
  const chosen = Array.from({ length: cuts - 1 }, () => {
    const where = random.next();
    if (where < 1 / 3) return random.below(recording.steps.length + 1);
    return random.pick(where < 2 / 3 && inCheckpoints.length > 0 ? inCheckpoints : atEdges);
  });
  const points = new Map<number, number>();
  for (const done of [...chosen, recording.steps.length]) points.set(done, (points.get(done) ?? 0) + 1);
  return points;
}

/** Where a cut may hurt: after so many steps. */
function stepsOf({ before, steps }: Recording): { inCheckpoints: number[]; atEdges: number[] } {
  const checkpoints = new CheckpointWatch(before);
  const inCheckpoints: number[] = [];
  const atEdges: number[] = [];
  for (const [i, step] of steps.entries()) {
    checkpoints.see(step);
    if (checkpoints.isUnderWay) inCheckpoints.push(i + 1);
    // Just before a sync, a name or a cut, and just after it.
    else if (step.type !== "written" && step.type !== "noted") atEdges.push(i, i + 1);
  }
  return { inCheckpoints, atEdges };
}

/** Follows the files of SQLite: a checkpoint lasts from the first write into the data file to the sync that ends it. */
class CheckpointWatch {
  isUnderWay = false;
  checkpoints = 0;
  /** The log begun anew; cut to nothing. */
  logsBegun = 0;
  logsCut = 0;
  private dataFile: number | undefined;
  private log: number | undefined;

  constructor({ found }: Snapshot) {
    for (const { path, inode } of found) this.meet(path, inode);
  }

  see(step: Step): void {
    const { type, inode } = step;
    if (type === "created") this.meet(step.path, inode);
    if (type === "written" && inode === this.log && step.offset === 0) this.logsBegun++;
    if (type === "truncated" && inode === this.log) this.logsCut++;
    if (inode !== this.dataFile || this.log === undefined) return;
    if (type === "written" && !this.isUnderWay) {
      this.isUnderWay = true;
      this.checkpoints++;
    }
    if (type === "synced") this.isUnderWay = false;
  }

  private meet(path: string, inode: number): void {
    if (path.endsWith(".db")) this.dataFile = inode;
    if (path.endsWith("-wal")) this.log = inode;
  }
}

/** What the store holds that is found after the cut, or why it is not whole. */
async function faultsAfterCut(
  image: Image,
  directory: string,
  judge: (store: Engine, state: StoredState) => string[],
): Promise<string[]> {
  const place = scratchFolder();
  try {
    writeImage(image, place);
    const folder = openDataFolder(path.join(place, directory));
    // It is looked at, not kept.
    folder.database.exec("PRAGMA synchronous = OFF");
    const store = new SqliteStore({ folder, sync: "none", clock: systemClock, log: silentLogger });
    try {
      const faults = store.check();
      return faults.length > 0 ? [`not whole: ${faults.join("; ")}`] : judge(store, await storedState(store));
    } finally {
      await store.close();
    }
  } catch (error) {
    return [`cannot be used: ${(error as Error).message}`];
  } finally {
    rmSync(place, { recursive: true });
  }
}

function say(title: string, { recording, seed }: Exploration, { checkpoints }: Playback, findings: Findings): void {
  const { steps } = recording;
  const bytes = steps.reduce((sum, step) => sum + (step.type === "written" ? step.bytes.length : 0), 0);
  const count = (type: Step["type"]) => steps.filter((step) => step.type === type).length;
  console.log(
    `${title}: ${steps.length} steps, ${(bytes / 2 ** 20).toFixed(1)} MiB, ${count("synced")} syncs, ` +
      `${count("noted")} obligations, ${checkpoints.checkpoints} checkpoints, ${checkpoints.logsBegun} logs begun, ` +
      `${checkpoints.logsCut} cut off; seed ${seed}: ${findings.cuts} cuts, ${findings.cutsInCheckpoints} of them in a ` +
      `checkpoint, ${findings.faults.length} faults`,
  );
}
