import assert from "node:assert/strict";
import { afterEach, describe, test } from "vitest";
import type { DeliveryChange } from "../store/change.ts";
import type { Committed } from "../store/store.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { writeEventHead } from "./event-head.ts";
import { assertConservation, crash, endAll, running, setUp, TestStore } from "./fake-dispatcher.ts";
import { endpointOptions, owedDelivery } from "./fake-endpoint.ts";
import {
  clientEventsShare,
  deadLettersSweepMs,
  deliveryBytesOverhead,
  endedAtOnceMax,
  sliceDeliveriesMax,
  untakenChangesMax,
} from "./limits.ts";
import type { Outcome } from "./outcome.ts";

const accepted: Outcome = { kind: "accepted" };
const refused: Outcome = { kind: "endpoint", reason: "refused", retryAfterMs: 0 };
const forbidden: Outcome = { kind: "auth", reason: "status_403", retryAfterMs: 0 };
const failing: Outcome = { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false };
const rejected: Outcome = { kind: "rejected", reason: "rejected", detail: "status_422: no", retryAfterMs: 0 };

afterEach(endAll);

const lettersOf = (dispatcher: Dispatcher) =>
  dispatcher.deadLetters("default", 0, { countMax: 100, bytesMax: 1_000_000 });

describe("order", () => {
  test("deliveries of one key go one after another, of several keys side by side", () => {
    const { sender, owe, settled } = setUp();
    owe("a1 a2 b1 a3");
    assert.deepEqual(sender.ids, ["a1", "b1"]);
    sender.answer(accepted, "a1");
    assert.deepEqual(sender.ids, ["b1", "a2"]);
    sender.answer(accepted, "a2");
    sender.answer(accepted, "b1");
    sender.answer(accepted, "a3");
    assert.deepEqual(
      settled.map(([id]) => id),
      ["a1", "a2", "b1", "a3"],
    );
  });

  test("never more attempts at a time than the pool has connections", () => {
    const { sender, owe } = setUp({ poolSize: 3 });
    owe("a1 b1 c1 d1 e1");
    assert.deepEqual(sender.ids, ["a1", "b1", "c1"]);
    sender.answer(accepted, "b1");
    assert.deepEqual(sender.ids, ["a1", "c1", "d1"]);
  });

  test("a failing head holds its own key only, and goes first when its time comes", () => {
    const { clock, sender, owe } = setUp();
    owe("a1 a2 b1 b2");
    sender.answer(failing, "a1");
    sender.answer(accepted, "b1");
    sender.answer(accepted, "b2");
    assert.deepEqual(sender.ids, []);
    clock.advance(1_000);
    assert.deepEqual(sender.ids, ["a1"]);
    sender.answer(accepted);
    assert.deepEqual(sender.ids, ["a2"]);
  });

  test("other endpoints hear nothing of a dead one", () => {
    const { sender, senders, dispatcher, store, owe } = setUp({}, [endpointOptions({ name: "other" })]);
    owe("a1");
    const other = owedDelivery({ deliveryId: "x1", endpoint: "other", acceptedAt: 1_700_000_000_000 });
    dispatcher.accept([store.owed(other)]);
    for (let i = 0; i < 5; i++) owe(`${i}1`);
    sender.answer(refused);
    senders.get("other")!.answer(accepted);
    assert.equal(dispatcher.figures()[1].delivered, 1);
  });
});

