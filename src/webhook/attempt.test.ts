import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import * as net from "node:net";
import { gunzipSync } from "node:zlib";
import { Worker } from "node:worker_threads";
import { afterEach, describe, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { silentLogger } from "../base/log.ts";
import type { Sender } from "./attempt.ts";
import { createSender } from "./attempt.ts";
import type { Attempting } from "./delivery.ts";
import { due, start } from "./delivery.ts";
import { writeEventHead } from "./event-head.ts";
import { endpointOptions, owedDelivery } from "./fake-endpoint.ts";
import { answerBytesMax, answerExcerptBytesMax } from "./limits.ts";
import { type EndpointOptions, plainRequest } from "./options.ts";
import type { AttemptFacts, Outcome } from "./outcome.ts";

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** An HTTP server on a free port. */
async function serve(listener: RequestListener) {
  const server = createServer(listener);
  const connections = await listen(server);
  return { url: urlOf(server), connections };
}

/** A server that speaks bytes: `speak` is called for each chunk of each connection. */
async function serveBytes(speak: (socket: net.Socket, chunk: string) => void) {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => speak(socket, chunk.toString("latin1")));
  });
  const connections = await listen(server);
  return { url: urlOf(server), connections };
}

/** What was connected, and is closed with the server at the test's end. */
async function listen(server: net.Server) {
  const connections: net.Socket[] = [];
  server.on("connection", (socket) => connections.push(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(() => {
    for (const socket of connections) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return connections;
}

function urlOf(server: net.Server): string {
  const { port } = server.address() as net.AddressInfo;
  return `http://127.0.0.1:${port}`;
}

function senderFor(url: string, options: Partial<EndpointOptions> = {}): Sender {
  const endpoint = endpointOptions({ url, attemptTimeoutMs: 2_000, ...options });
  const sender = createSender(endpoint, { clock: systemClock, version: "1.2.3", log: silentLogger });
  opened.push(() => sender.close());
  return sender;
}

function delivery(body: string | Uint8Array = '{"a":1}', deliveryId = "evt_1"): Attempting {
  const owed = owedDelivery({ deliveryId, body: Buffer.from(body) });
  const stored = { position: 1, owed, attempts: 0, failures: 0, dueAt: undefined };
  return start(due(stored), 1_700_000_000_999);
}

const attempt = (sender: Sender, what = delivery()): Promise<Outcome> =>
  new Promise((resolve) => sender.send(what, resolve));

const factsOf = (sender: Sender, what = delivery()): Promise<AttemptFacts> =>
  new Promise((resolve) => sender.send(what, (_outcome, facts) => resolve(facts)));

const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

describe("the request", () => {
  async function requested(path: string, options: Partial<EndpointOptions> = {}, credentials = "", head = "") {
    let seen: { line: string; headers: IncomingHttpHeaders; rawHeaders: string[]; body: string } | undefined;
    const { url } = await serve(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const { method, url: target, httpVersion, headers, rawHeaders } = request;
      seen = { line: `${method} ${target} HTTP/${httpVersion}`, headers, rawHeaders, body };
      response.end("ok");
    });
    const sender = senderFor(url.replace("//", `//${credentials}`) + path, options);
    const what = delivery("grün");
    assert.deepEqual(await attempt(sender, { ...what, owed: { ...what.owed, head } }), { kind: "accepted" });
    return seen!;
  }

  test("is a POST of the body to the URL's path and query", async () => {
    const { line, body, headers } = await requested("/hook?x=1");
    assert.equal(line, "POST /hook?x=1 HTTP/1.1");
    assert.equal(body, "grün");
    assert.equal(headers["content-length"], "5");
    assert.equal(headers.connection, "keep-alive");
  });

  test("goes to / when the URL has no path", async () => {
    assert.equal((await requested("")).line, "POST / HTTP/1.1");
    assert.equal((await requested("?a=b")).line, "POST /?a=b HTTP/1.1");
  });

  test("says who sends, what, when and the how manieth time", async () => {
    const { headers } = await requested("");
    assert.equal(headers["content-type"], "application/json");
    assert.equal(headers["user-agent"], "hookmq/1.2.3");
    assert.equal(headers["webhook-id"], "evt_1");
    assert.equal(headers["webhook-timestamp"], "1700000000");
    assert.equal(headers["x-webhook-attempt"], "1");
  });

  test("carries the configured headers in the order of the file, names as typed, before ours", async () => {
    const configured = [
      ["X-Tok", "abc"],
      ["Content-Type", "text/plain"],
      ["a-second", "b c"],
      ["Content-Length", "1"],
      ["Webhook-Id", "theirs"],
    ] as const;
    const { rawHeaders, headers } = await requested("", { headers: configured });
    const names = rawHeaders.filter((_, index) => index % 2 === 0);
    assert.deepEqual(names.slice(names.indexOf("X-Tok"), names.indexOf("user-agent") + 1), [
      "X-Tok",
      "Content-Type",
      "a-second",
      "user-agent",
    ]);
    assert.equal(headers["content-type"], "text/plain");
    assert.equal(headers["webhook-id"], "evt_1");
    assert.equal(headers["content-length"], "5");
  });

  test("turns credentials in the URL into Basic authorization, unless one is configured", async () => {
    const basic = `Basic ${Buffer.from("us er:p@ss").toString("base64")}`;
    assert.equal((await requested("", {}, "us%20er:p%40ss@")).headers.authorization, basic);
    const headers = [["Authorization", "Bearer x"]] as const;
    assert.equal((await requested("", { headers }, "us:pass@")).headers.authorization, "Bearer x");
  });

  test("is signed with each secret, over what is sent", async () => {
    const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const request = { ...plainRequest, secrets: ["not so plain a secret", secret] };
    const headers = [["Webhook-Signature", "v1,theirs"]] as const;
    const { headers: sent, body } = await requested("", { request, headers });
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    const hmac = (with_: string | Buffer) =>
      createHmac("sha256", with_).update(`evt_1.${sent["webhook-timestamp"]}.${body}`).digest("base64");
    assert.equal(sent["webhook-signature"], `v1,${hmac("not so plain a secret")} v1,${hmac(key)}`);
    assert.equal((await requested("")).headers["webhook-signature"], undefined);
  });

  test("carries the credentials that are configured, and no others", async () => {
    const headers = [["Authorization", "Bearer x"]] as const;
    for (const [auth, expected] of [
      [{ kind: "basic", username: "ann", password: "p:ss" }, `Basic ${Buffer.from("ann:p:ss").toString("base64")}`],
      [{ kind: "bearer", token: "abc" }, "Bearer abc"],
    ] as const) {
      const request = { ...plainRequest, auth };
      assert.equal((await requested("", { headers, request }, "us:pass@")).headers.authorization, expected);
    }
  });

  test("is compressed when it is large, and signed as it was before", async () => {
    const secret = "not so plain a secret";
    let seen: { headers: IncomingHttpHeaders; body: Buffer } | undefined;
    const { url } = await serve(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      seen = { headers: request.headers, body: Buffer.concat(chunks) };
      response.end("ok");
    });
    const sender = senderFor(url, { request: { ...plainRequest, secrets: [secret], compression: "gzip" } });
    const text = "grün ".repeat(1_000);
    assert.deepEqual(await attempt(sender, delivery(text)), { kind: "accepted" });
    const { headers, body } = seen!;
    assert.equal(headers["content-encoding"], "gzip");
    assert.equal(headers["content-length"], `${body.length}`);
    assert.equal(gunzipSync(body).toString(), text);
    const signed = `evt_1.${headers["webhook-timestamp"]}.${text}`;
    assert.equal(headers["webhook-signature"], `v1,${createHmac("sha256", secret).update(signed).digest("base64")}`);
    assert.deepEqual(await attempt(sender, delivery("small")), { kind: "accepted" });
    assert.equal(seen!.headers["content-encoding"], undefined);
    assert.equal(seen!.body.toString(), "small");
  });

  test("has what its event puts in place of the endpoint's headers and address", async () => {
    const headers = [
      ["X-Tok", "abc"],
      ["x-own", "configured"],
    ] as const;
    const own = writeEventHead({
      contentType: "text/plain",
      headers: [
        ["X-Own", "of the event"],
        ["ce-id", "1"],
      ],
      path: "/in/a?b=1",
    });
    const plain = await requested("/hook?x=1", { headers }, "", own);
    assert.equal(plain.line, "POST /in/a?b=1 HTTP/1.1");
    assert.equal(plain.headers["content-type"], "text/plain");
    assert.deepEqual(
      [plain.headers["x-tok"], plain.headers["x-own"], plain.headers["ce-id"]],
      ["abc", "of the event", "1"],
    );
    assert.equal(plain.headers["webhook-id"], "evt_1");

    const configured = [["content-type", "application/x-mine"]] as const;
    assert.equal((await requested("", { headers: configured }, "", own)).headers["content-type"], "application/x-mine");
    const insisting = writeEventHead({ headers: [["content-type", "text/csv"]] });
    assert.equal((await requested("", { headers: configured }, "", insisting)).headers["content-type"], "text/csv");
  });

  test("is refused for a header that would break out of its line", () => {
    const headers = [["x", "a\r\nevil: 1"]] as const;
    assert.throws(() => senderFor("http://127.0.0.1:1", { headers }), /let through the header x/);
  });
});

describe("what is remembered of an attempt", () => {
  test("is its status, how long it took and the beginning of the answer, whatever the status", async () => {
    const { url } = await serve((request, response) => {
      request.resume();
      setTimeout(() => response.writeHead(request.url === "/no" ? 422 : 202).end("wörd ".repeat(1_000)), 30);
    });
    for (const [path, status] of [
      ["/yes", 202],
      ["/no", 422],
    ] as const) {
      const facts = await factsOf(senderFor(url + path));
      assert.equal(facts.status, status);
      assert.ok(facts.durationMs >= 25 && facts.durationMs < 2_000, `${facts.durationMs} ms`);
      assert.ok(facts.excerpt.startsWith("wörd wörd ") && facts.excerpt.length <= answerExcerptBytesMax);
    }
  });

  test("is no status where there was no answer", async () => {
    const { url } = await serveBytes((socket) => socket.resetAndDestroy());
    const { status, excerpt } = await factsOf(senderFor(url));
    assert.deepEqual({ status, excerpt }, { status: undefined, excerpt: "" });
  });
});

describe("connections", () => {
  test("one is used again and again after small answers", async () => {
    const { url, connections } = await serve((request, response) => {
      request.resume();
      response.end("ok");
    });
    const sender = senderFor(url);
    for (let i = 0; i < 20; i++) assert.equal((await attempt(sender)).kind, "accepted");
    assert.equal(connections.length, 1);
  });

  test("an answer that is not a success leaves its connection usable", async () => {
    const { url, connections } = await serve((request, response) => {
      request.resume();
      response.writeHead(500).end("x".repeat(5_000));
    });
    const sender = senderFor(url);
    for (let i = 0; i < 3; i++) assert.equal((await attempt(sender)).kind, "retry");
    assert.equal(connections.length, 1);
  });

  test("never more than the pool, all used side by side", async () => {
    const { url, connections } = await serve((request, response) => {
      request.resume();
      if (connections.length === 4) for (const finish of waiting.splice(0)) finish();
      if (connections.length === 4) response.end("ok");
      else waiting.push(() => response.end("ok"));
    });
    const waiting: (() => void)[] = [];
    const sender = senderFor(url, { poolSize: 4 });
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => attempt(sender)));
    assert.deepEqual(new Set(outcomes.map(({ kind }) => kind)), new Set(["accepted"]));
    assert.equal(connections.length, 4);
    assert.equal((await attempt(sender)).kind, "accepted");
    assert.equal(connections.length, 4);
  });

  test("one that the peer closed after serving, without a byte of answer, is nobody's fault, once", async () => {
    const { url } = await serveBytes((socket) => {
      // Each connection answers its first request and hangs up on the second.
      if (served.has(socket)) socket.destroy();
      else socket.write(ok);
      served.add(socket);
    });
    const served = new Set<net.Socket>();
    const sender = senderFor(url);
    assert.equal((await attempt(sender)).kind, "accepted");
    assert.deepEqual(await attempt(sender), { kind: "unanswered" });
    assert.equal((await attempt(sender)).kind, "accepted");
    const resent = { ...delivery(), resent: true };
    assert.equal((await attempt(sender, resent)).kind, "endpoint");
  });

  test("a close takes back what is under way", async () => {
    const { url, connections } = await serveBytes(() => received.resolve());
    const received = Promise.withResolvers<void>();
    const sender = senderFor(url);
    const outcome = attempt(sender);
    await received.promise;
    await sender.close();
    assert.deepEqual(await outcome, { kind: "cancelled" });
    await Promise.all(connections.map((socket) => new Promise((resolve) => socket.on("close", resolve).resume())));
  });
});

