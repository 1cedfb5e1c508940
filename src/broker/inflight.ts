import { assert } from "../base/assert.ts";

/**
 * The QoS 1 and 2 messages on their way to one subscriber, by Packet Identifier: a small table that grows with the number
 * in flight and reuses its places, so that a message adds no object. Identifiers start at 1 and go round. [MQTT5 2.2.1]
 *
 *   QoS 1:  puback ──PUBACK──→ free
 *   QoS 2:  pubrec ──PUBREC──→ pubcomp ──PUBCOMP──→ free
 */
export const Awaiting = { nothing: 0, puback: 1, pubrec: 2, pubcomp: 3 } as const;
export type Awaiting = (typeof Awaiting)[keyof typeof Awaiting];

const slotsMin = 16;
const slotsMax = 65_536;
const noStates = new Uint8Array(1);
const noIdentifiers = new Uint16Array(1);
const noOrder = new Float64Array(1);
const noEntries: undefined[] = [];

export class InflightWindow<Entry> {
  // One empty slot, shared by every window that never held anything.
  private awaiting = noStates;
  private identifiers = noIdentifiers;
  private order = noOrder;
  private entries: (Entry | undefined)[] = noEntries;
  private nextIdentifier = 1;
  private taken = 0;
  count = 0;

  /** Takes the next free Packet Identifier. The caller keeps `count` below 65,535. */
  take(awaiting: Awaiting, entry: Entry | undefined): number {
    if ((this.count + 1) * 2 > this.awaiting.length && this.awaiting.length < slotsMax) this.grow();
    const mask = this.awaiting.length - 1;
    let identifier = this.nextIdentifier;
    while (this.awaiting[identifier & mask] !== Awaiting.nothing)
      identifier = identifier === 65_535 ? 1 : identifier + 1;
    this.nextIdentifier = identifier === 65_535 ? 1 : identifier + 1;
    this.put(identifier, awaiting, entry, this.taken++);
    this.count++;
    return identifier;
  }

  /** Puts back one that the store remembers; `take` goes on behind it. */
  restore(identifier: number, awaiting: Awaiting, entry: Entry | undefined): void {
    assert(this.state(identifier) === Awaiting.nothing, `Packet Identifier ${identifier} is in flight once`);
    while (
      this.awaiting.length < slotsMin ||
      this.awaiting[identifier & (this.awaiting.length - 1)] !== Awaiting.nothing
    )
      this.grow();
    this.put(identifier, awaiting, entry, this.taken++);
    this.count++;
    this.nextIdentifier = identifier === 65_535 ? 1 : identifier + 1;
  }

  /** What this identifier waits for; `nothing` when it is not in flight. */
  state(identifier: number): Awaiting {
    const slot = identifier & (this.awaiting.length - 1);
    return this.identifiers[slot] === identifier ? (this.awaiting[slot] as Awaiting) : Awaiting.nothing;
  }

  entry(identifier: number): Entry | undefined {
    return this.entries[identifier & (this.awaiting.length - 1)];
  }

  /** PUBREC: the message is the receiver's, its PUBREL is still ours. */
  release(identifier: number): void {
    this.awaiting[identifier & (this.awaiting.length - 1)] = Awaiting.pubcomp;
  }

  clear(): void {
    this.awaiting = noStates;
    this.identifiers = noIdentifiers;
    this.order = noOrder;
    this.entries = noEntries;
    this.count = 0;
  }

  settle(identifier: number): void {
    const slot = identifier & (this.awaiting.length - 1);
    this.awaiting[slot] = Awaiting.nothing;
    if (this.entries[slot] !== undefined) this.entries[slot] = undefined;
    this.count--;
  }

  /** In the order they were taken, which is the order to send them again in. [MQTT5 4.6.0-1] */
  inOrder(): { packetIdentifier: number; awaiting: Awaiting; entry: Entry | undefined }[] {
    const slots: number[] = [];
    for (let slot = 0; slot < this.awaiting.length; slot++)
      if (this.awaiting[slot] !== Awaiting.nothing) slots.push(slot);
    slots.sort((a, b) => this.order[a] - this.order[b]);
    return slots.map((slot) => ({
      packetIdentifier: this.identifiers[slot],
      awaiting: this.awaiting[slot] as Awaiting,
      entry: this.entries[slot],
    }));
  }

  private put(identifier: number, awaiting: Awaiting, entry: Entry | undefined, order: number): void {
    const slot = identifier & (this.awaiting.length - 1);
    this.awaiting[slot] = awaiting;
    this.identifiers[slot] = identifier;
    this.order[slot] = order;
    if (entry !== undefined) this.entries[slot] = entry;
  }

  /** Twice the places: identifiers that shared none before share none after. */
  private grow(): void {
    const old = { awaiting: this.awaiting, identifiers: this.identifiers, order: this.order, entries: this.entries };
    const slots = Math.max(slotsMin, old.awaiting.length * 2);
    this.awaiting = new Uint8Array(slots);
    this.identifiers = new Uint16Array(slots);
    this.order = new Float64Array(slots);
    this.entries = [];
    for (let slot = 0; slot < old.awaiting.length; slot++) {
      if (old.awaiting[slot] === Awaiting.nothing) continue;
      this.put(old.identifiers[slot], old.awaiting[slot] as Awaiting, old.entries[slot], old.order[slot]);
    }
  }
}
