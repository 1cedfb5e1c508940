/** For tests: an endpoint's options, deliveries owed to it, and a Sender whose outcomes the test decides. */
import type { OwedDelivery } from "../store/change.ts";
import type { Sender, Settled } from "./attempt.ts";
import type { Attempting } from "./delivery.ts";
import { type EndpointOptions, plainRequest } from "./options.ts";
import type { AttemptFacts, Outcome } from "./outcome.ts";
import { cancelled } from "./outcome.ts";

export function endpointOptions(options: Partial<EndpointOptions> = {}): EndpointOptions {
  return {
    name: "default",
    enable: true,
    url: "http://127.0.0.1:8888",
    headers: [],
    bodyEncoding: "plain",
    poolSize: 4,
    attemptTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    request: plainRequest,
    retry: { scheduleMs: [1_000, 5_000, 15_000], jitter: 0 },
    maxAgeMs: 86_400_000,
    durability: "strict",
    queueBytesMax: 16 * 1024 * 1024,
    overflow: "drop_oldest",
    deadLetters: { bytesMax: 1024 * 1024, maxAgeMs: 86_400_000 },
    timestampUnit: "ms",
    orderBy: "client",
    format: "edge",
    source: "/brokers/test",
    template: undefined,
    rules: [],
    ...options,
  };
}

export function owedDelivery(owed: Partial<OwedDelivery> & { deliveryId: string }): OwedDelivery {
  return {
    endpoint: "default",
    event: "on_message_publish",
    orderKey: "client",
    body: Buffer.from("{}"),
    head: "",
    acceptedAt: 1_700_000_000_000,
    expiresAt: undefined,
    ...owed,
  };
}

export const noFacts: AttemptFacts = { status: undefined, durationMs: 0, excerpt: "" };

/** Keeps attempts under way until the test answers them. */
export class FakeSender implements Sender {
  /** Under way, in the order sent. */
  readonly underWay: { delivery: Attempting; settled: Settled }[] = [];
  /** The ids of all that was ever sent. */
  readonly sent: string[] = [];
  closed = false;

  send(delivery: Attempting, settled: Settled): void {
    this.sent.push(delivery.owed.deliveryId);
    this.underWay.push({ delivery, settled });
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const { settled } of this.underWay.splice(0)) settled(cancelled, noFacts);
  }

  /** What is under way, by id. */
  get ids(): string[] {
    return this.underWay.map(({ delivery }) => delivery.owed.deliveryId);
  }

  /** Answers one that is under way: the first, or the one named. */
  answer(outcome: Outcome, deliveryId = this.ids[0], facts = noFacts): void {
    const index = this.ids.indexOf(deliveryId);
    if (index < 0) throw new Error(`nothing is under way for ${deliveryId}`);
    this.underWay.splice(index, 1)[0].settled(outcome, facts);
  }
}
