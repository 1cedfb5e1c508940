import { setImmediate as turnOfTheEventLoop } from "node:timers/promises";

/** Longer than anything a test waits for on purpose takes, even on a busy machine. */
export const patienceMs = 3000;

/** Resolves when `condition` has become true, asked once each turn of the event loop; fails saying what was awaited. */
export async function until(condition: () => boolean, awaited: string): Promise<void> {
  const since = performance.now();
  while (!condition()) {
    if (performance.now() - since > patienceMs) throw new Error(`waited in vain until ${awaited}`);
    await turnOfTheEventLoop();
  }
}
