/** A program that a test runs: what it says, line by line, and how it ends. Every wait ends by itself, saying what was awaited. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { News } from "./news.ts";

export interface ProgramOptions {
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** In a process group of its own, as a shell gives it to what is typed: `interruptGroup` then reaches all of it. */
  ownGroup?: boolean;
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class Program {
  readonly name: string;
  /** Lines said so far. */
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  private readonly child: ChildProcess;
  private readonly news = new News();
  private end: Ended | undefined;

  constructor(command: string, args: readonly string[], { cwd, env, ownGroup = false }: ProgramOptions) {
    this.name = [command.split("/").at(-1), ...args].join(" ");
    this.child = spawn(command, args, { cwd, env, detached: ownGroup, stdio: "pipe" });
    for (const stream of ["stdout", "stderr"] as const) {
      createInterface({ input: this.child[stream]! }).on("line", (line) => {
        this[stream].push(line);
        this.news.tell();
      });
    }
    // It may not read what it is given.
    this.child.stdin!.on("error", () => {});
    this.child.on("error", (error) => this.stderr.push(error.message));
    this.child.on("close", (code, signal) => {
      this.end = { code, signal };
      this.news.tell();
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Gives it text on its standard input, and the end of it. */
  give(text: string): this {
    this.child.stdin!.end(text);
    return this;
  }

  /** The first line of the standard output that matches, said already or to come. */
  line(pattern: RegExp): Promise<RegExpExecArray> {
    return this.find(`a line like ${pattern}`, () => firstMatch(this.stdout, pattern));
  }

  /** … of the standard error. */
  complaint(pattern: RegExp): Promise<RegExpExecArray> {
    return this.find(`a complaint like ${pattern}`, () => firstMatch(this.stderr, pattern));
  }

  /** The first so many lines of the standard output. */
  lines(count: number): Promise<string[]> {
    return this.find(`${count} lines`, () => (this.stdout.length >= count ? this.stdout.slice(0, count) : undefined));
  }

  ended(): Promise<Ended> {
    return this.find("its end", () => this.end);
  }

  /** Its exit code, once it has ended; -1 when a signal ended it. */
  async exitCode(): Promise<number> {
    return (await this.ended()).code ?? -1;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Whoever read what it says has gone. */
  closeOutput(): void {
    this.child.stdout!.destroy();
  }

  /** What Ctrl-C does in a terminal: everything that runs there hears it. */
  interruptGroup(): void {
    process.kill(-this.pid, "SIGINT");
  }

  async kill(): Promise<void> {
    if (this.end === undefined) this.child.kill("SIGKILL");
    await this.ended();
  }

  private find<T>(awaited: string, look: () => T | undefined): Promise<T> {
    const failure = (because: string) =>
      new Error(`${this.name}: waited for ${awaited}, but ${because}\n${this.account()}`);
    const lookOn = () => {
      const found = look();
      if (found === undefined && this.end !== undefined) throw failure("it has ended");
      return found;
    };
    return this.news.until(lookOn, () => failure("it did not come in time"));
  }

  private account(): string {
    const lines = [...this.stdout.map((line) => `  | ${line}`), ...this.stderr.map((line) => `  ! ${line}`)];
    return lines.slice(-40).join("\n");
  }
}

function firstMatch(lines: readonly string[], pattern: RegExp): RegExpExecArray | undefined {
  for (const line of lines) {
    const found = pattern.exec(line);
    if (found !== null) return found;
  }
  return undefined;
}
