/** Every malformed packet that a client might send, at the live broker: it harms nobody but its sender. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import type { Packet } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";
import { bytesOf } from "../../vectors/hex.ts";
import { malformedVectors } from "../../vectors/malformed.ts";
import { packetVectors } from "../../vectors/packets.ts";

let broker: TestBroker;
let witness: TestClient;
beforeAll(async () => {
  broker = await startBroker();
  witness = await TestClient.connect(broker.port);
  await witness.subscribe("#", { qos: 2 });
});
afterAll(() => broker.close());

/** The first byte's upper half. */
const isConnect = (bytes: Buffer) => bytes[0] >> 4 === 1;

describe("a malformed packet from a client", () => {
  for (const { title, version, from, written, reasonCode, clause } of malformedVectors) {
    if (version !== 5 || from !== "client") continue;
    // An unknown protocol is answered in words that it may know: see 3.1-connect.
    if (reasonCode === ReasonCode.unsupportedProtocolVersion) continue;
    const bytes = bytesOf(written);
    if (isConnect(bytes)) {
      test(`${title}: refused, with a word where the packet says enough [${clause}] [MQTT5 4.13.1-1]`, async () => {
        const client = await TestClient.open(broker.port);
        client.sendBytes(bytes);
        await client.closed();
        for (const packet of client.unread) {
          assert.ok(packet.type === "connack");
          assert.equal(packet.reasonCode, reasonCode);
        }
        assert.ok(client.unread.length <= 1);
        await witness.nothing();
      });
    } else {
      test(`${title}: DISCONNECT 0x${reasonCode.toString(16)} [${clause}] [MQTT5 4.13.1-1]`, async () => {
        const client = await TestClient.connect(broker.port);
        client.sendBytes(bytes);
        assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
        await client.closed();
        await witness.nothing();
      });
    }
  }
});

/** What the broker itself sends is nothing a client may. */
const serverOnly: ReadonlySet<Packet["type"]> = new Set(["connack", "suback", "unsuback", "pingresp"]);

describe("a packet that is only the server's to send", () => {
  for (const { title, versions, written, packet } of packetVectors) {
    if (!versions.includes(5) || !serverOnly.has(packet.type)) continue;
    test(`${title}: DISCONNECT 0x82 [MQTT5 4.13.1-1]`, async () => {
      const client = await TestClient.connect(broker.port);
      client.sendBytes(bytesOf(written));
      assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.protocolError);
      await client.closed();
    });
  }
});

describe("a packet cut in two by the end of the connection", () => {
  for (const { title, versions, written, packet } of packetVectors) {
    if (!versions.includes(5) || packet.type === "connect" || serverOnly.has(packet.type)) continue;
    test(`${title}: is not handled`, async () => {
      const client = await TestClient.connect(broker.port);
      const bytes = bytesOf(written);
      if (bytes.length > 2) client.sendBytes(bytes.subarray(0, -1));
      client.destroy();
      await broker.gone(client.clientId);
      await witness.nothing();
    });
  }
});

test("what came before a malformed packet, in the same bytes, is handled", async () => {
  const client = await TestClient.connect(broker.port);
  client.sendBytes(bytesOf("32 07 0001 'a' 0001 00 'x' 36 07 0001 'a' 0002 00 'y' 32 07 0001 'a' 0003 00 'z'"));
  assert.equal((await client.expect("puback")).packetIdentifier, 1);
  assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.malformedPacket);
  await client.closed();
  assert.deepEqual(client.unread, []);
  assert.equal(textOf(await witness.receive()), "x");
  await witness.nothing();
});

test("a packet fed byte by byte is the packet", async () => {
  const client = await TestClient.connect(broker.port);
  for (const byte of bytesOf("32 0e 0001 'a' 0007 07 260001'u'0001'v' 'x' c000")) client.sendBytes(Uint8Array.of(byte));
  assert.equal((await client.expect("puback")).packetIdentifier, 7);
  await client.expect("pingresp");
  const publish = await witness.receive();
  assert.equal(textOf(publish), "x");
  assert.deepEqual(publish.properties?.userProperties, [["u", "v"]]);
});
