// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are placeholders of templates
import assert from "node:assert/strict";
import { HTTP, type CloudEvent } from "cloudevents";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { ApplicationMessage } from "../broker/message.ts";
import type { PublishedProperties } from "../mqtt/packet.ts";
import { encodePublishedProperties } from "../mqtt/properties.ts";
import { type EventHead, readEventHead } from "./event-head.ts";
import { endpointOptions } from "./fake-endpoint.ts";
import { compileFormat } from "./format.ts";
import type { Happening } from "./happening.ts";
import { bodyBytesMax, eventHeadLengthMax } from "./limits.ts";
import type { EndpointOptions } from "./options.ts";

const at = 1_706_703_725_000;
const id = "evt_01HNGZ9Q7R0000000000000000";

const client = {
  clientId: "wbhk_clientid",
  userName: "wbhk_test",
  protocolVersion: 4,
  keepAliveSeconds: 60,
  cleanStart: true,
  remoteAddress: "127.0.0.1",
  remotePort: 40000,
} as const;

const disconnected: Happening = { event: "on_client_disconnected", client, reason: "normal" };

function messageOf(more: Partial<ApplicationMessage> = {}, properties: PublishedProperties = {}): ApplicationMessage {
  return {
    topicName: "nmq/pub",
    payload: Buffer.from("Hello World!"),
    qos: 1,
    retain: true,
    properties: encodePublishedProperties(properties),
    acceptedAt: 1_706_703_724_960,
    expiresAt: undefined,
    publisher: { clientId: "wbhk_clientid", userName: "wbhk_test" },
    ...more,
  };
}

function published(more: Partial<ApplicationMessage> = {}, properties: PublishedProperties = {}): Happening {
  const message = messageOf(more, properties);
  return { event: "on_message_publish", client: message.publisher, message };
}

const payload = (text: string | Uint8Array) => ({ payload: Buffer.from(text as string) });

interface Made {
  body: string;
  bytes: Uint8Array;
  head: EventHead;
  headers: Record<string, string>;
}

function make(happening: Happening, options: Partial<EndpointOptions>): Made {
  const { body, head: text } = compileFormat(endpointOptions({ source: "/brokers/plant", ...options }))(
    happening,
    id,
    at,
  );
  const head = readEventHead(text);
  const headers = {
    ...(head.contentType && { "content-type": head.contentType }),
    ...Object.fromEntries(head.headers ?? []),
  };
  return { body: Buffer.from(body).toString(), bytes: body, head, headers };
}

/** As the official SDK reads it from a request. */
function asCloudEvent({ body, bytes, headers }: Made): CloudEvent<unknown> {
  const isText = !headers["content-type"].startsWith("application/octet-stream");
  const event = HTTP.toEvent<unknown>({ headers, body: isText ? body : Buffer.from(bytes) }) as CloudEvent<unknown>;
  assert.equal(event.validate(), true);
  return event;
}

describe("edge", () => {
  test("has nothing beside its body", () => {
    assert.equal(compileFormat(endpointOptions())(published(), id, at).head, "");
  });

  test("passes on a traceparent", () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const { headers } = make(published({}, { userProperties: [["traceparent", traceparent]] }), {});
    assert.deepEqual(headers, { traceparent });
    assert.deepEqual(make(published({}, { userProperties: [["traceparent", "x\r\ny: z"]] }), {}).headers, {});
  });
});

