import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, test } from "vitest";
import { diskFiles } from "./files.ts";
import { fileBytesMax } from "./limits.ts";

const folder = mkdtempSync(path.join(tmpdir(), "hocon-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(content: string | Uint8Array): string {
  const name = path.join(folder, "file.conf");
  writeFileSync(name, content);
  return name;
}

test("a file's text is read as UTF-8", () => {
  assert.deepEqual(diskFiles.read(file("a = ü")), { outcome: "text", text: "a = ü" });
});

test("a missing file is told from one that cannot be read", () => {
  assert.deepEqual(diskFiles.read(path.join(folder, "none")), { outcome: "missing" });
  assert.deepEqual(diskFiles.read(path.join(file("x"), "below")), { outcome: "missing" });
  assert.deepEqual(diskFiles.read(folder), { outcome: "unreadable", because: "it is not a regular file" });
});

test("bytes that are not UTF-8, and more than 1 MB, are refused", () => {
  assert.deepEqual(diskFiles.read(file(Uint8Array.of(0x61, 0xff))), {
    outcome: "unreadable",
    because: "it is not UTF-8 text",
  });
  assert.deepEqual(diskFiles.read(file("x".repeat(fileBytesMax + 1))), {
    outcome: "unreadable",
    because: "it is larger than 1 MB",
  });
  assert.equal(diskFiles.read(file("x".repeat(fileBytesMax))).outcome, "text");
});
