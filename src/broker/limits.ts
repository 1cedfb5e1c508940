/** Everything in the broker that a stranger could make grow, and where it ends. What operators set is in `options.ts`. */

/** A CONNECT must come within this time of the connection. Long enough for a slow modem's handshake. */
export const connectWaitMs = 10_000;
/** Connections beyond `connectionsMax` that may still send a CONNECT, to be told that the server is busy. */
export const lobbyConnectionsMax = 1000;
/** CONNECT with the longest will, user name and password there can be, and properties within reason. */
export const connectPacketBytesMax = 320 * 1024;
/** The largest packet that MQTT can express: five bytes of fixed header and the longest Remaining Length. [MQTT5 1.5.5] */
export const protocolPacketBytesMax = 5 + 0xfff_ffff;
/** Levels of a topic name or filter: keeps every walk of a tree shallow. */
export const topicLevelsMax = 128;
/** Subscriptions of one session; beyond it SUBACK says Quota exceeded. */
export const subscriptionsPerSessionMax = 10_000;
/** Levels in the tree of all topic filters, about 200 bytes each; beyond it SUBACK says Quota exceeded. */
export const subscriptionLevelsMax = 1_000_000;
/** Sessions that outlive their connection; beyond it CONNECT is refused with Quota exceeded unless its session exists. */
export const persistentSessionsMax = 100_000;
/** Bytes of messages waiting in one session's queue; beyond it the oldest go. */
export const queuedBytesPerSessionMax = 256 * 1024 * 1024;
/** Bytes of messages waiting in all sessions' queues; beyond it every further message for a queue is dropped. */
export const queuedBytesMax = 2 * 1024 * 1024 * 1024;
/** Retained topics, the levels of their tree and the bytes of their messages; beyond any the message is routed but not retained. */
export const retainedMessagesMax = 1_000_000;
export const retainedLevelsMax = 4_000_000;
export const retainedBytesMax = 1024 * 1024 * 1024;
/** Steps through the tree of retained topics taken for one connection in a turn. */
export const retainedSliceSteps = 64;
/** Subscriptions of one connection that still wait for retained messages; one that asks for more is cut off. */
export const retainedFeedsMax = 10_000;

/**
 * Changes that the store has not committed: handed to it, or held because it refused them. Beyond it nobody is read from
 * whose packets add more. While the store takes nothing, a CONNECT that would add to them is then refused and events of
 * clients are dropped, so that what is held grows only by the ends of connections and sessions that are there already.
 */
export const uncommittedBytesMax = 8 * 1024 * 1024;
/** After this time what the store refused is handed to it again, though it has not said that its trouble is over. */
export const storeRetryMs = 1000;

/** Bytes written for one connection that its peer has not taken; beyond it QoS 0 is dropped, QoS 1 and 2 wait in the queue. */
export const outboxBytesMax = 32 * 1024 * 1024;
/** … for all connections together; beyond it each blocked one is held to `outboxBytesMaxCrowded`. */
export const outboxBytesMaxTotal = 256 * 1024 * 1024;
export const outboxBytesMaxCrowded = 256 * 1024;
/** A peer that does not take its acknowledgements is not read from beyond this many bytes waiting for it. */
export const unreadAnswerBytesMax = 1024 * 1024;
/** Bytes gathered for one connection before they are written without waiting for the turn's end. */
export const outboxEarlyFlushBytes = 64 * 1024;
/** Slabs of each size kept for reuse. */
export const pooledSlabsMax = 256;

/** Topics whose route is remembered, their bytes together, and the longest that is worth it. Beyond it all are forgotten. */
export const routesMax = 65_536;
export const routeTopicBytesMax = 16 * 1024 * 1024;
export const routeTopicLengthMax = 1024;
/** … and their subscribers together: every route of a topic that all hear names them all. */
export const routeTargetsMax = 4_000_000;
/** Members of a shared subscription compared for each message. */
export const sharedMembersCompared = 16;

/** Topic Aliases kept towards one client, whatever it allows. */
export const outboundTopicAliasesMax = 256;
