import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BackLink } from "./back-link.ts";
import type { Facts, Logger } from "./base/log.ts";
import type { BrokerChange } from "./store/change.ts";
import { StoreUnavailable } from "./store/store.ts";
import { storedState } from "./store/stored-state.ts";
import { type EndpointOptions, plainRequest } from "./webhook/options.ts";

/** Remembers every line. */
class RememberedLog implements Logger {
  readonly lines: { level: string; message: string; facts: Facts | undefined }[] = [];
  debug = this.at("debug");
  info = this.at("info");
  warn = this.at("warn");
  error = this.at("error");

  private at(level: string) {
    return (message: string, facts?: Facts) => void this.lines.push({ level, message, facts });
  }
}

let log: RememberedLog;
let link: BackLink;
let failures: number;
let server: Server;
let bodies: string[];
let status: number;

beforeEach(async () => {
  bodies = [];
  status = 200;
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    bodies.push(body);
    response.writeHead(status).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  log = new RememberedLog();
  failures = 0;
  link = new BackLink({
    store: { engine: "memory" },
    webhook: { endpoints: [endpointAt((server.address() as AddressInfo).port)] },
    version: "1.2.3",
    log,
    failed: () => failures++,
  });
});

afterEach(async () => {
  await link.close();
  server.closeAllConnections();
  server.close();
});

function endpointAt(port: number): EndpointOptions {
  return {
    name: "default",
    enable: true,
    url: `http://127.0.0.1:${port}`,
    headers: [["content-type", "application/json"]],
    bodyEncoding: "plain",
    poolSize: 4,
    attemptTimeoutMs: 5000,
    connectTimeoutMs: 5000,
    request: plainRequest,
    retry: { scheduleMs: [10], jitter: 0 },
    maxAgeMs: 60_000,
    durability: "strict",
    queueBytesMax: 1_000_000,
    overflow: "drop_oldest",
    deadLetters: { bytesMax: 1_000_000, maxAgeMs: 60_000 },
    timestampUnit: "ms",
    orderBy: "client",
    format: "edge",
    source: "/brokers/nanomq",
    template: undefined,
    rules: [{ event: "on_message_publish", topicFilters: [] }],
  };
}

function owed(number: number): BrokerChange {
  return {
    type: "delivery-owed",
    durability: "strict",
    delivery: {
      deliveryId: `evt_${number}`,
      endpoint: "default",
      event: "on_message_publish",
      orderKey: "pump",
      body: Buffer.from(`{"n":${number}}`),
      acceptedAt: Date.now(),
      expiresAt: undefined,
      head: "",
    },
  };
}

const opened = (clientId: string): BrokerChange => ({
  type: "session-opened",
  clientId,
  userName: undefined,
  expirySeconds: 60,
});

const subscribed = (clientId: string): BrokerChange => ({
  type: "subscribed",
  clientId,
  subscription: {
    topicFilter: "t",
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionIdentifier: undefined,
  },
});

function commit(changes: readonly BrokerChange[]): Promise<void> {
  return new Promise((resolve, reject) => {
    link.commit(changes, (error) => (error === undefined ? resolve() : reject(error)));
  });
}

test("batches are committed over there and answered in order, each once", async () => {
  const done: number[] = [];
  const all = Array.from({ length: 500 }, (_, i) => i);
  await Promise.all(all.map((i) => commit([opened(`client-${i}`)]).then(() => done.push(i))));
  expect(done).toEqual(all);
  const state = await storedState(link);
  expect(state.sessions.map(({ clientId }) => clientId)).toEqual(all.map((i) => `client-${i}`));
});

test("messages come back with their bytes", async () => {
  const payload = Buffer.from([0, 1, 255]);
  await commit([
    {
      type: "message-kept",
      messageId: 7,
      message: {
        topicName: "t",
        payload,
        qos: 1,
        retain: true,
        properties: Buffer.alloc(0),
        acceptedAt: 5,
        expiresAt: undefined,
        publisherClientId: "pump",
        publisherUserName: undefined,
      },
    },
    { type: "retained", topicName: "t", messageId: 7 },
  ]);
  const { messages, retained } = await storedState(link);
  expect(retained).toEqual(new Map([["t", 7]]));
  expect([...messages.get(7)!.payload]).toEqual([0, 1, 255]);
});

test("deliveries are sent in order from over there, and counted", async () => {
  await commit([owed(1), owed(2)]);
  await commit([owed(3)]);
  await expect.poll(() => bodies).toEqual(['{"n":1}', '{"n":2}', '{"n":3}']);
  await expect.poll(async () => (await link.figures())[0]).toMatchObject({ accepted: 3, delivered: 3, queued: 0 });
});

test("a receiver that fails everything leaves the store at work; what is said of it reaches the log here", async () => {
  status = 400;
  await commit([owed(1)]);
  await expect.poll(() => log.lines.length).toBeGreaterThan(0);
  expect(log.lines[0]).toMatchObject({ level: "warn", facts: { endpoint: "default" } });
  await commit([opened("a")]);
  expect((await storedState(link)).sessions).toHaveLength(1);
  expect(failures).toBe(0);
});

