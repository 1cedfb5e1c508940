import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, test } from "vitest";
import { RotatingFile } from "./rotating-file.ts";

const root = mkdtempSync(path.join(tmpdir(), "rotating-"));
afterAll(() => rmSync(root, { recursive: true }));

let number = 0;
function freshPath(): string {
  return path.join(root, String(++number), "sub", "x.log");
}

function texts(file: string): Record<string, string> {
  const folder = path.dirname(file);
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(path.join(folder, name), "utf8")]),
  );
}

test("a full file is put aside, and the oldest goes", () => {
  const file = new RotatingFile({ path: freshPath(), rotateBytes: 8, rotatedFilesMax: 2 });
  const path_ = path.join(root, String(number), "sub", "x.log");
  for (const line of ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n"]) file.write(line);
  file.close();
  assert.deepEqual(texts(path_), { "x.log": "six\n", "x.log.1": "five\n", "x.log.2": "four\n" });
});

test("without files to keep it starts anew", () => {
  const name = freshPath();
  const file = new RotatingFile({ path: name, rotateBytes: 4, rotatedFilesMax: 0 });
  file.write("one\n");
  file.write("two\n");
  file.close();
  assert.deepEqual(texts(name), { "x.log": "two\n" });
});

test("a line longer than the file may be is written whole", () => {
  const name = freshPath();
  const file = new RotatingFile({ path: name, rotateBytes: 4, rotatedFilesMax: 1 });
  file.write("a long line\n");
  file.close();
  assert.deepEqual(texts(name), { "x.log": "a long line\n" });
});

test("it goes on where it stopped, and its size counts", () => {
  const name = freshPath();
  for (const line of ["one\n", "two\n", "three\n"]) {
    const file = new RotatingFile({ path: name, rotateBytes: 8, rotatedFilesMax: 1 });
    file.write(line);
    file.close();
  }
  assert.deepEqual(texts(name), { "x.log": "three\n", "x.log.1": "one\ntwo\n" });
});

test("a disk that refuses costs lines, which are counted, and no exception", () => {
  const name = freshPath();
  const file = new RotatingFile({ path: name, rotateBytes: 4, rotatedFilesMax: 1 });
  // A folder in the place of the rotated file cannot be replaced.
  mkdirSync(`${name}.1`);
  file.write("one\n");
  file.write("two\n");
  file.write("three\n");
  rmdirSync(`${name}.1`);
  file.write("four\n");
  file.close();
  assert.deepEqual(texts(name), { "x.log": "2 lines were lost\nfour\n", "x.log.1": "one\n" });
});

test("a log file that cannot be had is told at the start", () => {
  assert.throws(() => new RotatingFile({ path: path.join(root, "1"), rotateBytes: 4, rotatedFilesMax: 1 }));
});
