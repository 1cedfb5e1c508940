import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { ApplicationMessage } from "../broker/message.ts";
import type { ClientInfo, DisconnectReason } from "../broker/tap.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { EventStyle } from "./event.ts";
import { edgeBody, factsOf } from "./event.ts";
import type { Happening } from "./happening.ts";
import { base62PayloadBytesMax, bodyBytesMax } from "./limits.ts";

const text = (body: Uint8Array | undefined) => Buffer.from(body!).toString("utf8");

const client: ClientInfo = {
  clientId: "wbhk_clientid",
  userName: "wbhk_test",
  protocolVersion: 4,
  keepAliveSeconds: 60,
  cleanStart: true,
  remoteAddress: "127.0.0.1",
  remotePort: 40000,
};

const message: ApplicationMessage = {
  topicName: "nmq/pub",
  payload: Buffer.from("Hello World!"),
  qos: 1,
  retain: true,
  properties: new Uint8Array(0),
  acceptedAt: 1_706_703_724_960,
  expiresAt: undefined,
  publisher: { clientId: "wbhk_clientid", userName: "wbhk_test" },
};

const plain = { bodyEncoding: "plain", timestampUnit: "ms" } as const;
const at = 1_706_703_725_000;

const connackBody = (client: ClientInfo, reasonCode: ReasonCode) =>
  edgeBody({ event: "on_client_connack", client, reasonCode }, plain, at);
const disconnectedBody = (client: ClientInfo, reason: DisconnectReason) =>
  edgeBody({ event: "on_client_disconnected", client, reason }, plain, at);
const publishBody = (message: ApplicationMessage, style: EventStyle) =>
  edgeBody({ event: "on_message_publish", client: message.publisher, message }, style, at);

describe("the tutorial's bodies, byte for byte", () => {
  test("on_client_connack", () => {
    assert.equal(
      text(connackBody(client, ReasonCode.success)),
      '{"proto_ver":4,"keepalive":60,"conn_ack":"success","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_connack"}',
    );
  });

  test("on_message_publish", () => {
    assert.equal(
      text(publishBody(message, plain)),
      '{"ts":1706703724960,"topic":"nmq/pub","retain":true,"qos":1,"action":"message_publish","from_username":"wbhk_test","from_client_id":"wbhk_clientid","payload":"Hello World!"}',
    );
  });

  test("on_client_disconnected", () => {
    assert.equal(
      text(disconnectedBody(client, "normal")),
      '{"reason":"normal","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_disconnected"}',
    );
  });
});

