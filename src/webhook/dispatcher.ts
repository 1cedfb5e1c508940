/**
 * The sending half of the webhook engine: takes over owed deliveries once they are committed, and answers for each of them
 * until it is delivered, dead, dropped or expired.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Change, OwedDelivery } from "../store/change.ts";
import type { Sender } from "./attempt.ts";
import type { DeadLetter } from "./dead-letters.ts";
import type { EndpointFigures, OnSettled } from "./endpoint.ts";
import type { EndpointOptions, WebhookOptions } from "./options.ts";
import { BurstLog } from "./burst-log.ts";
import { Endpoint } from "./endpoint.ts";

export interface DispatcherParts {
  options: WebhookOptions;
  clock: Clock;
  /** Called once for each endpoint. */
  createSender: (endpoint: EndpointOptions) => Sender;
  /** A number in [0, 1), for the spread of retries. */
  random: () => number;
  log: Logger;
  /** Told the end of each delivery, for the store; never called twice for one. */
  settled: (change: Extract<Change, { type: "delivery-settled" }>) => void;
}

export class Dispatcher {
  private readonly endpoints = new Map<string, Endpoint>();
  private readonly onSettled: OnSettled;
  private readonly bursts: BurstLog;

  constructor({ options, clock, createSender, random, log, settled }: DispatcherParts) {
    this.onSettled = ({ deliveryId }, outcome, reason) =>
      settled({ type: "delivery-settled", deliveryId, outcome, reason });
    this.bursts = new BurstLog(clock, log);
    for (const endpoint of options.endpoints) {
      const parts = {
        options: endpoint,
        clock,
        sender: createSender(endpoint),
        random,
        log,
        onSettled: this.onSettled,
      };
      this.endpoints.set(endpoint.name, new Endpoint(parts));
    }
  }

  /** Those of one order key in the order they were owed. */
  accept(deliveries: readonly OwedDelivery[]): void {
    const touched = new Set<Endpoint>();
    for (const owed of deliveries) {
      const endpoint = this.endpoints.get(owed.endpoint);
      if (endpoint === undefined) {
        this.dropOrphan(owed);
        continue;
      }
      endpoint.accept(owed);
      touched.add(endpoint);
    }
    for (const endpoint of touched) endpoint.pump();
  }

  figures(): EndpointFigures[] {
    return [...this.endpoints.values()].map((endpoint) => endpoint.figures());
  }

  /** Of all endpoints, each one's oldest first. */
  deadLetters(): DeadLetter[] {
    return [...this.endpoints.values()].flatMap((endpoint) => [...endpoint.deadLetters]);
  }

  /** Sends for at most so long what can be sent at once; the rest stays owed. Closes every connection. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all([...this.endpoints.values()].map((endpoint) => endpoint.stop(graceMs)));
    this.bursts.close();
  }

  /** Its endpoint was taken out of the configuration since. */
  private dropOrphan(owed: OwedDelivery): void {
    const { endpoint, deliveryId } = owed;
    this.bursts.warn("webhook delivery dropped: its endpoint is not configured any more", { endpoint, deliveryId });
    this.onSettled(owed, "dropped", "endpoint_removed");
  }
}
