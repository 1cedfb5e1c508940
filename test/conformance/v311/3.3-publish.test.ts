import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { openAccess } from "../../../src/access/access.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const text = ({ payload }: { payload: Uint8Array }) => Buffer.from(payload).toString();

test("DUP of a received message does not go on to subscribers [MQTT311 3.3.1-3]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("dup", { qos: 2 });
  const publisher = await connect311(server.port);
  for (const qos of [1, 2] as const) {
    await publisher.publish("dup", "x", { qos, dup: true });
    const publish = await subscriber.receive();
    assert.ok(publish.qos === qos);
    assert.equal(publish.dup, false);
  }
});

for (const [what, written, clause] of [
  ["DUP at QoS 0", "38 04 0001 'a' 'x'", "3.3.1-2"],
  ["QoS 3", "36 06 0001 'a' 0001 'x'", "3.3.1-4"],
  ["an empty Topic Name", "30 03 0000 'x'", "4.7.3-1"],
  ["`#` in the Topic Name", "30 05 0003 'a/#'", "3.3.2-2"],
  ["`+` in the Topic Name", "30 05 0003 'a/+'", "3.3.2-2"],
  ["`+` within a level of the Topic Name", "30 04 0002 'a+'", "3.3.2-2"],
  ["a Topic Name longer than the packet", "30 03 0002 'a'", "3.3.2"],
  ["QoS 1 and no Packet Identifier", "32 03 0001 'a'", "2.3.1-1"],
  ["QoS 1 and half a Packet Identifier", "32 04 0001 'a' 01", "2.3.1-1"],
  ["nothing in it", "30 00", "3.3.2"],
] as const) {
  test(`PUBLISH with ${what} closes the connection and goes nowhere [MQTT311 ${clause}] [MQTT311 4.8.0-1]`, async () => {
    const watcher = await connect311(server.port, { clientId: `watches ${what}` });
    await watcher.subscribe("#");
    while (watcher.unread.length > 0) await watcher.next();
    const client = await speakConnected(server.port, written);
    await client.closed();
    assert.deepEqual(client.unread, []);
    await watcher.nothing();
    watcher.destroy();
  });
}

for (const qos of [0, 1, 2] as const) {
  test(`a retained message at QoS ${qos} is kept with its QoS and given to new subscribers [MQTT311 3.3.1-5] [MQTT311 3.3.1-6] [MQTT311 3.3.1-8]`, async () => {
    const publisher = await connect311(server.port);
    await publisher.publish(`kept/${qos}`, "first", { qos, retain: true });
    await publisher.publish(`kept/${qos}`, "last", { qos, retain: true });
    for (const granted of [0, 1, 2] as const) {
      const subscriber = await connect311(server.port);
      await subscriber.subscribe(`kept/${qos}`, { qos: granted });
      const publish = await subscriber.receive();
      assert.deepEqual([text(publish), publish.retain, publish.qos], ["last", true, Math.min(qos, granted)]);
      await subscriber.nothing();
    }
  });
}

test("a new subscription gets the retained message of each topic it matches [MQTT311 3.3.1-6]", async () => {
  const publisher = await connect311(server.port);
  for (const topicName of ["each", "each/a", "each/a/b", "each//", "other"]) {
    await publisher.publish(topicName, topicName, { retain: true });
  }
  for (const [topicFilter, expected] of [
    ["each/#", ["each", "each//", "each/a", "each/a/b"]],
    ["each/+", ["each/a"]],
    ["each/+/+", ["each//", "each/a/b"]],
    ["+/a", ["each/a"]],
    ["each/a", ["each/a"]],
    ["each/b", []],
  ] as const) {
    const subscriber = await connect311(server.port);
    await subscriber.subscribe(topicFilter);
    const received: string[] = [];
    for (let i = 0; i < expected.length; i++) received.push((await subscriber.receive()).topicName);
    assert.deepEqual(received.toSorted(), expected.toSorted(), topicFilter);
    await subscriber.nothing();
  }
});

test("a retained message at QoS 0 takes the place of the one before [MQTT311 3.3.1-7]", async () => {
  const publisher = await connect311(server.port);
  await publisher.publish("place", "at QoS 2", { qos: 2, retain: true });
  await publisher.publish("place", "at QoS 0", { qos: 0, retain: true });
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("place", { qos: 2 });
  assert.equal(text(await subscriber.receive()), "at QoS 0");
  await subscriber.nothing();
});

