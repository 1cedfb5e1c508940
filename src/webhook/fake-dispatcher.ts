/** For tests: a dispatcher with fake senders, a clock and a store of the test's own. */
import assert from "node:assert/strict";
import { FakeClock } from "../base/fake-clock.ts";
import { silentLogger } from "../base/log.ts";
import type { DeliveryChange, OwedDelivery } from "../store/change.ts";
import type { StoredDelivery } from "../store/deliveries.ts";
import { MemoryDeliveries } from "../store/memory-deliveries.ts";
import { type Committed, StoreUnavailable } from "../store/store.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { EndpointFigures } from "./endpoint.ts";
import { endpointOptions, FakeSender, owedDelivery } from "./fake-endpoint.ts";
import type { EndpointOptions } from "./options.ts";

/** Keeps deliveries, and refuses what it is told while the test wants it to. */
export class TestStore extends MemoryDeliveries {
  readonly settled: [id: string, outcome: string, reason: string][] = [];
  readonly settledPositions: number[] = [];
  refuses = false;
  private readonly ids = new Map<number, string>();

  owed(owed: OwedDelivery): StoredDelivery {
    const position = this.owe(owed);
    return { position, owed, attempts: 0, failures: 0, dueAt: undefined };
  }

  override record(changes: readonly DeliveryChange[], done: Committed): void {
    if (this.refuses) return done(new StoreUnavailable("commit"));
    for (const change of changes) {
      if (change.type === "delivery-settled" || change.type === "delivery-died") {
        this.settledPositions.push(change.position);
      }
      if (change.type === "delivery-settled") this.settled.push([this.id(change), change.outcome, ""]);
      if (change.type === "delivery-died") this.settled.push([this.id(change), "dead", change.reason]);
    }
    super.record(changes, done);
  }

  /** Replays too are owed here. */
  override owe(owed: OwedDelivery): number {
    const position = super.owe(owed);
    this.ids.set(position, owed.deliveryId);
    return position;
  }

  private id({ position }: { position: number }): string {
    return this.ids.get(position)!;
  }
}

export interface Setting {
  clock: FakeClock;
  store: TestStore;
  dispatcher: Dispatcher;
  sender: FakeSender;
  /** The latest of each endpoint. */
  senders: ReadonlyMap<string, FakeSender>;
  allSenders: readonly FakeSender[];
  volatile: MemoryDeliveries;
  settled: readonly [id: string, outcome: string, reason: string][];
  warnings: readonly string[];
  errors: readonly string[];
  /** Owes these to `default`: "a1" is under the order key "a". */
  owe: (ids: string, owed?: Partial<OwedDelivery>) => void;
  figures: () => EndpointFigures;
}
let lives = 0;
export const running: Setting[] = [];

export function setUp(
  options: Partial<EndpointOptions> = {},
  others: EndpointOptions[] = [],
  clock = new FakeClock(),
  store = new TestStore(),
): Setting {
  // Each process makes ids of its own.
  const chance = 0.5 + lives++ * 1e-9;
  const senders = new Map<string, FakeSender>();
  const allSenders: FakeSender[] = [];
  const volatile = new MemoryDeliveries();
  const { settled } = store;
  const warnings: string[] = [];
  const errors: string[] = [];
  const dispatcher = new Dispatcher({
    options: { endpoints: [endpointOptions(options), ...others] },
    clock,
    createSender: ({ name }) => {
      const sender = new FakeSender();
      senders.set(name, sender);
      allSenders.push(sender);
      return sender;
    },
    random: () => chance,
    log: { ...silentLogger, warn: (text) => void warnings.push(text), error: (text) => void errors.push(text) },
    durable: store,
    volatile,
  });
  dispatcher.resume();
  const sender = senders.get("default")!;
  const owe = (ids: string, owed: Partial<OwedDelivery> = {}) => {
    const acceptedAt = clock.now();
    const deliveries = ids.split(" ").map((deliveryId) => {
      return store.owed(owedDelivery({ deliveryId, orderKey: deliveryId.slice(0, 1), acceptedAt, ...owed }));
    });
    dispatcher.accept(deliveries);
  };
  const figures = () => dispatcher.figures()[0];
  const setting = {
    clock,
    store,
    dispatcher,
    sender,
    senders,
    allSenders,
    volatile,
    settled,
    warnings,
    errors,
    owe,
    figures,
  };
  running.push(setting);
  return setting;
}

/** The process dies, and another goes on from the store. */
export function crash(former: Setting, options: Partial<EndpointOptions> = {}): Setting {
  running.splice(running.indexOf(former), 1);
  // Of its timers nothing is left.
  const clock = new FakeClock(former.clock.now());
  return setUp(options, [], clock, former.store);
}

/** What holds at all times: nothing accepted is ever unaccounted for. */
export function assertConservation({ dispatcher, store, volatile }: Setting): void {
  for (const { accepted, delivered, dead, dropped, expired, queued, inflight, bytes } of dispatcher.figures()) {
    assert.equal(accepted, delivered + dead + dropped + expired + queued + inflight);
    assert.ok(queued >= 0 && inflight >= 0);
    assert.equal(queued + inflight === 0, bytes === 0);
  }
  if (store.refuses) return;
  // What is in memory as well is counted together.
  if (volatile.endpoints().length > 0) return;
  const stored = new Map(store.endpoints().map((endpoint) => [endpoint.endpoint, endpoint]));
  for (const figures of dispatcher.figures()) {
    const { endpoint, accepted, delivered, dead, dropped, expired, deadLetters } = figures;
    const kept = stored.get(endpoint);
    if (kept === undefined) continue;
    assert.deepEqual(
      [kept.accepted, kept.delivered, kept.dead, kept.dropped, kept.expired, kept.deadLetters.count],
      [accepted, delivered, dead, dropped, expired, deadLetters],
    );
    const { messages, clientEvents } = kept.queued;
    assert.equal(messages.count + clientEvents.count, figures.queued + figures.inflight);
  }
}

/** After each test: all adds up, and nothing is left. */
export async function endAll(): Promise<void> {
  for (const setting of running.splice(0)) {
    assertConservation(setting);
    const stopped = setting.dispatcher.stop(0);
    setting.clock.advance(0);
    await stopped;
    assertConservation(setting);
    const { settledPositions } = setting.store;
    assert.equal(new Set(settledPositions).size, settledPositions.length, "a delivery is settled once");
    assert.equal(setting.clock.armed, 0, "no timer is left");
  }
}
