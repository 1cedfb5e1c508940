import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { describe, test } from "vitest";
import { Compressor } from "./compression.ts";
import { compressionBytesMin } from "./limits.ts";

const compress = (compressor: Compressor, body: Uint8Array) =>
  new Promise<Uint8Array | undefined>((resolve) => compressor.compress(body, resolve));

for (const [encoding, unpack] of [
  ["gzip", gunzipSync],
  ["br", brotliDecompressSync],
] as const) {
  describe(encoding, () => {
    test("makes a body smaller that its receiver reads as it was", async () => {
      const body = Buffer.from(JSON.stringify({ rows: Array.from({ length: 200 }, (_, i) => ({ i, name: "plant" })) }));
      const packed = await compress(new Compressor(encoding), body);
      assert.ok(packed !== undefined && packed.length < body.length / 2);
      assert.deepEqual(unpack(packed), body);
    });

    test("leaves a body as it is that would not become smaller", async () => {
      assert.equal(await compress(new Compressor(encoding), randomBytes(4_000)), undefined);
    });

    test("gives each its own, however many come at once", async () => {
      const compressor = new Compressor(encoding);
      const bodies = Array.from({ length: 40 }, (_, i) => Buffer.from(`${i} `.repeat(1_000)));
      const packed = await Promise.all(bodies.map((body) => compress(compressor, body)));
      assert.deepEqual(
        packed.map((each) => unpack(each!)),
        bodies,
      );
    });
  });
}

test("small bodies are not worth it", () => {
  const compressor = new Compressor("gzip");
  assert.equal(compressor.isFor(Buffer.alloc(compressionBytesMin - 1)), false);
  assert.equal(compressor.isFor(Buffer.alloc(compressionBytesMin)), true);
});
