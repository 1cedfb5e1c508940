/** What the generator is told, and what it answers: one JSON document each way. */
import type { Qos } from "./packets.ts";

export type Job = FlowJob | FillJob | DrainJob | ConnectJob;

interface Target {
  port: number;
  /** Its CPU time and memory are read from /proc, where there is one. */
  brokerPid: number;
}

export type Shape = "fan-in" | "fan-out" | "pairs" | "to-webhook";

export interface FlowJob extends Target {
  kind: "flow";
  shape: Shape;
  publishers: number;
  subscribers: number;
  /** Sessions of subscribers that outlive their connections: the broker has to keep what it owes them. */
  persistent?: boolean;
  qos: Qos;
  payloadBytes: number;
  /** Messages per second over all publishers, sent when they are due; `undefined`: as fast as nothing is lost. */
  rate?: number;
  /** Messages in one write. */
  batch: number;
  /** QoS 1 and 2: messages one publisher may have unacknowledged. */
  window: number;
  /** Deliveries owed by the broker at one time, over all subscribers. */
  outstandingMax: number;
  warmupSeconds: number;
  seconds: number;
  /** The webhook receiver to run beside the load. */
  sink?: SinkJob;
}

/** Messages that nobody takes: for sessions whose clients are away, or for a webhook whose receiver is not there. */
export interface FillJob extends Target {
  kind: "fill";
  shape: "fan-in" | "pairs" | "to-webhook";
  publishers: number;
  /** Sessions that are made, subscribe, and whose clients leave. */
  subscribers: number;
  qos: 1 | 2;
  payloadBytes: number;
  batch: number;
  window: number;
  /** Sent and acknowledged in all, and how many of them before measuring begins. */
  messages: number;
  warmupMessages: number;
  /** With nothing acknowledged for so long, nothing more will be. */
  silenceMsMax: number;
}

/**
 * What a fill has left, taken by its clients come back or by a receiver now present. Says "ready" on a line of its own;
 * the broker may be started after that.
 */
export interface DrainJob extends Target {
  kind: "drain";
  shape: FillJob["shape"];
  publishers: number;
  subscribers: number;
  payloadBytes: number;
  messages: number;
  sink?: SinkJob;
  /** With nothing arriving for so long, before the first and after it, the rest is lost. */
  firstMsMax: number;
  silenceMsMax: number;
}

export interface SinkJob {
  port: number;
  /**
   * `ok`: 200 at once. `never`: the request is read, and that is all. `by-path`: `/never` as that, `/slow` after ten seconds,
   * and at once on the paths `/0`, `/1`, … of as many `receivers`, which alone are judged.
   */
  answers: "ok" | "never" | "by-path";
  /** Without it: one. Each is to get every event. */
  receivers?: number;
  /** Whether every message is an event, so that one missing at the end is a loss. */
  expectsAll: boolean;
}

export interface ConnectJob extends Target {
  kind: "connect";
  connections: number;
  /** Handshakes at the same time. */
  concurrency: number;
  /** `undefined`: each connection is closed at its CONNACK; else all stay open, and idle for this long at the end. */
  holdSeconds?: number;
}

/** Every figure that some scenario reports; the unit is part of the name. */
export type FigureName =
  | "messagesPerSecond"
  /** What the generator would carry with no waiting at all: messages per second of its own CPU time. */
  | "messagesPerGeneratorSecond"
  | "brokerMicrosPerMessage"
  | "latencyMicrosP50"
  | "latencyMicrosP99"
  | "latencyMicrosP999"
  | "ackMicrosP50"
  | "ackMicrosP99"
  | "connectionsPerSecond"
  | "connackMicrosP50"
  | "connackMicrosP99"
  | "bytesPerConnection"
  | "eventsPerSecond"
  | "eventMicrosP50"
  | "eventMicrosP99"
  | "acknowledgedPerSecond"
  | "drainedPerSecond"
  /** From the start of the broker's process until it accepts a connection: on an empty folder, and after a crash. */
  | "startMillis"
  | "restartMillis"
  /** From the start of the process after a crash. */
  | "firstDeliveryMillis"
  /** The broker's resident memory: before anything came, grown once all was waiting, and the most while it drained. */
  | "residentMibBefore"
  | "residentMibGrown"
  | "residentMibDraining";

export interface LoadResult {
  figures: Partial<Record<FigureName, number>>;
  counts: Record<string, number>;
  /** Why this run does not count. */
  failure?: string;
  /** 100: busy all the time. The generator's is not told at a fixed rate, where it spins. */
  generatorCpuPercent?: number;
  brokerCpuPercent?: number;
  /** At a fixed rate: how late the latest one in a thousand messages was handed to its socket. */
  sendLagMicrosP999?: number;
  /** On the clock that all processes share, in microseconds. */
  moments?: Partial<Record<"listening" | "first" | "last", number>>;
}
