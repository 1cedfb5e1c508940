import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";
import { connect311, speakConnected } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker({ packetBytesMax: 4 * 1024 * 1024 });
});
afterAll(() => server.close());

/** Packets that are right but for the flags of their first byte. */
const flagged = [
  ["PUBACK", 0x40, 0, "02 0001"],
  ["PUBREC", 0x50, 0, "02 0001"],
  ["PUBREL", 0x60, 2, "02 0001"],
  ["PUBCOMP", 0x70, 0, "02 0001"],
  ["SUBSCRIBE", 0x80, 2, "06 0001 0001 'a' 00"],
  ["UNSUBSCRIBE", 0xa0, 2, "05 0001 0001 'a'"],
  ["PINGREQ", 0xc0, 0, "00"],
  ["DISCONNECT", 0xe0, 0, "00"],
] as const;

for (const [name, type, right, rest] of flagged) {
  test(`${name} with reserved flags other than ${right} closes the connection [MQTT311 2.2.2-1] [MQTT311 2.2.2-2]`, async () => {
    for (let flags = 0; flags < 16; flags++) {
      if (flags === right) continue;
      const client = await speakConnected(server.port, `${(type | flags).toString(16)} ${rest}`);
      await client.closed();
      assert.deepEqual(client.unread, [], `flags ${flags}`);
    }
  });
}

for (const [what, bytes] of [
  ["type 0", "00 00"],
  ["type 15", "f0 00"],
  ["CONNACK", "20 02 0000"],
  ["SUBACK", "90 03 0001 00"],
  ["UNSUBACK", "b0 02 0001"],
  ["PINGRESP", "d0 00"],
] as const) {
  test(`${what} from a client closes the connection [MQTT311 2.2.1] [MQTT311 4.8.0-1]`, async () => {
    const client = await speakConnected(server.port, bytes);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

for (const [bytes, lengthBytes] of [
  [127, 1],
  [128, 2],
  [16_383, 2],
  [16_384, 3],
  [2_097_151, 3],
  [2_097_152, 4],
] as const) {
  test(`a Remaining Length of ${bytes} takes ${lengthBytes} bytes, in and out [MQTT311 2.2.3]`, async () => {
    const client = await connect311(server.port);
    await client.subscribe("t");
    const payload = new Uint8Array(bytes - 3).fill(0x61);
    await client.publish("t", payload);
    const { payload: received } = await client.receive();
    assert.equal(Buffer.compare(received, payload), 0);
    client.destroy();
  });
}

for (const [what, bytes] of [
  ["of five bytes", "30 ff ff ff ff 7f"],
  ["that never ends", "30 80 80 80 80"],
  ["that is not in its shortest form", "c0 80 00"],
] as const) {
  test(`a Remaining Length ${what} closes the connection [MQTT311 2.2.3]`, async () => {
    const client = await speakConnected(server.port, bytes);
    await client.closed();
    assert.deepEqual(client.unread, []);
  });
}

test("packets may come in any pieces [MQTT311 4.2]", async () => {
  const client = await connect311(server.port);
  for (const byte of Buffer.from("8206000100017400" + "30050001746869" + "c000", "hex")) {
    client.sendBytes(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  assert.equal((await client.expect("suback")).packetIdentifier, 1);
  assert.equal(Buffer.from((await client.expect("publish")).payload).toString(), "hi");
  await client.expect("pingresp");
});

test("what follows a DISCONNECT in the same segment is not looked at [MQTT311 3.14.4-2]", async () => {
  const watcher = await connect311(server.port);
  await watcher.subscribe("after");
  const client = await TestClient.connect(server.port, { protocolVersion: 4 });
  client.sendBytes("e000 3008 0005 6166746572 78");
  await client.closed();
  await watcher.nothing();
});
