/**
 * The disk fills and empties under a broker that goes on. While it is full nothing is acknowledged that needs it: 5.0
 * publishers get 0x97, older ones no answer; deliveries go on. Afterwards all is as before, by itself, and nothing is lost.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "vitest";
import { diskBytesLeft as reserve } from "../../src/store/limits.ts";
import type { BrokerProcess } from "./broker-process.ts";
import { type Disk, openDisk } from "./disk.ts";
import { Trial } from "./trial.ts";

const never = Number.POSITIVE_INFINITY;
const steady = { window: 8, dropsAfter: never };
const attentive = { comes: true, dropsAfter: never, comesBack: true };

const expectedErrors = ["the store cannot write", "the end of a delivery could not be stored"];

let disk: Disk;
let trial: Trial;
beforeEach(async () => {
  disk = openDisk();
  trial = await Trial.open(1, { parent: disk.folder, expectedErrors });
});
afterEach(async () => {
  disk.empty();
  await trial.close();
  disk.leave();
});

function comeAll(port: number, messages: number): void {
  for (const publisher of trial.publishers) publisher.connect(port, { ...steady, messages });
  for (const subscriber of trial.subscribers) subscriber.connect(port, attentive);
}

/** Of publishers of one version. To clear what is not retained needs no disk. */
function acknowledged(version: 4 | 5): number {
  const names = trial.publishers.filter((publisher) => publisher.version === version).map(({ clientId }) => clientId);
  return [...trial.ledger.messages.values()].filter(
    ({ publisher, outcome, payload }) => outcome === "acknowledged" && payload !== "" && names.includes(publisher),
  ).length;
}

function fill(bytesLeft: number): void {
  disk.fill(bytesLeft);
  for (const publisher of trial.publishers) publisher.publish(100);
}

/** All that no disk is needed for goes on, and nothing else. */
async function holdsItsBreath(): Promise<void> {
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
  const before = [acknowledged(4), acknowledged(5)];
  await refusedAgain();
  await trial.until(
    () => well.isIdle,
    () => "what was owed to the receiver is delivered",
  );
  assert.deepEqual([acknowledged(4), acknowledged(5)], before, "something was acknowledged on a full disk");
}

/** 5.0 publishers notice nothing but that they are heard again; older ones, whom nobody answered, are sent away to come back. */
async function breathesAgain(): Promise<void> {
  const before = acknowledged(5);
  await trial.until(
    () => {
      for (const publisher of trial.publishers) if (publisher.version === 5 && publisher.isIdle) publisher.publish(1);
      return acknowledged(5) >= before + 20;
    },
    () => "5.0 publishers are heard again",
  );
}

/** What was delivered while not even that could be written is delivered once more by the next broker. */
async function judge(broker: BrokerProcess, port: number): Promise<void> {
  await trial.drain(port);
  await trial.lookAtRetained(port);
  await trial.stop(broker);
  await trial.inspectStore(false);
  const next = await trial.startListening(disk.orders);
  await trial.drain(next.port);
  await trial.stop(next.broker);
  trial.verdict();
  await trial.inspectStore(true);
  assert.deepEqual(trial.ledger.violations, []);
}

test("a disk that fills and empties costs refusals, and nothing that was acknowledged", async () => {
  const { ledger } = trial;
  await trial.subscribeAndKill(disk.orders);
  const { broker, port } = await trial.startListening(disk.orders);
  comeAll(port, 200);
  await trial.until(
    () => ledger.acknowledgedMessages >= 60,
    () => "all goes well at first",
  );
  for (const [time, bytesLeft] of [
    ["once", reserve / 2],
    ["twice", 0],
  ] as const) {
    ledger.progress = `full ${time}`;
    fill(bytesLeft);
    await holdsItsBreath();
    ledger.progress = `empty ${time}`;
    disk.empty();
    await breathesAgain();
  }
  assert.ok(broker.isAlive, broker.log);
  await judge(broker, port);
});

test("a broker killed on a full disk starts on it, holds what it was owed, and goes on when there is room", async () => {
  const { ledger } = trial;
  await trial.subscribeAndKill(disk.orders);
  const first = await trial.startListening(disk.orders);
  comeAll(first.port, 400);
  await trial.until(
    () => ledger.acknowledgedMessages >= 60,
    () => "all goes well at first",
  );
  fill(reserve / 2);
  await holdsItsBreath();
  first.broker.signal("SIGKILL");
  await trial.ended(first.broker);

  ledger.progress = "started on a full disk";
  const { broker, port } = await trial.startListening(disk.orders);
  comeAll(port, 400);
  await holdsItsBreath();
  disk.empty();
  ledger.progress = "empty again";
  await breathesAgain();
  await judge(broker, port);
});
