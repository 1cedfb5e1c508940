/**
 * The part of an endpoint's deliveries that is in memory: a line per order key, of which only the head may be attempted.
 * Whatever else is owed is in the store: behind the lines here, and in lines that wait for their time.
 *
 *   line: ready → attempting → ready (the next one, or a free second request)
 *                     └──────→ closed (empty, or its head waits)
 *
 * Nothing here sorts or searches: whatever leaves, from whatever place, leaves at once.
 */
import type { StoredDelivery } from "../store/deliveries.ts";
import type { Attempting, Due } from "./delivery.ts";
import type { Link } from "./linked-list.ts";
import { assert } from "../base/assert.ts";
import { due } from "./delivery.ts";
import { deliveryBytesOverhead, lineBytesMax, windowBytesMax } from "./limits.ts";
import { LinkedList } from "./linked-list.ts";

export interface Entry {
  delivery: Due | Attempting;
  readonly position: number;
  readonly bytes: number;
  readonly line: Line;
  inLine: Link<Entry>;
}

/** The first deliveries with one order key. */
export interface Line {
  readonly key: string;
  readonly entries: LinkedList<Entry>;
  /** Of the last that was added. */
  lastPosition: number;
  bytes: number;
  state: "ready" | "attempting";
  /** Its place among the ready lines. */
  inReady: Link<Line> | undefined;
  /** The store has more of this line, behind what is here. */
  hasMore: boolean;
}

export class Window {
  private readonly lines = new Map<string, Line>();
  private readonly ready = new LinkedList<Line>();
  private readonly underWay = new Set<Entry>();
  private bytes = 0;

  get inflight(): number {
    return this.underWay.size;
  }

  /** Of the attempts under way. */
  get positions(): number[] {
    return Array.from(this.underWay, ({ position }) => position);
  }

  get isFull(): boolean {
    return this.bytes >= windowBytesMax;
  }

  /** Worth reading more for. */
  get isHalfEmpty(): boolean {
    return this.bytes < windowBytesMax / 2;
  }

  line(key: string): Line | undefined {
    return this.lines.get(key);
  }

  /** Adds the next of a line; false when its line has its share of the memory already: the store has it. */
  add(stored: StoredDelivery): boolean {
    const { orderKey, body } = stored.owed;
    const line = this.lines.get(orderKey) ?? this.open(orderKey);
    if (stored.position <= line.lastPosition) return true;
    const bytes = body.length + deliveryBytesOverhead;
    if (line.hasMore || (line.bytes > 0 && line.bytes + bytes > lineBytesMax)) {
      line.hasMore = true;
      return false;
    }
    // Small bodies share Node's pool: a tenth of the cost of an ArrayBuffer each.
    const owed = isShared(body) ? { ...stored.owed, body: Buffer.from(body) } : stored.owed;
    const entry = { delivery: due({ ...stored, owed }), position: stored.position, bytes, line } as Entry;
    entry.inLine = line.entries.push(entry);
    line.lastPosition = stored.position;
    line.bytes += bytes;
    this.bytes += bytes;
    if (line.entries.first === entry.inLine) this.makeReady(line);
    return true;
  }

  /** The head of the line that has been ready the longest. */
  get firstReady(): Entry | undefined {
    return this.ready.first?.value.entries.first?.value;
  }

  find(key: string, position: number): Entry | undefined {
    // What leaves out of its turn is old, and so near the head.
    for (let link = this.lines.get(key)?.entries.first; link !== undefined; link = link.next) {
      if (link.value.position === position) return link.value;
      if (link.value.position > position) return undefined;
    }
    return undefined;
  }

  /** The head of a ready line is being sent. */
  attempt(entry: Entry, delivery: Attempting): void {
    const { line } = entry;
    assert(line.state === "ready" && line.entries.first === entry.inLine, "only the head of a line is attempted");
    this.ready.remove(line.inReady!);
    line.state = "attempting";
    entry.delivery = delivery;
    this.underWay.add(entry);
  }

  /** It was sent in vain, and goes again at once. */
  putBack(entry: Entry, delivery: Due): void {
    this.underWay.delete(entry);
    entry.delivery = delivery;
    this.makeReady(entry.line);
  }

  /** It is owed no more. Its line stays open, though it may be empty. */
  remove(entry: Entry): void {
    const { line } = entry;
    const wasHead = line.entries.first === entry.inLine;
    this.underWay.delete(entry);
    this.bytes -= entry.bytes;
    line.bytes -= entry.bytes;
    line.entries.remove(entry.inLine);
    if (!wasHead) return;
    if (line.state === "ready") this.ready.remove(line.inReady!);
    if (line.entries.first !== undefined) this.makeReady(line);
  }

  /** What is left of the line is the store's again. */
  close(line: Line): void {
    for (let link = line.entries.first; link !== undefined; link = link.next) this.underWay.delete(link.value);
    if (line.state === "ready" && line.entries.first !== undefined) this.ready.remove(line.inReady!);
    this.bytes -= line.bytes;
    this.lines.delete(line.key);
  }

  private open(key: string): Line {
    const line: Line = {
      key,
      entries: new LinkedList(),
      lastPosition: 0,
      bytes: 0,
      state: "ready",
      inReady: undefined,
      hasMore: false,
    };
    this.lines.set(key, line);
    return line;
  }

  private makeReady(line: Line): void {
    line.state = "ready";
    line.inReady = this.ready.push(line);
  }
}

/** A view of a batch would keep all of it. */
function isShared({ length, buffer }: Uint8Array): boolean {
  return length < buffer.byteLength;
}
