/**
 * `hookmq start`: the broker in this process, until a signal ends it.
 *
 *   settings ──→ listening ──→ pid file and control socket ──→ running ──SIGTERM, SIGINT──→ stopped
 *
 * Nothing of a broker that runs already is touched: it is looked for first, and what is its stays.
 */
import type { Logger, LogOptions } from "../base/log.ts";
import { renderErrors, renderWarnings } from "../config/check.ts";
import type { LoadResult } from "../config/load.ts";
import type { Settings } from "../config/settings.ts";
import type { ReloadReport, RunningServer } from "../server.ts";
import { StoreUnavailable } from "../store/store.ts";
import { ListenFailed } from "../transport/tcp.ts";
import { type BrokerFlags, loadFor, type Place } from "./broker-flags.ts";
import { controlPathOf, type Handle, listenForControl } from "./control.ts";
import type { ControlAnswer, ControlRequest } from "./control-protocol.ts";
import { isDaemon, startDaemon } from "./daemon.ts";
import { listenFailure } from "./listen-failure.ts";
import { claimPidFile, PidFileRefused, processTitle, refuseSecond } from "./pid-file.ts";
import { LogRefused, ReplaceableLog } from "./replaceable-log.ts";
import { startedReport } from "./started-report.ts";
import { stopRequested, type Signals } from "./stop-signals.ts";
import { inWords } from "./table.ts";
import type { ExitCode, Terminal } from "./terminal.ts";
import { toWire } from "./webhook-operation.ts";

export interface StartParts extends Place {
  terminal: Terminal;
  signals: Signals;
  startServer: (parts: { settings: Settings; log: Logger }) => Promise<RunningServer>;
  /** Told once that the broker is listening: whoever started a daemon waits for it. */
  ready?: () => void;
}

/** What a stop may take; the server's own times are within it. */
const stopMsMax = 5000;

export async function start(flags: BrokerFlags, parts: StartParts): Promise<ExitCode> {
  const { terminal, env } = parts;
  const loaded = loadFor(flags, parts);
  const { settings } = loaded;
  if (settings === undefined) {
    terminal.complain(renderErrors(loaded));
    return 1;
  }
  try {
    refuseSecond(settings.system.pidFile);
    if (settings.system.daemon && !isDaemon(env)) return await startDaemon(settings, terminal);
    for (const warning of renderWarnings(loaded)) terminal.complain(`warning: ${warning}`);
    return await run(loaded, settings, flags, parts);
  } catch (error) {
    const refusal = refusalText(error);
    if (refusal === undefined) throw error;
    terminal.complain(refusal);
    return 1;
  }
}

async function run(loaded: LoadResult, settings: Settings, flags: BrokerFlags, parts: StartParts): Promise<ExitCode> {
  const { terminal, signals } = parts;
  const log = new ReplaceableLog(settings.log);
  // Heard from the first moment on: a stop may be asked for while the start still goes on.
  const stop = stopRequested(signals);
  try {
    const server = await parts.startServer({ settings, log });
    process.title = processTitle;
    const giveBackPidFile = await claimFor(server, settings.system.pidFile);
    const reload = (request?: ReloadRequest) => reloadServer(server, log, flags, request, parts);
    const control = await openControl(settings.system.pidFile, controlOf(server, reload), log);
    const onHangUp = async () => {
      const { succeeded, lines } = await reload();
      if (succeeded) log.info(lines.join("; "));
      else log.error(lines.join("; "));
    };
    signals.on("SIGHUP", onHangUp);
    for (const line of startedReport({ settings, file: loaded.file, listeners: server.listeners, parts })) {
      terminal.print(line);
    }
    parts.ready?.();
    const signal = await stop.requested;
    log.info(`${signal} received: HookMQ stops`);
    signals.off("SIGHUP", onHangUp);
    const inTime = await stopInTime(server, stop.insisted);
    await control?.close();
    giveBackPidFile();
    if (inTime) return 0;
    log.warn("not everything could be closed in time: HookMQ ends all the same");
    return 1;
  } finally {
    stop.forget();
    log.close();
  }
}

/** Without the pid file there is no server either. However the process ends, it gives the file back. */
async function claimFor(server: RunningServer, pidFile: string): Promise<() => void> {
  try {
    const giveBack = claimPidFile(pidFile);
    process.once("exit", giveBack);
    return () => {
      process.off("exit", giveBack);
      giveBack();
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function stopInTime(server: RunningServer, insisted: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), stopMsMax);
  });
  const inTime = await Promise.race([server.stop().then(() => true), overdue, insisted.then(() => false)]);
  clearTimeout(timer);
  return inTime;
}

