import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";
import { until } from "../../support/until.ts";
import { connect311, speak } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const text = (payload: Uint8Array) => Buffer.from(payload).toString();
const bytes = (payload: string) => new Uint8Array(Buffer.from(payload));

for (const [name, written] of [
  ["PUBLISH", "30 03 0001 'a'"],
  ["SUBSCRIBE", "82 06 0001 0001 'a' 00"],
  ["PINGREQ", "c0 00"],
  ["DISCONNECT", "e0 00"],
  ["CONNACK", "20 02 0000"],
] as const) {
  test(`${name} as the first packet closes the connection [MQTT311 3.1.0-1]`, async () => {
    const client = await speak(server.port, written);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

test("a second CONNECT closes the connection, and its will is published [MQTT311 3.1.0-2]", async () => {
  const watcher = await connect311(server.port);
  await watcher.subscribe("second/will");
  const will = { topicName: "second/will", payload: bytes("gone"), qos: 0, retain: false } as const;
  const client = await connect311(server.port, { will });
  client.send({ type: "connect", protocolVersion: 4, cleanStart: true, keepAliveSeconds: 0, clientId: "another" });
  await client.closed();
  assert.deepEqual(client.unread, []);
  assert.equal(text((await watcher.receive()).payload), "gone");
});

test("a protocol name that is not MQTT is not served [MQTT311 3.1.2-1]", async () => {
  for (const name of ["mqtt", "MQTt", "MQTX", "HTTP"]) {
    const client = await speak(server.port, `10 0d 0004 '${name}' 04 02 0000 0001 'c'`);
    await client.closed();
    for (const packet of client.unread)
      assert.ok(packet.type === "connack" && packet.reasonCode !== ReasonCode.success);
  }
});

test("an unknown protocol level is answered with return code 1, then closed [MQTT311 3.1.2-2]", async () => {
  for (const level of ["00", "01", "02", "03", "06", "7f"]) {
    const client = await speak(server.port, `10 0d 0004 'MQTT' ${level} 02 0000 0001 'c'`);
    if (level === "06" || level === "7f") client.version = 5;
    assert.equal((await client.expect("connack")).reasonCode, ReasonCode.unsupportedProtocolVersion);
    await client.closed();
  }
});

for (const [what, written, clause] of [
  ["the reserved flag set", "10 0d 0004 'MQTT' 04 03 0000 0001 'c'", "3.1.2-3"],
  ["a Will Flag but no will", "10 0d 0004 'MQTT' 04 06 0000 0001 'c'", "3.1.2-9"],
  ["a Will Flag and no Will Message", "10 10 0004 'MQTT' 04 06 0000 0001 'c' 0001 'w'", "3.1.2-9"],
  ["a will but no Will Flag", "10 12 0004 'MQTT' 04 02 0000 0001 'c' 0001 'w' 0000", "3.1.2-11"],
  ["Will QoS 1 without a Will Flag", "10 0d 0004 'MQTT' 04 0a 0000 0001 'c'", "3.1.2-13"],
  ["Will QoS 2 without a Will Flag", "10 0d 0004 'MQTT' 04 12 0000 0001 'c'", "3.1.2-13"],
  ["Will QoS 3", "10 12 0004 'MQTT' 04 1e 0000 0001 'c' 0001 'w' 0000", "3.1.2-14"],
  ["Will Retain without a Will Flag", "10 0d 0004 'MQTT' 04 22 0000 0001 'c'", "3.1.2-15"],
  ["a user name but no User Name Flag", "10 10 0004 'MQTT' 04 02 0000 0001 'c' 0001 'u'", "3.1.2-18"],
  ["a User Name Flag but no user name", "10 0d 0004 'MQTT' 04 82 0000 0001 'c'", "3.1.2-19"],
  ["a password but no Password Flag", "10 13 0004 'MQTT' 04 82 0000 0001 'c' 0001 'u' 0001 'p'", "3.1.2-20"],
  ["a Password Flag but no password", "10 10 0004 'MQTT' 04 c2 0000 0001 'c' 0001 'u'", "3.1.2-21"],
  ["a Password Flag without a User Name Flag", "10 10 0004 'MQTT' 04 42 0000 0001 'p' 0001 'p'", "3.1.2-22"],
  ["no client identifier", "10 0a 0004 'MQTT' 04 02 0000", "3.1.3-3"],
  ["half a client identifier", "10 0d 0004 'MQTT' 04 02 0000 0002 'c'", "1.5.3"],
  ["a wildcard in the Will Topic", "10 12 0004 'MQTT' 04 06 0000 0001 'c' 0001 '#' 0000", "4.7.1-1"],
  ["an empty Will Topic", "10 11 0004 'MQTT' 04 06 0000 0001 'c' 0000 0000", "4.7.3-1"],
  ["bytes behind its end", "10 0e 0004 'MQTT' 04 02 0000 0001 'c' 00", "2.2.3"],
  ["flags in its fixed header", "11 0d 0004 'MQTT' 04 02 0000 0001 'c'", "2.2.2-2"],
] as const) {
  test(`CONNECT with ${what} is closed without a CONNACK [MQTT311 ${clause}] [MQTT311 3.1.4-1]`, async () => {
    const client = await speak(server.port, written);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

test("without Clean Session the session goes on: subscriptions stay, QoS 1 and 2 messages wait [MQTT311 3.1.2-4] [MQTT311 3.1.2-5]", async () => {
  const first = await connect311(server.port, { clientId: "stays", cleanStart: false });
  await first.subscribe("stays/1", { qos: 1 });
  await first.subscribe("stays/2", { qos: 2 });
  await first.disconnect();
  await server.gone("stays");
  const publisher = await connect311(server.port);
  await publisher.publish("stays/1", "one", { qos: 1 });
  await publisher.publish("stays/2", "two", { qos: 2 });
  const second = await connect311(server.port, { clientId: "stays", cleanStart: false });
  assert.equal(second.connack.sessionPresent, true);
  const received = [await second.receive(), await second.receive()];
  assert.deepEqual(
    received.map(({ topicName, qos, payload }) => [topicName, qos, text(payload)]),
    [
      ["stays/1", 1, "one"],
      ["stays/2", 2, "two"],
    ],
  );
  await publisher.publish("stays/1", "again", { qos: 1 });
  assert.equal(text((await second.receive()).payload), "again");
});

test("Clean Session discards what there was, and its own session ends with the connection [MQTT311 3.1.2-6]", async () => {
  const first = await connect311(server.port, { clientId: "clean", cleanStart: false });
  await first.subscribe("clean/#", { qos: 1 });
  await first.disconnect();
  await server.gone("clean");
  const publisher = await connect311(server.port);
  await publisher.publish("clean/a", "owed", { qos: 1 });
  const second = await connect311(server.port, { clientId: "clean" });
  assert.equal(second.connack.sessionPresent, false);
  await publisher.publish("clean/b", "not wanted any more", { qos: 1 });
  await second.nothing();
  await second.subscribe("clean/#", { qos: 1 });
  await second.disconnect();
  await server.gone("clean");
  const third = await connect311(server.port, { clientId: "clean", cleanStart: false });
  assert.equal(third.connack.sessionPresent, false);
  await publisher.publish("clean/c", "x", { qos: 1 });
  await third.nothing();
});

test("retained messages outlive the session that published them [MQTT311 3.1.2-7]", async () => {
  const publisher = await connect311(server.port);
  await publisher.publish("outlives", "x", { retain: true });
  await publisher.disconnect();
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("outlives");
  assert.equal(text((await subscriber.receive()).payload), "x");
});

for (const qos of [0, 1, 2] as const) {
  for (const retain of [false, true]) {
    test(`a will at QoS ${qos}${retain ? ", retained," : ""} is published as it was asked for when the network fails [MQTT311 3.1.2-8] [MQTT311 3.1.2-9] [MQTT311 ${retain ? "3.1.2-17" : "3.1.2-16"}]`, async () => {
      const topicName = `will/${qos}/${retain}`;
      const watcher = await connect311(server.port);
      await watcher.subscribe(topicName, { qos: 2 });
      const will = { topicName, payload: bytes("gone"), qos, retain };
      const client = await connect311(server.port, { will });
      await watcher.nothing();
      client.destroy();
      const heard = await watcher.receive();
      assert.deepEqual([heard.qos, heard.retain, text(heard.payload)], [qos, false, "gone"]);
      const late = await connect311(server.port);
      await late.subscribe(topicName, { qos: 2 });
      if (retain) assert.equal((await late.receive()).retain, true);
      await late.nothing();
    });
  }
}

test("a will is published once, and is forgotten with that or with a DISCONNECT [MQTT311 3.1.2-10] [MQTT311 3.14.4-3]", async () => {
  const watcher = await connect311(server.port);
  await watcher.subscribe("forgotten");
  const will = { topicName: "forgotten", payload: bytes(""), qos: 0, retain: false } as const;
  const broken = await connect311(server.port, { clientId: "w", cleanStart: false, will });
  broken.destroy();
  assert.equal((await watcher.receive()).payload.length, 0);
  const again = await connect311(server.port, { clientId: "w", cleanStart: false });
  again.destroy();
  await server.gone("w");
  const polite = await connect311(server.port, { clientId: "w", cleanStart: false, will });
  await polite.disconnect();
  await server.gone("w");
  await watcher.nothing();
});

test("without a will nothing is published [MQTT311 3.1.2-12]", async () => {
  const own = await startBroker();
  const watcher = await connect311(own.port);
  await watcher.subscribe("#");
  const client = await connect311(own.port, { clientId: "will-less" });
  client.destroy();
  await own.gone("will-less");
  await watcher.nothing();
  await own.close();
});

test("user name and password may be empty [MQTT311 3.1.3.5]", async () => {
  const client = await connect311(server.port, { userName: "", password: bytes("") });
  await client.nothing();
});

test("a client that says nothing for one and a half times its keep alive is cut off, and its will published [MQTT311 3.1.2-24]", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const watcher = await connect311(own.port);
  await watcher.subscribe("silent");
  const will = { topicName: "silent", payload: bytes("gone"), qos: 0, retain: false } as const;
  const silent = await connect311(own.port, { clientId: "silent", keepAliveSeconds: 10, will });
  clock.advance(14_900);
  await watcher.nothing();
  await silent.nothing();
  clock.advance(14_900);
  await watcher.nothing();
  clock.advance(1000);
  await silent.closed();
  assert.deepEqual(silent.unread, []);
  assert.equal(text((await watcher.receive()).payload), "gone");
  await own.close();
});

test("a keep alive of 0 never ends [MQTT311 3.1.2.10]", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const client = await connect311(own.port, { keepAliveSeconds: 0 });
  clock.advance(7 * 24 * 3600 * 1000);
  await client.nothing();
  await own.close();
});

test("client identifiers of 1 to 23 letters and digits, and longer ones, are allowed [MQTT311 3.1.3-5]", async () => {
  for (const clientId of [
    "0",
    "abcdefghijklmnopqrstuvw",
    "ABCDEFGHIJKLMNOPQRSTUVW",
    "0123456789xyzXYZ",
    "x".repeat(65_535),
  ]) {
    const client = await connect311(server.port, { clientId });
    assert.ok(server.broker.sessions.get(clientId) !== undefined);
    await client.disconnect();
  }
});

test("clients without an identifier are given one each [MQTT311 3.1.3-6]", async () => {
  const first = await connect311(server.port, { clientId: "" });
  const second = await connect311(server.port, { clientId: "" });
  await first.nothing();
  await second.nothing();
});

test("no identifier without Clean Session is refused with return code 2 [MQTT311 3.1.3-7] [MQTT311 3.1.3-8]", async () => {
  const client = await TestClient.open(server.port);
  const connack = await client.request({ protocolVersion: 4, clientId: "", cleanStart: false });
  assert.equal(connack.reasonCode, ReasonCode.clientIdentifierNotValid);
  assert.equal(connack.sessionPresent, false);
  await client.closed();
});

test("a client that connects twice keeps its newer connection [MQTT311 3.1.4-2]", async () => {
  const first = await connect311(server.port, { clientId: "twice" });
  const second = await connect311(server.port, { clientId: "twice" });
  await first.closed();
  assert.deepEqual(first.unread, []);
  await second.nothing();
});

test("taking over a connection publishes its will, as a failed network would [MQTT311 3.1.2-8]", async () => {
  const watcher = await connect311(server.port);
  await watcher.subscribe("taken");
  const will = { topicName: "taken", payload: bytes("over"), qos: 0, retain: false } as const;
  await connect311(server.port, { clientId: "taken", will });
  await connect311(server.port, { clientId: "taken" });
  assert.equal(text((await watcher.receive()).payload), "over");
});

test("taking over goes on with the session, or discards it, as Clean Session says [MQTT311 3.1.4-3]", async () => {
  const first = await connect311(server.port, { clientId: "over", cleanStart: false });
  await first.subscribe("over", { qos: 1 });
  const second = await connect311(server.port, { clientId: "over", cleanStart: false });
  assert.equal(second.connack.sessionPresent, true);
  await second.publish("over", "x", { qos: 1 });
  assert.equal(text((await second.receive()).payload), "x");
  const third = await connect311(server.port, { clientId: "over", cleanStart: true });
  assert.equal(third.connack.sessionPresent, false);
  await third.publish("over", "y", { qos: 1 });
  await third.nothing();
});

test("a client may send on without waiting for CONNACK [MQTT311 3.1.4]", async () => {
  const client = await speak(
    server.port,
    "10 0d 0004 'MQTT' 04 02 0000 0001 'e' 82 0a 0001 0005 'early' 01 32 0a 0005 'early' 0002 'x' c0 00",
  );
  assert.equal((await client.expect("connack")).reasonCode, ReasonCode.success);
  await client.expect("suback");
  const types = [(await client.next()).type, (await client.next()).type, (await client.next()).type];
  assert.deepEqual(types.toSorted(), ["pingresp", "puback", "publish"]);
});

test("what comes behind a refused CONNECT is not looked at [MQTT311 3.1.4-5]", async () => {
  const watcher = await connect311(server.port);
  await watcher.subscribe("refused");
  const client = await speak(server.port, "10 0c 0004 'MQTT' 04 00 0000 0000 30 0a 0007 'refused' 'x'");
  assert.equal((await client.expect("connack")).reasonCode, ReasonCode.clientIdentifierNotValid);
  await client.closed();
  await watcher.nothing();
});

test("a connection without a CONNECT is closed within reasonable time [MQTT311 3.1.4]", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const client = await TestClient.open(own.port);
  await until(() => own.broker.connections.size === 1, "the connection is there");
  clock.advance(11_000);
  await client.closed();
  assert.deepEqual(client.unread, []);
  await own.close();
});
