import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createPlainServer } from "node:http";
import { createServer, type Server } from "node:https";
import { type AddressInfo, connect as connectTo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TLSSocket, TlsOptions as ServerOptions } from "node:tls";
import { afterEach, describe, test } from "vitest";
import type { Clock } from "../base/clock.ts";
import { systemClock } from "../base/clock.ts";
import { silentLogger } from "../base/log.ts";
import { createSender, type Sender } from "./attempt.ts";
import type { TlsOptions } from "./certificates.ts";
import { due, start } from "./delivery.ts";
import type { Resolve } from "./egress.ts";
import { endpointOptions, owedDelivery } from "./fake-endpoint.ts";
import { certificateCheckMs } from "./limits.ts";
import { plainRequest } from "./options.ts";
import type { Outcome } from "./outcome.ts";

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

const fixture = (name: string) => path.join(import.meta.dirname, "../../test/support/certificates", name);
const pair = (name: string) => ({
  cert: readFileSync(fixture(`${name}.pem`)),
  key: readFileSync(fixture(`${name}.key`)),
});
const authority = { authorityFile: fixture("authority.pem") };
const client = { certificateFile: fixture("client.pem"), keyFile: fixture("client.key") };

/** Answers with the name in the certificate that the client showed. */
async function receiver(options: ServerOptions): Promise<{ port: number; server: Server; connections: TLSSocket[] }> {
  const connections: TLSSocket[] = [];
  const server = createServer(options, (request, response) => {
    const { subject } = (request.socket as TLSSocket).getPeerCertificate();
    request.resume();
    response.end(
      `met ${subject?.CN ?? "nobody"} for ${(request.socket as TLSSocket & { servername: string }).servername}`,
    );
  });
  server.on("secureConnection", (socket) => connections.push(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, server, connections };
}

/** Every name is here. */
const resolve: Resolve = (_hostname, resolved) => resolved(null, [{ address: "127.0.0.1", family: 4 }]);

function senderTo(port: number, tls: Partial<TlsOptions>, { host = "hooks.test", clock = systemClock } = {}): Sender {
  const request = { ...plainRequest, tls: { ...plainRequest.tls, ...tls } };
  const options = endpointOptions({ url: `https://${host}:${port}/`, attemptTimeoutMs: 2_000, request });
  const sender = createSender(options, { clock, version: "1.2.3", log: silentLogger, resolve });
  opened.push(() => sender.close());
  return sender;
}

function attempt(sender: Sender): Promise<{ outcome: Outcome; excerpt: string }> {
  const owed = owedDelivery({ deliveryId: "evt_1" });
  const attempting = start(due({ position: 1, owed, attempts: 0, failures: 0, dueAt: undefined }), 1_700_000_000_000);
  return new Promise((resolve) => {
    sender.send(attempting, (outcome, { excerpt }) => resolve({ outcome, excerpt }));
  });
}

const fault = { kind: "endpoint", reason: "tls", retryAfterMs: 0 };

describe("a receiver with a certificate", () => {
  for (const [title, certificate, tls, expected] of [
    ["of the private authority is met", "server", authority, "accepted"],
    ["of an authority nobody told us of is not", "server", {}, "tls"],
    ["of another authority is not", "other-server", authority, "tls"],
    ["that has expired is not", "expired", authority, "tls"],
    ["for another name is not", "wrong-name", authority, "tls"],
    [
      "for another name is met when that name is asked for",
      "wrong-name",
      { ...authority, serverName: "other.test" },
      "accepted",
    ],
    ["made by itself is not", "self-signed", authority, "tls"],
    [
      "made by itself is met when it is the authority",
      "self-signed",
      { authorityFile: fixture("self-signed.pem") },
      "accepted",
    ],
    ["of whatever kind is met when nobody looks", "expired", { verifiesPeer: false }, "accepted"],
  ] as const) {
    test(title, async () => {
      const { port } = await receiver(pair(certificate));
      const sender = senderTo(port, tls);
      for (let i = 0; i < 2; i++) {
        const { outcome } = await attempt(sender);
        if (expected === "accepted") assert.equal(outcome.kind, "accepted", JSON.stringify(outcome));
        else assert.deepEqual(outcome, fault);
      }
    });
  }

  test("is asked for by the name in the URL, by another where one is configured, by none for an address", async () => {
    const { port } = await receiver(pair("server"));
    assert.equal((await attempt(senderTo(port, authority))).excerpt, "met nobody for hooks.test");
    assert.equal((await attempt(senderTo(port, authority, { host: "127.0.0.1" }))).excerpt, "met nobody for false");
    const named = { ...authority, serverName: "hooks.test" };
    assert.equal(
      (await attempt(senderTo(port, named, { host: "elsewhere.test" }))).excerpt,
      "met nobody for hooks.test",
    );
  });
});

describe("a receiver that asks for our certificate", () => {
  const asks = {
    ...pair("server"),
    requestCert: true,
    rejectUnauthorized: true,
    ca: readFileSync(fixture("authority.pem")),
  };

  test("is shown it", async () => {
    const { port } = await receiver(asks);
    assert.equal((await attempt(senderTo(port, { ...authority, ...client }))).excerpt, "met client for hooks.test");
    const locked = { ...client, keyFile: fixture("client-locked.key"), keyPassword: "open-sesame" };
    assert.equal((await attempt(senderTo(port, { ...authority, ...locked }))).excerpt, "met client for hooks.test");
  });

  test("is not met without one, or with one of another authority", async () => {
    const { port } = await receiver(asks);
    const other = { certificateFile: fixture("other-client.pem"), keyFile: fixture("other-client.key") };
    for (const tls of [authority, { ...authority, ...other }]) {
      const { outcome } = await attempt(senderTo(port, tls));
      // TLS 1.3: the client is done before the server has refused it.
      assert.ok(outcome.kind === "endpoint" && ["tls", "reset"].includes(outcome.reason), JSON.stringify(outcome));
    }
  });
});

describe("a proxy", () => {
  const requests: string[] = [];

  /** Tunnels what it is asked to, wherever that is; asked for http, it answers itself. */
  async function proxyServer(status = 200): Promise<string> {
    requests.length = 0;
    const proxy = createPlainServer((request, response) => {
      requests.push(
        `${request.method} ${request.url} ${request.headers.host} ${request.headers["proxy-authorization"]}`,
      );
      request.resume();
      response.writeHead(status).end("by proxy");
    });
    proxy.on("connect", (request, socket) => {
      requests.push(`CONNECT ${request.url} ${request.headers["proxy-authorization"]}`);
      if (status !== 200) return socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      const upstream = connectTo({ port: Number(request.url!.split(":")[1]), host: "127.0.0.1" });
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.pipe(upstream).pipe(socket);
      for (const end of [socket, upstream]) end.on("error", () => {});
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    opened.push(() => {
      proxy.closeAllConnections();
      return new Promise((resolve) => proxy.close(resolve));
    });
    return `http://us%40er:hunter2@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  }

  const basic = `Basic ${Buffer.from("us@er:hunter2").toString("base64")}`;

  function senderThrough(proxy: string, url: string, tls: Partial<TlsOptions> = authority): Sender {
    const request = { ...plainRequest, tls: { ...plainRequest.tls, ...tls }, proxy };
    const options = endpointOptions({ url, attemptTimeoutMs: 2_000, request });
    const sender = createSender(options, { clock: systemClock, version: "1", log: silentLogger, resolve });
    opened.push(() => sender.close());
    return sender;
  }

  test("tunnels https, and the receiver is met as without it, over a kept connection", async () => {
    const proxy = await proxyServer();
    const { port } = await receiver(pair("server"));
    const sender = senderThrough(proxy, `https://hooks.test:${port}/`);
    for (let i = 0; i < 3; i++) assert.equal((await attempt(sender)).excerpt, "met nobody for hooks.test");
    assert.deepEqual(requests, [`CONNECT hooks.test:${port} ${basic}`]);
    const { port: wrong } = await receiver(pair("wrong-name"));
    assert.deepEqual((await attempt(senderThrough(proxy, `https://hooks.test:${wrong}/`))).outcome, fault);
  });

  test("is asked for http with the whole URL", async () => {
    const sender = senderThrough(await proxyServer(), "http://hooks.test:81/a?b=c");
    assert.equal((await attempt(sender)).excerpt, "by proxy");
    assert.deepEqual(requests, [`POST http://hooks.test:81/a?b=c hooks.test:81 ${basic}`]);
  });

  test("is given the host that is configured, once", async () => {
    const request = { ...plainRequest, proxy: await proxyServer() };
    const headers = [["Host", "inner.test"]] as const;
    const options = endpointOptions({ url: "http://hooks.test/", attemptTimeoutMs: 2_000, headers, request });
    const sender = createSender(options, { clock: systemClock, version: "1", log: silentLogger, resolve });
    opened.push(() => sender.close());
    assert.equal((await attempt(sender)).excerpt, "by proxy");
    assert.deepEqual(requests, [`POST http://hooks.test/ inner.test ${basic}`]);
  });

  for (const [status, outcome] of [
    [407, { kind: "auth", reason: "proxy_status_407", retryAfterMs: 0 }],
    [502, { kind: "endpoint", reason: "proxy", retryAfterMs: 0 }],
  ] as const) {
    test(`that answers CONNECT with ${status} is ${outcome.kind}`, async () => {
      const sender = senderThrough(await proxyServer(status), "https://hooks.test/");
      for (let i = 0; i < 2; i++) assert.deepEqual((await attempt(sender)).outcome, outcome);
    });
  }

  test("that hangs costs no more than the attempt's time", async () => {
    const silent = createPlainServer();
    const ended = Promise.withResolvers<void>();
    silent.on("connect", (_request, socket) => {
      socket.on("error", () => {}).on("close", () => ended.resolve());
      socket.on("end", () => socket.destroy()).resume();
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    opened.push(() => {
      silent.closeAllConnections();
      return new Promise((resolve) => silent.close(resolve));
    });
    const proxy = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const request = { ...plainRequest, proxy };
    const options = endpointOptions({ url: "https://h.test", attemptTimeoutMs: 150, connectTimeoutMs: 300, request });
    const sender = createSender(options, { clock: systemClock, version: "1", log: silentLogger, resolve });
    opened.push(() => sender.close());
    assert.deepEqual((await attempt(sender)).outcome, { kind: "endpoint", reason: "timeout", retryAfterMs: 0 });
    await ended.promise;
  });

  test("does not lead to an address that egress refuses", async () => {
    const sender = senderThrough(await proxyServer(), "https://169.254.169.254/");
    const { outcome } = await attempt(sender);
    assert.ok(outcome.kind === "rejected" && outcome.reason === "blocked");
    const nowhere = senderThrough("http://169.254.169.254:3128", "https://hooks.test/");
    const { outcome: refused } = await attempt(nowhere);
    assert.ok(refused.kind === "rejected" && refused.reason === "blocked");
    assert.deepEqual(requests, []);
  });
});

describe("when the files change", () => {
  function clockAhead(): { clock: Clock; pass(ms: number): void } {
    let aheadMs = 0;
    return {
      clock: { ...systemClock, monotonic: () => systemClock.monotonic() + aheadMs },
      pass: (ms) => {
        aheadMs += ms;
      },
    };
  }

  test("connections are made anew with them, and what was under way ends as it began", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "hookmq-tls-"));
    opened.push(async () => rmSync(folder, { recursive: true }));
    const authorityFile = path.join(folder, "ca.pem");
    copyFileSync(fixture("authority.pem"), authorityFile);
    const { port, server, connections } = await receiver(pair("server"));
    const { clock, pass } = clockAhead();
    const sender = senderTo(port, { authorityFile }, { clock });
    assert.equal((await attempt(sender)).outcome.kind, "accepted");
    assert.equal((await attempt(sender)).outcome.kind, "accepted");
    assert.equal(connections.length, 1);

    copyFileSync(fixture("other-authority.pem"), authorityFile);
    pass(certificateCheckMs);
    assert.deepEqual((await attempt(sender)).outcome, fault);
    server.setSecureContext(pair("other-server"));
    assert.equal((await attempt(sender)).outcome.kind, "accepted");
    const [first] = connections;
    if (!first!.destroyed) await once(first!, "close");
  });

  test("to nothing usable, the last good ones stay", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "hookmq-tls-"));
    opened.push(async () => rmSync(folder, { recursive: true }));
    const authorityFile = path.join(folder, "ca.pem");
    copyFileSync(fixture("authority.pem"), authorityFile);
    const { port } = await receiver(pair("server"));
    const { clock, pass } = clockAhead();
    const sender = senderTo(port, { authorityFile }, { clock });
    rmSync(authorityFile);
    pass(certificateCheckMs);
    assert.equal((await attempt(sender)).outcome.kind, "accepted");
  });

  test("and were never usable, nothing is sent without them", async () => {
    const { port, connections } = await receiver(pair("server"));
    const sender = senderTo(port, { authorityFile: "/no/such.pem", verifiesPeer: false });
    assert.deepEqual((await attempt(sender)).outcome, fault);
    assert.equal(connections.length, 0);
  });
});
