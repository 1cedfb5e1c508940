import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDataFolder, openForReading, StoreUnusable } from "./data-folder.ts";
import { faultsOfFolder, repair, type Repair } from "./salvage.ts";
import { applicationId, newestFormat } from "./sqlite-schema.ts";

const pageSize = 4096;
const now = new Date("2026-11-25T20:55:00.123Z");
const stamp = "20261125T205500Z";

let root: string;
let directory: string;
let file: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "hookmq-salvage-"));
  directory = path.join(root, "data");
  file = path.join(directory, "hookmq.db");
});
afterEach(() => rmSync(root, { recursive: true }));

/** A row's payload tells what it should be. */
function payload(id: number): Buffer {
  return Buffer.from(`${id} `.repeat(id % 40 === 0 ? 3000 : 100));
}

/** So much of everything that each table has pages of its own, and interior ones where it is large. */
function fill(database: DatabaseSync): void {
  database.exec("BEGIN");
  const message = database.prepare("INSERT INTO messages VALUES (?, ?, 1, 0, 1.5, NULL, 'publisher', NULL, x'', ?)");
  const queued = database.prepare("INSERT INTO queue VALUES (?, ?, ?, 1, 0, 0, NULL, NULL, NULL)");
  const delivery = database.prepare("INSERT INTO deliveries VALUES (?, ?, 1, 'e', 'k', 1, NULL, 300, NULL, ?)");
  for (let session = 1; session <= 20; session++) {
    database.prepare("INSERT INTO sessions VALUES (?, ?, NULL, 3600, NULL)").run(session, `client ${session}`);
    for (let n = 0; n < 20; n++)
      database
        .prepare("INSERT INTO subscriptions VALUES (?, ?, 1, 0, 0, 0, NULL)")
        .run(session, `filter/${n}/${"x".repeat(40)}`);
  }
  for (let id = 1; id <= 1000; id++) {
    message.run(id, `topic/${id}`, payload(id));
    queued.run((id % 20) + 1, id, id);
  }
  for (let n = 1; n <= 500; n++) delivery.run(n, `evt_${n}`, Buffer.alloc(300, n));
  database.exec("INSERT INTO endpoints VALUES (1, 'default', 510, 10, 0, 0, 0, 150000); COMMIT");
}

function fillFolder(): void {
  const folder = openDataFolder(directory);
  fill(folder.database);
  folder.close();
}

/** The pages of a table or index, as SQLite has them. */
function pagesOf(name: string, kind?: "leaf" | "internal"): number[] {
  const database = new DatabaseSync(file, { readOnly: true });
  const first = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(name) as { rootpage: number };
  const bytes = readFileSync(file);
  database.close();
  for (const name of [`${file}-shm`, `${file}-wal`]) rmSync(name, { force: true });
  const found: number[] = [];
  const open = [first.rootpage];
  for (let page = open.pop(); page !== undefined; page = open.pop()) {
    const at = (page - 1) * pageSize;
    const isInterior = bytes[at] === 2 || bytes[at] === 5;
    if (kind === undefined || (kind === "internal") === isInterior) found.push(page);
    if (!isInterior) continue;
    open.push(bytes.readUInt32BE(at + 8));
    for (let cell = 0; cell < bytes.readUInt16BE(at + 3); cell++)
      open.push(bytes.readUInt32BE(at + bytes.readUInt16BE(at + 12 + cell * 2)));
  }
  return found;
}

function overwrite(page: number, how: (page: Buffer) => void): void {
  const bytes = readFileSync(file);
  how(bytes.subarray((page - 1) * pageSize, page * pageSize));
  writeFileSync(file, bytes);
}

function zero(page: number): void {
  overwrite(page, (bytes) => bytes.fill(0));
}

function repaired(): Extract<Repair, { outcome: "repaired" }> {
  const result = repair(directory, now);
  if (result.outcome !== "repaired") throw new Error(JSON.stringify(result));
  return result;
}

function lossOf(result: Extract<Repair, { outcome: "repaired" }>, name: string) {
  return result.tables.find(({ table }) => table === name)!;
}

/** Whole, and with payloads that are what they were; how many. */
function verified(table = "messages"): number {
  const folder = openForReading(directory);
  expect(faultsOfFolder(folder)).toEqual([]);
  const rows = folder.database.prepare(`SELECT * FROM ${table}`).all();
  folder.close();
  if (table === "messages") {
    for (const row of rows)
      expect(Buffer.from(row.payload as Uint8Array).equals(payload(row.message_id as number))).toBe(true);
  }
  openDataFolder(directory).close();
  return rows.length;
}

test("what is whole is left alone", () => {
  fillFolder();
  const before = readFileSync(file);
  expect(repair(directory, now)).toEqual({ outcome: "whole" });
  expect(readFileSync(file)).toEqual(before);
  expect(readdirSync(directory)).toEqual(["hookmq.db"]);
});

