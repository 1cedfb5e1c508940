/** Whatever is done to them, in whatever batches and transactions: the durable engine holds what the simple one holds. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeClock } from "../../src/base/fake-clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { BrokerChange as Change, DeliveryChange } from "../../src/store/change.ts";
import { openDataFolder } from "../../src/store/data-folder.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { SqliteStore } from "../../src/store/sqlite.ts";
import type { Engine, StoredState } from "../../src/store/store.ts";
import { storedState } from "../../src/store/stored-state.ts";

let root: string;
let folders = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), "hookmq-engines-"));
});
afterAll(() => rmSync(root, { recursive: true }));

// So few of everything that Changes meet: the same client, the same position, the same message.
const clientId = fc.constantFrom("a", "b");
const position = fc.integer({ min: 1, max: 2 });
const messageId = fc.integer({ min: 1, max: 3 });
const packetIdentifier = fc.integer({ min: 1, max: 3 });
const topicName = fc.constantFrom("x", "y");
const instant = fc.integer({ min: 1, max: 9 });

const kept = (id: number): Change => ({
  type: "message-kept",
  messageId: id,
  message: {
    topicName: `t${id}`,
    payload: Buffer.from(`payload ${id}`),
    qos: 1,
    retain: false,
    properties: Buffer.alloc(0),
    acceptedAt: id,
    expiresAt: undefined,
    publisherClientId: "pump",
    publisherUserName: undefined,
  },
});

/** Each is one step of a batch: what names a message keeps it first, as the broker does. */
const steps: readonly fc.Arbitrary<Change[]>[] = [
  fc
    .record({ clientId, expirySeconds: instant })
    .map((open): Change[] => [{ type: "session-opened", userName: undefined, ...open }]),
  fc
    .record({ clientId, at: instant, expirySeconds: instant })
    .map((end): Change[] => [{ type: "session-disconnected", ...end }]),
  fc
    .record({ clientId, topicFilter: topicName, qos: fc.constantFrom(0 as const, 1 as const) })
    .map(({ clientId, topicFilter, qos }): Change[] => [
      {
        type: "subscribed",
        clientId,
        subscription: {
          topicFilter,
          qos,
          noLocal: false,
          retainAsPublished: false,
          retainHandling: 0,
          subscriptionIdentifier: undefined,
        },
      },
    ]),
  fc.record({ clientId, topicFilter: topicName }).map((which): Change[] => [{ type: "unsubscribed", ...which }]),
  fc.record({ clientId, position, messageId }).map((entry): Change[] => [
    kept(entry.messageId),
    {
      type: "queued",
      ...entry,
      qos: 2,
      retain: false,
      subscriptionIdentifiers: [entry.position],
      sharedFilter: undefined,
    },
  ]),
  fc.record({ clientId, position, packetIdentifier }).map((entry): Change[] => [{ type: "sent", ...entry }]),
  fc.record({ clientId, position }).map((entry): Change[] => [{ type: "released", ...entry }]),
  fc.record({ clientId, position }).map((entry): Change[] => [{ type: "settled", ...entry }]),
  fc.record({ clientId, packetIdentifier }).map((which): Change[] => [{ type: "received", ...which }]),
  fc.record({ clientId, packetIdentifier }).map((which): Change[] => [{ type: "receive-completed", ...which }]),
  fc.record({ topicName, messageId }).map((which): Change[] => [kept(which.messageId), { type: "retained", ...which }]),
  topicName.map((name): Change[] => [{ type: "retained-cleared", topicName: name }]),
  fc
    .record({ clientId, messageId, delaySeconds: instant })
    .map((will): Change[] => [kept(will.messageId), { type: "will-set", ...will }]),
  fc.record({ clientId, at: instant }).map((will): Change[] => [{ type: "will-due", ...will }]),
  clientId.map((id): Change[] => [{ type: "will-cleared", clientId: id }]),
  fc
    .record({
      endpoint: fc.constant("x"),
      orderKey: clientId,
      event: fc.constantFrom("on_message_publish", "on_client_connack"),
    })
    .map((owed): Change[] => [
      {
        type: "delivery-owed",
        durability: "strict",
        delivery: {
          deliveryId: "evt",
          body: Buffer.alloc(70, 1),
          head: "h",
          acceptedAt: 1,
          expiresAt: undefined,
          ...owed,
        },
      },
    ]),
];
// Ends are rare, so that there is something to end.
const ended = clientId.map((id): Change[] => [{ type: "session-ended", clientId: id }]);
const step = fc.oneof({ arbitrary: ended, weight: 1 }, ...steps.map((arbitrary) => ({ arbitrary, weight: 3 })));

