/** The commands against an engine that the test plays. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AttemptReport, DeadLetterReport, EndpointReport, Operation } from "../webhook/operations.ts";
import { controlPathOf, listenForControl } from "./control.ts";
import { FakeTerminal } from "./fake-terminal.ts";
import { processTitle } from "./pid-file.ts";
import { runProgram } from "./program.ts";
import type { ResultOnWire } from "./webhook-operation.ts";

let folder: string;
let title: string;
let terminal: FakeTerminal;
let written: string;
let asked: Operation[];
let control: { close(): Promise<void> } | undefined;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "hookmq-webhook-"));
  title = process.title;
  terminal = new FakeTerminal();
  written = "";
  asked = [];
});

afterEach(async () => {
  await control?.close();
  control = undefined;
  process.title = title;
  rmSync(folder, { recursive: true });
});

const pidFile = () => path.join(folder, "hookmq.pid");

/** This process is the broker as well. */
async function play(answer: (operation: Operation) => ResultOnWire): Promise<void> {
  process.title = processTitle;
  writeFileSync(pidFile(), `${process.pid}\n`);
  control = await listenForControl(controlPathOf(pidFile()), async (request) => {
    if (request.command !== "webhook") return { succeeded: false, lines: ["not asked for here"] };
    asked.push(request.operation);
    return { succeeded: true, lines: [], body: answer(request.operation) };
  });
}

function webhook(...args: string[]): Promise<number> {
  const stdout = new Writable({
    write(chunk, _, done) {
      written += chunk;
      done();
    },
  });
  const env = { HOOKMQ_PID_FILE: pidFile() };
  const parts = { terminal, stdout, stdin: process.stdin, signals: process, env, cwd: folder };
  return runProgram(["webhook", ...args], parts);
}

function endpoint(report: Partial<EndpointReport> = {}): EndpointReport {
  return {
    endpoint: "lake",
    url: "http://127.0.0.1:8888/in",
    condition: "delivering",
    accepted: 10,
    delivered: 5,
    dead: 3,
    dropped: 0,
    expired: 0,
    queued: 2,
    inflight: 0,
    bytes: 2048,
    deadLetters: 3,
    attempts: 9,
    droppedBy: { drop_oldest: 0, drop_newest: 0 },
    breaker: "closed",
    nextAttemptAt: undefined,
    oldestAgeMs: 125_000,
    successRate: 0.5,
    requestMsP50: 12,
    requestMsP95: 1_200,
    ...report,
  };
}

function letter(number: number, report: Partial<DeadLetterReport> = {}): DeadLetterReport {
  return {
    position: number,
    deliveryId: `evt_${number}`,
    event: "on_message_publish",
    orderKey: "c1",
    acceptedAt: Date.UTC(2026, 10, 26, 1),
    diedAt: Date.UTC(2026, 10, 26, 2),
    attempts: 1,
    reason: "rejected",
    detail: "status_422: no",
    bodyBytes: 2,
    ...report,
  };
}

const attempt: AttemptReport = {
  deliveryId: "evt_1",
  event: "on_message_publish",
  orderKey: "c1",
  attempt: 2,
  at: Date.UTC(2026, 10, 26, 1),
  outcome: "accepted",
  reason: "",
  status: 204,
  durationMs: 12,
  excerpt: "",
};

test("without a broker each says so and ends with 1", async () => {
  expect(await webhook("list")).toBe(1);
  expect(terminal.complaints).toEqual(["There is no running HookMQ instance."]);
});

test("an endpoint there is not: says which there are, and which may have been meant", async () => {
  await play((operation) =>
    operation.what === "endpoints"
      ? [endpoint(), endpoint({ endpoint: "audit" })]
      : { refused: "no_such_endpoint", message: "no" },
  );
  expect(await webhook("pause", "laek")).toBe(1);
  expect(terminal.complaints).toEqual([
    'There is no webhook endpoint "laek". Did you mean lake? There are: lake, audit.',
  ]);
});