/** Without it the broker runs as well: SIGHUP still reloads. */
async function openControl(
  pidFile: string,
  handle: Handle,
  log: Logger,
): Promise<{ close(): Promise<void> } | undefined> {
  const path = controlPathOf(pidFile);
  try {
    return await listenForControl(path, handle);
  } catch (error) {
    log.warn("the control socket is not open: reload with SIGHUP only", { path, error });
    return undefined;
  }
}

type ReloadRequest = Extract<ControlRequest, { command: "reload" }>;

/** What commands may ask of this broker. */
function controlOf(server: RunningServer, reload: (request: ReloadRequest) => Promise<ControlAnswer>): Handle {
  return async (request, progress) => {
    try {
      switch (request.command) {
        case "reload":
          return await reload(request);
        case "health":
          return { succeeded: true, lines: [], body: await server.health() };
        case "metrics":
          return { succeeded: true, lines: [], body: await server.metrics() };
        case "store-check":
          return { succeeded: true, lines: [], body: await server.checkStore() };
        case "store-backup":
          return { succeeded: true, lines: [], body: await server.backup(request.file, progress) };
        case "webhook":
          return { succeeded: true, lines: [], body: toWire(await server.webhook(request.operation)) };
        default:
          return request satisfies never;
      }
    } catch (error) {
      return { succeeded: false, lines: [failureText(error)] };
    }
  };
}

function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** Reads the file again, and takes over all of it that can change, or nothing when there are mistakes in it. */
async function reloadServer(
  server: RunningServer,
  log: ReplaceableLog,
  flags: BrokerFlags,
  request: ReloadRequest | undefined,
  place: Place,
): Promise<ControlAnswer> {
  const file = request?.conf === undefined ? {} : { [request.oldConf ? "old_conf" : "conf"]: request.conf };
  const named = request?.conf === undefined ? flags : { ...flags, conf: undefined, old_conf: undefined, ...file };
  const loaded = loadFor(named, place);
  if (loaded.settings === undefined) {
    return { succeeded: false, lines: ["reload failed, nothing was changed:", renderErrors(loaded)] };
  }
  const before = log.options;
  try {
    log.replace(loaded.settings.log);
  } catch (error) {
    return { succeeded: false, lines: [`reload failed, nothing was changed: ${(error as Error).message}`] };
  }
  try {
    const report = await server.reload(loaded.settings);
    // The log's settings are in force already.
    const needRestart = report.needRestart.filter((section) => section !== "log");
    const warnings = renderWarnings(loaded).map((warning) => `warning: ${warning}`);
    const lines = ["reload succeed!", ...warnings, ...endpointLines(report)];
    if (needRestart.length > 0) lines.push(`takes effect after a restart: ${needRestart.join(", ")}`);
    return { succeeded: true, lines };
  } catch (error) {
    giveBackLog(log, before);
    return { succeeded: false, lines: [`reload failed, nothing was changed: ${failureText(error)}`] };
  }
}

/** It could be written to a moment ago; a log that cannot be had back is no reason to say nothing of the failure. */
function giveBackLog(log: ReplaceableLog, before: LogOptions): void {
  try {
    log.replace(before);
  } catch (error) {
    log.error("the former log settings could not be taken up again", { error });
  }
}

/** What became of the webhook endpoints; nothing when all are as they were. */
function endpointLines({ endpoints: { added, changed, parked }, waiting: left }: ReloadReport): string[] {
  const lines: string[] = [];
  if (added.length > 0) lines.push(`webhook endpoints new: ${added.join(", ")}`);
  if (changed.length > 0) lines.push(`webhook endpoints changed, with what they are owed: ${changed.join(", ")}`);
  for (const name of parked) {
    const deliveries = left.get(name) ?? 0;
    let waiting = `${inWords(deliveries)} deliveries wait`;
    if (deliveries < 2) waiting = deliveries === 1 ? "1 delivery waits" : "nothing waits";
    lines.push(`webhook endpoint ${name} is not configured any more, it is parked: ${waiting} for it`);
  }
  return lines;
}

/** What an operator can mend, in words; `undefined`: it is a bug. */
function refusalText(error: unknown): string | undefined {
  if (error instanceof PidFileRefused || error instanceof LogRefused) return error.message;
  if (error instanceof StoreUnavailable && error.cause instanceof Error) return error.cause.message;
  if (!(error instanceof ListenFailed)) return undefined;
  const { name, host, port } = error.listener;
  const remedy = `give this listener another port (listeners.tcp${name === "default" ? "" : `.${name}`}.bind, or --url)`;
  return listenFailure(error.cause, { what: `HookMQ's listener "${name}"`, host, port, remedy });
}
