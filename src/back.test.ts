import { expect, test } from "vitest";
import { Back } from "./back.ts";
import { FakeClock } from "./base/fake-clock.ts";
import { silentLogger } from "./base/log.ts";
import type { BrokerChange, Durability } from "./store/change.ts";
import { MemoryStore } from "./store/memory.ts";
import { StoreUnavailable } from "./store/store.ts";
import { storedState } from "./store/stored-state.ts";
import type { Sender } from "./webhook/attempt.ts";
import { noFacts } from "./webhook/fake-endpoint.ts";
import { type EndpointOptions, plainRequest } from "./webhook/options.ts";

const endpoint: EndpointOptions = {
  name: "default",
  enable: true,
  url: "http://127.0.0.1:8888",
  headers: [],
  bodyEncoding: "plain",
  poolSize: 4,
  attemptTimeoutMs: 1000,
  connectTimeoutMs: 1000,
  request: plainRequest,
  retry: { scheduleMs: [], jitter: 0 },
  maxAgeMs: 60_000,
  durability: "strict",
  queueBytesMax: 1_000_000,
  overflow: "drop_oldest",
  deadLetters: { bytesMax: 1_000_000, maxAgeMs: 60_000 },
  timestampUnit: "ms",
  orderBy: "client",
  format: "edge",
  source: "/brokers/nanomq",
  template: undefined,
  rules: [{ event: "on_message_publish", topicFilters: [] }],
};

function owed(deliveryId: string, durability: Durability = "strict"): BrokerChange {
  const body = Buffer.from("{}");
  return {
    type: "delivery-owed",
    durability,
    delivery: {
      deliveryId,
      endpoint: "default",
      event: "on_message_publish",
      orderKey: deliveryId,
      body,
      acceptedAt: new FakeClock().now(),
      expiresAt: undefined,
      head: "",
    },
  };
}

/** Takes every delivery; what it was given lies in `sent`, and is settled when `settle` is called. */
class HeldSender implements Sender {
  readonly sent: string[] = [];
  private readonly waiting: (() => void)[] = [];

  send(delivery: Parameters<Sender["send"]>[0], settled: Parameters<Sender["send"]>[1]): void {
    this.sent.push(delivery.owed.deliveryId);
    this.waiting.push(() => settled({ kind: "accepted" }, noFacts));
  }

  settle(): void {
    for (const settled of this.waiting.splice(0)) settled();
  }

  async close(): Promise<void> {}
}

function owedIn(engine: MemoryStore): string[] {
  const { deliveries } = engine.owedBehind("default", 0, { countMax: 100, bytesMax: 10_000 });
  return deliveries.map(({ owed }) => owed.deliveryId);
}

function backWith(engine: MemoryStore, options: Partial<EndpointOptions> = {}): { back: Back; sender: HeldSender } {
  const sender = new HeldSender();
  const back = new Back({
    engine,
    webhook: { endpoints: [{ ...endpoint, ...options }] },
    clock: new FakeClock(),
    random: () => 0.5,
    log: silentLogger,
    createSender: () => sender,
  });
  return { back, sender };
}

test("a delivery is sent once its batch is committed, and no longer owed when it is delivered", async () => {
  const engine = new MemoryStore();
  const { back, sender } = backWith(engine);
  let sentBeforeDone: string[] = [];
  back.commit([owed("evt_1"), { type: "session-ended", clientId: "a" }, owed("evt_2")], () => {
    sentBeforeDone = [...sender.sent];
  });
  expect(sentBeforeDone).toEqual(["evt_1", "evt_2"]);
  expect(owedIn(engine)).toEqual(["evt_1", "evt_2"]);
  sender.settle();
  expect(owedIn(engine)).toEqual([]);
  expect(back.figures()).toMatchObject([{ accepted: 2, delivered: 2 }]);
  await back.close();
});

test("a batch that cannot be committed sends nothing", async () => {
  const engine = new MemoryStore();
  const { back, sender } = backWith(engine);
  await engine.close();
  let failure: unknown;
  back.commit([owed("evt_1")], (error) => {
    failure = error;
  });
  expect(failure).toBeInstanceOf(StoreUnavailable);
  expect(sender.sent).toEqual([]);
});

test("what was owed before a restart is sent after it, and is not the broker's to see", async () => {
  const engine = new MemoryStore();
  engine.commit([owed("evt_old")], () => {});
  const { back, sender } = backWith(engine);
  await storedState(back);
  expect(sender.sent).toEqual(["evt_old"]);
  sender.settle();
  expect(owedIn(engine)).toEqual([]);
  await back.close();
});

test("what may end with the process is sent and counted, and never reaches the engine", async () => {
  const engine = new MemoryStore();
  const { back, sender } = backWith(engine, { durability: "memory" });
  const opened: BrokerChange = { type: "session-opened", clientId: "a", userName: undefined, expirySeconds: 60 };
  back.commit([owed("evt_1", "memory"), opened, owed("evt_2", "memory")], () => {});
  expect(sender.sent).toEqual(["evt_1", "evt_2"]);
  sender.settle();
  expect(back.figures()).toMatchObject([{ accepted: 2, delivered: 2, queued: 0 }]);
  expect(engine.endpoints()).toEqual([]);
  expect((await storedState(engine)).sessions).toHaveLength(1);
  await back.close();
});