describe("retry", () => {
  test("a failing delivery is tried by the schedule, then is a dead letter with the last reason", () => {
    const { clock, sender, owe, settled, dispatcher } = setUp({ retry: { scheduleMs: [1_000, 5_000], jitter: 0.2 } });
    owe("a1");
    for (const waitMs of [1_000, 5_000]) {
      sender.answer(failing);
      clock.advance(waitMs - 1);
      assert.deepEqual(sender.ids, []);
      clock.advance(1);
      assert.deepEqual(sender.ids, ["a1"]);
    }
    assert.equal(sender.underWay[0].delivery.attempts, 3);
    sender.answer(failing);
    assert.deepEqual(settled, [["a1", "dead", "retries_exhausted"]]);
    assert.equal(lettersOf(dispatcher)[0].detail, "status_500");
  });

  test("a rejected delivery is a dead letter at once, and its key goes on", () => {
    const { sender, owe, settled, dispatcher, warnings } = setUp();
    owe("a1 a2");
    sender.answer(rejected);
    assert.deepEqual(settled, [["a1", "dead", "rejected"]]);
    assert.deepEqual(sender.ids, ["a2"]);
    const [letter] = lettersOf(dispatcher);
    assert.deepEqual([letter.owed.deliveryId, letter.reason, letter.attempts], ["a1", "rejected", 1]);
    assert.deepEqual(warnings, ["webhook delivery became a dead letter: rejected"]);
  });

  test("an unanswered delivery goes again at once, before what waits, and costs nothing", () => {
    const { sender, owe } = setUp({ poolSize: 1 });
    owe("a1");
    sender.answer({ kind: "unanswered" });
    assert.deepEqual(sender.ids, ["a1"]);
    const { resent, attempts, failures } = sender.underWay[0].delivery;
    assert.deepEqual({ resent, attempts, failures }, { resent: true, attempts: 2, failures: 0 });
  });

  test("Retry-After holds the whole endpoint", () => {
    const { clock, sender, owe } = setUp();
    owe("a1 b1");
    sender.answer({ ...failing, retryAfterMs: 30_000 }, "a1");
    sender.answer(accepted, "b1");
    owe("c1");
    clock.advance(29_999);
    assert.deepEqual(sender.ids, []);
    clock.advance(1);
    assert.deepEqual(sender.ids.toSorted(), ["a1", "c1"]);
  });

  test("what the outbox could make no body of is a dead letter that says why", () => {
    const { owe, settled, sender } = setUp({ bodyEncoding: "base62" });
    owe("a1", { body: new Uint8Array(0) });
    assert.deepEqual(settled, [["a1", "dead", "payload_too_large_for_base62"]]);
    assert.deepEqual(sender.sent, []);
  });

  test("ends for the reason that its event gives; a body of no bytes that is meant so is sent", () => {
    const { settled, sender, owe } = setUp();
    const body = new Uint8Array(0);
    owe("a1", { body, head: writeEventHead({ refused: "template" }) });
    owe("b1", { body, head: writeEventHead({ headers: [["x-mqtt-topic", "a"]] }) });
    assert.deepEqual(settled, [["a1", "dead", "template"]]);
    assert.deepEqual(sender.ids, ["b1"]);
  });
});

describe("age", () => {
  test("what is older than max_age expires, also behind a failing head, and is never sent again", () => {
    const { clock, sender, owe, settled } = setUp({ maxAgeMs: 10_000, retry: { scheduleMs: [60_000], jitter: 0 } });
    owe("a1 a2");
    sender.answer(failing);
    clock.advance(10_000);
    assert.deepEqual(settled, [
      ["a1", "expired", ""],
      ["a2", "expired", ""],
    ]);
    assert.deepEqual(sender.sent, ["a1"]);
  });

  test("a message's own expiry comes before max_age", () => {
    const { clock, sender, owe, settled } = setUp();
    owe("a1", { expiresAt: clock.now() + 500 });
    owe("b1", { expiresAt: clock.now() });
    assert.deepEqual(settled, [["b1", "expired", ""]]);
    sender.answer(failing);
    clock.advance(500);
    assert.deepEqual(settled[1], ["a1", "expired", ""]);
    assert.deepEqual(sender.sent, ["a1"]);
  });

  test("an attempt that is under way when its time ends may still succeed", () => {
    const { clock, sender, owe, settled } = setUp({ maxAgeMs: 1_000 });
    owe("a1");
    clock.advance(2_000);
    sender.answer(accepted);
    assert.deepEqual(settled, [["a1", "delivered", ""]]);
  });

  test("age counts while the endpoint is down", () => {
    const { clock, sender, owe, figures } = setUp({ maxAgeMs: 30_000 });
    owe("a1 b1 c1");
    sender.answer(forbidden, "a1");
    clock.advance(30_000);
    assert.equal(figures().expired, 1);
    assert.deepEqual(sender.ids, ["b1", "c1"]);
  });
});

