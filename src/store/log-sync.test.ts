import { expect, test } from "vitest";
import { quickSyncMs } from "./limits.ts";
import { LogSync } from "./log-sync.ts";

/** A disk whose syncs take as long as the test says. */
function setUp() {
  const disk = { now: 0, tookMs: 0, failure: undefined as Error | undefined };
  const ways: string[] = [];
  const sync = new LogSync({
    monotonic: () => disk.now,
    now() {
      ways.push("waited");
      disk.now += disk.tookMs;
      if (disk.failure !== undefined) throw disk.failure;
    },
    beside(done) {
      ways.push("beside");
      disk.now += disk.tookMs;
      done(disk.failure ?? null);
    },
  });
  const synced = () => {
    const told: (Error | null)[] = [];
    sync.sync((error) => told.push(error));
    return told;
  };
  return { disk, ways, synced };
}

test("a quick disk is waited for; one that is slow is synced beside, until it is quick again", () => {
  const { disk, ways, synced } = setUp();
  for (const tookMs of [0, 10 * quickSyncMs, 10 * quickSyncMs, 0, 0]) {
    disk.tookMs = tookMs;
    expect(synced()).toEqual([null]);
  }
  expect(ways).toEqual(["waited", "waited", "beside", "beside", "waited"]);
});

test("a failure is told, whichever way it came", () => {
  const { disk, ways, synced } = setUp();
  disk.failure = new Error("EIO");
  disk.tookMs = 10 * quickSyncMs;
  expect(synced()).toEqual([disk.failure]);
  expect(synced()).toEqual([disk.failure]);
  expect(ways).toEqual(["waited", "beside"]);
});
