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
import type { DeadLetterReport, EndpointReport, Operation, OperationAnswer, OperationRefusal } from "./operations.ts";
import type { EndpointOptions, WebhookOptions } from "./options.ts";
import { StoreUnavailable } from "../store/store.ts";
import { readBreaker } from "./breaker.ts";
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

  /** Sends for at most so long what can be sent at once; the rest stays owed. Closes every connection. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(Array.from(this.endpoints.values(), (endpoint) => endpoint.stop(graceMs)));
  }

  // What an operator asks

  operate(operation: Operation): OperationAnswer<Operation["what"]> {
    try {
      if (operation.what === "endpoints") return this.reports();
      if (!this.endpoints.has(operation.endpoint)) return this.noSuchEndpoint(operation.endpoint);
      switch (operation.what) {
        case "queue":
          return this.queueOf(operation);
        case "dead-letters":
          return this.deadLetterPage(operation);
        case "dead-letter":
          return this.deadLetterOf(operation);
        case "pause":
        case "resume":
        case "test":
        case "attempts":
        case "replay":
        case "delete-dead-letters":
          return { refused: "not_sending", message: "this version cannot do that" };
        default:
          return operation satisfies never;
      }
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      return { refused: "store_unavailable", message: "the store cannot be read at present" };
    }
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

  private reports(): EndpointReport[] {
    const now = this.parts.clock.now();
    return this.figures().map((figures) => {
      const name = figures.endpoint;
      const store = this.storeOf(name);
      const options = this.options.endpoints.find((endpoint) => endpoint.name === name);
      const stored = store.endpoints().find((endpoint) => endpoint.endpoint === name);
      const breaker = readBreaker(stored?.breaker ?? "", { now, poolSize: options?.poolSize ?? 1 });
      const heldUntil = stored?.heldUntil ?? 0;
      const [oldest] = store.oldestOwed(name, undefined, 0);
      let condition: EndpointReport["condition"] = heldUntil > now ? "held" : "delivering";
      if (breaker.state !== "closed") {
        const conditions = { endpoint: "unreachable", auth: "auth_failed", gone: "gone" } as const;
        condition = conditions[breaker.fault];
      }
      if (options?.enable === false) condition = "disabled";
      if (options === undefined) condition = "parked";
      return {
        ...figures,
        url: options?.url ?? "",
        condition,
        nextAttemptAt: breaker.state === "open" ? breaker.probeAt : heldUntil > now ? heldUntil : undefined,
        oldestAgeMs: oldest === undefined ? undefined : Math.max(0, now - oldest.acceptedAt),
        successRate: undefined,
        requestMsP50: undefined,
        requestMsP95: undefined,
      };
    });
  }

  private queueOf({ endpoint, after, countMax }: Operation & { what: "queue" }): OperationAnswer<"queue"> {
    const store = this.storeOf(endpoint);
    const underWay = new Set(store.endpoints().find((stored) => stored.endpoint === endpoint)?.underWay);
    const { deliveries, hasMore } = store.owedBehind(endpoint, after, { countMax, bytesMax: pageBytesMax });
    const items = deliveries.map(({ position, owed, dueAt }) => {
      const { deliveryId, event, orderKey, acceptedAt, body } = owed;
      const inflight = underWay.has(position);
      return { position, deliveryId, event, orderKey, bodyBytes: body.length, acceptedAt, dueAt, inflight };
    });
    return { items, next: hasMore ? items.at(-1)?.position : undefined };
  }

  private deadLetterPage(asked: Operation & { what: "dead-letters" }): OperationAnswer<"dead-letters"> {
    const { endpoint, after, countMax, filter } = asked;
    const letters = this.deadLetters(endpoint, after, { countMax, bytesMax: pageBytesMax });
    const items = letters.map(reportOf).filter((letter) => {
      const { deliveryIds, reason, event, orderKey } = filter;
      return (
        (deliveryIds === undefined || deliveryIds.includes(letter.deliveryId)) &&
        (reason === undefined || letter.reason === reason) &&
        (event === undefined || letter.event === event) &&
        (orderKey === undefined || letter.orderKey === orderKey)
      );
    });
    return { items, next: letters.at(-1)?.position };
  }

  private deadLetterOf({ endpoint, deliveryId }: Operation & { what: "dead-letter" }): OperationAnswer<"dead-letter"> {
    for (let after: number | undefined = 0; after !== undefined; ) {
      const letters: DeadLetter[] = this.deadLetters(endpoint, after, { countMax: 100, bytesMax: pageBytesMax });
      const found = letters.find(({ owed }) => owed.deliveryId === deliveryId);
      if (found !== undefined) return { ...reportOf(found), body: found.owed.body };
      after = letters.at(-1)?.position;
    }
    return { refused: "no_such_dead_letter", message: `there is no dead letter ${deliveryId} of ${endpoint}` };
  }

  private noSuchEndpoint(name: string): OperationRefusal {
    return { refused: "no_such_endpoint", message: `there is no webhook endpoint ${name}` };
  }

  // Endpoints

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
    const { durable, volatile } = this.parts;
    const endpoint = this.options.endpoints.find((candidate) => candidate.name === name);
    return endpoint?.durability === "memory" ? volatile : durable;
  }
}

function reportOf({ position, owed, reason, detail, attempts, diedAt }: DeadLetter): DeadLetterReport {
  const { deliveryId, event, orderKey, acceptedAt, body } = owed;
  const bodyBytes = body.length;
  return { position, deliveryId, event, orderKey, acceptedAt, diedAt, attempts, reason, detail, bodyBytes };
}

/** Of bodies read for one answer. */
const pageBytesMax = 4 * 1024 * 1024;

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
  rules: [],
};
