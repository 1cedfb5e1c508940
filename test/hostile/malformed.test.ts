/** Packets that are not what they say: the sender is cut off, a 5.0 client hears why, and that is all. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import type { Connect } from "../../src/mqtt/packet.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { bytesOf } from "../vectors/hex.ts";
import { bytesInUse, undisturbed } from "./undisturbed.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const malformed = 0x81;
const protocolError = 0x82;
const packetTooLarge = 0x95;

/** Sends `written`, over an open connection of this version or as the first thing; expects a DISCONNECT or nothing. */
async function refused(version: 4 | 5 | "before CONNECT", written: string, reasonCode?: number): Promise<void> {
  const connect: Partial<Connect> = { protocolVersion: version === 4 ? 4 : 5 };
  const client =
    version === "before CONNECT" ? await TestClient.open(server.port) : await TestClient.connect(server.port, connect);
  client.sendBytes(bytesOf(written));
  await client.closed();
  const answers = client.unread.map((packet) => [packet.type, "reasonCode" in packet && packet.reasonCode]);
  const type = version === "before CONNECT" ? "connack" : "disconnect";
  assert.deepEqual(answers, reasonCode === undefined ? [] : [[type, reasonCode]], written);
}

const overlong = "ff ff ff ff 7f";

for (const [what, where, cases] of [
  [
    "a first packet that is not CONNECT",
    "mosquitto CVE-2023-0809, CVE-2017-7651",
    [
      ["before CONNECT", "30 ff ff ff 7f"],
      ["before CONNECT", "82 ff ff ff 7f 00"],
      ["before CONNECT", "c0 00"],
      ["before CONNECT", "00"],
      ["before CONNECT", "'GET / HTTP/1.1'"],
      ["before CONNECT", "16 03 01 0200"],
    ],
  ],
  [
    "a CONNECT that announces more than there can be",
    "mosquitto CVE-2017-7651",
    [
      ["before CONNECT", "10 ff ff ff 7f"],
      ["before CONNECT", "10 80 80 80 01"],
      ["before CONNECT", `10 ${overlong}`],
    ],
  ],
  [
    "a PUBLISH with an empty Topic Name",
    "mosquitto CVE-2021-34432",
    [
      [4, "30 02 0000"],
      [4, "30 03 0000 'x'"],
      [5, "30 03 0000 00", protocolError],
      [5, "32 05 0000 0001 00", protocolError],
    ],
  ],
  [
    "a packet that only servers send",
    "mosquitto CVE-2021-28166, NanoMQ CVE-2023-33657",
    [
      [4, "20 02 00 00"],
      [5, "20 03 00 00 00", protocolError],
      [5, "20 00", malformed],
      [5, "90 04 0001 00 00", protocolError],
      [5, "b0 04 0001 00 00", protocolError],
      [5, "d0 00", protocolError],
      [5, "f0 00", protocolError],
      [5, "f0 02 00 00", protocolError],
    ],
  ],
  [
    "a variable byte integer of five bytes",
    "NanoMQ CVE-2026-21888, nanomq#2192",
    [
      [5, `30 ${overlong}`, malformed],
      [5, `30 08 0001 'a' ${overlong}`, malformed],
      [5, `82 07 0001 ${overlong}`, malformed],
      [5, `a2 07 0001 ${overlong}`, malformed],
      [5, `40 08 0001 00 ${overlong}`, malformed],
      [5, `e0 06 00 ${overlong}`, malformed],
      [5, `82 09 0001 06 0b ${overlong}`, malformed],
      ["before CONNECT", `10 0f 0004 'MQTT' 05 02 0000 ${overlong}`, malformed],
      ["before CONNECT", `10 13 0004 'MQTT' 05 06 0000 00 0001 'c' ${overlong}`, malformed],
    ],
  ],
  [
    "a SUBSCRIBE cut before its options",
    "nanomq#2268, #1154",
    [
      [4, "82 05 0001 0001 'a'"],
      [5, "82 06 0001 00 0001 'a'", malformed],
      [5, "82 0a 0001 00 0001 'a' 00 0001 'b'", malformed],
      [4, `82 80 08 0001 03fc '${"a".repeat(1020)}'`],
      [5, `82 80 08 0001 00 03fb '${"a".repeat(1019)}'`, malformed],
    ],
  ],
  [
    "a PUBLISH cut before its Packet Identifier",
    "nanomq#2270",
    [
      [4, "32 03 0001 'a'"],
      [4, "34 04 0001 'a' 00"],
      [5, "32 03 0001 'a'", malformed],
      [5, "34 04 0001 'a' 00", malformed],
      [5, "32 05 0001 'a' 0001", malformed],
      [5, "30 03 0001 'a'", malformed],
    ],
  ],
  [
    "properties longer than their packet",
    "nanomq#1042, #1153, #1155, #1167, #1169, #1181, #1722",
    [
      [5, "30 05 0001 'a' 05 00", malformed],
      [5, "30 05 0001 'a' ff 7f", malformed],
      [5, "32 07 0001 'a' 0001 05 00", malformed],
      [5, "82 04 0001 7f 0b", malformed],
      [5, "a2 04 0001 7f 26", malformed],
      [5, "40 04 0001 00 7f", malformed],
      [5, "62 05 0001 00 05 1f", malformed],
      [5, "e0 02 00 7f", malformed],
      ["before CONNECT", "10 0c 0004 'MQTT' 05 02 0000 7f 11", malformed],
      ["before CONNECT", "10 0f 0004 'MQTT' 05 06 0000 00 0001 'c' 7f", malformed],
    ],
  ],
  [
    "a property longer than its properties",
    "NanoMQ CVE-2023-29994 to 29996, CVE-2023-33658 to 33660, CVE-2023-34488, CVE-2024-31036",
    [
      [5, "30 09 0001 'a' 05 26 ffff 'ab'", malformed],
      [5, "30 09 0001 'a' 05 03 0004 'ab'", malformed],
      [5, "30 07 0001 'a' 03 09 ffff", malformed],
      [5, "30 06 0001 'a' 02 02 00", malformed],
      [5, "30 06 0001 'a' 02 23 00", malformed],
      [5, "30 05 0001 'a' 01 01", malformed],
      [5, "82 07 0001 02 0b ff 00 00", malformed],
      [5, "82 08 0001 03 26 ffff 'a' 00", malformed],
      [5, "e0 05 00 03 1f ffff", malformed],
      ["before CONNECT", "10 10 0004 'MQTT' 05 02 0000 03 11 0000 0000", malformed],
      ["before CONNECT", "10 10 0004 'MQTT' 05 02 0000 05 15 ffff 'ab'", malformed],
    ],
  ],
  [
    "a will with properties that are none, the delay first",
    "mosquitto CVE-2023-3592, 1.6.2",
    [
      ["before CONNECT", "10 1b 0004 'MQTT' 05 06 0000 00 0001 'c' 07 18 00000001 23 00 0001 'w' 0000", malformed],
      [
        "before CONNECT",
        "10 1e 0004 'MQTT' 05 06 0000 00 0001 'c' 0a 18 00000001 18 00000001 0001 'w' 0000",
        protocolError,
      ],
      ["before CONNECT", "10 1b 0004 'MQTT' 05 06 0000 00 0001 'c' 07 18 00000001 01 02 0001 'w' 0000", protocolError],
      ["before CONNECT", "10 16 0004 'MQTT' 05 06 0000 00 0001 'c' 02 23 01 0001 'w' 0000", malformed],
    ],
  ],
  [
    "DISCONNECT, SUBSCRIBE, UNSUBSCRIBE, CONNECT that mqtt-packet fell over",
    "MQTT.js CVE-2016-10523; mqtt-packet#83, #100, #107, #157",
    [
      [4, "e1 00"],
      [5, "e0 01 03", protocolError],
      [4, "82 00"],
      [4, "82 01 00"],
      [5, "82 00", malformed],
      [5, "82 02 0001", malformed],
      [5, "82 03 0001 00", protocolError],
      [4, "a2 00"],
      [5, "a2 03 0001 00", protocolError],
      [4, "40 00"],
      [4, "62 01 00"],
      [5, "70 01 00", malformed],
      ["before CONNECT", "10 00"],
      ["before CONNECT", "10 02 0000"],
      ["before CONNECT", "10 12 0004 'MQTT' 04 1e 0000 0001 'c' 0001 'w' 0000"],
      ["before CONNECT", "10 14 0004 'MQTT' 05 1e 0000 00 0001 'c' 00 0001 'w' 0000", malformed],
    ],
  ],
  [
    "more than the largest packet taken",
    "EMQX CVE-2021-33175, VerneMQ CVE-2021-33176, RabbitMQ CVE-2021-22116",
    [
      [4, "30 ff ff ff 7f"],
      [5, "30 ff ff ff 7f", packetTooLarge],
      [5, "82 81 80 40", packetTooLarge],
      [5, "e0 ff ff ff 7f", packetTooLarge],
    ],
  ],
] as const) {
  test(`${what} [${where}]`, async () => {
    await undisturbed(server, async () => {
      for (const [version, written, reasonCode] of cases as readonly (readonly [
        4 | 5 | "before CONNECT",
        string,
        number?,
      ])[])
        await refused(version, written, reasonCode);
    });
  });
}

