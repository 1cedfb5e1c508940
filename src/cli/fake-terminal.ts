import type { Terminal } from "./terminal.ts";

/** Remembers what a command said. */
export class FakeTerminal implements Terminal {
  readonly lines: string[] = [];
  readonly complaints: string[] = [];
  readonly isInteractive: boolean;

  constructor(isInteractive = false) {
    this.isInteractive = isInteractive;
  }

  print(line: string | Uint8Array): void {
    this.lines.push(typeof line === "string" ? line : Buffer.from(line).toString("latin1"));
  }

  complain(line: string): void {
    this.complaints.push(line);
  }
}
