/** What `hookmq check` prints, and the report of a configuration with mistakes. */
import type { Problem } from "../base/hocon/value.ts";
import { positionText } from "../base/hocon/value.ts";
import type { LoadResult } from "./load.ts";
import { maskedLine } from "./secrets.ts";

/** Every setting in force, as HOCON, with where it came from behind it. */
export function renderEffective({ file, effective }: LoadResult): string {
  const head = file === undefined ? "# no configuration file: all defaults" : `# ${file.path} (${file.because})`;
  const settings = effective.map(({ path, value, origin }) => ({
    text: path.endsWith(" +") ? `${path.slice(0, -2)} += ${value}` : `${path} = ${value}`,
    origin,
  }));
  const width = Math.min(originColumnMax, Math.max(0, ...settings.map(({ text }) => text.length)));
  return [head, ...settings.map(({ text, origin }) => `${text.padEnd(width)}  # ${origin}`)].join("\n");
}

/** Longer settings push their origin to the right instead of everyone's. */
const originColumnMax = 72;

/** Every mistake with its line, and how many there are. */
export function renderErrors({ errors, sources }: Pick<LoadResult, "errors" | "sources">): string {
  const many = errors.length === 1 ? "1 mistake" : `${errors.length} mistakes`;
  return [...errors.map((problem) => renderProblem(problem, sources)), `${many} in the configuration`].join("\n");
}

/** One line a warning. */
export function renderWarnings({ warnings }: Pick<LoadResult, "warnings">): string[] {
  return warnings.map(problemText);
}

/** `nanomq.conf:3:5: what is wrong; found X; expected Y`. */
export function problemText({ at, what, found, expected }: Problem): string {
  const facts = [what, found && `found ${found}`, expected && `expected ${expected}`].filter(Boolean);
  return `${positionText(at)}: ${facts.join("; ")}`;
}

function renderProblem(problem: Problem, sources: ReadonlyMap<string, string>): string {
  const { at } = problem;
  const line = sources.get(at.file)?.split("\n")[at.line - 1]?.trimEnd();
  if (line === undefined || line.length > shownLengthMax) return problemText(problem);
  // Tabs stay tabs, so that the caret stands under the mistake.
  const before = line.slice(0, at.column - 1).replace(/[^\t]/g, " ");
  return [problemText(problem), `    ${maskedLine(line)}`, `    ${before}^`].join("\n");
}

/** Nobody finds a mistake in a longer line by looking at it. */
const shownLengthMax = 300;
