import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import type { PublishProperties } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";

const clock = new FakeClock();
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({ topicAliasMax: 4 }, { clock });
});
afterAll(() => broker.close());

describe("a PUBLISH that cannot be ends its sender's connection", () => {
  for (const [title, written, reasonCode, clause] of [
    ["DUP at QoS 0", "38 05 0001 'a' 00 'x'", 0x81, "3.3.1-2"],
    ["QoS 3", "36 07 0001 'a' 0001 00 'x'", 0x81, "3.3.1-4"],
    ["a topic name that is not UTF-8", "30 05 0001 ff 00 'x'", 0x81, "3.3.2-1"],
    ["U+0000 in the topic name", "30 05 0001 00 00 'x'", 0x81, "4.7.3-2"],
    ["a surrogate in the topic name", "30 07 0003 eda080 00 'x'", 0x81, "1.5.4-1"],
    ["# in the topic name", "30 07 0003 'a/#' 00 'x'", 0x81, "3.3.2-2"],
    ["+ in the topic name", "30 07 0003 'a/+' 00 'x'", 0x81, "3.3.2-2"],
    ["no topic name and no alias", "30 04 0000 00 'x'", 0x82, "3.3.2.1"],
    ["Packet Identifier 0", "32 07 0001 'a' 0000 00 'x'", 0x81, "2.2.1-3"],
    ["Payload Format Indicator 2", "30 07 0001 'a' 02 0102 'x'", 0x82, "3.3.2.3.2"],
    ["Topic Alias 0", "30 08 0001 'a' 03 230000 'x'", 0x94, "3.3.2-8"],
    ["a Topic Alias over the maximum", "30 08 0001 'a' 03 230005 'x'", 0x94, "3.3.2-9"],
    ["a Topic Alias not heard of, and no topic name", "30 07 0000 03 230001 'x'", 0x82, "3.3.2.3.4"],
    ["a Topic Alias twice", "30 0b 0001 'a' 06 230001 230001 'x'", 0x82, "3.3.2.3.4"],
    ["a wildcard in the Response Topic", "30 09 0001 'a' 04 080001 '#' 'x'", 0x82, "3.3.2-14"],
    ["a Response Topic that is not UTF-8", "30 09 0001 'a' 04 080001 ff 'x'", 0x81, "3.3.2-13"],
    ["a Content Type that is not UTF-8", "30 09 0001 'a' 04 030001 ff 'x'", 0x81, "3.3.2-19"],
    ["a Subscription Identifier", "30 07 0001 'a' 02 0b01 'x'", 0x82, "3.3.4-6"],
    ["two Message Expiry Intervals", "30 0f 0001 'a' 0a 0200000001 0200000001 'x'", 0x82, "3.3.2.3.3"],
    ["properties that are longer than the packet", "30 05 0001 'a' 05 'x'", 0x81, "2.2.2.1"],
    ["a property of CONNECT", "30 08 0001 'a' 03 210001 'x'", 0x81, "2.2.2.2"],
    ["an end before its topic name's", "30 03 0005 'a'", 0x81, "3.3.2-1"],
    ["an end before its Packet Identifier", "32 04 0001 'a' 00", 0x81, "2.2.1-2"],
  ] as const) {
    const code = `0x${reasonCode.toString(16)}`;
    test(`${title}: DISCONNECT ${code} [MQTT5 ${clause}] [MQTT5 4.13.1-1]`, async () => {
      const client = await TestClient.connect(broker.port);
      const bystander = await TestClient.connect(broker.port);
      await bystander.subscribe("#");
      client.sendBytes(bytesOf(written));
      assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
      await client.closed();
      await bystander.nothing();
      await bystander.disconnect();
    });
  }
});

