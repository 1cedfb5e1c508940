import assert from "node:assert/strict";
import { afterEach, describe, test } from "vitest";
import { readEventHead } from "./event-head.ts";
import { assertConservation, crash, endAll, type Setting, setUp, TestStore } from "./fake-dispatcher.ts";
import { readBatches, writeBatches } from "./batch.ts";
import { endpointOptions } from "./fake-endpoint.ts";
import { compileFormat } from "./format.ts";
import { batchesWaitingMax } from "./limits.ts";
import type { BatchOptions, EndpointOptions } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import { testHappening } from "./test-event.ts";

const accepted: Outcome = { kind: "accepted" };
const refused: Outcome = { kind: "endpoint", reason: "refused", retryAfterMs: 0 };
const failing: Outcome = { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false };
const rejected: Outcome = { kind: "rejected", reason: "rejected", detail: "status_422", retryAfterMs: 0 };
const tooLarge: Outcome = { kind: "rejected", reason: "too_large", detail: "status_413", retryAfterMs: 0 };

afterEach(endAll);

function batching(batch: Partial<BatchOptions> = {}, options: Partial<EndpointOptions> = {}): Partial<EndpointOptions> {
  return { batch: { eventsMax: 3, bytesMax: 1_000, waitMs: 50, format: "json", ...batch }, ...options };
}

/** Owes "a1 b1", each with its id as its body. */
function owe({ owe }: Setting, ids: string): void {
  for (const id of ids.split(" ")) owe(id, { body: Buffer.from(`"${id}"`) });
}

/** The ids that a body holds, of one event or several. */
function eventsIn(body: Uint8Array): string[] {
  const events: unknown = JSON.parse(Buffer.from(body).toString());
  return Array.isArray(events) ? events : [events as string];
}

/** Of the batches under way. */
const bodies = ({ sender }: Setting) =>
  sender.underWay.map(({ delivery }) => Buffer.from(delivery.owed.body).toString());

describe("a batch is sent", () => {
  test("when there are enough events, with the next of each key in order", () => {
    const setting = setUp(batching());
    owe(setting, "a1 b1 a2 c1");
    assert.deepEqual(bodies(setting), ['["a1","a2","b1"]']);
    const [{ delivery }] = setting.sender.underWay;
    assert.match(delivery.owed.deliveryId, /^bat_[0-9A-Z]{26}$/);
    assert.deepEqual(readEventHead(delivery.owed.head).headers, [["content-type", "application/json"]]);
    assert.deepEqual([setting.figures().inflight, setting.figures().queued], [3, 1]);
    setting.sender.answer(accepted);
    assert.equal(setting.figures().delivered, 3);
  });

  test("when the first has waited for long enough", () => {
    const setting = setUp(batching());
    owe(setting, "a1");
    setting.clock.advance(49);
    assert.deepEqual(bodies(setting), []);
    setting.clock.advance(1);
    assert.deepEqual(bodies(setting), ['["a1"]']);
  });

  test("when there are enough bytes, and is no larger; an event that is larger goes alone", () => {
    const setting = setUp(batching({ eventsMax: 100, bytesMax: 10 }));
    owe(setting, "a1 b1 c1");
    assert.deepEqual(bodies(setting), ['["a1","b1"]']);
    owe(setting, `d${"1".repeat(20)}`);
    assert.deepEqual(bodies(setting), ['["a1","b1"]', '["c1"]', `["d${"1".repeat(20)}"]`]);
  });

  test("without what was owed in another format before a reload: that goes alone, with its own body and headers", () => {
    const setting = setUp(batching({ eventsMax: 3 }));
    const head = JSON.stringify({ headers: [["x-mqtt-event", "on_message_publish"]] });
    setting.owe("a1", { body: Buffer.from("not json"), head });
    owe(setting, "b1 a2 c1");
    setting.clock.advance(50);
    assert.deepEqual(bodies(setting)[0], "not json");
    assert.equal(setting.sender.underWay[0].delivery.owed.head, head);
    for (let i = 0; i < 3 && setting.sender.ids.length > 0; i++) setting.sender.answer(accepted);
    setting.clock.advance(50);
    while (setting.sender.ids.length > 0) setting.sender.answer(accepted);
    assert.equal(setting.figures().delivered, 4);
  });

  test("of CloudEvents, as the format makes them, and without bodies of the tutorial's form", () => {
    const setting = setUp(batching({ format: "cloudevents", eventsMax: 2 }));
    const happening = testHappening("on_message_publish", 0);
    const event = compileFormat(endpointOptions({ format: "cloudevents" }))(happening, "evt_1", 0);
    setting.owe("a1 b1", event);
    assert.equal(JSON.parse(bodies(setting)[0]).length, 2);
    owe(setting, "c1");
    setting.clock.advance(50);
    assert.equal(bodies(setting)[1], '"c1"');
    assert.equal(setting.sender.underWay[1].delivery.owed.head, "");
  });

  test("as lines, where that is asked", () => {
    const setting = setUp(batching({ format: "ndjson", eventsMax: 2 }));
    owe(setting, "a1 b1");
    assert.deepEqual(bodies(setting), ['"a1"\n"b1"\n']);
    const [{ delivery }] = setting.sender.underWay;
    assert.deepEqual(readEventHead(delivery.owed.head).headers, [["content-type", "application/x-ndjson"]]);
  });

  test("while no other has events of its keys", () => {
    const setting = setUp(batching({ eventsMax: 2 }));
    owe(setting, "a1 a2 a3 a4 b1 b2");
    assert.deepEqual(bodies(setting), ['["a1","a2"]', '["b1","b2"]']);
    setting.sender.answer(accepted);
    assert.deepEqual(bodies(setting), ['["b1","b2"]', '["a3","a4"]']);
  });
});

