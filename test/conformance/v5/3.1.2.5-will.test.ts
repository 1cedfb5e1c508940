import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import type { Will } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

const clock = new FakeClock();
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({}, { clock });
});
afterAll(() => broker.close());

/** A client that promises a will, and a witness of its topic. */
async function dyingAndWitness(
  name: string,
  { will = {}, sessionExpiryInterval = 0, keepAliveSeconds = 0 }: Scene = {},
): Promise<{ dying: TestClient; witness: TestClient; topicName: string }> {
  const topicName = `will/${name}`;
  const witness = await TestClient.connect(broker.port);
  await witness.subscribe(topicName, { qos: 2, retainAsPublished: true });
  const dying = await TestClient.connect(broker.port, {
    clientId: `dying-${name}`,
    keepAliveSeconds,
    will: { topicName, payload: Buffer.from("gone"), qos: 0, retain: false, ...will },
    properties: { sessionExpiryInterval },
  });
  return { dying, witness, topicName };
}

interface Scene {
  will?: Partial<Will>;
  sessionExpiryInterval?: number;
  keepAliveSeconds?: number;
}

describe("a will is published", () => {
  for (const [when, end] of [
    ["when the connection is lost", (dying) => dying.destroy()],
    ["on DISCONNECT 0x04, with Will Message", (dying) => dying.send({ type: "disconnect", reasonCode: 0x04 })],
    ["on DISCONNECT 0x80, Unspecified error", (dying) => dying.send({ type: "disconnect", reasonCode: 0x80 })],
    ["when the client breaks the protocol", (dying) => dying.sendBytes("f3 00")],
    ["when its keep alive has run out", () => clock.advance(16_000)],
  ] as const satisfies [string, (dying: TestClient) => void][]) {
    test(`${when} [MQTT5 3.1.2-7] [MQTT5 3.1.2-8]`, async () => {
      const { dying, witness } = await dyingAndWitness(when.replaceAll(/\W/g, "-"), { keepAliveSeconds: 10 });
      end(dying);
      assert.equal(textOf(await witness.receive()), "gone");
      await dying.closed();
      await witness.nothing();
    });
  }

  test("when another connection takes over and there is no delay [MQTT5 3.1.2-8]", async () => {
    const { dying, witness } = await dyingAndWitness("taken");
    const young = await TestClient.connect(broker.port, { clientId: dying.clientId });
    assert.equal(textOf(await witness.receive()), "gone");
    await young.disconnect();
    await witness.nothing();
  });

  for (const qos of [0, 1, 2] as const) {
    test(`with its QoS ${qos}, to be acknowledged accordingly [MQTT5 3.1.2-9]`, async () => {
      const { dying, witness } = await dyingAndWitness(`qos-${qos}`, { will: { qos } });
      dying.destroy();
      assert.equal((await witness.receive()).qos, qos);
      await witness.nothing();
    });
  }

  test("and not retained with Will Retain 0 [MQTT5 3.1.2-14]", async () => {
    const { dying, witness, topicName } = await dyingAndWitness("not-retained");
    dying.destroy();
    assert.equal((await witness.receive()).retain, false);
    const late = await TestClient.connect(broker.port);
    await late.subscribe(topicName);
    await late.nothing();
  });

  test("and retained with Will Retain 1 [MQTT5 3.1.2-15]", async () => {
    const { dying, witness, topicName } = await dyingAndWitness("retained", { will: { retain: true } });
    dying.destroy();
    assert.equal((await witness.receive()).retain, true);
    const late = await TestClient.connect(broker.port);
    await late.subscribe(topicName);
    assert.equal(textOf(await late.receive()), "gone");
  });

  test("with all its properties, user properties in order [MQTT5 3.1.3-10]", async () => {
    const properties = {
      payloadFormatIndicator: 1,
      contentType: "text/plain",
      responseTopic: "answer/here",
      correlationData: Uint8Array.of(0, 1, 255),
      userProperties: [
        ["b", "1"],
        ["a", "2"],
        ["b", "3"],
      ],
    } as const;
    const { dying, witness } = await dyingAndWitness("properties", { will: { properties } });
    dying.destroy();
    assert.deepEqual((await witness.receive()).properties, properties);
  });

  test("with a Message Expiry Interval that runs from its publication [MQTT5 3.1.3.2.4]", async () => {
    const { dying, witness } = await dyingAndWitness("expiry", {
      will: { properties: { messageExpiryInterval: 60 } },
    });
    clock.advance(100_000);
    dying.destroy();
    assert.equal((await witness.receive()).properties?.messageExpiryInterval, 60);
  });
});

