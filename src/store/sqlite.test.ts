import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeClock } from "../base/fake-clock.ts";
import type { Facts, Logger } from "../base/log.ts";
import type { BrokerChange, Change, DeliveryChange } from "./change.ts";
import type { SliceLimits } from "./deliveries.ts";
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import {
  changesPerTransactionMax,
  diskBytesLeft,
  diskBytesLeftAtLast,
  freedPagesPerStep,
  freeingDelayMs,
  freeingPauseMs,
  freePagesKept,
  probeIntervalMs,
  recordDelayMs,
  syncIntervalMs,
} from "./limits.ts";
import { pragma } from "./sqlite-schema.ts";
import { type CommitMoment, SqliteStore, type SqliteStoreParts } from "./sqlite.ts";
import { StoreUnavailable } from "./store.ts";
import { storedState } from "./stored-state.ts";

const t0 = 1_700_000_000_000;
const everything = { countMax: 1000, bytesMax: 10_000_000 };

let root: string;
let clock: FakeClock;
let logged: string[];
let folder: DataFolder;
let store: SqliteStore;

const note = (message: string, _facts?: Facts) => logged.push(message);
const log: Logger = { debug: note, info: note, warn: note, error: note };

interface Opening extends Pick<Partial<SqliteStoreParts>, "sync" | "moment" | "lost"> {
  freeBytes?: () => number;
}

function open({ sync = "commit", freeBytes, ...parts }: Opening = {}): void {
  folder = openDataFolder(path.join(root, "data"));
  if (freeBytes !== undefined) folder.freeBytes = freeBytes;
  store = new SqliteStore({ folder, sync, clock, log, ...parts });
}

/** From here on nothing is synced before the test says so, or `store` itself waits for it. */
function holdSyncs(): { syncs: ((error: Error | null) => void)[] } {
  const syncs: ((error: Error | null) => void)[] = [];
  folder.syncLog = (done) => syncs.push(done);
  return { syncs };
}

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "hookmq-sqlite-"));
  clock = new FakeClock();
  logged = [];
  positions = new Map();
});
afterEach(async () => {
  await store.close();
  expect(clock.armed).toBe(0);
  rmSync(root, { recursive: true });
});

/** Positions of deliveries, by their id. */
let positions: Map<string, number>;

/** Hands in what the broker would and what the webhook engine would; returns the position of the first delivery owed. */
function commit(...changes: (Change | Ended)[]): Promise<number> {
  const ofBroker = changes.filter((change) => !isOfWebhooks(change)) as BrokerChange[];
  const ofWebhooks = changes.filter(isOfWebhooks).map((change) => {
    if (!("deliveryId" in change)) return change;
    const { deliveryId, ...ended } = change;
    return { ...ended, position: positions.get(deliveryId) ?? 10 ** 9 } as DeliveryChange;
  });
  return new Promise((resolve, reject) => {
    let first = 0;
    if (ofBroker.length > 0) {
      store.commit(ofBroker, (error, firstPosition) => {
        if (error !== undefined) return reject(error);
        first = firstPosition!;
        let next = first;
        for (const change of ofBroker) {
          if (change.type === "delivery-owed") positions.set(change.delivery.deliveryId, next++);
        }
        if (ofWebhooks.length === 0) resolve(first);
      });
    }
    if (ofWebhooks.length > 0) {
      store.record(ofWebhooks, (error) => (error === undefined ? resolve(first) : reject(error)));
      // It would wait for others to join.
      if (ofBroker.length === 0) setImmediate(() => clock.advance(recordDelayMs));
    }
  });
}

type Ended = { type: "delivery-settled" | "delivery-died"; deliveryId: string };

function isOfWebhooks(change: Change | Ended): change is DeliveryChange | Ended {
  return /^(delivery-(settled|died|put-back)|attempts|breaker|batches|dead)/.test(change.type);
}

function owed(
  deliveryId: string,
  endpoint = "a",
  body: Uint8Array = Buffer.from(deliveryId),
  event = "on_message_publish",
): BrokerChange {
  return {
    type: "delivery-owed",
    durability: "strict",
    delivery: { deliveryId, endpoint, event, orderKey: "pump", body, head: "", acceptedAt: t0, expiresAt: undefined },
  };
}