describe("the topic name", () => {
  for (const topicName of [
    "a",
    "/",
    "//",
    "a b/c",
    " ",
    "ü/€/𝄞",
    "\ufeffbom",
    "a$b",
    "$data",
    "__proto__",
    "x".repeat(65_535),
  ]) {
    const name = topicName.length > 20 ? "of 65,535 bytes" : JSON.stringify(topicName);
    test(`${name} arrives as it was sent [MQTT5 3.3.2-1] [MQTT5 3.3.2-3]`, async () => {
      const client = await TestClient.connect(broker.port);
      await client.subscribe(topicName);
      await client.publish(topicName, "x");
      const publish = await client.receive();
      assert.equal(publish.topicName, topicName);
      assert.equal(textOf(publish), "x");
      await client.nothing();
    });
  }
});

describe("the payload", () => {
  for (const [title, payload] of [
    ["of no bytes", new Uint8Array()],
    ["of all bytes there are", Uint8Array.from({ length: 256 }, (_, i) => i)],
    ["of 300,000 bytes", new Uint8Array(300_000).fill(7)],
  ] as const) {
    for (const qos of [0, 1, 2] as const) {
      test(`${title} arrives as it was sent at QoS ${qos} [MQTT5 3.3.3]`, async () => {
        const client = await TestClient.connect(broker.port);
        const topicName = `payload/${client.clientId}`;
        await client.subscribe(topicName, { qos });
        await client.publish(topicName, payload, { qos });
        assert.deepEqual(Buffer.from((await client.receive()).payload), Buffer.from(payload));
      });
    }
  }
});

describe("properties travel unaltered", () => {
  for (const [name, properties, clause] of [
    ["Payload Format Indicator 0", { payloadFormatIndicator: 0 }, "3.3.2-4"],
    ["Payload Format Indicator 1", { payloadFormatIndicator: 1 }, "3.3.2-4"],
    ["Response Topic", { responseTopic: "answers/ü" }, "3.3.2-15"],
    ["Correlation Data", { correlationData: Uint8Array.of(0, 255, 128) }, "3.3.2-16"],
    ["empty Correlation Data", { correlationData: new Uint8Array() }, "3.3.2-16"],
    ["Content Type", { contentType: "text/plain; charset=ü" }, "3.3.2-20"],
    ["Message Expiry Interval", { messageExpiryInterval: 4_294_967_295 }, "3.3.2-6"],
    [
      "User Properties, in order and with equal names",
      {
        userProperties: [
          ["z", "1"],
          ["a", ""],
          ["z", "1"],
          ["", "ü"],
          ["__proto__", "x"],
        ],
      },
      "3.3.2-17] [MQTT5 3.3.2-18",
    ],
    [
      "all together",
      {
        payloadFormatIndicator: 1,
        messageExpiryInterval: 1000,
        contentType: "json",
        responseTopic: "r",
        correlationData: Uint8Array.of(1),
        userProperties: [["a", "b"]],
      },
      "3.3.2.3",
    ],
  ] as const satisfies [string, PublishProperties, string][]) {
    for (const [way, qos, alias] of [
      ["at QoS 0", 0, undefined],
      ["at QoS 1", 1, undefined],
      ["with a Topic Alias, which does not travel", 0, 3],
    ] as const) {
      test(`${name} ${way} [MQTT5 ${clause}]`, async () => {
        const client = await TestClient.connect(broker.port);
        const topicName = `properties/${client.clientId}`;
        await client.subscribe(topicName, { qos: 1 });
        const sent: PublishProperties = alias === undefined ? properties : { ...properties, topicAlias: alias };
        await client.publish(topicName, "text", { qos, properties: sent });
        assert.deepEqual((await client.receive()).properties, properties);
      });
    }
  }

  test("to a subscriber of 3.1.1 they do not go at all", async () => {
    const old = await TestClient.connect(broker.port, { protocolVersion: 4 });
    await old.subscribe("properties/old", { qos: 1 });
    const client = await TestClient.connect(broker.port);
    await client.publish("properties/old", "x", { qos: 1, properties: { contentType: "c", topicAlias: 1 } });
    const publish = await old.receive();
    assert.equal(textOf(publish), "x");
    assert.equal(publish.properties, undefined);
  });
});

