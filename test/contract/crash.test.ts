/** A process that commits is killed at any moment: what it was told is done is there, whole batches, and nothing else. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { execPath } from "node:process";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openDataFolder } from "../../src/store/data-folder.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { SqliteStore } from "../../src/store/sqlite.ts";
import type { Engine, StoredState } from "../../src/store/store.ts";
import { storedState } from "../../src/store/stored-state.ts";
import { commitBatch, lastBatchTopic, writerFile } from "./crash-writer.ts";

const kills = 12;

let root: string;
let directory: string;
let writer: ChildProcess | undefined;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "hookmq-crash-"));
  directory = path.join(root, "data");
});
afterEach(() => {
  writer?.kill("SIGKILL");
  rmSync(root, { recursive: true });
});

/** Resolves with the last batch it was told is done, after it was killed in the middle of some other. */
async function writeAndKill(first: number, batches: number): Promise<number> {
  const process = spawn(execPath, [writerFile, directory, `${first}`], { stdio: ["ignore", "pipe", "inherit"] });
  writer = process;
  let told = "";
  process.stdout.setEncoding("utf8").on("data", (text: string) => {
    told += text;
    if (told.split("\n").length > batches) process.kill("SIGKILL");
  });
  const [code, signal] = await once(process, "close");
  expect([code, signal]).toEqual([null, "SIGKILL"]);
  return Number(told.slice(0, told.lastIndexOf("\n")).split("\n").at(-1));
}

function openStore(): SqliteStore {
  return new SqliteStore({ folder: openDataFolder(directory), sync: "commit", clock: systemClock, log: silentLogger });
}

function commit(store: Engine, n: number): Promise<void> {
  return new Promise((resolve) => commitBatch(store, n, resolve));
}

function lastBatch({ retained }: StoredState): number {
  return retained.get(lastBatchTopic) ?? 0;
}

async function everythingIn(store: Engine): Promise<object> {
  const { sessions, messages, ...state } = await storedState(store);
  const all = { countMax: 100_000, bytesMax: 10 ** 9 };
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  return {
    ...state,
    messages: [...messages].map(([id, message]) => [id, text(message.payload)]).sort(),
    sessions: sessions.map((session) => ({ ...session, received: [...session.received].sort() })),
    endpoints: store.endpoints(),
    deliveries: ["x", "y"].flatMap((endpoint) =>
      store
        .owedBehind(endpoint, 0, all)
        .deliveries.map(({ owed, ...rest }) => ({ ...rest, owed: { ...owed, body: text(owed.body) } })),
    ),
    deadLetters: store.deadLetters("y", 0, all).map(({ owed, ...rest }) => ({ ...rest, id: owed.deliveryId })),
  };
}

test(`nothing that was done is lost in ${kills} kills, and no batch is there by half`, async () => {
  const expected = new MemoryStore();
  let last = 0;
  for (let kill = 0; kill < kills; kill++) {
    const done = await writeAndKill(last + 1, 1 + ((kill * 37) % 100));
    const store = openStore();
    const state = await storedState(store);
    const found = lastBatch(state);
    expect(found).toBeGreaterThanOrEqual(done);
    while (last < found) await commit(expected, ++last);
    expect(await everythingIn(store)).toEqual(await everythingIn(expected));
    expect(store.check()).toEqual([]);
    await store.close();
  }
});

test("a torn last write costs the end of the log alone: what is before it stays whole", async () => {
  const done = await writeAndKill(1, 60);
  const log = path.join(directory, "hookmq.db-wal");
  truncateSync(log, statSync(log).size - 5000);
  const store = openStore();
  const state = await storedState(store);
  const found = lastBatch(state);
  expect(found).toBeGreaterThan(0);
  expect(found).toBeGreaterThan(done - 40);
  const expected = new MemoryStore();
  for (let n = 1; n <= found; n++) await commit(expected, n);
  expect(await everythingIn(store)).toEqual(await everythingIn(expected));
  expect(store.check()).toEqual([]);
  await store.close();
});

test("the lock of a process goes with it, and names it while it lives", async () => {
  const spawned = writeAndKill(1, Number.POSITIVE_INFINITY);
  await once(writer!.stdout!, "data");
  expect(() => openDataFolder(directory)).toThrow(`in use by process ${writer!.pid}`);
  writer!.kill("SIGKILL");
  await spawned;
  openDataFolder(directory).close();
});