test("a store that cannot be read: says so, and what to look at", async () => {
  await play(() => ({ refused: "store_unavailable", message: "the store cannot be read at present" }));
  expect(await webhook("queue", "lake")).toBe(1);
  expect(terminal.complaints).toEqual(["the store cannot be read at present (hookmq health says how the store is)"]);
});

test("a broker that does not answer is named", async () => {
  await play(() => []);
  await control?.close();
  expect(await webhook("list")).toBe(1);
  expect(terminal.complaints[0]).toMatch(
    new RegExp(`^HookMQ \\(process ${process.pid}\\) does not answer on .*hookmq\\.sock`),
  );
});

describe("endpoints", () => {
  test("list is a table for people", async () => {
    await play(() => [endpoint(), endpoint({ endpoint: "audit", condition: "paused", oldestAgeMs: undefined })]);
    expect(await webhook("list")).toBe(0);
    expect(terminal.lines).toEqual([
      "  endpoint  condition   queued  waiting  oldest  delivered  dead letters  url",
      "  lake      delivering       2  2.0 KiB  2 min           5             3  http://127.0.0.1:8888/in",
      "  audit     paused           2  2.0 KiB                  5             3  http://127.0.0.1:8888/in",
    ]);
  });

  test("list --json is an object a line, with null for what there is not", async () => {
    const nextAttemptAt = Date.UTC(2026, 10, 26);
    await play(() => [endpoint({ nextAttemptAt }), endpoint({ endpoint: "audit", oldestAgeMs: undefined })]);
    expect(await webhook("list", "--json")).toBe(0);
    expect(terminal.lines.map((line) => JSON.parse(line))).toMatchObject([
      { endpoint: "lake", nextAttemptAt: "2026-11-26T00:00:00.000Z", oldestAgeMs: 125_000 },
      { endpoint: "audit", nextAttemptAt: null, oldestAgeMs: null },
    ]);
  });

  test("show says how it is, in words", async () => {
    const nextAttemptAt = Date.now() + 90_500;
    await play(() => [
      endpoint({ condition: "auth_failed", nextAttemptAt, dropped: 4, droppedBy: { drop_oldest: 4, drop_newest: 0 } }),
    ]);
    expect(await webhook("show", "lake")).toBe(0);
    const text = terminal.lines.join("\n");
    expect(text).toContain("condition  refuses our credentials, is probed; next attempt in 1 min");
    expect(text).toContain("queued     2, the oldest for 2 min");
    expect(text).toContain("dropped    4 (since the start drop_oldest 4)");
    expect(text).toContain("request    12 ms for half of them, 1.2 s for 95 %");
  });

  test("pause says what it means and how it ends; resume says how the endpoint is", async () => {
    await play(({ what }) => endpoint({ condition: what === "pause" ? "paused" : "delivering" }));
    expect(await webhook("pause", "lake")).toBe(0);
    expect(await webhook("resume", "lake")).toBe(0);
    expect(terminal.lines).toEqual([
      "lake is paused, over restarts too; what comes is queued. It goes on with: hookmq webhook resume lake",
      "lake: delivering, 2 queued",
    ]);
  });

  test("test says what was answered; exit code 1 when it was not taken", async () => {
    await play(() => attempt);
    expect(await webhook("test", "lake", "--event", "on_client_connack")).toBe(0);
    expect(asked).toEqual([{ what: "test", endpoint: "lake", event: "on_client_connack" }]);
    await control?.close();
    await play(() => ({ ...attempt, outcome: "endpoint", reason: "refused", status: undefined }));
    expect(await webhook("test", "lake")).toBe(1);
    await control?.close();
    await play(() => ({ ...attempt, outcome: "rejected", reason: "template", status: undefined }));
    expect(await webhook("test", "lake")).toBe(1);
    expect(terminal.lines).toEqual([
      "lake: answered 204 after 12 ms, evt_1",
      "lake: no answer (refused) after 12 ms, evt_1",
      "lake: no request was made (template) after 12 ms, evt_1",
    ]);
  });
});

