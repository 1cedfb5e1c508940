/** What every engine of the Store keeps to. `store.test.ts` runs it once for each engine. */
import { describe, expect, test } from "vitest";
import type {
  BrokerChange as Change,
  DeliveryChange,
  OwedDelivery,
  StoredMessage,
  StoredSubscription,
} from "../../src/store/change.ts";
import type { StoredDelivery, StoredEndpoint } from "../../src/store/deliveries.ts";
import { type Engine, type StoredSession, type StoredState, StoreUnavailable } from "../../src/store/store.ts";
import { storedState } from "../../src/store/stored-state.ts";

const t0 = 1_700_000_000_000;

export function storeContract(engine: string, open: () => Promise<Engine>): void {
  describe(`${engine} store`, () => {
    test("begins with nothing", async () => {
      expect(await stateAfter(open)).toEqual({
        messages: new Map(),
        sessions: [],
        retained: new Map(),
        wills: [],
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
        await expect(storedState(store)).rejects.toThrow(StoreUnavailable);
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
      test("come back in the order they were owed, with every field and their position, until they have ended", async () => {
        await withStore(open, async (store) => {
          await commit(store, [owed("evt_3"), owed("evt_1", { expiresAt: t0 + 1 }), owed("x", { endpoint: "other" })]);
          await commit(store, [owed("evt_2")]);
          expect(store.owedBehind("default", 0, all)).toEqual({
            deliveries: [stored(1, "evt_3"), stored(2, "evt_1", { expiresAt: t0 + 1 }), stored(4, "evt_2")].map(
              expectStored,
            ),
            hasMore: false,
          });
          await record(store, settledDelivery(1));
          expect(ids(store.owedBehind("default", 0, all).deliveries)).toEqual(["evt_1", "evt_2"]);
          expect(ids(store.owedBehind("default", 2, all).deliveries)).toEqual(["evt_2"]);
          expect(store.owedBehind("nobody", 0, all)).toEqual({ deliveries: [], hasMore: false });
        });
      });

      test("of a commit have positions that begin where it says", async () => {
        await withStore(open, async (store) => {
          const first = (...changes: Change[]) =>
            new Promise((resolve) => store.commit(changes, (_error, firstPosition) => resolve(firstPosition)));
          expect(await first(owed("evt_1"), owed("evt_2"))).toBe(1);
          await record(store, settledDelivery(1), settledDelivery(2));
          expect(await first(opened("a"), owed("evt_3"))).toBe(3);
        });
      });

      test("come in slices within their limits, of which one delivery always is", async () => {
        await withStore(open, async (store) => {
          const body = Buffer.alloc(100);
          await commit(
            store,
            ["1", "2", "3"].map((id) => owed(id, { body })),
          );
          const slice = (countMax: number, bytesMax: number) => {
            const { deliveries, hasMore } = store.owedBehind("default", 0, { countMax, bytesMax });
            return [ids(deliveries), hasMore];
          };
          expect(slice(2, 1_000)).toEqual([["1", "2"], true]);
          expect(slice(3, 300)).toEqual([["1", "2", "3"], false]);
          expect(slice(3, 299)).toEqual([["1", "2"], true]);
          expect(slice(3, 0)).toEqual([["1"], true]);
        });
      });

      test("of one line are found between two positions", async () => {
        await withStore(open, async (store) => {
          await commit(store, [line("1", "a"), line("2", "b"), line("3", "a"), line("4", "a"), line("5", "a")]);
          const inLine = (after: number, upTo: number) =>
            ids(store.owedInLine("default", "a", { after, upTo }, all).deliveries);
          expect(inLine(0, 9)).toEqual(["1", "3", "4", "5"]);
          expect(inLine(1, 4)).toEqual(["3", "4"]);
          await record(store, settledDelivery(3));
          expect(inLine(1, 4)).toEqual(["4"]);
          expect(store.owedInLine("default", "a", { after: 0, upTo: 9 }, { countMax: 2, bytesMax: 999 }).hasMore).toBe(
            true,
          );
        });
      });

      test("put back wait for their time, in the order of it", async () => {
        await withStore(open, async (store) => {
          await commit(store, [owed("1"), owed("2"), owed("3"), owed("4")]);
          await record(store, putBack(1, t0 + 30), putBack(2, t0 + 10), putBack(3, t0 + 10), putBack(1, t0 + 20));
          const due = (after: [number, number], until: number, upTo = 9, countMax = 9) =>
            store
              .owedDue("default", { after: { dueAt: after[0], position: after[1] }, until, upTo, countMax })
              .map(({ deliveryId, dueAt }) => [deliveryId, dueAt! - t0]);
          const beforeAll = Number.NEGATIVE_INFINITY;
          expect(due([beforeAll, 0], t0 + 99)).toEqual([
            ["2", 10],
            ["3", 10],
            ["1", 20],
          ]);
          expect(due([beforeAll, 0], t0 + 19)).toEqual([
            ["2", 10],
            ["3", 10],
          ]);
          expect(due([t0 + 10, 2], t0 + 99)).toEqual([
            ["3", 10],
            ["1", 20],
          ]);
          expect(due([beforeAll, 0], t0 + 99, 2)).toEqual([
            ["2", 10],
            ["1", 20],
          ]);
          expect(due([beforeAll, 0], t0 + 99, 9, 1)).toEqual([["2", 10]]);
          const [{ attempts, failures, dueAt }] = store.owedBehind("default", 0, all).deliveries;
          expect([attempts, failures, dueAt]).toEqual([3, 2, t0 + 20]);
          await record(store, settledDelivery(2));
          expect(due([beforeAll, 0], t0 + 99)).toEqual([
            ["3", 10],
            ["1", 20],
          ]);
        });
      });

      test("are told from the oldest on, of one part or of both", async () => {
        await withStore(open, async (store) => {
          const event = "on_client_connack";
          await commit(store, [owed("1"), owed("2", { event }), owed("3"), owed("4", { event })]);
          await record(store, settledDelivery(1));
          const oldest = (...asked: [part: "messages" | "clientEvents" | undefined, after: number]) =>
            Array.from(store.oldestOwed("default", ...asked), ({ deliveryId }) => deliveryId);
          expect(oldest(undefined, 0)).toEqual(["2", "3", "4"]);
          expect(oldest("messages", 0)).toEqual(["3"]);
          expect(oldest("clientEvents", 2)).toEqual(["4"]);
          const [first] = store.oldestOwed("default", undefined, 0);
          expect(first).toEqual({
            position: 2,
            deliveryId: "2",
            event,
            orderKey: "pump",
            acceptedAt: t0,
            bodyBytes: 10,
            dueAt: undefined,
          });
        });
      });

      test("are counted, in number and bytes, whatever becomes of them", async () => {
        await withStore(open, async (store) => {
          const body = Buffer.alloc(100);
          await commit(
            store,
            [1, 2, 3, 4, 5].map((id) => owed(`${id}`, { body })),
          );
          await commit(store, [owed("6", { event: "on_client_connack", body })]);
          await record(
            store,
            settledDelivery(1),
            settledDelivery(2, "dropped"),
            settledDelivery(3, "expired"),
            died(4),
            settledDelivery(4),
            died(1),
          );
          expect(endpoint(store)).toEqual({
            endpoint: "default",
            accepted: 6,
            delivered: 1,
            dead: 1,
            dropped: 1,
            expired: 1,
            queued: { messages: { count: 1, bodyBytes: 100 }, clientEvents: { count: 1, bodyBytes: 100 } },
            deadLetters: { count: 1, bodyBytes: 100 },
            underWay: [],
            breaker: "",
            heldUntil: 0,
            batches: "",
          });
        });
      });

      test("that end in the turn they are owed in are counted all the same", async () => {
        await withStore(open, async (store) => {
          await Promise.all([
            commit(store, [owed("1"), owed("2"), owed("3")]),
            record(store, settledDelivery(1), died(2), putBack(3, t0)),
          ]);
          expect(endpoint(store)).toMatchObject({ accepted: 3, delivered: 1, dead: 1 });
          expect(store.owedBehind("default", 0, all).deliveries).toMatchObject([{ position: 3, attempts: 3 }]);
          expect(store.deadLetters("default", 0, all)).toMatchObject([{ position: 2, owed: { deliveryId: "2" } }]);
        });
      });

      test("that died are dead letters, with all that is known of them, until they are forgotten", async () => {
        await withStore(open, async (store) => {
          await commit(store, [owed("1", { expiresAt: t0 + 9 }), owed("2"), owed("3")]);
          await record(store, died(3), died(1));
          const letter = { reason: "rejected", detail: "status_422: no", attempts: 2, diedAt: t0 + 5 };
          const letters = store.deadLetters("default", 0, all);
          expect(letters.map(({ owed, ...rest }) => ({ ...rest, owed: plain(owed) }))).toEqual([
            { position: 1, ...letter, owed: plain(delivery("1", { expiresAt: t0 + 9 })) },
            { position: 3, ...letter, owed: plain(delivery("3")) },
          ]);
          await record(store, { type: "dead-letters-forgotten", endpoint: "default", upTo: 2 });
          expect(store.deadLetters("default", 0, all)).toMatchObject([{ position: 3 }]);
          expect(endpoint(store)).toMatchObject({ dead: 2, deadLetters: { count: 1, bodyBytes: 10 } });
        });
      });

      test("that died are owed afresh once replayed, behind all others, and counted as accepted again", async () => {
        await withStore(open, async (store) => {
          const fields = { orderKey: "a", expiresAt: t0 + 9 };
          await commit(store, [owed("1", fields), owed("2"), owed("3"), owed("4")]);
          await record(store, died(1), died(2), putBack(3, t0 + 30));
          const replay = (position: number): DeliveryChange => {
            return { type: "dead-letter-replayed", endpoint: "default", position, at: t0 + 100 };
          };
          const first = await new Promise((resolve) =>
            store.record([replay(2), replay(1), replay(2), replay(3)], (_error, firstPosition) =>
              resolve(firstPosition),
            ),
          );
          expect(first).toBe(5);
          expect(store.owedBehind("default", 4, all).deliveries).toEqual([
            expectStored(stored(5, "2", { acceptedAt: t0 + 100 })),
            expectStored(stored(6, "1", { orderKey: "a", acceptedAt: t0 + 100 })),
          ]);
          expect(store.deadLetters("default", 0, all)).toEqual([]);
          expect(endpoint(store)).toMatchObject({
            accepted: 6,
            dead: 2,
            queued: { messages: { count: 4, bodyBytes: 40 } },
            deadLetters: { count: 0, bodyBytes: 0 },
          });
          await record(store, settledDelivery(5), died(6), replay(6), settledDelivery(7));
          expect(endpoint(store)).toMatchObject({ accepted: 7, delivered: 2, dead: 3, deadLetters: { count: 0 } });
          await commit(store, [owed("5")]);
          expect(store.owedBehind("default", 7, all).deliveries).toMatchObject([{ position: 8 }]);
        });
      });

      test("that died are told without their bodies, and go one by one", async () => {
        await withStore(open, async (store) => {
          await commit(store, [owed("1"), owed("2"), owed("3")]);
          await record(store, died(1), died(2), died(3));
          const [facts] = store.oldestDeadLetters("default", 1);
          expect(facts).toEqual({
            position: 2,
            deliveryId: "2",
            event: "on_message_publish",
            orderKey: "pump",
            acceptedAt: t0,
            bodyBytes: 10,
            reason: "rejected",
            detail: "status_422: no",
            attempts: 2,
            diedAt: t0 + 5,
          });
          await record(store, { type: "dead-letter-deleted", endpoint: "default", position: 2 });
          await record(store, { type: "dead-letter-deleted", endpoint: "other", position: 1 });
          const left = Array.from(store.oldestDeadLetters("default", 0), ({ position }) => position);
          expect(left).toEqual([1, 3]);
          expect(store.endpoints()[0]).toMatchObject({ dead: 3, deadLetters: { count: 2, bodyBytes: 20 } });
        });
      });

      test("leave what is last known of their endpoint", async () => {
        await withStore(open, async (store) => {
          await record(
            store,
            { type: "attempts-under-way", endpoint: "default", positions: [1, 2] },
            { type: "breaker-moved", endpoint: "default", breaker: "open", heldUntil: t0 },
            { type: "attempts-under-way", endpoint: "default", positions: [2, 3] },
            { type: "batches-frozen", endpoint: "default", batches: "[1]" },
          );
          expect(endpoint(store)).toMatchObject({ accepted: 0, underWay: [2, 3], breaker: "open", heldUntil: t0 });
          expect(endpoint(store).batches).toBe("[1]");
        });
      });
    });
  });
}

const all = { countMax: 100, bytesMax: 1_000_000 };

async function withStore(open: () => Promise<Engine>, act: (store: Engine) => Promise<void>): Promise<void> {
  const store = await open();
  try {
    await act(store);
  } finally {
    await store.close();
  }
}

function record(store: Engine, ...changes: DeliveryChange[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.record(changes, (error) => (error === undefined ? resolve() : reject(error)));
  });
}

function endpoint(store: Engine): StoredEndpoint {
  expect(store.endpoints()).toHaveLength(1);
  return store.endpoints()[0];
}

const ids = (deliveries: readonly StoredDelivery[]) => deliveries.map(({ owed }) => owed.deliveryId);

function commit(store: Engine, changes: readonly Change[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.commit(changes, (error) => (error === undefined ? resolve() : reject(error)));
  });
}

