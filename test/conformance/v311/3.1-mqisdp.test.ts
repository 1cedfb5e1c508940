/** MQTT 3.1 where it differs from 3.1.1: `[MQTT31 …]` are the sections of "MQTT V3.1 Protocol Specification". */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";
import { connect311 } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const connect31 = (connect: Parameters<typeof TestClient.connect>[1] = {}) =>
  TestClient.connect(server.port, { protocolVersion: 3, ...connect });

async function speak31(written: string): Promise<TestClient> {
  const client = await TestClient.open(server.port);
  client.version = 3;
  client.sendBytes(bytesOf(written));
  return client;
}

test("MQIsdp at level 3 is served, from CONNECT to DISCONNECT [MQTT31 3.1]", async () => {
  const client = await connect31();
  assert.deepEqual((await client.subscribe("a/+", { qos: 2 })).reasonCodes, [2]);
  for (const qos of [0, 1, 2] as const) {
    await client.publish("a/b", "x", { qos });
    assert.equal((await client.receive()).qos, qos);
  }
  await client.unsubscribe("a/+");
  await client.publish("a/b", "x");
  await client.nothing();
  await client.disconnect();
});

test("name and level of different versions do not go together [MQTT31 3.1]", async () => {
  for (const written of [
    "10 0f 0006 'MQIsdp' 04 02 0000 0001 'c'",
    "10 10 0006 'MQIsdp' 05 02 0000 00 0001 'c'",
    "10 0d 0004 'MQTT' 03 02 0000 0001 'c'",
  ]) {
    const client = await speak31(written);
    assert.equal((await client.expect("connack")).reasonCode, ReasonCode.unsupportedProtocolVersion);
    await client.closed();
  }
});

test("client identifiers of more than 23 characters are taken [MQTT31 3.1]", async () => {
  const clientId = "a client of 3.1 with a name of more than 23 characters";
  const client = await connect31({ clientId });
  assert.ok(server.broker.sessions.get(clientId) !== undefined);
  await client.nothing();
});

test("an empty client identifier is refused, with Clean Session too: 3.1 knows no assigned ones [MQTT31 3.1]", async () => {
  for (const cleanStart of [true, false]) {
    const client = await TestClient.open(server.port);
    const connack = await client.request({ protocolVersion: 3, clientId: "", cleanStart });
    assert.equal(connack.reasonCode, ReasonCode.clientIdentifierNotValid);
    await client.closed();
  }
});

test("the first byte of CONNACK stays 0, also when a session is there [MQTT31 3.2]", async () => {
  const first = await connect31({ clientId: "old", cleanStart: false });
  await first.subscribe("old", { qos: 1 });
  await first.disconnect();
  await server.gone("old");
  const publisher = await connect311(server.port);
  await publisher.publish("old", "x", { qos: 1 });
  // Read as 3.1.1, which would show Session Present.
  const second = await TestClient.open(server.port);
  second.version = 4;
  second.sendBytes(bytesOf("10 11 0006 'MQIsdp' 03 00 0000 0003 'old'"));
  const connack = await second.expect("connack");
  assert.deepEqual([connack.reasonCode, connack.sessionPresent], [ReasonCode.success, false]);
  assert.equal((await second.expect("publish")).topicName, "old");
});

test("user name and password that the flags announce may be missing [MQTT31 3.1]", async () => {
  const client = await speak31("10 0f 0006 'MQIsdp' 03 c2 0000 0001 'm'");
  assert.equal((await client.expect("connack")).reasonCode, ReasonCode.success);
});

test("Will QoS and Will Retain without a Will Flag are disregarded [MQTT31 3.1]", async () => {
  const client = await speak31("10 0f 0006 'MQIsdp' 03 32 0000 0001 'f'");
  assert.equal((await client.expect("connack")).reasonCode, ReasonCode.success);
});

test("SUBSCRIBE and UNSUBSCRIBE may come with DUP, as they are sent again [MQTT31 3.8] [MQTT31 3.10]", async () => {
  const client = await connect31();
  client.sendBytes(bytesOf("8a 08 0001 0003 'dup' 01"));
  assert.deepEqual(await client.next(), { type: "suback", packetIdentifier: 1, reasonCodes: [1] });
  client.sendBytes(bytesOf("aa 07 0002 0003 'dup'"));
  assert.deepEqual(await client.next(), { type: "unsuback", packetIdentifier: 2, reasonCodes: [] });
  await client.nothing();
});

test("PUBREL may come with DUP [MQTT31 3.6]", async () => {
  const client = await connect31();
  client.sendPublish("a", "x", { qos: 2, packetIdentifier: 7 });
  await client.answerTo("pubrec", 7);
  client.sendBytes("6a 02 0007");
  assert.deepEqual(await client.next(), { type: "pubcomp", packetIdentifier: 7, reasonCode: 0 });
});

test("DUP on these three is still wrong in 3.1.1 [MQTT311 2.2.2-2]", async () => {
  for (const written of ["8a 08 0001 0003 'dup' 01", "aa 07 0002 0003 'dup'", "6a 02 0007"]) {
    const client = await connect311(server.port);
    client.sendBytes(bytesOf(written));
    await client.closed();
  }
});

test("clients of 3.1 and 3.1.1 hear each other [MQTT31 3.3]", async () => {
  const older = await connect31();
  const newer = await connect311(server.port);
  await older.subscribe("both/newer", { qos: 2 });
  await newer.subscribe("both/older", { qos: 2 });
  await older.publish("both/older", "x", { qos: 2 });
  assert.equal((await newer.receive()).qos, 2);
  await newer.publish("both/newer", "x", { qos: 2 });
  assert.equal((await older.receive()).qos, 2);
});

test("a session begun in 3.1 goes on in 3.1.1 [MQTT311 3.1.2-4]", async () => {
  const older = await connect31({ clientId: "grows", cleanStart: false });
  await older.subscribe("grows", { qos: 1 });
  await older.disconnect();
  await server.gone("grows");
  const publisher = await connect311(server.port);
  await publisher.publish("grows", "x", { qos: 1 });
  const newer = await connect311(server.port, { clientId: "grows", cleanStart: false });
  assert.equal(newer.connack.sessionPresent, true);
  assert.equal((await newer.receive()).topicName, "grows");
});