/** As the delivery's position is known once it is committed, it is looked up by its id. */
function settled(deliveryId: string, outcome: "delivered" | "dead" | "dropped" | "expired" = "delivered"): Ended {
  const endpoint = "a";
  if (outcome !== "dead") return { type: "delivery-settled", endpoint, deliveryId, outcome } as Ended;
  const letter = { reason: "rejected", detail: "status_400", attempts: 2, at: t0 + 5 };
  return { type: "delivery-died", endpoint, deliveryId, ...letter } as Ended;
}

function kept(messageId: number, payload: Uint8Array = Buffer.from("on")): BrokerChange {
  return {
    type: "message-kept",
    messageId,
    message: {
      topicName: "t",
      payload,
      qos: 1,
      retain: false,
      properties: Buffer.alloc(0),
      acceptedAt: t0,
      expiresAt: undefined,
      publisherClientId: "pump",
      publisherUserName: undefined,
    },
  };
}

const retained = (messageId: number): BrokerChange => ({ type: "retained", topicName: `t${messageId}`, messageId });
const opened = (clientId: string): BrokerChange => ({
  type: "session-opened",
  clientId,
  userName: undefined,
  expirySeconds: 60,
});
const queued = (clientId: string, position: number, messageId: number): BrokerChange => ({
  type: "queued",
  clientId,
  position,
  messageId,
  qos: 1,
  retain: false,
  subscriptionIdentifiers: [],
  sharedFilter: undefined,
});

const slice = (endpoint: string, after: number, limits: SliceLimits) =>
  store.owedBehind(endpoint, after, limits).deliveries;
const ids = (slice: readonly { owed: { deliveryId: string } }[]) => slice.map(({ owed }) => owed.deliveryId);

function count(table: string): number {
  return (folder.database.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { count: number }).count;
}

