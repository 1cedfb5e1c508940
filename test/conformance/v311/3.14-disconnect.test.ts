import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311 } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const will = { topicName: "will", payload: new Uint8Array([1]), qos: 0, retain: false } as const;

test("DISCONNECT discards the will; the server closes if the client does not [MQTT311 3.14.4-1] [MQTT311 3.14.4-3]", async () => {
  const watcher = await connect311(server.port);
  await watcher.subscribe("will");
  const client = await connect311(server.port, { clientId: "leaves", will });
  await client.disconnect();
  await server.gone("leaves");
  assert.deepEqual(client.unread, []);
  await watcher.nothing();
});

for (const [what, written] of [
  ["reserved flags", "e1 00"],
  ["a body", "e0 01 00"],
] as const) {
  test(`DISCONNECT with ${what} is none: the connection is closed and the will published [MQTT311 3.14.1-1]`, async () => {
    const watcher = await connect311(server.port);
    await watcher.subscribe("will");
    const client = await connect311(server.port, { will });
    client.sendBytes(written);
    await client.closed();
    assert.equal((await watcher.receive()).topicName, "will");
  });
}

test("the server says nothing when it stops: 3.1.1 has no DISCONNECT of its own [MQTT311 3.14]", async () => {
  const own = await startBroker();
  const client = await connect311(own.port);
  await own.close();
  await client.closed();
  assert.deepEqual(client.unread, []);
});
