/** Everything in the store that could grow or last, and what happens at its bound. */

/** Changes in one transaction, so that nobody waits long behind it; what came meanwhile shares the next. A batch is never cut. */
export const changesPerTransactionMax = 20_000;

/** Of the state at a start, what is handed over at one go, while the rest is still being read. */
export const changesPerPart = 5_000;

/** What webhooks record waits so long for a transaction of others to join, or until there is so much of it. */
export const recordDelayMs = 10;
export const recordsMax = 1_000;

/** With `sync = interval`, what is written is on the disk itself at most so much later. */
export const syncIntervalMs = 50;

/** A disk that syncs within this is waited for; a slower one is synced beside what else there is to do. */
export const quickSyncMs = 1;

/** How often it is looked whether the disk is full, and whether one that failed works again. */
export const probeIntervalMs = 1_000;

/** The write-ahead log is carried over into the data file at this length: 8 MiB, some 10 ms of work. */
export const walPagesMax = 2_000;

/**
 * The last of the disk is left for what gives space back, or a backlog that filled the disk could never drain: room for a
 * whole write-ahead log and for carrying it over. Beyond it what takes room is refused.
 */
export const diskBytesLeft = 16 * 1024 * 1024;

/** … and of that the last for what ends something alone: wills and what clients do may use the first half. */
export const diskBytesLeftAtLast = 8 * 1024 * 1024;

/** The write-ahead log is cut to this length once a single large transaction has made it longer. */
export const walBytesKept = 64 * 1024 * 1024;

/** Pages of the data file held in memory, whatever its size. */
export const cacheBytes = 16 * 1024 * 1024;

/** A larger file is not read through at the start: 300 ms for this size where it is cached. */
export const checkedAtStartBytesMax = 512 * 1024 * 1024;

/** Faults of a damaged file that are named; there is little to learn from more. */
export const faultsNamedMax = 20;

/** Free pages that stay in the file for what comes next; beyond it they go back to the file system. */
export const freePagesKept = 2_000;

/** Pages given back at one go, about 5 ms of work, and the pause after it. */
export const freedPagesPerStep = 1_000;
export const freeingPauseMs = 50;

/** How long after a commit it is looked whether there are pages to give back. */
export const freeingDelayMs = 1_000;

/** Pages copied at one go by a backup: between them the store goes on. */
export const backupPagesPerStep = 256;

/** A backup that a write has thrown off is begun anew so often. */
export const backupsBegunMax = 20;
