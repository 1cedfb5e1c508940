/**
 * A small disk that fills and empties: a file system in memory, of its own, where this process may mount one; elsewhere one
 * that only says it is full, which is all that the store looks at before it is quite full.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Orders } from "./back.ts";

const diskMiB = 64;

export interface Disk {
  readonly folder: string;
  /** For the broker that is to believe in it. */
  readonly orders: Orders;
  /** Of its room so much is left: none, or less than the store keeps for what gives room back. */
  fill(bytesLeft: number): void;
  empty(): void;
  leave(): void;
}

export function openDisk(): Disk {
  const folder = mkdtempSync(path.join(tmpdir(), "hookmq-disk-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${diskMiB}m,mode=0700`, "hookmq", folder]);
  return mounted.status === 0 ? new MountedDisk(folder) : new PretendedDisk(folder);
}

class MountedDisk implements Disk {
  readonly folder: string;
  readonly orders: Orders = {};
  private readonly ballast: string;

  constructor(folder: string) {
    this.folder = folder;
    this.ballast = path.join(folder, "ballast");
  }

  fill(bytesLeft: number): void {
    const { bavail, bsize } = statfsSync(this.folder);
    try {
      writeFileSync(this.ballast, Buffer.alloc(Math.max(0, bavail * bsize - bytesLeft)));
    } catch (error) {
      // The broker has taken a part of it meanwhile.
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }

  empty(): void {
    rmSync(this.ballast, { force: true });
  }

  leave(): void {
    const { status, stderr } = spawnSync("umount", [this.folder]);
    if (status !== 0) throw new Error(`the disk stays mounted: ${stderr}`);
    rmSync(this.folder, { recursive: true });
  }
}

class PretendedDisk implements Disk {
  readonly folder: string;
  readonly orders: Orders;
  private readonly sign: string;

  constructor(folder: string) {
    this.folder = folder;
    this.sign = path.join(folder, "full");
    this.orders = { fullWhile: this.sign };
  }

  fill(): void {
    writeFileSync(this.sign, "");
  }

  empty(): void {
    rmSync(this.sign, { force: true });
  }

  leave(): void {
    rmSync(this.folder, { recursive: true });
  }
}