describe("a hostile receiver", () => {
  const endpointFault = (reason: string): Outcome => ({ kind: "endpoint", reason, retryAfterMs: 0 });

  test("that refuses the connection", async () => {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = urlOf(server);
    await new Promise((resolve) => server.close(resolve));
    const sender = senderFor(url);
    assert.deepEqual(await attempt(sender), endpointFault("refused"));
    // And so again: the connection is fit for the next attempt.
    assert.deepEqual(await attempt(sender), endpointFault("refused"));
  });

  test("at an address that egress refuses is not connected to, and the dead letter says so", async () => {
    const { url, connections } = await serve((_request, response) => response.end());
    const request = { ...plainRequest, egress: { mode: "public_only" } } as const;
    const sender = senderFor(url, { request });
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await attempt(sender), {
        kind: "rejected",
        reason: "blocked",
        detail: "egress = public_only does not let connect to 127.0.0.1",
        retryAfterMs: 0,
      });
    }
    assert.equal(connections.length, 0);
  });

  test("whose name does not exist", async () => {
    const outcome = await attempt(senderFor("http://no-such-host.invalid/"));
    assert.deepEqual(outcome, endpointFault("dns"));
  });

  test("that does not speak TLS", async () => {
    const { url } = await serveBytes((socket) => socket.end("not TLS at all"));
    const outcome = await attempt(senderFor(url.replace("http:", "https:")));
    assert.deepEqual(outcome, endpointFault("tls"));
  });

  for (const [title, expected, speak] of [
    ["hangs", endpointFault("timeout"), () => {}],
    ["resets", endpointFault("reset"), (socket) => socket.resetAndDestroy()],
    ["closes without an answer", endpointFault("reset"), (socket) => socket.end()],
    ["closes within the header", endpointFault("reset"), (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-le")],
    ["answers garbage", endpointFault("bad_answer"), (socket) => socket.write("\0\x01\x02 what?\r\n\r\n")],
    ["answers another protocol", endpointFault("bad_answer"), (socket) => socket.write("220 smtp ready\r\n")],
    ["answers HTTP/2 only", endpointFault("bad_answer"), (socket) => socket.write("HTTP/2 200 OK\r\n\r\n")],
    ["drips its header", endpointFault("timeout"), (socket) => drip(socket, "HTTP/1.1 200 OK\r\nx: ")],
    [
      "has an endless header",
      endpointFault("bad_answer"),
      (socket) => flood(socket, "HTTP/1.1 200 OK\r\nx: ", "x".repeat(1000)),
    ],
    [
      "has an endless number of headers",
      endpointFault("bad_answer"),
      (socket) => flood(socket, "HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(100)),
    ],
    [
      "sends interim answers without end",
      endpointFault("bad_answer"),
      (socket) => flood(socket, "", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(20)),
    ],
    ["continues what nobody asked", endpointFault("reset"), (socket) => socket.write("HTTP/1.1 100 Continue\r\n\r\n")],
    [
      "wants another protocol",
      endpointFault("reset"),
      (socket) => socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
    ],
    ["has two lengths", endpointFault("bad_answer"), (socket) => socket.write(`${twoLengths}ok`)],
    [
      "drips its body: the status counts",
      { kind: "accepted" },
      (socket) => drip(socket, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"),
    ],
    [
      "sends a body without end: the status counts",
      { kind: "accepted" },
      (socket) => flood(socket, "HTTP/1.1 200 OK\r\n\r\n", "x".repeat(10_000)),
    ],
    [
      "sends a gigabyte: the status counts",
      { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false },
      (socket) => flood(socket, "HTTP/1.1 500 No\r\ncontent-length: 1000000000\r\n\r\n", "x".repeat(10_000)),
    ],
    [
      "closes within its body: the status counts",
      { kind: "accepted" },
      (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok"),
    ],
    [
      "breaks its chunks: the status counts",
      { kind: "accepted" },
      (socket) => socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    ],
    ["sends more than it said", { kind: "accepted" }, (socket) => socket.write(`${ok} and more than that`)],
    ["answers twice", { kind: "accepted" }, (socket) => socket.write(ok + ok)],
    ["speaks HTTP/1.0", { kind: "accepted" }, (socket) => socket.end("HTTP/1.0 200 OK\r\n\r\nok")],
  ] satisfies [string, Outcome, (socket: net.Socket) => void][]) {
    test(`that ${title}`, async () => {
      const { url } = await serveBytes((socket) => speak(socket));
      // Only those that take all the time there is are given little.
      const sender = senderFor(url, { attemptTimeoutMs: /hangs|drips/.test(title) ? 200 : 10_000 });
      assert.deepEqual(await attempt(sender), expected);
      // The sender has taken no harm: the same again.
      assert.deepEqual(await attempt(sender), expected);
    });
  }

  const twoLengths = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n";

  /** A byte every few milliseconds, as long as the connection lasts. */
  function drip(socket: net.Socket, head: string): void {
    socket.write(head);
    const timer = setInterval(() => socket.write("x"), 5);
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

  test("that redirects in a circle is never followed", async () => {
    let requests = 0;
    const { url } = await serve((request, response) => {
      requests++;
      request.resume();
      response.writeHead(302, { location: "/again" }).end();
    });
    const outcome = await attempt(senderFor(url));
    assert.ok(outcome.kind === "rejected" && outcome.reason === "redirect");
    assert.equal(requests, 1);
  });

  test("that answers before it has read a large body", async () => {
    const { url } = await serveBytes((socket) => {
      socket.pause();
      socket.end("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    });
    const outcome = await attempt(senderFor(url), delivery(Buffer.alloc(1_000_000, "x")));
    assert.ok(outcome.kind === "rejected" && outcome.reason === "too_large", JSON.stringify(outcome));
  });

  test("that says a lot is heard in part", async () => {
    const { url } = await serve((request, response) => {
      request.resume();
      response.writeHead(422).end("no ".repeat(1000));
    });
    const outcome = await attempt(senderFor(url));
    assert.ok(outcome.kind === "rejected");
    assert.ok(outcome.detail.startsWith("status_422: no no no"));
    assert.ok(outcome.detail.length <= answerExcerptBytesMax + "status_422: ".length);
  });

  test("that says more than is read loses its connection, and nothing else", async () => {
    const { url, connections } = await serve((request, response) => {
      request.resume();
      response.end("x".repeat(answerBytesMax + 1));
    });
    const sender = senderFor(url);
    for (let i = 0; i < 3; i++) assert.equal((await attempt(sender)).kind, "accepted");
    assert.equal(connections.length, 3);
  });

  test("that asks to wait is heard", async () => {
    const { url } = await serve((request, response) => {
      request.resume();
      response.writeHead(503, { "retry-after": "7" }).end();
    });
    const outcome = await attempt(senderFor(url));
    assert.deepEqual(outcome, { kind: "endpoint", reason: "status_503", retryAfterMs: 7_000 });
  });

  test("that takes no connection costs no more than the attempt's time", async () => {
    // Its thread sleeps, so the kernel takes two connections for it and leaves the others in the handshake.
    const receiver = new Worker(
      `const server = require("node:net").createServer();
      server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
        require("node:worker_threads").parentPort.postMessage(server.address().port);
        setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
      });`,
      { eval: true },
    );
    opened.push(() => receiver.terminate());
    const port = await new Promise((resolve) => receiver.once("message", resolve));
    const sender = senderFor(`http://127.0.0.1:${port}`, { attemptTimeoutMs: 150, connectTimeoutMs: 60_000 });
    for (let round = 0; round < 2; round++) {
      const outcomes = await Promise.all([1, 2, 3, 4].map(() => attempt(sender)));
      assert.deepEqual(
        outcomes,
        [1, 2, 3, 4].map(() => endpointFault("timeout")),
      );
    }
  });
});