describe("a payload that says it is text and is not", () => {
  const notText = Uint8Array.of(0x61, 0xff);
  const properties = { payloadFormatIndicator: 1 } as const;

  for (const qos of [1, 2] as const) {
    test(`is refused with 0x99 at QoS ${qos}, and goes to nobody [MQTT5 3.3.2.3.2]`, async () => {
      const client = await TestClient.connect(broker.port);
      await client.subscribe(`not-text/${qos}`);
      const topicName = `not-text/${qos}`;
      assert.equal(await client.publish(topicName, notText, { qos, properties }), ReasonCode.payloadFormatInvalid);
      await client.nothing();
    });
  }

  test("ends the connection with 0x99 at QoS 0 [MQTT5 3.3.2.3.2]", async () => {
    const client = await TestClient.connect(broker.port);
    client.sendPublish("not-text/0", notText, { properties });
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.payloadFormatInvalid);
  });

  test("may hold U+0000, which is text in a payload", async () => {
    const client = await TestClient.connect(broker.port);
    const code = await client.publish("text/nul", "a\0b", { qos: 1, properties });
    assert.equal(code, ReasonCode.noMatchingSubscribers);
  });
});

describe("the Message Expiry Interval", () => {
  test("of a message that waited is what is left of it, in whole seconds [MQTT5 3.3.2-6]", async () => {
    const back = await sleeper("expiry/left");
    const client = await TestClient.connect(broker.port);
    await client.publish("expiry/left", "x", { qos: 1, properties: { messageExpiryInterval: 100 } });
    clock.advance(40_000);
    const publish = await (await back()).receive();
    assert.equal(publish.properties?.messageExpiryInterval, 60);
  });

  test("is found behind a Topic Alias, which does not travel, and before other properties [MQTT5 3.3.2-6]", async () => {
    const client = await TestClient.connect(broker.port);
    client.sendBytes(bytesOf("31 15 0005 'alias' 0c 230001 0200000064 030001'c' 'x'"));
    await client.roundTrip();
    clock.advance(40_000);
    const late = await TestClient.connect(broker.port);
    await late.subscribe("alias");
    const publish = await late.receive();
    assert.equal(textOf(publish), "x");
    assert.deepEqual(publish.properties, { messageExpiryInterval: 60, contentType: "c" });
  });

  test("that has passed takes the message away before it is sent [MQTT5 3.3.2-5]", async () => {
    const back = await sleeper("expiry/passed");
    const client = await TestClient.connect(broker.port);
    await client.publish("expiry/passed", "short", { qos: 1, properties: { messageExpiryInterval: 10 } });
    await client.publish("expiry/passed", "long", { qos: 2, properties: { messageExpiryInterval: 11 } });
    await client.publish("expiry/passed", "for ever", { qos: 1 });
    clock.advance(10_000);
    const awake = await back();
    assert.deepEqual(await awake.receiveTexts(2), ["long", "for ever"]);
    await awake.nothing();
  });

  test("that passes while a message waits for Receive Maximum takes it away [MQTT5 3.3.2-5]", async () => {
    const slow = await TestClient.connect(broker.port, { properties: { receiveMaximum: 1 } });
    await slow.subscribe("expiry/window", { qos: 1 });
    const client = await TestClient.connect(broker.port);
    for (const [text, messageExpiryInterval] of [
      ["first", 100],
      ["second", 5],
      ["third", 100],
    ] as const) {
      await client.publish("expiry/window", text, { qos: 1, properties: { messageExpiryInterval } });
    }
    clock.advance(5_000);
    const first = await slow.receive();
    assert.equal(first.properties?.messageExpiryInterval, 100);
    const third = await slow.receive();
    assert.equal(textOf(third), "third");
    assert.equal(third.properties?.messageExpiryInterval, 95);
    await slow.nothing();
  });

  test("does not end a handshake that has begun [MQTT5 4.3.3-7] [MQTT5 4.3.3-13]", async () => {
    const back = await sleeper("expiry/begun");
    const awake = await back();
    const client = await TestClient.connect(broker.port);
    await client.publish("expiry/begun", "x", { qos: 2, properties: { messageExpiryInterval: 5 } });
    const publish = await awake.expect("publish");
    assert.equal(publish.qos, 2);
    clock.advance(60_000);
    const { packetIdentifier } = publish as { packetIdentifier: number };
    awake.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
    assert.equal((await awake.expect("pubrel")).reasonCode, ReasonCode.success);
    awake.destroy();
    await broker.gone(awake.clientId);
    const again = await back();
    assert.equal((await again.expect("pubrel")).packetIdentifier, packetIdentifier);
  });

  /** A session that has left, and how it comes back. */
  async function sleeper(topicName: string): Promise<() => Promise<TestClient>> {
    const connect = { clientId: topicName, cleanStart: false, properties: { sessionExpiryInterval: 10_000 } };
    const away = await TestClient.connect(broker.port, connect);
    await away.subscribe(topicName, { qos: 2 });
    await away.disconnect();
    return () => TestClient.connect(broker.port, connect);
  }
});