describe("a full queue", () => {
  const twoBodies = Math.ceil((2 * (100 + deliveryBytesOverhead)) / 0.9);
  const body = new Uint8Array(100);

  test("drop_oldest makes room with the oldest that is not under way", () => {
    const { sender, owe, settled, figures, warnings } = setUp({ poolSize: 1, queueBytesMax: twoBodies });
    owe("a1 b1 c1 d1", { body });
    assert.deepEqual(settled, [
      ["a1", "dropped", ""],
      ["b1", "dropped", ""],
    ]);
    assert.deepEqual(sender.ids, ["c1"]);
    owe("e1", { body });
    assert.deepEqual(settled[2], ["d1", "dropped", ""]);
    assert.deepEqual(figures().droppedBy, { drop_oldest: 3, drop_newest: 0 });
    assert.equal(warnings.length, 1);
  });

  test("drop_newest leaves what is there", () => {
    const { owe, settled, figures } = setUp({ poolSize: 1, queueBytesMax: twoBodies, overflow: "drop_newest" });
    owe("a1 b1 c1 d1", { body });
    assert.deepEqual(settled, [
      ["c1", "dropped", ""],
      ["d1", "dropped", ""],
    ]);
    assert.equal(figures().bytes, 2 * (100 + deliveryBytesOverhead));
  });

  test("drop_newest leaves alone what was read from the store before it was handed over", () => {
    const bytesMax = (2 * (deliveryBytesOverhead + 2)) / (1 - clientEventsShare);
    const { store, dispatcher, sender, figures, clock, owe } = setUp({
      overflow: "drop_newest",
      queueBytesMax: bytesMax,
    });
    owe("a1 b1");
    // A store that takes again is read from the beginning, with what is committed and not handed over yet.
    store.refuses = true;
    sender.answer(failing, sender.ids[0]);
    const [first, second] = ["c1", "d1"].map((deliveryId) =>
      store.owed(owedDelivery({ deliveryId, orderKey: deliveryId, acceptedAt: clock.now() })),
    );
    store.refuses = false;
    clock.advance(1_000);
    dispatcher.accept([first]);
    dispatcher.accept([second]);
    while (sender.ids.length > 0) sender.answer(accepted);
    const { accepted: owed, delivered, dropped, queued } = figures();
    assert.deepEqual([owed, delivered + dropped, queued], [4, 4, 0]);
  });

  test("a delivery that has no room even alone is dropped itself", () => {
    const { owe, settled } = setUp({ queueBytesMax: 2_000 });
    owe("a1", { body: new Uint8Array(3_000) });
    assert.deepEqual(settled, [["a1", "dropped", ""]]);
  });

  test("messages cannot push out client events", () => {
    const { sender, owe, settled } = setUp({ poolSize: 1, queueBytesMax: 10 * (100 + deliveryBytesOverhead) });
    owe("a1 a2", { body });
    owe("a3", { body, event: "on_client_disconnected" });
    for (let i = 0; i < 20; i++) owe(`b${i}`, { body });
    assert.equal(
      settled.some(([id]) => id === "a3"),
      false,
    );
    assert.equal(settled.length, 13);
    // a2 was the oldest message waiting: it is gone, and the line goes on in order.
    assert.deepEqual(sender.ids, ["a1"]);
    sender.answer(accepted);
    assert.ok(settled.some(([id, outcome]) => id === "a2" && outcome === "dropped"));
  });

  test("memory stays bounded while the endpoint is dead, whatever comes", () => {
    const { clock, sender, owe, figures } = setUp({ queueBytesMax: 100_000 });
    owe("a1", { body });
    sender.answer(forbidden);
    for (let i = 0; i < 5_000; i++) owe(`${i}`, { body, orderKey: `client ${i}` });
    assert.ok(figures().bytes <= 100_000);
    assert.ok(figures().queued < 200);
    clock.advance(60_000);
    assert.deepEqual(sender.ids.length, 1);
  });
});

