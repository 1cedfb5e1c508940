import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { abortedBySignal, type StopRequest, stopRequested } from "./stop-signals.ts";

function listening(): {
  signals: EventEmitter;
  stop: StopRequest;
  at: { ms: number };
  insisted: () => Promise<boolean>;
} {
  const signals = new EventEmitter();
  const at = { ms: 0 };
  const stop = stopRequested(signals, () => at.ms);
  const nextTurn = () => new Promise<false>((resolve) => setImmediate(() => resolve(false)));
  const insisted = () => Promise.race([stop.insisted.then(() => true), nextTurn()]);
  return { signals, stop, at, insisted };
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} asks for a stop`, async () => {
    const { signals, stop, insisted } = listening();
    signals.emit(signal, signal);
    expect(await stop.requested).toBe(signal);
    expect(await insisted()).toBe(false);
  });
}

test("the same Ctrl-C passed on by npm and the launcher is one", async () => {
  const { signals, at, insisted } = listening();
  for (const ms of [0, 1, 40, 1000]) {
    at.ms = ms;
    signals.emit("SIGINT", "SIGINT");
  }
  expect(await insisted()).toBe(false);
});

test("one that comes later insists", async () => {
  const { signals, at, insisted } = listening();
  signals.emit("SIGINT", "SIGINT");
  at.ms = 1001;
  signals.emit("SIGTERM", "SIGTERM");
  expect(await insisted()).toBe(true);
});

test("forgotten, nothing is listened to any more", () => {
  const { signals, stop } = listening();
  stop.forget();
  expect(signals.eventNames()).toEqual([]);
});

test("a signal aborts a command that simply ends", async () => {
  const signals = new EventEmitter();
  const aborted = abortedBySignal(signals);
  expect(aborted.aborted).toBe(false);
  signals.emit("SIGINT", "SIGINT");
  await expect.poll(() => aborted.aborted).toBe(true);
});
