import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { LoadResult } from "./load/job.ts";
import { median, rowsOf, tableOf, tablesOf, type Measured } from "./report.ts";
import { peersFor, scenarios } from "./scenarios.ts";

const settings = {
  qos: [0, 1, 2],
  payloadBytes: [16, 256],
  seconds: 1,
  warmupSeconds: 1,
  connections: 10,
  awayMessages: 10,
  queuedMessages: 10,
  backlogEvents: 10,
} as const;
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
      measured({ hookmq: [ran(990), ran(1000), ran(1100)], mosquitto: [ran(90), ran(100), ran(101)] }),
    );
    assert.deepEqual(row.medians, { hookmq: 1000, mosquitto: 100 });
    assert.deepEqual(row.ratios, { mosquitto: 10 });
    assert.deepEqual(row.notes, []);
  });

  test("compares HookMQ on disk where it ran, with itself in memory as well", () => {
    const [row] = rowsOf(measured({ "hookmq-disk": [ran(97)], hookmq: [ran(100)], mosquitto: [ran(10)] }));
    assert.equal(row.subject, "hookmq-disk");
    assert.deepEqual(row.ratios, { hookmq: 0.97, mosquitto: 9.7 });
  });

  for (const [disk, note] of [
    [1_612, "+612 to hookmq"],
    [900, "−100 to hookmq"],
  ] as const) {
    test(`tells what was added to a peer where that is asked: ${note}`, () => {
      const runs: Measured["runs"] = { "hookmq-disk": [ran(disk)], hookmq: [ran(1_000)] };
      const [row] = rowsOf({ ...measured(runs), cell: { ...fanIn, addedTo: "hookmq" } });
      assert.deepEqual(row.notes, [note]);
    });
  }

  test("tells when runs differ much, and only then", () => {
    const [row] = rowsOf(measured({ hookmq: [ran(90), ran(100), ran(120)], aedes: [ran(50), ran(51), ran(52)] }));
    assert.deepEqual(row.notes, ["hookmq: 90 to 120"]);
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

test("rows with the same brokers share a table, and a table has no column for a broker that none of its rows had", () => {
  const disk = measured({ "hookmq-disk": [ran(1)], hookmq: [ran(2)] });
  const memory = measured({ hookmq: [ran(2)], aedes: [ran(1)] });
  const [one, other] = tablesOf([memory, disk, memory]).split("\n\n");
  assert.match(one, /hookmq +aedes +hookmq\/aedes +notes\n/);
  assert.equal(one.split("\n").length, 3);
  assert.match(other, /hookmq-disk +hookmq +hookmq-disk\/hookmq +notes\n/);
  assert.equal(other.split("\n").length, 2);
});

describe("the peers of a scenario", () => {
  const [plain, onDisk, onRequest] = ["fan-in", "durable-fan-in", "backlog"].map(
    (name) => scenarios.find((scenario) => scenario.name === name)!,
  );
  for (const [scenario, asked, expected] of [
    [plain, undefined, ["hookmq", "mosquitto", "aedes"]],
    [plain, ["hookmq-disk", "hookmq"], ["hookmq-disk", "hookmq"]],
    [onDisk, undefined, ["hookmq-disk", "hookmq", "mosquitto", "mosquitto-persistent"]],
    [onDisk, ["hookmq-disk", "aedes"], ["hookmq-disk"]],
    [onRequest, ["mosquitto"], ["hookmq-disk"]],
  ] as const) {
    test(`${scenario.name}, asked for ${asked ?? "none"}: ${expected}`, () => {
      assert.deepEqual(peersFor(scenario, asked), expected);
    });
  }
});

test("every scenario has cells with figures, and names of its own", () => {
  for (const scenario of scenarios) {
    assert.ok(scenario.cells(settings).length > 0, scenario.name);
    for (const cell of scenario.cells(settings)) assert.ok(cell.figures.length > 0, scenario.name);
  }
  assert.equal(new Set(scenarios.map(({ name }) => name)).size, scenarios.length);
});
