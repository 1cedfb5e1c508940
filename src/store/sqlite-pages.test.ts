import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type SqliteRecord, SqlitePages } from "./sqlite-pages.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "hookmq-pages-"));
  file = path.join(folder, "x.db");
});
afterEach(() => rmSync(folder, { recursive: true }));

function make(sql: string, fill: (database: DatabaseSync) => void = () => {}): void {
  const database = new DatabaseSync(file);
  database.exec(`PRAGMA auto_vacuum = INCREMENTAL; ${sql}`);
  fill(database);
  database.close();
}

function read(
  tree: "table" | "index",
  root = 3,
): { records: SqliteRecord[]; loss: { pages: number; records: number } } {
  const pages = new SqlitePages(file);
  const loss = { pages: 0, records: 0 };
  const records = [...pages.records(root, tree, loss)];
  pages.close();
  return { records, loss };
}

test("reads every kind of value as SQLite wrote it", () => {
  const values = [
    ...[0, 1, -1, 127, -128, 32_767, 8_388_607, -8_388_608, 2 ** 31 - 1, 2 ** 47 - 1, -(2 ** 47), 2 ** 53 - 1],
    ...[2n ** 62n, -(2n ** 63n), 1.5, -1e300, "", "ä – 漢 \0 x", "long ".repeat(5000)],
    ...[null, new Uint8Array(0), Uint8Array.from({ length: 20_000 }, (_, n) => n % 251)],
  ];
  make("CREATE TABLE t (a)", (database) => {
    for (const value of values) database.prepare("INSERT INTO t VALUES (?)").run(value);
  });
  const { records, loss } = read("table");
  expect(loss).toEqual({ pages: 0, records: 0 });
  expect(records.map(({ rowid }) => rowid)).toEqual(values.map((_, index) => index + 1));
  expect(records.map((record) => record.values[0])).toEqual(values);
});

test("reads payloads of every length around the points where they overflow", () => {
  const lengths = [...range(440, 560), ...range(4000, 4110), ...range(8100, 8200), 50_000];
  make("CREATE TABLE t (a); CREATE TABLE w (a PRIMARY KEY) WITHOUT ROWID", (database) => {
    database.exec("BEGIN");
    for (const length of lengths) {
      for (const table of ["t", "w"])
        database.prepare(`INSERT INTO ${table} VALUES (?)`).run(Buffer.alloc(length, length));
    }
    database.exec("COMMIT");
  });
  for (const [tree, root] of [
    ["table", 3],
    ["index", 4],
  ] as const) {
    const { records, loss } = read(tree, root);
    expect(loss).toEqual({ pages: 0, records: 0 });
    const found = records
      .map(({ values }) => values[0] as Uint8Array)
      .sort((left, right) => left.length - right.length);
    expect(found.map(({ length }) => length)).toEqual(lengths);
    expect(found.every((bytes) => bytes.every((byte) => byte === bytes.length % 256))).toBe(true);
  }
});

test("rows deleted before, in free pages and in cells, are not read again", () => {
  make("CREATE TABLE t (a)", (database) => {
    database.exec("BEGIN");
    for (let n = 0; n < 2000; n++) database.prepare("INSERT INTO t VALUES (?)").run(Buffer.alloc(200, n));
    database.exec("COMMIT; DELETE FROM t WHERE rowid > 100 AND rowid % 50 <> 0");
  });
  const before = read("table").records.length;
  const bytes = readFileSync(file);
  bytes.fill(0, 4096 * 2, 4096 * 3);
  writeFileSync(file, bytes);
  expect(before).toBe(138);
  expect(read("table")).toMatchObject({ records: { length: 138 }, loss: { pages: 1, records: 0 } });
});

test("whatever the bytes are, it ends, and does not multiply what it reads", () => {
  make("CREATE TABLE t (a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t (b)", (database) => {
    database.exec("BEGIN");
    for (let n = 0; n < 600; n++) database.prepare("INSERT INTO t VALUES (?, ?)").run(n, Buffer.alloc(n, n));
    database.exec("COMMIT");
  });
  const whole = readFileSync(file);
  // A linear congruential generator: the same damage in every run.
  let state = 1;
  const random = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state % below;
  };
  for (let run = 0; run < 60; run++) {
    const bytes = Buffer.from(whole);
    for (let n = 0; n < 1 + random(40); n++) bytes[4096 + random(bytes.length - 4096)] = random(256);
    const at = random(bytes.length);
    bytes.fill(random(256), at, at + random(2048));
    writeFileSync(file, bytes);
    for (const [tree, root] of [
      ["table", 3],
      ["index", 4],
    ] as const) {
      const { records } = read(tree, root);
      expect(records.length).toBeLessThanOrEqual(1200);
    }
  }
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, n) => from + n);
}
