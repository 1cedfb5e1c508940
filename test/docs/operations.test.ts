/** The tables of docs/operations.md are those of the code. */
import { describe, expect, test } from "vitest";
import { openAccess } from "../../src/access/access.ts";
import { FakeClock } from "../../src/base/fake-clock.ts";
import * as hoconLimits from "../../src/base/hocon/limits.ts";
import { silentLogger } from "../../src/base/log.ts";
import { Broker } from "../../src/broker/broker.ts";
import * as brokerLimits from "../../src/broker/limits.ts";
import { diskFiles } from "../../src/base/hocon/files.ts";
import { loadSettings } from "../../src/config/load.ts";
import { metricFamilies } from "../../src/metrics.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import * as storeLimits from "../../src/store/limits.ts";
import { EndpointMetrics } from "../../src/webhook/endpoint-metrics.ts";
import * as webhookLimits from "../../src/webhook/limits.ts";
import { pages, read, root, rows, section, unquoted } from "./markdown.ts";

const page = read("docs/operations.md");

describe("limits", () => {
  const told = new Map(rows(section(page, "Limits")).map(([name, limit]) => [unquoted(name), limit]));
  const limits = Object.entries<number>({ ...brokerLimits, ...storeLimits, ...webhookLimits, ...hoconLimits });

  test.each(limits)("%s is told as it is", (name, limit) => {
    expect(numberOf(told.get(name) ?? "nothing")).toBe(limit);
  });

  test("no others are told", () => {
    const names = new Set(limits.map(([name]) => name));
    expect([...told.keys()].filter((name) => !names.has(name))).toEqual([]);
  });
});

test("the limits of docs/webhooks.md are the same", () => {
  const told = rows(section(read("docs/webhooks.md"), "Limits"));
  const limit = (what: string) => told.find(([name]) => name === what)![1];
  expect(numberOf(limit("one body"))).toBe(webhookLimits.bodyBytesMax);
  expect(numberOf(limit("a payload in `base62`"))).toBe(webhookLimits.base62PayloadBytesMax);
  const [endpoint] = defaultSettings().webhook.endpoints;
  expect(limit("dead letters kept")).toContain("256 MB");
  expect(endpoint.deadLetters).toEqual({ bytesMax: 256 * 1024 ** 2, maxAgeMs: 7 * 24 * 3_600_000 });
  expect(numberOf(limit("… where `durability` is `memory`").replace("MB", "MiB"))).toBe(
    webhookLimits.queueBytesMaxInMemory,
  );
  expect(numberOf(limit("… of all that, in memory"))).toBe(webhookLimits.windowBytesMax);
  expect(numberOf(limit("requests at the same time").replace("`pool_size`, ", ""))).toBe(endpoint.poolSize);
  const queue = limit("what waits for one endpoint").replace("`queue.max_bytes`, ", "");
  expect(numberOf(queue.replace("GB", "GiB"))).toBe(endpoint.queueBytesMax);
});

test("the $SYS topics", async () => {
  const broker = new Broker({
    options: { ...defaultSettings().broker, sysIntervalSeconds: 10 },
    clock: new FakeClock(),
    log: silentLogger,
    store: new MemoryStore(),
    access: openAccess,
    taps: [],
    defer: (act) => setImmediate(act),
  });
  await broker.start();
  const published = [...broker.retained.walk("$SYS/#")].flatMap((message) => message?.topicName ?? []);
  await broker.stop();
  expect(
    rows(section(page, "`$SYS` topics"))
      .map(([topicName]) => unquoted(topicName))
      .sort(),
  ).toEqual(published.sort());
});

test("lines of the log that are quoted are said somewhere", () => {
  const files = [
    "src/webhook/endpoint.ts",
    "src/webhook/dispatcher.ts",
    "src/back-link.ts",
    "src/broker/connection.ts",
  ];
  const source = files.map(read).join("");
  const quoted = rows(section(page, "Log")).map(([text]) => unquoted(text));
  expect(quoted.length).toBeGreaterThan(3);
  expect(quoted.filter((text) => !source.includes(text))).toEqual([]);
});

test("the metrics, each with its type, and the classes of attempts", () => {
  const told = rows(section(page, "Metrics")).map(([name, type]) => `${unquoted(name)} ${type}`);
  const families = metricFamilies({ endpoints: [], attempts: [], storeCommitSeconds: undefined });
  expect(told).toEqual(families.map(({ name, type }) => `${name} ${type}`));
  const classes = Object.keys(new EndpointMetrics().figures("").attempts);
  expect(section(page, "Metrics")).toContain(`\`class\`: ${classes.map((kind) => `\`${kind}\``).join(", ")} |`);
});

test("every dependency has its line in docs/dependencies.md, and every line its dependency", () => {
  const manifest: Record<string, Record<string, string>> = JSON.parse(read("package.json"));
  const { dependencies, optionalDependencies, devDependencies } = manifest;
  const dependencyPage = read("docs/dependencies.md");
  const told = (heading: string) => rows(section(dependencyPage, heading)).map(([name]) => unquoted(name));
  expect(told("In the program").sort()).toEqual(Object.keys(dependencies).sort());
  expect(told("Node.js itself").sort()).toEqual(Object.keys(optionalDependencies).sort());
  expect(told("For development only").sort()).toEqual(Object.keys(devDependencies).sort());
});

test("npm scripts that the pages name are in package.json", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const named = pages.flatMap((name) => [...read(name).matchAll(/\bnpm run ([\w:]+)/g)].map((match) => match[1]));
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});

function defaultSettings() {
  const { settings } = loadSettings({ path: "etc/nanomq.conf", env: {}, cwd: root, files: diskFiles, version: "0" });
  return settings!;
}

/** `320 KiB`, `1,000`, `10 s`, `10 %` as the number that the code has. */
function numberOf(told: string): number {
  const units: Readonly<Record<string, number>> = {
    "": 1,
    "%": 0.01,
    B: 1,
    KiB: 1024,
    MiB: 1024 ** 2,
    GiB: 1024 ** 3,
    ms: 1,
    s: 1000,
    h: 3_600_000,
  };
  const [, digits, unit] = /^([\d,.]+) ?(\S*)$/.exec(told) ?? [];
  return Number(digits?.replaceAll(",", "")) * (units[unit ?? "?"] ?? Number.NaN);
}