describe("the breaker", () => {
  test("a dead endpoint is not hammered: after five failures one probe at a time, later and later", () => {
    const { clock, sender, owe, figures, errors } = setUp({ poolSize: 8 });
    owe("a1 b1 c1 d1 e1 f1 g1 h1 i1 j1");
    while (sender.ids.length > 0) sender.answer(refused);
    assert.equal(figures().breaker, "open");
    assert.equal(errors.length, 1);
    assert.deepEqual(sender.ids, []);
    const before = sender.sent.length;
    for (const waitMs of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      clock.advance(waitMs - 1);
      assert.deepEqual(sender.ids, []);
      clock.advance(1);
      assert.equal(sender.ids.length, 1);
      sender.answer(refused);
    }
    assert.equal(sender.sent.length - before, 8);
    assert.equal(errors.length, 1);
    assert.equal(figures().queued, 10);
  });

  test("an endpoint that fails every other request is not hammered either", () => {
    const { sender, owe, figures } = setUp({ poolSize: 1, retry: { scheduleMs: [3_600_000], jitter: 0 } });
    owe(Array.from({ length: 26 }, (_, i) => `${"abcdefghijklmnopqrstuvwxyz"[i]}1`).join(" "));
    for (let i = 0; sender.ids.length > 0; i++) sender.answer(i % 2 === 0 ? accepted : refused);
    assert.equal(figures().breaker, "open");
    assert.equal(sender.sent.length, 20);
  });

  test("an outage costs age, never attempts", () => {
    const { clock, sender, owe, settled } = setUp({ retry: { scheduleMs: [1_000], jitter: 0 } });
    owe("a1");
    sender.answer(forbidden);
    for (const waitMs of [60_000, 120_000, 240_000]) {
      clock.advance(waitMs);
      sender.answer(forbidden);
    }
    assert.deepEqual(settled, []);
    clock.advance(480_000);
    sender.answer(accepted);
    assert.deepEqual(settled, [["a1", "delivered", ""]]);
  });

  test("after the outage everything goes out, in order, starting slowly", () => {
    const { clock, sender, owe, settled } = setUp({ poolSize: 4 });
    owe("a1 b1 c1 d1 a2 b2 c2 d2 e1");
    sender.answer(forbidden, "a1");
    for (const id of ["b1", "c1", "d1"]) sender.answer(forbidden, id);
    clock.advance(60_000);
    assert.equal(sender.ids.length, 1);
    sender.answer(accepted);
    const atOnce: number[] = [];
    while (sender.ids.length > 0) {
      atOnce.push(sender.ids.length);
      sender.answer(accepted);
      clock.advance(0);
    }
    assert.deepEqual(atOnce.slice(0, 3), [1, 2, 4]);
    assert.equal(settled.length, 9);
    for (const key of ["a", "b", "c", "d"]) {
      assert.deepEqual(
        settled.map(([id]) => id).filter((id) => id.startsWith(key)),
        [`${key}1`, `${key}2`],
      );
    }
  });

  test("one delivery that its receiver cannot bear does not speak for all: the next probe is another's", () => {
    const { clock, sender, owe, settled } = setUp({ poolSize: 2 });
    owe("a1 b1");
    sender.answer(forbidden, "a1");
    sender.answer(forbidden, "b1");
    clock.advance(60_000);
    const [first] = sender.ids;
    sender.answer(forbidden);
    clock.advance(120_000);
    assert.notDeepEqual(sender.ids, [first]);
    sender.answer(accepted);
    assert.equal(settled.length, 1);
  });

  test("a delivery that waits by the schedule is probed with when there is no other", () => {
    const { clock, sender, owe } = setUp({ retry: { scheduleMs: [3_600_000], jitter: 0 } });
    owe("a1");
    sender.answer(forbidden);
    clock.advance(60_000);
    assert.deepEqual(sender.ids, ["a1"]);
  });

  test("with every delivery under way and the breaker open, time passes without a spin", () => {
    const { clock, sender, owe, figures } = setUp({ poolSize: 2 });
    owe("a1 b1 a2 b2");
    sender.answer(forbidden, "a1");
    clock.advance(60_000);
    assert.deepEqual(sender.ids.toSorted(), ["a1", "b1"]);
    sender.answer({ kind: "unanswered" }, "a1");
    assert.equal(figures().inflight, 2);
    clock.advance(1_000);
    assert.equal(figures().inflight, 2);
  });
});

