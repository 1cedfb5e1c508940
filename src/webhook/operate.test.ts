import assert from "node:assert/strict";
import { afterEach, describe, test } from "vitest";
import { assertConservation, crash, endAll, running, type Setting, setUp } from "./fake-dispatcher.ts";
import { endpointOptions } from "./fake-endpoint.ts";
import { attemptsRememberedMax, testsWaitingMax } from "./limits.ts";
import type { Operation, OperationRefusal, OperationResults } from "./operations.ts";
import type { Outcome } from "./outcome.ts";

const accepted: Outcome = { kind: "accepted" };
const refused: Outcome = { kind: "endpoint", reason: "refused", retryAfterMs: 0 };
const forbidden: Outcome = { kind: "auth", reason: "status_403", retryAfterMs: 0 };
const failing: Outcome = { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false };
const rejected: Outcome = { kind: "rejected", reason: "rejected", detail: "status_422: no", retryAfterMs: 0 };

afterEach(endAll);

/** What is asked of `default`, and answered. */
function ask<What extends Operation["what"]>(
  { dispatcher }: Setting,
  what: What,
  rest: Partial<Extract<Operation, { what: What }>> = {},
): OperationResults[What] {
  const page = { endpoint: "default", filter: {}, after: 0, countMax: 100, deliveryId: undefined };
  return dispatcher.operate({ what, ...page, ...rest } as Operation) as OperationResults[What];
}

const refusalOf = (answer: unknown) => (answer as OperationRefusal).refused;
const idsOf = (page: { items: { deliveryId: string }[] }) => page.items.map(({ deliveryId }) => deliveryId);

/** Owes these and has them rejected. */
function kill(setting: Setting, ids: string): void {
  setting.owe(ids);
  while (setting.sender.ids.length > 0) setting.sender.answer(rejected);
}

describe("endpoints", () => {
  test("tell what they are doing, and when they try again", () => {
    const setting = setUp({}, [endpointOptions({ name: "off", enable: false })]);
    const { clock, sender, owe, dispatcher, store } = setting;
    const condition = () => ask(setting, "endpoints")[0].condition;
    assert.equal(condition(), "delivering");
    assert.equal(ask(setting, "endpoints")[1].condition, "disabled");
    owe("a1");
    clock.advance(700);
    sender.answer({ ...failing, retryAfterMs: 30_000 });
    const [held] = ask(setting, "endpoints");
    assert.deepEqual([held.condition, held.nextAttemptAt], ["held", clock.now() + 30_000]);
    assert.deepEqual([held.oldestAgeMs, held.successRate], [700, 0]);
    clock.advance(30_000);
    sender.answer(forbidden);
    assert.equal(condition(), "auth_failed");
    clock.advance(60_000);
    sender.answer({ kind: "gone", reason: "status_410", retryAfterMs: 0 });
    assert.equal(condition(), "gone");
    clock.advance(600_000);
    sender.answer(refused);
    assert.equal(condition(), "unreachable");
    dispatcher.accept([store.owed({ ...owedTo("former"), acceptedAt: clock.now() })]);
    assert.equal(ask(setting, "endpoints")[2].condition, "parked");
  });

  test("that nobody knows are refused by name", () => {
    const answer = ask(setUp(), "pause", { endpoint: "nobody" });
    assert.equal(refusalOf(answer), "no_such_endpoint");
    assert.match((answer as unknown as OperationRefusal).message, /default/);
  });
});

describe("a pause", () => {
  test("ends what is under way, sends nothing new over a restart, and goes on where it was", () => {
    const setting = setUp();
    setting.owe("a1 a2 b1");
    assert.equal(ask(setting, "pause").condition, "paused");
    setting.sender.answer(accepted, "a1");
    setting.sender.answer(accepted, "b1");
    setting.owe("c1");
    setting.clock.advance(3_600_000);
    assert.deepEqual(setting.sender.ids, []);
    const next = crash(setting);
    next.owe("d1");
    next.clock.advance(3_600_000);
    assert.deepEqual(next.sender.sent, []);
    assert.equal(next.figures().queued, 3);
    assert.equal(ask(next, "resume").condition, "delivering");
    assert.deepEqual(next.sender.ids.toSorted(), ["a2", "c1", "d1"]);
    assert.equal(ask(crash(next), "endpoints")[0].condition, "delivering");
  });

  test("of an endpoint that does not answer ends with a probe at once, and is still unreachable", () => {
    const setting = setUp();
    setting.owe("a1");
    setting.sender.answer(forbidden);
    ask(setting, "pause");
    setting.clock.advance(600_000);
    assert.deepEqual(setting.sender.ids, []);
    assert.equal(ask(setting, "resume").condition, "auth_failed");
    assert.deepEqual(setting.sender.ids, ["a1"]);
  });

  test("lets what waits grow too old", () => {
    const setting = setUp({ maxAgeMs: 10_000 });
    ask(setting, "pause");
    setting.owe("a1");
    setting.clock.advance(10_000);
    assert.equal(setting.figures().expired, 1);
  });
});