describe("what can be read is saved:", () => {
  test("a leaf of a table is lost with its rows and no others; the damaged file is put aside as it was", () => {
    fillFolder();
    const pages = pagesOf("messages", "leaf");
    zero(pages[5]);
    zero(pages[40]);
    const damaged = readFileSync(file);
    const { uid, gid } = statSync(file);
    const result = repaired();
    const messages = lossOf(result, "messages");
    expect(messages.lostPages).toBe(2);
    expect(messages.saved).toBeGreaterThan(970);
    expect(messages.saved).toBeLessThan(1000);
    expect(lossOf(result, "queue")).toMatchObject({ saved: messages.saved, dropped: 1000 - messages.saved });
    expect(result.damagedFile).toBe(`${file}.damaged-${stamp}`);
    expect(readFileSync(result.damagedFile)).toEqual(damaged);
    expect(statSync(file)).toMatchObject({ uid, gid });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory).sort()).toEqual(["hookmq.db", `hookmq.db.damaged-${stamp}`]);
    expect(verified()).toBe(messages.saved);
  });

  test("nothing is lost with an index, or with an inner page", () => {
    fillFolder();
    const inner = pagesOf("messages", "internal");
    expect(inner.length).toBeGreaterThan(0);
    for (const page of inner) overwrite(page, (bytes) => bytes.fill(0xa5));
    zero(pagesOf("queue_by_message", "leaf")[1]);
    expect(lossOf(repaired(), "messages")).toMatchObject({ saved: 1000, lostRows: 0, lostPages: inner.length });
    expect(verified()).toBe(1000);
  });

  test("of a table without rowid, other pages than the lost one", () => {
    fillFolder();
    zero(pagesOf("queue", "leaf")[1]);
    const queue = lossOf(repaired(), "queue");
    expect(queue.lostPages).toBe(1);
    expect(queue.saved).toBeGreaterThan(700);
    expect(verified("queue")).toBe(queue.saved);
  });

  test("rows known by their index are counted as lost, and what an endpoint is owed still adds up", () => {
    fillFolder();
    zero(pagesOf("deliveries", "leaf")[3]);
    const deliveries = lossOf(repaired(), "deliveries");
    expect(deliveries.saved + deliveries.lostRows).toBe(500);
    expect(deliveries.lostRows).toBeGreaterThan(0);
    const folder = openForReading(directory);
    expect(folder.database.prepare("SELECT accepted, delivered, dropped FROM endpoints").get()).toEqual({
      accepted: 510,
      delivered: 10,
      dropped: deliveries.lostRows,
    });
    folder.close();
    verified();
  });

  test("the names of endpoints come from their index when their table is lost", () => {
    fillFolder();
    zero(pagesOf("endpoints")[0]);
    expect(lossOf(repaired(), "endpoints")).toMatchObject({ saved: 1, lostRows: 0, lostPages: 1 });
    expect(verified("deliveries")).toBe(500);
  });

  for (const [what, damage] of [
    ["header", (page) => page.fill(0x5a, 0, 100)],
    ["first page", (page) => page.fill(0)],
    ["application id", (page) => page.fill(0, 68, 72)],
  ] as [string, (page: Buffer) => void][]) {
    test(`everything, when the ${what} is lost`, () => {
      fillFolder();
      overwrite(1, damage);
      const { tables } = repaired();
      expect(tables.map(({ lostRows, lostPages, dropped }) => lostRows + lostPages + dropped)).toEqual(
        tables.map(() => 0),
      );
      expect(verified()).toBe(1000);
      expect(verified("deliveries")).toBe(500);
    });
  }

  test("the beginning of a file that was cut short", () => {
    fillFolder();
    truncateSync(file, Math.floor(statSync(file).size / 2) + 1000);
    const { tables } = repaired();
    expect(tables.find(({ table }) => table === "messages")!.lostPages).toBeGreaterThan(10);
    expect(verified()).toBeGreaterThan(100);
  });

  test("rows that contradict each other are dropped, whatever the claim", () => {
    fillFolder();
    const database = new DatabaseSync(file);
    database.exec(`
      DELETE FROM messages WHERE message_id = 7;
      DELETE FROM sessions WHERE session = 3;
      INSERT INTO retained VALUES ('r', 100000);
      INSERT INTO wills VALUES ('w', 100001, 0, NULL);
      INSERT INTO messages SELECT 5000, topic_name, 1, 0, 1, NULL, 'p', NULL, x'', x'' FROM messages LIMIT 1;
      INSERT INTO received VALUES (99, 1);
      INSERT INTO deliveries VALUES (1000, 'evt_a', 1, 'e', 'k', 1, NULL, 3, 77, NULL);
      INSERT INTO deliveries VALUES (1001, 'evt_b', 9, 'e', 'k', 1, NULL, 3, NULL, x'00');
    `);
    database.close();
    const dropped = Object.fromEntries(repaired().tables.map((table) => [table.table, table.dropped]));
    expect(dropped).toMatchObject({
      subscriptions: 20,
      queue: 51,
      messages: 51,
      retained: 1,
      wills: 1,
      received: 1,
      deliveries: 2,
    });
    expect(verified()).toBe(949);
  });
});

