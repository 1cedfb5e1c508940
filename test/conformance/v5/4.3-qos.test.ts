import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import type { PublishAnswer } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.close());

async function pair(topicName: string): Promise<{ publisher: TestClient; subscriber: TestClient }> {
  const subscriber = await TestClient.connect(broker.port);
  await subscriber.subscribe(topicName, { qos: 2 });
  return { publisher: await TestClient.connect(broker.port), subscriber };
}

function answer(client: TestClient, type: PublishAnswer["type"], packetIdentifier: number, reasonCode: ReasonCode = 0) {
  client.send({ type, packetIdentifier, reasonCode });
}

describe("QoS 0 from a client", () => {
  test("is passed on and not answered [MQTT5 3.3.4-1]", async () => {
    const { publisher, subscriber } = await pair("in/0");
    await publisher.publish("in/0", "x");
    assert.equal(textOf(await subscriber.receive()), "x");
    await publisher.nothing();
  });
});

describe("QoS 1 from a client", () => {
  test("is answered with a PUBACK of its identifier [MQTT5 4.3.2-4]", async () => {
    const { publisher, subscriber } = await pair("in/1");
    for (const packetIdentifier of [1, 300, 65_535]) {
      publisher.sendPublish("in/1", "x", { qos: 1, packetIdentifier });
      assert.deepEqual(await publisher.expect("puback"), { type: "puback", packetIdentifier, reasonCode: 0 });
    }
    await subscriber.receiveTexts(3);
  });

  test("is a new message once the PUBACK is sent, whatever its DUP and identifier [MQTT5 4.3.2-5]", async () => {
    const { publisher, subscriber } = await pair("in/1/again");
    for (const [text, dup] of [
      ["a", false],
      ["b", true],
      ["c", false],
    ] as const) {
      await publisher.publish("in/1/again", text, { qos: 1, packetIdentifier: 3, dup });
    }
    assert.deepEqual(await subscriber.receiveTexts(3), ["a", "b", "c"]);
  });
});

describe("QoS 2 from a client", () => {
  test("goes PUBLISH, PUBREC, PUBREL, PUBCOMP with one identifier [MQTT5 4.3.3-8] [MQTT5 4.3.3-11]", async () => {
    const { publisher, subscriber } = await pair("in/2");
    publisher.sendPublish("in/2", "x", { qos: 2, packetIdentifier: 9 });
    assert.deepEqual(await publisher.expect("pubrec"), { type: "pubrec", packetIdentifier: 9, reasonCode: 0 });
    answer(publisher, "pubrel", 9);
    assert.deepEqual(await publisher.expect("pubcomp"), { type: "pubcomp", packetIdentifier: 9, reasonCode: 0 });
    assert.equal(textOf(await subscriber.receive()), "x");
    await publisher.nothing();
  });

  test("is published once, however often it comes before its PUBREL, each answered with PUBREC [MQTT5 4.3.3-10]", async () => {
    const { publisher, subscriber } = await pair("in/2/dup");
    for (const dup of [false, true, true]) {
      publisher.sendPublish("in/2/dup", "x", { qos: 2, packetIdentifier: 9, dup });
      assert.ok((await publisher.answerTo("pubrec", 9)).reasonCode < 0x80);
    }
    answer(publisher, "pubrel", 9);
    await publisher.expect("pubcomp");
    assert.equal(textOf(await subscriber.receive()), "x");
    await subscriber.nothing();
  });

  test("is a new message under the same identifier after its PUBCOMP [MQTT5 4.3.3-12]", async () => {
    const { publisher, subscriber } = await pair("in/2/again");
    for (const text of ["a", "b"]) await publisher.publish("in/2/again", text, { qos: 2, packetIdentifier: 9 });
    assert.deepEqual(await subscriber.receiveTexts(2), ["a", "b"]);
  });

  test("is a new message under the same identifier after it was refused [MQTT5 4.3.3-9]", async () => {
    const { publisher, subscriber } = await pair("in/2/refused");
    const packetIdentifier = 9;
    const properties = { payloadFormatIndicator: 1 } as const;
    publisher.sendPublish("in/2/refused", Uint8Array.of(0xff), { qos: 2, packetIdentifier, properties });
    assert.equal((await publisher.answerTo("pubrec", 9)).reasonCode, ReasonCode.payloadFormatInvalid);
    assert.ok((await publisher.publish("in/2/refused", "good", { qos: 2, packetIdentifier })) < 0x80);
    assert.equal(textOf(await subscriber.receive()), "good");
  });

  test("a PUBREL sent again is answered again: the identifier is not found any more [MQTT5 3.7.2.1]", async () => {
    const { publisher } = await pair("in/2/rel");
    await publisher.publish("in/2/rel", "x", { qos: 2, packetIdentifier: 9 });
    answer(publisher, "pubrel", 9);
    assert.equal((await publisher.expect("pubcomp")).reasonCode, ReasonCode.packetIdentifierNotFound);
  });

  test("a PUBREL that does not find the identifier is no reason to end the connection [MQTT5 3.6.2.1]", async () => {
    const { publisher } = await pair("in/2/not-found");
    answer(publisher, "pubrel", 1234, ReasonCode.packetIdentifierNotFound);
    assert.equal((await publisher.expect("pubcomp")).reasonCode, ReasonCode.packetIdentifierNotFound);
    await publisher.nothing();
  });
});