test("the queue is told page by page, with what is under way and what waits for its time", () => {
  const setting = setUp({ poolSize: 2 });
  const { sender, owe, clock } = setting;
  owe("a1 b1 c1 a2");
  sender.answer(failing, "a1");
  const page = ask(setting, "queue", { countMax: 3 });
  assert.deepEqual(
    page.items.map(({ deliveryId, inflight, dueAt }) => [deliveryId, inflight, dueAt]),
    [
      ["a1", false, clock.now() + 1_000],
      ["b1", true, undefined],
      ["c1", true, undefined],
    ],
  );
  const rest = ask(setting, "queue", { after: page.next! });
  assert.deepEqual([idsOf(rest), rest.next], [["a2"], undefined]);
});

test("the last attempts are told, each with its answer", () => {
  const setting = setUp();
  const { sender, owe, clock } = setting;
  owe("a1 b1");
  sender.answer(failing, "a1", { status: 500, durationMs: 12, excerpt: "oh" });
  sender.answer(accepted, "b1");
  assert.deepEqual(ask(setting, "attempts", { deliveryId: "a1" }), [
    {
      deliveryId: "a1",
      event: "on_message_publish",
      orderKey: "a",
      attempt: 1,
      at: clock.now(),
      outcome: "retry",
      reason: "status_500",
      status: 500,
      durationMs: 12,
      excerpt: "oh",
    },
  ]);
  for (let i = 0; i <= attemptsRememberedMax; i++) {
    owe(`c${i}`);
    sender.answer(accepted);
  }
  assert.deepEqual(ask(setting, "attempts", { deliveryId: "a1" }), []);
  assert.equal(ask(setting, "endpoints")[0].successRate, 1);
});

describe("a test event", () => {
  test("goes straight to the endpoint, whatever waits, and leaves nothing behind", async () => {
    const setting = setUp({ poolSize: 1 });
    const { sender, owe, figures } = setting;
    owe("a1 a2");
    ask(setting, "pause");
    const report = ask(setting, "test", { event: "on_message_publish" });
    // The only connection is busy.
    assert.deepEqual(sender.ids, ["a1"]);
    sender.answer(accepted);
    const [{ delivery }] = sender.underWay;
    assert.match(delivery.owed.deliveryId, /^evt_[0-9A-Z]{26}$/);
    assert.equal(JSON.parse(Buffer.from(delivery.owed.body).toString()).topic, "hookmq/test");
    sender.answer(failing, undefined, { status: 500, durationMs: 3, excerpt: "" });
    const { outcome, status, event } = await report;
    assert.deepEqual({ outcome, status, event }, { outcome: "retry", status: 500, event: "on_message_publish" });
    assert.deepEqual([figures().accepted, figures().delivered, figures().breaker], [2, 1, "closed"]);
  });

  test("is refused where nothing is sent, or when the name is none", () => {
    const setting = setUp({ enable: false });
    assert.equal(refusalOf(ask(setting, "test", { event: "on_client_connack" })), "not_sending");
    assert.equal(refusalOf(ask(setUp(), "test", { event: "on_tuesday" })), "no_such_event");
  });

  test("of which the format can make no request is told as rejected with the reason, and nothing is sent", async () => {
    const template = { body: '{"t":${payload.sensors.t}}', urlPath: undefined, query: undefined, headers: [] };
    const setting = setUp({ format: "template", template });
    const { outcome, reason, status } = await ask(setting, "test", { event: "on_message_publish" });
    assert.deepEqual({ outcome, reason, status }, { outcome: "rejected", reason: "template", status: undefined });
    assert.deepEqual(setting.sender.ids, []);
  });

  test("that waits for a connection when the broker stops is taken back", async () => {
    const setting = setUp({ poolSize: 1 });
    running.length = 0;
    const reports = Array.from({ length: testsWaitingMax + 1 }, () =>
      ask(setting, "test", { event: "on_client_disconnected" }),
    );
    assert.equal(refusalOf(ask(setting, "test", { event: "on_client_connack" })), "not_sending");
    const stopped = setting.dispatcher.stop(0);
    setting.clock.advance(0);
    await stopped;
    const outcomes = (await Promise.all(reports)).map(({ outcome }) => outcome);
    assert.deepEqual(new Set(outcomes), new Set(["cancelled"]));
    assert.equal(setting.clock.armed, 0);
  });
});