describe("the write-ahead log", () => {
  /** A folder as `kill -9` leaves it, with everything in the log. */
  function fillLog(): void {
    mkdirSync(directory);
    const elsewhere = path.join(root, "elsewhere");
    const folder = openDataFolder(elsewhere);
    folder.database.exec("PRAGMA wal_autocheckpoint = 0");
    fill(folder.database);
    // In a transaction of its own, so that there is something behind what is broken.
    folder.database.exec("UPDATE sessions SET user_name = 'later' WHERE session = 1");
    for (const name of ["hookmq.db", "hookmq.db-wal"])
      writeFileSync(path.join(directory, name), readFileSync(path.join(elsewhere, name)));
    folder.close();
  }

  function damageLog(how: (log: Buffer) => void): Buffer {
    const bytes = readFileSync(`${file}-wal`);
    how(bytes);
    writeFileSync(`${file}-wal`, bytes);
    return bytes;
  }

  test("that a crash left whole is nothing to repair, and stays", () => {
    fillLog();
    const before = readFileSync(`${file}-wal`);
    expect(repair(directory, now)).toEqual({ outcome: "whole" });
    expect(readFileSync(`${file}-wal`)).toEqual(before);
    expect(readdirSync(directory).sort()).toEqual(["hookmq.db", "hookmq.db-wal"]);
  });

  test("without its header stops the start, and loses nothing in a repair", () => {
    fillLog();
    const damaged = damageLog((log) => log.fill(0x77, 0, 32));
    expect(() => openDataFolder(directory)).toThrow(/write-ahead log has no valid header/);
    expect(readFileSync(`${file}-wal`)).toEqual(damaged);
    const { damagedFile } = repaired();
    expect(readFileSync(`${damagedFile}-wal`)).toEqual(damaged);
    expect(existsSync(`${file}-wal`)).toBe(false);
    expect(verified()).toBe(1000);
  });

  test("broken in the middle is told, and what follows is saved", () => {
    fillLog();
    damageLog((log) => log.fill(0, 32 + 4120 * 100 + 24, 32 + 4120 * 101));
    const { faults, tables } = repaired();
    expect(faults.join()).toMatch(/write-ahead log is broken: \d+ pages/);
    expect(tables.find(({ table }) => table === "messages")!.saved).toBeGreaterThan(900);
    const folder = openForReading(directory);
    expect(folder.database.prepare("SELECT user_name FROM sessions WHERE session = 1").get()).toEqual({
      user_name: "later",
    });
    folder.close();
    verified();
  });

  test("torn at its end, as a power cut leaves it, is no fault", () => {
    fillLog();
    damageLog((log) => log.fill(0, log.length - 2000));
    expect(repair(directory, now)).toEqual({ outcome: "whole" });
  });

  test("is not lost with an emptied data file", () => {
    fillLog();
    truncateSync(file, 0);
    expect(() => openDataFolder(directory)).toThrow(/empty beside a write-ahead log/);
    expect(repaired().outcome).toBe("repaired");
    expect(verified()).toBe(1000);
  });
});

describe("refused, and left as it is:", () => {
  function refusal(): StoreUnusable {
    const before = existsSync(file) ? readFileSync(file) : undefined;
    try {
      repair(directory, now);
    } catch (error) {
      expect(error).toBeInstanceOf(StoreUnusable);
      expect(existsSync(file) ? readFileSync(file) : undefined).toEqual(before);
      return error as StoreUnusable;
    }
    throw new Error("it was repaired");
  }

  test("a folder in use", () => {
    const folder = openDataFolder(directory);
    expect(refusal().code).toBe("in-use");
    folder.close();
  });

  test("a folder without a store", () => {
    expect(refusal().code).toBe("absent");
    expect(existsSync(directory)).toBe(false);
  });

  for (const damaged of [false, true]) {
    test(`another program's file${damaged ? ", though damaged" : ""}`, () => {
      mkdirSync(directory);
      const database = new DatabaseSync(file);
      database.exec("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (zeroblob(100000))");
      database.close();
      if (damaged) overwrite(1, (page) => page.fill(0xff, 100, 108));
      expect(refusal().code).toBe("foreign");
    });

    test(`a newer format${damaged ? ", though damaged" : ""}`, () => {
      mkdirSync(directory);
      const database = new DatabaseSync(file);
      database.exec(`CREATE TABLE future (x); PRAGMA user_version = ${newestFormat + 1}`);
      database.exec(`PRAGMA application_id = ${applicationId}`);
      database.close();
      if (damaged) overwrite(1, (page) => page.fill(0xff, 100, 108));
      expect(refusal().code).toBe("newer-format");
    });
  }

  test("a file in which nothing can be read", () => {
    mkdirSync(directory);
    const garbage = Buffer.from("this was never a database. ".repeat(4000));
    writeFileSync(file, garbage);
    expect(repair(directory, now)).toMatchObject({ outcome: "unreadable" });
    expect(readFileSync(file)).toEqual(garbage);
    expect(readdirSync(directory)).toEqual(["hookmq.db"]);
  });
});