describe("QoS 0 to a client", () => {
  test("has neither DUP nor identifier, and waits for nothing [MQTT5 4.3.1-1] [MQTT5 2.2.1-2]", async () => {
    const { publisher, subscriber } = await pair("out/0");
    await publisher.publish("out/0", "x");
    const publish = await subscriber.expect("publish");
    assert.equal("packetIdentifier" in publish, false);
    assert.equal("dup" in publish, false);
  });
});

for (const qos of [1, 2] as const) {
  describe(`QoS ${qos} to a client`, () => {
    test("has a fresh identifier and DUP 0, from 1 on [MQTT5 4.3.2-1] [MQTT5 4.3.2-2] [MQTT5 4.3.3-1] [MQTT5 4.3.3-2] [MQTT5 2.2.1-4]", async () => {
      const { publisher, subscriber } = await pair(`out/${qos}`);
      const identifiers: number[] = [];
      for (let i = 0; i < 20; i++) {
        await publisher.publish(`out/${qos}`, "x", { qos });
        const publish = await subscriber.expect("publish");
        assert.ok(publish.qos === qos && !publish.dup);
        identifiers.push(publish.packetIdentifier);
      }
      assert.equal(identifiers[0], 1);
      assert.equal(new Set(identifiers).size, 20);
      assert.ok(!identifiers.includes(0));
    });

    test("is not sent again on the same connection, however long its answer takes [MQTT5 4.4.0-1]", async () => {
      const { publisher, subscriber } = await pair(`out/${qos}/once`);
      await publisher.publish(`out/${qos}/once`, "x", { qos });
      await subscriber.expect("publish");
      await subscriber.nothing();
    });

    test("ends with an answer of 0x80 or above: the next one may follow [MQTT5 4.4.0-2]", async () => {
      const properties = { receiveMaximum: 1, sessionExpiryInterval: 100 };
      const clientId = `refuses-${qos}`;
      const subscriber = await TestClient.connect(broker.port, { clientId, properties });
      await subscriber.subscribe(`out/${qos}/refuse`, { qos });
      const publisher = await TestClient.connect(broker.port);
      for (const text of ["a", "b"]) await publisher.publish(`out/${qos}/refuse`, text, { qos });
      for (const text of ["a", "b"]) {
        const publish = await subscriber.expect("publish");
        assert.ok(publish.qos !== 0);
        assert.equal(textOf(publish), text);
        answer(subscriber, qos === 1 ? "puback" : "pubrec", publish.packetIdentifier, ReasonCode.quotaExceeded);
      }
      await subscriber.nothing();
      subscriber.destroy();
      await broker.gone(clientId);
      const back = await TestClient.connect(broker.port, { clientId, cleanStart: false, properties });
      assert.equal(back.connack.sessionPresent, true);
      await back.nothing();
      await back.disconnect();
    });

    test("passes over identifiers in use when they have gone round, and over 0 [MQTT5 2.2.1-3] [MQTT5 2.2.1-4]", async () => {
      const { publisher, subscriber } = await pair(`out/${qos}/round`);
      await publisher.publish(`out/${qos}/round`, "held", { qos });
      const held = await subscriber.expect("publish");
      assert.ok(held.qos !== 0);
      const { inflight } = broker.broker.sessions.get(subscriber.clientId)!;
      // As if all the others had gone and were acknowledged: the next identifier is the last.
      let taken = 0;
      while (taken !== 65_534) {
        taken = inflight.take(qos, undefined);
        inflight.settle(taken);
      }
      const identifiers = new Set<number>();
      for (let i = 0; i < 3; i++) {
        await publisher.publish(`out/${qos}/round`, "x", { qos });
        const publish = await subscriber.expect("publish");
        assert.ok(publish.qos !== 0);
        identifiers.add(publish.packetIdentifier);
      }
      assert.equal(identifiers.size, 3);
      assert.ok(identifiers.has(65_535));
      assert.ok(!identifiers.has(0) && !identifiers.has(held.packetIdentifier));
    });
  });
}