describe("dead letters", () => {
  test("are told page by page, by what is asked, and one with its body", () => {
    const setting = setUp();
    kill(setting, "a1 b1 a2 c1");
    const page = ask(setting, "dead-letters", { countMax: 3 });
    assert.deepEqual(idsOf(page), ["a1", "b1", "a2"]);
    assert.deepEqual(idsOf(ask(setting, "dead-letters", { after: page.next! })), ["c1"]);
    const ids = (filter: object) => idsOf(ask(setting, "dead-letters", { filter }));
    assert.deepEqual(ids({ orderKey: "a" }), ["a1", "a2"]);
    assert.deepEqual(ids({ deliveryIds: ["c1", "a1"] }), ["a1", "c1"]);
    assert.deepEqual(ids({ reason: "redirect" }), []);
    assert.deepEqual(ids({ event: "on_message_publish", orderKey: "b" }), ["b1"]);
    const letter = ask(setting, "dead-letter", { deliveryId: "b1" });
    assert.deepEqual([Buffer.from(letter.body).toString(), letter.detail], ["{}", "status_422: no"]);
    assert.equal(refusalOf(ask(setting, "dead-letter", { deliveryId: "z" })), "no_such_dead_letter");
  });

  test("replayed are delivered under their id, behind what is owed, with all their attempts and their whole time", () => {
    const setting = setUp({ maxAgeMs: 10_000 });
    const { clock, sender, settled, figures } = setting;
    kill(setting, "a1 b1 a2");
    clock.advance(9_000);
    setting.owe("a3");
    assert.deepEqual(ask(setting, "replay", { filter: { orderKey: "a" } }), { done: 2, seen: 3, next: undefined });
    clock.advance(9_000);
    const order: string[] = [];
    while (sender.ids.length > 0) {
      order.push(sender.ids[0]);
      assert.equal(sender.underWay[0].delivery.attempts, 1);
      sender.answer(accepted);
      assertConservation(setting);
    }
    assert.deepEqual(order, ["a3", "a1", "a2"]);
    assert.deepEqual(idsOf(ask(setting, "dead-letters")), ["b1"]);
    const { accepted: owed, delivered, dead, deadLetters } = figures();
    assert.deepEqual({ owed, delivered, dead, deadLetters }, { owed: 6, delivered: 3, dead: 3, deadLetters: 1 });
    assert.equal(settled.length, 6);
  });

  test("replayed and rejected again are dead letters again; a crash in between loses nothing", () => {
    const setting = setUp();
    kill(setting, "a1");
    ask(setting, "replay");
    const next = crash(setting);
    next.clock.advance(0);
    assert.deepEqual(next.sender.ids, ["a1"]);
    next.sender.answer(rejected);
    assert.deepEqual(idsOf(ask(next, "dead-letters")), ["a1"]);
    assert.deepEqual([next.figures().dead, next.figures().deadLetters], [2, 1]);
  });

  test("in bulk go so many at one go, until all are done", () => {
    const setting = setUp();
    kill(setting, "a1 a2 a3 a4 a5");
    const first = ask(setting, "delete-dead-letters", { countMax: 2 });
    assert.deepEqual([first.done, first.seen], [2, 2]);
    const second = ask(setting, "delete-dead-letters", { countMax: 100, after: first.next! });
    assert.deepEqual(second, { done: 3, seen: 3, next: undefined });
    assert.deepEqual([setting.figures().dead, setting.figures().deadLetters], [5, 0]);
    assert.deepEqual(ask(setting, "replay"), { done: 0, seen: 0, next: undefined });
  });

  test("stay as they are while the store takes nothing, and that is said", () => {
    const setting = setUp();
    kill(setting, "a1");
    setting.store.refuses = true;
    assert.equal(refusalOf(ask(setting, "replay")), "store_unavailable");
    setting.store.refuses = false;
    assert.deepEqual(ask(setting, "replay"), { done: 1, seen: 1, next: undefined });
    assert.deepEqual(setting.sender.ids, ["a1"]);
  });

  test("that are too old go, also behind one that died late", () => {
    const setting = setUp({ deadLetters: { bytesMax: 1_000_000, maxAgeMs: 7_200_000 } });
    const { clock, sender, owe } = setting;
    owe("a1 b1");
    sender.answer(failing, "a1");
    sender.answer(rejected, "b1");
    clock.advance(1_000);
    clock.advance(3_600_000);
    sender.answer(rejected, "a1");
    clock.advance(3_700_000);
    assert.deepEqual(idsOf(ask(setting, "dead-letters")), ["a1"]);
    clock.advance(7_200_000);
    assert.deepEqual(idsOf(ask(setting, "dead-letters")), []);
  });
});

function owedTo(endpoint: string) {
  const owed = { deliveryId: "x1", event: "on_message_publish", orderKey: "x", body: Buffer.from("{}") };
  return { ...owed, endpoint, acceptedAt: 0, expiresAt: undefined, head: "" };
}
