/** Where a command speaks to its operator: the real one, or a test's. Lines come without their line end. */
export interface Terminal {
  print(line: string): void;
  /** For what went wrong. */
  complain(line: string): void;
  /** A person reads this. */
  readonly isInteractive: boolean;
}

export const systemTerminal: Terminal = {
  print: (line) => process.stdout.write(`${line}\n`),
  complain: (line) => process.stderr.write(`${line}\n`),
  isInteractive: process.stdout.isTTY === true,
};

/** What every command answers with. 0: it did what was asked. */
export type ExitCode = 0 | 1;