describe("a batch that fails", () => {
  test("is sent again as it was, under its id, whatever has come since", () => {
    const setting = setUp(batching());
    owe(setting, "a1 b1 c1");
    const [id] = setting.sender.ids;
    setting.sender.answer(failing);
    owe(setting, "a2 d1 e1 f1");
    assert.deepEqual(bodies(setting), ['["d1","e1","f1"]']);
    setting.sender.answer(accepted);
    setting.clock.advance(1_000);
    assert.deepEqual([setting.sender.ids, bodies(setting)], [[id], ['["a1","b1","c1"]']]);
    assert.equal(setting.sender.underWay[0].delivery.attempts, 2);
    setting.sender.answer(accepted);
    setting.clock.advance(50);
    assert.deepEqual(bodies(setting), ['["a2"]']);
  });

  test("is the same after a crash, under way or waiting; its attempts and its time go on", () => {
    const setting = setUp(batching());
    owe(setting, "a1 b1 c1 d1 e1 f1");
    const ids = [...setting.sender.ids];
    setting.sender.answer(failing, ids[0]);
    owe(setting, "a2 d2 g1");
    const next = crash(setting, batching({ eventsMax: 100 }));
    next.clock.advance(0);
    assert.deepEqual([next.sender.ids[0], bodies(next)[0]], [ids[1], '["d1","e1","f1"]']);
    assert.equal(next.sender.underWay[0].delivery.attempts, 2);
    next.sender.answer(accepted);
    next.clock.advance(1_000);
    assert.ok(next.sender.ids.includes(ids[0]));
    for (let turn = 0; turn < 5; turn++) {
      while (next.sender.ids.length > 0) next.sender.answer(accepted);
      next.clock.advance(50);
    }
    assert.equal(next.figures().delivered, 9);
    assertConservation(next);
  });

  test("becomes dead letters, each its own, when it is rejected or the schedule ends", () => {
    const setting = setUp(batching({}, { retry: { scheduleMs: [], jitter: 0 } }));
    owe(setting, "a1 b1 c1");
    setting.sender.answer(rejected);
    owe(setting, "a2 b2 c2");
    setting.sender.answer(failing);
    assert.deepEqual(
      setting.settled.map(([id, outcome, reason]) => [id, outcome, reason]),
      [
        ...["a1", "b1", "c1"].map((id) => [id, "dead", "rejected"]),
        ...["a2", "b2", "c2"].map((id) => [id, "dead", "retries_exhausted"]),
      ],
    );
  });

  test("because it is too large goes as two, down to the one that is too large itself", () => {
    const setting = setUp(batching({ eventsMax: 4 }, { poolSize: 1 }));
    owe(setting, "a1 a2 a3 a4");
    const sizes: number[] = [];
    for (let turn = 0; turn < 20 && setting.figures().queued + setting.figures().inflight > 0; turn++) {
      const [{ delivery }] = setting.sender.underWay;
      const events = JSON.parse(Buffer.from(delivery.owed.body).toString()) as string[];
      sizes.push(events.length);
      setting.sender.answer(events.includes("a3") ? tooLarge : accepted);
      setting.clock.advance(50);
    }
    assert.deepEqual(sizes.slice(0, 2), [4, 2]);
    const dead = setting.settled.filter(([, outcome]) => outcome === "dead");
    assert.deepEqual(dead, [["a3", "dead", "too_large"]]);
    assert.equal(setting.figures().delivered, 3);
    assert.equal(new Set(setting.sender.sent).size, setting.sender.sent.length, "each of another id");
  });

  test("ends only what of it is too old", () => {
    const setting = setUp(batching({}, { maxAgeMs: 10_000, retry: { scheduleMs: [3_600_000], jitter: 0 } }));
    owe(setting, "a1");
    setting.clock.advance(30);
    owe(setting, "b1 c1");
    setting.sender.answer(failing);
    setting.clock.advance(9_980);
    assert.deepEqual(setting.settled, [["a1", "expired", ""]]);
    assert.deepEqual(bodies(setting), ['["b1","c1"]']);
    setting.sender.answer(accepted);
  });

  test("grows old while the endpoint is paused, over a restart too", () => {
    const options = batching({}, { maxAgeMs: 10_000, retry: { scheduleMs: [1_000], jitter: 0 } });
    const setting = setUp(options);
    owe(setting, "a1 b1 c1");
    setting.sender.answer(failing);
    setting.dispatcher.operate({ what: "pause", endpoint: "default" });
    const next = crash(setting, options);
    next.clock.advance(5_000);
    owe(next, "d1");
    next.clock.advance(5_000);
    assert.equal(next.figures().expired, 3);
    assert.equal(next.figures().queued, 1);
  });

  test("counts once for the breaker, and is the probe", () => {
    const setting = setUp(batching({ eventsMax: 2 }));
    owe(setting, "a1 b1 c1 d1 e1 f1 g1 h1 i1 j1");
    for (let i = 0; i < 4; i++) setting.sender.answer(refused);
    assert.equal(setting.figures().breaker, "closed");
    setting.sender.answer(refused);
    assert.equal(setting.figures().breaker, "open");
    setting.clock.advance(1_000);
    assert.equal(setting.sender.ids.length, 1);
    setting.sender.answer(accepted);
    for (let turn = 0; turn < 20; turn++) {
      while (setting.sender.ids.length > 0) setting.sender.answer(accepted);
      setting.clock.advance(1_000);
    }
    assert.equal(setting.figures().delivered, 10);
  });
});

