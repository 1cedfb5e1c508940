/**
 * Deliveries that end with the process: those of the memory engine, and those of endpoints that ask for no more. The same
 * answers as the durable engine gives, from maps; `test/contract/` holds both to one suite.
 */
import type { DeliveryChange, OwedDelivery } from "./change.ts";
import {
  type DeadLetter,
  type DeadLetterFacts,
  type DeliveryStore,
  type DuePlace,
  type OwedFacts,
  type PositionRange,
  type QueuePart,
  queuePartOf,
  type Slice,
  type SliceLimits,
  type StoredDelivery,
  type StoredEndpoint,
} from "./deliveries.ts";
import type { Committed } from "./store.ts";

export class MemoryDeliveries implements DeliveryStore {
  private readonly byEndpoint = new Map<string, EndpointDeliveries>();
  private lastPosition = 0;

  /** Returns its position. */
  owe(owed: OwedDelivery): number {
    const position = ++this.lastPosition;
    // What came may share its bytes with a batch.
    this.of(owed.endpoint).owe(position, { ...owed, body: Buffer.from(owed.body) });
    return position;
  }

  record(changes: readonly DeliveryChange[], done: Committed): void {
    const firstPosition = this.lastPosition + 1;
    for (const change of changes) this.fold(change);
    done(undefined, firstPosition);
  }

  fold(change: DeliveryChange): void {
    const deliveries = this.of(change.endpoint);
    if (change.type !== "dead-letter-replayed") return deliveries.fold(change);
    const letter = deliveries.takeLetter(change.position);
    if (letter !== undefined) this.owe({ ...letter.owed, acceptedAt: change.at, expiresAt: undefined });
  }

  endpoints(): StoredEndpoint[] {
    return Array.from(this.byEndpoint.values(), ({ facts }) => structuredClone(facts));
  }

  owedBehind(endpoint: string, after: number, limits: SliceLimits): Slice {
    return this.of(endpoint).slice(this.of(endpoint).order.behind(after), limits);
  }

  owedInLine(endpoint: string, orderKey: string, { after, upTo }: PositionRange, limits: SliceLimits): Slice {
    const deliveries = this.of(endpoint);
    return deliveries.slice(deliveries.lines.get(orderKey)?.behind(after, upTo) ?? [], limits);
  }

  owedDue(endpoint: string, range: Parameters<DeliveryStore["owedDue"]>[1]): OwedFacts[] {
    return this.of(endpoint).due(range);
  }

  *oldestOwed(endpoint: string, part: QueuePart | undefined, after: number): Iterable<OwedFacts> {
    const { order, rows } = this.of(endpoint);
    for (const position of order.behind(after)) {
      const row = rows.get(position)!;
      if (part === undefined || queuePartOf(row.owed.event) === part) yield factsOf(row);
    }
  }

  deadLetters(endpoint: string, after: number, { countMax, bytesMax }: SliceLimits): DeadLetter[] {
    const letters: DeadLetter[] = [];
    let bytes = 0;
    for (const letter of this.of(endpoint).letters) {
      if (letter.position <= after) continue;
      bytes += letter.owed.body.length;
      if (letters.length === countMax || (bytes > bytesMax && letters.length > 0)) break;
      letters.push(letter);
    }
    return letters;
  }

  *oldestDeadLetters(endpoint: string, after: number): Iterable<DeadLetterFacts> {
    for (const { position, owed, reason, detail, attempts, diedAt } of this.of(endpoint).letters) {
      const { deliveryId, event, orderKey, acceptedAt, body } = owed;
      const facts = { position, deliveryId, event, orderKey, acceptedAt, bodyBytes: body.length };
      if (position > after) yield { ...facts, reason, detail, attempts, diedAt };
    }
  }

  private of(endpoint: string): EndpointDeliveries {
    let deliveries = this.byEndpoint.get(endpoint);
    if (deliveries === undefined) {
      deliveries = new EndpointDeliveries(endpoint);
      this.byEndpoint.set(endpoint, deliveries);
    }
    return deliveries;
  }
}

class EndpointDeliveries {
  readonly facts: StoredEndpoint;
  readonly rows = new Map<number, StoredDelivery>();
  readonly order = new PositionList();
  readonly lines = new Map<string, PositionList>();
  /** Sorted. */
  private readonly waiting: DuePlace[] = [];
  /** In the order they died, which is not that of their positions. */
  private readonly dead = new Map<number, DeadLetter>();

  constructor(endpoint: string) {
    this.facts = {
      endpoint,
      accepted: 0,
      delivered: 0,
      dead: 0,
      dropped: 0,
      expired: 0,
      queued: { messages: { count: 0, bodyBytes: 0 }, clientEvents: { count: 0, bodyBytes: 0 } },
      deadLetters: { count: 0, bodyBytes: 0 },
      underWay: [],
      breaker: "",
      heldUntil: 0,
      batches: "",
    };
  }

  get letters(): DeadLetter[] {
    return [...this.dead.values()].sort((a, b) => a.position - b.position);
  }

  owe(position: number, owed: OwedDelivery): void {
    this.facts.accepted++;
    this.rows.set(position, { position, owed, attempts: 0, failures: 0, dueAt: undefined });
    this.order.push(position);
    let line = this.lines.get(owed.orderKey);
    if (line === undefined) {
      line = new PositionList();
      this.lines.set(owed.orderKey, line);
    }
    line.push(position);
    const part = this.facts.queued[queuePartOf(owed.event)];
    part.count++;
    part.bodyBytes += owed.body.length;
  }

