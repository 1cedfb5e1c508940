/** How a trial goes on a disk that takes nothing for a while: what must stand still, what must not, and how it goes on. */
import assert from "node:assert/strict";
import type { BrokerProcess } from "./broker-process.ts";
import type { Orders } from "./back.ts";
import type { Trial } from "./trial.ts";

const never = Number.POSITIVE_INFINITY;
const steady = { window: 8, dropsAfter: never };
const attentive = { comes: true, dropsAfter: never, comesBack: true };

export function comeAll(trial: Trial, port: number, messages: number): void {
  for (const publisher of trial.publishers) publisher.connect(port, { ...steady, messages });
  for (const subscriber of trial.subscribers) subscriber.connect(port, attentive);
}

/** Of publishers of one version. To clear what is not retained needs no disk. */
function acknowledged(trial: Trial, version: 4 | 5): number {
  const names = trial.publishers.filter((publisher) => publisher.version === version).map(({ clientId }) => clientId);
  return [...trial.ledger.messages.values()].filter(
    ({ publisher, outcome, payload }) => outcome === "acknowledged" && payload !== "" && names.includes(publisher),
  ).length;
}

/** All that no disk is needed for goes on, and nothing else. */
export async function holdsItsBreath(trial: Trial): Promise<void> {
  const { well, publishers } = trial;
  const newer = publishers.filter(({ version }) => version === 5);
  const refusedAgain = async () => {
    const wanted = newer.map(({ refusals }) => refusals + 5);
    await trial.until(
      () => newer.every(({ refusals }, i) => refusals >= wanted[i]),
      () => "5.0 publishers are refused",
    );
  };
  // What was answered before comes on other connections, and may be read later.
  await refusedAgain();
  await refusedAgain();
  const before = [acknowledged(trial, 4), acknowledged(trial, 5)];
  await refusedAgain();
  await trial.until(
    () => well.isIdle,
    () => "what was owed to the receiver is delivered",
  );
  assert.deepEqual(
    [acknowledged(trial, 4), acknowledged(trial, 5)],
    before,
    "something was acknowledged on a disk that takes nothing",
  );
}

/** 5.0 publishers notice nothing but that they are heard again; older ones, whom nobody answered, are sent away to come back. */
export async function breathesAgain(trial: Trial): Promise<void> {
  const before = acknowledged(trial, 5);
  await trial.until(
    () => {
      for (const publisher of trial.publishers) if (publisher.version === 5 && publisher.isIdle) publisher.publish(1);
      return acknowledged(trial, 5) >= before + 20;
    },
    () => "5.0 publishers are heard again",
  );
}

/** What was delivered while not even that could be written is delivered once more by the next broker. */
export async function judge(trial: Trial, broker: BrokerProcess, port: number, orders: Orders): Promise<void> {
  await trial.drain(port);
  await trial.lookAtRetained(port);
  await trial.stop(broker);
  await trial.inspectStore(false);
  const next = await trial.startListening(orders);
  await trial.drain(next.port);
  await trial.stop(next.broker);
  trial.verdict();
  await trial.inspectStore(true);
  assert.deepEqual(trial.ledger.violations, []);
}
