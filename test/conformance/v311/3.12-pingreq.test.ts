import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

test("each PINGREQ is answered with a PINGRESP [MQTT311 3.12.4-1]", async () => {
  const client = await connect311(server.port);
  client.sendBytes("c000c000c000");
  for (let i = 0; i < 3; i++) assert.deepEqual(await client.next(), { type: "pingresp" });
  await client.nothing();
});

test("PINGREQ with a body closes the connection [MQTT311 3.12.2]", async () => {
  const client = await speakConnected(server.port, "c0 01 00");
  await client.closed();
  assert.deepEqual(client.unread, []);
});
