/**
 * The sending half of the webhook engine: takes over owed deliveries once they are committed, and answers for each of them
 * until it is delivered, dead, dropped or expired.
 */
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Durability } from "../store/change.ts";
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
  /** Called for each endpoint that sends, and again when it has changed. */
  createSender: (endpoint: EndpointOptions) => Sender;
  /** A number in [0, 1), for the spread of retries. */
  random: () => number;
  log: Logger;
  /** Keeps what `durability` says is to be kept. */
  durable: DeliveryStore;
  /** Keeps the rest. */
  volatile: DeliveryStore;
}

/** `isVolatile`: it lies in that store; left out, in the one that its endpoint has now. */
export type Handed = StoredDelivery & { readonly isVolatile?: boolean };

type Keeping = "durable" | "volatile";

export class Dispatcher {
  private readonly parts: DispatcherParts;
  private options: WebhookOptions;
  /**
   * By the store that keeps their deliveries. An endpoint whose durability has moved has one in each: what is in the store
   * it had is sent from there, until that is empty.
   */
  private readonly endpoints: Record<Keeping, Map<string, Endpoint>> = { durable: new Map(), volatile: new Map() };

  constructor(parts: DispatcherParts) {
    this.parts = parts;
    this.options = parts.options;
    for (const { name, durability } of this.options.endpoints) this.endpointOf(name, keepingOf(durability));
  }

  /** Goes on with what the store remembers. Before the first `accept`. */
  resume(): void {
    for (const stored of this.parts.durable.endpoints()) {
      const { endpoint, queued } = stored;
      const waiting = queued.messages.count + queued.clientEvents.count;
      if (this.optionsOf(endpoint) === undefined && waiting > 0) {
        const facts = { endpoint, deliveries: waiting };
        this.parts.log.warn("webhook deliveries wait for an endpoint that is not configured any more", facts);
      }
      this.endpointOf(endpoint, "durable").resume(stored);
    }
    for (const endpoint of this.all()) endpoint.pump();
  }

  /**
   * New endpoints start; of those that are gone nothing is sent, and their queue stays; those that have changed keep theirs.
   * What is under way ends as it may. Called after `resume`.
   */
  reconfigure(options: WebhookOptions): void {
    this.options = options;
    for (const endpoint of this.all()) {
      const before = endpoint.configuredAs;
      const after = this.optionsOf(before.name);
      if (after === undefined) {
        endpoint.reconfigure({ options: { ...before, enable: false }, sender: undefined, isParked: true });
      } else if (!isDeepStrictEqual(before, after)) {
        endpoint.reconfigure({ options: after, sender: this.senderFor(after), isParked: false });
      }
    }
    for (const { name, durability } of options.endpoints) this.endpointOf(name, keepingOf(durability));
  }

  /** Those of one order key in the order they were owed. */
  accept(deliveries: readonly Handed[]): void {
    const touched = new Set<Endpoint>();
    for (const stored of deliveries) {
      const { isVolatile } = stored;
      const keeping =
        isVolatile === undefined ? this.keepingNow(stored.owed.endpoint) : isVolatile ? "volatile" : "durable";
      const endpoint = this.endpointOf(stored.owed.endpoint, keeping);
      endpoint.accept(stored);
      touched.add(endpoint);
    }
    for (const endpoint of touched) endpoint.pump();
  }

  /** One for each name. */
  figures(): EndpointFigures[] {
    return this.names().map((name) => {
      const figures = this.current(name).figures();
      const former = this.former(name);
      return former === undefined ? figures : added(figures, former.figures());
    });
  }

  /** One for each name as well. */
  metrics(): EndpointMetricsFigures[] {
    return this.names().map((name) => this.current(name).metrics.figures(name));
  }

  /** Of one endpoint, oldest first, behind position `after`. */
  deadLetters(endpoint: string, after: number, limits: SliceLimits): DeadLetter[] {
    return this.parts[this.keepingNow(endpoint)].deadLetters(endpoint, after, limits);
  }

  /** For an operator. Called after `resume`. */
  operate(operation: Operation): AnyAnswer | Promise<AnyAnswer> {
    const names = this.names();
    const former = names.flatMap((name) => this.former(name) ?? []);
    return operate(operation, new Map(names.map((name) => [name, this.current(name)])), former);
  }

  /** Sends for at most so long what can be sent at once; the rest stays owed. Closes every connection. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(Array.from(this.all(), (endpoint) => endpoint.stop(graceMs)));
  }

  private all(): Endpoint[] {
    return [...this.endpoints.durable.values(), ...this.endpoints.volatile.values()];
  }

  /** In the order of the configuration, then those that are not in it any more. */
  private names(): string[] {
    const configured = this.options.endpoints.map(({ name }) => name);
    return [...new Set([...configured, ...this.endpoints.durable.keys(), ...this.endpoints.volatile.keys()])];
  }

  private current(name: string): Endpoint {
    return this.endpointOf(name, this.keepingNow(name));
  }

  /** In the store it had before its durability moved. */
  private former(name: string): Endpoint | undefined {
    return this.endpoints[this.keepingNow(name) === "durable" ? "volatile" : "durable"].get(name);
  }

  /** One that was taken out of the configuration since sends nothing: what it is owed waits until it is too old. */
  private endpointOf(name: string, keeping: Keeping): Endpoint {
    const known = this.endpoints[keeping].get(name);
    if (known !== undefined) return known;
    const { clock, random, log } = this.parts;
    const configured = this.optionsOf(name);
    const options = configured ?? { ...notConfigured, name };
    const sender = configured && this.senderFor(configured);
    const store = this.parts[keeping];
    const endpoint = new Endpoint({ options, clock, sender, random, log, store, isParked: configured === undefined });
    this.endpoints[keeping].set(name, endpoint);
    return endpoint;
  }

  private senderFor(options: EndpointOptions): Sender | undefined {
    return options.enable ? this.parts.createSender(options) : undefined;
  }

  private optionsOf(name: string): EndpointOptions | undefined {
    return this.options.endpoints.find((candidate) => candidate.name === name);
  }

  /** Of one that is not configured any more: where there is something. */
  private keepingNow(name: string): Keeping {
    const options = this.optionsOf(name);
    if (options !== undefined) return keepingOf(options.durability);
    return this.endpoints.volatile.has(name) && !this.endpoints.durable.has(name) ? "volatile" : "durable";
  }
}

function keepingOf(durability: Durability): Keeping {
  return durability === "memory" ? "volatile" : "durable";
}

function added(one: EndpointFigures, other: EndpointFigures): EndpointFigures {
  const sum = { ...one, droppedBy: { ...one.droppedBy } };
  const numbers = ["accepted", "delivered", "dead", "dropped", "expired", "attempts"] as const;
  for (const name of [...numbers, "queued", "inflight", "bytes", "deadLetters"] as const) sum[name] += other[name];
  for (const reason of ["drop_oldest", "drop_newest"] as const) sum.droppedBy[reason] += other.droppedBy[reason];
  return sum;
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
