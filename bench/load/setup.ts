/** What every kind of load sets up alike: topics by shape, publishers on their connections, many handshakes at a time. */
import { Publisher, type SendLedger } from "./clients.ts";
import type { Connection } from "./connection.ts";
import type { Shape } from "./job.ts";
import { PublishBatch, type Qos } from "./packets.ts";
import type { StampFormat } from "./stamp.ts";

/** Handshakes at the same time while the run is set up. */
const setupConcurrency = 100;

/** The Topic Name of one publisher. */
export function topicOf(shape: Shape, sender: number): string {
  return shape === "fan-out" ? "bench/all" : `bench/${sender}`;
}

/** The Topic Filter of one subscriber. */
export function filterOf(shape: Shape, subscriber: number): string {
  return shape === "fan-in" ? "bench/#" : topicOf(shape, subscriber);
}

export function publisherOn(
  connection: Connection,
  of: {
    topicName: string;
    sender: number;
    qos: Qos;
    payloadBytes: number;
    batch: number;
    window: number;
    format: StampFormat;
    ledger: SendLedger;
  },
): Publisher {
  const slots = of.qos === 0 ? of.batch : Math.min(of.batch, of.window);
  const publisher = new Publisher({ ...of, connection, batch: new PublishBatch({ ...of, slots }) });
  connection.handler = publisher;
  return publisher;
}

export async function eachOf(count: number, set: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await set(next++);
  };
  await Promise.all(Array.from({ length: Math.min(setupConcurrency, count) }, worker));
}
