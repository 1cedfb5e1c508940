/** What is measured: one table of scenarios, each a list of cells, each cell one kind of run. */
import type { ConnectJob, FigureName, FlowJob, SinkJob } from "./load/job.ts";
import type { Qos } from "./load/packets.ts";
import { textStamp } from "./load/stamp.ts";
import type { PeerName } from "./peers/peers.ts";

export interface Settings {
  qos: readonly Qos[];
  payloadBytes: readonly number[];
  seconds: number;
  warmupSeconds: number;
  /** Of the connect storm, and kept idle. */
  connections: number;
}

export interface Scenario {
  name: string;
  says: string;
  /** The only ones it is run with; without: all that were asked for. */
  peers?: readonly PeerName[];
  /** Left out unless asked for by name. */
  onRequest?: true;
  cells(settings: Settings): Cell[];
}

export interface Cell {
  qos?: Qos;
  payloadBytes?: number;
  /** What tells this cell from others of its scenario beside QoS and payload. */
  variant?: string;
  figures: readonly FigureName[];
  job: Unaddressed<FlowJob> | Unaddressed<ConnectJob>;
  /** For webhooks: the messages that are events, and the receiver. */
  webhook?: { topicFilter: string; sink: Omit<SinkJob, "port"> };
}

type Unaddressed<Job> = Omit<Job, "port" | "brokerPid" | "sink">;

/** Deliveries owed at one time, messages in one write, messages unacknowledged by one publisher. */
const outstandingMax = 20_000;
const batch = 32;
const window = 20;

const typicalBytes = 256;
const latencyRate = 10_000;
const webhookRate = 2_000;
const webhookOutstandingMax = 2_000;
const everyEvent = "bench/#";

export const scenarios: readonly Scenario[] = [
  {
    name: "fan-in",
    says: "50 publishers, 1 subscriber",
    cells: (settings) => grid(settings, { shape: "fan-in", publishers: 50, subscribers: 1 }),
  },
  {
    name: "fan-out",
    says: "1 publisher, 1,000 subscribers of one topic",
    cells: (settings) => grid(settings, { shape: "fan-out", publishers: 1, subscribers: 1_000 }),
  },
  {
    name: "pairs",
    says: "100 publishers, each with a subscriber of its own",
    cells: (settings) => grid(settings, { shape: "pairs", publishers: 100, subscribers: 100 }),
  },
  {
    name: "single",
    says: "fan-in with one packet per write, as small devices send",
    cells: (settings) =>
      typical(settings, [0]).map((cell) => ({
        ...cell,
        figures: throughput,
        job: flow(settings, cell, { shape: "fan-in", publishers: 50, subscribers: 1, batch: 1 }),
      })),
  },
  {
    name: "latency",
    says: `100 pairs at ${latencyRate} messages a second, each sent when it is due`,
    cells: (settings) =>
      typical(settings, settings.qos).map((cell) => ({
        ...cell,
        variant: `${latencyRate}/s`,
        figures: ["latencyMicrosP50", "latencyMicrosP99", "latencyMicrosP999"],
        job: flow(settings, cell, { shape: "pairs", publishers: 100, subscribers: 100, batch: 1, rate: latencyRate }),
      })),
  },
  {
    name: "connect",
    says: "a storm of connections, 100 handshakes at a time, each closed at its CONNACK",
    cells: ({ connections }) => [
      {
        variant: `${connections}`,
        figures: ["connectionsPerSecond", "connackMicrosP50", "connackMicrosP99"],
        job: { kind: "connect", connections, concurrency: 100 },
      },
    ],
  },
  {
    name: "idle",
    says: "connections that stay and say nothing: the broker's memory for each, two seconds later",
    cells: ({ connections }) => [
      {
        variant: `${connections}`,
        figures: ["bytesPerConnection"],
        job: { kind: "connect", connections, concurrency: 100, holdSeconds: 2 },
      },
    ],
  },
  {
    name: "webhook",
    says: "every message of 50 publishers (QoS 1) as a request of its own to a receiver that answers at once",
    peers: ["hookmq"],
    cells: (settings) =>
      typicalEvent(settings).map((cell) => ({
        ...cell,
        figures: ["eventsPerSecond", "eventMicrosP50", "eventMicrosP99", "ackMicrosP99"],
        job: {
          ...flow(settings, cell, { shape: "to-webhook", publishers: 50, subscribers: 0 }),
          outstandingMax: webhookOutstandingMax,
        },
        webhook: { topicFilter: everyEvent, sink: { answers: "ok", expectsAll: true } },
      })),
  },
  {
    name: "webhook-effect",
    says: `10 pairs at ${webhookRate} messages a second (QoS 1): without events, with a receiver, with one that never answers`,
    peers: ["hookmq"],
    cells: (settings) =>
      typicalEvent(settings).flatMap((cell) =>
        webhookEffects.map(({ variant, topicFilter, sink, figures }) => ({
          ...cell,
          variant,
          figures,
          job: flow(settings, cell, { shape: "pairs", publishers: 10, subscribers: 10, batch: 1, rate: webhookRate }),
          webhook: { topicFilter, sink },
        })),
      ),
  },
  {
    name: "self",
    says: "the generator's own ceiling: no broker, whole packets copied from publisher to subscriber",
    peers: ["echo"],
    onRequest: true,
    cells: (settings) =>
      [
        ...grid(settings, { shape: "fan-in", publishers: 50, subscribers: 1 }),
        ...grid(settings, { shape: "fan-out", publishers: 1, subscribers: 1_000 }),
        ...grid(settings, { shape: "pairs", publishers: 100, subscribers: 100 }),
      ].map((cell) => ({
        ...cell,
        variant: cell.job.shape,
        figures: [...throughput, "messagesPerGeneratorSecond"] as const,
      })),
  },
];

