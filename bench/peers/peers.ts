/**
 * The brokers that are compared, each as it is best started: one listener on the loopback, everyone welcome, errors
 * logged only, queues long enough to lose nothing of the load (for HookMQ and mosquitto; aedes has no such bounds).
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
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

export interface PeerStart {
  port: number;
  folder: string;
  /** HookMQ only: where events go, and which messages are events. */
  webhook?: { url: string; topicFilter: string };
}

export const peerNames = ["hookmq", "mosquitto", "aedes", "echo"] as const;
export type PeerName = (typeof peerNames)[number];

const inflightMessagesMax = 1000;
const queuedMessagesMax = 1_000_000;

const hookmq: Peer = {
  name: "hookmq",
  missing: () => (existsSync(inRoot("bin/hookmq.cjs")) ? undefined : "bin/hookmq.cjs is not there"),
  version: () => packageVersion(inRoot("package.json")),
  command({ port, folder, webhook }) {
    const events = webhook && `events = [ { event = "on_message_publish", topic = "${webhook.topicFilter}" } ]`;
    const conf = writeConf(folder, [
      `system.pid_file = "${join(folder, "broker.pid")}"`,
      `listeners.tcp { bind = "127.0.0.1:${port}" }`,
      `mqtt { max_mqueue_len = ${queuedMessagesMax}, max_inflight_window = ${inflightMessagesMax} }`,
      "log { to = [console], level = error }",
      ...(webhook ? [`webhook {\n  url = "${webhook.url}"\n  ${events}\n}`] : []),
    ]);
    return [process.execPath, inRoot("bin/hookmq.cjs"), "start", "--conf", conf];
  },
};

const mosquittoProgram = "mosquitto";

const mosquitto: Peer = {
  name: "mosquitto",
  missing() {
    // Debian puts it where only administrators look.
    process.env.PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
    const found = spawnSync(mosquittoProgram, ["-h"]).error === undefined;
    return found ? undefined : "not on the PATH; on Debian: apt-get install mosquitto";
  },
  version: () =>
    /version (\S+)/.exec(spawnSync(mosquittoProgram, ["-h"], { encoding: "utf8" }).stdout)?.[1] ?? "unknown",
  command({ port, folder }) {
    const conf = writeConf(folder, [
      `listener ${port} 127.0.0.1`,
      "allow_anonymous true",
      "persistence false",
      "max_queued_messages 0",
      `max_inflight_messages ${inflightMessagesMax}`,
      "log_type error",
    ]);
    return [mosquittoProgram, "-c", conf];
  },
};

const aedes: Peer = {
  name: "aedes",
  missing: () => (existsSync(inRoot("node_modules/aedes")) ? undefined : "not installed; npm ci brings it"),
  version: () => packageVersion(inRoot("node_modules/aedes/package.json")),
  command: ({ port }) => [process.execPath, fileURLToPath(new URL("aedes.ts", import.meta.url)), String(port)],
};

/** No broker at all: what the generator itself can carry. */
const echo: Peer = {
  name: "echo",
  missing: () => undefined,
  version: () => process.version,
  command: ({ port }) => [process.execPath, fileURLToPath(new URL("echo.ts", import.meta.url)), String(port)],
};

export const peers: Record<PeerName, Peer> = { hookmq, mosquitto, aedes, echo };

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
