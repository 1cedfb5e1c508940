/**
 * Several deliveries in one request. Once it was sent, what is in it and its id stay as they are until it has ended, over a
 * restart too: so a receiver knows it again by its `webhook-id`.
 *
 *   frozen (being recorded) → attempting ⇄ waiting → ended: all its deliveries delivered, or all dead
 *                                             └────→ dissolved: too large, or some of it too old
 */
import type { Instant } from "../base/clock.ts";
import type { OwedDelivery } from "../store/change.ts";
import { type Attempting, type Due, start } from "./delivery.ts";
import { readEventHead, writeEventHead } from "./event-head.ts";
import type { BatchOptions } from "./options.ts";
import type { Entry } from "./window.ts";

export interface Batch {
  readonly id: string;
  readonly format: BatchOptions["format"];
  /** In the order of the body. Of one line they are its first, without a gap. */
  readonly entries: readonly Entry[];
  attempts: number;
  failures: number;
  resent: boolean;
  state: "frozen" | "attempting" | "waiting";
  /** While it waits. */
  dueAt: Instant;
  /** Of the first of its deliveries that nobody wants any more. */
  readonly deadline: Instant;
}

/** What is sent of it: as one delivery with the body of all. */
export function attemptOf(batch: Batch, endpoint: string, now: Instant): Attempting {
  const { id, format, entries, attempts, failures, resent, dueAt } = batch;
  const [{ delivery }] = entries;
  const { event, orderKey, acceptedAt } = delivery.owed;
  const isAlone = goesAlone(delivery.owed, format);
  const body = isAlone ? delivery.owed.body : join(entries, format);
  const facts = { deliveryId: id, endpoint, event, orderKey, acceptedAt };
  const owed: OwedDelivery = {
    ...facts,
    body,
    expiresAt: batch.deadline,
    head: isAlone ? delivery.owed.head : heads[format],
  };
  const due: Due = { owed, attempts, failures, resent, state: "due", dueAt };
  return start(due, now);
}

/** Made for another format, before the configuration changed: among others its body would not be what the request says it is. */
export function goesAlone({ head }: Pick<OwedDelivery, "head">, format: BatchOptions["format"]): boolean {
  if (head === "") return format === "cloudevents";
  const { path, contentType, headers = [] } = readEventHead(head);
  if (path !== undefined || headers.some(([name]) => name !== "traceparent")) return true;
  const isCloudEvent = contentType?.startsWith("application/cloudevents+json") === true;
  return format === "cloudevents" ? !isCloudEvent : contentType !== undefined;
}

/** In place of whatever is configured: that is for single bodies. */
const heads: Readonly<Record<BatchOptions["format"], string>> = {
  json: headOf("application/json"),
  ndjson: headOf("application/x-ndjson"),
  cloudevents: headOf("application/cloudevents-batch+json"),
};

function headOf(contentType: string): string {
  return writeEventHead({ headers: [["content-type", contentType]] });
}

const comma = 0x2c;
const newline = 0x0a;

/** A JSON array of the single bodies, or one on each line. */
function join(entries: readonly Entry[], format: BatchOptions["format"]): Uint8Array {
  const isArray = format !== "ndjson";
  let bytes = isArray ? 1 : 0;
  for (const { delivery } of entries) bytes += delivery.owed.body.length + 1;
  const body = Buffer.allocUnsafe(bytes);
  let at = 0;
  if (isArray) body[at++] = 0x5b; // [
  for (const { delivery } of entries) {
    body.set(delivery.owed.body, at);
    at += delivery.owed.body.length;
    body[at++] = isArray ? comma : newline;
  }
  if (isArray) body[at - 1] = 0x5d; // ]
  return body;
}

/** A batch as the store remembers it. */
export interface FrozenBatch {
  id: string;
  attempts: number;
  failures: number;
  dueAt: Instant;
  format: BatchOptions["format"];
  /** In the order of the body. */
  positions: readonly number[];
}

/** Empty: there are none. Positions mostly follow each other: first and number of each run. */
export function writeBatches(batches: Iterable<Batch>): string {
  const rows: unknown[] = [];
  for (const { id, attempts, failures, dueAt, format, entries } of batches) {
    const runs: number[] = [];
    let next = -1;
    for (const { position } of entries) {
      if (position === next) runs[runs.length - 1]++;
      else runs.push(position, 1);
      next = position + 1;
    }
    rows.push([id, attempts, failures, dueAt, format, runs]);
  }
  return rows.length === 0 ? "" : JSON.stringify(rows);
}

/** What is damaged is left out: its deliveries go into others. */
export function readBatches(text: string): FrozenBatch[] {
  if (text === "") return [];
  try {
    return (JSON.parse(text) as [string, number, number, number, FrozenBatch["format"], number[]][]).map((row) => {
      const [id, attempts, failures, dueAt, format, runs] = row;
      const positions: number[] = [];
      for (let i = 0; i < runs.length; i += 2) {
        for (let offset = 0; offset < runs[i + 1]; offset++) positions.push(runs[i] + offset);
      }
      return { id, attempts, failures, dueAt, format, positions };
    });
  } catch {
    return [];
  }
}
