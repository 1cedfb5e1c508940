import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";
import { connect311, speak } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

test("CONNACK is the first packet, also when messages wait [MQTT311 3.2.0-1]", async () => {
  const first = await connect311(server.port, { clientId: "first", cleanStart: false });
  await first.subscribe("waits", { qos: 1 });
  await first.disconnect();
  await server.gone("first");
  const publisher = await connect311(server.port);
  await publisher.publish("waits", "x", { qos: 1 });
  const second = await TestClient.open(server.port);
  // `request` fails unless CONNACK is what comes first.
  await second.request({ protocolVersion: 4, clientId: "first", cleanStart: false });
  assert.equal((await second.receive()).topicName, "waits");
});

test("Session Present says whether there is a stored session [MQTT311 3.2.2-1] [MQTT311 3.2.2-2] [MQTT311 3.2.2-3]", async () => {
  const present: boolean[] = [];
  for (const cleanStart of [false, false, true, false, false, true, true]) {
    const client = await connect311(server.port, { clientId: "present", cleanStart });
    present.push(client.connack.sessionPresent);
    await client.disconnect();
    await server.gone("present");
  }
  assert.deepEqual(present, [false, true, false, false, true, false, false]);
});

for (const [refusal, returnCode] of [
  [ReasonCode.unsupportedProtocolVersion, 1],
  [ReasonCode.clientIdentifierNotValid, 2],
  [ReasonCode.serverUnavailable, 3],
  [ReasonCode.serverBusy, 3],
  [ReasonCode.badUserNameOrPassword, 4],
  [ReasonCode.notAuthorized, 5],
  [ReasonCode.banned, 5],
] as const) {
  test(`a refusal for reason ${refusal.toString(16)} has return code ${returnCode}, no Session Present, and is closed [MQTT311 3.2.2-4] [MQTT311 3.2.2-5]`, async () => {
    let verdict: ReasonCode = ReasonCode.success;
    const own = await startBroker({}, { access: { ...openAccess, authenticate: () => verdict } });
    const before = await connect311(own.port, { clientId: "r", cleanStart: false });
    await before.disconnect();
    verdict = refusal;
    const client = await speak(own.port, "10 0d 0004 'MQTT' 04 00 0000 0001 'r'");
    const connack = await client.expect("connack");
    await client.closed();
    assert.equal(connack.sessionPresent, false);
    assert.equal(returnCodes[returnCode], connack.reasonCode);
    await own.close();
  });
}

/** What the codec reads the six return codes as. */
const returnCodes = [
  ReasonCode.success,
  ReasonCode.unsupportedProtocolVersion,
  ReasonCode.clientIdentifierNotValid,
  ReasonCode.serverUnavailable,
  ReasonCode.badUserNameOrPassword,
  ReasonCode.notAuthorized,
];

test("one client more than allowed is told that the server is not available [MQTT311 3.2.2.3]", async () => {
  const own = await startBroker({ connectionsMax: 2 });
  const clients = [await connect311(own.port), await connect311(own.port)];
  const client = await TestClient.open(own.port);
  const { reasonCode } = await client.request({ protocolVersion: 4 });
  assert.equal(reasonCode, ReasonCode.serverUnavailable);
  await client.closed();
  for (const each of clients) await each.nothing();
  await clients[0].disconnect();
  await own.gone(clients[0].clientId);
  await connect311(own.port);
  await own.close();
});