describe("a transaction", () => {
  test("holds all that one turn of the loop hands in, and is over before the first of it is done", async () => {
    open();
    const seen: { batch: number; stored: number; open: boolean }[] = [];
    await new Promise<void>((resolve) => {
      for (let batch = 1; batch <= 5; batch++) {
        store.commit([kept(batch), retained(batch)], () => {
          seen.push({ batch, stored: count("retained"), open: folder.database.isTransaction });
          if (batch === 5) resolve();
        });
      }
      expect(seen).toEqual([]);
    });
    expect(seen).toEqual([1, 2, 3, 4, 5].map((batch) => ({ batch, stored: 5, open: false })));
  });

  test("is bounded, and never cuts a batch", async () => {
    open();
    const stored: number[] = [];
    const batch = (from: number) => Array.from({ length: 6000 }, (_, i) => [kept(from + i), retained(from + i)]).flat();
    await Promise.all(
      [1, 10_001, 20_001].map(
        (from) =>
          new Promise<void>((resolve) => store.commit(batch(from), () => resolve(void stored.push(count("retained"))))),
      ),
    );
    expect(stored).toEqual([6000, 12_000, 18_000]);
  });

  test("writes nothing of what begins and ends within it", async () => {
    open();
    await commit(opened("a"));
    const before = folder.database.prepare("SELECT total_changes() AS changes").get();
    const received: Change = { type: "settled", clientId: "a", position: 1 };
    store.commit(
      [kept(1), queued("a", 1, 1), { type: "sent", clientId: "a", position: 1, packetIdentifier: 1 }],
      () => {},
    );
    await commit(received);
    expect(folder.database.prepare("SELECT total_changes() AS changes").get()).toEqual(before);
    expect((await storedState(store)).sessions).toMatchObject([{ clientId: "a", queue: [] }]);
  });

  test("that one batch makes impossible refuses that batch, and what may build on it", async () => {
    open();
    const unwritable = kept(2, "not bytes" as unknown as Uint8Array);
    const outcomes = await Promise.allSettled([
      commit(kept(1), retained(1)),
      commit(unwritable, retained(2)),
      commit(kept(3), retained(3)),
      commit(settled("of the webhooks")),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled"]);
    await commit(kept(4), retained(4));
    expect([...(await storedState(store)).retained.values()]).toEqual([1, 4]);
    expect(store.trouble).toBeUndefined();
    expect(logged).toEqual(["a batch that cannot be written was refused by the store"]);
  });

  test("ignores what names a message whose batch was refused", async () => {
    open();
    await commit(opened("a"), queued("a", 1, 77), retained(77), {
      type: "will-set",
      clientId: "a",
      messageId: 77,
      delaySeconds: 0,
    });
    expect(await storedState(store)).toMatchObject({ sessions: [{ queue: [] }], retained: new Map(), wills: [] });
    expect(store.check()).toEqual([]);
  });
});

describe("what was committed", () => {
  test("is there when the folder is opened again", async () => {
    open();
    await commit(opened("a"), kept(1), queued("a", 1, 1), retained(1), owed("evt_1"));
    await commit({ type: "sent", clientId: "a", position: 1, packetIdentifier: 7 });
    const before = await storedState(store);
    const deliveries = slice("a", 0, everything);
    await store.close();
    open();
    expect(await storedState(store)).toEqual(before);
    expect(slice("a", 0, everything)).toEqual(deliveries);
    expect(before.sessions).toMatchObject([{ queue: [{ state: "sent", packetIdentifier: 7 }] }]);
  });

  for (const [sync, change, waits] of [
    ["commit", owed("evt_1"), true],
    ["commit", { ...owed("evt_1"), durability: "disk" } as Change, false],
    ["commit", settled("evt_1"), false],
    ["commit", { type: "settled", clientId: "a", position: 1 }, false],
    ["commit", { type: "released", clientId: "a", position: 1 }, true],
    ["interval", owed("evt_1"), false],
    ["none", owed("evt_1"), false],
  ] as const) {
    test(`with sync = ${sync}, ${change.type}${"durability" in change ? ` (${change.durability})` : ""} ${waits ? "waits" : "does not wait"} for the disk`, async () => {
      open({ sync });
      const { syncs } = holdSyncs();
      let isDone = false;
      const committed = commit(change).then(() => (isDone = true));
      if (waits) {
        await vi.waitUntil(() => syncs.length === 1);
        expect(isDone).toBe(false);
        syncs[0](null);
      }
      await committed;
      expect(syncs).toHaveLength(waits ? 1 : 0);
    });
  }

  for (const [what, sync, durability] of [
    ["with sync = interval", "interval", "strict"],
    ["of an endpoint that wants it on disk soon", "commit", "disk"],
  ] as const)
    test(`is synced at the end of the interval, once: ${what}`, async () => {
      open({ sync });
      const { syncs } = holdSyncs();
      await commit({ ...owed("evt_1"), durability } as Change);
      await commit({ ...owed("evt_2"), durability } as Change);
      clock.advance(syncIntervalMs - 1);
      expect(syncs).toHaveLength(0);
      clock.advance(1);
      expect(syncs).toHaveLength(1);
      syncs[0](null);
      clock.advance(10 * syncIntervalMs);
      expect(syncs).toHaveLength(1);
    });

  test("what comes while the log is synced shares the next transaction, and is told after it", async () => {
    const moments: CommitMoment[] = [];
    open({ moment: (moment) => moments.push(moment) });
    const { syncs } = holdSyncs();
    const told: string[] = [];
    const all = ["evt_1", "evt_2", "evt_3"].map((id, i) => async () => {
      await commit(owed(id));
      told.push(`${id} after ${syncs.length} syncs`);
      return i;
    });
    const first = all[0]();
    await vi.waitUntil(() => syncs.length === 1);
    const others = [all[1](), all[2]()];
    syncs[0](null);
    await vi.waitUntil(() => syncs.length === 2);
    syncs[1](null);
    await Promise.all([first, ...others]);
    expect(told).toEqual(["evt_1 after 1 syncs", "evt_2 after 2 syncs", "evt_3 after 2 syncs"]);
    expect(moments.filter((moment) => moment === "committed")).toHaveLength(2);
  });

  test("a disk that fails to sync has lost what it had: nobody is told, nothing more is written", async () => {
    const lost: Error[] = [];
    open({ lost: (error) => lost.push(error) });
    const { syncs } = holdSyncs();
    const told: unknown[] = [];
    store.commit([owed("evt_1")], (error) => told.push(error));
    await vi.waitUntil(() => syncs.length === 1);
    syncs[0](Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" }));
    store.commit([owed("evt_2")], (error) => told.push(error));
    await new Promise(setImmediate);
    expect(lost).toMatchObject([{ message: "the disk has lost what was written to it", cause: { code: "EIO" } }]);
    expect(told).toEqual([]);
    expect(syncs).toHaveLength(1);
  });

  test("whoever asks what is there hears of it after a sync that was under way", async () => {
    open();
    const { syncs } = holdSyncs();
    const committed = commit(owed("evt_1"));
    await vi.waitUntil(() => syncs.length === 1);
    expect(store.check()).toEqual([]);
    await committed;
    syncs[0](null);
    expect(syncs).toHaveLength(1);
  });
});

describe("owed deliveries", () => {
  test("are read in slices, each endpoint's in order, from any position", async () => {
    open();
    const changes = Array.from({ length: 10 }, (_, i) => owed(`evt_${i}`, i % 2 === 0 ? "a" : "b"));
    expect(await commit(...changes)).toBe(1);
    const first = slice("a", 0, { ...everything, countMax: 2 });
    expect(first.map(({ position }) => position)).toEqual([1, 3]);
    expect(ids(first)).toEqual(["evt_0", "evt_2"]);
    await commit(settled("evt_2"));
    expect(ids(slice("a", first[1].position, everything))).toEqual(["evt_4", "evt_6", "evt_8"]);
    expect(ids(slice("b", 0, everything))).toEqual(["evt_1", "evt_3", "evt_5", "evt_7", "evt_9"]);
    expect(slice("nobody", 0, everything)).toEqual([]);
  });

  test("of a slice stay below its bytes, except that one always comes", async () => {
    open();
    await commit(...[1, 2, 3].map((i) => owed(`evt_${i}`, "a", Buffer.alloc(1000, i))));
    const within = (bytesMax: number) => store.owedBehind("a", 0, { countMax: 10, bytesMax });
    expect(ids(within(2000).deliveries)).toEqual(["evt_1", "evt_2"]);
    expect(within(2000).hasMore).toBe(true);
    expect(ids(within(10).deliveries)).toEqual(["evt_1"]);
    expect(within(3000).hasMore).toBe(false);
  });

  for (const [what, sql] of [
    ["behind a position", "endpoint = 1 AND position > 5 ORDER BY position"],
    ["in a line", "endpoint = 1 AND order_key = 'x' AND position > 5 AND position <= 9 ORDER BY position"],
    ["that are due", "endpoint = 1 AND due_at IS NOT NULL AND (due_at, position) > (1, 2) ORDER BY due_at, position"],
    ["of clients' doings", "endpoint = 1 AND position > 5 AND client_event = 1 ORDER BY position"],
  ] as const) {
    test(`${what} are found by an index, and need no sorting`, () => {
      open();
      const plan = folder.database.prepare(`EXPLAIN QUERY PLAN SELECT * FROM deliveries WHERE ${sql} LIMIT 9`).all();
      expect(plan.map(({ detail }) => detail)).toEqual([
        expect.stringMatching(/^SEARCH deliveries USING INDEX deliveries_/),
      ]);
    });
  }

  test("have positions that follow those of the batches before, also after a start", async () => {
    open();
    expect(await commit(owed("evt_1"), owed("evt_2"))).toBe(1);
    expect(await commit(owed("evt_3"))).toBe(3);
    await store.close();
    open();
    expect(await commit(owed("evt_4"))).toBe(4);
    expect(slice("a", 3, everything)).toMatchObject([{ position: 4, owed: { deliveryId: "evt_4" } }]);
  });

  test("of one event have their body stored once, as long as one endpoint is owed it", async () => {
    open();
    const body = Buffer.alloc(500, 1);
    const other = Buffer.alloc(500, 2);
    await commit(owed("1a", "a", body), owed("1b", "b", body), owed("1c", "c", body), owed("2a", "a", other));
    expect(count("shared_bodies")).toBe(1);
    expect(count("deliveries WHERE body IS NOT NULL")).toBe(1);
    const bodies = ["a", "b", "c"].flatMap((endpoint) => slice(endpoint, 0, everything));
    expect(bodies.map(({ owed }) => Buffer.from(owed.body))).toEqual([body, other, body, body]);
    await commit(settled("1a"), settled("1b"));
    expect(slice("c", 0, everything)[0].owed.body).toEqual(new Uint8Array(body));
    await commit(settled("1c"));
    expect(count("shared_bodies")).toBe(0);
    expect(store.check()).toEqual([]);
  });

  test("are counted by endpoint and outcome; the sum always holds, also after a start", async () => {
    open();
    await commit(owed("1"), owed("2"), owed("3"), owed("4"), owed("5"), owed("6", "b"));
    await commit(settled("1"), settled("2", "dead"), settled("3", "dropped"), settled("4", "expired"), settled("1"));
    await commit(owed("7", "b"));
    await commit(settled("7"), settled("never owed"));
    const messages = { count: 1, bodyBytes: 1 };
    const expected = [
      { endpoint: "a", accepted: 5, delivered: 1, dead: 1, dropped: 1, expired: 1, queued: { messages } },
      { endpoint: "b", accepted: 2, delivered: 1, dead: 0, dropped: 0, expired: 0, queued: { messages } },
    ];
    expect(store.endpoints()).toMatchObject(expected);
    await store.close();
    open();
    expect(store.endpoints()).toMatchObject(expected);
    expect(store.check()).toEqual([]);
  });

  test("that share a body keep it when one of them dies", async () => {
    open();
    const body = Buffer.alloc(500, 1);
    await commit(owed("1a", "a", body), owed("1b", "b", body));
    await commit(settled("1b", "dead"), settled("1a"));
    expect(count("shared_bodies")).toBe(0);
    expect(Buffer.from(store.deadLetters("b", 0, everything)[0].owed.body)).toEqual(body);
    expect(store.check()).toEqual([]);
  });

  test("and dead letters of a store of format 2 are taken over: they have nothing beside their bodies", async () => {
    open();
    await commit(owed("1"), owed("2"));
    await commit(settled("2", "dead"));
    const { database } = folder;
    database.exec(
      "ALTER TABLE deliveries DROP COLUMN head; ALTER TABLE dead_letters DROP COLUMN head; ALTER TABLE endpoints DROP COLUMN batches",
    );
    database.exec("PRAGMA user_version = 2");
    await store.close();
    open();
    expect(slice("a", 0, everything)).toMatchObject([{ owed: { deliveryId: "1", head: "" } }]);
    expect(store.deadLetters("a", 0, everything)).toMatchObject([{ owed: { deliveryId: "2", head: "" } }]);
    await commit(owed("3"));
    expect(slice("a", 0, everything)).toHaveLength(2);
    expect(store.check()).toEqual([]);
  });

  test("of a store of format 1 are taken over", async () => {
    open();
    const { database } = folder;
    database.exec("DROP TABLE deliveries; DROP TABLE dead_letters; DROP TABLE endpoints");
    database.exec(formatOneDeliveries);
    await store.close();
    open();
    expect(slice("a", 0, everything)).toMatchObject([
      { position: 3, attempts: 0, dueAt: undefined, owed: { deliveryId: "evt_3", orderKey: "pump" } },
      { position: 5, owed: { deliveryId: "evt_5", event: "on_client_connack" } },
    ]);
    expect(store.endpoints()).toMatchObject([
      { accepted: 4, delivered: 2, queued: { messages: { count: 1, bodyBytes: 2 }, clientEvents: { bodyBytes: 4 } } },
    ]);
    expect(store.check()).toEqual([]);
    expect(await commit(owed("evt_6"))).toBe(6);
  });
});

const formatOneDeliveries = `
  CREATE TABLE endpoints (
    endpoint INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, accepted INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0, body_bytes INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  INSERT INTO endpoints VALUES (1, 'a', 4, 2, 0, 0, 0, 6);
  CREATE TABLE deliveries (
    position INTEGER PRIMARY KEY, delivery_id TEXT NOT NULL UNIQUE, endpoint INTEGER NOT NULL, event TEXT NOT NULL,
    order_key TEXT NOT NULL, accepted_at REAL NOT NULL, expires_at REAL, body_bytes INTEGER NOT NULL,
    shared_body INTEGER, body BLOB
  ) STRICT;
  INSERT INTO deliveries VALUES (3, 'evt_3', 1, 'on_message_publish', 'pump', 1, NULL, 2, NULL, x'7b7d');
  INSERT INTO deliveries VALUES (5, 'evt_5', 1, 'on_client_connack', 'pump', 2, 3, 4, NULL, x'7b20207d');
  CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint);
  CREATE INDEX deliveries_by_shared_body ON deliveries (shared_body) WHERE shared_body IS NOT NULL;
  PRAGMA user_version = 1;
`;

describe("when the disk is in trouble", () => {
  test("nothing is acknowledged that is not stored, and service resumes by itself", async () => {
    open();
    await commit(kept(1), retained(1));
    folder.database.exec("PRAGMA max_page_count = 40");
    const large = Buffer.alloc(200_000, 1);
    const refused = await commit(kept(2, large), retained(2)).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(StoreUnavailable);
    expect(refused).toMatchObject({ code: "commit", cause: { message: "database or disk is full" } });
    await expect(commit(kept(3, large), retained(3))).rejects.toThrow(StoreUnavailable);
    expect(store.trouble).toBe("database or disk is full");
    // What is small enough goes on meanwhile.
    await commit(kept(4), retained(4));
    expect(store.trouble).toBeUndefined();
    folder.database.exec("PRAGMA max_page_count = 100000");
    await commit(kept(5, large), retained(5));
    expect([...(await storedState(store)).retained.values()]).toEqual([1, 4, 5]);
    expect(store.check()).toEqual([]);
    expect(logged).toEqual([
      "the store cannot write: nothing more is acknowledged that needs it",
      "the store writes again",
    ]);
  });

  test("all that shared the transaction is refused in order", async () => {
    open();
    folder.database.exec("PRAGMA query_only = ON");
    const refused: number[] = [];
    await new Promise<void>((resolve) => {
      for (const i of [1, 2, 3])
        store.commit([kept(i), retained(i)], (error) => {
          if (error?.code === "commit") refused.push(i);
          if (i === 3) resolve();
        });
    });
    expect(refused).toEqual([1, 2, 3]);
    folder.database.exec("PRAGMA query_only = OFF");
    await commit(kept(1), retained(1));
    expect([...(await storedState(store)).retained.values()]).toEqual([1]);
    expect(logged).toHaveLength(2);
  });

  test("the last of it is left for what gives space back, so that a backlog which filled it can drain", async () => {
    let freeBytes = 10 ** 9;
    open({ freeBytes: () => freeBytes });
    await commit(owed("1"), owed("2"));
    freeBytes = 1000;
    clock.advance(probeIntervalMs);
    expect(store.trouble).toContain("is full: less than 16 MiB are free");
    const outcomes = await Promise.allSettled([commit(owed("3")), commit(settled("1")), commit(kept(1), retained(1))]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    expect(store.trouble).toContain("is full: less than 16 MiB are free");
    expect(ids(slice("a", 0, everything))).toEqual(["2"]);
    freeBytes = 10 ** 9;
    clock.advance(probeIntervalMs);
    expect(store.trouble).toBeUndefined();
    await commit(owed("3"));
  });

  test("on a full disk a session that is there goes on, so that its client can fetch what filled it", async () => {
    let freeBytes = 10 ** 9;
    open({ freeBytes: () => freeBytes });
    const opened: BrokerChange = { type: "session-opened", clientId: "a", userName: undefined, expirySeconds: 3600 };
    await commit(opened);
    freeBytes = 1000;
    await commit(opened, { type: "settled", clientId: "a", position: 1 });
    expect(store.trouble).toContain("is full");
  });

  test("on a full disk the write-ahead log is cut as well: its length may be all that is missing", async () => {
    let freeBytes = 10 ** 9;
    open({ freeBytes: () => freeBytes });
    await commit(owed("1"));
    const log = path.join(root, "data", "hookmq.db-wal");
    expect(statSync(log).size).toBeGreaterThan(0);
    freeBytes = 1000;
    await commit(settled("1"));
    clock.advance(freeingDelayMs);
    expect(statSync(log).size).toBe(0);
  });

  test("what was handed in before its broker heard of a refusal is refused as well, whatever the disk says by then", async () => {
    open({ freeBytes: () => 1000 });
    const refused: number[] = [];
    const done = (i: number) => (error?: StoreUnavailable) => void (error !== undefined && refused.push(i));
    const entry: BrokerChange = { type: "settled", clientId: "a", position: 1 };
    store.commit([kept(1), retained(1)], done(1));
    // More than one transaction takes.
    store.commit(
      Array.from({ length: 20_000 }, () => entry),
      done(2),
    );
    await new Promise<void>((resolve) => store.commit([entry], (error) => resolve(done(3)(error))));
    expect(refused).toEqual([1, 2, 3]);
    await commit(entry);
  });

  test("trouble is told once when it begins and once when it ends", async () => {
    let freeBytes = 1000;
    open({ freeBytes: () => freeBytes });
    const told: (string | undefined)[] = [];
    store.onTrouble = (trouble) => told.push(trouble);
    clock.advance(5 * probeIntervalMs);
    freeBytes = 10 ** 9;
    clock.advance(5 * probeIntervalMs);
    expect(told).toEqual([expect.stringContaining("is full"), undefined]);
    expect(logged).toHaveLength(2);
  });

  test("a damaged page ends all writing, and a probe does not take that back", async () => {
    open();
    await commit(kept(1), retained(1));
    await commit(...Array.from({ length: 2000 }, (_, i) => owed(`evt_${i}`, "a", Buffer.alloc(1000, i))));
    // The file behind the store's back, and nothing of it in memory.
    folder.database.exec("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory");
    const handle = openSync(path.join(root, "data", "hookmq.db"), "r+");
    writeSync(handle, Buffer.alloc(100 * 4096, 0xff), 0, 100 * 4096, 300 * 4096);
    closeSync(handle);
    expect(() => slice("a", 0, { countMax: 5000, bytesMax: 10 ** 9 })).toThrow(StoreUnavailable);
    expect(store.trouble).toContain("is damaged");
    clock.advance(5 * probeIntervalMs);
    await expect(commit(kept(2), retained(2))).rejects.toThrow(StoreUnavailable);
    expect(logged).toEqual(["the store cannot write: nothing more is acknowledged that needs it"]);
  });

  test("the first half of the last is for wills and what clients do: they must not stand in the way of what ends something", async () => {
    let freeBytes = diskBytesLeft - 1;
    open({ freeBytes: () => freeBytes });
    const will: Change = { type: "will-set", clientId: "a", messageId: 1, delaySeconds: 0 };
    const coming = owed("1", "a", Buffer.from("1"), "on_client_connack");
    await commit(opened("a"), kept(1), will, coming);
    await expect(commit(kept(2), retained(2))).rejects.toThrow(StoreUnavailable);
    await expect(commit(owed("2"))).rejects.toThrow(StoreUnavailable);
    freeBytes = diskBytesLeftAtLast - 1;
    await expect(commit(kept(1), will)).rejects.toThrow(StoreUnavailable);
    await commit(opened("a"), { type: "will-cleared", clientId: "a" });
    expect(store.check()).toEqual([]);
  });

  test("a damaged page that is met while the oldest are read is a store that cannot be read", async () => {
    open();
    await commit(...Array.from({ length: 2000 }, (_, i) => owed(`evt_${i}`, "a", Buffer.alloc(1000, i))));
    folder.database.exec("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory");
    const handle = openSync(path.join(root, "data", "hookmq.db"), "r+");
    writeSync(handle, Buffer.alloc(100 * 4096, 0xff), 0, 100 * 4096, 300 * 4096);
    closeSync(handle);
    expect(() => [...store.oldestOwed("a", undefined, 0)]).toThrow(StoreUnavailable);
    expect(store.trouble).toContain("is damaged");
  });

  test("a folder that is gone is not written to", async () => {
    open();
    rmSync(path.join(root, "data"), { recursive: true });
    await expect(commit(owed("1"))).rejects.toMatchObject({ cause: { code: "ENOENT" } });
  });
});

test("who is told and reads is not told of later batches before those between", async () => {
  open();
  const told: string[] = [];
  const done = (name: string, changes: BrokerChange[], act = () => {}) =>
    new Promise<void>((resolve) => {
      store.commit(changes, () => {
        told.push(name);
        act();
        resolve();
      });
    });
  // Too large to share a transaction with another.
  const large = (name: string) => Array.from({ length: changesPerTransactionMax }, (_, i) => owed(`${name}_${i}`));
  const readOn = () => {
    store.record([{ type: "delivery-settled", endpoint: "a", position: 1, outcome: "delivered" }], () => {});
    expect(ids(slice("a", 0, { countMax: 1, bytesMax: 1 }))).toEqual(["2"]);
  };
  await Promise.all([
    done("1", [owed("1")], readOn),
    done("2", [owed("2")]),
    done("3", large("3")),
    done("4", large("4")),
  ]);
  expect(told).toEqual(["1", "2", "3", "4"]);
});

describe("space", () => {
  test("comes back after a backlog has drained, step by step", async () => {
    open();
    const deliveries = Array.from({ length: 5000 }, (_, i) => owed(`evt_${i}`, "a", Buffer.alloc(3000, i)));
    await commit(...deliveries);
    await commit(...deliveries.map((_, i) => settled(`evt_${i}`)));
    const free = pragma(folder.database, "freelist_count");
    clock.advance(freeingDelayMs);
    // A step may meet a page that only says which pages are free.
    expect(free - pragma(folder.database, "freelist_count")).toBeLessThanOrEqual(freedPagesPerStep + 2);
    expect(free - pragma(folder.database, "freelist_count")).toBeGreaterThanOrEqual(freedPagesPerStep);
    clock.advance(20 * freeingPauseMs);
    expect(pragma(folder.database, "freelist_count")).toBeLessThanOrEqual(freePagesKept);
    expect(statSync(path.join(root, "data", "hookmq.db")).size).toBeLessThan((freePagesKept + 100) * 4096);
    expect(statSync(path.join(root, "data", "hookmq.db-wal")).size).toBe(0);
  });
});

describe("a backup", () => {
  test("made while the store is written to is a whole store of its own", async () => {
    open();
    await commit(...Array.from({ length: 3000 }, (_, i) => owed(`evt_${i}`, "a", Buffer.alloc(1000, i))));
    const file = path.join(root, "copy", "hookmq.db");
    openDataFolder(path.dirname(file)).close();
    rmSync(file);
    let running = true;
    const copied = store.backup(file).finally(() => {
      running = false;
    });
    let written = 0;
    while (running) await commit(owed(`later_${written++}`), settled(`evt_${written}`));
    await copied;
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(store.endpoints()).toMatchObject([{ accepted: 3000 + written, delivered: written }]);

    const copy = new SqliteStore({ folder: openDataFolder(path.dirname(file)), sync: "commit", clock, log });
    expect(copy.check()).toEqual([]);
    const [{ accepted, delivered }] = copy.endpoints();
    expect(accepted).toBeGreaterThan(3000);
    expect(accepted).toBeLessThanOrEqual(3000 + written);
    expect(accepted - 3000).toBe(delivered);
    await copy.close();
  });

  test("never overwrites a file", async () => {
    open();
    const file = path.join(root, "precious");
    writeFileSync(file, "precious");
    await expect(store.backup(file)).rejects.toMatchObject({ code: "EEXIST" });
    expect(readFileSync(file, "utf8")).toBe("precious");
  });
});

describe("a check", () => {
  test("that SQLite itself gives up is answered with the reason", async () => {
    open();
    await commit(kept(1), retained(1));
    folder.database.exec("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory");
    // The schema cannot be read, and is said to be another than the one in memory.
    const handle = openSync(path.join(root, "data", "hookmq.db"), "r+");
    writeSync(handle, Buffer.alloc(4, 0x77), 0, 4, 40);
    writeSync(handle, Buffer.alloc(8, 0xff), 0, 8, 100);
    closeSync(handle);
    expect(store.check()).toEqual([expect.stringMatching(/malformed/)]);
  });

  for (const [what, sql, finding] of [
    [
      "a queue entry without its message",
      "INSERT INTO queue VALUES (1, 1, 9, 1, 0, 0, NULL, NULL, NULL)",
      "queue entry",
    ],
    ["a message that nothing names", "DELETE FROM retained", "a kept message is named"],
    ["a subscription without its session", "INSERT INTO subscriptions VALUES (9, 'x', 0, 0, 0, 0, NULL)", "session"],
    ["a delivery that is not counted", "UPDATE endpoints SET accepted = 7", "accepted ="],
    ["a queue that is counted wrongly", "UPDATE endpoints SET message_bytes = 7", "as it is counted"],
    ["a dead letter that is not there", "UPDATE endpoints SET dead_letters = 1", "dead letters"],
    ["a delivery without its body", "UPDATE deliveries SET body = NULL, shared_body = 9", "has its body"],
  ] as const) {
    test(`finds ${what}`, async () => {
      open();
      await commit(opened("a"), kept(1), retained(1), owed("1"));
      expect(store.check()).toEqual([]);
      folder.database.exec(sql);
      expect(store.check()).toEqual([expect.stringContaining(finding)]);
    });
  }
});
