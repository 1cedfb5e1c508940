/** What is measured: one table of scenarios, each a list of cells, each cell one kind of run. */
import type { BacklogPlan } from "./backlog.ts";
import type { ConnectJob, FigureName, FlowJob, SinkJob } from "./load/job.ts";
import type { Qos } from "./load/packets.ts";
import { textStamp } from "./load/stamp.ts";
import type { EventWishes, PeerName } from "./peers/peers.ts";

export interface Settings {
  qos: readonly Qos[];
  payloadBytes: readonly number[];
  seconds: number;
  warmupSeconds: number;
  /** Of the connect storm, and kept idle. */
  connections: number;
  /** Messages for sessions whose clients are away: to be fetched, and to be found again after a crash. */
  awayMessages: number;
  queuedMessages: number;
  /** Events for a receiver that is not there. */
  backlogEvents: number;
}

export interface Scenario {
  name: string;
  says: string;
  /** The only ones it is run with; without: those that keep nothing, and any others that were asked for. */
  peers?: readonly PeerName[];
  /** Left out unless asked for by name. */
  onRequest?: true;
  /** More runs than others need, where a small difference is looked for. */
  runs?: number;
  cells(settings: Settings): Cell[];
}

export interface Cell {
  qos?: Qos;
  payloadBytes?: number;
  /** What tells this cell from others of its scenario beside QoS and payload. */
  variant?: string;
  figures: readonly FigureName[];
  /** Of the scenario's, those that this cell is for; without: all. */
  peers?: readonly PeerName[];
  /** A peer whose figures are also taken from HookMQ's, to tell what was added to them. */
  addedTo?: PeerName;
  job: Unaddressed<FlowJob> | Unaddressed<ConnectJob> | BacklogPlan;
  /** For webhooks: the messages that are events, and the receiver. */
  webhook?: EventWishes & { sink: Omit<SinkJob, "port"> };
}

const peersByDefault: readonly PeerName[] = ["hookmq", "mosquitto", "aedes"];
const withAndWithoutDisk = ["hookmq-disk", "hookmq", "mosquitto", "mosquitto-persistent"] as const;
const oursWithAndWithoutDisk = ["hookmq-disk", "hookmq"] as const;

type Unaddressed<Job> = Omit<Job, "port" | "brokerPid" | "sink">;

/** Deliveries owed at one time, messages in one write, messages unacknowledged by one publisher. */
const outstandingMax = 20_000;
const batch = 32;
const window = 20;

