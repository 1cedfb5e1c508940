import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

for (const [name, written] of [
  ["SUBSCRIBE", "82 06 0000 0001 'a' 00"],
  ["UNSUBSCRIBE", "a2 05 0000 0001 'a'"],
  ["PUBLISH at QoS 1", "32 05 0001 'a' 0000"],
  ["PUBLISH at QoS 2", "34 05 0001 'a' 0000"],
  ["PUBACK", "40 02 0000"],
  ["PUBREC", "50 02 0000"],
  ["PUBREL", "62 02 0000"],
  ["PUBCOMP", "70 02 0000"],
] as const) {
  test(`${name} with Packet Identifier 0 closes the connection [MQTT311 2.3.1-1]`, async () => {
    const client = await speakConnected(server.port, written);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

test("the server gives each message in flight an identifier of its own, and takes one up again once it is free [MQTT311 2.3.1-3] [MQTT311 2.3.1-4]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("flight", { qos: 2 });
  const publisher = await connect311(server.port);
  for (let i = 0; i < 100; i++) publisher.sendPublish("flight", String(i), { qos: 1 });
  const inFlight = new Set<number>();
  for (let i = 0; i < 100; i++) {
    const publish = await subscriber.expect("publish");
    assert.ok(publish.qos === 1);
    assert.ok(publish.packetIdentifier > 0 && !inFlight.has(publish.packetIdentifier));
    inFlight.add(publish.packetIdentifier);
  }
});

test("a message at QoS 0 has no Packet Identifier [MQTT311 2.3.1-5]", async () => {
  const client = await connect311(server.port);
  await client.subscribe("plain", { qos: 2 });
  await client.publish("plain", "ab");
  const publish = await client.receive();
  assert.equal(publish.qos, 0);
  assert.equal(Buffer.from(publish.payload).toString(), "ab");
});

test("answers carry the identifier of what they answer, the largest too [MQTT311 2.3.1-6] [MQTT311 2.3.1-7]", async () => {
  const client = await connect311(server.port);
  for (const packetIdentifier of [1, 255, 256, 65_535]) {
    const reasonCode = 0;
    const request = { topicFilter: "a", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    client.send({ type: "subscribe", packetIdentifier, subscriptions: [request] });
    assert.equal((await client.expect("suback")).packetIdentifier, packetIdentifier);
    client.send({ type: "unsubscribe", packetIdentifier, topicFilters: ["a"] });
    assert.equal((await client.expect("unsuback")).packetIdentifier, packetIdentifier);
    client.sendPublish("b", "", { qos: 1, packetIdentifier });
    assert.equal((await client.expect("puback")).packetIdentifier, packetIdentifier);
    client.sendPublish("b", "", { qos: 2, packetIdentifier });
    assert.equal((await client.expect("pubrec")).packetIdentifier, packetIdentifier);
    client.send({ type: "pubrel", packetIdentifier, reasonCode });
    assert.equal((await client.expect("pubcomp")).packetIdentifier, packetIdentifier);
  }
});

test("both sides count for themselves: one identifier may be in use in both directions [MQTT311 2.3.1]", async () => {
  const client = await connect311(server.port);
  await client.subscribe("echo", { qos: 1 });
  client.sendPublish("echo", "x", { qos: 1, packetIdentifier: 1 });
  const packets = [await client.next(), await client.next()];
  assert.deepEqual(new Set(packets.map(({ type }) => type)), new Set(["publish", "puback"]));
  for (const packet of packets) assert.equal("packetIdentifier" in packet && packet.packetIdentifier, 1);
});
