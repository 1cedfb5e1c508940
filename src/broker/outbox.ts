/**
 * What is to be written to one connection. Handlers append; `flush`, once per event-loop turn, hands it all to the Wire in
 * one write. Bytes that others own (the read a message came in, an encoding shared by many subscribers) are only
 * remembered as a run and, when nothing else joins them, written from where they are.
 *
 *   idle ──append──→ dirty ──flush──→ idle      all was taken
 *                      ↑         └──→ blocked   the peer is slow; what comes now is copied and waits, up to a limit
 *                      └─────────────────┘ drained
 */
import type { Figures } from "./figures.ts";
import type { Wire } from "./wire.ts";
import type { SlabPool } from "./slabs.ts";
import { slabBytesMax } from "./slabs.ts";
import { outboxBytesMax, outboxBytesMaxCrowded, outboxBytesMaxTotal, outboxEarlyFlushBytes } from "./limits.ts";

/** Shared by all outboxes of a broker. */
export interface OutboxHost {
  readonly slabs: SlabPool;
  readonly figures: Pick<Figures, "bytesSent">;
  /** Bytes waiting in blocked outboxes. */
  waitingBytes: number;
  /** Some write of this turn was not taken whole: bytes lent to outboxes are still in use. */
  lentBytesInUse: boolean;
  /** The outbox has something to write: `flush` it at the end of the turn. */
  outboxDirty(outbox: Outbox): void;
}

const nothing = Buffer.alloc(0);

export class Outbox {
  /** The slab that `reserve` gives places in. */
  slab: Buffer = nothing;
  blocked = false;
  private readonly wire: Wire;
  private readonly host: OutboxHost;
  private used = 0;
  /** Bytes of somebody else's, to follow the slab's. */
  private run: Buffer = nothing;
  private runStart = 0;
  private runEnd = 0;
  /** Whole buffers that go before the slab. Only while blocked. */
  private waiting: Buffer[] = [];
  private waitingBytes = 0;
  private dirty = false;
  private closed = false;

  constructor(wire: Wire, host: OutboxHost) {
    this.wire = wire;
    this.host = host;
  }

  /** No room for anything that may be left out. */
  get full(): boolean {
    if (!this.blocked) return false;
    const bytesMax = this.host.waitingBytes > outboxBytesMaxTotal ? outboxBytesMaxCrowded : outboxBytesMax;
    return this.waitingBytes + this.used > bytesMax;
  }

  /** Bytes the peer has not taken, beyond what the network holds. */
  get unread(): number {
    return this.blocked ? this.waitingBytes + this.used : 0;
  }

  /** Appends bytes that stay as they are until the turn's flush. */
  append(bytes: Buffer, start: number, end: number): void {
    if (this.runEnd === start && this.run === bytes) {
      this.runEnd = end;
    } else {
      if (this.runEnd > this.runStart) this.settle();
      this.run = bytes;
      this.runStart = start;
      this.runEnd = end;
      if (!this.dirty) this.markDirty();
    }
    if (this.used + this.runEnd - this.runStart >= outboxEarlyFlushBytes) this.writeAll();
  }

  /** A place for `bytes` bytes in `slab`, to be filled at once; at most `slabBytesMax`. */
  reserve(bytes: number): number {
    if (this.runEnd > this.runStart) this.settle();
    if (!this.dirty) this.markDirty();
    if (this.used + bytes > this.slab.length) this.makeRoom(bytes);
    const at = this.used;
    this.used += bytes;
    return at;
  }

  /** Hands all there is to the Wire. */
  flush(): void {
    this.dirty = false;
    this.writeAll();
  }

  /** The Wire has got rid of what it could not take at once. */
  drained(): void {
    this.blocked = false;
    let written = 0;
    for (const bytes of this.waiting) {
      written++;
      this.waitingBytes -= bytes.length;
      this.host.waitingBytes -= bytes.length;
      if (this.write(bytes)) continue;
      // The rest waits here, where it counts.
      this.block();
      break;
    }
    if (written > 0) this.waiting = this.waiting.slice(written);
    this.flush();
  }

  close(): void {
    this.closed = true;
    this.host.waitingBytes -= this.waitingBytes;
    this.waitingBytes = 0;
    this.waiting = [];
    this.run = nothing;
    this.runStart = this.runEnd = 0;
    if (this.slab.length > 0) this.host.slabs.giveBack(this.slab);
    this.slab = nothing;
    this.used = 0;
  }

  private writeAll(): void {
    if (this.closed) return;
    if (this.blocked) {
      // Lent bytes are only good for this turn.
      if (this.runEnd > this.runStart) this.settle();
      return;
    }
    if (this.used === 0) {
      if (this.runEnd > this.runStart) this.writeRun();
      return;
    }
    if (this.runEnd > this.runStart) {
      if (this.used + this.runEnd - this.runStart <= slabBytesMax) this.settle();
      else {
        this.writeSlab();
        return this.writeAll();
      }
    }
    this.writeSlab();
  }

  private markDirty(): void {
    this.dirty = true;
    this.host.outboxDirty(this);
  }

  /** Copies the run behind the slab's bytes: after this all is ours. */
  private settle(): void {
    const { run, runStart, runEnd } = this;
    const bytes = runEnd - runStart;
    this.run = nothing;
    this.runStart = this.runEnd = 0;
    if (bytes > slabBytesMax) {
      if (this.used > 0) this.setSlabAside();
      this.setAside(Buffer.from(run.subarray(runStart, runEnd)));
      return;
    }
    if (this.used + bytes > this.slab.length) this.makeRoom(bytes);
    run.copy(this.slab, this.used, runStart, runEnd);
    this.used += bytes;
  }

  private makeRoom(bytes: number): void {
    const { slab, used } = this;
    if (used + bytes <= slabBytesMax) {
      const larger = this.host.slabs.lend(used + bytes);
      slab.copy(larger, 0, 0, used);
      this.slab = larger;
      if (slab.length > 0) this.host.slabs.giveBack(slab);
      return;
    }
    this.setSlabAside();
    this.slab = this.host.slabs.lend(bytes);
  }

  /** A full slab is written now, or waits if the peer is slow. */
  private setSlabAside(): void {
    const { slab, used } = this;
    this.slab = nothing;
    this.used = 0;
    if (this.setAside(slab.subarray(0, used))) this.host.slabs.giveBack(slab);
  }

  /** True when the bytes may be used again. */
  private setAside(bytes: Buffer): boolean {
    if (!this.blocked) {
      if (this.write(bytes)) return true;
      this.block();
      return false;
    }
    this.waiting.push(bytes);
    this.waitingBytes += bytes.length;
    this.host.waitingBytes += bytes.length;
    return false;
  }

  private writeRun(): void {
    const bytes = this.run.subarray(this.runStart, this.runEnd);
    this.run = nothing;
    this.runStart = this.runEnd = 0;
    if (!this.write(bytes)) this.block();
  }

  private writeSlab(): void {
    const { slab } = this;
    if (this.write(slab.subarray(0, this.used))) this.host.slabs.giveBack(slab);
    else this.block();
    this.slab = nothing;
    this.used = 0;
  }

  /** True when all was taken. */
  private write(bytes: Buffer): boolean {
    this.host.figures.bytesSent += bytes.length;
    return this.wire.write(bytes);
  }

  private block(): void {
    this.blocked = true;
    this.host.lentBytesInUse = true;
  }
}
