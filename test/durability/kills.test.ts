/**
 * What was acknowledged is kept, whenever the broker is killed. A short run is part of `npm test`;
 * `npm run test:durability` is the long one. HOOKMQ_DURABILITY_SEED repeats a plan, HOOKMQ_DURABILITY_KILLS is how many.
 */
import assert from "node:assert/strict";
import { describe, expect, test } from "vitest";
import { commitMoments } from "../../src/store/sqlite.ts";
import { type Account, killAgainAndAgain, type KillsOptions } from "./kills.ts";

const kills = Number(process.env.HOOKMQ_DURABILITY_KILLS ?? 24);
const givenSeed = process.env.HOOKMQ_DURABILITY_SEED;
const seed = givenSeed === undefined ? Date.now() % 2 ** 31 : Number(givenSeed);
const runs: [string, KillsOptions][] =
  process.env.HOOKMQ_DURABILITY_KILLS === undefined
    ? [["with a receiver that fails, hangs and comes back beside one that is well", { seed, kills, frail: true }]]
    : [
        ["with receivers that are well", { seed, kills, frail: false }],
        ["with a receiver that fails, hangs and comes back beside one that is well", { seed, kills, frail: true }],
      ];
const timeoutMs = 180_000 + kills * 5_000;
const lyingSeed = 1;

describe(`HOOKMQ_DURABILITY_SEED=${seed}`, () => {
  for (const [how, options] of runs) {
    test(
      `every obligation is met after ${kills} kills, ${how}`,
      async () => {
        const account = await killAgainAndAgain(options);
        console.log(tell(account));
        assert.equal(account.violations.length, 0, tell(account));
        // Each of them was really tried.
        expect(Object.keys(account.kills)).toEqual(expect.arrayContaining([...commitMoments]));
        expect(account.messages).toBeGreaterThan(kills);
        expect(account.events).toBeGreaterThan(account.messages);
      },
      timeoutMs,
    );
  }
});

describe("the judge finds out a broker that acknowledges and forgets", () => {
  for (const [forgets, ...claims] of [
    [
      ["received", "retained", "delivery-owed"],
      /got \S+ \d+ of QoS 2 2 times/,
      /has lost its retained/,
      /receiver well never got/,
    ],
    [["queued", "session-opened"], /s\d never got/, /the session of p\d is lost/],
  ] as const) {
    test(
      forgets.join(", "),
      async () => {
        const options = { seed: lyingSeed, kills: 4, frail: false, forgets, quietMs: 1_000 };
        const { violations } = await killAgainAndAgain(options);
        for (const claim of claims) expect(violations).toContainEqual(expect.stringMatching(claim));
      },
      timeoutMs,
    );
  }
});

/** What was tried, and what came of it. */
function tell(account: Account): string {
  const { kills: how, acknowledgements, messages, sendings, events, violations } = account;
  const { repeatedToSubscribers, repeatedToReceivers } = account;
  const count = Object.values(how).reduce((total, some) => total + some, 0);
  return [
    `HOOKMQ_DURABILITY_SEED=${seed}: ${count} kills (${Object.entries(how)
      .map((entry) => entry.join(" "))
      .join(", ")})`,
    `${acknowledgements} acknowledgements for ${messages} messages, sent ${sendings} times; ${events} events`,
    `as at least once allows, ${repeatedToSubscribers} came again to subscribers, ${repeatedToReceivers} to receivers`,
    `${violations.length} broken promises`,
    ...violations.slice(0, 40).map((violation) => `  ${violation}`),
  ].join("\n");
}
