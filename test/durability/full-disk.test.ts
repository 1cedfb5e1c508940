/**
 * The disk fills and empties under a broker that goes on. While it is full nothing is acknowledged that needs it: 5.0
 * publishers get 0x97, older ones no answer; deliveries go on. Afterwards all is as before, by itself, and nothing is lost.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "vitest";
import { diskBytesLeft as reserve } from "../../src/store/limits.ts";
import { breathesAgain, comeAll, holdsItsBreath, judge } from "./breath.ts";
import { type Disk, openDisk } from "./disk.ts";
import { Trial } from "./trial.ts";

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

function fill(bytesLeft: number): void {
  disk.fill(bytesLeft);
  for (const publisher of trial.publishers) publisher.publish(100);
}

test("a disk that fills and empties costs refusals, and nothing that was acknowledged", async () => {
  const { ledger } = trial;
  await trial.subscribeAndKill(disk.orders);
  const { broker, port } = await trial.startListening(disk.orders);
  comeAll(trial, port, 200);
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
    await holdsItsBreath(trial);
    ledger.progress = `empty ${time}`;
    disk.empty();
    await breathesAgain(trial);
  }
  assert.ok(broker.isAlive, broker.log);
  await judge(trial, broker, port, disk.orders);
});

test("a broker killed on a full disk starts on it, holds what it was owed, and goes on when there is room", async () => {
  const { ledger } = trial;
  await trial.subscribeAndKill(disk.orders);
  const first = await trial.startListening(disk.orders);
  comeAll(trial, first.port, 400);
  await trial.until(
    () => ledger.acknowledgedMessages >= 60,
    () => "all goes well at first",
  );
  fill(reserve / 2);
  await holdsItsBreath(trial);
  first.broker.signal("SIGKILL");
  await trial.ended(first.broker);

  ledger.progress = "started on a full disk";
  const { broker, port } = await trial.startListening(disk.orders);
  comeAll(trial, port, 400);
  await holdsItsBreath(trial);
  disk.empty();
  ledger.progress = "empty again";
  await breathesAgain(trial);
  await judge(trial, broker, port, disk.orders);
});
