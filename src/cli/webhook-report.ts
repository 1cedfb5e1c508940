/** What the engine reports, made fit to be printed: for programs, and for people. */
import type { Instant } from "../base/clock.ts";
import { printable } from "./terminal.ts";
import { durationInWords } from "./table.ts";

const times: ReadonlySet<string> = new Set(["acceptedAt", "diedAt", "dueAt", "at", "nextAttemptAt"]);

/**
 * For programs: times in ISO 8601, UTC. `optional` names the fields that a report may lack: they are `null` then, so that
 * an object of one kind always has the same fields.
 */
export function forPrograms<Report extends object>(
  report: Report,
  optional: readonly (keyof Report & string)[] = [],
): Record<string, unknown> {
  const missing = optional.map((name) => [name, null] as const);
  const given = Object.entries(report).map(([name, value]) => {
    return [name, times.has(name) && typeof value === "number" ? new Date(value).toISOString() : value] as const;
  });
  return { ...Object.fromEntries(given), ...Object.fromEntries(missing.filter(([name]) => !(name in report))) };
}

const cellLengthMax = 60;

/** A stranger's text on one line of a table. */
export function cell(text: string): string {
  const line = printable(text.replace(/[\t\r\n]+/g, " "));
  return line.length <= cellLengthMax ? line : `${line.slice(0, cellLengthMax - 1)}…`;
}

/** `5 min ago` */
export function ago(at: Instant, now: Instant): string {
  return `${durationInWords(now - at)} ago`;
}

/** `in 5 min`, or nothing when that is past. */
export function ahead(at: Instant | undefined, now: Instant): string {
  return at === undefined || at <= now ? "" : `in ${durationInWords(at - now)}`;
}
