/**
 * Packets as written in these tables: hex digits, and text in quotes for its UTF-8 bytes. Spaces are for the eye.
 * `10 0d 0004 'MQTT' 04 02 003c 0001 'a'`
 */
export function bytesOf(written: string): Buffer {
  const parts = written.split("'");
  return Buffer.concat(
    parts.map((part, index) => {
      if (index % 2 === 1) return Buffer.from(part, "utf8");
      const digits = part.replaceAll(/\s/g, "");
      if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error(`not hex: ${part}`);
      return Buffer.from(digits, "hex");
    }),
  );
}
