import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "vitest";
import { diskFolder, isOnDisk, measureSync } from "./disk.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hookmq-bench-test-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a synced write has a cost, and nothing is left of it", () => {
  const { microsP50, microsP99 } = measureSync(folder);
  assert.ok(microsP50 > 0);
  assert.ok(microsP99 >= microsP50);
  assert.deepEqual(readdirSync(folder), []);
});

test("a folder that is not there is passed over", () => {
  const missing = join(folder, "missing");
  assert.equal(isOnDisk(missing), false);
  assert.equal(diskFolder([missing, process.cwd()]), process.cwd());
});
