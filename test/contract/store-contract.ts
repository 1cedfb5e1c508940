/** What every engine of the Store keeps to. `store.test.ts` runs it once for each engine. */
import { describe, expect, test } from "vitest";
import type { Change, OwedDelivery, StoredMessage, StoredSubscription } from "../../src/store/change.ts";
import { type Store, type StoredSession, type StoredState, StoreUnavailable } from "../../src/store/store.ts";

const t0 = 1_700_000_000_000;

export function storeContract(engine: string, open: () => Promise<Store>): void {
  describe(`${engine} store`, () => {
    test("begins with nothing", async () => {
      expect(await stateAfter(open)).toEqual({
        messages: new Map(),
        sessions: [],
        retained: new Map(),
        wills: [],
        deliveries: [],
      });
    });

    describe("commits", () => {
      test("are done once each, in the order they were handed in", async () => {
        const store = await open();
        const done: number[] = [];
        const all = Array.from({ length: 50 }, (_, i) => i);
        await Promise.all(
          all.map(
            (i) =>
              new Promise<void>((resolve, reject) => {
                store.commit(i % 10 === 0 ? [] : [opened(`client-${i}`)], (error) => {
                  done.push(i);
                  if (error) reject(error);
                  else resolve();
                });
              }),
          ),
        );
        expect(done).toEqual(all);
        await store.close();
      });

      test("take effect in the order of the batches and of the Changes in each", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), subscribed("a", "x", { qos: 0 }), subscribed("a", "x", { qos: 1 })],
          [unsubscribed("a", "x"), subscribed("a", "x", { qos: 2 })],
          [kept(1), kept(2), retained("t", 1), retained("t", 2)],
        );
        expect(session(state, "a").subscriptions).toEqual([subscription("x", { qos: 2 })]);
        expect(state.retained).toEqual(new Map([["t", 2]]));
      });

      test("handed in before close are done by its end; later ones are refused, and so is load", async () => {
        const store = await open();
        let done = false;
        store.commit([opened("a")], () => {
          done = true;
        });
        await store.close();
        expect(done).toBe(true);
        await expect(commit(store, [opened("b")])).rejects.toThrow(StoreUnavailable);
        await expect(store.load()).rejects.toThrow(StoreUnavailable);
      });
    });

    describe("sessions", () => {
      test("carry user name and expiry, and the time they were disconnected", async () => {
        const state = await stateAfter(open, [
          { type: "session-opened", clientId: "a", userName: "ann", expirySeconds: 60 },
          { type: "session-opened", clientId: "b", userName: undefined, expirySeconds: 0xffff_ffff },
          { type: "session-disconnected", clientId: "b", at: t0 + 5, expirySeconds: 90 },
        ]);
        expect(session(state, "a")).toMatchObject({ userName: "ann", expirySeconds: 60, disconnectedAt: undefined });
        expect(session(state, "b")).toMatchObject({ userName: undefined, expirySeconds: 90, disconnectedAt: t0 + 5 });
      });

      test("opened again go on with what they have, connected", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), subscribed("a", "x"), kept(1), queued("a", 1, 1), received("a", 7)],
          [{ type: "session-disconnected", clientId: "a", at: t0, expirySeconds: 60 }],
          [{ type: "session-opened", clientId: "a", userName: "anna", expirySeconds: 30 }],
        );
        expect(session(state, "a")).toMatchObject({ userName: "anna", expirySeconds: 30, disconnectedAt: undefined });
        expect(session(state, "a")).toMatchObject({ subscriptions: [{}], queue: [{ position: 1 }], received: [7] });
      });

      test("that end leave nothing, and begin anew when opened again", async () => {
        const before = [opened("a"), subscribed("a", "x"), kept(1), queued("a", 1, 1), received("a", 7)];
        const ended = await stateAfter(open, before, [{ type: "session-ended", clientId: "a" }]);
        expect(ended.sessions).toEqual([]);
        expect(ended.messages.size).toBe(0);
        const anew = await stateAfter(open, before, [{ type: "session-ended", clientId: "a" }, opened("a")]);
        expect(session(anew, "a")).toMatchObject({ subscriptions: [], queue: [], received: [] });
      });

      test("keep every field of a subscription, and each topic filter once", async () => {
        const full = subscription("plant/+/temp", {
          qos: 2,
          noLocal: true,
          retainAsPublished: true,
          retainHandling: 2,
          subscriptionIdentifier: 268_435_455,
        });
        const state = await stateAfter(open, [
          opened("a"),
          subscribed("a", "plant/+/temp"),
          subscribed("a", "$share/g/x"),
          { type: "subscribed", clientId: "a", subscription: full },
        ]);
        expect(byFilter(session(state, "a"))).toEqual([subscription("$share/g/x"), full]);
      });

      test("forget a topic filter that is unsubscribed", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), subscribed("a", "x"), subscribed("a", "y")],
          [unsubscribed("a", "x")],
        );
        expect(session(state, "a").subscriptions).toEqual([subscription("y")]);
      });

      test("hold received packet identifiers until they are completed", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), received("a", 1), received("a", 65_535), received("a", 1)],
          [{ type: "receive-completed", clientId: "a", packetIdentifier: 1 }],
        );
        expect(session(state, "a").received).toEqual([65_535]);
      });

      test("that are not there take no Change", async () => {
        const state = await stateAfter(open, [
          kept(1),
          subscribed("nobody", "x"),
          unsubscribed("nobody", "x"),
          queued("nobody", 1, 1),
          { type: "sent", clientId: "nobody", position: 1, packetIdentifier: 1 },
          { type: "released", clientId: "nobody", position: 1 },
          settled("nobody", 1),
          received("nobody", 1),
          { type: "receive-completed", clientId: "nobody", packetIdentifier: 1 },
          { type: "session-disconnected", clientId: "nobody", at: t0, expirySeconds: 1 },
          { type: "session-ended", clientId: "nobody" },
        ]);
        expect(state.sessions).toEqual([]);
        expect(state.messages.size).toBe(0);
      });
    });

    describe("queues", () => {
      test("come back in the order of position, whatever order they were filled in", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), kept(1), queued("a", 300, 1), queued("a", 2, 1), queued("a", 10, 1)],
          [queued("a", 9, 1)],
        );
        expect(session(state, "a").queue.map(({ position }) => position)).toEqual([2, 9, 10, 300]);
      });

      test("keep every field of an entry through queued, sent and released", async () => {
        const entry: Change = {
          type: "queued",
          clientId: "a",
          position: 1,
          messageId: 1,
          qos: 2,
          retain: true,
          subscriptionIdentifiers: [1, 268_435_455],
          sharedFilter: "$share/g/x",
        };
        const facts = {
          position: 1,
          messageId: 1,
          qos: 2,
          retain: true,
          subscriptionIdentifiers: [1, 268_435_455],
          sharedFilter: "$share/g/x",
        };
        const waits = [opened("a"), kept(1), entry];
        const sent: Change = { type: "sent", clientId: "a", position: 1, packetIdentifier: 65_535 };
        const released: Change = { type: "released", clientId: "a", position: 1 };
        const queueAfter = async (...batches: Change[][]) => session(await stateAfter(open, ...batches), "a").queue;
        expect(await queueAfter(waits)).toEqual([{ ...facts, state: "queued", packetIdentifier: undefined }]);
        expect(await queueAfter(waits, [sent])).toEqual([{ ...facts, state: "sent", packetIdentifier: 65_535 }]);
        expect(await queueAfter(waits, [sent], [released])).toEqual([
          { ...facts, state: "released", packetIdentifier: 65_535 },
        ]);
        const sentAgain: Change = { type: "sent", clientId: "a", position: 1, packetIdentifier: 9 };
        expect(await queueAfter(waits, [sent], [released], [released], [sentAgain])).toEqual([
          { ...facts, state: "released", packetIdentifier: 65_535 },
        ]);
        expect(await queueAfter(waits, [sent], [released], [settled("a", 1)])).toEqual([]);
      });

      test("sent again take the new packet identifier", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), kept(1), queued("a", 1, 1), { type: "sent", clientId: "a", position: 1, packetIdentifier: 4 }],
          [{ type: "sent", clientId: "a", position: 1, packetIdentifier: 9 }],
        );
        expect(session(state, "a").queue).toMatchObject([{ state: "sent", packetIdentifier: 9 }]);
      });

      test("of one client leave those of another alone", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), opened("b"), kept(1), queued("a", 1, 1), queued("b", 1, 1)],
          [settled("a", 1)],
        );
        expect(session(state, "a").queue).toEqual([]);
        expect(session(state, "b").queue).toHaveLength(1);
      });
    });

    describe("messages", () => {
      test("come back with every field and byte", async () => {
        const full: StoredMessage = {
          topicName: "plant/ä/温度",
          payload: Buffer.from([0, 1, 254, 255]),
          qos: 2,
          retain: true,
          properties: Buffer.from("020000003c", "hex"),
          acceptedAt: t0,
          expiresAt: t0 + 60_000,
          publisherClientId: "pump",
          publisherUserName: "ann",
        };
        const state = await stateAfter(open, [
          { type: "message-kept", messageId: Number.MAX_SAFE_INTEGER, message: full },
          retained(full.topicName, Number.MAX_SAFE_INTEGER),
        ]);
        expect(plain(state.messages.get(Number.MAX_SAFE_INTEGER)!)).toEqual(plain(full));
        expect(state.retained).toEqual(new Map([[full.topicName, Number.MAX_SAFE_INTEGER]]));
      });

      test("kept again stay as they are", async () => {
        const state = await stateAfter(open, [kept(1, "first"), retained("t", 1)], [kept(1, "second")]);
        expect(state.messages.get(1)?.topicName).toBe("first");
      });

      test("that nothing names when their batch ends are freed", async () => {
        expect((await stateAfter(open, [kept(1)])).messages.size).toBe(0);
      });

      test("pass from the last who names them to the next within one batch", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), opened("b"), kept(1), queued("a", 1, 1)],
          [settled("a", 1), queued("b", 1, 1)],
        );
        expect([...state.messages.keys()]).toEqual([1]);
      });

      const everyone = [
        opened("a"),
        opened("b"),
        opened("c"),
        kept(1),
        queued("a", 1, 1),
        queued("b", 1, 1),
        queued("c", 1, 1),
        retained("t", 1),
        will("d", 1),
      ];
      const goings: Change[] = [
        settled("a", 1),
        { type: "released", clientId: "b", position: 1 },
        { type: "session-ended", clientId: "c" },
        { type: "retained-cleared", topicName: "t" },
        { type: "will-cleared", clientId: "d" },
      ];
      for (const last of goings) {
        test(`live until the last who names them lets go: ${last.type}`, async () => {
          const others = goings.filter((going) => going !== last);
          expect((await stateAfter(open, everyone, others)).messages.size).toBe(1);
          expect((await stateAfter(open, everyone, others, [last])).messages.size).toBe(0);
        });
      }

      test("are let go of once, however often a Change is repeated", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), opened("b"), kept(1), queued("a", 1, 1), queued("a", 1, 1), queued("b", 1, 1)],
          [{ type: "released", clientId: "a", position: 1 }],
          [{ type: "released", clientId: "a", position: 1 }],
          [settled("a", 1)],
          [settled("a", 1)],
        );
        expect(state.messages.size).toBe(1);
      });

      for (const [what, first, second] of [
        ["a retained message", retained("t", 1), retained("t", 2)],
        ["a will", will("a", 1), will("a", 2)],
        ["a queue entry", queued("a", 1, 1), queued("a", 1, 2)],
      ] as const) {
        test(`are freed when ${what} is replaced`, async () => {
          const state = await stateAfter(open, [opened("a"), kept(1), first], [kept(2), second]);
          expect([...state.messages.keys()]).toEqual([2]);
        });
      }
    });

    describe("retained messages", () => {
      test("are one per topic name", async () => {
        const state = await stateAfter(
          open,
          [kept(1), kept(2), kept(3), retained("x", 1), retained("y", 2), retained("x", 3)],
          [{ type: "retained-cleared", topicName: "y" }],
          [{ type: "retained-cleared", topicName: "never" }],
        );
        expect(state.retained).toEqual(new Map([["x", 3]]));
      });
    });

    describe("wills", () => {
      test("are set, fall due, and are cleared", async () => {
        const set = [kept(1), kept(2), will("a", 1, 30), will("b", 2, 0)];
        const due: Change = { type: "will-due", clientId: "a", at: t0 + 30_000 };
        const state = await stateAfter(open, set, [due]);
        expect([...state.wills].sort((x, y) => (x.clientId < y.clientId ? -1 : 1))).toEqual([
          { clientId: "a", messageId: 1, delaySeconds: 30, dueAt: t0 + 30_000 },
          { clientId: "b", messageId: 2, delaySeconds: 0, dueAt: undefined },
        ]);
        const cleared = await stateAfter(open, set, [due], [{ type: "will-cleared", clientId: "a" }]);
        expect(cleared.wills.map(({ clientId }) => clientId)).toEqual(["b"]);
      });

      test("set again are no longer due", async () => {
        const state = await stateAfter(
          open,
          [kept(1), will("a", 1), { type: "will-due", clientId: "a", at: t0 }],
          [kept(2), will("a", 2, 5)],
        );
        expect(state.wills).toEqual([{ clientId: "a", messageId: 2, delaySeconds: 5, dueAt: undefined }]);
      });

      test("stay when their session ends", async () => {
        const state = await stateAfter(
          open,
          [opened("a"), kept(1), will("a", 1)],
          [{ type: "session-ended", clientId: "a" }],
        );
        expect(state.wills).toHaveLength(1);
        expect(state.messages.size).toBe(1);
      });

      test("that are not there do not fall due", async () => {
        const state = await stateAfter(open, [
          { type: "will-due", clientId: "a", at: t0 },
          { type: "will-cleared", clientId: "a" },
        ]);
        expect(state.wills).toEqual([]);
      });
    });

    describe("deliveries", () => {
      test("come back in the order they were owed, with every field, until they are settled", async () => {
        const state = await stateAfter(
          open,
          [owed("evt_3"), owed("evt_1", { expiresAt: t0 + 1 })],
          [owed("evt_2"), { type: "delivery-settled", deliveryId: "evt_3", outcome: "delivered", reason: "" }],
        );
        expect(state.deliveries.map(plain)).toEqual(
          [delivery("evt_1", { expiresAt: t0 + 1 }), delivery("evt_2")].map(plain),
        );
      });

      for (const outcome of ["delivered", "dead", "dropped", "expired"] as const) {
        test(`are no longer owed once ${outcome}`, async () => {
          const state = await stateAfter(
            open,
            [owed("evt_1")],
            [{ type: "delivery-settled", deliveryId: "evt_1", outcome, reason: "because" }],
          );
          expect(state.deliveries).toEqual([]);
        });
      }

      test("owed twice are owed once, in the first place", async () => {
        const state = await stateAfter(open, [owed("evt_1"), owed("evt_2")], [owed("evt_1")]);
        expect(state.deliveries.map(({ deliveryId }) => deliveryId)).toEqual(["evt_1", "evt_2"]);
      });
    });
  });
}

