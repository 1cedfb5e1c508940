/**
 * What webhooks are owed, by the deliveries the broker handed in: each is on disk before it is sent, reaches its receiver at
 * least once or ends for a reason that is true, first arrivals keep their order, by client or topic, and the figures add up.
 */
import type { OwedDelivery } from "../../src/store/change.ts";
import type { EndpointFigures } from "../../src/webhook/endpoint.ts";
import type { EndpointOptions, WebhookOptions } from "../../src/webhook/options.ts";
import { filterOf, matches } from "./books.ts";
import { idInText } from "./payload.ts";
import type { Ending } from "./world.ts";

interface Entry {
  owed: OwedDelivery;
  endpoint: EndpointOptions;
  line: string;
  order: number;
  batch: number;
  durable: boolean;
  requests: number;
  arrivals: number;
  accepted: boolean;
  rejected: boolean;
}

export class Ledger {
  private readonly endpoints: ReadonlyMap<string, EndpointOptions>;
  private readonly fail: (claim: string) => void;
  /** What happened in this turn and must be owed, by endpoint and order key. */
  private expected = new Map<string, string[]>();
  private readonly entries = new Map<string, Entry>();
  /** Handed in and not yet on disk. */
  private underWay: Entry[] = [];
  private readonly lastArrived = new Map<string, number>();
  private order = 0;
  /** Since when an operator has them paused, by endpoint. */
  private readonly paused = new Map<string, number>();
  /** Of this life of the process: owed on disk at its start, and since. */
  private readonly accepted = new Map<string, number>();
  settled = 0;
  readonly settledAs = { delivered: 0, dead: 0, dropped: 0, expired: 0 };

  constructor(webhook: WebhookOptions, fail: (claim: string) => void) {
    this.endpoints = new Map(webhook.endpoints.map((endpoint) => [endpoint.name, endpoint]));
    this.fail = fail;
  }

  /** Owed and not yet at an end, on disk. */
  get open(): number {
    return this.entries.size;
  }

  /** True when someone is owed this. */
  expect(event: string, key: string, what: string, topicName?: string): boolean {
    let wanted = false;
    for (const { name, rules, orderBy } of this.endpoints.values()) {
      const wants = rules.some(
        (rule) =>
          rule.event === event &&
          (topicName === undefined ||
            rule.topicFilters.some((topicFilter) => matches(filterOf(topicFilter), topicName))),
      );
      if (!wants) continue;
      wanted = true;
      const line = `${name} ${orderBy === "topic" && topicName !== undefined ? `topic:${topicName}` : key}`;
      const list = this.expected.get(line);
      if (list === undefined) this.expected.set(line, [what]);
      else list.push(what);
    }
    return wanted;
  }

  handedIn(batch: number, owed: readonly OwedDelivery[]): void {
    const found = new Map<string, string[]>();
    for (const delivery of owed) {
      const line = `${delivery.endpoint} ${delivery.orderKey}`;
      const list = found.get(line) ?? [];
      list.push(whatOf(delivery));
      found.set(line, list);
      const entry: Entry = {
        owed: delivery,
        endpoint: this.endpoints.get(delivery.endpoint)!,
        line,
        order: ++this.order,
        batch,
        durable: false,
        requests: 0,
        arrivals: 0,
        accepted: false,
        rejected: false,
      };
      this.entries.set(delivery.deliveryId, entry);
      this.underWay.push(entry);
    }
    for (const line of new Set([...found.keys(), ...this.expected.keys()])) {
      const wanted = this.expected.get(line)?.join(", ");
      const got = found.get(line)?.join(", ");
      if (wanted !== got)
        this.fail(`each matching event is owed, in order: ${line} is owed [${wanted}], the store got [${got}]`);
    }
    this.expected = new Map();
  }

  turnEnded(): void {
    if (this.expected.size === 0) return;
    const [[line, list]] = this.expected;
    this.fail(`each matching event is owed: ${line} is owed [${list.join(", ")}], the store got nothing`);
  }

  onDisk(batch: number): void {
    while (this.underWay.length > 0 && this.underWay[0].batch <= batch) {
      const entry = this.underWay.shift()!;
      entry.durable = true;
      this.accepted.set(entry.endpoint.name, (this.accepted.get(entry.endpoint.name) ?? 0) + 1);
    }
  }

