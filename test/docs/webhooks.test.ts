/** The closed lists and tables of docs/webhooks.md are those of the code. */
import { describe, expect, test } from "vitest";
import type { ApplicationMessage } from "../../src/broker/message.ts";
import type { ClientInfo } from "../../src/broker/tap.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { edgeBody } from "../../src/webhook/event.ts";
import type { Happening } from "../../src/webhook/happening.ts";
import { webhook } from "../../src/config/sections/webhook.ts";
import { eventNames, plainRequest } from "../../src/webhook/options.ts";
import { judgeAnswer } from "../../src/webhook/outcome.ts";
import { base62 } from "../../src/webhook/payload-encoding.ts";
import { placeholderNames } from "../../src/webhook/template.ts";
import { requestHead } from "../../src/webhook/request-head.ts";
import { read, rows, section, unquoted } from "./markdown.ts";

const page = read("docs/webhooks.md");
const client: ClientInfo = {
  clientId: "c",
  userName: undefined,
  protocolVersion: 4,
  keepAliveSeconds: 60,
  cleanStart: true,
  remoteAddress: "127.0.0.1",
  remotePort: 1,
};
const message: ApplicationMessage = {
  topicName: "t",
  payload: Buffer.from("hello"),
  qos: 1,
  retain: false,
  properties: Buffer.alloc(0),
  acceptedAt: 1,
  expiresAt: undefined,
  publisher: { clientId: "c", userName: undefined },
};

test("the events: one list in the page, the configuration and the code", () => {
  const [fire] = tablesOf(section(page, "Events"));
  expect(fire.map(([event]) => unquoted(event))).toEqual([...eventNames]);
  const named = (event: string) => webhook.safeParse({ events: [{ event }] }).success;
  expect(eventNames.filter((name) => !named(name))).toEqual([]);
  expect(named("on_message_lost")).toBe(false);
  const [[, , , meaning]] = rows(read("docs/configuration.md")).filter(([key]) => key === "`webhook.events[].event`");
  expect([...meaning.matchAll(/`(\w+)`/g)].map((match) => match[1])).toEqual([...eventNames]);
  // The bodies below are one of each.
  expect(happenings.map(({ event }) => event).sort()).toEqual([...eventNames].sort());
});

