/**
 * Everything one endpoint is still owed, in memory: a line per order key, of which only the head may be attempted.
 *
 *   line: ready → attempting → ready (the next one, or a free second request)
 *           ↑________│  └────→ waiting (until its head is due) → ready
 *
 * Nothing here sorts or searches: whatever leaves, from whatever place, leaves at once.
 */
import type { Instant } from "../base/clock.ts";
import { assert } from "../base/assert.ts";
import type { OwedDelivery } from "../store/change.ts";
import type { Attempting, Due } from "./delivery.ts";
import type { Link } from "./linked-list.ts";
import { DueHeap } from "./due-heap.ts";
import { due } from "./delivery.ts";
import { clientEventsShare, deliveryBytesOverhead } from "./limits.ts";
import { LinkedList } from "./linked-list.ts";

export interface Entry {
  delivery: Due | Attempting;
  readonly bytes: number;
  readonly line: Line;
  readonly space: Space;
  inLine: Link<Entry>;
  byAge: Link<Entry>;
}

/** The deliveries with one order key. */
interface Line {
  readonly key: string;
  readonly entries: LinkedList<Entry>;
  state: "ready" | "attempting" | "waiting";
  /** Its place among the ready lines. */
  inReady: Link<Line> | undefined;
  /** Of its head, while it waits. */
  dueAt: Instant;
  heapIndex: number;
}

/** A part of the endpoint's memory, with its deliveries by age. */
interface Space {
  bytes: number;
  readonly bytesMax: number;
  readonly byAge: LinkedList<Entry>;
}

export class Backlog {
  private readonly lines = new Map<string, Line>();
  private readonly ready = new LinkedList<Line>();
  private readonly waiting = new DueHeap<Line>();
  private readonly messages: Space;
  private readonly clientEvents: Space;
  private entryCount = 0;
  private attemptingCount = 0;

  constructor(bytesMax: number) {
    const clientBytesMax = Math.floor(bytesMax * clientEventsShare);
    this.messages = { bytes: 0, bytesMax: bytesMax - clientBytesMax, byAge: new LinkedList() };
    this.clientEvents = { bytes: 0, bytesMax: clientBytesMax, byAge: new LinkedList() };
  }

  /** Those nobody is sending at the moment. */
  get queued(): number {
    return this.entryCount - this.attemptingCount;
  }

  get inflight(): number {
    return this.attemptingCount;
  }

  get bytes(): number {
    return this.messages.bytes + this.clientEvents.bytes;
  }

  hasRoomFor(owed: OwedDelivery): boolean {
    const space = this.spaceOf(owed);
    return space.bytes + bytesOf(owed) <= space.bytesMax;
  }

  add(owed: OwedDelivery): void {
    const line = this.lineOf(owed.orderKey);
    const space = this.spaceOf(owed);
    const entry = { delivery: due(owed), bytes: bytesOf(owed), line, space } as Entry;
    entry.inLine = line.entries.push(entry);
    entry.byAge = space.byAge.push(entry);
    space.bytes += entry.bytes;
    this.entryCount++;
    if (line.entries.first === entry.inLine) this.makeReady(line);
  }

  /** The head of the line that has been ready the longest. */
  get firstReady(): Entry | undefined {
    return this.ready.first?.value.entries.first?.value;
  }

  /** The head of the line that waits for the earliest time. */
  get firstWaiting(): Entry | undefined {
    return this.waiting.first?.entries.first?.value;
  }

  get nextDueAt(): Instant | undefined {
    return this.waiting.first?.dueAt;
  }

  /** The oldest delivery of which nothing is under way: of the space that `owed` is to have, or of all. */
  oldest(owed?: OwedDelivery): Entry | undefined {
    if (owed !== undefined) return oldestIn(this.spaceOf(owed));
    const message = oldestIn(this.messages);
    const clientEvent = oldestIn(this.clientEvents);
    if (message === undefined || clientEvent === undefined) return message ?? clientEvent;
    return message.delivery.owed.acceptedAt <= clientEvent.delivery.owed.acceptedAt ? message : clientEvent;
  }

  /** Makes ready the lines whose time has come. */
  wake(now: Instant): void {
    for (let line = this.waiting.first; line !== undefined && line.dueAt <= now; line = this.waiting.first) {
      this.waiting.remove(line);
      this.makeReady(line);
    }
  }

  /** The head of a line that is ready or waiting is being sent. */
  attempt(entry: Entry, delivery: Attempting): void {
    assert(entry.line.entries.first === entry.inLine, "only the head of a line is attempted");
    this.leave(entry.line);
    entry.line.state = "attempting";
    entry.delivery = delivery;
    this.attemptingCount++;
  }

  /** It was sent in vain, and stays the head of its line. */
  putBack(entry: Entry, delivery: Due, now: Instant): void {
    this.attemptingCount--;
    entry.delivery = delivery;
    const { line } = entry;
    if (delivery.dueAt <= now) {
      this.makeReady(line);
      return;
    }
    line.state = "waiting";
    line.dueAt = delivery.dueAt;
    this.waiting.add(line);
  }

  /** It is owed no more. */
  remove(entry: Entry): void {
    const { line, space } = entry;
    const wasHead = line.entries.first === entry.inLine;
    if (entry.delivery.state === "attempting") this.attemptingCount--;
    this.entryCount--;
    space.bytes -= entry.bytes;
    space.byAge.remove(entry.byAge);
    line.entries.remove(entry.inLine);
    if (!wasHead) return;
    this.leave(line);
    if (line.entries.first === undefined) this.lines.delete(line.key);
    else this.makeReady(line);
  }

  private spaceOf(owed: OwedDelivery): Space {
    return owed.event === "on_message_publish" ? this.messages : this.clientEvents;
  }

  private lineOf(key: string): Line {
    let line = this.lines.get(key);
    if (line === undefined) {
      line = { key, entries: new LinkedList(), state: "ready", inReady: undefined, dueAt: 0, heapIndex: -1 };
      this.lines.set(key, line);
    }
    return line;
  }

  private makeReady(line: Line): void {
    line.state = "ready";
    line.inReady = this.ready.push(line);
  }

  /** Out of the ready lines or the waiting ones. */
  private leave(line: Line): void {
    if (line.state === "ready") this.ready.remove(line.inReady!);
    else if (line.state === "waiting") this.waiting.remove(line);
  }
}

function bytesOf(owed: OwedDelivery): number {
  return owed.body.length + deliveryBytesOverhead;
}

/** Those under way are passed over: there are never more than the endpoint has connections. */
function oldestIn(space: Space): Entry | undefined {
  let link = space.byAge.first;
  while (link !== undefined && link.value.delivery.state === "attempting") link = link.next;
  return link?.value;
}
