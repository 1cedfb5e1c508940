/** Where a command speaks to its operator: the real one, or a test's. Lines come without their line end. */
export interface Terminal {
  print(line: string | Uint8Array): void;
  /** For what went wrong. */
  complain(line: string): void;
  /** A person reads this. */
  readonly isInteractive: boolean;
}

/** 0: it did what was asked. */
export type ExitCode = number;

export const systemTerminal: Terminal = {
  print(line) {
    process.stdout.write(line);
    process.stdout.write("\n");
  },
  complain: (line) => process.stderr.write(`${line}\n`),
  isInteractive: process.stdout.isTTY === true,
};

/** Text of strangers, harmless to show: whatever they sent, it does not move the operator's cursor. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\t\n]/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
