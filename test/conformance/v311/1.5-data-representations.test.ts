import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311, speak, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

for (const [what, text, clause] of [
  ["a surrogate", "ed a0 80", "1.5.3-1"],
  ["a pair of surrogates", "ed a0 bd ed b8 80", "1.5.3-1"],
  ["an overlong form", "c1 81", "1.5.3-1"],
  ["what is above U+10FFFF", "f4 90 80 80", "1.5.3-1"],
  ["a lone continuation", "80", "1.5.3-1"],
  ["a character that is cut off", "e2 82", "1.5.3-1"],
  ["U+0000", "00", "1.5.3-2"],
  ["U+0000 in an overlong form", "c0 80", "1.5.3-1"],
] as const) {
  const length = text.split(" ").length;
  const prefixed = `${length.toString(16).padStart(4, "0")} ${text}`;
  const size = (others: number) => (others + 2 + length).toString(16).padStart(2, "0");

  test(`a client identifier with ${what} closes the connection without an answer [MQTT311 ${clause}] [MQTT311 3.1.3-4]`, async () => {
    const client = await speak(server.port, `10 ${size(10)} 0004 'MQTT' 04 02 0000 ${prefixed}`);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });

  test(`a Will Topic with ${what} closes the connection without an answer [MQTT311 ${clause}] [MQTT311 3.1.3-10]`, async () => {
    const client = await speak(server.port, `10 ${size(15)} 0004 'MQTT' 04 06 0000 0001 'c' ${prefixed} 0000`);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });

  test(`a user name with ${what} closes the connection without an answer [MQTT311 ${clause}] [MQTT311 3.1.3-11]`, async () => {
    const client = await speak(server.port, `10 ${size(13)} 0004 'MQTT' 04 82 0000 0001 'c' ${prefixed}`);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });

  test(`a Topic Name with ${what} closes the connection [MQTT311 ${clause}] [MQTT311 3.3.2-1]`, async () => {
    const client = await speakConnected(server.port, `30 ${size(0)} ${prefixed}`);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });

  test(`a Topic Filter with ${what} closes the connection [MQTT311 ${clause}] [MQTT311 3.8.3-1] [MQTT311 3.10.3-1]`, async () => {
    const subscriber = await speakConnected(server.port, `82 ${size(3)} 0001 ${prefixed} 00`);
    const unsubscriber = await speakConnected(server.port, `a2 ${size(2)} 0001 ${prefixed}`);
    await subscriber.closed();
    await unsubscriber.closed();
    assert.deepEqual([...subscriber.unread, ...unsubscriber.unread], []);
  });
}

test("a byte order mark is a character like any other [MQTT311 1.5.3-3]", async () => {
  const subscriber = await connect311(server.port);
  await subscriber.subscribe("\ufeffbom");
  await subscriber.subscribe("bom");
  const publisher = await connect311(server.port);
  await publisher.publish("\ufeffbom", "with");
  const { topicName } = await subscriber.receive();
  assert.equal(topicName, "\ufeffbom");
  await subscriber.nothing();
});

test("characters of every length are taken and given as they came [MQTT311 1.5.3-1]", async () => {
  const client = await connect311(server.port);
  const topicName = "aé€𪛔/\u{10ffff}/\u0001\u007f\u009f\ufffe";
  await client.subscribe(topicName);
  await client.publish(topicName, "x");
  assert.equal((await client.receive()).topicName, topicName);
});

test("a Topic Name of 65,535 bytes is a Topic Name [MQTT311 4.7.3-3]", async () => {
  const client = await connect311(server.port);
  const topicName = "€".repeat(21_845);
  await client.subscribe(topicName);
  await client.publish(topicName, "x");
  assert.equal((await client.receive()).topicName, topicName);
});
