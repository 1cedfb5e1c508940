/**
 * Seeded days of the real broker and webhook core against a plain model. `npm run test:simulation` runs many more.
 * HOOKMQ_SIMULATION_SEEDS says how many fresh ones, HOOKMQ_SIMULATION_DAYS how long each is, HOOKMQ_SIMULATION_SEED
 * runs one of them again, over the same days.
 */
import assert from "node:assert/strict";
import { test } from "vitest";
import { simulate } from "./simulation.ts";

const days = Number(process.env.HOOKMQ_SIMULATION_DAYS ?? 7);
const again = process.env.HOOKMQ_SIMULATION_SEED;
const fixed = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const firstFresh = Date.now() % 2 ** 31;
const fresh = Array.from({ length: Number(process.env.HOOKMQ_SIMULATION_SEEDS ?? 5) }, (_, i) => firstFresh + i);

for (const seed of again === undefined ? [...fixed, ...fresh] : [Number(again)]) {
  test(`${days} days of seed ${seed}`, async () => {
    const { figures, deliveries } = await simulate(seed, { days });
    // Days on which nothing happens shows nothing.
    assert.ok(figures.published > 100 * days && figures.received > 100 * days, JSON.stringify(figures));
    assert.ok(figures.crashes > 0 && figures.wills > 0 && figures.sessionsPresent > 0, JSON.stringify(figures));
    assert.ok(deliveries.delivered > 100 * days, JSON.stringify(deliveries));
  });
}

test("a seed is the same story again, to the last byte", async () => {
  const [one, other, another] = [
    await simulate(11, { days: 2 }),
    await simulate(11, { days: 2 }),
    await simulate(12, { days: 2 }),
  ];
  assert.deepEqual(other, one);
  assert.notEqual(another.hash, one.hash);
});
