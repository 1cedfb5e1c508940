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
import { FakeClock } from "../base/fake-clock.ts";
import { silentLogger } from "../base/log.ts";
import type { BrokerChange } from "./change.ts";
import { openDataFolder, openForReading, StoreUnusable } from "./data-folder.ts";
import { faultsOfFolder, repair, type Repair } from "./salvage.ts";
import { SqliteStore } from "./sqlite.ts";
import { applicationId, createFormat, newestFormat } from "./sqlite-schema.ts";

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
  const delivery = database.prepare(`
    INSERT INTO deliveries VALUES (?, 1, ?, ?, 'e', 'k', 1, NULL, ?, ?, ?, 300, NULL, ?, '{"path":"/x"}')`);
  const deadLetter = database.prepare(`
    INSERT INTO dead_letters VALUES (?, 1, ?, 'e', 'k', 1, NULL, 13, 'rejected', '400', 2, ?, '')`);
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
  for (let n = 1; n <= 500; n++)
    delivery.run(n, n % 5 === 0 ? 1 : 0, `evt_${n}`, n % 3, n % 2, n % 3 === 0 ? null : 1000 + n, Buffer.alloc(300, n));
  for (let n = 501; n <= 700; n++) deadLetter.run(n, `evt_${n}`, Buffer.alloc(300, n));
  database.exec(`
    INSERT INTO endpoints VALUES
      (1, 'default', 720, 10, 210, 0, 0, 400, 120000, 100, 30000, 200, 60000, '[3,4]', '{"state":"open"}', 5, '');
    COMMIT`);
}

function fillFolder(): void {
  const folder = openDataFolder(directory);
  fill(folder.database);
  folder.close();
}

/** As the first HookMQ of all made it. */
function fillFormatOne(): void {
  mkdirSync(directory);
  const database = new DatabaseSync(file);
  database.exec("PRAGMA auto_vacuum = INCREMENTAL");
  createFormat(database, 1);
  const message = database.prepare("INSERT INTO messages VALUES (?, ?, 1, 0, 1.5, NULL, 'publisher', NULL, x'', ?)");
  const delivery = database.prepare("INSERT INTO deliveries VALUES (?, ?, 1, ?, 'k', 1, NULL, 300, NULL, ?)");
  database.exec("BEGIN");
  for (let id = 1; id <= 100; id++) {
    message.run(id, `topic/${id}`, payload(id));
    database.prepare("INSERT INTO retained VALUES (?, ?)").run(`topic/${id}`, id);
  }
  for (let n = 1; n <= 500; n++)
    delivery.run(n, `evt_${n}`, n % 5 === 0 ? "on_client_connack" : "on_message_publish", Buffer.alloc(300, n));
  database.exec("INSERT INTO endpoints VALUES (1, 'default', 510, 10, 0, 0, 0, 150000); COMMIT");
  database.close();
}

