/**
 * The disk that brokers write to while they are measured. What a synced write costs there is half of every durable figure,
 * so it is told beside them.
 */
import { closeSync, fdatasyncSync, fsyncSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { microsNow } from "./load/clock.ts";
import { Histogram } from "./load/histogram.ts";

export interface SyncCost {
  microsP50: number;
  microsP99: number;
}

/** What Linux calls file systems that are memory: tmpfs, ramfs. */
const memoryFileSystems: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

/** The folder for temporary files, unless that is no disk. */
export function diskFolder(candidates: readonly string[] = [tmpdir(), "/var/tmp", process.cwd()]): string {
  return candidates.find(isOnDisk) ?? candidates[0];
}

export function isOnDisk(folder: string): boolean {
  try {
    return !memoryFileSystems.has(statfsSync(folder).type);
  } catch {
    return false;
  }
}

const writeBytes = 4096;
const writes = 200;
/** A slow disk is known after fewer. */
const measuringMs = 2_000;

/** Writes of 4 KiB one behind the other in a file that has its length already, each followed by fdatasync. */
export function measureSync(folder: string): SyncCost {
  const place = mkdtempSync(join(folder, "hookmq-bench-"));
  const file = openSync(join(place, "probe"), "w");
  try {
    writeSync(file, Buffer.alloc(writeBytes * writes));
    fsyncSync(file);
    const cost = new Histogram();
    const until = performance.now() + measuringMs;
    const bytes = Buffer.alloc(writeBytes, 1);
    for (let i = 0; i < writes && performance.now() < until; i++) {
      const startedAt = microsNow();
      writeSync(file, bytes, 0, writeBytes, i * writeBytes);
      fdatasyncSync(file);
      cost.add(Math.round(microsNow() - startedAt));
    }
    return { microsP50: cost.percentile(50)!, microsP99: cost.percentile(99)! };
  } finally {
    closeSync(file);
    rmSync(place, { recursive: true, force: true });
  }
}