describe("a stop", () => {
  test("sends what can be sent, and is done when that is", async () => {
    const { sender, owe, dispatcher, settled } = setUp({ poolSize: 1 });
    running.length = 0;
    owe("a1 b1");
    const stopped = dispatcher.stop(5_000);
    sender.answer(accepted);
    sender.answer(accepted);
    await stopped;
    assert.equal(settled.length, 2);
    assert.equal(sender.closed, true);
  });

  test("takes back what is still under way when its time is over; that stays owed", async () => {
    const { clock, sender, owe, dispatcher, settled, figures } = setUp();
    running.length = 0;
    owe("a1 a2");
    const stopped = dispatcher.stop(5_000);
    clock.advance(5_000);
    await stopped;
    assert.deepEqual(settled, []);
    assert.deepEqual([figures().queued, figures().inflight], [2, 0]);
    assert.deepEqual(sender.sent, ["a1"]);
    assert.equal(clock.armed, 0);
  });

  test("does not wait for a dead endpoint, nor for what waits for its time", async () => {
    const { sender, owe, dispatcher, figures, clock } = setUp();
    running.length = 0;
    owe("a1");
    sender.answer(failing);
    await dispatcher.stop(5_000);
    assert.equal(figures().queued, 1);
    assert.equal(clock.armed, 0);
  });
});

test("what is owed to an endpoint that is not configured any more waits until it is too old, and that is said", () => {
  const { dispatcher, store, settled, clock } = setUp();
  dispatcher.accept([store.owed(owedDelivery({ deliveryId: "x1", endpoint: "former" }))]);
  assert.equal(dispatcher.figures()[1].queued, 1);
  const next = crash(running[0]);
  assert.deepEqual(next.warnings, ["webhook deliveries wait for an endpoint that is not configured any more"]);
  next.clock.advance(86_400_000);
  assert.deepEqual(settled, [["x1", "expired", ""]]);
  assert.ok(clock.now() < next.clock.now());
});

/** Bodies so large that memory holds some hundred of them. */
const large = new Uint8Array(60_000);

