/**
 * A process that is recorded: goes on with the batches of `workload.ts` from what is in the store, and notes the last that no
 * power cut may take any more. It ends by SIGKILL: at the end of a wave, once the store is at rest, unless it is killed before.
 */
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { openDataFolder } from "../../../src/store/data-folder.ts";
import { freeingDelayMs, syncIntervalMs } from "../../../src/store/limits.ts";
import type { SyncPolicy } from "../../../src/store/options.ts";
import { SqliteStore } from "../../../src/store/sqlite.ts";
import { storedState } from "../../../src/store/stored-state.ts";
import { Notes } from "./recording.ts";
import { batch, lastBatch, waveBatches } from "./workload.ts";

export const writerFile = import.meta.filename;

export interface WriterPlan {
  directory: string;
  sync: SyncPolicy;
  /** It ends at the end of this one: 1, 2, 3 … */
  wave: number;
}

/** The store's own waits (until a sync, until pages are given back) twenty times as short. */
const hurried: Clock = {
  ...systemClock,
  after: (delayMs, act) => systemClock.after(delayMs / 20, act),
};

if (process.argv[1] === writerFile) await write(JSON.parse(process.argv[2]));

async function write({ directory, sync, wave }: WriterPlan): Promise<void> {
  const notes = Notes.here();
  const store = new SqliteStore({ folder: openDataFolder(directory), sync, clock: hurried, log: silentLogger });
  const last = wave * waveBatches;
  let next = lastBatch(await storedState(store)) + 1;

  const committed = (n: number) => {
    if (sync === "commit") notes.note(`${n}`);
    // The store's timer is older and shorter, so it has fired by then.
    if (sync === "interval") hurried.after(2 * syncIntervalMs, () => notes.note(`${n}`));
  };
  const commitSome = () => {
    const count = Math.min(1 + (next % 6), last - next + 1);
    for (let i = 0; i < count; i++) {
      const n = next++;
      store.commit(batch(n), (error) => {
        if (error !== undefined) throw error;
        committed(n);
        if (i < count - 1) return;
        // By way of the event loop, so that timers have their turn.
        if (next <= last) setImmediate(commitSome);
        else rest();
      });
    }
  };
  // By then the last pages that are too many were given back, and the log cut.
  const rest = () => hurried.after(3 * freeingDelayMs, () => process.kill(process.pid, "SIGKILL"));
  commitSome();
}