test("metrics count a batch as one attempt, by the class of its outcome", () => {
  const setting = setUp(batching({ eventsMax: 2 }));
  owe(setting, "a1 b1");
  setting.sender.answer(failing);
  setting.clock.advance(2_000);
  setting.sender.answer(accepted);
  const [{ attempts, requestSeconds, deliverySeconds }] = setting.dispatcher.metrics();
  const observed = ({ counts }: { counts: readonly number[] }) => counts.reduce((sum, count) => sum + count, 0);
  assert.deepEqual([attempts.retry, attempts.accepted], [1, 1]);
  assert.equal(observed(requestSeconds), 2);
  assert.equal(observed(deliverySeconds), 2, "each of its events was delivered");
  assert.equal(setting.figures().attempts, 2);
});

test("an endpoint switched off while its probe was being recorded is asked again when it is switched on", () => {
  const held: (() => void)[] = [];
  class HoldingStore extends TestStore {
    holds = false;
    override record(...[changes, done]: Parameters<TestStore["record"]>): void {
      if (this.holds) held.push(() => super.record(changes, done));
      else super.record(changes, done);
    }
  }
  const store = new HoldingStore();
  const setting = setUp({}, [], undefined, store);
  const reconfigure = (options: Partial<EndpointOptions>) =>
    setting.dispatcher.reconfigure({ endpoints: [endpointOptions(options)] });
  owe(setting, "a1");
  setting.sender.answer({ kind: "auth", reason: "status_403", retryAfterMs: 0 });
  store.holds = true;
  reconfigure(batching());
  setting.clock.advance(60_000);
  reconfigure(batching({}, { enable: false }));
  store.holds = false;
  for (const record of held.splice(0)) record();
  reconfigure(batching());
  setting.clock.advance(60_000);
  assert.equal(setting.figures().inflight, 1);
  setting.senders.get("default")!.answer(accepted);
  assert.equal(setting.figures().delivered, 1);
});

test("no more batches wait than are bounded, and the rest goes on when they are due", () => {
  const setting = setUp(batching({ eventsMax: 1 }));
  for (let i = 0; i < 200; i++) owe(setting, `${String.fromCharCode(200 + i)}1`);
  while (setting.sender.ids.length > 0) setting.sender.answer(failing);
  assert.equal(setting.sender.sent.length, batchesWaitingMax + 4);
  for (let turn = 0; turn < 20; turn++) {
    setting.clock.advance(1_000);
    while (setting.sender.ids.length > 0) setting.sender.answer(accepted);
  }
  assert.equal(setting.figures().delivered, 200);
});

test("nothing is sent before it is recorded that it is together", () => {
  const setting = setUp(batching({ eventsMax: 1 }));
  owe(setting, "a1");
  assert.deepEqual(readBatches(setting.store.endpoints()[0].batches)[0].positions, [1]);
  setting.sender.answer(accepted);
  assert.equal(setting.store.endpoints()[0].batches, "");
});