describe("a backlog larger than memory", () => {
  test("is sent whole and in order, whatever the endpoint does meanwhile", () => {
    const { clock, sender, owe, settled } = setUp({ queueBytesMax: 2 ** 30 });
    owe("a0", { body: large });
    sender.answer(forbidden);
    for (let i = 1; i <= 1_000; i++) owe(`${"abcdefghij"[i % 10]}${i}`, { body: large });
    clock.advance(60_000);
    while (sender.ids.length > 0) {
      sender.answer(accepted);
      clock.advance(0);
    }
    assert.equal(settled.length, 1_001);
    for (const key of "abcdefghij") {
      const serials = settled.map(([id]) => id).filter((id) => id.startsWith(key));
      assert.deepEqual(
        serials,
        serials.toSorted((one, other) => Number(one.slice(1)) - Number(other.slice(1))),
      );
    }
  });

  test("of one client does not keep others waiting", () => {
    const { clock, sender, owe } = setUp({ queueBytesMax: 2 ** 30 });
    owe("a0", { body: large });
    sender.answer(failing);
    for (let i = 1; i <= 1_000; i++) owe(`a${i}`, { body: large });
    owe("b1");
    clock.advance(0);
    assert.deepEqual(sender.ids, ["b1"]);
  });

  test("of many clients whose heads all fail does not keep others waiting, and each goes again when it is due", () => {
    const { clock, sender, owe, figures } = setUp({
      queueBytesMax: 2 ** 30,
      retry: { scheduleMs: [60_000], jitter: 0 },
    });
    for (let i = 0; i < 500; i++) owe(`x${i}`, { body: large, orderKey: `client ${i}` });
    for (let i = 0; i < 500; i++) {
      sender.answer(failing);
      clock.advance(0);
    }
    assert.deepEqual(sender.ids, []);
    owe("b1 client0", {});
    assert.deepEqual(sender.ids, ["b1", "client0"]);
    sender.answer(accepted);
    sender.answer(accepted);
    clock.advance(60_000);
    for (let i = 0; i < 500; i++) {
      sender.answer(accepted);
      clock.advance(0);
    }
    assert.equal(figures().delivered, 502);
  });

  test("what comes behind a head that waits stays behind it, though memory has forgotten it", () => {
    const { clock, sender, owe } = setUp();
    owe("a1");
    sender.answer(failing);
    owe("a2 b1");
    assert.deepEqual(sender.ids, ["b1"]);
    clock.advance(1_000);
    assert.deepEqual(sender.ids, ["b1", "a1"]);
    sender.answer(accepted, "a1");
    assert.deepEqual(sender.ids, ["b1", "a2"]);
  });

  test("when the head of a line that waits is dropped or expires, the next takes its place", () => {
    const { clock, sender, owe, settled } = setUp({ maxAgeMs: 10_000, retry: { scheduleMs: [3_600_000], jitter: 0 } });
    owe("a1");
    sender.answer(failing);
    clock.advance(5_000);
    owe("a2");
    assert.deepEqual(sender.ids, []);
    clock.advance(5_000);
    assert.deepEqual(settled, [["a1", "expired", ""]]);
    assert.deepEqual(sender.ids, ["a2"]);
  });

  test("when the first two of a line that waits expire at one go, the third takes their place", () => {
    const { clock, sender, owe, settled } = setUp({ maxAgeMs: 10_000, retry: { scheduleMs: [3_600_000], jitter: 0 } });
    owe("a1 a2");
    sender.answer(failing);
    clock.advance(5_000);
    owe("a3");
    clock.advance(5_000);
    assert.deepEqual(
      settled.map(([id]) => id),
      ["a1", "a2"],
    );
    owe("a4");
    assert.deepEqual(sender.ids, ["a3"]);
  });

  test("what has no body, however much of it, does not cut off what is behind it in its line", () => {
    const { clock, sender, owe, figures } = setUp();
    owe("a0");
    sender.answer(failing);
    owe(Array.from({ length: 2 * sliceDeliveriesMax }, (_, i) => `a${i + 1}`).join(" "), { body: new Uint8Array(0) });
    owe("a!");
    clock.advance(1_000);
    sender.answer(accepted, "a0");
    assert.deepEqual(sender.ids, ["a!"]);
    assert.equal(figures().dead, 2 * sliceDeliveriesMax);
  });

  test("a clock that is set back keeps nothing waiting for longer than its schedule", () => {
    const { clock, sender, owe } = setUp();
    owe("a1 b1");
    sender.answer(failing, "a1");
    clock.advance(1_000);
    sender.answer(failing, "a1");
    clock.setBack(3_600_000);
    sender.answer(failing, "b1");
    clock.advance(1_000);
    assert.deepEqual(sender.ids, ["b1"]);
  });
});

describe("after a crash", () => {
  test("what was under way is sent again under its id, and its attempt counts", () => {
    const before = setUp();
    before.owe("a1 a2 b1");
    const { sender, clock } = crash(before);
    clock.advance(0);
    assert.deepEqual(sender.ids.toSorted(), ["a1", "b1"]);
    assert.deepEqual(
      sender.underWay.map(({ delivery }) => delivery.attempts),
      [2, 2],
    );
  });

  test("attempts, failures and due times go on where they were", () => {
    const before = setUp();
    before.owe("a1 a2 b1");
    before.sender.answer(failing, "a1");
    before.sender.answer(accepted, "b1");
    before.clock.advance(400);
    const { sender, clock } = crash(before);
    clock.advance(599);
    assert.deepEqual(sender.ids, []);
    clock.advance(1);
    const [{ delivery }] = sender.underWay;
    assert.deepEqual([delivery.owed.deliveryId, delivery.attempts, delivery.failures], ["a1", 2, 1]);
  });

  test("an open breaker is open, but tried at once; Retry-After holds", () => {
    const down = setUp();
    down.owe("a1 b1");
    down.sender.answer(forbidden, "a1");
    down.sender.answer(forbidden, "b1");
    const stillDown = crash(down);
    assert.equal(stillDown.sender.ids.length, 1);
    stillDown.sender.answer(forbidden);
    assert.equal(stillDown.figures().breaker, "open");
    // The pauses go on growing where they were.
    stillDown.clock.advance(119_999);
    assert.equal(stillDown.sender.sent.length, 1);
    stillDown.clock.advance(1);
    assert.equal(stillDown.sender.sent.length, 2);

    const held = setUp();
    held.owe("a1 b1");
    held.sender.answer({ ...failing, retryAfterMs: 30_000 }, "a1");
    const stillHeld = crash(held);
    stillHeld.clock.advance(29_999);
    assert.deepEqual(stillHeld.sender.sent, []);
    stillHeld.clock.advance(1);
    assert.deepEqual(stillHeld.sender.ids.toSorted(), ["a1", "b1"]);
  });

  test("counters and dead letters are as they were", () => {
    const before = setUp();
    before.owe("a1 b1 c1");
    before.sender.answer(rejected, "a1");
    before.sender.answer(accepted, "b1");
    const { figures, dispatcher } = crash(before);
    const { accepted: owed, delivered, dead, deadLetters } = figures();
    assert.deepEqual({ owed, delivered, dead, deadLetters }, { owed: 3, delivered: 1, dead: 1, deadLetters: 1 });
    assert.deepEqual(
      lettersOf(dispatcher).map(({ reason }) => reason),
      ["rejected"],
    );
  });
});

