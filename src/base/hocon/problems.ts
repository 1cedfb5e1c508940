import { problemsMax } from "./limits.ts";
import type { Position, Problem } from "./value.ts";

/** Collects what is wrong, so that one run shows every mistake; at the limit it stops listing and says so. */
export class Problems {
  readonly errors: Problem[] = [];
  readonly warnings: Problem[] = [];

  error(at: Position, what: string, { found, expected }: { found?: string; expected?: string } = {}): void {
    // What goes wrong a second time in one place comes of the first.
    const last = this.errors.at(-1)?.at;
    if (last?.file === at.file && last.line > 0 && last.line === at.line && last.column === at.column) return;
    add(this.errors, { at, what, found, expected }, "mistakes");
  }

  warn(at: Position, what: string): void {
    add(this.warnings, { at, what }, "warnings");
  }

  /** Further errors are not listed. */
  get full(): boolean {
    return this.errors.length > problemsMax;
  }
}

/** For what was collected elsewhere. */
export function bounded(problems: readonly Problem[], name: string): Problem[] {
  const listed: Problem[] = [];
  for (const problem of problems) add(listed, problem, name);
  return listed;
}

function add(problems: Problem[], problem: Problem, name: string): void {
  if (problems.length < problemsMax) problems.push(problem);
  else if (problems.length === problemsMax)
    problems.push({ at: problem.at, what: `more than ${problemsMax} ${name}; the rest is not listed` });
}