test("what is remembered of batches is read back; what is damaged is none", () => {
  const entry = (position: number) => ({ position }) as never;
  const batch = {
    id: "bat_1",
    attempts: 2,
    failures: 1,
    dueAt: 5,
    format: "json",
    entries: [3, 4, 5, 9, 8].map(entry),
  };
  const text = writeBatches([batch as never]);
  assert.deepEqual(readBatches(text), [
    { id: "bat_1", attempts: 2, failures: 1, dueAt: 5, format: "json", positions: [3, 4, 5, 9, 8] },
  ]);
  for (const damaged of ["{", "{}", "[1]", "[[1]]", ""]) assert.deepEqual(readBatches(damaged), []);
});

test("no more requests a second than the rate, singly and in batches", () => {
  for (const options of [{ rate: 10 }, batching({ eventsMax: 1 }, { rate: 10 })]) {
    const setting = setUp({ ...options, poolSize: 100 });
    owe(setting, Array.from({ length: 60 }, (_, i) => `${String.fromCharCode(200 + i)}1`).join(" "));
    const sent: number[] = [];
    for (let ms = 0; ms < 3_000; ms += 10) {
      if (ms % 1_000 === 0) sent.push(setting.sender.sent.length);
      setting.clock.advance(10);
      while (setting.sender.ids.length > 0) setting.sender.answer(accepted);
    }
    assert.deepEqual(sent, [1, 11, 21]);
    for (let turn = 0; turn < 5; turn++) {
      setting.clock.advance(1_000);
      while (setting.sender.ids.length > 0) setting.sender.answer(accepted);
    }
  }
});

test("through a long random life with crashes and new configurations nothing is lost, doubled or out of order, and a batch is what it was", () => {
  // A small generator of its own, so that a failing run repeats.
  let state = 4242;
  const chance = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
  const options = () => {
    const some = { eventsMax: 1 + Math.floor(chance() * 6), bytesMax: 60, waitMs: 20 };
    return batching(some, { poolSize: 4, maxAgeMs: 600_000, retry: { scheduleMs: [1_000, 2_000, 4_000], jitter: 0 } });
  };
  let setting = setUp(options());
  const outcomes = [accepted, accepted, accepted, refused, failing, rejected, tooLarge];
  const contents = new Map<string, string>();
  const lastOf = new Map<string, number>();
  let serial = 0;
  for (let step = 0; step < 15_000; step++) {
    const { clock, store, allSenders, dispatcher } = setting;
    const underWay = allSenders.flatMap((sender) => sender.underWay.map(({ delivery }) => ({ sender, delivery })));
    const dice = chance();
    if (dice > 0.998) {
      store.refuses = !store.refuses;
      // It is told what it refused.
      if (!store.refuses) clock.advance(1_000);
    }
    if (dice < 0.002 && !store.refuses) setting = crash(setting, options());
    else if (dice < 0.005) {
      const { batch, ...single } = options();
      dispatcher.reconfigure({ endpoints: [endpointOptions(chance() < 0.3 ? single : { ...single, batch })] });
    } else if (dice < 0.45) owe(setting, `${"abcdefgh"[Math.floor(chance() * 8)]}${++serial}`);
    else if (dice < 0.8 && underWay.length > 0) {
      const { sender, delivery } = underWay[Math.floor(chance() * underWay.length)];
      const { deliveryId, body } = delivery.owed;
      const text = Buffer.from(body).toString();
      const events = eventsIn(body);
      assert.equal(contents.get(deliveryId) ?? text, text, "frozen");
      contents.set(deliveryId, text);
      const outcome = outcomes[Math.floor(chance() * outcomes.length)];
      if (outcome === accepted) {
        for (const id of events) {
          // At least once: one may come again after a crash, and never behind one that came later.
          assert.ok(Number(id.slice(1)) > (lastOf.get(id[0]) ?? 0), `${id} comes in its turn`);
          if (!store.refuses) lastOf.set(id[0], Number(id.slice(1)));
        }
      }
      sender.answer(outcome, deliveryId);
    } else clock.advance(Math.floor(chance() * 1_000));
    const keys = setting.allSenders.flatMap((sender) =>
      sender.underWay.flatMap(({ delivery }) => [...new Set(eventsIn(delivery.owed.body).map((id) => id[0]))]),
    );
    assert.equal(new Set(keys).size, keys.length, "each key is in one batch at a time");
    assertConservation(setting);
  }
  for (let turn = 0; turn < 200; turn++) {
    setting.store.refuses = false;
    setting.clock.advance(10_000);
    for (const sender of setting.allSenders) while (sender.ids.length > 0) sender.answer(accepted);
  }
  assert.equal(setting.figures().queued, 0);
  assert.ok(setting.settled.length > 3_000);
});