  takeLetter(position: number): DeadLetter | undefined {
    const letter = this.dead.get(position);
    if (letter === undefined) return undefined;
    this.dead.delete(position);
    this.facts.deadLetters.count--;
    this.facts.deadLetters.bodyBytes -= letter.owed.body.length;
    return letter;
  }

  fold(change: Exclude<DeliveryChange, { type: "dead-letter-replayed" }>): void {
    switch (change.type) {
      case "attempts-under-way":
        this.facts.underWay = change.positions;
        return;
      case "breaker-moved":
        this.facts.breaker = change.breaker;
        this.facts.heldUntil = change.heldUntil;
        return;
      case "delivery-put-back": {
        const row = this.rows.get(change.position);
        if (row === undefined) return;
        this.waitNoMore(row);
        const { attempts, failures, dueAt } = change;
        this.rows.set(change.position, { ...row, attempts, failures, dueAt });
        this.waiting.splice(this.placeOf({ dueAt, position: row.position }), 0, { dueAt, position: row.position });
        return;
      }
      case "delivery-settled":
        if (this.remove(change.position) !== undefined) this.facts[change.outcome]++;
        return;
      case "delivery-died": {
        const row = this.remove(change.position);
        if (row === undefined) return;
        const { position, reason, detail, attempts, at } = change;
        this.facts.dead++;
        this.facts.deadLetters.count++;
        this.facts.deadLetters.bodyBytes += row.owed.body.length;
        this.dead.set(position, { position, owed: row.owed, reason, detail, attempts, diedAt: at });
        return;
      }
      case "dead-letters-forgotten":
        for (const { position } of this.letters) if (position <= change.upTo) this.takeLetter(position);
        return;
      case "dead-letter-deleted":
        this.takeLetter(change.position);
        return;
      case "batches-frozen":
        this.facts.batches = change.batches;
        return;
      default:
        change satisfies never;
    }
  }

  slice(positions: Iterable<number>, { countMax, bytesMax }: SliceLimits): Slice {
    const deliveries: StoredDelivery[] = [];
    let bytes = 0;
    for (const position of positions) {
      const row = this.rows.get(position)!;
      bytes += row.owed.body.length;
      if (deliveries.length === countMax || (bytes > bytesMax && deliveries.length > 0)) {
        return { deliveries, hasMore: true };
      }
      deliveries.push(row);
    }
    return { deliveries, hasMore: false };
  }

  due({ after, until, upTo, countMax }: Parameters<DeliveryStore["owedDue"]>[1]): OwedFacts[] {
    const due: OwedFacts[] = [];
    // Places are whole: none lies between a place and the one half a position behind it.
    const start = this.placeOf({ dueAt: after.dueAt, position: after.position + 0.5 });
    for (let i = start; i < this.waiting.length && due.length < countMax; i++) {
      const { dueAt, position } = this.waiting[i];
      if (dueAt > until) break;
      if (position <= upTo) due.push(factsOf(this.rows.get(position)!));
    }
    return due;
  }

  private remove(position: number): StoredDelivery | undefined {
    const row = this.rows.get(position);
    if (row === undefined) return undefined;
    const { owed } = row;
    this.rows.delete(position);
    this.order.delete(position);
    const line = this.lines.get(owed.orderKey)!;
    line.delete(position);
    if (line.size === 0) this.lines.delete(owed.orderKey);
    this.waitNoMore(row);
    const part = this.facts.queued[queuePartOf(owed.event)];
    part.count--;
    part.bodyBytes -= owed.body.length;
    return row;
  }

  private waitNoMore({ dueAt, position }: StoredDelivery): void {
    if (dueAt !== undefined) this.waiting.splice(this.placeOf({ dueAt, position }), 1);
  }

  /** Where this place is among those that wait, or would be. */
  private placeOf({ dueAt, position }: DuePlace): number {
    let low = 0;
    let high = this.waiting.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const at = this.waiting[middle];
      if (at.dueAt < dueAt || (at.dueAt === dueAt && at.position < position)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const holesKept = 32;

/** Positions that count up; any of them leaves in place, and its hole is closed later. */
class PositionList {
  /** Negative: gone. */
  private positions: number[] = [];
  private first = 0;
  size = 0;

  push(position: number): void {
    this.positions.push(position);
    this.size++;
  }

  delete(position: number): void {
    this.positions[this.indexOf(position)] = -position;
    this.size--;
    while (this.positions[this.first] < 0) this.first++;
    if (this.positions.length - this.size > Math.max(holesKept, this.size)) {
      this.positions = this.positions.filter((kept) => kept > 0);
      this.first = 0;
    }
  }

  *behind(after: number, upTo = Number.POSITIVE_INFINITY): Generator<number> {
    for (let i = after === 0 ? this.first : this.indexOf(after + 1); i < this.positions.length; i++) {
      const position = this.positions[i];
      if (position > upTo) return;
      if (position > 0) yield position;
    }
  }

  /** Of the first that is not smaller. */
  private indexOf(position: number): number {
    let low = this.first;
    let high = this.positions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (Math.abs(this.positions[middle]) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function factsOf({ position, owed, dueAt }: StoredDelivery): OwedFacts {
  const { deliveryId, event, orderKey, acceptedAt, body } = owed;
  return { position, deliveryId, event, orderKey, acceptedAt, bodyBytes: body.length, dueAt };
}
