import assert from "node:assert/strict";
import { test } from "vitest";
import { DeadLetters } from "./dead-letters.ts";
import { owedDelivery } from "./fake-endpoint.ts";
import { deadLetterBytesMax, deadLettersMax } from "./limits.ts";

function letter(deliveryId: string, bodyBytes: number) {
  const owed = owedDelivery({ deliveryId, body: new Uint8Array(bodyBytes) });
  return { owed, reason: "rejected", detail: "status_422", attempts: 1, diedAt: 0 };
}

test("the oldest make room when there are too many", () => {
  const letters = new DeadLetters();
  for (let i = 0; i < deadLettersMax + 5; i++) letters.add(letter(`evt_${i}`, 0));
  assert.equal(letters.size, deadLettersMax);
  assert.equal([...letters][0].owed.deliveryId, "evt_5");
});

test("the oldest make room when they take too much", () => {
  const letters = new DeadLetters();
  for (let i = 0; i < 5; i++) letters.add(letter(`evt_${i}`, deadLetterBytesMax / 4));
  assert.deepEqual(
    [...letters].map(({ owed }) => owed.deliveryId),
    ["evt_2", "evt_3", "evt_4"],
  );
});
