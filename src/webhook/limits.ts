/** Everything that could grow or last in the webhook engine, and what happens at its bound. */

/** base62 is one big number: its cost grows faster than its length. Beyond it: dead letter. */
export const base62PayloadBytesMax = 16 * 1024;

/** A larger body is not built: dead letter. Far above what a receiver takes by default, far below what hurts us. */
export const bodyBytesMax = 1024 * 1024;

/** What an event puts into the headers and the address of its request, as it is stored. Beyond it: dead letter. */
export const eventHeadLengthMax = 16 * 1024;

/** What a queued delivery costs beside its body, so that a flood of tiny ones is counted for what it takes. */
export const deliveryBytesOverhead = 512;

/** The part of an endpoint's queue that belongs to client events alone: a flood of messages cannot push them out. */
export const clientEventsShare = 0.1;

/** What an endpoint holds in memory of all it is owed, overhead included. The rest is in the store until its turn comes. */
export const windowBytesMax = 16 * 1024 * 1024;

/** … and of the deliveries with one order key: one busy client leaves room for others. */
export const lineBytesMax = 256 * 1024;

/** Deliveries read from the store at one go. */
export const sliceDeliveriesMax = 1_000;

/** Lines whose time has come that are looked at at one go; deliveries that are dropped or expire at one go. */
export const wokenAtOnceMax = 256;
export const endedAtOnceMax = 1_000;

/** Keys of order that wait in the store and are remembered; beyond it the store is asked about each that comes. */
export const waitingKeysMax = 10_000;

/** A delivery's key of order is stored with it: that of a client with a longer identifier is its digest. */
export const orderKeyLengthMax = 200;

/** How often dead letters are looked at for their age, and the part of their room that is made at one go. */
export const deadLettersSweepMs = 3_600_000;
export const deadLettersRoomShare = 1 / 16;

/** What the store has refused of ends and attempts is handed in again after this pause. */
export const ledgerRetryMs = 1_000;

/** Changes that wait for a store in trouble. Beyond it no attempt is begun, so that what was delivered is not forgotten. */
export const untakenChangesMax = 10_000;

/** Where deliveries end with the process: bodies that wait, and dead letters, unless the configuration says otherwise. */
export const queueBytesMaxInMemory = 16 * 1024 * 1024;
export const deadLetterBytesMaxInMemory = 16 * 1024 * 1024;

/** Drops and dead letters are logged at once, then summed up this often while they go on. */
export const burstMs = 10_000;

/** The longest that a receiver may hold its endpoint with Retry-After. */
export const retryAfterMsMax = 3_600_000;

/** Failures of the endpoint itself, in a row, that open its breaker. */
export const breakerFailures = 5;

/** … and so do half of at least so many requests in this span. */
export const breakerSpanMs = 30_000;
export const breakerSpanRequestsMin = 20;

/** Attempts of an endpoint that are remembered for whoever looks after it: with 1 KiB of each answer, half a MiB. */
export const attemptsRememberedMax = 500;

/** What an operator may ask for in one page, and dead letters looked at in one go of a bulk action. */
export const operatorPageMax = 1_000;
export const lettersSeenAtOnceMax = 10_000;

/** An operator's test events that wait for a connection. Beyond it they are refused. */
export const testsWaitingMax = 16;

/** Batches that were sent in vain and wait: with those under way, and all in the memory named above. Beyond it none is begun. */
export const batchesWaitingMax = 64;

/** What `rate` lets through at once after a pause, as a part of a second's requests. */
export const rateBurstShare = 0.02;

/** Header block of an answer; undici counts names and values. Beyond it: the connection is closed. */
export const answerHeaderBytesMax = 16 * 1024;

/** Interim (1xx) answers to one request. Beyond it: the connection is closed, the attempt has failed. */
export const interimAnswersMax = 16;

/** Kept of an answer, for the dead letter and the log of attempts. */
export const answerExcerptBytesMax = 1024;

/** Read of an answer so that its connection can be used again. Beyond it: the connection is closed; the status counts. */
export const answerBytesMax = 64 * 1024;

/** How long a connection nobody needs stays open. */
export const idleConnectionMs = 4_000;

/** Attempts over their time are looked for this often: a tenth of the time allowed, within these. */
export const deadlineSweepMsMin = 10;
export const deadlineSweepMsMax = 250;

/** Keys that sign: Standard Webhooks asks for 24 bytes at the least; a secret of plain text has fewer, and is refused below. */
export const hmacKeyBytesMin = 24;
export const plainSecretBytesMin = 16;

/** Each secret is one more signature in a header that receivers bound: two are enough while one replaces another. */
export const secretsMax = 8;

/** How often the files of certificates are looked at, while there is something to send. */
export const certificateCheckMs = 3_000;

/** A smaller body is sent as it is. */
export const compressionBytesMin = 1024;

/** Bodies that are compressed at the same time for one endpoint: each needs memory, and Node.js has four threads for it. */
export const compressionsAtOnceMax = 4;

/** An access token is renewed ahead of its end: a tenth of its life, and at most so long. */
export const tokenRenewalShare = 0.1;
export const tokenRenewalMsMax = 60_000;
