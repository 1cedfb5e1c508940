import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import type { Packet } from "../../../src/mqtt/packet.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311 } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker({ inflightMessagesMax: 10 });
});
afterAll(() => server.close());

const text = ({ payload }: { payload: Uint8Array }) => Buffer.from(payload).toString();
const count = 500;

for (const qos of [0, 1, 2] as const) {
  for (const cleanStart of [true, false]) {
    test(`messages at QoS ${qos} reach a ${cleanStart ? "clean" : "lasting"} session in the order they were published [MQTT311 4.6.0-5] [MQTT311 4.6.0-6]`, async () => {
      const topicName = `order/${qos}/${cleanStart}`;
      const subscriber = await connect311(server.port, { clientId: topicName, cleanStart });
      await subscriber.subscribe(topicName, { qos: 2 });
      const publisher = await connect311(server.port);
      for (let i = 1; i <= count; i++) publisher.sendPublish(topicName, String(i), { qos, packetIdentifier: i });
      for (let i = 1; i <= count; i++) assert.equal(text(await subscriber.receive()), String(i));
    });
  }
}

test("PUBACK and PUBREC come in the order of the PUBLISH packets [MQTT311 4.6.0-2] [MQTT311 4.6.0-3]", async () => {
  const lasting = await connect311(server.port, { clientId: "lasting", cleanStart: false });
  await lasting.subscribe("answers/durable", { qos: 2 });
  const publisher = await connect311(server.port);
  // Some are owed to a session that must be kept, some are not: both wait their turn.
  for (let i = 1; i <= count; i++) {
    const topicName = i % 3 === 0 ? "answers/durable" : "answers/passing";
    publisher.sendPublish(topicName, "x", { qos: i % 2 === 0 ? 1 : 2, packetIdentifier: i });
  }
  const answers: Packet[] = [];
  for (let i = 1; i <= count; i++) answers.push(await publisher.next());
  assert.deepEqual(
    answers.map((packet) => [packet.type, "packetIdentifier" in packet && packet.packetIdentifier]),
    Array.from({ length: count }, (_, i) => [(i + 1) % 2 === 0 ? "puback" : "pubrec", i + 1]),
  );
});

test("PUBREL comes in the order of the PUBREC packets [MQTT311 4.6.0-4]", async () => {
  const subscriber = await connect311(server.port, { clientId: "releases", cleanStart: false });
  await subscriber.subscribe("releases", { qos: 2 });
  const publisher = await connect311(server.port);
  for (let i = 0; i < 5; i++) await publisher.publish("releases", "x", { qos: 2 });
  const identifiers: number[] = [];
  for (let i = 0; i < 5; i++) {
    const publish = await subscriber.expect("publish");
    if (publish.qos === 2) identifiers.push(publish.packetIdentifier);
  }
  const shuffled = [3, 0, 4, 1, 2].map((i) => identifiers[i]);
  for (const packetIdentifier of shuffled) subscriber.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
  for (const packetIdentifier of shuffled) {
    assert.equal((await subscriber.expect("pubrel")).packetIdentifier, packetIdentifier);
  }
});
