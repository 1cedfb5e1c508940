import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import type { QoS } from "../../../src/mqtt/packet.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const text = ({ payload }: { payload: Uint8Array }) => Buffer.from(payload).toString();
const request = (topicFilter: string, qos: QoS) =>
  ({ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 }) as const;

for (const [what, written, clause] of [
  ["no Topic Filter", "82 02 0001", "3.8.3-3"],
  ["no QoS behind its Topic Filter", "82 05 0001 0001 'a'", "3.8.3-3"],
  ["QoS 3", "82 06 0001 0001 'a' 03", "3.8.3-4"],
  ["reserved bits in its QoS", "82 06 0001 0001 'a' 04", "3.8.3-4"],
  ["the highest bit set in its QoS", "82 06 0001 0001 'a' 81", "3.8.3-4"],
  ["a second Topic Filter that is cut off", "82 0a 0001 0001 'a' 00 0004 'ab'", "3.8.3-3"],
] as const) {
  test(`SUBSCRIBE with ${what} closes the connection [MQTT311 ${clause}]`, async () => {
    const client = await speakConnected(server.port, written);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

test("a Topic Filter that is none is refused on its own; the others hold [MQTT311 3.9.3-1] [MQTT311 4.7.1-2] [MQTT311 4.7.1-3] [MQTT311 4.7.3-1]", async () => {
  const client = await connect311(server.port);
  const filters = ["a/b#", "#/a", "a+", "+a/b", "", "a/#/b", "fine"];
  client.send({ type: "subscribe", packetIdentifier: 9, subscriptions: filters.map((filter) => request(filter, 1)) });
  const suback = await client.expect("suback");
  assert.deepEqual(suback.reasonCodes, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]);
  await client.publish("fine", "x", { qos: 0 });
  assert.equal((await client.receive()).topicName, "fine");
});

test("SUBACK answers each Topic Filter in its place [MQTT311 3.8.4-1] [MQTT311 3.8.4-2] [MQTT311 3.8.4-4] [MQTT311 3.8.4-5] [MQTT311 3.9.3-1]", async () => {
  const client = await connect311(server.port);
  const subscriptions = [request("s/0", 0), request("s/1", 1), request("s/2", 2), request("s/+", 0), request("s/1", 2)];
  client.send({ type: "subscribe", packetIdentifier: 4711, subscriptions });
  assert.deepEqual(await client.next(), { type: "suback", packetIdentifier: 4711, reasonCodes: [0, 1, 2, 0, 2] });
});

test("a Topic Filter that may not be subscribed to is answered with 0x80 [MQTT311 3.9.3-2]", async () => {
  const access = { ...openAccess, maySubscribe: (_: unknown, topicFilter: string) => topicFilter !== "no" };
  const own = await startBroker({}, { access });
  const client = await connect311(own.port);
  const subscriptions = [request("yes", 1), request("no", 1)];
  client.send({ type: "subscribe", packetIdentifier: 1, subscriptions });
  assert.deepEqual((await client.expect("suback")).reasonCodes, [1, 0x80]);
  await client.publish("no", "x");
  await client.publish("yes", "x");
  assert.equal((await client.receive()).topicName, "yes");
  await own.close();
});

test("subscribing again takes the place of the former subscription, without a gap, and gives retained messages again [MQTT311 3.8.4-3]", async () => {
  const publisher = await connect311(server.port);
  await publisher.publish("again", "kept", { qos: 2, retain: true });
  const client = await connect311(server.port);
  for (const qos of [0, 2, 1] as const) {
    await client.subscribe("again", { qos });
    const kept = await client.receive();
    assert.deepEqual([text(kept), kept.qos, kept.retain], ["kept", qos, true]);
    await publisher.publish("again", "live", { qos: 2 });
    const live = await client.receive();
    assert.deepEqual([text(live), live.qos], ["live", qos]);
    await client.nothing();
  }
});

for (const published of [0, 1, 2] as const) {
  for (const granted of [0, 1, 2] as const) {
    test(`a message published at QoS ${published} reaches a subscription of QoS ${granted} at QoS ${Math.min(published, granted)} [MQTT311 3.8.4-6]`, async () => {
      const client = await connect311(server.port);
      await client.subscribe(`min/${published}/${granted}`, { qos: granted });
      await client.publish(`min/${published}/${granted}`, "x", { qos: published });
      assert.equal((await client.receive()).qos, Math.min(published, granted));
      await client.nothing();
    });
  }
}

test("a message published by the subscriber itself comes back to it [MQTT311 3.8.4-6]", async () => {
  const client = await connect311(server.port);
  await client.subscribe("own");
  await client.publish("own", "x");
  assert.equal(text(await client.receive()), "x");
});

test("retained messages come behind the SUBACK [MQTT311 3.8.4-1]", async () => {
  const client = await connect311(server.port);
  await client.publish("behind", "x", { retain: true });
  client.send({ type: "subscribe", packetIdentifier: 3, subscriptions: [request("behind", 0)] });
  await client.expect("suback");
  assert.equal((await client.receive()).retain, true);
});

test("a SUBSCRIBE of 500 Topic Filters is answered with 500 codes [MQTT311 3.8.4-5]", async () => {
  const client = await connect311(server.port);
  const subscriptions = Array.from({ length: 500 }, (_, i) => request(`many/${i}`, (i % 3) as QoS));
  client.send({ type: "subscribe", packetIdentifier: 2, subscriptions });
  const { reasonCodes } = await client.expect("suback");
  assert.deepEqual(
    reasonCodes,
    subscriptions.map(({ qos }) => qos),
  );
});
