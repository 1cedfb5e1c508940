/**
 * The sending half of the webhook engine: takes over owed deliveries once they are committed, and answers for each of them
 * until it is delivered, dead, dropped or expired.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { DeadLetter, DeliveryStore, SliceLimits, StoredDelivery } from "../store/deliveries.ts";
import type { Sender } from "./attempt.ts";
import type { EndpointFigures } from "./endpoint.ts";
import type { EndpointMetricsFigures } from "./endpoint-metrics.ts";
import { type EndpointOptions, plainRequest, type WebhookOptions } from "./options.ts";
import { Endpoint } from "./endpoint.ts";
import { type AnyAnswer, operate } from "./operate.ts";
import type { Operation } from "./operations.ts";

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
  private options: WebhookOptions;
  /** Being stopped to go on with other options: what comes meanwhile is read from the store then. */
  private readonly changing = new Set<string>();

  constructor(parts: DispatcherParts) {
    this.parts = parts;
    const { options, createSender } = parts;
    this.options = options;
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
      if (this.changing.has(stored.owed.endpoint)) continue;
      const endpoint = this.endpointOf(stored.owed.endpoint);
      endpoint.accept(stored);
      touched.add(endpoint);
    }
    for (const endpoint of touched) endpoint.pump();
  }

  figures(): EndpointFigures[] {
    return Array.from(this.endpoints.values(), (endpoint) => endpoint.figures());
  }

  metrics(): EndpointMetricsFigures[] {
    return Array.from(this.endpoints, ([name, { metrics }]) => metrics.figures(name));
  }

  /** Of one endpoint, oldest first, behind position `after`. */
  deadLetters(endpoint: string, after: number, limits: SliceLimits): DeadLetter[] {
    return this.storeOf(endpoint).deadLetters(endpoint, after, limits);
  }

  /** For an operator. Called after `resume`. */
  operate(operation: Operation): AnyAnswer | Promise<AnyAnswer> {
    return operate(operation, this.endpoints);
  }

  /** Sends for at most so long what can be sent at once; the rest stays owed. Closes every connection. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(Array.from(this.endpoints.values(), (endpoint) => endpoint.stop(graceMs)));
  }

  /** Resolves when the endpoints are at work with these options. What they are owed stays theirs. */
  async reconfigure(options: WebhookOptions): Promise<void> {
    const before = new Map(this.options.endpoints.map((endpoint) => [endpoint.name, endpoint]));
    const after = new Map(options.endpoints.map((endpoint) => [endpoint.name, endpoint]));
    const names = new Set([...before.keys(), ...after.keys(), ...this.endpoints.keys()]);
    const changed = [...names].filter((name) => JSON.stringify(before.get(name)) !== JSON.stringify(after.get(name)));
    const senders = new Map<string, Sender>();
    for (const name of changed) {
      const endpoint = after.get(name);
      if (endpoint?.enable === true) senders.set(name, this.parts.createSender(endpoint));
    }
    for (const name of changed) this.changing.add(name);
    await Promise.all(changed.map((name) => this.endpoints.get(name)?.stop(0)));
    this.options = options;
    for (const name of changed) {
      this.changing.delete(name);
      const endpoint = this.create(after.get(name) ?? { ...notConfigured, name }, senders.get(name));
      this.endpoints.set(name, endpoint);
      const stored = this.storeOf(name)
        .endpoints()
        .find((candidate) => candidate.endpoint === name);
      if (stored !== undefined) endpoint.resume(stored);
      endpoint.pump();
    }
  }

  /** One that was taken out of the configuration since sends nothing: what it is owed waits until it is too old. */
  private endpointOf(name: string): Endpoint {
    let endpoint = this.endpoints.get(name);
    if (endpoint === undefined) {
      endpoint = this.create({ ...notConfigured, name }, undefined, true);
      this.endpoints.set(name, endpoint);
    }
    return endpoint;
  }

  private create(options: EndpointOptions, sender: Sender | undefined, isParked = false): Endpoint {
    const { clock, random, log } = this.parts;
    return new Endpoint({ options, clock, sender, random, log, store: this.storeOf(options.name), isParked });
  }

  private storeOf(name: string): DeliveryStore {
    const { durable, volatile } = this.parts;
    const endpoint = this.options.endpoints.find((candidate) => candidate.name === name);
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
  request: plainRequest,
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