const typicalBytes = 256;
const latencyRate = 10_000;
const webhookRate = 2_000;
const webhookOutstandingMax = 2_000;
/** An endpoint that was not there for long is tried once a minute. */
const firstMsMax = 75_000;
const silenceMsMax = 10_000;
const durableRate = 2_000;
const backlogPublishers = 50;
const everyEvent = "bench/#";
const isolationRate = 100;
const isolatedReceivers = 8;
const isolatedPaths = Array.from({ length: isolatedReceivers }, (_, i) => `${i}`);
const eventsPerRequest = [
  { variant: "one a request", batchEvents: undefined, outstandingMax: webhookOutstandingMax },
  { variant: "100 a request", batchEvents: 100, outstandingMax: 10 * webhookOutstandingMax },
];
const durableEvents: readonly FigureName[] = [
  "eventsPerSecond",
  "brokerMicrosPerMessage",
  "eventMicrosP50",
  "eventMicrosP99",
  "ackMicrosP50",
  "ackMicrosP99",
];
const forNobody = [
  { shape: "fan-in", publishers: 50, subscribers: 1 },
  { shape: "fan-out", publishers: 1, subscribers: 1_000 },
  { shape: "pairs", publishers: 100, subscribers: 100 },
] as const;

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
    name: "webhook-isolation",
    says: `10 pairs at ${isolationRate} messages a second (QoS 1): without endpoints, with ${isolatedReceivers} that answer, with a black hole and one of ten seconds beside them`,
    peers: oursWithAndWithoutDisk,
    runs: 5,
    cells: (settings) =>
      typicalEvent(settings).flatMap((cell) =>
        isolation.map(({ variant, paths, figures }) => ({
          ...cell,
          variant,
          figures,
          job: flow(settings, cell, { shape: "pairs", publishers: 10, subscribers: 10, batch: 1, rate: isolationRate }),
          webhook: {
            topicFilter: paths.length === 0 ? "elsewhere/#" : everyEvent,
            paths: paths.length === 0 ? undefined : paths,
            sink: { answers: "by-path" as const, receivers: isolatedReceivers, expectsAll: paths.length > 0 },
          },
        })),
      ),
  },
  {
    name: "durable-fan-in",
    says: "fan-in (QoS 1), each message owed to a session that outlives its connection",
    peers: withAndWithoutDisk,
    cells: (settings) => durable(settings, { shape: "fan-in", publishers: 50, subscribers: 1 }),
  },
  {
    name: "durable-pairs",
    says: "50 publishers (QoS 1), each with a subscriber of its own whose session outlives its connection",
    peers: withAndWithoutDisk,
    cells: (settings) => durable(settings, { shape: "pairs", publishers: 50, subscribers: 50 }),
  },
  {
    name: "durable-away",
    says: "50 publishers to one session whose client is away, and then comes back for its messages",
    peers: withAndWithoutDisk,
    cells: (settings) =>
      typical(settings, settings.qos.filter(isOwed)).map(({ qos, payloadBytes }) => ({
        qos,
        payloadBytes,
        variant: `${settings.awayMessages}`,
        figures: ["acknowledgedPerSecond", "brokerMicrosPerMessage", "drainedPerSecond"],
        job: backlog({ shape: "fan-in", subscribers: 1, qos, payloadBytes, messages: settings.awayMessages }),
      })),
  },
  {
    name: "durable-webhook",
    says: "the webhook scenario with nothing acknowledged before its event is on the disk: signed requests, one event or up to 100 in each",
    peers: [...oursWithAndWithoutDisk, "post-loop"],
    cells: (settings) =>
      typicalEvent(settings).flatMap((cell) =>
        eventsPerRequest.map(({ variant, batchEvents, outstandingMax }) => ({
          ...cell,
          variant,
          figures: durableEvents,
          // One request an event is all it does.
          peers: batchEvents === undefined ? undefined : oursWithAndWithoutDisk,
          job: { ...flow(settings, cell, { shape: "to-webhook", publishers: 50, subscribers: 0 }), outstandingMax },
          webhook: {
            topicFilter: everyEvent,
            batchEvents,
            signed: true,
            // All that is owed at a time, also where it is kept in memory.
            queueBytesMax: outstandingMax * 2 * 1024,
            sink: { answers: "ok" as const, expectsAll: true },
          },
        })),
      ),
  },
  {
    name: "durable-latency",
    says: `10 pairs at ${durableRate} messages a second (QoS 1): what it adds to PUBACK that each is owed to a session, or to an endpoint`,
    peers: withAndWithoutDisk,
    cells: (settings) =>
      typicalEvent(settings).flatMap((cell) => {
        const load = { shape: "pairs", publishers: 10, subscribers: 10, batch: 1, rate: durableRate } as const;
        return [
          {
            ...cell,
            variant: "lasting sessions",
            figures: mqttLatency,
            addedTo: "hookmq" as const,
            job: flow(settings, cell, { ...load, persistent: true }),
          },
          {
            ...cell,
            variant: "strict endpoint",
            figures: mqttLatency,
            peers: oursWithAndWithoutDisk,
            addedTo: "hookmq" as const,
            job: flow(settings, cell, load),
            webhook: { topicFilter: everyEvent, sink: { answers: "ok" as const, expectsAll: true } },
          },
        ];
      }),
  },
  {
    name: "disk-for-nobody",
    says: "fan-in, fan-out and pairs with the disk there and nothing to keep: HookMQ on disk beside itself in memory",
    peers: oursWithAndWithoutDisk,
    runs: 7,
    cells: (settings) =>
      typical(
        settings,
        settings.qos.filter((qos) => qos < 2),
      ).flatMap((cell) =>
        forNobody.map((load) => ({
          ...cell,
          variant: load.shape,
          figures: [...throughput, "brokerMicrosPerMessage"] as const,
          job: flow(settings, cell, load),
        })),
      ),
  },
  {
    name: "backlog",
    says: "events for an endpoint that refuses connections, and messages for 50 sessions, left behind by kill -9: filled, found again, drained",
    peers: ["hookmq-disk"],
    onRequest: true,
    cells: (settings) => [
      ...typicalEvent(settings).map(({ payloadBytes }) => ({
        qos: 1 as const,
        payloadBytes,
        variant: `${settings.backlogEvents} events`,
        figures: ofBacklog,
        job: backlog({
          shape: "to-webhook",
          subscribers: 0,
          qos: 1,
          payloadBytes,
          messages: settings.backlogEvents,
          crash: true,
        }),
      })),
      ...typical(settings, [1]).map(({ payloadBytes }) => ({
        qos: 1 as const,
        payloadBytes,
        variant: `${settings.queuedMessages} messages`,
        figures: ofBacklog,
        job: backlog({
          shape: "pairs",
          subscribers: backlogPublishers,
          qos: 1,
          payloadBytes,
          messages: settings.queuedMessages,
          crash: true,
        }),
      })),
    ],
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

/** What a scenario names it is about; one that is run on request has them whatever else was asked for. */
export function peersFor({ peers, onRequest }: Scenario, asked: readonly PeerName[] | undefined): readonly PeerName[] {
  if (asked === undefined || (onRequest && peers !== undefined)) return peers ?? peersByDefault;
  return asked.filter((peer) => peers?.includes(peer) ?? true);
}

const throughput: readonly FigureName[] = ["messagesPerSecond"];
const ofBacklog: readonly FigureName[] = [
  "acknowledgedPerSecond",
  "residentMibBefore",
  "residentMibGrown",
  "startMillis",
  "restartMillis",
  "firstDeliveryMillis",
  "drainedPerSecond",
  "residentMibDraining",
];
const mqttLatency: readonly FigureName[] = ["ackMicrosP50", "ackMicrosP99", "latencyMicrosP50", "latencyMicrosP99"];

const isolation: readonly { variant: string; paths: readonly string[]; figures: readonly FigureName[] }[] = [
  { variant: "no endpoint", paths: [], figures: mqttLatency },
  {
    variant: `${isolatedReceivers} answer`,
    paths: isolatedPaths,
    figures: [...mqttLatency, "eventMicrosP50", "eventMicrosP99"],
  },
  {
    variant: `${isolatedReceivers} answer, 2 do not`,
    paths: [...isolatedPaths, "never", "slow"],
    figures: [...mqttLatency, "eventMicrosP50", "eventMicrosP99"],
  },
];

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

interface QosAndPayload<Level extends Qos = Qos> {
  qos: Level;
  payloadBytes: number;
}

interface Load {
  shape: FlowJob["shape"];
  publishers: number;
  subscribers: number;
  persistent?: true;
  batch?: number;
  rate?: number;
}

function grid(settings: Settings, load: Load): (Cell & { job: Unaddressed<FlowJob> })[] {
  return settings.payloadBytes
    .flatMap((payloadBytes) => settings.qos.map((qos) => ({ qos, payloadBytes })))
    .map((cell) => ({ ...cell, figures: throughput, job: flow(settings, cell, load) }));
}

/** One payload is enough where its size says little: 256 bytes, or the largest asked for. */
function typical<Level extends Qos>({ payloadBytes: asked }: Settings, qos: readonly Level[]): QosAndPayload<Level>[] {
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

/** QoS 0 is owed to nobody who is not there. */
function isOwed(qos: Qos): qos is 1 | 2 {
  return qos !== 0;
}

/** Each message owed to sessions that outlive their connections. */
function durable(settings: Settings, load: Load): Cell[] {
  return typical(settings, [1]).map((cell) => ({
    ...cell,
    figures: [...throughput, "brokerMicrosPerMessage"] as const,
    job: flow(settings, cell, { ...load, persistent: true }),
  }));
}

function backlog(
  of: Pick<BacklogPlan, "shape" | "subscribers" | "qos" | "payloadBytes" | "messages"> & { crash?: true },
): BacklogPlan {
  const { crash = false, ...load } = of;
  const warmupMessages = Math.floor(load.messages / 5);
  return {
    kind: "backlog",
    publishers: backlogPublishers,
    batch,
    window,
    warmupMessages,
    crash,
    firstMsMax,
    silenceMsMax,
    ...load,
  };
}

function flow(settings: Settings, { qos, payloadBytes }: QosAndPayload, load: Load): Unaddressed<FlowJob> {
  const { seconds, warmupSeconds } = settings;
  return { kind: "flow", qos, payloadBytes, batch, window, outstandingMax, seconds, warmupSeconds, ...load };
}
