/**
 * The brokers that are compared, each as it is best started: one listener on the loopback, everyone welcome, errors
 * logged only, queues long enough to lose nothing of the load (for HookMQ and mosquitto; aedes has no such bounds). HookMQ
 * and mosquitto are there twice: with everything in memory, and with a disk.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Peer {
  name: PeerName;
  /** Undefined when it can run; else what to do about it. */
  missing(): string | undefined;
  version(): string;
  /** Writes what it needs to read into `folder`, where it will run. */
  command(start: PeerStart): readonly [file: string, ...args: string[]];
}

/** Which messages are events, and how they are sent. */
export interface EventWishes {
  topicFilter: string;
  /** So many events in a request, at most. */
  batchEvents?: number;
  /** Every request has a signature. */
  signed?: boolean;
  /** Without it: as it comes. */
  queueBytesMax?: number;
  /** In place of one endpoint at the URL: one at each of these paths below it. */
  paths?: readonly string[];
}

export interface PeerStart {
  port: number;
  folder: string;
  /** HookMQ only: where events go, which messages are events, and how many bytes of them may wait. */
  webhook?: EventWishes & { url: string };
  /** Waiting times are measured, not how much goes through. */
  forLatency?: boolean;
}

export const peerNames = [
  "hookmq-disk",
  "hookmq",
  "mosquitto",
  "mosquitto-persistent",
  "aedes",
  "post-loop",
  "echo",
] as const;
export type PeerName = (typeof peerNames)[number];

/** HookMQ itself, the one to judge first: in a run of both, the disk's figure is the one that is compared. */
export const ours: readonly PeerName[] = ["hookmq-disk", "hookmq"];
/** Those that keep something on a disk. */
export const onDisk: readonly PeerName[] = ["hookmq-disk", "mosquitto-persistent"];

const inflightMessagesMax = 1000;
const queuedMessagesMax = 1_000_000;
const batchWaitMs = 5;

const hookmq: Peer = hookmqWith("hookmq", {
  store: () => "store.engine = memory",
  durability: "memory",
});

/** Everything that is acknowledged is on the disk itself: a synced commit comes before PUBACK. */
const hookmqDisk: Peer = hookmqWith("hookmq-disk", {
  store: (folder) => `store { engine = disk, dir = "${join(folder, "data")}", sync = commit }`,
  durability: "strict",
});

function hookmqWith(
  name: PeerName,
  { store, durability }: { store: (folder: string) => string; durability: "strict" | "memory" },
): Peer {
  return {
    name,
    missing: () => (existsSync(inRoot("bin/hookmq.cjs")) ? undefined : "bin/hookmq.cjs is not there"),
    version: () => packageVersion(inRoot("package.json")),
    command({ port, folder, webhook }) {
      const conf = writeConf(folder, [
        `system.pid_file = "${join(folder, "broker.pid")}"`,
        `listeners.tcp { bind = "127.0.0.1:${port}" }`,
        `mqtt { max_mqueue_len = ${queuedMessagesMax}, max_inflight_window = ${inflightMessagesMax} }`,
        "log { to = [console], level = error }",
        store(folder),
        ...(webhook ? webhookSection({ ...webhook, durability }) : []),
      ]);
      return [process.execPath, inRoot("bin/hookmq.cjs"), "start", "--conf", conf];
    },
  };
}

function webhookSection(of: NonNullable<PeerStart["webhook"]> & { durability: string }): string[] {
  return [
    "webhook {",
    ...(of.paths === undefined
      ? [`  url = "${of.url}"`]
      : of.paths.map((path) => `  endpoints.at_${path} { url = "${of.url}${path}" }`)),
    `  durability = ${of.durability}`,
    ...(of.batchEvents === undefined
      ? []
      : [`  batch { max_events = ${of.batchEvents}, max_wait = ${batchWaitMs}ms }`]),
    ...(of.signed === true ? [`  secret = "whsec_${Buffer.alloc(24, "bench").toString("base64")}"`] : []),
    ...(of.queueBytesMax === undefined ? [] : [`  queue.max_bytes = ${of.queueBytesMax}`]),
    `  events = [ { event = "on_message_publish", topic = "${of.topicFilter}" } ]`,
    "}",
  ];
}

const mosquittoProgram = "mosquitto";

const mosquitto: Peer = mosquittoWith("mosquitto", () => ["persistence false"]);

/** Its data file is written every half hour and at the end, as it comes; PUBACK does not wait for it. */
const mosquittoPersistent: Peer = mosquittoWith("mosquitto-persistent", (folder) => [
  "persistence true",
  `persistence_location ${folder}/`,
  // Started by root it would become a user of its own, who may not write here.
  `user ${userInfo().username}`,
]);

function mosquittoWith(name: PeerName, persistence: (folder: string) => string[]): Peer {
  return {
    name,
    missing() {
      // Debian puts it where only administrators look.
      process.env.PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
      const found = spawnSync(mosquittoProgram, ["-h"]).error === undefined;
      return found ? undefined : "not on the PATH; on Debian: apt-get install mosquitto";
    },
    version: () =>
      /version (\S+)/.exec(spawnSync(mosquittoProgram, ["-h"], { encoding: "utf8" }).stdout)?.[1] ?? "unknown",
    command({ port, folder, forLatency }) {
      const conf = writeConf(folder, [
        `listener ${port} 127.0.0.1`,
        "allow_anonymous true",
        ...persistence(folder),
        "max_queued_messages 0",
        `max_inflight_messages ${inflightMessagesMax}`,
        // Without it a PUBACK may wait for the next packet of its publisher; with it, throughput suffers.
        `set_tcp_nodelay ${forLatency === true}`,
        "log_type error",
      ]);
      return [mosquittoProgram, "-c", conf];
    },
  };
}

const aedes: Peer = {
  name: "aedes",
  missing: () => (existsSync(inRoot("node_modules/aedes")) ? undefined : "not installed; npm ci brings it"),
  version: () => packageVersion(inRoot("node_modules/aedes/package.json")),
  command: ({ port }) => [process.execPath, fileURLToPath(new URL("aedes.ts", import.meta.url)), String(port)],
};

/** No broker at all: what the HTTP client alone can do. */
const postLoop: Peer = {
  name: "post-loop",
  missing: () => undefined,
  version: () => packageVersion(inRoot("node_modules/undici/package.json")),
  command: ({ port, webhook }) => [
    process.execPath,
    fileURLToPath(new URL("post-loop.ts", import.meta.url)),
    String(port),
    webhook?.url ?? "http://127.0.0.1:9/",
  ],
};

/** No broker at all: what the generator itself can carry. */
const echo: Peer = {
  name: "echo",
  missing: () => undefined,
  version: () => process.version,
  command: ({ port }) => [process.execPath, fileURLToPath(new URL("echo.ts", import.meta.url)), String(port)],
};

export const peers: Record<PeerName, Peer> = {
  "hookmq-disk": hookmqDisk,
  hookmq,
  mosquitto,
  "mosquitto-persistent": mosquittoPersistent,
  aedes,
  "post-loop": postLoop,
  echo,
};

function inRoot(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

function packageVersion(path: string): string {
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}

function writeConf(folder: string, lines: readonly string[]): string {
  const path = join(folder, "broker.conf");
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}
