import { pooledSlabsMax } from "./limits.ts";

const sizes = [2 * 1024, 16 * 1024, 64 * 1024] as const;
export const slabBytesMax = sizes[2];

/** Buffers lent to outboxes while they have something to write, so that an idle connection owns none. */
export class SlabPool {
  private readonly free: Buffer[][] = sizes.map(() => []);

  /** The smallest slab with room for `bytes`, which is at most `slabBytesMax`. */
  lend(bytes: number): Buffer {
    const at = bytes <= sizes[0] ? 0 : bytes <= sizes[1] ? 1 : 2;
    return this.free[at].pop() ?? Buffer.allocUnsafeSlow(sizes[at]);
  }

  giveBack(slab: Buffer): void {
    const free = this.free[slab.length === sizes[0] ? 0 : slab.length === sizes[1] ? 1 : 2];
    if (free.length < pooledSlabsMax) free.push(slab);
  }
}
