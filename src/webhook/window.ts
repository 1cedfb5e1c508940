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
import type { Batch } from "./batch.ts";
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
  /** That it is in, since it was sent. */
  batch: Batch | undefined;
}

/** The first deliveries with one order key. */
export interface Line {
  readonly key: string;
  readonly entries: LinkedList<Entry>;
  /** Of the last that was added. */
  lastPosition: number;
  bytes: number;
  count: number;
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
  /** All that is in ready lines. */
  readonly sendable = { count: 0, bytes: 0 };

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
    const entry = {
      delivery: due({ ...stored, owed }),
      position: stored.position,
      bytes,
      line,
      batch: undefined,
    } as Entry;
    entry.inLine = line.entries.push(entry);
    line.lastPosition = stored.position;
    this.bytes += bytes;
    if (line.inReady !== undefined) this.countSendable(1, bytes);
    line.count++;
    line.bytes += bytes;
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
    this.leaveReady(line);
    line.state = "attempting";
    entry.delivery = delivery;
    this.underWay.add(entry);
  }

  /** The line that has been ready the longest. */
  get firstReadyLine(): Line | undefined {
    return this.ready.first?.value;
  }

  /** Its first entries are in a batch: until that has ended, nothing of the line is sent beside it. */
  hold(line: Line): void {
    this.leaveReady(line);
    line.state = "attempting";
  }

  /** The batch that held it is no more. */
  release(line: Line): void {
    if (line.state === "attempting" && line.entries.first !== undefined) this.makeReady(line);
  }

  /** One of a batch that was sent before this process, as the next of its line. */
  addHeld(stored: StoredDelivery): Entry {
    const { orderKey, body } = stored.owed;
    const line = this.lines.get(orderKey) ?? this.open(orderKey);
    const bytes = body.length + deliveryBytesOverhead;
    const entry = { delivery: due(stored), position: stored.position, bytes, line, batch: undefined } as Entry;
    entry.inLine = line.entries.push(entry);
    line.lastPosition = stored.position;
    line.count++;
    line.bytes += bytes;
    line.state = "attempting";
    this.bytes += bytes;
    return entry;
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
    if (line.inReady !== undefined) this.countSendable(-1, -entry.bytes);
    line.count--;
    line.bytes -= entry.bytes;
    line.entries.remove(entry.inLine);
    if (!wasHead) return;
    this.leaveReady(line);
    if (line.entries.first !== undefined) this.makeReady(line);
  }

  /** What is left of the line is the store's again. */
  close(line: Line): void {
    for (let link = line.entries.first; link !== undefined; link = link.next) this.underWay.delete(link.value);
    this.leaveReady(line);
    this.bytes -= line.bytes;
    this.lines.delete(line.key);
  }

  private open(key: string): Line {
    const line: Line = {
      key,
      entries: new LinkedList(),
      lastPosition: 0,
      bytes: 0,
      count: 0,
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
    this.countSendable(line.count, line.bytes);
  }

  private leaveReady(line: Line): void {
    if (line.inReady === undefined) return;
    this.ready.remove(line.inReady);
    line.inReady = undefined;
    this.countSendable(-line.count, -line.bytes);
  }

  private countSendable(count: number, bytes: number): void {
    this.sendable.count += count;
    this.sendable.bytes += bytes;
  }
}

/** A view of a batch would keep all of it. */
function isShared({ length, buffer }: Uint8Array): boolean {
  return length < buffer.byteLength;
}
