import assert from "node:assert/strict";
import { afterEach, describe, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import type { BrokerParts } from "../../../src/broker/broker.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let broker: TestBroker;
const start = async (options?: Partial<BrokerOptions>, parts?: Partial<BrokerParts>) => {
  broker = await startBroker(options, parts);
};
afterEach(() => broker.close());

test("CONNACK comes before all that the session was owed [MQTT5 3.2.0-1]", async () => {
  await start();
  const properties = { sessionExpiryInterval: 100 };
  const away = await TestClient.connect(broker.port, { clientId: "away", properties });
  await away.subscribe("t", { qos: 1 });
  await away.disconnect();
  const other = await TestClient.connect(broker.port);
  await other.publish("t", "x", { qos: 1 });
  const back = await TestClient.connect(broker.port, { clientId: "away", cleanStart: false, properties });
  assert.equal(back.connack.type, "connack");
  assert.equal(textOf(await back.receive()), "x");
});

test("CONNACK comes once [MQTT5 3.2.0-2]", async () => {
  await start();
  const client = await TestClient.connect(broker.port);
  await client.nothing();
});

describe("a refused CONNECT", () => {
  for (const [title, reasonCode, options, access, connect] of [
    ["bad user name or password", 0x86, {}, { authenticate: () => ReasonCode.badUserNameOrPassword }, {}],
    ["not authorized, decided later", 0x87, {}, { authenticate: async () => ReasonCode.notAuthorized }, {}],
    ["an authentication that fails itself", 0x88, {}, { authenticate: () => Promise.reject(new Error("down")) }, {}],
    ["no room for another connection", 0x89, { connectionsMax: 0 }, {}, {}],
    ["an Authentication Method that is not known", 0x8c, {}, {}, { properties: { authenticationMethod: "SCRAM" } }],
  ] as const) {
    test(`${title}: CONNACK 0x${reasonCode.toString(16)} without Session Present, then the end [MQTT5 3.2.2-6] [MQTT5 3.2.2-7] [MQTT5 3.2.2-8]`, async () => {
      await start(options, { access: { ...openAccess, ...access } });
      const client = await TestClient.open(broker.port);
      const connack = await client.request({ ...connect });
      assert.equal(connack.reasonCode, reasonCode);
      assert.equal(connack.sessionPresent, false);
      await client.closed();
      assert.deepEqual(client.unread, []);
    });
  }

  test("leaves the connection and the session of the same name alone [MQTT5 3.1.4-2]", async () => {
    const authenticate = ({ userName }: { userName: string | undefined }) =>
      userName === "mallory" ? ReasonCode.notAuthorized : ReasonCode.success;
    await start({}, { access: { ...openAccess, authenticate } });
    const alice = await TestClient.connect(broker.port, { clientId: "c", userName: "alice" });
    await alice.subscribe("t");
    const mallory = await TestClient.open(broker.port);
    await mallory.request({ clientId: "c", userName: "mallory", cleanStart: true });
    await mallory.closed();
    await alice.publish("t", "x");
    assert.equal(textOf(await alice.receive()), "x");
  });
});

describe("Session Present", () => {
  const properties = { sessionExpiryInterval: 100 };

  test("is 0 after Clean Start, also where there was a session [MQTT5 3.2.2-2]", async () => {
    await start();
    await (await TestClient.connect(broker.port, { clientId: "c", properties })).disconnect();
    const again = await TestClient.connect(broker.port, { clientId: "c", cleanStart: true, properties });
    assert.equal(again.connack.sessionPresent, false);
  });

  test("is 1 where there is a session, 0 where there is none [MQTT5 3.2.2-3]", async () => {
    await start();
    const first = await TestClient.connect(broker.port, { clientId: "c", cleanStart: false, properties });
    assert.equal(first.connack.sessionPresent, false);
    await first.disconnect();
    const second = await TestClient.connect(broker.port, { clientId: "c", cleanStart: false });
    assert.equal(second.connack.sessionPresent, true);
    await second.disconnect();
    const third = await TestClient.connect(broker.port, { clientId: "c", cleanStart: false });
    assert.equal(third.connack.sessionPresent, false);
  });

  test("is 0 for another user: what one is owed is nobody else's", async () => {
    await start();
    const alice = await TestClient.connect(broker.port, { clientId: "c", userName: "alice", properties });
    await alice.subscribe("t", { qos: 1 });
    await alice.disconnect();
    await (await TestClient.connect(broker.port)).publish("t", "secret", { qos: 1 });
    const mallory = await TestClient.connect(broker.port, { clientId: "c", userName: "mallory", cleanStart: false });
    assert.equal(mallory.connack.sessionPresent, false);
    await mallory.nothing();
  });
});

describe("the properties of CONNACK", () => {
  test("name the limits of the server", async () => {
    await start({ receiveMaximum: 7, packetBytesMax: 2000, topicAliasMax: 3 });
    const { connack } = await TestClient.connect(broker.port);
    assert.equal(connack.properties?.receiveMaximum, 7);
    assert.equal(connack.properties?.maximumPacketSize, 2000);
    assert.equal(connack.properties?.topicAliasMaximum, 3);
  });

  test("refuse nothing: every QoS, RETAIN, wildcards, identifiers and shared subscriptions are there [MQTT5 3.2.2-9]", async () => {
    await start();
    const { connack } = await TestClient.connect(broker.port);
    const { maximumQoS, retainAvailable, wildcardSubscriptionAvailable } = connack.properties ?? {};
    const { subscriptionIdentifiersAvailable, sharedSubscriptionAvailable } = connack.properties ?? {};
    assert.equal(maximumQoS ?? 2, 2);
    assert.equal(retainAvailable ?? true, true);
    assert.equal(wildcardSubscriptionAvailable ?? true, true);
    assert.equal(subscriptionIdentifiersAvailable ?? true, true);
    assert.equal(sharedSubscriptionAvailable ?? true, true);
  });

  for (const [asked, granted] of [
    [5000, 600],
    [0xffff_ffff, 600],
    [600, undefined],
    [30, undefined],
    [undefined, undefined],
  ] as const) {
    test(`a Session Expiry Interval of ${asked} is answered with ${granted} where 600 is the most [MQTT5 3.2.2.3.2]`, async () => {
      await start({ sessionExpirySecondsMax: 600 });
      const { connack } = await TestClient.connect(broker.port, { properties: { sessionExpiryInterval: asked } });
      assert.equal(connack.properties?.sessionExpiryInterval, granted);
    });
  }

  test("hold Response Information for who asks, from which a topic of its own can be made [MQTT5 3.1.2-28]", async () => {
    await start({ responseInformation: "answers/" });
    const properties = { requestResponseInformation: true };
    const one = await TestClient.connect(broker.port, { properties });
    const other = await TestClient.connect(broker.port, { properties });
    const prefix = one.connack.properties?.responseInformation;
    assert.match(prefix!, /^answers\/./);
    assert.notEqual(prefix, other.connack.properties?.responseInformation);
  });

  for (const properties of [undefined, { requestResponseInformation: false }]) {
    test(`hold no Response Information for a client that sends ${JSON.stringify(properties)} [MQTT5 3.1.2-28]`, async () => {
      await start({ responseInformation: "answers/" });
      const { connack } = await TestClient.connect(broker.port, { properties });
      assert.equal(connack.properties?.responseInformation, undefined);
    });
  }
});