describe("queue and attempts", () => {
  const queued = (number: number) => ({
    position: number,
    deliveryId: `evt_${number}`,
    event: "on_message_publish",
    orderKey: "c1",
    bodyBytes: 2,
    acceptedAt: Date.now() - 61_000,
    dueAt: undefined,
    inflight: number === 1,
  });

  /** Of five hundred, so many at a time as are asked for. */
  const fiveHundred = (operation: Operation) => {
    if (operation.what !== "queue") throw new Error("not asked for here");
    const { after, countMax } = operation;
    const items = Array.from({ length: Math.min(countMax, 500 - after) }, (_, index) => queued(after + index + 1));
    const last = after + items.length;
    return { items, next: last === 500 ? undefined : last };
  };

  test("a person sees the first twenty, and that there are more", async () => {
    await play(fiveHundred);
    expect(await webhook("queue", "lake")).toBe(0);
    expect(terminal.lines).toHaveLength(1 + 20 + 1);
    expect(terminal.lines[1]).toBe("  evt_1     on_message_publish  c1   2 B    1 min ago  under way");
    expect(terminal.lines.at(-1)).toBe("  … and more: --limit <count>");
  });

  test("a program gets all of it, over as many pages as it takes", async () => {
    await play(fiveHundred);
    expect(await webhook("queue", "lake", "--json")).toBe(0);
    expect(terminal.lines.map((line) => JSON.parse(line).position)).toEqual(
      Array.from({ length: 500 }, (_, i) => i + 1),
    );
    expect(asked.length).toBeGreaterThan(1);
    expect(JSON.parse(terminal.lines[0])).toMatchObject({ dueAt: null, inflight: true });
  });

  test("attempts of one delivery; what an answer said is harmless to show", async () => {
    await play(() => [{ ...attempt, outcome: "retry", status: 500, excerpt: "no\nway\u001b[2J" }]);
    expect(await webhook("attempts", "lake", "--delivery", "evt_1")).toBe(0);
    expect(asked).toEqual([{ what: "attempts", endpoint: "lake", deliveryId: "evt_1", countMax: 20 }]);
    expect(terminal.lines[1]).toContain("no way\\u001b[2J");
  });
});

