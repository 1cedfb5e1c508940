/** Where the broker's memory is kept. `config/` reads it from the file. */
export type StoreOptions =
  /** In this process: it ends with it. */
  | { engine: "memory" }
  /** In `directory`, for the next process too. */
  | { engine: "disk"; directory: string; sync: SyncPolicy };

/**
 * When what is committed is on the disk itself, so that a power cut cannot take it; a crash of the process never can.
 * commit: before it is acknowledged. interval: at most 50 ms after. none: when the system sees fit. Whichever it is, a
 * power cut leaves the store whole.
 */
export type SyncPolicy = "commit" | "interval" | "none";
