import { expect, test } from "vitest";
import { Window } from "./window.ts";

test("what waits in memory does not keep the batch alive that it came in", () => {
  const batch = Buffer.alloc(100_000, "a");
  const window = new Window();
  const body = batch.subarray(500, 900);
  const owed = {
    deliveryId: "evt_1",
    endpoint: "a",
    event: "on_message_publish",
    orderKey: "pump",
    body,
    acceptedAt: 0,
    expiresAt: undefined,
    head: "",
  };
  window.add({ position: 1, owed, attempts: 0, failures: 0, dueAt: undefined });
  const kept = window.firstReady!.delivery.owed.body;
  expect(kept).toEqual(body);
  expect(kept.buffer).not.toBe(batch.buffer);
});
