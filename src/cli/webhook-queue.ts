/** `hookmq webhook queue` and `attempts`: what an endpoint is owed, and how it went so far. */
import type { Page, QueuedReport } from "../webhook/operations.ts";
import { bytesInWords, durationInWords, tableLines } from "./table.ts";
import type { ExitCode } from "./terminal.ts";
import { type WebhookFlags, type WebhookParts, withEngine } from "./webhook-engine.ts";
import { pageCountMax } from "./webhook-operation.ts";
import { ago, ahead, cell, forPrograms } from "./webhook-report.ts";

/** Lines for a person, unless more are asked for. Programs get all. */
export const linesShown = 20;

export interface LimitFlags extends WebhookFlags {
  limit?: number;
}

export function webhookQueue(name: string, flags: LimitFlags, parts: WebhookParts): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal } = parts;
    const page = (after: number, countMax: number) => engine.ask({ what: "queue", endpoint: name, after, countMax });
    if (flags.json) {
      for await (const queued of pages(page, flags.limit)) {
        terminal.print(JSON.stringify(forPrograms(queued, ["dueAt"])));
      }
      return 0;
    }
    const { items, hasMore } = await gather(pages(page, (flags.limit ?? linesShown) + 1), flags.limit ?? linesShown);
    if (items.length === 0) {
      terminal.print(`Nothing waits for ${name}.`);
      return 0;
    }
    const now = Date.now();
    const head = ["delivery", "event", "key", "bytes", "accepted", "next attempt"];
    for (const line of tableLines(
      head,
      items.map((queued) => queueRow(queued, now)),
    ))
      terminal.print(line);
    if (hasMore) terminal.print("  … and more: --limit <count>");
    return 0;
  });
}

export function webhookAttempts(
  name: string,
  flags: LimitFlags & { delivery?: string },
  parts: WebhookParts,
): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal } = parts;
    const countMax = Math.min(flags.limit ?? (flags.json ? pageCountMax : linesShown), pageCountMax);
    const attempts = await engine.ask({ what: "attempts", endpoint: name, deliveryId: flags.delivery, countMax });
    if (flags.json) {
      for (const attempt of attempts) terminal.print(JSON.stringify(forPrograms(attempt, ["status"])));
      return 0;
    }
    if (attempts.length === 0) {
      const of = flags.delivery === undefined ? name : `${flags.delivery} to ${name}`;
      terminal.print(`No attempt of ${of} is remembered.`);
      return 0;
    }
    const now = Date.now();
    const head = ["delivery", "attempt", "when", "status", "outcome", "took", "reason", "answer"];
    const rows = attempts.map(({ deliveryId, attempt, at, status, outcome, durationMs, reason, excerpt }) => [
      deliveryId,
      attempt,
      ago(at, now),
      status === undefined ? "" : `${status}`,
      outcome,
      durationInWords(durationMs),
      reason,
      cell(excerpt),
    ]);
    for (const line of tableLines(head, rows)) terminal.print(line);
    return 0;
  });
}

function queueRow({ deliveryId, event, orderKey, bodyBytes, acceptedAt, dueAt, inflight }: QueuedReport, now: number) {
  const next = inflight ? "under way" : ahead(dueAt, now);
  return [deliveryId, event, cell(orderKey), bytesInWords(bodyBytes), ago(acceptedAt, now), next];
}

/** All that there is, or so much of it, page after page. */
export async function* pages<Item>(
  ask: (after: number, countMax: number) => Promise<Page<Item>>,
  countMax = Number.POSITIVE_INFINITY,
): AsyncGenerator<Item> {
  let left = countMax;
  for (let after: number | undefined = 0; after !== undefined && left > 0; ) {
    const { items, next }: Page<Item> = await ask(after, Math.min(left, pageCountMax));
    yield* items;
    left -= items.length;
    after = next;
  }
}

/** So many of them, and whether that was not all. */
export async function gather<Item>(
  items: AsyncIterable<Item>,
  countMax: number,
): Promise<{ items: Item[]; hasMore: boolean }> {
  const gathered: Item[] = [];
  for await (const item of items) {
    if (gathered.length === countMax) return { items: gathered, hasMore: true };
    gathered.push(item);
  }
  return { items: gathered, hasMore: false };
}
