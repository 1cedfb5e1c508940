import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { silentLogger } from "../base/log.ts";
import { createSender, type Sender } from "./attempt.ts";
import { due, start } from "./delivery.ts";
import { endpointOptions, owedDelivery } from "./fake-endpoint.ts";
import { type OAuth2Options, plainRequest } from "./options.ts";
import type { AttemptFacts, Outcome } from "./outcome.ts";

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

type Answer = (request: IncomingMessage & { text: string }, response: ServerResponse) => void;

async function serve(answer: () => Answer): Promise<string> {
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    answer()(Object.assign(request, { text }), response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Gives out token-1, token-2, …; the receiver takes those in `good`. */
let tokensAsked: { text: string; authorization: string | undefined }[];
let giveToken: Answer;
let good: (authorization: string) => boolean;
let seen: string[];
let receiver: string;
let tokens: string;
let aheadMs: number;

beforeEach(async () => {
  tokensAsked = [];
  seen = [];
  aheadMs = 0;
  good = () => true;
  giveToken = (_request, response) => {
    response.end(
      JSON.stringify({ access_token: `token-${tokensAsked.length}`, token_type: "Bearer", expires_in: 100 }),
    );
  };
  receiver = await serve(() => (request, response) => {
    const authorization = request.headers.authorization ?? "none";
    seen.push(authorization);
    response.writeHead(good(authorization) ? 200 : 401).end("who are you?");
  });
  tokens = await serve(() => (request, response) => {
    tokensAsked.push({ text: request.text, authorization: request.headers.authorization });
    giveToken(request, response);
  });
});

function senderWith(oauth2: Partial<OAuth2Options> = {}, more: { attemptTimeoutMs?: number } = {}): Sender {
  const auth = {
    kind: "oauth2",
    tokenUrl: `${tokens}/token?x=1`,
    clientId: "me & co",
    clientSecret: "hunter2",
    scope: undefined,
    audience: undefined,
    sendsCredentials: "header",
    ...oauth2,
  } as const;
  const headers = [["Authorization", "Bearer configured"]] as const;
  const request = { ...plainRequest, auth };
  const options = endpointOptions({ url: receiver, headers, attemptTimeoutMs: 5_000, request, ...more });
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + aheadMs };
  const sender = createSender(options, { clock, version: "1", log: silentLogger });
  opened.push(() => sender.close());
  return sender;
}

function attempt(sender: Sender): Promise<{ outcome: Outcome; facts: AttemptFacts }> {
  const owed = owedDelivery({ deliveryId: "evt_1" });
  const attempting = start(due({ position: 1, owed, attempts: 0, failures: 0, dueAt: undefined }), 1_700_000_000_000);
  return new Promise((resolve) => sender.send(attempting, (outcome, facts) => resolve({ outcome, facts })));
}

const times = (count: number) => Array.from({ length: count }, (_, index) => index);

describe("a token", () => {
  test("is asked for once, whoever waits, and sent in place of a configured authorization", async () => {
    const sender = senderWith({ scope: "a b", audience: "https://h/" });
    const ends = await Promise.all(times(4).map(() => attempt(sender)));
    for (const { outcome } of ends) assert.deepEqual(outcome, { kind: "accepted" });
    assert.deepEqual(new Set(seen), new Set(["Bearer token-1"]));
    const [{ text, authorization }, ...more] = tokensAsked;
    assert.deepEqual(more, []);
    assert.equal(text, "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fh%2F");
    assert.equal(authorization, `Basic ${Buffer.from("me+%26+co:hunter2").toString("base64")}`);
  });

  test("is asked for with the credentials in the form where that is wanted", async () => {
    await attempt(senderWith({ sendsCredentials: "body" }));
    assert.deepEqual(tokensAsked, [
      { text: "grant_type=client_credentials&client_id=me+%26+co&client_secret=hunter2", authorization: undefined },
    ]);
  });

  test("is renewed before its end while the old one is still used, and waited for behind it", async () => {
    const sender = senderWith();
    await attempt(sender);
    aheadMs = 91_000;
    await attempt(sender);
    assert.deepEqual(seen, ["Bearer token-1", "Bearer token-1"]);
    while (tokensAsked.length < 2) await attempt(sender);
    aheadMs = 300_000;
    await attempt(sender);
    assert.equal(seen.at(-1), "Bearer token-3");
  });

  test("that the receiver refuses is replaced and the request sent again, once", async () => {
    good = (authorization) => authorization === "Bearer token-2";
    const sender = senderWith();
    assert.deepEqual((await attempt(sender)).outcome, { kind: "accepted" });
    assert.deepEqual(seen, ["Bearer token-1", "Bearer token-2"]);
    good = () => false;
    const { outcome, facts } = await attempt(sender);
    assert.deepEqual(outcome, { kind: "auth", reason: "status_401", retryAfterMs: 0 });
    assert.equal(facts.status, 401);
    assert.deepEqual(seen.slice(2), ["Bearer token-2", "Bearer token-3"]);
  });
});

describe("without a token nothing is sent, and the outcome says why:", () => {
  const json = (status: number, body: unknown): Answer => {
    return (_request, response) => void response.writeHead(status).end(JSON.stringify(body));
  };
  for (const [title, answer, outcome, excerpt] of [
    [
      "credentials that are refused",
      json(401, { error: "invalid_client", error_description: "hunter2 is wrong" }),
      { kind: "auth", reason: "token_invalid_client", retryAfterMs: 0 },
      "token endpoint: invalid_client",
    ],
    [
      "a request that is refused",
      json(400, "what?"),
      { kind: "auth", reason: "token_status_400", retryAfterMs: 0 },
      "",
    ],
    ["a failure", json(500, {}), { kind: "endpoint", reason: "token_status_500", retryAfterMs: 0 }, ""],
    [
      "a wait",
      (_request, response) => void response.writeHead(429, { "retry-after": "7" }).end(),
      { kind: "endpoint", reason: "token_status_429", retryAfterMs: 7_000 },
      "",
    ],
    [
      "an answer that holds none",
      json(200, { ok: true }),
      { kind: "endpoint", reason: "token_bad_answer", retryAfterMs: 0 },
      "",
    ],
    [
      "a token that would break out of its line",
      json(200, { access_token: "a\r\nevil: 1" }),
      { kind: "endpoint", reason: "token_bad_answer", retryAfterMs: 0 },
      "",
    ],
    [
      "a reset",
      (request) => request.socket.resetAndDestroy(),
      { kind: "endpoint", reason: "token_reset", retryAfterMs: 0 },
      "",
    ],
  ] satisfies [string, Answer, Outcome, string][]) {
    test(title, async () => {
      giveToken = answer;
      const sender = senderWith();
      for (let i = 0; i < 2; i++) {
        const end = await attempt(sender);
        assert.deepEqual(end.outcome, outcome);
        assert.equal(end.facts.excerpt, excerpt);
        assert.ok(!JSON.stringify(end).includes("hunter2"));
      }
      assert.deepEqual(seen, []);
    });
  }

  test("silence costs no more than the attempt's time", async () => {
    giveToken = () => {};
    const { outcome } = await attempt(senderWith({}, { attemptTimeoutMs: 100 }));
    assert.ok(outcome.kind === "endpoint" && /^(token_)?timeout$/.test(outcome.reason), JSON.stringify(outcome));
  });

  test("a close takes back those that wait for one", async () => {
    giveToken = () => asked.resolve();
    const asked = Promise.withResolvers<void>();
    const sender = senderWith();
    const end = attempt(sender);
    await asked.promise;
    await sender.close();
    assert.deepEqual((await end).outcome, { kind: "cancelled" });
  });
});