/** Of the one endpoint. */
function endpointRow() {
  const folder = openForReading(directory);
  const row = folder.database.prepare("SELECT * FROM endpoints").get();
  folder.close();
  return row;
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

function owed(deliveryId: string): BrokerChange {
  const delivery = { deliveryId, endpoint: "default", event: "e", orderKey: "k", body: Buffer.from("{}") };
  return {
    type: "delivery-owed",
    durability: "strict",
    delivery: { ...delivery, head: "", acceptedAt: new FakeClock().now(), expiresAt: undefined },
  };
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
    const { messages, client_events } = endpointRow() as Record<string, number>;
    expect(endpointRow()).toMatchObject({ accepted: 720, delivered: 10, dead: 210, dropped: deliveries.lostRows });
    expect(messages + client_events).toBe(deliveries.saved);
    expect(endpointRow()).toMatchObject({ message_bytes: messages * 300, client_event_bytes: client_events * 300 });
    verified();
  });

  test("how far each delivery has come, and what an endpoint was last seen to do", () => {
    fillFolder();
    zero(pagesOf("messages", "leaf")[0]);
    repaired();
    expect(endpointRow()).toMatchObject({ under_way: "[3,4]", breaker: '{"state":"open"}', held_until: 5 });
    const folder = openForReading(directory);
    const row = folder.database.prepare("SELECT attempts, failures, due_at FROM deliveries WHERE position = 5").get();
    expect(row).toEqual({ attempts: 2, failures: 1, due_at: 1005 });
    folder.close();
  });

  test("dead letters but for those on a lost page; they stay counted as dead", () => {
    fillFolder();
    zero(pagesOf("dead_letters", "leaf")[2]);
    const letters = lossOf(repaired(), "dead_letters");
    expect(letters.saved + letters.lostRows).toBe(200);
    expect(letters.lostRows).toBeGreaterThan(0);
    const bytes = letters.saved * 300;
    expect(endpointRow()).toMatchObject({ dead: 210, dead_letters: letters.saved, dead_letter_bytes: bytes });
    expect(verified("dead_letters")).toBe(letters.saved);
  });

  test("the names of endpoints come from their index when their table is lost", () => {
    fillFolder();
    zero(pagesOf("endpoints")[0]);
    expect(lossOf(repaired(), "endpoints")).toMatchObject({ saved: 1, lostRows: 0, lostPages: 1 });
    expect(endpointRow()).toMatchObject({
      accepted: 700,
      delivered: 0,
      dead: 200,
      dead_letters: 200,
      client_events: 100,
    });
    expect(verified("deliveries")).toBe(500);
  });

  test("no position is given a second time, though the counts are lost that tell the next", async () => {
    fillFolder();
    const database = new DatabaseSync(file);
    // Long settled but for the last dead letter.
    database.exec("UPDATE dead_letters SET position = 9000 WHERE position = 700; UPDATE endpoints SET accepted = 9020");
    database.close();
    zero(pagesOf("endpoints")[0]);
    repaired();
    const folder = openDataFolder(directory);
    const store = new SqliteStore({ folder, sync: "none", clock: new FakeClock(), log: silentLogger });
    const position = await new Promise((resolve, reject) =>
      store.commit([owed("evt_new")], (error, first) => (error ? reject(error) : resolve(first))),
    );
    expect(position).toBe(9001);
    expect(store.check()).toEqual([]);
    await store.close();
  });

  for (const [what, damage] of [
    ["a leaf", () => zero(pagesOf("deliveries", "leaf")[3])],
    ["the header", () => overwrite(1, (page) => page.fill(0x5a, 0, 100))],
    ["the application id", () => overwrite(1, (page) => page.fill(0, 68, 72))],
    ["the first page", () => zero(1)],
    ["the schema", () => overwrite(1, (page) => page.fill(0xff, 100, 108))],
  ] as [string, () => void][]) {
    test(`of a store of format 1 that has lost ${what}, and it is of the newest format then`, () => {
      fillFormatOne();
      damage();
      const deliveries = lossOf(repaired(), "deliveries");
      expect(deliveries.saved).toBeGreaterThan(450);
      if (what !== "a leaf") expect(deliveries.saved).toBe(500);
      const folder = openForReading(directory);
      expect(folder.database.prepare("PRAGMA user_version").get()).toEqual({ user_version: newestFormat });
      const started = "SELECT count(*) AS count FROM deliveries WHERE attempts + failures > 0 OR due_at IS NOT NULL";
      expect(folder.database.prepare(started).get()).toEqual({ count: 0 });
      folder.close();
      expect(endpointRow()).toMatchObject({ accepted: 510, delivered: 10, dropped: 500 - deliveries.saved });
      expect(verified()).toBe(100);
    });
  }

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
      INSERT INTO deliveries VALUES (1000, 1, 0, 'evt_a', 'e', 'k', 1, NULL, 0, 0, NULL, 3, 77, NULL, '');
      INSERT INTO deliveries VALUES (1001, 9, 0, 'evt_b', 'e', 'k', 1, NULL, 0, 0, NULL, 3, NULL, x'00', '');
      INSERT INTO deliveries VALUES (1002, 1, 0, 'evt_c', 'e', 'k', 1, NULL, 0, 0, NULL, 3, NULL, NULL, '');
      INSERT INTO dead_letters VALUES (1003, 9, 'evt_d', 'e', 'k', 1, NULL, 1, 'rejected', '', 1, x'00', '');
      INSERT INTO dead_letters VALUES (7, 1, 'evt_7', 'e', 'k', 1, NULL, 1, 'rejected', '', 1, x'00', '');
      UPDATE endpoints SET under_way = '[3,1000', breaker = 'closed?', messages = 7, dead_letter_bytes = -1, accepted = 3;
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
      deliveries: 3,
      dead_letters: 2,
    });
    expect(endpointRow()).toMatchObject({ under_way: "[]", breaker: "", accepted: 720, dropped: 0, dead_letters: 200 });
    expect(verified()).toBe(949);
  });

  test("of the attempts under way, those whose delivery is there", () => {
    fillFolder();
    const database = new DatabaseSync(file);
    database.exec(`UPDATE endpoints SET under_way = '[3,"4",4.5,650,9999]'`);
    database.close();
    repaired();
    expect(endpointRow()).toMatchObject({ under_way: "[3]" });
    verified();
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
