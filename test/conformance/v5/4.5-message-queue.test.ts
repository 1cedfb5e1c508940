import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker({ queuedMessagesMax: 3 });
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

const lasting = (clientId: string, receiveMaximum?: number) =>
  TestClient.connect(broker.port, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiryInterval: 1000, receiveMaximum },
  });

async function awayWith(name: string): Promise<void> {
  const client = await lasting(name);
  await client.subscribe(`${name}/#`, { qos: 2 });
  await client.disconnect();
}

test("messages of QoS 1 and 2 wait for a session that is away, in order [MQTT5 4.5.0-1]", async () => {
  await awayWith("wait");
  for (const [text, qos] of [
    ["a", 1],
    ["b", 2],
    ["c", 1],
  ] as const) {
    await publisher.publish("wait/x", text, { qos });
  }
  const back = await lasting("wait");
  const received = [await back.receive(), await back.receive(), await back.receive()];
  assert.deepEqual(received.map(textOf), ["a", "b", "c"]);
  assert.deepEqual(
    received.map((publish) => [publish.qos, publish.qos !== 0 && publish.dup]),
    [
      [1, false],
      [2, false],
      [1, false],
    ],
  );
  await back.nothing();
});

test("a queue that is full lets the oldest go and counts it", async () => {
  await awayWith("full");
  const { dropped } = broker.broker.figures;
  const before = dropped.queueFull;
  for (const text of ["a", "b", "c", "d", "e"]) await publisher.publish("full/x", text, { qos: 1 });
  assert.equal(dropped.queueFull - before, 2);
  const back = await lasting("full");
  assert.deepEqual(await back.receiveTexts(3), ["c", "d", "e"]);
  await back.nothing();
});

test("a subscriber who is there but does not acknowledge has the same queue behind its window", async () => {
  const client = await lasting("slow", 1);
  await client.subscribe("slow", { qos: 1 });
  for (const text of ["a", "b", "c", "d", "e", "f"]) await publisher.publish("slow", text, { qos: 1 });
  assert.deepEqual(await client.receiveTexts(4), ["a", "d", "e", "f"]);
  await client.nothing();
});

test("a full queue is its own session's matter: others get everything, and the publisher notices nothing", async () => {
  await awayWith("own");
  const here = await TestClient.connect(broker.port);
  await here.subscribe("own/#", { qos: 1 });
  const texts = Array.from({ length: 50 }, (_, i) => String(i));
  for (const text of texts) assert.equal(await publisher.publish("own/x", text, { qos: 1 }), 0);
  assert.deepEqual(await here.receiveTexts(50), texts);
});

test("a payload of the queue is the message's own, whatever the publisher sends after it", async () => {
  await awayWith("bytes");
  const payloads = ["a", "b", "c"].map((letter) => letter.repeat(5000));
  for (const payload of payloads) await publisher.publish("bytes/x", payload, { qos: 1 });
  for (let i = 0; i < 50; i++) await publisher.publish("nobody", "z".repeat(5000), { qos: 1 });
  assert.deepEqual(await (await lasting("bytes")).receiveTexts(3), payloads);
});
