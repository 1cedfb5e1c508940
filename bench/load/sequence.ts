/**
 * Judges the order in which each receiver hears each sender, whose messages are numbered from 0. What is in order
 * costs one comparison; numbers that were passed over are remembered one by one, so a late message and a message that
 * came twice are told apart for sure.
 */
export class SequenceCheck {
  duplicates = 0;
  outOfOrder = 0;
  private readonly senders: number;
  private readonly next: Uint32Array;
  private readonly missing = new Set<number>();

  constructor({ senders, receivers }: { senders: number; receivers: number }) {
    this.senders = senders;
    this.next = new Uint32Array(senders * receivers);
  }

  /** Whether this message had not arrived before. */
  arrived(receiver: number, sender: number, sequence: number): boolean {
    const pair = receiver * this.senders + sender;
    const next = this.next[pair];
    if (sequence === next) {
      this.next[pair] = next + 1;
      return true;
    }
    return sequence > next ? this.leap(pair, next, sequence) : this.late(pair, sequence);
  }

  private leap(pair: number, next: number, sequence: number): true {
    for (let passed = next; passed < sequence && this.missing.size < missingMax; passed++) {
      this.missing.add(keyOf(pair, passed));
    }
    this.next[pair] = sequence + 1;
    return true;
  }

  private late(pair: number, sequence: number): boolean {
    const first = this.missing.delete(keyOf(pair, sequence));
    if (first) this.outOfOrder++;
    else this.duplicates++;
    return first;
  }
}

/** A run that misses more has failed beyond interest; later arrivals then count as duplicates. */
const missingMax = 1_000_000;

function keyOf(pair: number, sequence: number): number {
  return pair * 2 ** 32 + sequence;
}
