import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDataFolder, StoreUnusable } from "./data-folder.ts";
import { applicationId, formatOf, migrate, newestFormat } from "./sqlite-schema.ts";

let root: string;
let directory: string;
let file: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "hookmq-folder-"));
  directory = path.join(root, "data");
  file = path.join(directory, "hookmq.db");
});
afterEach(() => rmSync(root, { recursive: true }));

function refusal(): StoreUnusable {
  try {
    openDataFolder(directory).close();
  } catch (error) {
    expect(error).toBeInstanceOf(StoreUnusable);
    return error as StoreUnusable;
  }
  throw new Error("the folder was opened");
}

/** A store with so many messages that every table has pages of its own. */
function fill(): void {
  const folder = openDataFolder(directory);
  const insert = folder.database.prepare("INSERT INTO messages VALUES (?, 't', 1, 0, 1, NULL, 'a', NULL, x'', ?)");
  for (let id = 1; id <= 200; id++) insert.run(id, Buffer.alloc(500, id));
  folder.close();
}

describe("a new data folder", () => {
  test("is made with its parents, for the broker's user alone, in the newest format", () => {
    directory = path.join(root, "a", "b");
    const folder = openDataFolder(directory);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    for (const name of ["hookmq.db", "hookmq.db-wal"])
      expect(statSync(path.join(directory, name)).mode & 0o777).toBe(0o600);
    expect(formatOf(folder.database)).toBe(newestFormat);
    folder.close();
  });

  test("that a crash left empty is used as if it were new", () => {
    mkdirSync(directory);
    const database = new DatabaseSync(file);
    database.exec("PRAGMA journal_mode = WAL");
    database.close();
    const folder = openDataFolder(directory);
    expect(formatOf(folder.database)).toBe(newestFormat);
    folder.close();
  });

  test("gives its space back: the file is made for that", () => {
    const folder = openDataFolder(directory);
    expect(folder.database.prepare("PRAGMA auto_vacuum").get()).toEqual({ auto_vacuum: 2 });
    folder.close();
  });
});

describe("the lock", () => {
  test("keeps out whoever comes second, naming the holder, until the first has closed", () => {
    const folder = openDataFolder(directory);
    const { code, message } = refusal();
    expect(code).toBe("in-use");
    expect(message).toBe(
      `the data folder ${directory} is in use by process ${process.pid}: one store serves one broker.`,
    );
    folder.close();
    expect(readdirSync(directory)).toEqual(["hookmq.db"]);
    openDataFolder(directory).close();
  });

  test("holds without the pid file, and a pid file without a lock is no hindrance", () => {
    const folder = openDataFolder(directory);
    rmSync(path.join(directory, "hookmq.db.pid"));
    expect(refusal().message).toContain("in use by another process");
    folder.close();
    writeFileSync(path.join(directory, "hookmq.db.pid"), "1\n");
    openDataFolder(directory).close();
  });
});

describe("a file that cannot be used is refused, named and left as it is:", () => {
  test("garbage", () => {
    mkdirSync(directory);
    const garbage = Buffer.from("this was never a database. ".repeat(400));
    writeFileSync(file, garbage);
    const { code, message } = refusal();
    expect(code).toBe("corrupt");
    expect(message).toContain(file);
    expect(message).toMatch(/left as it is.*store\.dir/s);
    expect(readFileSync(file)).toEqual(garbage);
  });

  test("a torn file", () => {
    fill();
    const torn = readFileSync(file).subarray(0, 4096 * 7 + 1000);
    writeFileSync(file, torn);
    expect(refusal().code).toBe("corrupt");
    expect(readFileSync(file)).toEqual(torn);
  });

  test("a page overwritten in the middle", () => {
    fill();
    const bytes = readFileSync(file);
    bytes.fill(0xff, bytes.length - 4096 * 5, bytes.length - 4096 * 4);
    writeFileSync(file, bytes);
    expect(refusal().code).toBe("corrupt");
    expect(readFileSync(file)).toEqual(bytes);
  });

  test("another program's database", () => {
    mkdirSync(directory);
    const database = new DatabaseSync(file);
    database.exec("CREATE TABLE theirs (x); PRAGMA user_version = 7");
    database.close();
    const before = readFileSync(file);
    expect(refusal().code).toBe("foreign");
    expect(readFileSync(file)).toEqual(before);
  });

  test("a newer format, by its number", () => {
    mkdirSync(directory);
    const database = new DatabaseSync(file);
    const newer = newestFormat + 1;
    database.exec(`CREATE TABLE future (x); PRAGMA user_version = ${newer}; PRAGMA application_id = ${applicationId}`);
    database.close();
    const before = readFileSync(file);
    const { code, message } = refusal();
    expect(code).toBe("newer-format");
    expect(message).toContain(`${file} was written by a newer HookMQ (store format ${newer};`);
    expect(readFileSync(file)).toEqual(before);
  });

  test("a folder where the data file should be", () => {
    mkdirSync(file, { recursive: true });
    expect(refusal().code).toBe("inaccessible");
  });
});

for (const [what, name] of [
  ["a file where the folder should be", "file"],
  ["a folder that cannot be made", "file/data"],
] as const) {
  test(`${what} is refused`, () => {
    writeFileSync(path.join(root, "file"), "");
    directory = path.join(root, name);
    const { code, message } = refusal();
    expect(code).toBe("inaccessible");
    expect(message).toContain(directory);
  });
}

describe("migrations", () => {
  const migrations = [
    "CREATE TABLE t (a)",
    "ALTER TABLE t ADD COLUMN b; UPDATE t SET b = a * 2",
    "CREATE INDEX t_by_b ON t (b)",
  ];

  test("lead from an older format to the newest, keeping what there is", () => {
    const database = new DatabaseSync(":memory:");
    migrate(database, migrations.slice(0, 1));
    database.exec("INSERT INTO t VALUES (21)");
    migrate(database, migrations);
    expect(formatOf(database)).toBe(3);
    expect(database.prepare("SELECT * FROM t").all()).toEqual([{ a: 21, b: 42 }]);
    migrate(database, migrations);
    expect(formatOf(database)).toBe(3);
    database.close();
  });

  test("that fail leave the format before them", () => {
    const database = new DatabaseSync(":memory:");
    expect(() => migrate(database, [migrations[0], "CREATE TABLE u (a); SELECT nothing FROM nowhere"])).toThrow();
    expect(formatOf(database)).toBe(1);
    expect(database.prepare("SELECT name FROM sqlite_schema").all()).toEqual([{ name: "t" }]);
    database.close();
  });
});
