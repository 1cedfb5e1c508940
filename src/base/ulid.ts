/**
 * ULIDs: 48 bits of milliseconds and 80 of chance in 26 characters that sort as text in the order they were made.
 * One source never repeats and never steps back, also when the clock does.
 */
import type { Instant } from "./clock.ts";

/** Crockford's base 32: no I, L, O, U. */
const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const pairs = Array.from({ length: 1024 }, (_, value) => digits[value >> 5] + digits[value & 31]);
const countMax = 2 ** 40;

/** `random` gives a number in [0, 1). Within a millisecond the lower 40 bits of chance count up. */
export function createUlidSource(random: () => number): (now: Instant) => string {
  let time = -1;
  /** The time and the upper 40 bits of chance, as text. */
  let prefix = "";
  let count = 0;
  return (now) => {
    if (now > time || count === countMax) {
      time = Math.max(now, time + 1);
      prefix = text(time, 10) + text(Math.floor(random() * countMax), 8);
      // From the lower half, so that a millisecond has room for 2^39 of them.
      count = Math.floor((random() * countMax) / 2);
    }
    return prefix + text(count++, 8);
  };
}

function text(value: number, length: number): string {
  let result = "";
  let rest = value;
  for (let i = 0; i < length; i += 2) {
    result = pairs[rest % 1024] + result;
    rest = Math.floor(rest / 1024);
  }
  return result;
}
