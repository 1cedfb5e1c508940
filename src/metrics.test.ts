import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Back } from "./back.ts";
import { FakeClock } from "./base/fake-clock.ts";
import { silentLogger } from "./base/log.ts";
import { renderMetrics } from "./base/metrics.ts";
import { metricFamilies } from "./metrics.ts";
import { MemoryStore } from "./store/memory.ts";
import { endpointOptions, FakeSender, owedDelivery } from "./webhook/fake-endpoint.ts";
import type { EndpointOptions } from "./webhook/options.ts";
import type { Outcome } from "./webhook/outcome.ts";

const outcomes: Outcome[] = [
  { kind: "accepted" },
  { kind: "endpoint", reason: "refused", retryAfterMs: 0 },
  { kind: "retry", reason: "status_500", retryAfterMs: 0, slowDown: false },
  { kind: "rejected", reason: "rejected", detail: "status_422", retryAfterMs: 0 },
  { kind: "auth", reason: "status_401", retryAfterMs: 0 },
];

/** Room for a handful, a short life, and one more attempt: each way to end is one that deliveries take. */
const endpoint: Partial<EndpointOptions> = {
  poolSize: 2,
  queueBytesMax: 6_000,
  maxAgeMs: 60_000,
  retry: { scheduleMs: [1_000], jitter: 0 },
};

interface Running {
  back: Back;
  sender: FakeSender;
  clock: FakeClock;
}

function start(engine: MemoryStore, clock: FakeClock): Running {
  const sender = new FakeSender();
  const options = endpointOptions(endpoint);
  const parts = { engine, clock, random: () => 0.5, log: silentLogger, createSender: () => sender };
  return { back: new Back({ ...parts, webhook: { endpoints: [options] } }), sender, clock };
}

let deliveries = 0;

function owe({ back, clock }: Running): void {
  const deliveryId = `evt_${++deliveries}`;
  const delivery = owedDelivery({ deliveryId, orderKey: `${deliveries % 3}`, acceptedAt: clock.now() });
  back.commit([{ type: "delivery-owed", durability: "strict", delivery }], () => {});
}

/** Value by name and labels as they are written. */
async function scrape(back: Back): Promise<ReadonlyMap<string, number>> {
  const text = await renderMetrics(metricFamilies(await back.metrics()));
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(" ");
      return [line.slice(0, end), Number(line.slice(end + 1))];
    }),
  );
}

async function expectConserved(back: Back): Promise<void> {
  const scraped = await scrape(back);
  const of = (name: string) => scraped.get(`${name}{endpoint="default"}`)!;
  const ended = ["delivered", "dead", "dropped", "expired"].map(
    (outcome) => scraped.get(`webhook_deliveries_total{endpoint="default",outcome="${outcome}"}`)!,
  );
  const sum = ended.reduce((total, count) => total + count, of("webhook_queue_deliveries") + of("webhook_inflight"));
  expect(of("webhook_events_accepted_total")).toBe(sum);
}

type Step = { do: "owe" | "answer" | "wait" | "crash"; number: number };

test("at every scrape and across crashes: accepted = delivered + dead + dropped + expired + queued + in flight", async () => {
  const ways = new Set<string>();
  const step = fc.record<Step>({
    do: fc.constantFrom("owe", "owe", "answer", "answer", "wait", "crash"),
    number: fc.nat({ max: 20 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const engine = new MemoryStore();
      let running = start(engine, new FakeClock());
      await running.back.load(() => {});
      for (const { do: act, number } of steps) {
        if (act === "owe") for (let n = 0; n <= number; n++) owe(running);
        if (act === "answer" && running.sender.ids.length > 0)
          running.sender.answer(outcomes[number % outcomes.length]);
        if (act === "wait") running.clock.advance(number * 2_000);
        if (act === "crash") {
          // Of its timers nothing is left, and nothing that is under way is heard of again.
          running = start(engine, new FakeClock(running.clock.now()));
          await running.back.load(() => {});
        }
        await expectConserved(running.back);
      }
      for (const [name, value] of await scrape(running.back)) if (value > 0) ways.add(name);
      const closed = running.back.close();
      running.clock.advance(0);
      await closed;
    }),
    { numRuns: 40, seed: 7 },
  );
  for (const outcome of ["delivered", "dead", "dropped", "expired"]) {
    expect(ways).toContain(`webhook_deliveries_total{endpoint="default",outcome="${outcome}"}`);
  }
});

describe("of one endpoint", () => {
  test("attempts by class, how long requests and deliveries took, the breaker, the oldest", async () => {
    const running = start(new MemoryStore(), new FakeClock());
    const { back, sender, clock } = running;
    owe(running);
    clock.advance(200);
    sender.answer({ kind: "accepted" });
    owe(running);
    sender.answer({ kind: "rejected", reason: "rejected", detail: "", retryAfterMs: 0 });
    owe(running);
    sender.answer({ kind: "gone", reason: "status_410", retryAfterMs: 0 });
    clock.advance(3_000);
    const scraped = await scrape(back);
    const expected: Record<string, number> = {
      'webhook_attempts_total{endpoint="default",class="accepted"}': 1,
      'webhook_attempts_total{endpoint="default",class="rejected"}': 1,
      'webhook_attempts_total{endpoint="default",class="gone"}': 1,
      'webhook_attempts_total{endpoint="default",class="retry"}': 0,
      'webhook_request_seconds_bucket{endpoint="default",le="0.1"}': 2,
      'webhook_request_seconds_bucket{endpoint="default",le="0.25"}': 3,
      'webhook_request_seconds_sum{endpoint="default"}': 0.2,
      'webhook_delivery_latency_seconds_count{endpoint="default"}': 1,
      'webhook_delivery_latency_seconds_sum{endpoint="default"}': 0.2,
      'webhook_dead_letters{endpoint="default"}': 1,
      'webhook_breaker_state{endpoint="default"}': 2,
      'webhook_oldest_age_seconds{endpoint="default"}': 3,
      'webhook_queue_deliveries{endpoint="default"}': 1,
    };
    for (const [name, value] of Object.entries(expected)) expect([name, scraped.get(name)]).toEqual([name, value]);
    const closed = back.close();
    clock.advance(0);
    await closed;
  });
});