describe("the other events, byte for byte", () => {
  const connected = { ...client, remoteAddress: "::ffff:192.0.2.7" };
  const subscription = {
    topicFilter: "a/#",
    qos: 1,
    noLocal: false,
    retainAsPublished: true,
    retainHandling: 2,
  } as const;
  const receiver = { clientId: "pump", userName: undefined };
  const who = '"username":"wbhk_test","clientid":"wbhk_clientid"';
  const said = '"ts":1706703724960,"topic":"nmq/pub","retain":true,"qos":1';
  const from = '"from_username":"wbhk_test","from_client_id":"wbhk_clientid"';
  const to = '"username":"undefined","clientid":"pump","payload":"Hello World!"';
  for (const [happening, expected] of [
    [
      { event: "on_client_connect", client: connected },
      `{"proto_ver":4,"keepalive":60,"ipaddress":"192.0.2.7",${who},"action":"client_connect"}`,
    ],
    [
      { event: "on_client_connected", client: connected },
      `{"proto_ver":4,"keepalive":60,"connected_at":${at},"ipaddress":"192.0.2.7",${who},"action":"client_connected"}`,
    ],
    [
      { event: "on_client_subscribe", client, subscription },
      `{"topic":"a/#","opts":{"qos":1,"nl":0,"rap":1,"rh":2},${who},"action":"client_subscribe"}`,
    ],
    [
      { event: "on_session_subscribed", client, subscription },
      `{"topic":"a/#","opts":{"qos":1,"nl":0,"rap":1,"rh":2},${who},"action":"session_subscribed"}`,
    ],
    [
      { event: "on_client_unsubscribe", client, topicFilter: 'a"b' },
      `{"topic":"a\\"b",${who},"action":"client_unsubscribe"}`,
    ],
    [
      { event: "on_session_unsubscribed", client, topicFilter: "a" },
      `{"topic":"a",${who},"action":"session_unsubscribed"}`,
    ],
    [
      { event: "on_session_terminated", client, reason: "expired" },
      `{"reason":"expired",${who},"action":"session_terminated"}`,
    ],
    [
      { event: "on_message_delivered", client: receiver, message },
      `{${said},"action":"message_delivered",${from},${to}}`,
    ],
    [{ event: "on_message_acked", client: receiver, message }, `{${said},"action":"message_acked",${from},${to}}`],
    [
      { event: "on_message_dropped", client: receiver, message, receiver, reason: "queue_full" },
      `{"reason":"queue_full",${said},"action":"message_dropped",${from},${to}}`,
    ],
    [
      { event: "on_message_dropped", client: receiver, message, receiver: undefined, reason: "no_subscribers" },
      `{"reason":"no_subscribers",${said},"action":"message_dropped",${from},${to.replace("pump", "undefined")}}`,
    ],
  ] satisfies [Happening, string][]) {
    test(`${happening.event}${"reason" in happening ? `, ${happening.reason}` : ""}`, () => {
      assert.equal(text(edgeBody(happening, plain, at)), expected);
    });
  }
});

test('a client without a user name is "undefined", one with an empty name is not', () => {
  const nameless = { ...client, userName: undefined };
  assert.match(text(connackBody(nameless, ReasonCode.success)), /,"username":"undefined",/);
  assert.match(text(disconnectedBody(nameless, "normal")), /,"username":"undefined",/);
  const publisher = { clientId: "c", userName: undefined };
  assert.match(text(publishBody({ ...message, publisher }, plain)), /,"from_username":"undefined",/);
  assert.match(text(connackBody({ ...client, userName: "" }, ReasonCode.success)), /,"username":"",/);
});

for (const [reasonCode, name] of [
  [ReasonCode.badUserNameOrPassword, "bad_username_or_password"],
  [ReasonCode.notAuthorized, "not_authorized"],
  [ReasonCode.clientIdentifierNotValid, "client_identifier_not_valid"],
  [ReasonCode.serverUnavailable, "server_unavailable"],
  [ReasonCode.banned, "banned"],
  [ReasonCode.unsupportedProtocolVersion, "unsupported_protocol_version"],
  [ReasonCode.qosNotSupported, "qos_not_supported"],
] as const) {
  for (const protocolVersion of [3, 4, 5] as const) {
    test(`a CONNECT of version ${protocolVersion} refused with ${reasonCode} says ${name}`, () => {
      const body = JSON.parse(text(connackBody({ ...client, protocolVersion }, reasonCode)));
      assert.equal(body.conn_ack, name);
      assert.equal(body.proto_ver, protocolVersion);
    });
  }
}

