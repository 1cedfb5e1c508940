import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.close());

test("every PINGREQ is answered with a PINGRESP [MQTT5 3.12.4-1]", async () => {
  const client = await TestClient.connect(broker.port);
  client.sendBytes("c000 c000 c000");
  for (let i = 0; i < 3; i++) await client.expect("pingresp");
  await client.nothing();
});

for (const [title, bytes] of [
  ["flags", "c1 00"],
  ["a body", "c0 01 00"],
] as const) {
  test(`a PINGREQ with ${title} is malformed: DISCONNECT 0x81 [MQTT5 2.1.3-1] [MQTT5 3.12.1]`, async () => {
    const client = await TestClient.connect(broker.port);
    client.sendBytes(bytes);
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.malformedPacket);
    await client.closed();
  });
}
