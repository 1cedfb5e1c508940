/** Takes the power away at many steps of a recording, and judges what is found on each disk. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { silentLogger } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { openDataFolder } from "../../../src/store/data-folder.ts";
import { SqliteStore } from "../../../src/store/sqlite.ts";
import type { StoredState } from "../../../src/store/store.ts";
import { Random } from "../../fault/random.ts";
import { Disk, type DiskOptions, type Image, writeImage } from "./disk.ts";
import type { Step } from "./recording.ts";

/** In each test. */
export const cutsWanted = Number(process.env.HOOKMQ_POWER_CUTS ?? 40);
export const seedWanted = Number(process.env.HOOKMQ_POWER_CUT_SEED ?? 1);

export interface Exploration {
  steps: readonly Step[];
  disk: DiskOptions;
  /** The data folder, within the recorded one. */
  directory: string;
  cuts: number;
  seed: number;
  /** What is wrong with a store that opened and is whole, given what had been noted before the cut; empty when nothing is. */
  judge: (state: StoredState, notes: readonly string[]) => string[];
}

export interface Findings {
  cuts: number;
  /** While the data file held what was carried over into it and not yet synced. */
  cutsInCheckpoints: number;
  /** One line each, with what leads there again. */
  faults: string[];
}

async function explore({ steps, disk: options, directory, cuts, seed, judge }: Exploration): Promise<Findings> {
  const findings: Findings = { cuts: 0, cutsInCheckpoints: 0, faults: [] };
  const points = choosePoints(steps, cuts, new Random(seed));
  const disk = new Disk(options);
  const checkpoints = new CheckpointWatch();
  const notes: string[] = [];
  for (let done = 0; done <= steps.length; done++) {
    for (let again = 0; again < (points.get(done) ?? 0); again++) {
      // Of the cut alone, so that one can be had without those before it.
      const image = disk.cut(new Random(seed * 1_000_003 + done * 101 + again));
      const found = await open(image, directory);
      const faults = typeof found === "string" ? [found] : judge(found, notes);
      for (const fault of faults)
        findings.faults.push(`seed ${seed}, cut ${again} after step ${done} of ${steps.length}: ${fault}`);
      findings.cuts++;
      if (checkpoints.isUnderWay) findings.cutsInCheckpoints++;
    }
    if (done === steps.length) break;
    const step = steps[done];
    disk.play(step);
    checkpoints.see(step);
    if (step.type === "noted") notes.push(step.text);
  }
  return findings;
}

/** `explore`, saying what was tried. */
export async function exploreAloud(title: string, exploration: Exploration): Promise<Findings> {
  const findings = await explore(exploration);
  const { steps, seed } = exploration;
  const checkpoints = new CheckpointWatch();
  for (const step of steps) checkpoints.see(step);
  const bytes = steps.reduce((sum, step) => sum + (step.type === "written" ? step.bytes.length : 0), 0);
  const count = (type: Step["type"]) => steps.filter((step) => step.type === type).length;
  console.log(
    `${title}: ${steps.length} steps, ${Math.round(bytes / 2 ** 20)} MiB written, ${count("synced")} syncs, ` +
      `${count("noted")} obligations, ${checkpoints.seen} checkpoints, ${checkpoints.restarts} logs begun, ${checkpoints.logCuts} cut off; ` +
      `seed ${seed}: ${findings.cuts} cuts, ${findings.cutsInCheckpoints} in a checkpoint; ${findings.faults.length} faults`,
  );
  return findings;
}

/** How often to cut after so many steps. The first and the last are always among them. */
function choosePoints(steps: readonly Step[], cuts: number, random: Random): Map<number, number> {
  const points = new Map<number, number>();
  const cutAfter = (done: number) => points.set(done, (points.get(done) ?? 0) + 1);
  cutAfter(steps.length);
  const checkpoints = new CheckpointWatch();
  const telling = steps.flatMap((step, i) => {
    checkpoints.see(step);
    const tells = step.type !== "written" && step.type !== "noted";
    // Just before it and just after it.
    return tells ? [i, i + 1] : checkpoints.isUnderWay ? [i + 1] : [];
  });
  // A third of them anywhere.
  while ([...points.values()].reduce((sum, count) => sum + count, 0) < cuts)
    cutAfter(random.chance(1 / 3) ? random.below(steps.length + 1) : random.pick(telling));
  return points;
}

/** Follows the data file: from the first write into it to the sync that ends the checkpoint. */
class CheckpointWatch {
  isUnderWay = false;
  seen = 0;
  /** The log begun anew. */
  restarts = 0;
  /** The log cut to nothing. */
  logCuts = 0;
  private dataFile: number | undefined;
  private log: number | undefined;

  see(step: Step): void {
    if (step.type === "created" && step.path.endsWith(".db")) this.dataFile = step.inode;
    if (step.type === "created" && step.path.endsWith("-wal")) this.log = step.inode;
    if (step.type === "written" && step.inode === this.log && step.offset === 0) this.restarts++;
    if (step.type === "truncated" && step.inode === this.log) this.logCuts++;
    if (step.inode !== this.dataFile || this.log === undefined) return;
    if (step.type === "written" && !this.isUnderWay) {
      this.isUnderWay = true;
      this.seen++;
    }
    if (step.type === "synced") this.isUnderWay = false;
  }
}

/** What the store holds that a broker finds after the cut, or why it is not whole. */
async function open(image: Image, directory: string): Promise<StoredState | string> {
  const place = mkdtempSync(path.join(tmpdir(), "hookmq-after-cut-"));
  try {
    writeImage(image, place);
    const folder = openDataFolder(path.join(place, directory));
    // It is looked at, not kept.
    folder.database.exec("PRAGMA synchronous = OFF");
    const store = new SqliteStore({ folder, sync: "none", clock: systemClock, log: silentLogger });
    try {
      const faults = store.check();
      return faults.length > 0 ? `not whole: ${faults.join("; ")}` : await store.load();
    } finally {
      await store.close();
    }
  } catch (error) {
    return `cannot be used: ${(error as Error).message}`;
  } finally {
    rmSync(place, { recursive: true });
  }
}
