import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import type { Packet } from "../../../src/mqtt/packet.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311 } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const text = ({ payload }: { payload: Uint8Array }) => Buffer.from(payload).toString();

test("what was not acknowledged is sent again at the next connection, with its identifier and DUP, in order [MQTT311 4.4.0-1] [MQTT311 3.3.1-1] [MQTT311 4.6.0-1]", async () => {
  const first = await connect311(server.port, { clientId: "again", cleanStart: false });
  await first.subscribe("again/#", { qos: 2 });
  const publisher = await connect311(server.port);
  for (const [topicName, qos] of [
    ["again/a", 1],
    ["again/b", 2],
    ["again/c", 2],
    ["again/d", 1],
  ] as const) {
    await publisher.publish(topicName, "x", { qos });
  }
  const sent: Packet[] = [];
  for (let i = 0; i < 4; i++) sent.push(await first.expect("publish"));
  const third = sent[2];
  assert.ok(third.type === "publish" && third.qos === 2);
  first.send({ type: "pubrec", packetIdentifier: third.packetIdentifier, reasonCode: 0 });
  await first.expect("pubrel");
  first.destroy();
  await server.gone("again");
  await publisher.publish("again/e", "new", { qos: 1 });

  const second = await connect311(server.port, { clientId: "again", cleanStart: false });
  const expected = sent.map((packet) =>
    packet === third
      ? { type: "pubrel", packetIdentifier: third.packetIdentifier, reasonCode: 0 }
      : { ...packet, dup: true },
  );
  for (const packet of expected) assert.deepEqual(await second.next(), packet);
  const fresh = await second.expect("publish");
  assert.ok(fresh.qos === 1);
  assert.deepEqual([fresh.topicName, fresh.dup], ["again/e", false]);
  assert.ok(!sent.some((packet) => "packetIdentifier" in packet && packet.packetIdentifier === fresh.packetIdentifier));
});

test("within a connection nothing is sent twice [MQTT311 4.4]", async () => {
  const client = await connect311(server.port, { clientId: "once", cleanStart: false });
  await client.subscribe("once", { qos: 1 });
  await client.publish("once", "x", { qos: 1 });
  await client.expect("publish");
  for (let i = 0; i < 5; i++) await client.nothing();
});

test("what was acknowledged is not sent again [MQTT311 4.4.0-1]", async () => {
  const first = await connect311(server.port, { clientId: "done", cleanStart: false });
  await first.subscribe("done", { qos: 2 });
  for (const qos of [1, 2] as const) {
    await first.publish("done", "x", { qos });
    await first.receive();
  }
  await first.disconnect();
  await server.gone("done");
  const second = await connect311(server.port, { clientId: "done", cleanStart: false });
  await second.nothing();
});

test("a session outlives many connections with all it is owed [MQTT311 4.1.0-1] [MQTT311 4.1.0-2]", async () => {
  const subscriber = await connect311(server.port, { clientId: "lives", cleanStart: false });
  await subscriber.subscribe("lives", { qos: 1 });
  await subscriber.disconnect();
  await server.gone("lives");
  const publisher = await connect311(server.port);
  for (let i = 0; i < 50; i++) await publisher.publish("lives", String(i), { qos: 1 });
  for (let i = 0; i < 50; i++) {
    const client = await connect311(server.port, { clientId: "lives", cleanStart: false });
    assert.equal(text(await client.receive()), String(i));
    await client.roundTrip();
    client.destroy();
    await server.gone("lives");
  }
  const last = await connect311(server.port, { clientId: "lives", cleanStart: false });
  await last.nothing();
});
