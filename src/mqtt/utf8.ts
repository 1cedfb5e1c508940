/**
 * UTF-8 Encoded Strings as MQTT has them: well-formed, without U+0000. The rules are the same in 5.0 and 3.1.1 (and 3.1
 * is held to them too). The payload of a message is under Unicode's rules alone and may hold U+0000: judge that with
 * `isUtf8` of `node:buffer`.
 */

/** Makes nothing. False for overlong forms, surrogates, what is above U+10FFFF, what is cut off, and U+0000. */
export function isWellFormedUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const lead = bytes[at++];
    if (lead < 0x80) {
      if (lead === 0) return false; // [MQTT5 1.5.4-2] [MQTT311 1.5.3-2]
      continue;
    }
    // From here: table 3-7 of the Unicode standard. [MQTT5 1.5.4-1] [MQTT311 1.5.3-1]
    if (lead < 0xc2 || lead > 0xf4) return false;
    const continuations = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (at + continuations > end) return false;
    const second = bytes[at];
    const secondMin = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const secondMax = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (second < secondMin || second > secondMax) return false;
    if (continuations > 1 && (bytes[at + 1] & 0xc0) !== 0x80) return false;
    if (continuations > 2 && (bytes[at + 2] & 0xc0) !== 0x80) return false;
    at += continuations;
  }
  return true;
}

/** The text of `bytes[start..end)`, a byte order mark included [MQTT5 1.5.4-3]; `undefined` when it is ill-formed. */
export function decodeUtf8(bytes: Buffer, start: number, end: number): string | undefined {
  return isWellFormedUtf8(bytes, start, end) ? bytes.toString("utf8", start, end) : undefined;
}
