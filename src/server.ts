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
import { maskedUrl } from "./config/secrets.ts";
import type { Settings } from "./config/settings.ts";
import { complaintOf, type EndpointHealth } from "./endpoint-health.ts";
import { metricFamilies } from "./metrics.ts";
import { dataFileOf, StoreUnusable } from "./store/data-folder.ts";
import type { StoreOptions } from "./store/options.ts";
import { type Listening, TcpListener } from "./transport/tcp.ts";
import type { EndpointFigures } from "./webhook/endpoint.ts";
import { type EndpointChanges, endpointChanges } from "./webhook/endpoint-changes.ts";
import {
  type AttemptReport,
  type EndpointReport,
  isRefusal,
  type Operation,
  type OperationAnswer,
} from "./webhook/operations.ts";
import type { EndpointOptions } from "./webhook/options.ts";
import { Outbox } from "./webhook/outbox.ts";

/** Within a stop, after which what is left is cut off: together below the five seconds an operator is promised. */
const closeGraceMs = 1500;
const deliverGraceMs = 2500;

export interface RunningServer {
  readonly listeners: readonly Listening[];
  /** Takes over what can change while running. Throws when the webhooks cannot be as wanted; then nothing has changed. */
  reload(settings: Settings): Promise<ReloadReport>;
  /** Resolves when every client has been told, what could still be delivered is, and nothing is left open. */
  stop(): Promise<void>;
  health(): Promise<Health>;
  /** Throws StoreUnusable, as `backup` does, where nothing is kept on disk. */
  checkStore(): Promise<StoreCheck>;
  /** A consistent copy of the store as of its end. `file` is an absolute path, and must not exist yet. */
  backup(file: string, onProgress: (bytes: { done: number; total: number }) => void): Promise<BackupReport>;
  /** What an operator asks of the webhooks. */
  webhook<Asked extends Operation>(operation: Asked): Promise<OperationAnswer<Asked["what"]>>;
  /** In the text form that Prometheus reads. */
  metrics(): Promise<string>;
}

export interface ReloadReport {
  /** Sections that need a restart to take effect. */
  needRestart: string[];
  endpoints: EndpointChanges;
  /** Deliveries that wait for each that is parked. */
  waiting: ReadonlyMap<string, number>;
}

export interface Health {
  status: "ok" | "degraded";
  /** Why it is degraded, in words. */
  reasons: string[];
  pid: number;
  version: string;
  store: { engine: StoreOptions["engine"]; directory?: string; trouble?: string };
  endpoints: EndpointHealth[];
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
  const outbox = new Outbox({ options: settings.webhook, clock: systemClock, random: Math.random });
  const broker = new Broker({
    options: settings.broker,
    clock: systemClock,
    log,
    store: back,
    access: openAccess,
    taps: [outbox],
    defer: (act) => setImmediate(act),
  });
  const listeners: TcpListener[] = [];
  let current = settings;
  const stop = async () => {
    for (const listener of listeners) listener.stopAccepting();
    await broker.stop();
    const closed = listeners.map((listener) => listener.close(closeGraceMs));
    await Promise.all([...closed, back.stopDeliveries(deliverGraceMs)]);
    await sayWhatIsLost(current, back, log);
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
  /**
   * The back first: it may refuse, and then nothing has changed; and an endpoint is known there before it is owed anything.
   * What the old rules still owe meanwhile, and what is on its way to a commit, is owed to endpoints that the back goes on
   * knowing: those that are no longer configured are parked with their queue. Then the rules change in one step, so
   * every event is judged by the old ones or by the new.
   */
  const reload = async (next: Settings): Promise<ReloadReport> => {
    const needRestart = sectionsThatNeedRestart(current, next);
    const endpoints = endpointChanges(current.webhook, next.webhook);
    const isOther = Object.values(endpoints).some((names) => names.length > 0);
    if (isOther) await back.reconfigure(next.webhook);
    // The order of endpoints may be another in any case.
    outbox.reconfigure(next.webhook);
    broker.rulesChanged();
    broker.options = {
      ...next.broker,
      nodeName: current.broker.nodeName,
      sysIntervalSeconds: current.broker.sysIntervalSeconds,
    };
    current = { ...current, broker: broker.options, webhook: next.webhook };
    const figures = endpoints.parked.length === 0 ? [] : await back.figures();
    return { needRestart, endpoints, waiting: waitingFor(endpoints.parked, figures) };
  };
  let reloaded: Promise<unknown> = Promise.resolve();
  return {
    listeners: listeners.map(({ listening }) => listening),
    reload(next) {
      // One after the other: each builds on what the one before has left.
      const report = reloaded.then(() => reload(next));
      reloaded = report.catch(() => {});
      return report;
    },
    stop,
    health: () => healthOf(settings, back),
    webhook: async (operation) => withoutSecrets(await back.operate(operation)),
    async metrics() {
      // Loaded by the first who asks: a start has no use for it.
      const { renderMetrics } = await import("./base/metrics.ts");
      return renderMetrics(metricFamilies(await back.metrics()));
    },
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
  const reports = withoutSecrets(await back.operate({ what: "endpoints" }));
  const endpoints: EndpointHealth[] = isRefusal(reports) ? await back.figures() : reports;
  const { trouble } = back;
  const reasons = endpoints.map(complaintOf).filter((complaint) => complaint !== undefined);
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

/** An endpoint's URL may have a password in it, or a token. Nobody is shown those. */
function withoutSecrets<Answer extends OperationAnswer<Operation["what"]>>(answer: Answer): Answer {
  if (Array.isArray(answer)) {
    return answer.map((item: EndpointReport | AttemptReport) => masked(item)) as typeof answer;
  }
  return masked(answer);
}

function masked<Report extends object>(report: Report): Report {
  if (!("url" in report) || typeof report.url !== "string") return report;
  return { ...report, url: maskedUrl(report.url) };
}

function waitingFor(names: readonly string[], figures: readonly EndpointFigures[]): ReadonlyMap<string, number> {
  const parked = figures.filter(({ endpoint }) => names.includes(endpoint));
  return new Map(parked.map(({ endpoint, queued, inflight }) => [endpoint, queued + inflight]));
}

function directoryOf(store: StoreOptions): string {
  if (store.engine === "disk") return store.directory;
  throw new StoreUnusable("absent", "", "this broker keeps nothing on disk (store.engine = memory)");
}

function bytesOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** What is in memory only ends with the process. */
async function sayWhatIsLost({ webhook, store }: Settings, back: BackLink, log: Logger): Promise<void> {
  const isForgetful = ({ durability }: EndpointOptions) => store.engine === "memory" || durability === "memory";
  const forgetful = new Set(webhook.endpoints.filter(isForgetful).map(({ name }) => name));
  for (const { endpoint, queued, inflight } of await back.figures()) {
    const deliveries = queued + inflight;
    if (deliveries > 0 && forgetful.has(endpoint))
      log.warn("webhook deliveries not made before the stop are lost", { endpoint, deliveries });
  }
}

function sectionsThatNeedRestart(current: Settings, next: Settings): string[] {
  const sections: [name: string, current: unknown, next: unknown][] = [
    ["listeners", current.listeners, next.listeners],
    ["store", current.store, next.store],
    ["log", current.log, next.log],
    ["system", current.system, next.system],
    ["mqtt.sys_interval", current.broker.sysIntervalSeconds, next.broker.sysIntervalSeconds],
  ];
  return sections.filter(([, before, after]) => JSON.stringify(before) !== JSON.stringify(after)).map(([name]) => name);
}
