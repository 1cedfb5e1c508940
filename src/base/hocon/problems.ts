import { errorsMax } from "./limits.ts";
import type { Position, Problem } from "./value.ts";

/** Collects what is wrong, so that one run shows every mistake; at the limit it stops listing and says so. */
export class Problems {
  readonly errors: Problem[] = [];
  readonly warnings: Problem[] = [];

  error(at: Position, what: string, { found, expected }: { found?: string; expected?: string } = {}): void {
    // What goes wrong a second time in one place comes of the first.
    const last = this.errors.at(-1)?.at;
    if (last?.file === at.file && last.line === at.line && last.column === at.column) return;
    if (this.errors.length < errorsMax) this.errors.push({ at, what, found, expected });
    else if (this.errors.length === errorsMax)
      this.errors.push({ at, what: `more than ${errorsMax} mistakes; the rest is not listed` });
  }

  warn(at: Position, what: string): void {
    this.warnings.push({ at, what });
  }
}