function commit(store: Store, changes: readonly Change[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.commit(changes, (error) => (error === undefined ? resolve() : reject(error)));
  });
}

async function stateAfter(open: () => Promise<Store>, ...batches: (readonly Change[])[]): Promise<StoredState> {
  const store = await open();
  for (const batch of batches) await commit(store, batch);
  const state = await store.load();
  await store.close();
  return state;
}

function session(state: StoredState, clientId: string): StoredSession {
  const found = state.sessions.filter((candidate) => candidate.clientId === clientId);
  expect(found).toHaveLength(1);
  return found[0];
}

function byFilter({ subscriptions }: StoredSession): StoredSubscription[] {
  return [...subscriptions].sort((a, b) => (a.topicFilter < b.topicFilter ? -1 : 1));
}

/** Engines may hand back any kind of Uint8Array: compare their bytes. */
function plain(value: object): object {
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [key, field instanceof Uint8Array ? [...field] : field]),
  );
}

function opened(clientId: string): Change {
  return { type: "session-opened", clientId, userName: undefined, expirySeconds: 60 };
}

function subscription(topicFilter: string, fields: Partial<StoredSubscription> = {}): StoredSubscription {
  return {
    topicFilter,
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionIdentifier: undefined,
    ...fields,
  };
}

function subscribed(clientId: string, topicFilter: string, fields: Partial<StoredSubscription> = {}): Change {
  return { type: "subscribed", clientId, subscription: subscription(topicFilter, fields) };
}

