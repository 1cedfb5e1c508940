import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

for (const [what, written, clause] of [
  ["no Topic Filter", "a2 02 0001", "3.10.3-2"],
  ["a Topic Filter that is cut off", "a2 05 0001 0002 'a'", "3.10.3-2"],
] as const) {
  test(`UNSUBSCRIBE with ${what} closes the connection [MQTT311 ${clause}]`, async () => {
    const client = await speakConnected(server.port, written);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

test("UNSUBSCRIBE ends the subscription to exactly this Topic Filter [MQTT311 3.10.4-1] [MQTT311 3.10.4-2]", async () => {
  const client = await connect311(server.port);
  await client.subscribe("exact/+");
  for (const other of ["exact/#", "exact/a", "exact", "Exact/+", "exact/+/", "+/+", "#"])
    await client.unsubscribe(other);
  await client.publish("exact/a", "still");
  assert.equal((await client.receive()).topicName, "exact/a");
  await client.unsubscribe("exact/+");
  await client.publish("exact/a", "no more");
  await client.nothing();
});

test("a message in flight is completed after UNSUBSCRIBE [MQTT311 3.10.4-3]", async () => {
  const client = await connect311(server.port);
  await client.subscribe("flight", { qos: 2 });
  client.sendPublish("flight", "x", { qos: 1, packetIdentifier: 100 });
  await client.answerTo("puback", 100);
  const one = await client.expect("publish");
  assert.ok(one.qos === 1);
  client.sendPublish("flight", "x", { qos: 2, packetIdentifier: 101 });
  await client.answerTo("pubrec", 101);
  const two = await client.expect("publish");
  assert.ok(two.qos === 2);
  await client.unsubscribe("flight");
  client.send({ type: "puback", packetIdentifier: one.packetIdentifier, reasonCode: 0 });
  client.send({ type: "pubrec", packetIdentifier: two.packetIdentifier, reasonCode: 0 });
  assert.equal((await client.expect("pubrel")).packetIdentifier, two.packetIdentifier);
  client.send({ type: "pubcomp", packetIdentifier: two.packetIdentifier, reasonCode: 0 });
  await client.nothing();
});

test("UNSUBACK comes with the same identifier, also when no subscription was there [MQTT311 3.10.4-4] [MQTT311 3.10.4-5]", async () => {
  const client = await connect311(server.port);
  client.send({ type: "unsubscribe", packetIdentifier: 815, topicFilters: ["never/subscribed"] });
  assert.deepEqual(await client.next(), { type: "unsuback", packetIdentifier: 815, reasonCodes: [] });
});

test("several Topic Filters end one after another, with one UNSUBACK [MQTT311 3.10.4-6]", async () => {
  const client = await connect311(server.port);
  for (const topicFilter of ["several/a", "several/b", "several/c"]) await client.subscribe(topicFilter);
  await client.unsubscribe("several/a", "several/none", "several/c");
  for (const topicName of ["several/a", "several/b", "several/c"]) await client.publish(topicName, "x");
  assert.equal((await client.receive()).topicName, "several/b");
  await client.nothing();
});
