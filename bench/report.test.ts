import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { LoadResult } from "./load/job.ts";
import { median, rowsOf, tableOf, type Measured } from "./report.ts";
import { scenarios } from "./scenarios.ts";

const settings = { qos: [0, 1, 2], payloadBytes: [16, 256], seconds: 1, warmupSeconds: 1, connections: 10 } as const;
const [fanIn] = scenarios[0].cells(settings);

function ran(messagesPerSecond: number, more: Partial<LoadResult> = {}): LoadResult {
  return { figures: { messagesPerSecond }, counts: {}, ...more };
}

function measured(runs: Measured["runs"]): Measured {
  return { scenario: "fan-in", cell: fanIn, runs };
}

test("the median", () => {
  assert.equal(median([]), undefined);
  assert.equal(median([9]), 9);
  assert.equal(median([100, 1, 10]), 10);
  assert.equal(median([4, 1, 2, 100]), 3);
});

describe("a row", () => {
  test("has medians, and HookMQ's divided by each peer's", () => {
    const [row] = rowsOf(
      measured({ hookmq: [ran(900), ran(1000), ran(5000)], mosquitto: [ran(90), ran(100), ran(101)] }),
    );
    assert.deepEqual(row.medians, { hookmq: 1000, mosquitto: 100 });
    assert.deepEqual(row.ratios, { mosquitto: 10 });
    assert.deepEqual(row.notes, []);
  });

  test("counts no run that lost something, and says so", () => {
    const lossy = ran(9_000, { failure: "3 deliveries lost" });
    const [row] = rowsOf(measured({ hookmq: [lossy, ran(10), ran(20)], aedes: [lossy] }));
    assert.deepEqual(row.medians, { hookmq: 15 });
    assert.deepEqual(row.ratios, {});
    assert.deepEqual(row.notes, [
      "hookmq: 1 of 3 failed: 3 deliveries lost",
      "aedes: 1 of 1 failed: 3 deliveries lost",
    ]);
  });

  for (const [generatorCpuPercent, brokerCpuPercent, limit] of [
    [99, 60, true],
    [99, 99, false],
    [60, 60, false],
  ] as const) {
    test(`generator ${generatorCpuPercent} % busy, broker ${brokerCpuPercent} %: the generator was ${limit ? "" : "not "}the limit`, () => {
      const [row] = rowsOf(measured({ hookmq: [ran(1, { generatorCpuPercent, brokerCpuPercent })] }));
      assert.deepEqual(row.notes, limit ? ["hookmq: the generator was the limit"] : []);
    });
  }

  test("tells duplicates and disorder of a run in which nothing was lost", () => {
    const [row] = rowsOf(measured({ aedes: [ran(1, { counts: { duplicates: 2, outOfOrder: 1 } })] }));
    assert.deepEqual(row.notes, ["aedes: 2 came twice", "aedes: 1 out of order"]);
  });
});

test("the table has a column for each broker and each ratio, and shows what is missing", () => {
  const rows = rowsOf(measured({ hookmq: [ran(1_500_000)], mosquitto: [ran(150_000)], aedes: [] }));
  const [titles, line] = tableOf(rows, ["hookmq", "mosquitto", "aedes"]).split("\n");
  assert.match(titles, /hookmq +mosquitto +aedes +hookmq\/mosquitto +hookmq\/aedes +notes/);
  assert.match(line, /^fan-in +0 +16 B +messages\/s +1,500,000 +150,000 +– +10\.00 +–$/);
});

test("every scenario has cells with figures, and names of its own", () => {
  for (const scenario of scenarios) {
    assert.ok(scenario.cells(settings).length > 0, scenario.name);
    for (const cell of scenario.cells(settings)) assert.ok(cell.figures.length > 0, scenario.name);
  }
  assert.equal(new Set(scenarios.map(({ name }) => name)).size, scenarios.length);
});