test("an established subscription gets messages without RETAIN [MQTT311 3.3.1-9]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("established", { qos: 1 });
  const publisher = await connect311(server.port);
  for (const qos of [0, 1, 2] as const) {
    await publisher.publish("established", "x", { qos, retain: true });
    assert.equal((await subscriber.receive()).retain, false);
  }
});

test("a retained message that waited in the queue of an established subscription has no RETAIN either [MQTT311 3.3.1-9]", async () => {
  const first = await connect311(server.port, { clientId: "queued", cleanStart: false });
  await first.subscribe("queued", { qos: 1 });
  await first.disconnect();
  await server.gone("queued");
  const publisher = await connect311(server.port);
  await publisher.publish("queued", "x", { qos: 1, retain: true });
  const second = await connect311(server.port, { clientId: "queued", cleanStart: false });
  assert.equal((await second.receive()).retain, false);
});

test("an empty payload with RETAIN goes to subscribers, clears the topic, and is not kept itself [MQTT311 3.3.1-10] [MQTT311 3.3.1-11]", async () => {
  const publisher = await connect311(server.port);
  await publisher.publish("cleared", "x", { qos: 1, retain: true });
  const established = await connect311(server.port);
  await established.subscribe("cleared");
  assert.equal(text(await established.receive()), "x");
  await publisher.publish("cleared", "", { qos: 1, retain: true });
  const publish = await established.receive();
  assert.deepEqual([text(publish), publish.retain], ["", false]);
  const late = await connect311(server.port);
  await late.subscribe("cleared");
  await late.nothing();
});

test("a message without RETAIN leaves the kept one alone, empty or not [MQTT311 3.3.1-12]", async () => {
  const publisher = await connect311(server.port);
  await publisher.publish("alone", "kept", { retain: true });
  await publisher.publish("alone", "passing");
  await publisher.publish("alone", "");
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("alone");
  assert.equal(text(await subscriber.receive()), "kept");
  await subscriber.nothing();
});

test("a subscriber gets the Topic Name as it was published [MQTT311 3.3.2-3]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("name/#");
  const publisher = await connect311(server.port);
  for (const topicName of ["name", "name/", "name//a", "name/ a/é"]) {
    await publisher.publish(topicName, "x");
    assert.equal((await subscriber.receive()).topicName, topicName);
  }
});

test("payloads of any bytes and of none pass unchanged [MQTT311 3.3.3]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("payload", { qos: 2 });
  const publisher = await connect311(server.port);
  const every = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (const payload of [new Uint8Array(), Uint8Array.of(0), every, new Uint8Array(500_000).fill(0xff)]) {
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish("payload", payload, { qos });
      assert.equal(Buffer.compare((await subscriber.receive()).payload, payload), 0);
    }
  }
});

test("PUBLISH is answered by its QoS: not at all, with PUBACK, with PUBREC [MQTT311 3.3.4-1]", async () => {
  const client = await connect311(server.port);
  client.sendPublish("answered", "x");
  await client.nothing();
  client.sendPublish("answered", "x", { qos: 1, packetIdentifier: 7 });
  assert.deepEqual(await client.next(), { type: "puback", packetIdentifier: 7, reasonCode: 0 });
  client.sendPublish("answered", "x", { qos: 2, packetIdentifier: 8 });
  assert.deepEqual(await client.next(), { type: "pubrec", packetIdentifier: 8, reasonCode: 0 });
  await client.nothing();
});

test("overlapping subscriptions give a message once, at the highest of their QoS [MQTT311 3.3.5-1]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("overlap/#", { qos: 0 });
  await subscriber.subscribe("overlap/+", { qos: 2 });
  await subscriber.subscribe("overlap/a", { qos: 1 });
  const publisher = await connect311(server.port);
  await publisher.publish("overlap/a", "x", { qos: 2 });
  assert.equal((await subscriber.receive()).qos, 2);
  await subscriber.nothing();
});

test("a message that may not be published is acknowledged all the same, and goes nowhere [MQTT311 3.3.5-2]", async () => {
  const access = { ...openAccess, mayPublish: (_: unknown, topicName: string) => topicName !== "forbidden" };
  const own = await startBroker({}, { access });
  const watcher = await connect311(own.port);
  await watcher.subscribe("#", { qos: 2 });
  const client = await connect311(own.port);
  for (const qos of [0, 1, 2] as const) await client.publish("forbidden", "x", { qos, retain: true });
  await watcher.nothing();
  const late = await connect311(own.port);
  await late.subscribe("#");
  await late.nothing();
  await own.close();
});
