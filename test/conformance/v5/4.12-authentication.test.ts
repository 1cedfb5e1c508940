import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.close());

test("an Authentication Method that the server does not have is refused with 0x8C [MQTT5 4.12.0-1]", async () => {
  const client = await TestClient.open(broker.port);
  const properties = { authenticationMethod: "SCRAM-SHA-1", authenticationData: Uint8Array.of(1) };
  assert.equal((await client.request({ properties })).reasonCode, ReasonCode.badAuthenticationMethod);
  await client.closed();
});

test("Authentication Data without a method is a Protocol Error [MQTT5 3.1.2.11.10]", async () => {
  const client = await TestClient.open(broker.port);
  const connack = await client.request({ properties: { authenticationData: Uint8Array.of(1) } });
  assert.equal(connack.reasonCode, ReasonCode.protocolError);
  await client.closed();
});

for (const [title, written] of [
  ["that begins again", "f0 06 19 04 150001 'm'"],
  ["that goes on", "f0 06 18 04 150001 'm'"],
  ["without a method", "f0 02 18 00"],
  ["of nothing", "f0 00"],
] as const) {
  test(`an AUTH ${title}, where none is under way, is a Protocol Error [MQTT5 4.12.0-6] [MQTT5 4.12.1-1]`, async () => {
    const client = await TestClient.connect(broker.port);
    client.sendBytes(bytesOf(written));
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.protocolError);
    await client.closed();
  });
}
