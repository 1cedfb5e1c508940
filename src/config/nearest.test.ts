import assert from "node:assert/strict";
import { test } from "vitest";
import { nearest } from "./nearest.ts";

const keys = ["url", "pool_size", "headers", "events", "enable"];
for (const [typed, expected] of [
  ["ulr", "url"],
  ["URLS", "url"],
  ["poolsize", "pool_size"],
  ["header", "headers"],
  ["event", "events"],
  ["enabled", "enable"],
  ["zzz", undefined],
  ["x".repeat(1_000_000), undefined],
] as const) {
  test(`${typed.slice(0, 20)} was meant to be ${expected ?? "nothing known"}`, () => {
    assert.equal(nearest(typed, keys), expected);
  });
}
