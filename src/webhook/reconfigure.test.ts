import assert from "node:assert/strict";
import { afterEach, test } from "vitest";
import { assertConservation, endAll, type Setting, setUp } from "./fake-dispatcher.ts";
import { endpointOptions, owedDelivery } from "./fake-endpoint.ts";
import type { EndpointReport } from "./operations.ts";
import type { EndpointOptions } from "./options.ts";
import type { Outcome } from "./outcome.ts";

const accepted: Outcome = { kind: "accepted" };
const failing: Outcome = { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false };
const forbidden: Outcome = { kind: "auth", reason: "status_403", retryAfterMs: 0 };

afterEach(endAll);

function reconfigure({ dispatcher }: Setting, ...endpoints: Partial<EndpointOptions>[]): void {
  dispatcher.reconfigure({ endpoints: endpoints.map((options) => endpointOptions(options)) });
}

const conditions = ({ dispatcher }: Setting) =>
  (dispatcher.operate({ what: "endpoints" }) as EndpointReport[]).map(({ condition }) => condition);

test("an endpoint that is new sends; one that is unchanged hears nothing of it", () => {
  const setting = setUp();
  setting.owe("a1");
  const { sender } = setting;
  reconfigure(setting, {}, { name: "other" });
  assert.equal(setting.senders.get("default"), sender);
  const owed = owedDelivery({ deliveryId: "x1", endpoint: "other", acceptedAt: setting.clock.now() });
  setting.dispatcher.accept([setting.store.owed(owed)]);
  assert.deepEqual(setting.senders.get("other")!.ids, ["x1"]);
});

test("one that is taken out keeps its queue and sends nothing, until it is back", () => {
  const setting = setUp();
  const { sender, owe, clock } = setting;
  owe("a1 a2");
  reconfigure(setting);
  assert.deepEqual(conditions(setting), ["parked"]);
  // What is under way ends as it may.
  sender.answer(accepted);
  assert.equal(sender.closed, true);
  clock.advance(3_600_000);
  assert.deepEqual([setting.figures().delivered, setting.figures().queued], [1, 1]);
  reconfigure(setting, { url: "http://127.0.0.1:9" });
  assert.deepEqual(setting.senders.get("default")!.ids, ["a2"]);
  assert.deepEqual(conditions(setting), ["delivering"]);
});

test("one that has changed goes on in order with a new sender, after what is under way with the old one", () => {
  const setting = setUp({ poolSize: 2 });
  const { sender, owe } = setting;
  owe("a1 a2 b1 c1 d1");
  assert.deepEqual(sender.ids, ["a1", "b1"]);
  reconfigure(setting, { url: "http://127.0.0.1:9", poolSize: 3 });
  const next = setting.senders.get("default")!;
  assert.deepEqual(next.ids, ["c1"]);
  sender.answer(accepted, "a1");
  assert.deepEqual(next.ids, ["c1", "d1"].concat([]));
  assert.equal(sender.closed, false);
  sender.answer(failing, "b1");
  assert.equal(sender.closed, true);
  assert.deepEqual(next.ids, ["c1", "d1", "a2"]);
  assertConservation(setting);
});

test("a receiver that did not answer is tried at once, as another may be there now", () => {
  const setting = setUp();
  setting.owe("a1");
  setting.sender.answer({ ...forbidden, retryAfterMs: 60_000 });
  reconfigure(setting, { url: "http://127.0.0.1:9" });
  assert.deepEqual(setting.senders.get("default")!.ids, ["a1"]);
});

test("a shorter max_age and a smaller queue hold for what waits", () => {
  const setting = setUp({ poolSize: 1 });
  setting.owe("a1 a2 a3 a4");
  setting.clock.advance(5_000);
  reconfigure(setting, { poolSize: 1, maxAgeMs: 1_000 });
  assert.deepEqual([setting.figures().expired, setting.figures().inflight], [3, 1]);
});

test("batches that were sent stay what they are, when batches are switched off and on", () => {
  const batch = { eventsMax: 2, bytesMax: 1_000, waitMs: 0, format: "json" } as const;
  const setting = setUp({ batch });
  setting.owe("a1 a2 a3 b1");
  const [id] = setting.sender.ids;
  setting.sender.answer(failing);
  reconfigure(setting, {});
  const single = setting.senders.get("default")!;
  setting.clock.advance(1_000);
  assert.ok(single.ids.includes(id));
  single.answer(accepted, id);
  while (single.ids.length > 0) single.answer(accepted);
  while (setting.sender.ids.length > 0) setting.sender.answer(accepted);
  assert.equal(setting.figures().delivered, 4);
  reconfigure(setting, { batch });
  setting.owe("a5 a6");
  assert.equal(setting.senders.get("default")!.ids.length, 1);
});

test("one whose durability moves keeps what is in each store, and both are counted", () => {
  const setting = setUp({ poolSize: 1 });
  const { sender, owe, volatile, dispatcher, clock } = setting;
  owe("a1 a2");
  reconfigure(setting, { poolSize: 1, durability: "memory" });
  const owed = owedDelivery({ deliveryId: "m1", orderKey: "a", acceptedAt: clock.now() });
  const position = volatile.owe(owed);
  dispatcher.accept([{ position, owed, attempts: 0, failures: 0, dueAt: undefined, isVolatile: true }]);
  assert.equal(dispatcher.figures().length, 1);
  assert.deepEqual([setting.figures().accepted, setting.figures().inflight], [3, 2]);
  sender.answer(accepted, "a1");
  for (const each of setting.allSenders) while (each.ids.length > 0) each.answer(accepted);
  assert.equal(setting.figures().delivered, 3);
  reconfigure(setting, { poolSize: 1 });
  owe("a3");
  for (const each of setting.allSenders) while (each.ids.length > 0) each.answer(accepted);
  assert.equal(setting.figures().delivered, 4);
});