test("stopping the deliveries sends what can be sent first", async () => {
  const committed = commit([owed(1), owed(2)]);
  await link.stopDeliveries(5000);
  await committed;
  expect(bodies).toEqual(['{"n":1}', '{"n":2}']);
});

test("what was handed in before close is done at its end; afterwards everything is refused", async () => {
  let done = false;
  link.commit([opened("a")], () => {
    done = true;
  });
  await link.close();
  expect(done).toBe(true);
  await expect(commit([opened("b")])).rejects.toThrow(StoreUnavailable);
  await expect(storedState(link)).rejects.toThrow(StoreUnavailable);
  await link.close();
  expect(failures).toBe(0);
});

test("a bug over there fails everything that waits, is logged in one line, and is reported once", async () => {
  // No message 1 was kept: the engine's assertion does not hold.
  const broken = commit([opened("a"), { type: "retained", topicName: "t", messageId: 1 }]);
  const behind = commit([opened("b")]);
  await expect(broken).rejects.toThrow(StoreUnavailable);
  await expect(behind).rejects.toThrow(StoreUnavailable);
  await expect(link.figures()).rejects.toThrow(StoreUnavailable);
  expect(failures).toBe(1);
  expect(log.lines).toHaveLength(1);
  const [{ level, message, facts }] = log.lines;
  expect([level, message]).toEqual(["error", "the thread of the store and the webhooks has failed: HookMQ ends"]);
  expect(String(facts?.error)).toContain("message 1 is kept before it is named");
});

describe("on a disk that is gone", () => {
  let root: string;
  let directory: string;
  /** Made by the thread over there each time that a commit was answered, for better or worse. */
  let answered: string;
  let disk: BackLink;

  beforeEach(() => {
    root = mkdtempSync(path.join(tmpdir(), "hookmq-back-link-"));
    directory = path.join(root, "data");
    answered = path.join(root, "answered");
    outcomes = [];
    const file = path.join(root, "back.mjs");
    writeFileSync(
      file,
      `import { writeFileSync } from "node:fs";
       import { parentPort, workerData } from "node:worker_threads";
       import { serve } from ${JSON.stringify(new URL("./back.ts", import.meta.url).href)};
       serve(parentPort, workerData, (moment) => {
         if (moment === "told") writeFileSync(${JSON.stringify(answered)}, "");
       });`,
    );
    disk = new BackLink({
      store: { engine: "disk", directory, sync: "none" },
      webhook: { endpoints: [] },
      version: "1.2.3",
      log,
      failed: () => failures++,
      file: pathToFileURL(file),
    });
  });
  afterEach(async () => {
    await disk.close();
    rmSync(root, { recursive: true });
  });

  let outcomes: string[];
  function hand(name: string, changes: readonly BrokerChange[]): Promise<void> {
    return new Promise((resolve) =>
      disk.commit(changes, (error) => {
        outcomes.push(`${name}: ${error === undefined ? "taken" : (error.cause as Error).message.split(":")[0]}`);
        resolve();
      }),
    );
  }

  /** Without a turn of our own loop: nothing is heard of it here meanwhile. */
  function blockUntilAnswered(): void {
    const nothing = new Int32Array(new SharedArrayBuffer(4));
    for (const deadline = Date.now() + 10_000; !existsSync(answered); ) {
      if (Date.now() > deadline) throw new Error("nothing was answered over there");
      Atomics.wait(nothing, 0, 0, 1);
    }
    rmSync(answered);
  }

  const ended = (clientId: string): BrokerChange => ({ type: "session-ended", clientId });

  test("what was sent before the refusal was heard of is refused in order, though it takes no room; later it is not", async () => {
    await hand("a opens", [opened("a")]);
    blockUntilAnswered();
    rmSync(directory, { recursive: true });

    const first = hand("a subscribes", [subscribed("a")]);
    // Refused over there, and all in one go here: the fence alone can hold up what follows.
    blockUntilAnswered();
    await Promise.all([first, hand("b ends", [ended("b")]), hand("a ends", [ended("a")])]);
    expect(outcomes).toEqual(["a opens: taken", "a subscribes: ENOENT", "b ends: ENOENT", "a ends: ENOENT"]);

    await hand("d opens", [opened("d")]);
    await hand("d subscribes", [subscribed("d")]);
    mkdirSync(directory);
    await hand("d subscribes", [subscribed("d")]);
    expect(outcomes.slice(4)).toEqual(["d opens: taken", "d subscribes: ENOENT", "d subscribes: taken"]);
    const { sessions } = await storedState(disk);
    expect(sessions.map(({ clientId, subscriptions }) => [clientId, subscriptions.length])).toEqual([
      ["a", 0],
      ["d", 1],
    ]);
    expect(failures).toBe(0);
  });
});
