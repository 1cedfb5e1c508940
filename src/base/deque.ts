/** Shared by all that hold nothing, which is most of them; `grow` replaces it. */
const empty: undefined[] = [];

/** A first-in, first-out queue on a ring that grows by doubling: `push` and `shift` cost the same at any length. */
export class Deque<Item> {
  private ring: (Item | undefined)[] = empty;
  private head = 0;
  private count = 0;

  get length(): number {
    return this.count;
  }

  push(item: Item): void {
    if (this.count === this.ring.length) this.grow();
    this.ring[(this.head + this.count) & (this.ring.length - 1)] = item;
    this.count++;
  }

  shift(): Item | undefined {
    if (this.count === 0) return undefined;
    const item = this.ring[this.head];
    this.ring[this.head] = undefined;
    this.head = (this.head + 1) & (this.ring.length - 1);
    this.count--;
    return item;
  }

  /** The last that was pushed. */
  pop(): Item | undefined {
    if (this.count === 0) return undefined;
    const last = (this.head + --this.count) & (this.ring.length - 1);
    const item = this.ring[last];
    this.ring[last] = undefined;
    return item;
  }

  first(): Item | undefined {
    return this.count === 0 ? undefined : this.ring[this.head];
  }

  clear(): void {
    this.ring = empty;
    this.head = 0;
    this.count = 0;
  }

  *[Symbol.iterator](): Generator<Item> {
    for (let i = 0; i < this.count; i++) yield this.ring[(this.head + i) & (this.ring.length - 1)] as Item;
  }

  private grow(): void {
    const items = [...this];
    this.ring = items as (Item | undefined)[];
    this.ring.length = Math.max(8, items.length * 2);
    this.ring.fill(undefined, items.length);
    this.head = 0;
  }
}
