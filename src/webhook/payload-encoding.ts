/** Bytes of a payload as JSON text, by `body.encoding`. */
import { isAscii, isUtf8 } from "node:buffer";
import type { BodyEncoding } from "./options.ts";
import { base62PayloadBytesMax, bodyBytesMax } from "./limits.ts";

/** Why no body can be made of a payload that is too large for it: the reason its dead letter gives. */
export function refusal(encoding: BodyEncoding): string {
  return encoding === "base62" ? "payload_too_large_for_base62" : "too_large";
}

export function payloadBytesMax(encoding: BodyEncoding): number {
  return encoding === "base62" ? base62PayloadBytesMax : bodyBytesMax;
}

/** The payload as text; one that is not UTF-8 is not `plain`. */
export function payloadText(payload: Uint8Array, encoding: BodyEncoding): string {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  switch (encoding) {
    case "base64":
      return bytes.toString("base64");
    case "base62":
      return base62(bytes);
    case "plain":
      return bytes.toString("utf8");
    default:
      return encoding satisfies never;
  }
}

/**
 * The last member's value and the rest of its object, without the closing brace: a plain payload that is not UTF-8 goes
 * as base64 and says so in a member of its own.
 *
 * `JSON.stringify` escapes exactly what these bodies must escape, as they must: `"`, `\`, `\b \f \n \r \t`, and other
 * control characters as `\u00xx` in lower case. `/`, DEL and everything beyond ASCII stay as they are.
 */
export function payloadJson(payload: Uint8Array, encoding: BodyEncoding): string {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  switch (encoding) {
    case "base64":
      return `"${bytes.toString("base64")}"`;
    case "base62":
      return `"${base62(bytes)}"`;
    case "plain":
      if (isAscii(bytes)) return JSON.stringify(bytes.toString("latin1"));
      if (isUtf8(bytes)) return JSON.stringify(bytes.toString("utf8"));
      return `"${bytes.toString("base64")}","payload_encoding":"base64"`;
    default:
      return encoding satisfies never;
  }
}

const base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** A leaf of the division below: the most digits whose value is an exact `number`. */
const leafDigits = 8;

/** The payload as one big-endian number, and one `0` for each leading zero byte: `hello` is `7tQLFHz`. */
export function base62(payload: Buffer): string {
  let zeros = 0;
  while (zeros < payload.length && payload[zeros] === 0) zeros++;
  if (zeros === payload.length) return "0".repeat(zeros);
  const value = BigInt(`0x${payload.subarray(zeros).toString("hex")}`);

  // Halving the number again and again takes 4 ms for 16 KiB; splitting off digits from its end took 22.
  const powers = [62n ** BigInt(leafDigits)];
  for (let power = powers[0]; power <= value; power = powers.at(-1)!) powers.push(power * power);
  return "0".repeat(zeros) + digitsOf(value, powers, powers.length - 1).replace(/^0+/, "");
}

/** `value`, which is below `powers[level]`, in all the digits that has room for. */
function digitsOf(value: bigint, powers: readonly bigint[], level: number): string {
  if (level === 0) return leaf(Number(value));
  const half = powers[level - 1];
  const upper = value / half;
  return digitsOf(upper, powers, level - 1) + digitsOf(value - upper * half, powers, level - 1);
}

function leaf(value: number): string {
  let digits = "";
  let rest = value;
  for (let i = 0; i < leafDigits; i++) {
    digits = base62Digits[rest % 62] + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
