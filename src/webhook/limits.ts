/** Everything that could grow or last in the webhook engine, and what happens at its bound. */

/** base62 is one big number: its cost grows faster than its length. Beyond it: dead letter. */
export const base62PayloadBytesMax = 16 * 1024;

/** A larger body is not built: dead letter. Far above what a receiver takes by default, far below what hurts us. */
export const bodyBytesMax = 1024 * 1024;

/** What a queued delivery costs beside its body, so that a flood of tiny ones is counted for what it takes. */
export const deliveryBytesOverhead = 512;

/** The part of an endpoint's queue that belongs to client events alone: a flood of messages cannot push them out. */
export const clientEventsShare = 0.1;

/** Dead letters kept in memory; the oldest make room, and stay counted. */
export const deadLettersMax = 10_000;
export const deadLetterBytesMax = 16 * 1024 * 1024;

/** Drops and dead letters are logged at once, then summed up this often while they go on. */
export const burstMs = 10_000;

/** The longest that a receiver may hold its endpoint with Retry-After. */
export const retryAfterMsMax = 3_600_000;

/** Failures of the endpoint itself, in a row, that open its breaker. */
export const breakerFailures = 5;

/** Header block of an answer; undici counts names and values. Beyond it: the connection is closed. */
export const answerHeaderBytesMax = 16 * 1024;

/** Interim (1xx) answers to one request. Beyond it: the connection is closed, the attempt has failed. */
export const interimAnswersMax = 16;

/** Kept of an answer that was not a success, for the dead letter and the log. */
export const answerExcerptBytesMax = 1024;

/** Read of an answer so that its connection can be used again. Beyond it: the connection is closed; the status counts. */
export const answerBytesMax = 64 * 1024;

/** How long a connection nobody needs stays open. */
export const idleConnectionMs = 4_000;

/** Attempts over their time are looked for this often: a tenth of the time allowed, within these. */
export const deadlineSweepMsMin = 10;
export const deadlineSweepMsMax = 250;
