/** `hookmq webhook dead-letters list`, `show`, `replay`, `delete` and `export`: deliveries that were given up. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { BulkReport, DeadLetterFilter } from "../webhook/operations.ts";
import { progressLines } from "./progress.ts";
import { RecordOutput } from "./record-output.ts";
import { bytesInWords, inWords, tableLines } from "./table.ts";
import { type ExitCode, printable } from "./terminal.ts";
import {
  CannotBeDone,
  type WebhookEngine,
  type WebhookFlags,
  type WebhookParts,
  withEngine,
} from "./webhook-engine.ts";
import { endpointReport } from "./webhook-endpoints.ts";
import { idsPerRequestMax, pageCountMax, type ResultOnWire } from "./webhook-operation.ts";
import { gather, type LimitFlags, linesShown, pages } from "./webhook-queue.ts";
import { ago, cell, forPrograms } from "./webhook-report.ts";

export interface FilterFlags {
  reason?: string;
  event?: string;
  key?: string;
}

type DeadLetterWithBody = Exclude<ResultOnWire<"dead-letter">, { refused: string }>;

export function deadLettersList(name: string, flags: LimitFlags & FilterFlags, parts: WebhookParts): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal } = parts;
    const letters = lettersOf(engine, name, filterOf(flags));
    if (flags.json) {
      let left = flags.limit ?? Number.POSITIVE_INFINITY;
      for await (const letter of letters) {
        if (left-- <= 0) break;
        terminal.print(JSON.stringify(forPrograms(letter)));
      }
      return 0;
    }
    const { items, hasMore } = await gather(letters, flags.limit ?? linesShown);
    if (items.length === 0) {
      terminal.print(
        isEmpty(filterOf(flags)) ? `${name} has no dead letters.` : `No dead letter of ${name} is like that.`,
      );
      return 0;
    }
    const now = Date.now();
    const head = ["delivery", "event", "key", "died", "attempts", "bytes", "reason", "detail"];
    const rows = items.map(({ deliveryId, event, orderKey, diedAt, attempts, bodyBytes, reason, detail }) => [
      deliveryId,
      event,
      cell(orderKey),
      ago(diedAt, now),
      attempts,
      bytesInWords(bodyBytes),
      reason,
      cell(detail),
    ]);
    for (const line of tableLines(head, rows)) terminal.print(line);
    if (hasMore) terminal.print("  … and more: --limit <count>");
    return 0;
  });
}

export function deadLettersShow(
  name: string,
  deliveryId: string,
  flags: WebhookFlags,
  parts: WebhookParts,
): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal } = parts;
    const letter = await engine.ask({ what: "dead-letter", endpoint: name, deliveryId });
    if (flags.json) {
      terminal.print(JSON.stringify(forPrograms(letter)));
      return 0;
    }
    const body = Buffer.from(letter.bodyBase64, "base64");
    for (const [fact, value] of [
      ["delivery", letter.deliveryId],
      ["event", letter.event],
      ["key", cell(letter.orderKey)],
      ["accepted", new Date(letter.acceptedAt).toISOString()],
      ["died", new Date(letter.diedAt).toISOString()],
      ["attempts", inWords(letter.attempts)],
      ["reason", letter.reason],
      ["detail", printable(letter.detail.trimEnd())],
      ["body", bytesInWords(letter.bodyBytes)],
    ]) {
      terminal.print(`  ${fact.padEnd(8)}  ${value}`.trimEnd());
    }
    if (body.length > 0) terminal.print(printable(body.toString("utf8")));
    return 0;
  });
}

export interface ChoiceFlags extends WebhookFlags, FilterFlags {
  all?: true;
}

/** Each becomes a fresh delivery, under the same `webhook-id`. */
export function deadLettersReplay(
  name: string,
  ids: readonly string[],
  flags: ChoiceFlags,
  parts: WebhookParts,
): Promise<ExitCode> {
  return bulk({ what: "replay", did: "replayed" }, name, ids, flags, parts);
}

export function deadLettersDelete(
  name: string,
  ids: readonly string[],
  flags: ChoiceFlags,
  parts: WebhookParts,
): Promise<ExitCode> {
  return bulk({ what: "delete-dead-letters", did: "deleted" }, name, ids, flags, parts);
}

