import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { generate, parser, type Packet } from "mqtt-packet";
import { connectPacket, cutPackets, disconnectPacket, PublishBatch, subscribePacket, type Qos } from "./packets.ts";
import { binaryStamp, payloadBytesMin, textStamp } from "./stamp.ts";

/** mqtt-packet is the outside witness of what we send. */
function read(bytes: Uint8Array): Packet[] {
  const packets: Packet[] = [];
  const reader = parser({ protocolVersion: 4 });
  reader.on("packet", (packet) => packets.push(packet));
  reader.on("error", (error) => assert.fail(error));
  reader.parse(Buffer.from(bytes));
  return packets;
}

describe("what is sent", () => {
  test("CONNECT is a clean MQTT 3.1.1 session under the client id", () => {
    const [packet] = read(connectPacket("pub-7", { cleanSession: true }));
    assert.equal(packet.cmd, "connect");
    const { clientId, protocolId, protocolVersion, clean } = packet as Packet & { cmd: "connect" };
    assert.deepEqual(
      { clientId, protocolId, protocolVersion, clean },
      { clientId: "pub-7", protocolId: "MQTT", protocolVersion: 4, clean: true },
    );
  });

  test("SUBSCRIBE asks for one topic filter", () => {
    const [packet] = read(subscribePacket("bench/#", 2));
    assert.deepEqual((packet as Packet & { cmd: "subscribe" }).subscriptions, [{ topic: "bench/#", qos: 2 }]);
  });

  test("DISCONNECT", () => {
    assert.equal(read(disconnectPacket)[0].cmd, "disconnect");
  });

  for (const qos of [0, 1, 2] as const) {
    for (const payloadBytes of [payloadBytesMin, 16, 256, 20_000]) {
      test(`a batch of PUBLISH packets, QoS ${qos}, ${payloadBytes} bytes`, () => {
        const batch = filled({ qos, payloadBytes });
        const packets = read(batch.first(2)) as (Packet & { cmd: "publish" })[];
        assert.equal(packets.length, 2);
        for (const [slot, packet] of packets.entries()) {
          const payload = packet.payload as Buffer;
          const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
          assert.equal(packet.topic, "bench/5");
          assert.equal(packet.qos, qos);
          assert.equal(payload.length, payloadBytes);
          assert.equal(packet.messageId, qos === 0 ? undefined : 0x1234 + slot);
          assert.equal(binaryStamp.sender(view, 0), 5);
          assert.equal(binaryStamp.sequence(view, 0), 100 + slot);
        }
      });
    }
  }

  test("a payload too small for its stamp is refused", () => {
    assert.throws(
      () => new PublishBatch({ topicName: "t", qos: 0, payloadBytes: 11, sender: 0, slots: 1 }),
      /at least 12/,
    );
  });
});

describe("a stamp", () => {
  for (const [name, format] of [
    ["binary", binaryStamp],
    ["text", textStamp],
  ] as const) {
    test(`${name}: comes back as it was written, the time within 32 bits`, () => {
      const view = new DataView(new ArrayBuffer(40));
      for (const micros of [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 2 ** 40 + 17.6]) {
        format.write(view, 3, { micros, sender: 999, sequence: 0xffff_fffe });
        assert.equal(format.micros(view, 3), micros | 0);
        assert.equal(format.sender(view, 3), 999);
        assert.equal(format.sequence(view, 3), 0xffff_fffe);
      }
    });
  }

  test("as text it needs no escaping in JSON", () => {
    const bytes = Buffer.alloc(textStamp.bytes);
    textStamp.write(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, {
      micros: -1,
      sender: 1,
      sequence: 0xbeef,
    });
    assert.equal(bytes.toString(), "ffffffff000000010000beef");
  });
});

describe("what is received", () => {
  const packets: Packet[] = [
    { cmd: "connack", returnCode: 0, sessionPresent: false },
    {
      cmd: "publish",
      topic: "bench/1",
      payload: Buffer.alloc(300, "x"),
      qos: 1,
      dup: false,
      retain: false,
      messageId: 9,
    },
    { cmd: "puback", messageId: 258 },
    { cmd: "publish", topic: "bench/2", payload: "", qos: 0, dup: false, retain: false },
  ];
  const bytes = Buffer.concat(packets.map((packet) => generate(packet)));

  test("packets are found wherever the stream is cut", () => {
    const whole = cut(bytes, bytes.length);
    assert.deepEqual(whole.firsts, [0x20, 0x32, 0x40, 0x30]);
    assert.equal(whole.next, bytes.length);
    for (let at = 0; at <= bytes.length; at++) {
      const before = cut(bytes, at);
      const after = cut(bytes.subarray(before.next), bytes.length - before.next);
      assert.deepEqual([...before.firsts, ...after.firsts], whole.firsts, `cut at ${at}`);
    }
  });

  test("a body lies between the offsets that are told", () => {
    const bodies: string[] = [];
    cutPackets(bytes, 0, bytes.length, {
      packet: (_first, _start, at, end) => bodies.push(bytes.toString("hex", at, end)),
    });
    assert.equal(bodies[0], "0000");
    assert.equal(bodies[2], "0102");
    assert.equal(bodies[1].length / 2, 2 + 7 + 2 + 300);
  });

  test("a length of five bytes ends the stream", () => {
    assert.throws(() => cut(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]), 6), /more than four bytes/);
  });
});

function filled({ qos, payloadBytes }: { qos: Qos; payloadBytes: number }): PublishBatch {
  const batch = new PublishBatch({ topicName: "bench/5", qos, payloadBytes, sender: 5, slots: 3 });
  for (let slot = 0; slot < 3; slot++) {
    batch.write(slot, { micros: 1_000_000, sequence: 100 + slot });
    if (qos > 0) batch.identify(slot, 0x1234 + slot);
  }
  return batch;
}

function cut(bytes: Uint8Array, end: number): { firsts: number[]; next: number } {
  const firsts: number[] = [];
  const next = cutPackets(bytes, 0, end, { packet: (first) => firsts.push(first) });
  return { firsts, next };
}
