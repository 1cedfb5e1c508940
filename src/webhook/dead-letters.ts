import type { Instant } from "../base/clock.ts";
import type { OwedDelivery } from "../store/change.ts";
import { deadLetterBytesMax, deadLettersMax, deliveryBytesOverhead } from "./limits.ts";
import { LinkedList } from "./linked-list.ts";

/** A delivery we stopped trying. */
export interface DeadLetter {
  readonly owed: OwedDelivery;
  readonly reason: string;
  /** What was seen last: a status, the beginning of an answer. */
  readonly detail: string;
  readonly attempts: number;
  readonly diedAt: Instant;
}

/** The latest of them, for the operator; bounded, so the oldest make room. */
export class DeadLetters implements Iterable<DeadLetter> {
  private readonly letters = new LinkedList<DeadLetter>();
  private count = 0;
  private bytes = 0;

  get size(): number {
    return this.count;
  }

  add(letter: DeadLetter): void {
    this.letters.push(letter);
    this.count++;
    this.bytes += bytesOf(letter);
    while (this.count > deadLettersMax || this.bytes > deadLetterBytesMax) this.forgetOldest();
  }

  *[Symbol.iterator](): Generator<DeadLetter> {
    for (let link = this.letters.first; link !== undefined; link = link.next) yield link.value;
  }

  private forgetOldest(): void {
    const oldest = this.letters.first!;
    this.letters.remove(oldest);
    this.count--;
    this.bytes -= bytesOf(oldest.value);
  }
}

function bytesOf({ owed }: DeadLetter): number {
  return owed.body.length + deliveryBytesOverhead;
}