/** `target`: a file that does not exist yet, or `-` for the standard output. */
export function deadLettersExport(
  name: string,
  target: string,
  flags: WebhookFlags & FilterFlags,
  parts: WebhookParts,
): Promise<ExitCode> {
  return withEngine(flags, parts, async (engine) => {
    const { terminal, cwd, stdout } = parts;
    const file = target === "-" ? undefined : path.resolve(cwd, target);
    if (file !== undefined && existsSync(file)) {
      throw new CannotBeDone(`${file} is there already: nothing is ever written over.`);
    }
    // Before there is a file: the name may be none.
    const { deadLetters } = await endpointReport(engine, name);
    const show = terminal.isInteractive && file !== undefined ? progressLines(terminal) : () => {};
    try {
      const output = new RecordOutput(file, stdout);
      for await (const letter of lettersWithBodies(engine, name, filterOf(flags))) {
        const { bodyBase64, ...report } = letter;
        await output.add({ endpoint: name, ...forPrograms(report), body: bodyBase64 });
        show({ done: output.records, total: deadLetters });
      }
      await output.end();
      if (file !== undefined) terminal.print(`${inWords(output.records)} dead letters written to ${file}`);
    } catch (error) {
      if (error instanceof CannotBeDone || !(error instanceof Error) || !("code" in error)) throw error;
      throw new CannotBeDone(`the dead letters cannot be written: ${error.message}`);
    }
    return 0;
  });
}

interface Bulk {
  what: "replay" | "delete-dead-letters";
  did: string;
}

function bulk(
  { what, did }: Bulk,
  name: string,
  ids: readonly string[],
  flags: ChoiceFlags,
  parts: WebhookParts,
): Promise<ExitCode> {
  const { terminal } = parts;
  const isByName = ids.length > 0;
  const filter = filterOf(flags);
  if (isByName === (flags.all === true) || (isByName && !isEmpty(filter))) {
    terminal.complain(
      `Which of them? Name deliveries, as hookmq webhook dead-letters list ${name} shows them; or say --all, ` +
        "with --reason, --event or --key for all that are like that.",
    );
    return Promise.resolve(1);
  }
  return withEngine(flags, parts, async (engine) => {
    const { deadLetters } = await endpointReport(engine, name);
    const show = terminal.isInteractive && !flags.json ? progressLines(terminal) : () => {};
    const wanted = isByName ? groupsOf(ids).map((deliveryIds) => ({ deliveryIds })) : [filter];
    let done = 0;
    for (const part of wanted) {
      // What dies again meanwhile stands behind those there were, and is left for another time.
      let seen = 0;
      for (let after: number | undefined = 0; after !== undefined && seen < deadLetters; ) {
        const go: BulkReport = await engine.ask({ what, endpoint: name, filter: part, after, countMax: pageCountMax });
        done += go.done;
        seen += go.seen;
        after = go.next;
        if (!isByName) show({ done: seen, total: deadLetters });
      }
    }
    const missing = isByName ? new Set(ids).size - done : 0;
    if (flags.json) terminal.print(JSON.stringify({ endpoint: name, [did]: done }));
    else terminal.print(`${inWords(done)} dead ${done === 1 ? "letter" : "letters"} of ${name} ${did}`);
    if (missing <= 0) return 0;
    terminal.complain(
      `${inWords(missing)} of those named ${missing === 1 ? "is no dead letter" : "are no dead letters"} of ${name}.`,
    );
    return 1;
  });
}

function lettersOf(engine: WebhookEngine, name: string, filter: DeadLetterFilter) {
  return pages((after, countMax) => engine.ask({ what: "dead-letters", endpoint: name, filter, after, countMax }));
}

/** Asked for at the same time. */
const bodiesAtOnce = 8;

async function* lettersWithBodies(
  engine: WebhookEngine,
  name: string,
  filter: DeadLetterFilter,
): AsyncGenerator<DeadLetterWithBody> {
  let asked: Promise<DeadLetterWithBody | undefined>[] = [];
  for await (const { deliveryId } of lettersOf(engine, name, filter)) {
    asked.push(letterWithBody(engine, name, deliveryId));
    if (asked.length < bodiesAtOnce) continue;
    for (const letter of await Promise.all(asked)) if (letter !== undefined) yield letter;
    asked = [];
  }
  for (const letter of await Promise.all(asked)) if (letter !== undefined) yield letter;
}

/** `undefined`: it is none any more. */
async function letterWithBody(
  engine: WebhookEngine,
  name: string,
  deliveryId: string,
): Promise<DeadLetterWithBody | undefined> {
  try {
    return await engine.ask({ what: "dead-letter", endpoint: name, deliveryId });
  } catch (error) {
    if (error instanceof CannotBeDone && error.refusal === "no_such_dead_letter") return undefined;
    throw error;
  }
}

function filterOf({ reason, event, key }: FilterFlags): DeadLetterFilter {
  return {
    ...(reason === undefined ? {} : { reason }),
    ...(event === undefined ? {} : { event }),
    ...(key === undefined ? {} : { orderKey: key }),
  };
}

function isEmpty(filter: DeadLetterFilter): boolean {
  return Object.keys(filter).length === 0;
}

function groupsOf(ids: readonly string[]): string[][] {
  const groups: string[][] = [];
  for (let from = 0; from < ids.length; from += idsPerRequestMax) groups.push(ids.slice(from, from + idsPerRequestMax));
  return groups;
}
