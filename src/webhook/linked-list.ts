/** A place in a LinkedList: whoever holds it can take its value out again. */
export interface Link<Value> {
  readonly value: Value;
  previous: Link<Value> | undefined;
  next: Link<Value> | undefined;
}

/** A queue from whose middle things leave too, at no cost and without a trace. */
export class LinkedList<Value> {
  first: Link<Value> | undefined;
  private last: Link<Value> | undefined;

  push(value: Value): Link<Value> {
    const link: Link<Value> = { value, previous: this.last, next: undefined };
    if (this.last === undefined) this.first = link;
    else this.last.next = link;
    this.last = link;
    return link;
  }

  /** `link` must be in this list. */
  remove(link: Link<Value>): void {
    const { previous, next } = link;
    if (previous === undefined) this.first = next;
    else previous.next = next;
    if (next === undefined) this.last = previous;
    else next.previous = previous;
    // A link that someone still holds must not keep alive all that came after it.
    link.previous = undefined;
    link.next = undefined;
  }
}