describe("dead letters", () => {
  test("list passes on what they should be like", async () => {
    await play(() => ({ items: [letter(1)], next: undefined }));
    expect(
      await webhook(
        "dead-letters",
        "list",
        "lake",
        "--reason",
        "rejected",
        "--event",
        "on_message_publish",
        "--key",
        "c1",
      ),
    ).toBe(0);
    expect(asked).toMatchObject([
      { filter: { reason: "rejected", event: "on_message_publish", orderKey: "c1" }, after: 0 },
    ]);
    expect(terminal.lines[1]).toMatch(/evt_1 {5}on_message_publish {2}c1 .* rejected {2}status_422: no$/);
  });

  test.each(["replay", "delete"])("%s of nobody in particular is refused, and says how it is said", async (command) => {
    await play(() => []);
    for (const args of [[], ["--reason", "rejected"], ["evt_1", "--all"], ["evt_1", "--key", "c1"]]) {
      expect(await webhook("dead-letters", command, "lake", ...args)).toBe(1);
    }
    expect(terminal.complaints).toHaveLength(4);
    expect(terminal.complaints[0]).toMatch(/^Which of them\? Name deliveries.*or say --all/);
    expect(asked).toEqual([]);
  });

  /** Three letters, one at a go; behind each stands one that has died again. */
  const oneByOne = (operation: Operation): ResultOnWire => {
    if (operation.what === "endpoints") return [endpoint({ deadLetters: 3 })];
    if (!("after" in operation)) throw new Error("not asked for here");
    return { done: 1, seen: 1, next: operation.after + 1 };
  };

  test("replay --all goes on until all there were are replayed, and shows a person how far it is", async () => {
    terminal = new FakeTerminal(true);
    await play(oneByOne);
    expect(await webhook("dead-letters", "replay", "lake", "--all", "--reason", "rejected")).toBe(0);
    expect(asked.slice(1)).toMatchObject(
      [0, 1, 2].map((after) => ({ what: "replay", filter: { reason: "rejected" }, after })),
    );
    expect(terminal.lines).toEqual(["30 %", "60 %", "3 dead letters of lake replayed"]);
  });

  test("delete --json tells programs how many", async () => {
    await play(oneByOne);
    expect(await webhook("dead-letters", "delete", "lake", "--all", "--json")).toBe(0);
    expect(terminal.lines).toEqual(['{"endpoint":"lake","deleted":3}']);
  });

  test("of those named, one that is none is told: exit code 1", async () => {
    await play((operation) => (operation.what === "endpoints" ? [endpoint()] : { done: 1, seen: 3, next: undefined }));
    expect(await webhook("dead-letters", "replay", "lake", "evt_1", "evt_9")).toBe(1);
    expect(asked[1]).toMatchObject({ filter: { deliveryIds: ["evt_1", "evt_9"] } });
    expect(terminal.lines).toEqual(["1 dead letter of lake replayed"]);
    expect(terminal.complaints).toEqual(["1 of those named is no dead letter of lake."]);
  });

  /** Twenty, of which one has been replayed by somebody else meanwhile. */
  const twenty = (operation: Operation): ResultOnWire => {
    if (operation.what === "endpoints") return [endpoint({ deadLetters: 20 })];
    if (operation.what === "dead-letters") {
      return { items: Array.from({ length: 20 }, (_, index) => letter(index)), next: undefined };
    }
    if (operation.what !== "dead-letter") throw new Error("not asked for here");
    if (operation.deliveryId === "evt_7") return { refused: "no_such_dead_letter", message: "gone" };
    return { ...letter(Number(operation.deliveryId.slice(4))), bodyBase64: "e30=" };
  };

  test("export writes a line of JSON for each, with its body, in order", async () => {
    await play(twenty);
    expect(await webhook("dead-letters", "export", "lake")).toBe(0);
    const records = written
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(records.map(({ position }) => position)).toEqual([...Array(20).keys()].filter((number) => number !== 7));
    expect(records[0]).toEqual({
      endpoint: "lake",
      ...letter(0),
      acceptedAt: "2026-11-26T01:00:00.000Z",
      diedAt: "2026-11-26T02:00:00.000Z",
      body: "e30=",
    });
    expect(terminal.lines).toEqual([]);
  });

  test("export to a file says how many, and writes over none", async () => {
    await play(twenty);
    expect(await webhook("dead-letters", "export", "lake", "letters.ndjson")).toBe(0);
    expect(terminal.lines).toEqual([`19 dead letters written to ${path.join(folder, "letters.ndjson")}`]);
    const before = readFileSync(path.join(folder, "letters.ndjson"), "utf8");
    expect(await webhook("dead-letters", "export", "lake", "letters.ndjson")).toBe(1);
    expect(terminal.complaints[0]).toMatch(/is there already: nothing is ever written over/);
    expect(readFileSync(path.join(folder, "letters.ndjson"), "utf8")).toBe(before);
  });

  test("export into a folder there is not says so", async () => {
    await play(twenty);
    expect(await webhook("dead-letters", "export", "lake", "nowhere/letters.ndjson")).toBe(1);
    expect(terminal.complaints[0]).toMatch(/^the dead letters cannot be written: ENOENT/);
  });

  test("show has the body as well", async () => {
    await play(twenty);
    expect(await webhook("dead-letters", "show", "lake", "evt_3")).toBe(0);
    expect(terminal.lines).toContain("  died      2026-11-26T02:00:00.000Z");
    expect(terminal.lines.at(-1)).toBe("{}");
  });
});
