import assert from "node:assert/strict";
import { afterEach, describe, test } from "vitest";
import { FakeClock } from "../base/fake-clock.ts";
import { silentLogger } from "../base/log.ts";
import type { OwedDelivery } from "../store/change.ts";
import { Dispatcher } from "./dispatcher.ts";
import { endpointOptions, FakeSender, owedDelivery } from "./fake-endpoint.ts";
import { deliveryBytesOverhead } from "./limits.ts";
import type { EndpointOptions } from "./options.ts";
import type { Outcome } from "./outcome.ts";

const accepted: Outcome = { kind: "accepted" };
const refused: Outcome = { kind: "endpoint", reason: "refused", retryAfterMs: 0 };
const forbidden: Outcome = { kind: "auth", reason: "status_403", retryAfterMs: 0 };
const failing: Outcome = { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false };
const rejected: Outcome = { kind: "rejected", reason: "rejected", detail: "status_422: no", retryAfterMs: 0 };

interface Running {
  clock: FakeClock;
  dispatcher: Dispatcher;
  settled: readonly [id: string, outcome: string, reason: string][];
}
const running: Running[] = [];

function setUp(options: Partial<EndpointOptions> = {}, others: EndpointOptions[] = []) {
  const clock = new FakeClock();
  const senders = new Map<string, FakeSender>();
  const settled: [id: string, outcome: string, reason: string][] = [];
  const warnings: string[] = [];
  const errors: string[] = [];
  const dispatcher = new Dispatcher({
    options: { endpoints: [endpointOptions(options), ...others] },
    clock,
    createSender: ({ name }) => {
      const sender = new FakeSender();
      senders.set(name, sender);
      return sender;
    },
    random: () => 0.5,
    log: { ...silentLogger, warn: (text) => void warnings.push(text), error: (text) => void errors.push(text) },
    settled: ({ deliveryId, outcome, reason }) => void settled.push([deliveryId, outcome, reason]),
  });
  const sender = senders.get("default")!;
  /** Owes these to `default`: "a1" is under the order key "a". */
  const owe = (ids: string, owed: Partial<OwedDelivery> = {}) => {
    const acceptedAt = clock.now();
    const deliveries = ids.split(" ").map((deliveryId) => {
      return owedDelivery({ deliveryId, orderKey: deliveryId.slice(0, 1), acceptedAt, ...owed });
    });
    dispatcher.accept(deliveries);
  };
  const figures = () => dispatcher.figures()[0];
  const setting = { clock, dispatcher, sender, senders, settled, warnings, errors, owe, figures };
  running.push(setting);
  return setting;
}

/** What holds at all times: nothing accepted is ever unaccounted for. */
function assertConservation({ dispatcher }: Running): void {
  for (const { accepted, delivered, dead, dropped, expired, queued, inflight, bytes } of dispatcher.figures()) {
    assert.equal(accepted, delivered + dead + dropped + expired + queued + inflight);
    assert.ok(queued >= 0 && inflight >= 0);
    assert.equal(queued + inflight === 0, bytes === 0);
  }
}

afterEach(async () => {
  for (const setting of running.splice(0)) {
    assertConservation(setting);
    const stopped = setting.dispatcher.stop(0);
    setting.clock.advance(0);
    await stopped;
    assertConservation(setting);
    const ids = setting.settled.map(([id]) => id);
    assert.equal(new Set(ids).size, ids.length, "a delivery is settled once");
    assert.equal(setting.clock.armed, 0, "no timer is left");
  }
});

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
    const { sender, senders, dispatcher, owe } = setUp({}, [endpointOptions({ name: "other" })]);
    owe("a1");
    dispatcher.accept([owedDelivery({ deliveryId: "x1", endpoint: "other", acceptedAt: 1_700_000_000_000 })]);
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
    assert.equal(dispatcher.deadLetters()[0].detail, "status_500");
  });

  test("a rejected delivery is a dead letter at once, and its key goes on", () => {
    const { sender, owe, settled, dispatcher, warnings } = setUp();
    owe("a1 a2");
    sender.answer(rejected);
    assert.deepEqual(settled, [["a1", "dead", "rejected"]]);
    assert.deepEqual(sender.ids, ["a2"]);
    const [letter] = dispatcher.deadLetters();
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
});

describe("age", () => {
  test("what is older than max_age expires, also behind a failing head, and is never sent again", () => {
    const { clock, sender, owe, settled } = setUp({ maxAgeMs: 10_000, retry: { scheduleMs: [60_000], jitter: 0 } });
    owe("a1 a2");
    sender.answer(failing);
    clock.advance(10_000);
    assert.deepEqual(settled, [
      ["a1", "expired", "max_age"],
      ["a2", "expired", "max_age"],
    ]);
    assert.deepEqual(sender.sent, ["a1"]);
  });

  test("a message's own expiry comes before max_age", () => {
    const { clock, sender, owe, settled } = setUp();
    owe("a1", { expiresAt: clock.now() + 500 });
    owe("b1", { expiresAt: clock.now() });
    assert.deepEqual(settled, [["b1", "expired", "max_age"]]);
    sender.answer(failing);
    clock.advance(500);
    assert.deepEqual(settled[1], ["a1", "expired", "max_age"]);
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
      ["a1", "dropped", "drop_oldest"],
      ["b1", "dropped", "drop_oldest"],
    ]);
    assert.deepEqual(sender.ids, ["c1"]);
    owe("e1", { body });
    assert.deepEqual(settled[2], ["d1", "dropped", "drop_oldest"]);
    assert.deepEqual(figures().droppedBy, { drop_oldest: 3, drop_newest: 0 });
    assert.equal(warnings.length, 1);
  });

  test("drop_newest leaves what is there", () => {
    const { owe, settled, figures } = setUp({ poolSize: 1, queueBytesMax: twoBodies, overflow: "drop_newest" });
    owe("a1 b1 c1 d1", { body });
    assert.deepEqual(settled, [
      ["c1", "dropped", "drop_newest"],
      ["d1", "dropped", "drop_newest"],
    ]);
    assert.equal(figures().bytes, 2 * (100 + deliveryBytesOverhead));
  });

  test("a delivery that has no room even alone is dropped itself", () => {
    const { owe, settled } = setUp({ queueBytesMax: 2_000 });
    owe("a1", { body: new Uint8Array(3_000) });
    assert.deepEqual(settled, [["a1", "dropped", "drop_newest"]]);
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

test("what is owed to an endpoint that is not configured any more is dropped, and said so", () => {
  const { dispatcher, settled, warnings } = setUp();
  dispatcher.accept([owedDelivery({ deliveryId: "x1", endpoint: "former" })]);
  assert.deepEqual(settled, [["x1", "dropped", "endpoint_removed"]]);
  assert.equal(warnings.length, 1);
});

test("through a long random life nothing is lost, doubled or out of order", () => {
  // A small generator of its own, so that a failing run repeats.
  let state = 12345;
  const chance = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
  const setting = setUp({ poolSize: 6, queueBytesMax: 60_000 });
  const { clock, sender, owe, settled } = setting;
  const outcomes: Outcome[] = [accepted, accepted, accepted, refused, failing, rejected, { kind: "unanswered" }];
  let serial = 0;
  for (let step = 0; step < 20_000; step++) {
    const dice = chance();
    if (dice < 0.4) owe(`${"abcdefgh"[Math.floor(chance() * 8)]}${serial++}`);
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
});
