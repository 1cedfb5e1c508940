/**
 * Where the parts meet: builds a broker from its settings, opens its doors, and takes it down again.
 *
 * The front thread has the sockets and the broker; the back thread has the store and sends the webhooks.
 */
import { statSync } from "node:fs";
import { openAccess } from "./access/access.ts";
import { BackLink } from "./back-link.ts";
import type { Logger } from "./base/log.ts";
import { systemClock } from "./base/clock.ts";
import { Broker } from "./broker/broker.ts";
import type { Settings } from "./config/settings.ts";
import { dataFileOf, StoreUnusable } from "./store/data-folder.ts";
import type { StoreOptions } from "./store/options.ts";
import { type Listening, TcpListener } from "./transport/tcp.ts";
import type { EndpointFigures } from "./webhook/endpoint.ts";
import type { WebhookOptions } from "./webhook/options.ts";
import { Outbox } from "./webhook/outbox.ts";

/** Within a stop, after which what is left is cut off: together below the five seconds an operator is promised. */
const closeGraceMs = 1500;
const deliverGraceMs = 2500;

export interface RunningServer {
  readonly listeners: readonly Listening[];
  /** Takes over what can change while running; returns the sections that need a restart to take effect. */
  reload(settings: Settings): string[];
  /** Resolves when every client has been told, what could still be delivered is, and nothing is left open. */
  stop(): Promise<void>;
  health(): Promise<Health>;
  /** Throws StoreUnusable, as `backup` does, where nothing is kept on disk. */
  checkStore(): Promise<StoreCheck>;
  /** A consistent copy of the store as of its end. `file` is an absolute path, and must not exist yet. */
  backup(file: string, onProgress: (bytes: { done: number; total: number }) => void): Promise<BackupReport>;
}

export interface Health {
  status: "ok" | "degraded";
  /** Why it is degraded, in words. */
  reasons: string[];
  pid: number;
  version: string;
  store: { engine: StoreOptions["engine"]; directory?: string; trouble?: string };
  endpoints: EndpointFigures[];
}

export interface StoreCheck {
  directory: string;
  /** Of the data file. */
  bytes: number;
  faults: string[];
  deliveries: { endpoint: string; deliveries: number; deadLetters: number }[];
}

export interface BackupReport {
  file: string;
  bytes: number;
  seconds: number;
}

export interface ServerParts {
  settings: Settings;
  log: Logger;
  /** What the back thread runs; another one for tests. */
  backFile?: URL;
}

/** Throws ListenFailed when an address cannot be listened on; nothing is left running then. */
export async function startServer({ settings, log, backFile }: ServerParts): Promise<RunningServer> {
  const back = new BackLink({
    store: settings.store,
    webhook: settings.webhook,
    version: settings.broker.version,
    log,
    file: backFile,
  });
  const broker = new Broker({
    options: settings.broker,
    clock: systemClock,
    log,
    store: back,
    access: openAccess,
    taps: [new Outbox({ options: settings.webhook, clock: systemClock, random: Math.random })],
    defer: (act) => setImmediate(act),
  });
  const listeners: TcpListener[] = [];
  const stop = async () => {
    for (const listener of listeners) listener.stopAccepting();
    await broker.stop();
    const closed = listeners.map((listener) => listener.close(closeGraceMs));
    await Promise.all([...closed, back.stopDeliveries(deliverGraceMs)]);
    await sayWhatIsLost(settings.webhook, back, log);
    await back.close();
  };
  try {
    await broker.start();
    for (const options of settings.listeners.tcp) {
      listeners.push(await TcpListener.open(options, (wire) => broker.accept(wire)));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  let current = settings;
  return {
    listeners: listeners.map(({ listening }) => listening),
    reload(next) {
      const needRestart = sectionsThatNeedRestart(current, next);
      broker.options = {
        ...next.broker,
        nodeName: current.broker.nodeName,
        sysIntervalSeconds: current.broker.sysIntervalSeconds,
      };
      current = { ...current, broker: broker.options };
      return needRestart;
    },
    stop,
    health: () => healthOf(settings, back),
    async checkStore() {
      const directory = directoryOf(settings.store);
      const faults = await back.checkStore();
      const figures = await back.figures();
      const deliveries = figures.map(({ endpoint, queued, inflight, deadLetters }) => ({
        endpoint,
        deliveries: queued + inflight,
        deadLetters,
      }));
      return { directory, bytes: bytesOf(dataFileOf(directory)), faults, deliveries };
    },
    async backup(file, onProgress) {
      const original = dataFileOf(directoryOf(settings.store));
      const since = performance.now();
      const watch = setInterval(() => onProgress({ done: bytesOf(file), total: bytesOf(original) }), backupProgressMs);
      try {
        await back.backup(file);
      } finally {
        clearInterval(watch);
      }
      return { file, bytes: bytesOf(file), seconds: (performance.now() - since) / 1000 };
    },
  };
}

const backupProgressMs = 500;

async function healthOf({ store, broker }: Settings, back: BackLink): Promise<Health> {
  const endpoints = await back.figures();
  const { trouble } = back;
  const reasons = endpoints
    .filter(({ breaker }) => breaker !== "closed")
    .map(({ endpoint, queued }) => `webhook endpoint ${endpoint} does not take deliveries, ${queued} wait`);
  if (trouble !== undefined) reasons.unshift(`the store cannot write: ${trouble}`);
  const directory = store.engine === "disk" ? store.directory : undefined;
  return {
    status: reasons.length === 0 ? "ok" : "degraded",
    reasons,
    pid: process.pid,
    version: broker.version,
    store: { engine: store.engine, directory, trouble },
    endpoints,
  };
}

function directoryOf(store: StoreOptions): string {
  if (store.engine === "disk") return store.directory;
  throw new StoreUnusable("absent", "", "this broker keeps nothing on disk (store.engine = memory)");
}

function bytesOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** What is in memory only ends with the process. */
async function sayWhatIsLost({ endpoints }: WebhookOptions, back: BackLink, log: Logger): Promise<void> {
  const forgetful = new Set(endpoints.filter(({ durability }) => durability === "memory").map(({ name }) => name));
  for (const { endpoint, queued, inflight } of await back.figures()) {
    const deliveries = queued + inflight;
    if (deliveries > 0 && forgetful.has(endpoint))
      log.warn("webhook deliveries not made before the stop are lost", { endpoint, deliveries });
  }
}

function sectionsThatNeedRestart(current: Settings, next: Settings): string[] {
  const sections: [name: string, current: unknown, next: unknown][] = [
    ["listeners", current.listeners, next.listeners],
    ["webhook", current.webhook, next.webhook],
    ["store", current.store, next.store],
    ["log", current.log, next.log],
    ["system", current.system, next.system],
    ["mqtt.sys_interval", current.broker.sysIntervalSeconds, next.broker.sysIntervalSeconds],
  ];
  return sections.filter(([, before, after]) => JSON.stringify(before) !== JSON.stringify(after)).map(([name]) => name);
}
