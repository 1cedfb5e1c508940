import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { afterEach, describe, test } from "vitest";
import { peers } from "../peers/peers.ts";
import { generate, startBroker, type RunningBroker } from "../peers/processes.ts";
import type { FlowJob } from "./job.ts";
import { cutPackets, packetType } from "./packets.ts";

const short: Omit<FlowJob, "port" | "brokerPid" | "shape" | "qos"> = {
  kind: "flow",
  publishers: 4,
  subscribers: 4,
  payloadBytes: 64,
  batch: 8,
  window: 20,
  outstandingMax: 400,
  warmupSeconds: 0.05,
  seconds: 0.1,
};

describe("against a forwarder that loses nothing", () => {
  let broker: RunningBroker;
  afterEach(() => broker.stop());

  for (const [shape, qos, more] of [
    ["fan-in", 0, { subscribers: 1 }],
    ["fan-in", 2, { subscribers: 1 }],
    ["fan-out", 1, { publishers: 1 }],
    ["pairs", 1, {}],
    ["pairs", 0, { rate: 2_000, batch: 1 }],
  ] as const) {
    test(`${shape}, QoS ${qos}${"rate" in more ? ", at a fixed rate" : ""}: all arrives once and in order`, async () => {
      broker = await startBroker(peers.echo, { pinned: false });
      const job: FlowJob = { ...short, shape, qos, ...more, port: broker.port, brokerPid: broker.pid };
      const { failure, counts, figures } = await generate(job, { pinned: false });
      assert.equal(failure, undefined);
      assert.equal(counts.received, counts.sent * (shape === "fan-out" ? 4 : 1));
      assert.deepEqual([counts.lost, counts.duplicates, counts.outOfOrder, counts.malformed], [0, 0, 0, 0]);
      assert.ok(figures.messagesPerSecond! > 0);
      assert.ok(figures.latencyMicrosP99! >= figures.latencyMicrosP50!);
      assert.equal(figures.ackMicrosP50 === undefined, qos === 0);
    });
  }
});

test("a broker that swallows a message fails the run", async () => {
  let swallowed = 0;
  const server = createServer((socket) => {
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      const bytes = Buffer.concat([rest, chunk]);
      const next = cutPackets(bytes, 0, bytes.length, {
        packet: (first) => {
          if (first >> 4 === packetType.connect) socket.write(Uint8Array.of(0x20, 2, 0, 0));
          if (first >> 4 === packetType.subscribe) socket.write(Uint8Array.of(0x90, 3, 0, 1, 0));
          if (first >> 4 === packetType.publish) swallowed++;
        },
      });
      rest = Buffer.from(bytes.subarray(next));
    });
    socket.on("error", () => socket.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const job: FlowJob = { ...short, shape: "pairs", qos: 0, port, brokerPid: process.pid };
  const { failure, counts } = await generate(job, { pinned: false });
  server.close();
  assert.equal(counts.sent, swallowed);
  assert.equal(failure, `${swallowed} deliveries lost`);
});
