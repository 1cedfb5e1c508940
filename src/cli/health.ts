/** `hookmq health`: is the running broker well? For people, and for what watches over it. */
import type { Health } from "../server.ts";
import { type FileFlags, type Place, pidFileFor } from "./broker-flags.ts";
import { askBroker, controlPathOf } from "./control.ts";
import { runningBroker } from "./pid-file.ts";
import { noneRunning } from "./stop.ts";
import { bytesInWords, tableLines } from "./table.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

const degraded = 1;
const noAnswer = 2;

export async function health(flags: FileFlags & { json?: true }, place: Place, terminal: Terminal): Promise<ExitCode> {
  const pidFile = pidFileFor(flags, place);
  const pid = runningBroker(pidFile);
  let found: Health | string = noneRunning;
  if (pid !== undefined) found = await ask(controlPathOf(pidFile), pid);
  if (typeof found === "string") {
    if (flags.json) terminal.print(JSON.stringify({ status: "unreachable", reasons: [found] }));
    else terminal.complain(found);
    return noAnswer;
  }
  if (flags.json) terminal.print(JSON.stringify(found));
  else printHealth(found, terminal);
  return found.status === "ok" ? 0 : degraded;
}

async function ask(socket: string, pid: number): Promise<Health | string> {
  try {
    const { body, lines } = await askBroker(socket, { command: "health" });
    return body ?? `HookMQ (process ${pid}) cannot tell: ${lines.join("; ")}`;
  } catch (error) {
    return `HookMQ (process ${pid}) does not answer on ${socket}: ${(error as Error).message}`;
  }
}

function printHealth({ status, reasons, pid, version, store, endpoints }: Health, terminal: Terminal): void {
  terminal.print(status === "ok" ? "ok" : `degraded: ${reasons.join("; ")}`);
  terminal.print(`  broker    ${version}, process ${pid}`);
  terminal.print(`  store     ${[store.engine, store.directory].filter((part) => part !== undefined).join(", ")}`);
  if (endpoints.length === 0) return;
  const rows = endpoints.map((figures) => [
    figures.endpoint,
    figures.condition ?? figures.breaker,
    figures.queued,
    figures.inflight,
    bytesInWords(figures.bytes),
    figures.delivered,
    figures.dead,
    figures.deadLetters,
    figures.dropped,
    figures.expired,
  ]);
  const head = [
    "endpoint",
    "condition",
    "queued",
    "in flight",
    "waiting",
    "delivered",
    "dead",
    "dead letters",
    "dropped",
    "expired",
  ];
  for (const line of tableLines(head, rows)) terminal.print(line);
}