describe("cloudevents", () => {
  const structured = (happening: Happening, more: Partial<EndpointOptions> = {}) =>
    make(happening, { format: "cloudevents", ...more });

  test("a message, byte for byte", () => {
    const { body, headers } = structured(published({ expiresAt: 1_706_703_784_960 }));
    assert.equal(
      body,
      `{"specversion":"1.0","id":"${id}","source":"/brokers/plant","type":"mqtt.message.publish.v1","subject":"nmq/pub","time":"2024-01-31T12:22:04.960Z","partitionkey":"wbhk_clientid","sequence":"01HNGZ9Q7R0000000000000000","expirytime":"2024-01-31T12:23:04.960Z","mqttqos":1,"mqttretain":true,"mqttclientid":"wbhk_clientid","mqttusername":"wbhk_test","datacontenttype":"text/plain; charset=utf-8","data":"Hello World!"}`,
    );
    assert.deepEqual(headers, { "content-type": "application/cloudevents+json; charset=utf-8" });
  });

  test("a client event, byte for byte", () => {
    const { body } = structured(disconnected);
    assert.equal(
      body,
      `{"specversion":"1.0","id":"${id}","source":"/brokers/plant","type":"mqtt.client.disconnected.v1","subject":"wbhk_clientid","time":"2024-01-31T12:22:05.000Z","partitionkey":"wbhk_clientid","sequence":"01HNGZ9Q7R0000000000000000","mqttclientid":"wbhk_clientid","mqttusername":"wbhk_test","datacontenttype":"application/json","data":{"reason":"normal","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_disconnected"}}`,
    );
  });

  test("what became of a message names its receiver", () => {
    const message = messageOf();
    const receiver = { clientId: "sub", userName: undefined };
    const dropped = { event: "on_message_dropped", client: receiver, receiver, message, reason: "queue_full" } as const;
    const event = asCloudEvent(structured(dropped));
    assert.deepEqual(
      [event.type, event.mqttreceiver, event.mqttreason],
      ["mqtt.message.dropped.v1", "sub", "queue_full"],
    );
  });

  for (const [title, bytes, properties, contentType, member] of [
    [
      "JSON is data as it is",
      '{"n":12345678901234567890}',
      {},
      "application/json",
      '"data":{"n":12345678901234567890}',
    ],
    ["text is text", "grün \u0001", {}, "text/plain; charset=utf-8", '"data":"grün \\u0001"'],
    ["bytes are base64", Buffer.from("80ff", "hex"), {}, "application/octet-stream", '"data_base64":"gP8="'],
    ["the publisher's type is kept", "a,b", { contentType: "text/csv" }, "text/csv", '"data":"a,b"'],
    [
      "JSON that is none is bytes",
      "{",
      { contentType: "application/json" },
      "application/json",
      '"data_base64":"ew=="',
    ],
    ["JSON said to be text is text", "1", { contentType: "text/plain" }, "text/plain", '"data":"1"'],
    [
      "what is no media type is not passed on",
      "x",
      { contentType: "x\r\ny: z" },
      "text/plain; charset=utf-8",
      '"data":"x"',
    ],
  ] as const) {
    test(title, () => {
      const { body } = structured(published(payload(bytes as string), properties));
      assert.ok(body.endsWith(`"datacontenttype":"${contentType}",${member}}`), body);
    });
  }

  test("an empty payload has no data", () => {
    assert.doesNotMatch(structured(published(payload(""))).body, /"data(?:_base64)?":/);
  });

  test("the partition key is that of the order", () => {
    const of = (orderBy: EndpointOptions["orderBy"]) => asCloudEvent(structured(published(), { orderBy })).partitionkey;
    assert.deepEqual((["client", "topic", "endpoint", "none"] as const).map(of), [
      "wbhk_clientid",
      "nmq/pub",
      undefined,
      undefined,
    ]);
  });

  test("the SDK reads the same, in both modes", () => {
    const bytes = fc.oneof(
      fc.uint8Array(),
      fc.json().map((text) => new Uint8Array(Buffer.from(text))),
    );
    // What MQTT lets through; the SDK judges nothing of it but that it is there.
    const name = fc.string({ unit: "binary", minLength: 1, maxLength: 30 }).filter((text) => text.isWellFormed());
    fc.assert(
      fc.property(name, name, bytes, (topicName, clientId, data) => {
        const publisher = { clientId, userName: clientId };
        const happening = published({ topicName, publisher, payload: Buffer.from(data) });
        const event = asCloudEvent(structured(happening));
        assert.deepEqual([event.id, event.source, event.subject], [id, "/brokers/plant", topicName]);
        assert.deepEqual([event.mqttclientid, event.partitionkey], [clientId, clientId]);
        const { headers } = make(happening, { format: "cloudevents-binary" });
        assert.equal(decodeURIComponent(headers["ce-subject"]), topicName);
        assert.equal(decodeURIComponent(headers["ce-mqttclientid"]), clientId);
        for (const value of Object.values(headers)) assert.match(value, /^[\x20-\x7e]+$/);
      }),
    );
  });

  test("binary: attributes are headers, the payload is the body", () => {
    const made = make(published(payload('{"t":21}')), { format: "cloudevents-binary" });
    assert.equal(made.body, '{"t":21}');
    assert.deepEqual(made.headers, {
      "content-type": "application/json",
      "ce-specversion": "1.0",
      "ce-id": id,
      "ce-source": "/brokers/plant",
      "ce-type": "mqtt.message.publish.v1",
      "ce-subject": "nmq/pub",
      "ce-time": "2024-01-31T12:22:04.960Z",
      "ce-partitionkey": "wbhk_clientid",
      "ce-sequence": "01HNGZ9Q7R0000000000000000",
      "ce-mqttqos": "1",
      "ce-mqttretain": "true",
      "ce-mqttclientid": "wbhk_clientid",
      "ce-mqttusername": "wbhk_test",
    });
    assert.deepEqual(asCloudEvent(made).data, { t: 21 });
  });

  test("binary: no publisher gets a header of its own", () => {
    const { headers } = make(published({ topicName: 'a\r\nx: y/"grün" 100%' }), { format: "cloudevents-binary" });
    assert.equal(headers["ce-subject"], "a%0D%0Ax:%20y/%22gr%C3%BCn%22%20100%25");
  });
});