test("a `$` topic other than $SYS is a topic [mosquitto CVE-2018-12543]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    for (const topicName of ["$", "$x", "$/", "$$", "$share/a/b", "$share", "$queue/a", "$SYSTEM", "$sys/a"]) {
      for (const qos of [0, 1, 2] as const) await client.publish(topicName, "x", { qos });
    }
    await client.subscribe("$/#");
    await client.publish("$/a", "x");
    assert.equal((await client.receive()).topicName, "$/a");
    client.destroy();
  });
});

test("$SYS/brokers is for reading: what is published there is refused, 3.1.1 hears nothing of it [mosquitto CVE-2018-12543]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    for (const qos of [1, 2] as const) assert.equal(await client.publish("$SYS/brokers/x", "x", { qos }), 0x87);
    const older = await TestClient.connect(server.port, { protocolVersion: 4 });
    for (const qos of [1, 2] as const) assert.equal(await older.publish("$SYS/brokers", "x", { qos }), 0);
    client.destroy();
    older.destroy();
  });
});

test("huge announced packets take no memory before they come [mosquitto CVE-2023-0809]", async () => {
  const own = await startBroker({ packetBytesMax: 268_435_460 });
  await undisturbed(own, async () => {
    const clients: TestClient[] = [];
    const before = bytesInUse();
    for (let i = 0; i < 200; i++) {
      const client = await TestClient.connect(own.port);
      client.sendBytes("30 ff ff ff 7f 0001 61 00 78");
      clients.push(client);
    }
    for (let i = 0; i < 200; i++) {
      const client = await TestClient.open(own.port);
      // As large as a CONNECT can be.
      client.sendBytes("10 e0 c4 13 0004");
      clients.push(client);
    }
    assert.ok(bytesInUse() - before < 16 * 1024 * 1024);
    for (const client of clients) client.destroy();
  });
  await own.close();
});

test("a packet that comes in bytes and pieces is one packet", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    await client.subscribe("drip");
    const header = bytesOf("30 d0 8c 01 0004 'drip' 00");
    // A Remaining Length of 18,000: whole pieces for most of it, single bytes at both ends.
    const packet = Buffer.concat([header, Buffer.alloc(18_000 - 7, 0x61)]);
    for (let at = 0; at < packet.length; ) {
      const size = at < 600 || at > packet.length - 600 ? 1 : 1000;
      client.sendBytes(packet.subarray(at, Math.min(at + size, packet.length)));
      at += size;
      if (at % 50 === 0) await new Promise(setImmediate);
    }
    await client.roundTrip();
    assert.equal(client.unread.length, 1);
    assert.equal((await client.receive()).payload.length, 18_000 - 7);
    client.destroy();
  });
});