const throughput: readonly FigureName[] = ["messagesPerSecond"];
const mqttLatency: readonly FigureName[] = ["ackMicrosP50", "ackMicrosP99", "latencyMicrosP50", "latencyMicrosP99"];

const webhookEffects: readonly {
  variant: string;
  topicFilter: string;
  sink: Omit<SinkJob, "port">;
  figures: readonly FigureName[];
}[] = [
  {
    variant: "no events",
    topicFilter: "elsewhere/#",
    sink: { answers: "ok", expectsAll: false },
    figures: mqttLatency,
  },
  {
    variant: "answering",
    topicFilter: everyEvent,
    sink: { answers: "ok", expectsAll: true },
    figures: [...mqttLatency, "eventMicrosP50", "eventMicrosP99"],
  },
  {
    variant: "never answering",
    topicFilter: everyEvent,
    sink: { answers: "never", expectsAll: false },
    figures: mqttLatency,
  },
];

interface QosAndPayload {
  qos: Qos;
  payloadBytes: number;
}

interface Load {
  shape: FlowJob["shape"];
  publishers: number;
  subscribers: number;
  batch?: number;
  rate?: number;
}

function grid(settings: Settings, load: Load): (Cell & { job: Unaddressed<FlowJob> })[] {
  return settings.payloadBytes
    .flatMap((payloadBytes) => settings.qos.map((qos) => ({ qos, payloadBytes })))
    .map((cell) => ({ ...cell, figures: throughput, job: flow(settings, cell, load) }));
}

/** One payload is enough where its size says little: 256 bytes, or the largest asked for. */
function typical({ payloadBytes: asked }: Settings, qos: readonly Qos[]): QosAndPayload[] {
  const payloadBytes = asked.includes(typicalBytes) ? typicalBytes : Math.max(...asked);
  return qos.map((one) => ({ qos: one, payloadBytes }));
}

/** A webhook's payload is text, and its stamp longer. */
function typicalEvent(settings: Settings): QosAndPayload[] {
  return typical(settings, [1]).map(({ qos, payloadBytes }) => ({
    qos,
    payloadBytes: Math.max(payloadBytes, textStamp.bytes),
  }));
}

function flow(settings: Settings, { qos, payloadBytes }: QosAndPayload, load: Load): Unaddressed<FlowJob> {
  const { seconds, warmupSeconds } = settings;
  return { kind: "flow", qos, payloadBytes, batch, window, outstandingMax, seconds, warmupSeconds, ...load };
}