describe("messages that are CloudEvents already", () => {
  const theirs = { specversion: "1.0", id: "42", source: "//sensor/1", type: "t.reading", data: { n: 1 }, ext: "x" };
  const structuredMessage = published(payload(JSON.stringify(theirs)), {
    contentType: "application/cloudevents+json; charset=utf-8",
  });
  const binaryMessage = published(payload('{"n":21}'), {
    contentType: "application/json",
    userProperties: [
      ["specversion", "1.0"],
      ["id", "42"],
      ["type", "t.reading"],
      ["source", "//sensor/1"],
      ["ext", "a b"],
      ["Not-An-Attribute", "x"],
    ],
  });

  for (const format of ["cloudevents", "cloudevents-binary"] as const) {
    test(`structured ones go on as they are, by ${format}`, () => {
      const made = make(structuredMessage, { format });
      assert.equal(made.body, JSON.stringify(theirs));
      const { id, source, type, data, ext } = asCloudEvent(made);
      assert.deepEqual([id, source, type, data, ext], ["42", "//sensor/1", "t.reading", { n: 1 }, "x"]);
    });

    test(`binary ones keep their attributes, by ${format}`, () => {
      const { id, source, type, data } = asCloudEvent(make(binaryMessage, { format }));
      assert.deepEqual([id, source, type, data], ["42", "//sensor/1", "t.reading", { n: 21 }]);
    });
  }

  test("a binary one, byte for byte", () => {
    assert.equal(
      make(binaryMessage, { format: "cloudevents" }).body,
      '{"specversion":"1.0","id":"42","source":"//sensor/1","type":"t.reading","ext":"a b","datacontenttype":"application/json","data":{"n":21}}',
    );
    const { headers } = make(binaryMessage, { format: "cloudevents-binary" });
    assert.deepEqual(headers, {
      "content-type": "application/json",
      "ce-specversion": "1.0",
      "ce-id": "42",
      "ce-source": "//sensor/1",
      "ce-type": "t.reading",
      "ce-ext": "a%20b",
    });
  });

  for (const [title, text] of [
    ["no object", "[1]"],
    ["no JSON", "{"],
    ["no id", JSON.stringify({ ...theirs, id: undefined })],
    ["an id that is no text", JSON.stringify({ ...theirs, id: 42 })],
    ["another version", JSON.stringify({ ...theirs, specversion: "0.3" })],
  ]) {
    test(`one that only says so (${title}) is the payload of an event of ours`, () => {
      const happening = published(payload(text), { contentType: "application/cloudevents+json" });
      assert.equal(asCloudEvent(make(happening, { format: "cloudevents" })).id, id);
    });
  }

  test("that one was delivered is an event of ours", () => {
    const { message } = structuredMessage as { message: ApplicationMessage };
    const delivered: Happening = { event: "on_message_delivered", client: message.publisher, message };
    assert.equal(asCloudEvent(make(delivered, { format: "cloudevents" })).type, "mqtt.message.delivered.v1");
  });
});

describe("raw", () => {
  test("is the payload, with the facts in headers", () => {
    const bytes = Buffer.from("80ff00", "hex");
    const made = make(published({ payload: bytes }), { format: "raw" });
    assert.deepEqual(Buffer.from(made.bytes), bytes);
    assert.deepEqual(made.headers, {
      "content-type": "application/octet-stream",
      "x-mqtt-event": "on_message_publish",
      "x-mqtt-topic": "nmq/pub",
      "x-mqtt-qos": "1",
      "x-mqtt-retain": "true",
      "x-mqtt-client-id": "wbhk_clientid",
      "x-mqtt-username": "wbhk_test",
    });
  });

  test("has the publisher's content type, and nothing for a user name there is none of", () => {
    const publisher = { clientId: "a b", userName: undefined };
    const { headers, head } = make(published({ publisher }, { contentType: "text/csv" }), { format: "raw" });
    assert.equal(headers["x-mqtt-client-id"], "a%20b");
    assert.equal("x-mqtt-username" in headers, false);
    assert.deepEqual(head.headers?.[0], ["content-type", "text/csv"]);
  });

  test("takes an empty payload for what it is", () => {
    const { bytes, head } = make(published(payload("")), { format: "raw" });
    assert.deepEqual([bytes.length, head.refused], [0, undefined]);
  });

  test("of a client event is its edge body", () => {
    const { body, headers } = make(disconnected, { format: "raw" });
    assert.equal(JSON.parse(body).action, "client_disconnected");
    assert.equal(headers["content-type"], "application/json");
  });
});