describe("a will is not published", () => {
  test("after DISCONNECT 0x00 [MQTT5 3.1.2-10] [MQTT5 3.14.4-3]", async () => {
    const { dying, witness } = await dyingAndWitness("normal");
    await dying.disconnect();
    await witness.nothing();
  });

  test("a second time when it has been [MQTT5 3.1.2-10]", async () => {
    const { dying, witness } = await dyingAndWitness("once", { sessionExpiryInterval: 5 });
    dying.destroy();
    await witness.receive();
    clock.advance(10_000);
    await witness.nothing();
  });

  test("when its CONNECT was refused", async () => {
    const { witness, topicName } = await dyingAndWitness("refused");
    const refused = await TestClient.open(broker.port);
    const will = { topicName, payload: Buffer.from("refused"), qos: 0, retain: false } as const;
    const connack = await refused.request({ will, properties: { authenticationMethod: "unknown" } });
    assert.equal(connack.reasonCode, ReasonCode.badAuthenticationMethod);
    await refused.closed();
    await witness.nothing();
  });
});

describe("the Will Delay Interval", () => {
  const will = { properties: { willDelayInterval: 10 } };

  test("passes before the will is published [MQTT5 3.1.3.2.2]", async () => {
    const { dying, witness } = await dyingAndWitness("delay", { will, sessionExpiryInterval: 100 });
    dying.destroy();
    await broker.gone(dying.clientId);
    clock.advance(9_999);
    await witness.nothing();
    clock.advance(1);
    assert.equal(textOf(await witness.receive()), "gone");
  });

  test("is not sent on with the will", async () => {
    const { dying, witness } = await dyingAndWitness("delay-hidden", { will, sessionExpiryInterval: 100 });
    dying.destroy();
    await broker.gone(dying.clientId);
    clock.advance(10_000);
    assert.equal((await witness.receive()).properties, undefined);
  });

  test("is cut short by the end of the session [MQTT5 3.1.3.2.2]", async () => {
    const { dying, witness } = await dyingAndWitness("short-session", { will, sessionExpiryInterval: 3 });
    dying.destroy();
    await broker.gone(dying.clientId);
    clock.advance(2_999);
    await witness.nothing();
    clock.advance(1);
    assert.equal(textOf(await witness.receive()), "gone");
    clock.advance(20_000);
    await witness.nothing();
  });

  test("does not count for a session that ends with its connection", async () => {
    const { dying, witness } = await dyingAndWitness("no-session", { will });
    dying.destroy();
    assert.equal(textOf(await witness.receive()), "gone");
  });

  test("is interrupted for good by a new connection to the session [MQTT5 3.1.3-9]", async () => {
    const { dying, witness } = await dyingAndWitness("back", { will, sessionExpiryInterval: 100 });
    dying.destroy();
    await broker.gone(dying.clientId);
    clock.advance(9_000);
    const back = await TestClient.connect(broker.port, {
      clientId: dying.clientId,
      cleanStart: false,
      properties: { sessionExpiryInterval: 100 },
    });
    clock.advance(50_000);
    await back.disconnect();
    clock.advance(50_000);
    await witness.nothing();
  });

  test("is interrupted by a take-over as well [MQTT5 3.1.3-9]", async () => {
    const { dying, witness } = await dyingAndWitness("taken-late", { will, sessionExpiryInterval: 100 });
    const properties = { sessionExpiryInterval: 100 };
    const young = await TestClient.connect(broker.port, { clientId: dying.clientId, cleanStart: false, properties });
    await dying.closed();
    clock.advance(50_000);
    await young.nothing();
    await witness.nothing();
  });

  test("ends when a Clean Start ends the session: the will is published [MQTT5 3.1.2-8]", async () => {
    const { dying, witness } = await dyingAndWitness("clean", { will, sessionExpiryInterval: 100 });
    dying.destroy();
    await broker.gone(dying.clientId);
    await TestClient.connect(broker.port, { clientId: dying.clientId, cleanStart: true });
    assert.equal(textOf(await witness.receive()), "gone");
  });

  test("of a new connection replaces the old one's will", async () => {
    const { dying, witness, topicName } = await dyingAndWitness("replaced", { will, sessionExpiryInterval: 100 });
    dying.destroy();
    await broker.gone(dying.clientId);
    const back = await TestClient.connect(broker.port, {
      clientId: dying.clientId,
      cleanStart: false,
      will: { topicName, payload: Buffer.from("second"), qos: 0, retain: false },
      properties: { sessionExpiryInterval: 100 },
    });
    back.destroy();
    assert.equal(textOf(await witness.receive()), "second");
    clock.advance(20_000);
    await witness.nothing();
  });
});