describe("Topic Aliases of a client", () => {
  test("stand for the topic name they came with, every number up to the maximum [MQTT5 3.3.2-12]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("alias/in/+");
    for (const topicAlias of [1, 2, 3, 4]) {
      await client.publish(`alias/in/${topicAlias}`, "first", { properties: { topicAlias } });
      assert.equal((await client.receive()).topicName, `alias/in/${topicAlias}`);
    }
    for (const [qos, topicAlias] of [
      [0, 4],
      [1, 1],
      [2, 3],
    ] as const) {
      await client.publish("", "second", { qos, properties: { topicAlias } });
      assert.equal((await client.receive()).topicName, `alias/in/${topicAlias}`);
    }
  });

  test("may be given to another topic name", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("alias/new/+");
    await client.publish("alias/new/a", "x", { properties: { topicAlias: 1 } });
    await client.publish("alias/new/b", "x", { properties: { topicAlias: 1 } });
    await client.publish("", "x", { properties: { topicAlias: 1 } });
    const topicNames = [await client.receive(), await client.receive(), await client.receive()];
    assert.deepEqual(
      topicNames.map(({ topicName }) => topicName),
      ["alias/new/a", "alias/new/b", "alias/new/b"],
    );
  });

  test("end with the connection [MQTT5 3.3.2-7]", async () => {
    const connect = { clientId: "alias-end", cleanStart: false, properties: { sessionExpiryInterval: 100 } };
    const first = await TestClient.connect(broker.port, connect);
    await first.publish("alias/end", "x", { properties: { topicAlias: 1 } });
    await first.disconnect();
    const second = await TestClient.connect(broker.port, connect);
    second.sendPublish("", "x", { properties: { topicAlias: 1 } });
    assert.equal((await second.expect("disconnect")).reasonCode, ReasonCode.protocolError);
  });

  test("are each client's own", async () => {
    const one = await TestClient.connect(broker.port);
    await one.publish("alias/own", "x", { properties: { topicAlias: 1 } });
    const other = await TestClient.connect(broker.port);
    other.sendPublish("", "x", { properties: { topicAlias: 1 } });
    assert.equal((await other.expect("disconnect")).reasonCode, ReasonCode.protocolError);
  });
});