describe("dead letters", () => {
  test("make room for later ones, the oldest first, and stay counted", () => {
    const { sender, owe, figures, dispatcher } = setUp({
      deadLetters: { bytesMax: 10 * (100 + deliveryBytesOverhead), maxAgeMs: 86_400_000 },
    });
    for (let i = 0; i < 20; i++) {
      owe(`a${i}`, { body: new Uint8Array(100) });
      sender.answer(rejected);
    }
    assert.equal(figures().dead, 20);
    const ids = lettersOf(dispatcher).map(({ owed }) => owed.deliveryId);
    assert.ok(ids.length <= 10 && ids.length >= 9);
    assert.equal(ids.at(-1), "a19");
  });

  test("go when they are too old, though no other comes", () => {
    const { clock, sender, owe, figures, dispatcher } = setUp({
      deadLetters: { bytesMax: 1_000_000, maxAgeMs: 7_200_000 },
    });
    owe("a1");
    sender.answer(rejected);
    clock.advance(7_200_000 + deadLettersSweepMs);
    assert.deepEqual(lettersOf(dispatcher), []);
    assert.deepEqual([figures().dead, figures().deadLetters], [1, 0]);
  });

  test("are counted for what they take: those without a body are bounded as well", () => {
    const { owe, figures } = setUp({ deadLetters: { bytesMax: 10 * deliveryBytesOverhead, maxAgeMs: 86_400_000 } });
    for (let i = 0; i < 20; i++) owe(`a${i}`, { body: new Uint8Array(0) });
    assert.equal(figures().dead, 20);
    assert.ok(figures().deadLetters <= 10);
  });
});

describe("a store that refuses", () => {
  test("stops no delivery; what ended is told when it takes again, once", () => {
    const { clock, store, sender, owe, settled, figures } = setUp();
    owe("a1 a2 b1 c1");
    store.refuses = true;
    sender.answer(accepted, "a1");
    sender.answer(failing, "b1");
    sender.answer(rejected, "c1");
    assert.deepEqual(sender.ids, ["a2"]);
    sender.answer(accepted, "a2");
    assert.deepEqual(settled, []);
    assert.equal(figures().delivered, 2);
    clock.advance(5_000);
    assert.deepEqual(sender.ids, []);
    store.refuses = false;
    clock.advance(1_000);
    assert.deepEqual(settled.toSorted(), [
      ["a1", "delivered", ""],
      ["a2", "delivered", ""],
      ["c1", "dead", "rejected"],
    ]);
    assert.deepEqual(sender.ids, ["b1"]);
  });
});

test("while a store refuses, no more expires than can be remembered", () => {
  const { clock, store, sender, owe, figures } = setUp({ maxAgeMs: 1_000, queueBytesMax: 2 ** 30 });
  const owed = untakenChangesMax + 3_000;
  owe(Array.from({ length: owed }, (_, i) => `k${i}`).join(" "), { orderKey: "k" });
  sender.answer(forbidden);
  store.refuses = true;
  clock.advance(5_000);
  assert.ok(figures().expired <= untakenChangesMax + endedAtOnceMax);
  store.refuses = false;
  clock.advance(2_000);
  assert.equal(figures().expired, owed);
});