async function stateAfter(open: () => Promise<Engine>, ...batches: (readonly Change[])[]): Promise<StoredState> {
  const store = await open();
  for (const batch of batches) await commit(store, batch);
  const state = await storedState(store);
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
    head: `head of ${deliveryId}`,
    ...fields,
  };
}

function owed(deliveryId: string, fields: Partial<OwedDelivery> = {}): Change {
  return { type: "delivery-owed", durability: "strict", delivery: delivery(deliveryId, fields) };
}

const line = (deliveryId: string, orderKey: string) => owed(deliveryId, { orderKey });

function stored(position: number, deliveryId: string, fields: Partial<OwedDelivery> = {}): StoredDelivery {
  return { position, owed: delivery(deliveryId, fields), attempts: 0, failures: 0, dueAt: undefined };
}

/** Whatever kind of Uint8Array its body comes as. */
function expectStored({ owed, ...stored }: StoredDelivery): object {
  const body = expect.toSatisfy((seen: Uint8Array) => Buffer.compare(seen, owed.body) === 0);
  return { ...stored, owed: { ...owed, body } };
}

function settledDelivery(position: number, outcome: "delivered" | "dropped" | "expired" = "delivered"): DeliveryChange {
  return { type: "delivery-settled", endpoint: "default", position, outcome };
}

function putBack(position: number, dueAt: number): DeliveryChange {
  return { type: "delivery-put-back", endpoint: "default", position, attempts: 3, failures: 2, dueAt };
}

function died(position: number): DeliveryChange {
  const letter = { reason: "rejected", detail: "status_422: no", attempts: 2, at: t0 + 5 };
  return { type: "delivery-died", endpoint: "default", position, ...letter };
}
