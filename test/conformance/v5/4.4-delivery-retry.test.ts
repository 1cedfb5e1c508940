import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

const clock = new FakeClock();
let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker({}, { clock });
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

const lasting = (clientId: string, more: { receiveMaximum?: number } = {}) =>
  TestClient.connect(broker.port, { clientId, cleanStart: false, properties: { sessionExpiryInterval: 1e6, ...more } });

async function cut(client: TestClient): Promise<void> {
  client.destroy();
  await broker.gone(client.clientId);
}

/** The next message, of QoS 1 or 2, not yet acknowledged. */
async function unacknowledged(client: TestClient) {
  const publish = await client.expect("publish");
  assert.ok(publish.qos !== 0);
  return publish;
}

for (const qos of [1, 2] as const) {
  test(`QoS ${qos} that was not acknowledged comes again with DUP and the same identifier [MQTT5 4.4.0-1] [MQTT5 3.3.1-1]`, async () => {
    const name = `again-${qos}`;
    const first = await lasting(name);
    await first.subscribe(name, { qos, subscriptionIdentifier: 5 });
    const properties = { contentType: "c", userProperties: [["a", "b"]] } as const;
    await publisher.publish(name, "x", { qos, properties });
    const before = await unacknowledged(first);
    await cut(first);
    const second = await lasting(name);
    const again = await unacknowledged(second);
    assert.equal(again.dup, true);
    assert.deepEqual({ ...again, dup: false }, before);
  });

  test(`QoS ${qos} keeps its retry through any number of connections`, async () => {
    const name = `often-${qos}`;
    const first = await lasting(name);
    await first.subscribe(name, { qos });
    await publisher.publish(name, "x", { qos });
    await cut(first);
    for (let i = 0; i < 4; i++) {
      const client = await lasting(name);
      assert.equal(textOf(await unacknowledged(client)), "x");
      await cut(client);
    }
    const last = await lasting(name);
    await last.receive();
    await last.nothing();
    await last.disconnect();
    await (await lasting(name)).nothing();
  });
}

test("what a client was sent and did not answer comes again in the order it was first sent, before anything new [MQTT5 4.6.0-1]", async () => {
  const first = await lasting("order");
  await first.subscribe("order", { qos: 2 });
  for (const [text, qos] of [
    ["a", 1],
    ["b", 2],
    ["c", 1],
    ["d", 2],
  ] as const) {
    await publisher.publish("order", text, { qos });
  }
  for (let i = 0; i < 4; i++) await first.expect("publish");
  await cut(first);
  await publisher.publish("order", "new", { qos: 1 });
  const second = await lasting("order");
  const texts: string[] = [];
  const dups: boolean[] = [];
  for (let i = 0; i < 5; i++) {
    const publish = await unacknowledged(second);
    texts.push(textOf(publish));
    dups.push(publish.dup);
  }
  assert.deepEqual(texts, ["a", "b", "c", "d", "new"]);
  assert.deepEqual(dups, [true, true, true, true, false]);
});

test("the order holds over the end of the identifiers too [MQTT5 4.6.0-1]", async () => {
  const first = await lasting("wrap");
  await first.subscribe("wrap", { qos: 1 });
  const { inflight } = broker.broker.sessions.get("wrap")!;
  // As if 65,533 messages had gone before.
  for (let i = 0; i < 65_533; i++) inflight.settle(inflight.take(1, undefined));
  for (const text of ["a", "b", "c", "d"]) await publisher.publish("wrap", text, { qos: 1 });
  const identifiers: number[] = [];
  for (let i = 0; i < 4; i++) identifiers.push((await unacknowledged(first)).packetIdentifier);
  assert.deepEqual(identifiers, [65_534, 65_535, 1, 2]);
  await cut(first);
  assert.deepEqual(await (await lasting("wrap")).receiveTexts(4), ["a", "b", "c", "d"]);
});

test("after PUBREC it is the PUBREL that comes again, not the message [MQTT5 4.4.0-1] [MQTT5 4.3.3-6]", async () => {
  const first = await lasting("rel");
  await first.subscribe("rel", { qos: 2 });
  for (const text of ["a", "b"]) await publisher.publish("rel", text, { qos: 2 });
  const { packetIdentifier } = await unacknowledged(first);
  const other = await unacknowledged(first);
  first.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
  await first.expect("pubrel");
  await cut(first);
  const second = await lasting("rel");
  assert.deepEqual(await second.expect("pubrel"), { type: "pubrel", packetIdentifier, reasonCode: 0 });
  const again = await unacknowledged(second);
  assert.equal(again.packetIdentifier, other.packetIdentifier);
  second.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
  await second.nothing();
});

test("what was acknowledged does not come again [MQTT5 4.4.0-2]", async () => {
  const first = await lasting("done");
  await first.subscribe("done", { qos: 2 });
  for (const qos of [1, 2] as const) await publisher.publish("done", "x", { qos });
  await first.receiveTexts(2);
  await first.roundTrip();
  await cut(first);
  await (await lasting("done")).nothing();
});

test("nothing is sent again while the connection lasts, whatever time passes [MQTT5 4.4.0-1]", async () => {
  const client = await lasting("patient");
  await client.subscribe("patient", { qos: 2 });
  for (const qos of [1, 2] as const) await publisher.publish("patient", "x", { qos });
  for (let i = 0; i < 2; i++) await client.expect("publish");
  clock.advance(24 * 3600 * 1000);
  await client.nothing();
});

test("what is sent again keeps to the new connection's Receive Maximum, in order [MQTT5 3.3.4-9]", async () => {
  const first = await lasting("window");
  await first.subscribe("window", { qos: 1 });
  for (const text of ["a", "b", "c", "d", "e"]) await publisher.publish("window", text, { qos: 1 });
  for (let i = 0; i < 5; i++) await first.expect("publish");
  await cut(first);
  const second = await lasting("window", { receiveMaximum: 2 });
  const [a, b] = [await unacknowledged(second), await unacknowledged(second)];
  await second.nothing();
  assert.deepEqual([textOf(a), textOf(b)], ["a", "b"]);
  for (const { packetIdentifier } of [a, b]) second.send({ type: "puback", packetIdentifier, reasonCode: 0 });
  assert.deepEqual(await second.receiveTexts(3), ["c", "d", "e"]);
  await second.nothing();
});

test("a new message never takes the identifier of one that is still under way [MQTT5 2.2.1-4]", async () => {
  const first = await lasting("identifiers");
  await first.subscribe("identifiers", { qos: 1 });
  await publisher.publish("identifiers", "old", { qos: 1 });
  const old = await unacknowledged(first);
  await cut(first);
  const second = await lasting("identifiers");
  await second.expect("publish");
  await publisher.publish("identifiers", "new", { qos: 1 });
  assert.notEqual((await unacknowledged(second)).packetIdentifier, old.packetIdentifier);
});

describe("a retry after a take-over", () => {
  test("goes to the new connection, also while the old one is still being told", async () => {
    const first = await lasting("taken");
    await first.subscribe("taken", { qos: 1 });
    for (const text of ["a", "b"]) await publisher.publish("taken", text, { qos: 1 });
    for (let i = 0; i < 2; i++) await first.expect("publish");
    const second = await lasting("taken");
    await first.expect("disconnect");
    assert.deepEqual(await second.receiveTexts(2), ["a", "b"]);
  });
});
