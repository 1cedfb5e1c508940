import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";

let clock: FakeClock;
let broker: TestBroker;
beforeEach(async () => {
  clock = new FakeClock();
  broker = await startBroker({}, { clock });
});
afterEach(() => broker.close());

describe("DISCONNECT of the client", () => {
  for (const [title, bytes] of [
    ["without a Reason Code", "e0 00"],
    ["with Reason Code 0x00", "e0 01 00"],
    ["with Reason Code and no properties", "e0 02 00 00"],
  ] as const) {
    test(`${title} closes the connection without an answer [MQTT5 3.14.4-1]`, async () => {
      const client = await TestClient.connect(broker.port);
      client.sendBytes(bytes);
      await client.closed();
      assert.deepEqual(client.unread, []);
    });
  }

  test("ends what is read: packets behind it are not handled [MQTT5 3.14.4-1]", async () => {
    const client = await TestClient.connect(broker.port);
    client.sendBytes("e0 00 31 05 0001 61 00 78");
    await client.closed();
    assert.equal(broker.broker.retained.count, 0);
  });

  for (const [title, bytes, reasonCode, clause] of [
    ["flags", "e1 00", 0x81, "3.14.1-1"],
    ["a Reason Code that does not exist", "e0 01 7f", 0x82, "3.14.2-1"],
    ["a Topic Alias", "e0 05 00 03 230001", 0x81, "2.2.2.2"],
    ["two Session Expiry Intervals", "e0 0c 00 0a 1100000001 1100000001", 0x82, "3.14.2.2.2"],
  ] as const) {
    test(`with ${title} is answered 0x${reasonCode.toString(16)} [MQTT5 ${clause}]`, async () => {
      const client = await TestClient.connect(broker.port);
      client.sendBytes(bytes);
      assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
      await client.closed();
    });
  }
});

describe("the Session Expiry Interval of DISCONNECT", () => {
  const expiry = (sessionExpiryInterval: number) => ({ sessionExpiryInterval });

  test("replaces the one of CONNECT, longer or shorter [MQTT5 3.14.2.2.2]", async () => {
    for (const [inConnect, inDisconnect] of [
      [10, 100],
      [100, 10],
    ]) {
      const connect = { clientId: `expiry-${inConnect}`, properties: expiry(inConnect) };
      const client = await TestClient.connect(broker.port, connect);
      client.send({ type: "disconnect", reasonCode: 0, properties: expiry(inDisconnect) });
      await client.closed();
      clock.advance(inDisconnect * 1000 - 1);
      assert.ok(broker.broker.sessions.get(connect.clientId));
      clock.advance(1);
      assert.equal(broker.broker.sessions.get(connect.clientId), undefined);
    }
  });

  test("0 ends the session at once [MQTT5 3.14.2.2.2]", async () => {
    const client = await TestClient.connect(broker.port, { clientId: "end", properties: expiry(100) });
    client.send({ type: "disconnect", reasonCode: 0, properties: expiry(0) });
    await client.closed();
    const back = await TestClient.connect(broker.port, { clientId: "end", cleanStart: false });
    assert.equal(back.connack.sessionPresent, false);
  });

  test("must not prolong a session that was to end with its connection: 0x82 [MQTT5 3.14.2.2.2]", async () => {
    const client = await TestClient.connect(broker.port, { clientId: "short" });
    client.send({ type: "disconnect", reasonCode: 0, properties: expiry(100) });
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.protocolError);
    await client.closed();
    const back = await TestClient.connect(broker.port, { clientId: "short", cleanStart: false });
    assert.equal(back.connack.sessionPresent, false);
  });

  test("is kept within the most the server grants", async () => {
    await broker.close();
    broker = await startBroker({ sessionExpirySecondsMax: 50 }, { clock });
    const client = await TestClient.connect(broker.port, { clientId: "most", properties: expiry(10) });
    client.send({ type: "disconnect", reasonCode: 0, properties: expiry(0xffff_ffff) });
    await client.closed();
    clock.advance(50_000);
    assert.equal(broker.broker.sessions.get("most"), undefined);
  });
});

describe("DISCONNECT of the server", () => {
  test("0x8B goes to every client when it shuts down; then it closes [MQTT5 4.13]", async () => {
    const clients = await Promise.all([1, 2, 3].map(() => TestClient.connect(broker.port)));
    await broker.close();
    for (const client of clients) {
      assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.serverShuttingDown);
      await client.closed();
    }
  });

  test("is not sent before CONNACK [MQTT5 3.14.0-1]", async () => {
    const client = await TestClient.open(broker.port);
    const other = await TestClient.connect(broker.port);
    await other.nothing();
    await broker.close();
    await client.closed();
    assert.deepEqual(client.unread, []);
  });

  test("says in words what was wrong, and has no Session Expiry Interval [MQTT5 3.14.2-2] [MQTT5 3.14.2.2.3]", async () => {
    const client = await TestClient.connect(broker.port);
    client.sendPublish("", "x");
    const { properties } = await client.expect("disconnect");
    assert.match(properties?.reasonString ?? "", /topic name is empty/);
    assert.equal(properties?.sessionExpiryInterval, undefined);
  });
});
