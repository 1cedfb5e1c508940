/** `hookmq webhook list`, `show`, `pause`, `resume` and `test`: the endpoints themselves. */
import type { AttemptReport, EndpointReport } from "../webhook/operations.ts";
import { bytesInWords, durationInWords, inWords, tableLines } from "./table.ts";
import { type ExitCode, printable, type Terminal } from "./terminal.ts";
import {
  CannotBeDone,
  type WebhookEngine,
  type WebhookFlags,
  type WebhookParts,
  withEngine,
} from "./webhook-engine.ts";
import { ahead, cell, forPrograms } from "./webhook-report.ts";

const optional = ["nextAttemptAt", "oldestAgeMs", "successRate", "requestMsP50", "requestMsP95"] as const;

const conditionWords: Readonly<Record<EndpointReport["condition"], string>> = {
  delivering: "delivering",
  held: "held by its Retry-After",
  unreachable: "does not take deliveries, is probed",
  auth_failed: "refuses our credentials, is probed",
  gone: "says 410 Gone, is probed",
  paused: "paused by an operator",
  disabled: "switched off (enable = false)",
  parked: "not configured any more",
};

export function webhookList(flags: WebhookFlags, parts: WebhookParts): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal } = parts;
    const endpoints = await engine.ask({ what: "endpoints" });
    if (flags.json) {
      for (const report of endpoints) terminal.print(JSON.stringify(forPrograms(report, optional)));
      return 0;
    }
    if (endpoints.length === 0) {
      terminal.print("No webhook endpoint is configured.");
      return 0;
    }
    const head = ["endpoint", "condition", "queued", "waiting", "oldest", "delivered", "dead letters", "url"];
    const rows = endpoints.map((report) => [
      report.endpoint,
      report.condition,
      report.queued + report.inflight,
      bytesInWords(report.bytes),
      report.oldestAgeMs === undefined ? "" : durationInWords(report.oldestAgeMs),
      report.delivered,
      report.deadLetters,
      cell(report.url),
    ]);
    for (const line of tableLines(head, rows)) terminal.print(line);
    return 0;
  });
}

export function webhookShow(name: string, flags: WebhookFlags, parts: WebhookParts): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    show(await endpointReport(engine, name), flags, parts.terminal);
    return 0;
  });
}

export function webhookPause(name: string, flags: WebhookFlags, parts: WebhookParts): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const report = await engine.ask({ what: "pause", endpoint: name });
    if (flags.json) parts.terminal.print(JSON.stringify(forPrograms(report, optional)));
    else
      parts.terminal.print(
        `${name} is paused, over restarts too; what comes is queued. It goes on with: hookmq webhook resume ${name}`,
      );
    return 0;
  });
}

export function webhookResume(name: string, flags: WebhookFlags, parts: WebhookParts): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const report = await engine.ask({ what: "resume", endpoint: name });
    if (flags.json) parts.terminal.print(JSON.stringify(forPrograms(report, optional)));
    else parts.terminal.print(`${name}: ${conditionWords[report.condition]}, ${inWords(report.queued)} queued`);
    return 0;
  });
}

/** Exit code 1 when the endpoint did not take it. */
export function webhookTest(
  name: string,
  flags: WebhookFlags & { event: string },
  parts: WebhookParts,
): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal } = parts;
    const attempt = await engine.ask({ what: "test", endpoint: name, event: flags.event });
    const isTaken = attempt.outcome === "accepted";
    if (flags.json) terminal.print(JSON.stringify(forPrograms(attempt, ["status"])));
    else {
      terminal.print(
        `${name}: ${whatCame(attempt)} after ${durationInWords(attempt.durationMs)}, ${attempt.deliveryId}`,
      );
      if (attempt.excerpt !== "") terminal.print(printable(attempt.excerpt));
    }
    return isTaken ? 0 : 1;
  });
}

function whatCame({ outcome, status, reason }: AttemptReport): string {
  if (status !== undefined) return `answered ${status}`;
  // Ours to refuse, before there was a connection.
  return outcome === "rejected" ? `no request was made (${reason})` : `no answer (${reason})`;
}

/** Throws CannotBeDone when there is none of this name. */
export async function endpointReport(engine: WebhookEngine, name: string): Promise<EndpointReport> {
  const endpoints = await engine.ask({ what: "endpoints" });
  const found = endpoints.find(({ endpoint }) => endpoint === name);
  if (found !== undefined) return found;
  // Whoever asks for its queue is told the same.
  await engine.ask({ what: "queue", endpoint: name, after: 0, countMax: 1 });
  throw new CannotBeDone(`There is no webhook endpoint ${JSON.stringify(name)} any more.`);
}

function show(report: EndpointReport, { json }: WebhookFlags, terminal: Terminal): void {
  if (json) return terminal.print(JSON.stringify(forPrograms(report, optional)));
  const now = Date.now();
  const { oldestAgeMs, successRate, requestMsP50, requestMsP95, droppedBy } = report;
  const next = ahead(report.nextAttemptAt, now);
  const oldest = oldestAgeMs === undefined ? "" : `, the oldest for ${durationInWords(oldestAgeMs)}`;
  const drops = Object.entries(droppedBy).filter(([, count]) => count > 0);
  const dropped =
    drops.length === 0 ? "" : ` (since the start ${drops.map(([by, n]) => `${by} ${inWords(n)}`).join(", ")})`;
  const facts: [string, string][] = [
    ["url", printable(report.url)],
    ["condition", `${conditionWords[report.condition]}${next === "" ? "" : `; next attempt ${next}`}`],
    ["queued", `${inWords(report.queued)}${oldest}`],
    ["in flight", inWords(report.inflight)],
    ["waiting", bytesInWords(report.bytes)],
    ["accepted", inWords(report.accepted)],
    ["delivered", inWords(report.delivered)],
    ["dead", `${inWords(report.dead)}, of which ${inWords(report.deadLetters)} are kept as dead letters`],
    ["dropped", `${inWords(report.dropped)}${dropped}`],
    ["expired", inWords(report.expired)],
    ["attempts", `${inWords(report.attempts)} since the start`],
  ];
  if (successRate !== undefined) facts.push(["success", `${Math.round(successRate * 100)} % of the last attempts`]);
  if (requestMsP50 !== undefined && requestMsP95 !== undefined) {
    facts.push([
      "request",
      `${durationInWords(requestMsP50)} for half of them, ${durationInWords(requestMsP95)} for 95 %`,
    ]);
  }
  terminal.print(report.endpoint);
  for (const [name, value] of facts) terminal.print(`  ${name.padEnd(9)}  ${value}`.trimEnd());
}