/** As the engine on disk does it: what is recorded is taken a moment later, or before it is asked for something. */
class LateStore extends TestStore {
  private late: (() => void)[] = [];

  override record(changes: readonly DeliveryChange[], done: Committed): void {
    this.late.push(() => super.record(changes, done));
  }

  take(): void {
    for (let next = this.late.shift(); next !== undefined; next = this.late.shift()) next();
  }

  override owedBehind(...asked: Parameters<TestStore["owedBehind"]>) {
    this.take();
    return super.owedBehind(...asked);
  }

  override owedInLine(...asked: Parameters<TestStore["owedInLine"]>) {
    this.take();
    return super.owedInLine(...asked);
  }

  override owedDue(...asked: Parameters<TestStore["owedDue"]>) {
    this.take();
    return super.owedDue(...asked);
  }

  override *oldestOwed(...asked: Parameters<TestStore["oldestOwed"]>) {
    this.take();
    yield* super.oldestOwed(...asked);
  }
}

test("a store that takes again in the middle of being read is read from the beginning", async () => {
  const store = new LateStore();
  const setting = setUp({ queueBytesMax: 2 ** 30, retry: { scheduleMs: [10_000], jitter: 0 } }, [], undefined, store);
  running.splice(running.indexOf(setting), 1);
  const { clock, sender, owe, dispatcher, figures } = setting;
  owe("a1 b1");
  store.refuses = true;
  sender.answer(failing, "a1");
  // The wait of a1 is refused: whoever looks who is due does not find it.
  store.take();
  clock.advance(10_000);
  for (let i = 0; i < 300; i++) owe(`b${i + 2}`, { body: large, orderKey: `client ${i}` });
  store.refuses = false;
  clock.advance(1_000);
  // Handed in, and not taken before the next reading.
  for (let ms = 0; ms < 60_000; ms += 1_000) {
    while (sender.ids.length > 0) sender.answer(accepted);
    clock.advance(1_000);
  }
  assert.equal(figures().delivered, 302);
  await dispatcher.stop(0);
  store.take();
});

for (const [what, body] of [
  ["small", Buffer.from("{}")],
  ["more than memory holds", large],
] as const) {
  test(`through a long random life with crashes nothing is lost, doubled or out of order: ${what}`, () =>
    liveLong(body));
}

function liveLong(body: Uint8Array): void {
  // A small generator of its own, so that a failing run repeats.
  let state = 12345;
  const chance = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
  const options = { poolSize: 6, queueBytesMax: 200 * (body.length + deliveryBytesOverhead) };
  let setting = setUp(options);
  const { settled } = setting;
  const outcomes: Outcome[] = [accepted, accepted, accepted, refused, failing, rejected, { kind: "unanswered" }];
  let serial = 0;
  for (let step = 0; step < 20_000; step++) {
    const { clock, sender, owe, store } = setting;
    const dice = chance();
    if (dice > 0.999) {
      store.refuses = !store.refuses;
      // It is told what it refused.
      if (!store.refuses) clock.advance(1_000);
    }
    if (dice < 0.001 && !store.refuses) setting = crash(setting, options);
    else if (dice < 0.4) owe(`${"abcdefgh"[Math.floor(chance() * 8)]}${serial++}`, { body });
    else if (dice < 0.9 && sender.ids.length > 0) {
      const { delivery } = sender.underWay[Math.floor(chance() * sender.underWay.length)];
      const outcome = outcomes[Math.floor(chance() * (delivery.resent ? 6 : 7))];
      sender.answer(outcome, delivery.owed.deliveryId);
    } else clock.advance(Math.floor(chance() * 3_000));
    const keys = sender.ids.map((id) => id[0]);
    assert.equal(new Set(keys).size, keys.length, "one attempt at a time for each key");
    assert.ok(keys.length <= 6);
    assertConservation(setting);
  }
  for (const key of "abcdefgh") {
    const delivered = settled.filter(([id, outcome]) => id[0] === key && outcome === "delivered");
    const serials = delivered.map(([id]) => Number(id.slice(1)));
    assert.deepEqual(
      serials,
      serials.toSorted((one, other) => one - other),
    );
  }
  assert.ok(settled.length > 5_000);
}