describe("QoS 2 to a client", () => {
  test("goes PUBLISH, PUBREC, PUBREL, PUBCOMP with one identifier [MQTT5 4.3.3-4]", async () => {
    const { publisher, subscriber } = await pair("out/2/steps");
    await publisher.publish("out/2/steps", "x", { qos: 2 });
    const publish = await subscriber.expect("publish");
    assert.ok(publish.qos === 2);
    const { packetIdentifier } = publish;
    answer(subscriber, "pubrec", packetIdentifier);
    assert.deepEqual(await subscriber.expect("pubrel"), { type: "pubrel", packetIdentifier, reasonCode: 0 });
    answer(subscriber, "pubcomp", packetIdentifier);
    await subscriber.nothing();
  });

  test("answers a second PUBREC with another PUBREL, and never with the PUBLISH [MQTT5 4.3.3-6]", async () => {
    const { publisher, subscriber } = await pair("out/2/rec");
    await publisher.publish("out/2/rec", "x", { qos: 2 });
    const publish = await subscriber.expect("publish");
    assert.ok(publish.qos === 2);
    for (let i = 0; i < 2; i++) {
      answer(subscriber, "pubrec", publish.packetIdentifier);
      assert.equal((await subscriber.expect("pubrel")).reasonCode, ReasonCode.success);
    }
  });
});

describe("an answer that nothing waits for", () => {
  for (const [type, reply] of [
    ["puback", undefined],
    ["pubrec", "pubrel"],
    ["pubcomp", undefined],
  ] as const) {
    const follows = reply === undefined ? "is passed over" : `is told so with ${reply.toUpperCase()} 0x92`;
    test(`${type.toUpperCase()} ${follows} [MQTT5 4.3.3] [MQTT5 3.6.2.1]`, async () => {
      const client = await TestClient.connect(broker.port);
      answer(client, type, 4711);
      if (reply !== undefined) {
        const packet = await client.expect(reply);
        assert.equal(packet.packetIdentifier, 4711);
        assert.equal(packet.reasonCode, ReasonCode.packetIdentifierNotFound);
      }
      await client.nothing();
    });
  }

  for (const [title, qos, type] of [
    ["PUBCOMP before PUBREC", 2, "pubcomp"],
    ["PUBACK for QoS 2", 2, "puback"],
    ["PUBCOMP for QoS 1", 1, "pubcomp"],
  ] as const) {
    test(`${title} does not end the handshake`, async () => {
      const topicName = `out/wrong/${qos}/${type}`;
      const properties = { receiveMaximum: 1 };
      const subscriber = await TestClient.connect(broker.port, { properties });
      await subscriber.subscribe(topicName, { qos });
      const publisher = await TestClient.connect(broker.port);
      for (const text of ["a", "b"]) await publisher.publish(topicName, text, { qos });
      const publish = await subscriber.expect("publish");
      assert.ok(publish.qos !== 0);
      answer(subscriber, type, publish.packetIdentifier);
      await subscriber.nothing();
      answer(subscriber, qos === 1 ? "puback" : "pubrec", publish.packetIdentifier);
      if (qos === 2) {
        await subscriber.expect("pubrel");
        answer(subscriber, "pubcomp", publish.packetIdentifier);
      }
      assert.equal(textOf(await subscriber.receive()), "b");
    });
  }
});

describe("an acknowledgement that cannot be ends its sender's connection", () => {
  for (const [title, written, reasonCode, clause] of [
    ["PUBACK with flags", "41 02 0001", 0x81, "2.1.3-1"],
    ["PUBREL without its flag", "60 02 0001", 0x81, "3.6.1-1"],
    ["PUBACK of identifier 0", "40 02 0000", 0x81, "2.2.1"],
    ["PUBREC that is cut off", "50 01 00", 0x81, "3.5.2"],
    ["PUBACK with a Reason Code that is none", "40 03 0001 01", 0x82, "3.4.2-1"],
    ["PUBREC with a Reason Code that is none", "50 03 0001 92", 0x82, "3.5.2-1"],
    ["PUBREL with a Reason Code that is none", "62 03 0001 10", 0x82, "3.6.2-1"],
    ["PUBCOMP with a Reason Code that is none", "70 03 0001 80", 0x82, "3.7.2-1"],
    ["PUBACK with two Reason Strings", "40 0c 0001 00 08 1f0001'a' 1f0001'a'", 0x82, "3.4.2.2.2"],
    ["PUBACK with bytes behind its end", "40 05 0001 00 00 ff", 0x81, "3.4.3"],
  ] as const) {
    test(`${title}: DISCONNECT 0x${reasonCode.toString(16)} [MQTT5 ${clause}] [MQTT5 4.13.1-1]`, async () => {
      const client = await TestClient.connect(broker.port);
      client.sendBytes(bytesOf(written));
      assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
      await client.closed();
    });
  }

  test("one with all that is allowed is taken", async () => {
    const client = await TestClient.connect(broker.port);
    client.sendBytes(bytesOf("40 10 0001 83 0c 1f0002'no' 260001'a'0001'b'"));
    await client.nothing();
  });
});
