/**
 * Whatever a receiver does, an attempt ends in its time as one outcome, nothing of it stays open, and nobody else is
 * disturbed. The receivers here speak bytes, so that they can be as wrong as they like.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as net from "node:net";
import path from "node:path";
import * as tls from "node:tls";
import { afterEach, describe, test } from "vitest";
import { Back } from "../../src/back.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { createSender, type Sender } from "../../src/webhook/attempt.ts";
import { due, start } from "../../src/webhook/delivery.ts";
import type { Resolve } from "../../src/webhook/egress.ts";
import { endpointOptions, owedDelivery } from "../../src/webhook/fake-endpoint.ts";
import { answerExcerptBytesMax } from "../../src/webhook/limits.ts";
import { type EndpointOptions, plainRequest } from "../../src/webhook/options.ts";
import { Outbox } from "../../src/webhook/outbox.ts";
import type { AttemptFacts, Outcome } from "../../src/webhook/outcome.ts";
import { startBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { until } from "../support/until.ts";

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** What a receiver does with the first bytes of each request. */
type Speak = (socket: net.Socket, request: string) => void;

interface Receiver {
  port: number;
  connections: net.Socket[];
}

async function listen(server: net.Server): Promise<Receiver> {
  const connections: net.Socket[] = [];
  server.on("connection", (socket) => {
    connections.push(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(() => {
    for (const socket of connections) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as net.AddressInfo).port, connections };
}

function receiver(speak: Speak): Promise<Receiver> {
  const server = net.createServer((socket) => socket.on("data", (chunk) => speak(socket, chunk.toString("latin1"))));
  return listen(server);
}

function senderTo(url: string, options: Partial<EndpointOptions> = {}, resolve?: Resolve): Sender {
  const endpoint = endpointOptions({ url, attemptTimeoutMs: 5_000, ...options });
  const sender = createSender(endpoint, { clock: systemClock, version: "1", log: silentLogger, resolve });
  opened.push(() => sender.close());
  return sender;
}

function attempt(sender: Sender): Promise<{ outcome: Outcome; facts: AttemptFacts }> {
  const owed = owedDelivery({ deliveryId: "evt_1" });
  const attempting = start(due({ position: 1, owed, attempts: 0, failures: 0, dueAt: undefined }), Date.now());
  return new Promise((resolve) => sender.send(attempting, (outcome, facts) => resolve({ outcome, facts })));
}

/** Twice, so that the sender is seen to have taken no harm; then nothing is left open. */
async function expectOutcome(
  { port, connections }: Receiver,
  expected: Outcome,
  options: Partial<EndpointOptions> = {},
  url = `http://127.0.0.1:${port}/`,
): Promise<void> {
  const sender = senderTo(url, options);
  for (let round = 0; round < 2; round++) {
    const { outcome, facts } = await attempt(sender);
    assert.deepEqual(outcome, expected);
    const patienceMs = options.attemptTimeoutMs ?? 5_000;
    assert.ok(facts.durationMs <= patienceMs + 500, `${facts.durationMs} ms`);
    assert.ok(facts.excerpt.length <= answerExcerptBytesMax);
  }
  await sender.close();
  await until(() => connections.every(({ destroyed }) => destroyed), "every connection is closed");
}

const fault = (reason: string, retryAfterMs = 0): Outcome => ({ kind: "endpoint", reason, retryAfterMs });
const accepted: Outcome = { kind: "accepted" };
const short = { attemptTimeoutMs: 300 };

function drip(socket: net.Socket, head: string): void {
  socket.write(head);
  const timer = setInterval(() => socket.write("x"), 40);
  socket.on("close", () => clearInterval(timer));
}

/** As much as is taken, as long as the connection lasts. */
function flood(socket: net.Socket, head: string, chunk: string): void {
  socket.write(head);
  const go = () => {
    while (!socket.destroyed && socket.write(chunk)) {}
  };
  socket.on("drain", go);
  go();
}

const misdeeds: readonly (readonly [title: string, Outcome, Speak, Partial<EndpointOptions>?])[] = [
  ["hangs", fault("timeout"), () => {}, short],
  ["resets", fault("reset"), (socket) => socket.resetAndDestroy()],
  [
    "resets after its header: the status counts",
    accepted,
    (socket) =>
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", () => setImmediate(() => socket.resetAndDestroy())),
  ],
  ["sends half a header", fault("reset"), (socket) => socket.end("HTTP/1.1 200 OK\r\nconte")],
  [
    "sends half a body: the status counts",
    accepted,
    (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nha"),
  ],
  ["drips its header", fault("timeout"), (socket) => drip(socket, "HTTP/1.1 200 OK\r\nx: "), short],
  [
    "drips its body: the status counts",
    accepted,
    (socket) => drip(socket, "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"),
    short,
  ],
  [
    "storms with 1xx",
    fault("bad_answer"),
    (socket) => flood(socket, "", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(9)),
  ],
  [
    "has a header of 1 MB",
    fault("bad_answer"),
    (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${"x".repeat(1_000_000)}\r\n\r\n`),
  ],
  ["has a body without end", accepted, (socket) => flood(socket, "HTTP/1.1 200 OK\r\n\r\n", "x".repeat(9_999))],
  ["says too small a length", accepted, (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nlong")],
  ["says too large a length", accepted, (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nlong")],
  [
    "says no number for a length",
    fault("bad_answer"),
    (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
  ],
  [
    "says two lengths",
    fault("bad_answer"),
    (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
  ],
  [
    "sends rubbish for chunks",
    accepted,
    (socket) => socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
  ],
  ["sends rubbish for a status", fault("bad_answer"), (socket) => socket.write("HTTP/1.1 two hundred\r\n\r\n")],
  [
    "answers 200 and closes",
    accepted,
    (socket) => socket.end("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
  ],
  ["answers twice", accepted, (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2))],
  [
    "redirects to itself",
    { kind: "rejected", reason: "redirect", detail: "status_307", retryAfterMs: 0 },
    (socket) => socket.write("HTTP/1.1 307 Again\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
  ],
];

describe("a receiver that", () => {
  for (const [title, outcome, speak, options] of misdeeds) {
    test(title, async () => expectOutcome(await receiver(speak), outcome, options));
  }

  test("is not there", async () => {
    const { port, connections } = await receiver(() => {});
    await opened.pop()!();
    await expectOutcome({ port, connections }, fault("refused"));
  });

  test("is never asked for where it redirects to", async () => {
    const elsewhere = await receiver(() => {});
    const from = await receiver((socket) => {
      socket.write(`HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:${elsewhere.port}/\r\ncontent-length: 0\r\n\r\n`);
    });
    await expectOutcome(from, { kind: "rejected", reason: "redirect", detail: "status_302", retryAfterMs: 0 });
    assert.equal(elsewhere.connections.length, 0);
  });
});

describe("TLS", () => {
  const fixture = (name: string) => path.join(import.meta.dirname, "../support/certificates", name);
  const trusting = {
    request: { ...plainRequest, tls: { ...plainRequest.tls, authorityFile: fixture("authority.pem") } },
  };
  for (const [certificate, outcome] of [
    ["server", accepted],
    ["expired", fault("tls")],
    ["wrong-name", fault("tls")],
    ["self-signed", fault("tls")],
    ["other-server", fault("tls")],
  ] as const) {
    test(`with the certificate "${certificate}"`, async () => {
      const keys = {
        cert: readFileSync(fixture(`${certificate}.pem`)),
        key: readFileSync(fixture(`${certificate}.key`)),
      };
      const server = tls.createServer(keys, (socket) => {
        socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        socket.on("error", () => {});
      });
      server.on("tlsClientError", () => {});
      const there = await listen(server);
      await expectOutcome(there, outcome, trusting, `https://127.0.0.1:${there.port}/`);
    });
  }

  for (const [title, speak, outcome, options] of [
    ["that is none", (socket) => socket.end("220 smtp.example ready\r\n"), fault("tls"), {}],
    ["whose handshake never ends", () => {}, fault("timeout"), short],
  ] satisfies [string, Speak, Outcome, Partial<EndpointOptions>][]) {
    test(title, async () => {
      const there = await receiver(speak);
      await expectOutcome(there, outcome, { ...options, connectTimeoutMs: 1_000 }, `https://127.0.0.1:${there.port}/`);
    });
  }
});

describe("a name that", () => {
  const answering = () =>
    receiver((socket) => socket.end("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"));

  test("turns to 169.254.169.254 is not followed there, and is met again when it turns back", async () => {
    const { port, connections } = await answering();
    const addresses = ["127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "127.0.0.1"];
    const resolve: Resolve = (_hostname, resolved) => {
      const address = addresses.shift()!;
      resolved(null, [{ address, family: net.isIP(address) }]);
    };
    const sender = senderTo(`http://flips.test:${port}/`, {}, resolve);
    const blocked = (address: string): Outcome => ({
      kind: "rejected",
      reason: "blocked",
      detail: `egress = guarded does not let connect to flips.test (${address})`,
      retryAfterMs: 0,
    });
    assert.deepEqual((await attempt(sender)).outcome, accepted);
    assert.deepEqual((await attempt(sender)).outcome, blocked("169.254.169.254"));
    assert.deepEqual((await attempt(sender)).outcome, blocked("::ffff:169.254.169.254"));
    assert.deepEqual((await attempt(sender)).outcome, accepted);
    assert.equal(connections.length, 2);
  });

  test("has a forbidden address beside a good one is met at the good one", async () => {
    const { port } = await answering();
    const found = ["169.254.169.254", "127.0.0.1"].map((address) => ({ address, family: 4 }));
    const sender = senderTo(`http://both.test:${port}/`, {}, (_hostname, resolved) => resolved(null, found));
    assert.deepEqual((await attempt(sender)).outcome, accepted);
  });

  for (const host of [
    "169.254.169.254",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
    "2852039166",
    "0xa9fea9fe",
    "[64:ff9b::a9fe:a9fe]",
  ]) {
    test(`is ${host} is refused as it stands`, async () => {
      const { outcome } = await attempt(senderTo(`http://${host}/latest/meta-data/`));
      assert.ok(outcome.kind === "rejected" && outcome.reason === "blocked", JSON.stringify(outcome));
    });
  }
});

/** By classes of the table in docs/webhooks.md. */
const statuses: readonly (readonly [number[], Outcome["kind"], reason?: string])[] = [
  [[200, 201, 202, 204, 207, 299], "accepted"],
  [[300, 301, 302, 303, 304, 307, 308], "rejected", "redirect"],
  [[401, 403, 407], "auth"],
  [[404, 408, 409, 421, 425, 429, 500, 506, 507, 511, 599], "retry"],
  [[400, 402, 405, 406, 415, 418, 422, 428, 431, 451, 501, 505], "rejected", "rejected"],
  [[410], "gone"],
  [[413], "rejected", "too_large"],
  [[502, 503, 504], "endpoint"],
  [[600, 999], "endpoint", "bad_answer"],
];

describe("the status", () => {
  for (const [all, kind, reason] of statuses) {
    test(`${all.join(", ")}: ${kind} ${reason ?? ""}`, async () => {
      const { port } = await receiver((socket, request) => {
        const [, status] = /^POST \/(\d+) /.exec(request) ?? [];
        const hasBody = status !== "204" && status !== "304";
        socket.write(`HTTP/1.1 ${status} X\r\n${hasBody ? "content-length: 4\r\n\r\nwhy?" : "\r\n"}`);
      });
      for (const status of all) {
        const { outcome, facts } = await attempt(senderTo(`http://127.0.0.1:${port}/${status}`));
        assert.equal(outcome.kind, kind, `${status}`);
        assert.equal(facts.status, status);
        assert.equal(facts.excerpt, [204, 304].includes(status) ? "" : "why?");
        if (reason !== undefined) assert.equal("reason" in outcome ? outcome.reason : "", reason);
      }
    });
  }
});

describe("Retry-After", () => {
  const hourMs = 3_600_000;
  const httpDate = (aheadMs: number) => new Date(Date.now() + aheadMs).toUTCString();
  for (const [title, value, leastMs, mostMs, isMalformed] of [
    ["in seconds", "7", 7_000, 7_000, false],
    ["as a date", httpDate(60_000), 30_000, 60_000, false],
    ["as a date that is over", httpDate(-60_000), 0, 0, false],
    ["that is huge", "999999999999999999999999", hourMs, hourMs, false],
    ["as a date far away", httpDate(1e11), hourMs, hourMs, false],
    ["that is negative", "-5", 0, 0, true],
    ["that is rubbish", "soon; please\tor later", 0, 0, true],
    ["that is empty", "", 0, 0, true],
    ["of many digits behind a point", "1.000000000000000000001", 0, 0, true],
  ] as const) {
    test(`${title} holds the endpoint from ${leastMs} to ${mostMs} ms`, async () => {
      const warnings: unknown[] = [];
      const { port } = await receiver((socket) => {
        socket.write(`HTTP/1.1 503 Busy\r\nretry-after: ${value}\r\ncontent-length: 0\r\n\r\n`);
      });
      const log = { ...silentLogger, warn: (message: string) => warnings.push(message) };
      const sender = createSender(endpointOptions({ url: `http://127.0.0.1:${port}` }), {
        clock: systemClock,
        version: "1",
        log,
      });
      opened.push(() => sender.close());
      const { outcome } = await attempt(sender);
      assert.ok(outcome.kind === "endpoint" && outcome.reason === "status_503");
      assert.ok(outcome.retryAfterMs >= leastMs && outcome.retryAfterMs <= mostMs, `${outcome.retryAfterMs} ms`);
      assert.equal(warnings.length, isMalformed ? 1 : 0);
    });
  }
});

test("with all of them at once MQTT goes on, a good receiver gets everything, and memory keeps its bound", async () => {
  const messages = 400;
  const received: string[] = [];
  const good = await receiver((socket, request) => {
    received.push(...(request.match(/(?<="payload":")m\d+/g) ?? []));
    socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  });
  const endpointTo = (name: string, { port }: Receiver): EndpointOptions =>
    endpointOptions({
      name,
      url: `http://127.0.0.1:${port}/`,
      attemptTimeoutMs: 2_000,
      durability: "disk",
      rules: [{ event: "on_message_publish", topicFilters: ["a/#"] }],
    });
  const endpoints = [endpointTo("good", good)];
  const bad: Receiver[] = [];
  for (const [title, , speak] of misdeeds) {
    const there = await receiver(speak);
    bad.push(there);
    endpoints.push(endpointTo(title.replaceAll(/\W+/g, "-"), there));
  }
  const back = new Back({
    engine: new MemoryStore(),
    webhook: { endpoints },
    clock: systemClock,
    random: Math.random,
    log: silentLogger,
    createSender: (endpoint) => createSender(endpoint, { clock: systemClock, version: "1", log: silentLogger }),
  });
  const outbox = new Outbox({ options: { endpoints }, clock: systemClock, random: Math.random });
  const broker = await startBroker({}, { store: back, taps: [outbox] });
  opened.push(async () => {
    await broker.close();
    await back.close();
  });
  const bytesBefore = process.memoryUsage().rss;
  const client = await TestClient.connect(broker.port);
  let slowestMs = 0;
  for (let i = 0; i < messages; i++) {
    const since = performance.now();
    await client.publish("a/b", `m${i}`, { qos: 1 });
    slowestMs = Math.max(slowestMs, performance.now() - since);
  }
  await until(() => received.length >= messages, "the good receiver has everything");
  assert.deepEqual(
    received,
    Array.from({ length: messages }, (_, i) => `m${i}`),
  );
  // All are in one thread here, floods and all: this is to see a PUBLISH that waits for a receiver, not a slow one.
  assert.ok(slowestMs < 1_500, `a PUBACK took ${slowestMs} ms`);
  const grownMb = (process.memoryUsage().rss - bytesBefore) / 1024 / 1024;
  assert.ok(grownMb < 200, `memory has grown by ${grownMb} MB`);
  for (const { endpoint, accepted, delivered, dead, dropped, expired, queued, inflight } of back.figures()) {
    assert.equal(accepted, messages, endpoint);
    assert.equal(delivered + dead + dropped + expired + queued + inflight, accepted, endpoint);
  }
  await client.disconnect();
  await back.close();
  await until(() => bad.every(({ connections }) => connections.every(({ destroyed }) => destroyed)), "all is closed");
});
