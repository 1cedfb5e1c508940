/**
 * The disk fails under a broker, and works again (`failing.c`). While nothing can be written, because of I/O errors or since
 * the file system has become read-only, all is as on a full disk. A disk that fails to sync may have lost what it took: the
 * broker ends, with nobody told, and the next one goes on from what is really there.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "vitest";
import type { Orders } from "./back.ts";
import { breathesAgain, comeAll, holdsItsBreath, judge } from "./breath.ts";
import { buildLayer } from "./power-cut/recording.ts";
import { Trial } from "./trial.ts";

const expectedErrors = [
  "the store cannot write",
  "the disk has failed to sync",
  "the thread of the store and the webhooks has failed",
  "the end of a delivery could not be stored",
];

let place: string;
let orders: Orders;
let trial: Trial;
beforeEach(async ({ skip }) => {
  place = mkdtempSync(path.join(tmpdir(), "hookmq-failing-disk-"));
  const library = buildLayer(place, skip, path.join(import.meta.dirname, "failing.c"));
  trial = await Trial.open(1, { expectedErrors });
  orders = { layer: { LD_PRELOAD: library, FAILING_FOLDER: trial.folder, FAILING_SIGN: path.join(place, "sign") } };
});
afterEach(async () => {
  mend();
  await trial?.close();
  rmSync(place, { recursive: true });
});

function fail(how: "writes" | "read-only" | "syncs"): void {
  writeFileSync(path.join(place, "sign"), how);
}

function mend(): void {
  rmSync(path.join(place, "sign"), { force: true });
}

async function begin() {
  await trial.subscribeAndKill(orders);
  const begun = await trial.startListening(orders);
  comeAll(trial, begun.port, 200);
  await trial.until(
    () => trial.ledger.acknowledgedMessages >= 60,
    () => "all goes well at first",
  );
  return begun;
}

for (const [title, how] of [
  ["a disk with I/O errors", "writes"],
  ["a file system that becomes read-only", "read-only"],
] as const) {
  test(`${title} costs refusals, and nothing that was acknowledged; when it works again, so do we`, async () => {
    const { broker, port } = await begin();
    fail(how);
    for (const publisher of trial.publishers) publisher.publish(100);
    await holdsItsBreath(trial);
    mend();
    await breathesAgain(trial);
    assert.ok(broker.isAlive, broker.log);
    const told = broker.log.match(/the store cannot write|the store writes again/g);
    assert.deepEqual(told, ["the store cannot write", "the store writes again"]);
    await judge(trial, broker, port, orders);
  });
}

test("a disk that fails to sync ends the broker; what it had acknowledged is there for the next", async () => {
  const { broker } = await begin();
  fail("syncs");
  for (const publisher of trial.publishers) publisher.publish(100);
  await trial.ended(broker);
  assert.deepEqual(await broker.ended, { code: 1, signal: null });
  assert.match(broker.log, /the disk has failed to sync/);
  mend();
  const next = await trial.startListening(orders);
  comeAll(trial, next.port, 200);
  await breathesAgain(trial);
  await judge(trial, next.broker, next.port, orders);
});