function unsubscribed(clientId: string, topicFilter: string): Change {
  return { type: "unsubscribed", clientId, topicFilter };
}

function kept(messageId: number, topicName = "t"): Change {
  return {
    type: "message-kept",
    messageId,
    message: {
      topicName,
      payload: Buffer.from("on"),
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

function queued(clientId: string, position: number, messageId: number): Change {
  return {
    type: "queued",
    clientId,
    position,
    messageId,
    qos: 1,
    retain: false,
    subscriptionIdentifiers: [],
    sharedFilter: undefined,
  };
}

function settled(clientId: string, position: number): Change {
  return { type: "settled", clientId, position };
}

function received(clientId: string, packetIdentifier: number): Change {
  return { type: "received", clientId, packetIdentifier };
}

function retained(topicName: string, messageId: number): Change {
  return { type: "retained", topicName, messageId };
}

function will(clientId: string, messageId: number, delaySeconds = 0): Change {
  return { type: "will-set", clientId, messageId, delaySeconds };
}

function delivery(deliveryId: string, fields: Partial<OwedDelivery> = {}): OwedDelivery {
  return {
    deliveryId,
    endpoint: "default",
    event: "on_message_publish",
    orderKey: "pump",
    body: Buffer.from(`{"id":"${deliveryId}"}`),
    acceptedAt: t0,
    expiresAt: undefined,
    ...fields,
  };
}

function owed(deliveryId: string, fields: Partial<OwedDelivery> = {}): Change {
  return { type: "delivery-owed", delivery: delivery(deliveryId, fields) };
}