describe("Topic Aliases of the server", () => {
  test("are not used for a client that takes none [MQTT5 3.1.2-26] [MQTT5 3.1.2-27]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("alias/none");
    for (let i = 0; i < 3; i++) {
      await client.publish("alias/none", "x");
      const publish = await client.receive();
      assert.equal(publish.topicName, "alias/none");
      assert.equal(publish.properties?.topicAlias, undefined);
    }
  });

  for (const qos of [0, 1, 2] as const) {
    test(`stay within the client's maximum and mean what they say, at QoS ${qos} [MQTT5 3.1.2-26] [MQTT5 3.3.2-11]`, async () => {
      const client = await TestClient.connect(broker.port, { properties: { topicAliasMaximum: 2 } });
      await client.subscribe(`alias/out-${qos}/+`, { qos, subscriptionIdentifier: 9 });
      const known = new Map<number, string>();
      const published = ["a", "b", "c", "a", "b", "c", "a"].map((name) => `alias/out-${qos}/${name}`);
      const heard: string[] = [];
      for (const topicName of published) {
        await client.publish(topicName, topicName, { qos });
        const publish = await client.receive();
        const { topicAlias, subscriptionIdentifiers } = publish.properties ?? {};
        assert.deepEqual(subscriptionIdentifiers, [9]);
        assert.ok(topicAlias === undefined || (topicAlias >= 1 && topicAlias <= 2), `alias ${topicAlias}`);
        const isKnown = topicAlias !== undefined && known.has(topicAlias);
        assert.equal(publish.topicName === "", isKnown, "the topic name goes once");
        if (topicAlias !== undefined && !isKnown) known.set(topicAlias, publish.topicName);
        heard.push(publish.topicName !== "" ? publish.topicName : known.get(topicAlias!)!);
        assert.equal(textOf(publish), topicName);
      }
      assert.deepEqual(heard, published);
      assert.equal(known.size, 2);
    });
  }
});

describe("a message for subscriptions that overlap", () => {
  test("goes once, at the highest QoS of them, with all their identifiers [MQTT5 3.3.4-2] [MQTT5 3.3.4-3] [MQTT5 3.3.4-4]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("overlap/#", { qos: 0, subscriptionIdentifier: 1 });
    await client.subscribe("overlap/+", { qos: 2, subscriptionIdentifier: 268_435_455 });
    await client.subscribe("overlap/a", { qos: 1, subscriptionIdentifier: 200 });
    await client.subscribe("+/a", { qos: 1 });
    await client.publish("overlap/a", "x", { qos: 2 });
    const publish = await client.receive();
    assert.equal(publish.qos, 2);
    assert.deepEqual(
      [...(publish.properties?.subscriptionIdentifiers ?? [])].sort((a, b) => a - b),
      [1, 200, 268_435_455],
    );
    await client.nothing();
  });

  test("goes to every client that has one [MQTT5 3.3.4-1]", async () => {
    const clients = await Promise.all([1, 2, 3].map(() => TestClient.connect(broker.port)));
    for (const client of clients) await client.subscribe("everyone/#", { qos: 1 });
    await clients[0].publish("everyone/a", "x", { qos: 1 });
    for (const client of clients) assert.deepEqual(await client.receiveTexts(1), ["x"]);
  });
});

test("a PUBLISH without a matching subscription is acknowledged with 0x10 [MQTT5 3.4.2.1] [MQTT5 3.5.2.1]", async () => {
  const client = await TestClient.connect(broker.port);
  assert.equal(await client.publish("nobody/1", "x", { qos: 1 }), ReasonCode.noMatchingSubscribers);
  assert.equal(await client.publish("nobody/2", "x", { qos: 2 }), ReasonCode.noMatchingSubscribers);
});

test("the server hands on DUP and RETAIN of its own making, not the publisher's [MQTT5 3.3.1-3] [MQTT5 3.3.1-12]", async () => {
  const client = await TestClient.connect(broker.port);
  await client.subscribe("flags", { qos: 1 });
  await client.publish("flags", "x", { qos: 1, dup: true, retain: true });
  const publish = await client.receive();
  assert.equal(publish.qos === 1 && publish.dup, false);
  assert.equal(publish.retain, false);
});
