import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311 } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const text = ({ payload }: { payload: Uint8Array }) => Buffer.from(payload).toString();

test("QoS 0 is sent once and answered by nobody [MQTT311 4.3.1-1]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("zero", { qos: 2 });
  const publisher = await connect311(server.port);
  publisher.sendPublish("zero", "x");
  await publisher.nothing();
  assert.equal((await subscriber.receive()).qos, 0);
  await subscriber.nothing();
});

test("QoS 1 to a subscriber stays unacknowledged until its PUBACK; a PUBLISH sent again is a new message [MQTT311 4.3.2-1] [MQTT311 4.3.2-2]", async () => {
  const subscriber = await connect311(server.port, { clientId: "one", cleanStart: false });
  await subscriber.subscribe("one", { qos: 1 });
  const publisher = await connect311(server.port);
  publisher.sendPublish("one", "x", { qos: 1, packetIdentifier: 5 });
  await publisher.answerTo("puback", 5);
  publisher.sendPublish("one", "x", { qos: 1, packetIdentifier: 5, dup: true });
  await publisher.answerTo("puback", 5);
  const first = await subscriber.expect("publish");
  const second = await subscriber.expect("publish");
  assert.ok(first.qos === 1 && second.qos === 1);
  assert.notEqual(first.packetIdentifier, second.packetIdentifier);
  const session = server.broker.sessions.get("one");
  assert.equal(session?.inflight.count, 2);
  subscriber.send({ type: "puback", packetIdentifier: first.packetIdentifier, reasonCode: 0 });
  await subscriber.roundTrip();
  assert.equal(session?.inflight.count, 1);
});

test("a QoS 2 message sent again before PUBREL reaches subscribers once [MQTT311 4.3.3-2]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("two", { qos: 2 });
  const publisher = await connect311(server.port);
  for (let i = 0; i < 3; i++) {
    publisher.sendPublish("two", "x", { qos: 2, packetIdentifier: 5, dup: i > 0 });
    await publisher.answerTo("pubrec", 5);
  }
  assert.equal(text(await subscriber.receive()), "x");
  await subscriber.nothing();
  publisher.send({ type: "pubrel", packetIdentifier: 5, reasonCode: 0 });
  await publisher.answerTo("pubcomp", 5);
  publisher.send({ type: "pubrel", packetIdentifier: 5, reasonCode: 0 });
  await publisher.answerTo("pubcomp", 5);
  publisher.sendPublish("two", "y", { qos: 2, packetIdentifier: 5 });
  await publisher.answerTo("pubrec", 5);
  assert.equal(text(await subscriber.receive()), "y");
});

test("a QoS 2 message sent again over a new connection reaches subscribers once [MQTT311 4.3.3-2] [MQTT311 4.1.0-1]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("twice", { qos: 2 });
  const first = await connect311(server.port, { clientId: "sends twice", cleanStart: false });
  first.sendPublish("twice", "x", { qos: 2, packetIdentifier: 9 });
  await first.answerTo("pubrec", 9);
  first.destroy();
  await server.gone("sends twice");
  const second = await connect311(server.port, { clientId: "sends twice", cleanStart: false });
  second.sendPublish("twice", "x", { qos: 2, packetIdentifier: 9, dup: true });
  await second.answerTo("pubrec", 9);
  second.send({ type: "pubrel", packetIdentifier: 9, reasonCode: 0 });
  await second.answerTo("pubcomp", 9);
  assert.equal(text(await subscriber.receive()), "x");
  await subscriber.nothing();
});

test("the handshake of QoS 2 with a subscriber: PUBLISH, PUBREC, PUBREL, PUBCOMP, each once [MQTT311 4.3.3-1] [MQTT311 3.6.1-1]", async () => {
  const subscriber = await connect311(server.port, { clientId: "shakes" });
  await subscriber.subscribe("shake", { qos: 2 });
  const publisher = await connect311(server.port);
  await publisher.publish("shake", "x", { qos: 2 });
  const publish = await subscriber.expect("publish");
  assert.ok(publish.qos === 2 && !publish.dup);
  const { packetIdentifier } = publish;
  await subscriber.nothing();
  subscriber.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
  assert.deepEqual(await subscriber.next(), { type: "pubrel", packetIdentifier, reasonCode: 0 });
  await subscriber.nothing();
  subscriber.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
  assert.deepEqual(await subscriber.next(), { type: "pubrel", packetIdentifier, reasonCode: 0 });
  subscriber.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
  await subscriber.nothing();
  assert.equal(server.broker.sessions.get("shakes")?.inflight.count, 0);
});

for (const qos of [1, 2] as const) {
  test(`acknowledgements of messages never sent at QoS ${qos} change nothing [MQTT311 4.3]`, async () => {
    const subscriber = await connect311(server.port, { clientId: `stray ${qos}` });
    await subscriber.subscribe(`stray/${qos}`, { qos });
    await subscriber.publish(`stray/${qos}`, "x", { qos });
    const publish = await subscriber.expect("publish");
    assert.ok(publish.qos === qos);
    const { packetIdentifier } = publish;
    const session = server.broker.sessions.get(`stray ${qos}`);
    subscriber.send({ type: "puback", packetIdentifier: 40_000, reasonCode: 0 });
    subscriber.send({ type: "pubcomp", packetIdentifier: 40_000, reasonCode: 0 });
    // The acknowledgements of the other QoS are none for this message.
    subscriber.send({ type: qos === 1 ? "pubcomp" : "puback", packetIdentifier, reasonCode: 0 });
    if (qos === 2) subscriber.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
    await subscriber.nothing();
    assert.equal(session?.inflight.count, 1);
  });
}