test("ts is in seconds where an endpoint wants it", () => {
  assert.match(text(publishBody(message, { ...plain, timestampUnit: "s" })), /^\{"ts":1706703724,"topic"/);
});

test("an empty payload is an empty string in every encoding", () => {
  for (const bodyEncoding of ["plain", "base64", "base62"] as const) {
    const body = text(publishBody({ ...message, payload: new Uint8Array(0) }, { ...plain, bodyEncoding }));
    assert.ok(body.endsWith(',"payload":""}'), body);
  }
});

test("a plain payload that is not UTF-8 is base64, said at the end", () => {
  const body = text(publishBody({ ...message, payload: Buffer.from("6180ff", "hex") }, plain));
  assert.ok(body.endsWith(',"payload":"YYD/","payload_encoding":"base64"}'), body);
});

test("no body is made of a payload over the limit of base62, nor of one over the limit of a body", () => {
  const base62 = { ...plain, bodyEncoding: "base62" } as const;
  const base64 = { ...plain, bodyEncoding: "base64" } as const;
  assert.notEqual(publishBody({ ...message, payload: Buffer.alloc(base62PayloadBytesMax, 1) }, base62), undefined);
  assert.equal(publishBody({ ...message, payload: Buffer.alloc(base62PayloadBytesMax + 1, 1) }, base62), undefined);
  assert.equal(publishBody({ ...message, payload: Buffer.alloc(bodyBytesMax + 1) }, plain), undefined);
  assert.equal(publishBody({ ...message, payload: Buffer.alloc(bodyBytesMax - 10) }, base64), undefined);
});

describe("whatever a client sends, a body is valid JSON and says the same", () => {
  // Lone surrogates cannot arrive, as MQTT strings are judged; if one did, it would become U+FFFD or an escape.
  const anyText = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("__proto__", "constructor", '"', "\\", "\ud800", "a\udfffb", "\u2028", "\0", '"},{"'),
    fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 }).map((units) => String.fromCharCode(...units)),
  );
  const same = (read: unknown, given: string) =>
    assert.ok(read === given || read === given.toWellFormed(), `${JSON.stringify(read)} for ${JSON.stringify(given)}`);

  test("messages", () => {
    const payloads = fc.oneof(
      fc.uint8Array(),
      anyText.map((given) => new Uint8Array(Buffer.from(given))),
    );
    const encodings = fc.constantFrom("plain", "base64", "base62");
    fc.assert(
      fc.property(
        anyText,
        anyText,
        anyText,
        payloads,
        encodings,
        (topicName, clientId, userName, payload, encoding) => {
          const publisher = { clientId, userName };
          const style = { ...plain, bodyEncoding: encoding } as const;
          const body = JSON.parse(text(publishBody({ ...message, topicName, payload, publisher }, style)));
          same(body.topic, topicName);
          same(body.from_client_id, clientId);
          same(body.from_username, userName);
          const written = body.payload_encoding ?? encoding;
          if (written !== "base62")
            assert.deepEqual(Buffer.from(body.payload, decoders[written]), Buffer.from(payload));
        },
      ),
    );
  });

  const decoders: Record<string, BufferEncoding> = { plain: "utf8", base64: "base64" };

  test("client events", () => {
    fc.assert(
      fc.property(anyText, anyText, (clientId, userName) => {
        for (const body of [
          connackBody({ ...client, clientId, userName }, ReasonCode.success),
          disconnectedBody({ ...client, clientId, userName }, "normal"),
        ]) {
          const read = JSON.parse(text(body));
          same(read.clientid, clientId);
          same(read.username, userName);
        }
      }),
    );
  });
});

test("the body of a publish says what its facts say, in their order", () => {
  fc.assert(
    fc.property(
      fc.record({
        topicName: fc.string({ unit: "binary" }),
        qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
        retain: fc.boolean(),
        acceptedAt: fc.nat({ max: 2 ** 42 }),
        clientId: fc.string({ unit: "binary" }),
        userName: fc.option(fc.string({ unit: "binary" }), { nil: undefined }),
        timestampUnit: fc.constantFrom("ms" as const, "s" as const),
      }),
      ({ clientId, userName, timestampUnit, ...facts }) => {
        const published = { ...message, ...facts, publisher: { clientId, userName } };
        const happening: Happening = { event: "on_message_publish", client: published.publisher, message: published };
        const body = text(edgeBody(happening, { bodyEncoding: "plain", timestampUnit }, at));
        assert.equal(body, JSON.stringify({ ...factsOf(happening, timestampUnit, at), payload: "Hello World!" }));
      },
    ),
  );
});