// What the webhook engine says: of deliveries that are owed, were owed, or never will be.
const place = { endpoint: fc.constant("x"), position: fc.integer({ min: 1, max: 12 }) };
const said: fc.Arbitrary<DeliveryChange> = fc.oneof(
  fc
    .record({ ...place, dueAt: instant })
    .map((putBack): DeliveryChange => ({ type: "delivery-put-back", attempts: 2, failures: 1, ...putBack })),
  fc
    .record({ ...place, outcome: fc.constantFrom("delivered" as const, "dropped" as const, "expired" as const) })
    .map((settled): DeliveryChange => ({ type: "delivery-settled", ...settled })),
  fc
    .record({ ...place, at: instant })
    .map((died): DeliveryChange => ({ type: "delivery-died", reason: "r", detail: "d", attempts: 1, ...died })),
  fc
    .record({ endpoint: topicName, positions: fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 2 }) })
    .map((underWay): DeliveryChange => ({ type: "attempts-under-way", ...underWay })),
  fc
    .record({ endpoint: topicName, heldUntil: instant })
    .map((moved): DeliveryChange => ({ type: "breaker-moved", breaker: "open", ...moved })),
  fc
    .record({ ...place, at: instant })
    .map((replayed): DeliveryChange => ({ type: "dead-letter-replayed", ...replayed })),
  fc.record(place).map((deleted): DeliveryChange => ({ type: "dead-letter-deleted", ...deleted })),
  fc
    .record({ endpoint: topicName, batches: fc.constantFrom("", "[]") })
    .map((frozen): DeliveryChange => ({ type: "batches-frozen", ...frozen })),
  fc
    .record({ endpoint: topicName, upTo: instant })
    .map((forgotten): DeliveryChange => ({ type: "dead-letters-forgotten", ...forgotten })),
);

/** A run: transactions of batches of steps. */
const run = fc.array(
  fc.array(
    fc.record({
      changes: fc.array(step, { maxLength: 8 }).map((steps) => steps.flat()),
      deliveryChanges: fc.array(said, { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  { maxLength: 8 },
);

test("every run of Changes adds up to the same state in both engines, also after a start", async () => {
  await fc.assert(
    fc.asyncProperty(run, async (transactions) => {
      const directory = path.join(root, `${++folders}`);
      const open = () =>
        // Synced or not is all the same to what is held, and this runs hundreds of times.
        new SqliteStore({ folder: openDataFolder(directory), sync: "none", clock: new FakeClock(), log: silentLogger });
      const memory = new MemoryStore();
      let sqlite = open();
      for (const batches of transactions) {
        await Promise.all(batches.map((batch) => commit(memory, batch)));
        await Promise.all(batches.map((batch) => commit(sqlite, batch)));
      }
      const expected = await everythingIn(memory);
      expect(await everythingIn(sqlite)).toEqual(expected);
      expect(sqlite.check()).toEqual([]);
      await sqlite.close();
      sqlite = open();
      expect(await everythingIn(sqlite)).toEqual(expected);
      await sqlite.close();
      rmSync(directory, { recursive: true });
    }),
    { numRuns: 150 },
  );
});

function commit(engine: Engine, { changes, deliveryChanges }: Batch): Promise<unknown> {
  return Promise.all([
    new Promise<void>((resolve, reject) => {
      engine.commit(changes, (error) => (error === undefined ? resolve() : reject(error)));
    }),
    new Promise<void>((resolve, reject) => {
      engine.record(deliveryChanges, (error) => (error === undefined ? resolve() : reject(error)));
    }),
  ]);
}

interface Batch {
  changes: Change[];
  deliveryChanges: DeliveryChange[];
}

async function everythingIn(engine: Engine): Promise<object> {
  const all = { countMax: 1_000, bytesMax: 1_000_000 };
  const range = { after: { dueAt: 0, position: 0 }, until: 99, upTo: 99, countMax: 99 };
  const numbers = (bytes: Uint8Array) => [...bytes];
  return {
    ...comparable(await storedState(engine)),
    endpoints: engine
      .endpoints()
      .sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1))
      // Which of them has a row of its own before it was owed anything means nothing.
      .filter(
        ({ accepted, underWay, heldUntil, batches }) =>
          accepted > 0 || underWay.length > 0 || heldUntil > 0 || batches !== "",
      ),
    deliveries: ["x", "y"].map((endpoint) => ({
      owed: engine
        .owedBehind(endpoint, 0, all)
        .deliveries.map(({ owed, ...rest }) => [rest, { ...owed, body: numbers(owed.body) }]),
      line: engine.owedInLine(endpoint, "a", { after: 1, upTo: 9 }, all).deliveries.map(({ position }) => position),
      due: engine.owedDue(endpoint, range),
      oldest: [...engine.oldestOwed(endpoint, undefined, 0)],
      oldestMessages: [...engine.oldestOwed(endpoint, "messages", 2)],
      deadLetterFacts: [...engine.oldestDeadLetters(endpoint, 1)],
      deadLetters: engine
        .deadLetters(endpoint, 0, all)
        .map(({ owed, ...rest }) => [rest, { ...owed, body: numbers(owed.body) }]),
    })),
  };
}

/** Without the orders that mean nothing, and with bytes as numbers. */
function comparable({ messages, sessions, retained, wills }: StoredState): object {
  const by = <Value>(values: Iterable<Value>, key: (value: Value) => string) =>
    [...values].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return {
    messages: by(messages, ([id]) => `${id}`).map(([id, { payload, properties, ...message }]) => ({
      id,
      payload: [...payload],
      properties: [...properties],
      ...message,
    })),
    sessions: by(sessions, (session) => session.clientId).map((session) => ({
      ...session,
      subscriptions: by(session.subscriptions, ({ topicFilter }) => topicFilter),
      received: [...session.received].sort(),
    })),
    retained: by(retained, ([name]) => name),
    wills: by(wills, (will) => will.clientId),
  };
}