describe("template", () => {
  const filled = (template: Partial<EndpointOptions["template"]>, happening = published(), more = {}) =>
    make(happening, { format: "template", template: { headers: [], ...template }, ...more });

  test("a body of JSON stays JSON, whatever is filled in", () => {
    const body =
      '{"t":"${topic}","by":"<${clientid}>","v":${payload},"n":${payload.a.1},"q":${qos},"r":${retain},"u":${username}}';
    const happening = published({
      topicName: 'a"b',
      payload: Buffer.from('{"a":[1,{"b":"x"}]}'),
      publisher: { clientId: '","admin":true,"', userName: undefined },
    });
    const made = filled({ body }, happening);
    assert.equal(
      made.body,
      '{"t":"a\\"b","by":"<\\",\\"admin\\":true,\\">","v":{"a":[1,{"b":"x"}]},"n":{"b":"x"},"q":1,"r":true,"u":"undefined"}',
    );
    assert.equal(made.headers["content-type"], "application/json");
  });

  test("any payload in any place of a JSON body is valid JSON", () => {
    const body = '["${payload}",${payload},{"k ${topic}":"\\\\${clientid}\\""}]';
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (text, name) => {
        const publisher = { clientId: name, userName: name };
        const [inText] = JSON.parse(filled({ body }, published({ ...payload(text), topicName: name, publisher })).body);
        assert.equal(inText, text.toWellFormed());
      }),
    );
  });

  test("a body of text is text", () => {
    const made = filled({ body: "${clientid} said ${payload}\n" });
    assert.equal(made.body, "wbhk_clientid said Hello World!\n");
    assert.equal(made.headers["content-type"], "text/plain; charset=utf-8");
  });

  test("the payload is by body.encoding", () => {
    assert.equal(
      filled({ body: '{"p":"${payload}"}' }, published(), { bodyEncoding: "base64" }).body,
      '{"p":"SGVsbG8gV29ybGQh"}',
    );
  });

  test("without a body it is that of edge", () => {
    assert.equal(JSON.parse(filled({}).body).action, "message_publish");
  });

  test("what is filled into the address stays in its segment and its parameter", () => {
    const url = "http://127.0.0.1:1/hook?key=1";
    const happening = published({ topicName: "a/b?c#d&e=f ü" });
    const made = filled({ urlPath: "/in/${topic}", query: "t=${topic}&q=${qos}" }, happening, { url });
    const encoded = "a%2Fb%3Fc%23d%26e%3Df%20%C3%BC";
    assert.equal(made.head.path, `/in/${encoded}?t=${encoded}&q=1`);
    assert.equal(filled({ urlPath: "/in/${qos}" }, happening, { url }).head.path, "/in/1?key=1");
    assert.equal(filled({ query: "q=${qos}" }, happening, { url }).head.path, "/hook?q=1");
    assert.equal(filled({}, happening, { url }).head.path, undefined);
  });

  test("what is filled into a header stays in its line", () => {
    const { headers } = filled(
      { headers: [["x-by", "client ${clientid}"]] },
      published({ publisher: { clientId: "a\r\nb", userName: undefined } }),
    );
    assert.equal(headers["x-by"], "client a%0D%0Ab");
  });

  for (const [title, template, happening] of [
    ["a field that the payload does not have", { body: "${payload.a.b}" }, published(payload('{"a":1}'))],
    ["a field of every object", { body: "${payload.constructor}" }, published(payload("{}"))],
    ["a field of a payload that is no JSON", { body: "${payload.a}" }, published()],
    ["a payload that is no text", { body: "${payload}" }, published(payload(Buffer.from("80", "hex")))],
    ["a fact of other events", { headers: [["x", "${reason}"]] }, published()],
    ["a payload where there is none", { query: "p=${payload}" }, disconnected],
    [
      "a step up in the tree",
      { urlPath: "/a/${clientid}/b" },
      { ...disconnected, client: { ...client, clientId: ".." } },
    ],
  ] satisfies [string, Partial<EndpointOptions["template"]>, Happening][]) {
    test(`${title} cannot be filled in: a dead letter says so`, () => {
      const { bytes, head } = filled(template, happening);
      assert.deepEqual([bytes.length, head], [0, { refused: "template" }]);
    });
  }
});

test("what is too large for any format is refused", () => {
  const large = published({ payload: Buffer.alloc(bodyBytesMax + 1, "x") });
  for (const format of ["edge", "cloudevents", "cloudevents-binary", "raw", "template"] as const)
    assert.deepEqual(make(large, { format }).head, { refused: "too_large" });
  const long = published({ topicName: "x".repeat(eventHeadLengthMax) });
  for (const format of ["cloudevents-binary", "raw"] as const)
    assert.deepEqual(make(long, { format }).head, { refused: "too_large" });
});
