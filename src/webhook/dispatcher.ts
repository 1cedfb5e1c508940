/**
 * The sending half of the webhook engine: takes over owed deliveries once they are committed, and answers for each of them
 * until it is delivered, dead, dropped or expired.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { DeadLetter, DeliveryStore, SliceLimits, StoredDelivery } from "../store/deliveries.ts";
import type { Sender } from "./attempt.ts";
import type { EndpointFigures } from "./endpoint.ts";
import type { EndpointOptions, WebhookOptions } from "./options.ts";
import { Endpoint } from "./endpoint.ts";

export interface DispatcherParts {
  options: WebhookOptions;
  clock: Clock;
  /** Called once for each endpoint. */
  createSender: (endpoint: EndpointOptions) => Sender;
  /** A number in [0, 1), for the spread of retries. */
  random: () => number;
  log: Logger;
  /** Keeps what `durability` says is to be kept. */
  durable: DeliveryStore;
  /** Keeps the rest. */
  volatile: DeliveryStore;
}

export class Dispatcher {
  private readonly parts: DispatcherParts;
  private readonly endpoints = new Map<string, Endpoint>();

  constructor(parts: DispatcherParts) {
    this.parts = parts;
    const { options, createSender } = parts;
    for (const endpoint of options.endpoints) {
      const sender = endpoint.enable ? createSender(endpoint) : undefined;
      this.endpoints.set(endpoint.name, this.create(endpoint, sender));
    }
  }

  /** Goes on with what the store remembers. Before the first `accept`. */
  resume(): void {
    for (const stored of this.parts.durable.endpoints()) {
      const { endpoint, queued } = stored;
      const waiting = queued.messages.count + queued.clientEvents.count;
      if (!this.endpoints.has(endpoint) && waiting > 0) {
        const facts = { endpoint, deliveries: waiting };
        this.parts.log.warn("webhook deliveries wait for an endpoint that is not configured any more", facts);
      }
      this.endpointOf(endpoint).resume(stored);
    }
    for (const endpoint of this.endpoints.values()) endpoint.pump();
  }

  /** Those of one order key in the order they were owed. */
  accept(deliveries: readonly StoredDelivery[]): void {
    const touched = new Set<Endpoint>();
    for (const stored of deliveries) {
      const endpoint = this.endpointOf(stored.owed.endpoint);
      endpoint.accept(stored);
      touched.add(endpoint);
    }
    for (const endpoint of touched) endpoint.pump();
  }

  figures(): EndpointFigures[] {
    return Array.from(this.endpoints.values(), (endpoint) => endpoint.figures());
  }

  /** Of one endpoint, oldest first, behind position `after`. */
  deadLetters(endpoint: string, after: number, limits: SliceLimits): DeadLetter[] {
    return this.storeOf(endpoint).deadLetters(endpoint, after, limits);
  }

  /** Sends for at most so long what can be sent at once; the rest stays owed. Closes every connection. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(Array.from(this.endpoints.values(), (endpoint) => endpoint.stop(graceMs)));
  }

  /** One that was taken out of the configuration since sends nothing: what it is owed waits until it is too old. */
  private endpointOf(name: string): Endpoint {
    let endpoint = this.endpoints.get(name);
    if (endpoint === undefined) {
      endpoint = this.create({ ...notConfigured, name }, undefined);
      this.endpoints.set(name, endpoint);
    }
    return endpoint;
  }

  private create(options: EndpointOptions, sender: Sender | undefined): Endpoint {
    const { clock, random, log } = this.parts;
    return new Endpoint({ options, clock, sender, random, log, store: this.storeOf(options.name) });
  }

  private storeOf(name: string): DeliveryStore {
    const { options, durable, volatile } = this.parts;
    const endpoint = options.endpoints.find((candidate) => candidate.name === name);
    return endpoint?.durability === "memory" ? volatile : durable;
  }
}

const dayMs = 86_400_000;

const notConfigured: Omit<EndpointOptions, "name"> = {
  enable: false,
  url: "",
  headers: [],
  bodyEncoding: "plain",
  poolSize: 1,
  attemptTimeoutMs: 1,
  connectTimeoutMs: 1,
  retry: { scheduleMs: [], jitter: 0 },
  maxAgeMs: dayMs,
  durability: "disk",
  queueBytesMax: 1024 ** 3,
  overflow: "drop_oldest",
  deadLetters: { bytesMax: 256 * 1024 ** 2, maxAgeMs: 7 * dayMs },
  timestampUnit: "ms",
  orderBy: "client",
  format: "edge",
  source: "",
  template: undefined,
  rules: [],
};