const subscription = { topicFilter: "t", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
const receiver = { clientId: "r", userName: "u" };
const happenings: Happening[] = [
  { event: "on_client_connect", client },
  { event: "on_client_connack", client, reasonCode: ReasonCode.success },
  { event: "on_client_connected", client },
  { event: "on_client_disconnected", client, reason: "normal" },
  { event: "on_client_subscribe", client, subscription },
  { event: "on_session_subscribed", client, subscription },
  { event: "on_client_unsubscribe", client, topicFilter: "t" },
  { event: "on_session_unsubscribed", client, topicFilter: "t" },
  { event: "on_session_terminated", client, reason: "expired" },
  { event: "on_message_publish", client: message.publisher, message },
  { event: "on_message_delivered", client: receiver, message },
  { event: "on_message_acked", client: receiver, message },
  { event: "on_message_dropped", client: receiver, receiver, message, reason: "queue_full" },
];

const bodyOf = (happening: Happening): Record<string, unknown> =>
  JSON.parse(Buffer.from(edgeBody(happening, { bodyEncoding: "plain", timestampUnit: "ms" }, 1)!).toString());

describe("bodies have the keys of their table, in its order", () => {
  test.each(happenings.map((happening) => [happening.event, happening] as const))("%s", (event, happening) => {
    const [, introduction, table] = bodyTables.find(([names]) => names.includes(event))!;
    const body = bodyOf(happening);
    const shown = Object.entries(body).map(([key, value]) => [key, typeof value]);
    expect(table.map(([key, type]) => [unquoted(key), type])).toEqual(shown);
    expect(introduction).toContain(`\`${event}\``);
    expect(table.find(([key]) => key === "`action`")![2]).toContain(`\`${body.action}\``);
  });

  const bodyTables = section(page, "Bodies")
    .split(/\n(?=`on_)/)
    .slice(1)
    .map((text): [names: string[], introduction: string, table: string[][]] => {
      const [introduction] = text.split("\n");
      return [[...introduction.matchAll(/`(on_\w+)`/g)].map((match) => match[1]), introduction, rows(text)];
    });
});

test("`hello` in each encoding", () => {
  expect(section(page, "Payloads")).toContain(`\`hello\`, \`${btoa("hello")}\` or \`${base62(Buffer.from("hello"))}\``);
});

test("the headers of every request", () => {
  const told = rows(section(page, "Requests")).map(([header]) => unquoted(header));
  const endpoint = { url: "http://h/", headers: [], request: plainRequest } as unknown as Parameters<
    typeof requestHead
  >[0];
  const { headers } = requestHead(endpoint, "1");
  const inAttempt = [...read("src/webhook/attempt.ts").matchAll(/"((?:x-)?webhook-[a-z]+)"/g)].map((match) => match[1]);
  const names = [...headers.filter((_, index) => index % 2 === 0), ...inAttempt];
  expect(told.slice(1).sort()).toEqual(names.sort());
});

test("`conn_ack`: the reasons with which the broker answers a CONNECT", () => {
  const told = rows(section(page, "Refused or welcome: `conn_ack`")).map(([value]) => unquoted(value));
  const source = read("src/broker/connect.ts");
  const named = new Set([...source.matchAll(/ReasonCode\.(\w+)/g)].map((match) => match[1]));
  named.delete("sessionTakenOver"); // said to the connection before
  const values = [...named].map((name) => {
    const reasonCode = ReasonCode[name as keyof typeof ReasonCode];
    return bodyOf({ event: "on_client_connack", client, reasonCode }).conn_ack as string;
  });
  expect(told.sort()).toEqual(values.sort());
});

test("`reason`: every word there is", () => {
  const told = rows(section(page, "Why a client left: `reason`")).map(([value]) => unquoted(value));
  const declaration = /export type DisconnectReason =([^;]*);/.exec(read("src/broker/tap.ts"))![1];
  expect(told).toEqual([...declaration.matchAll(/"(\w+)"/g)].map((match) => match[1]));
});

test("`reason` of `on_message_dropped`: every word there is", () => {
  const told = rows(section(page, "Lost on the way: `reason` of `on_message_dropped`")).map(([value]) =>
    unquoted(value),
  );
  const declaration = /export type DropReason =([^;]*);/.exec(read("src/broker/tap.ts"))![1];
  expect(told).toEqual([...declaration.matchAll(/"(\w+)"/g)].map((match) => match[1]));
});

describe("what an answer means", () => {
  const table = rows(section(page, "What an answer means"));
  const statuses = Array.from({ length: 400 }, (_, index) => 200 + index);

  test.each(table)("%s: %s", (which, kind, follows) => {
    const judged = statuses.filter((status) => rowOf(status)?.[0] === which).map((status) => outcomeOf(status));
    expect(judged.length).toBeGreaterThan(0);
    for (const outcome of judged) {
      expect(outcome.kind).toBe(kind);
      const deadBecause = /dead letter `(\w+)`/.exec(follows)?.[1];
      expect(outcome.kind === "rejected" ? outcome.reason : undefined).toBe(deadBecause);
      const slowsDown = outcome.kind === "retry" && outcome.slowDown;
      expect(slowsDown).toBe(follows.includes("half as many"));
    }
  });

  test("every status stands in one row", () => {
    expect(statuses.filter((status) => rowOf(status) === undefined)).toEqual([]);
  });

  function outcomeOf(status: number) {
    return judgeAnswer({ status, retryAfter: undefined, excerpt: "" }, 0);
  }

  /** One that is named itself, else the range it lies in. */
  function rowOf(status: number): string[] | undefined {
    const inRange = ([which]: string[]) => {
      const [, first, last] = /(\d+)–(\d+)/.exec(which) ?? [];
      return first !== undefined && Number(first) <= status && status <= Number(last);
    };
    return table.find(([which]) => which.split(", ").includes(String(status))) ?? table.find(inRange);
  }
});

test("the words for no answer", () => {
  const source = read("src/webhook/outcome.ts");
  const failures = source.slice(source.indexOf("const failureReasons"), source.indexOf("/** Milliseconds to wait"));
  const words = new Set(
    [...failures.matchAll(/\[\s*"[\w]+", "(\w+)"\]|return "(\w+)"/g)].map((match) => match[1] ?? match[2]),
  );
  const told = /No answer is an illness[\s\S]*?are the words/.exec(page)![0];
  expect(new Set([...told.matchAll(/`(\w+)`/g)].map((match) => match[1]))).toEqual(words);
});

test("the reasons with which a delivery ends", () => {
  const told = Object.fromEntries(
    tablesOf(section(page, "Limits"))[1].map(([end, reasons]) => [
      end,
      [...reasons.matchAll(/`(\w+)`/g)].map((match) => match[1]).sort(),
    ]),
  );
  const find = (file: string, pattern: RegExp) => [...read(file).matchAll(pattern)].map((match) => match[1]);
  expect(told).toEqual({
    dead: [
      ...new Set([
        ...find("src/webhook/outcome.ts", /rejected(?:\("|", reason: ")(\w+)"/g),
        ...find("src/webhook/payload-encoding.ts", /"(\w*too_large\w*)"/g),
        ...find("src/webhook/format.ts", /refused\("(\w+)"\)/g),
        ...find("src/webhook/delivery.ts", /because: "(\w+)"/g),
      ]),
    ].sort(),
    dropped: [...new Set([...find("src/webhook/endpoint.ts", /this\.drop\(.*"(\w+)"\)/g)])].sort(),
    expired: ["max_age"],
  });
});

/** The tables of a text, one after another. */
function tablesOf(text: string): string[][][] {
  return text
    .split(/\n(?!\|)/)
    .map(rows)
    .filter((table) => table.length > 0);
}

test("every placeholder of templates", () => {
  const told = new Set([...page.matchAll(/\$\{([\w.]+)\}/g)].map((match) => match[1].split(".")[0]));
  expect([...told].sort()).toEqual([...placeholderNames].sort());
});
