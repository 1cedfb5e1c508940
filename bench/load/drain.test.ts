import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, describe, test } from "vitest";
import { generate } from "../peers/processes.ts";
import type { DrainJob, FillJob } from "./job.ts";
import { cutPackets, packetType, PublishBatch } from "./packets.ts";

const payloadBytes = 64;
const messages = 5;
const connack = Uint8Array.of(0x20, 2, 1, 0);

let server: Server;
afterEach(() => server.close());

/** A broker that answers each packet as told. */
async function broker(answer: (type: number, socket: Socket) => void): Promise<number> {
  server = createServer((socket) => {
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      const bytes = Buffer.concat([rest, chunk]);
      const next = cutPackets(bytes, 0, bytes.length, { packet: (first) => answer(first >> 4, socket) });
      rest = Buffer.from(bytes.subarray(next));
    });
    socket.on("error", () => socket.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

describe("a drain", () => {
  const drain: Omit<DrainJob, "port"> = {
    kind: "drain",
    shape: "fan-in",
    publishers: 1,
    subscribers: 1,
    payloadBytes,
    messages,
    firstMsMax: 5_000,
    silenceMsMax: 200,
    brokerPid: process.pid,
  };

  function owed(count: number): Buffer {
    const batch = new PublishBatch({ topicName: "bench/0", qos: 1, payloadBytes, sender: 0, slots: count });
    for (let slot = 0; slot < count; slot++) {
      batch.write(slot, { micros: 0, sequence: slot });
      batch.identify(slot, slot + 1);
    }
    return batch.first(count);
  }

  for (const [arriving, failure] of [
    [messages, undefined],
    [messages - 1, "1 deliveries lost"],
  ] as const) {
    test(`of ${messages} messages, ${arriving} of which come in one piece with CONNACK: ${failure ?? "all are there"}`, async () => {
      const port = await broker((type, socket) => {
        if (type === packetType.connect) socket.write(Buffer.concat([connack, owed(arriving)]));
      });
      const result = await generate({ ...drain, port }, { pinned: false });
      assert.equal(result.counts.received, arriving);
      assert.equal(result.failure, failure);
      assert.ok(result.moments!.first! >= result.moments!.listening!);
    });
  }
});

test("a fill that is not acknowledged to the end fails", async () => {
  let published = 0;
  const port = await broker((type, socket) => {
    if (type === packetType.connect) socket.write(connack);
    // Packet identifiers are taken from 1 on, the one that came back last first.
    if (type === packetType.publish && ++published <= 3) socket.write(Uint8Array.of(0x40, 2, 0, 1));
  });
  const fill: FillJob = {
    kind: "fill",
    shape: "to-webhook",
    publishers: 1,
    subscribers: 0,
    qos: 1,
    payloadBytes,
    batch: 1,
    window: 1,
    messages,
    warmupMessages: 1,
    silenceMsMax: 200,
    port,
    brokerPid: process.pid,
  };
  const { failure, counts } = await generate(fill, { pinned: false });
  assert.equal(failure, "2 of 5 messages were not acknowledged");
  assert.deepEqual(counts, { sent: 4, acknowledged: 3 });
});
