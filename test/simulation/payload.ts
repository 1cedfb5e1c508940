/** Payloads that name themselves, and show it when a byte of them is not theirs. */
import type { Random } from "../fault/random.ts";

const filling = Buffer.alloc(128 * 1024, "the quick brown fox jumps over the lazy dog, ");

export function payloadOf(id: string, random: Random): Buffer {
  const bytes = random.chance(0.8) ? random.below(60) : random.chance(0.9) ? random.below(2000) : random.below(60_000);
  return Buffer.concat([Buffer.from(`${id} ${bytes} `), filling.subarray(0, bytes)]);
}

const known = new WeakMap<Uint8Array, { id: string | undefined }>();

/** The id; empty for an empty payload; `undefined` for one that is not as it was sent. */
export function idOf(payload: Uint8Array): string | undefined {
  let found = known.get(payload);
  if (found === undefined) {
    found = { id: payload.length === 0 ? "" : readId(payload) };
    known.set(payload, found);
  }
  return found.id;
}

function readId(payload: Uint8Array): string | undefined {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  const [id, length] = bytes.toString("latin1", 0, 64).split(" ", 2);
  const start = id.length + length.length + 2;
  const isWhole =
    bytes.length === start + Number(length) &&
    filling.compare(bytes, start, bytes.length, 0, bytes.length - start) === 0;
  return isWhole ? id : undefined;
}

/** The id in the body of an event. */
export function idInText(text: string): string {
  return text.slice(0, Math.max(0, text.indexOf(" ")));
}

/** Its publisher's count; 0 for a will. */
export function sequenceOf(id: string): number {
  const at = id.indexOf(":");
  return at < 0 ? 0 : Number(id.slice(at + 1));
}