  pauses(endpoint: string, at: number): void {
    this.paused.set(endpoint, at);
  }

  resumes(endpoint: string): void {
    this.paused.delete(endpoint);
  }

  /** What an operator asked for after `surelyOnDisk` may be forgotten. */
  crashed(surelyOnDisk: number): void {
    for (const [endpoint, since] of this.paused) if (since > surelyOnDisk) this.paused.delete(endpoint);
    this.expected = new Map();
    this.underWay = [];
    for (const [deliveryId, { durable }] of this.entries) {
      if (!durable) this.entries.delete(deliveryId);
    }
  }

  requested(deliveryId: string): void {
    const entry = this.entries.get(deliveryId);
    if (entry === undefined) return this.fail(`what has come to an end is not sent again: ${deliveryId}`);
    if (!entry.durable) this.fail(`nothing is sent before it is on disk: ${describe(entry)}`);
    if (this.paused.has(entry.endpoint.name)) this.fail(`a paused endpoint is sent nothing: ${describe(entry)}`);
    entry.requests++;
  }

  arrived(deliveryId: string, ending: Ending): void {
    const entry = this.entries.get(deliveryId);
    if (entry === undefined) return this.fail(`what has come to an end is not sent again: ${deliveryId}`);
    if (entry.arrivals++ === 0) {
      const last = this.lastArrived.get(entry.line) ?? 0;
      if (entry.order < last) this.fail(`first arrivals keep their order: ${describe(entry)} came late`);
      this.lastArrived.set(entry.line, entry.order);
    }
    if (typeof ending !== "object") return;
    if (ending.status < 300) entry.accepted = true;
    else entry.rejected = true;
  }

  settledOnDisk(deliveryId: string, outcome: keyof Ledger["settledAs"], now: number): void {
    const entry = this.entries.get(deliveryId);
    if (entry === undefined) return this.fail(`a delivery ends once: ${deliveryId} ${outcome}`);
    this.entries.delete(deliveryId);
    this.settled++;
    this.settledAs[outcome]++;
    const { endpoint, owed } = entry;
    const exhausted = entry.requests > endpoint.retry.scheduleMs.length;
    const deadline = Math.min(owed.acceptedAt + endpoint.maxAgeMs, owed.expiresAt ?? Number.POSITIVE_INFINITY);
    const isTrue = {
      delivered: entry.accepted,
      dead: entry.rejected || exhausted,
      dropped: endpoint.queueBytesMax < 1024 * 1024,
      expired: now >= deadline,
    }[outcome];
    if (!isTrue) this.fail(`the end of a delivery is true: ${describe(entry)} ended as ${outcome}`);
  }

  /** `still`: nothing is between the disk and the dispatcher. */
  addUp(all: readonly EndpointFigures[], still: boolean): void {
    for (const figures of all) {
      const { endpoint, accepted, delivered, dead, dropped, expired, queued, inflight } = figures;
      const onDisk = this.accepted.get(endpoint) ?? 0;
      const sum = delivered + dead + dropped + expired + queued + inflight;
      if (accepted !== sum) this.fail(`accepted is the sum of all ends and all that waits: ${JSON.stringify(figures)}`);
      if (still ? accepted !== onDisk : accepted > onDisk)
        this.fail(`accepted is what is on disk: ${onDisk}, but ${JSON.stringify(figures)}`);
      const waiting = [...this.entries.values()].filter(
        (entry) => entry.durable && entry.endpoint.name === endpoint,
      ).length;
      if (still && queued + inflight !== waiting)
        this.fail(`what waits is on disk: ${waiting}, but ${JSON.stringify(figures)}`);
    }
  }
}

function describe({ line, owed, requests, arrivals }: Entry): string {
  return `${owed.deliveryId} (${line}: ${whatOf(owed)}; ${requests} requests, ${arrivals} arrived)`;
}

function whatOf({ body }: OwedDelivery): string {
  const event = JSON.parse(Buffer.from(body).toString());
  switch (event.action) {
    case "client_connack":
      return `connack ${event.conn_ack}`;
    case "client_disconnected":
      return `disconnected ${event.reason}`;
    default:
      return `publish ${event.topic} ${event.qos} ${event.retain} ${idInText(event.payload)}`;
  }
}
