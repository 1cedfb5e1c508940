/**
 * A place of its own for each test that drives the real command: a folder, a pid file in it, a clean environment. What
 * is started there is ended with the test, whatever became of it.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { test as base } from "vitest";
import { runningBroker } from "../../../src/cli/pid-file.ts";
import { Program, type ProgramOptions } from "./program.ts";

export const repository = fileURLToPath(new URL("../../..", import.meta.url));
export const launcher = path.join(repository, "bin", "hookmq.cjs");

/** What an operator is promised of a stop. */
const stopMsMax = 5000;

/** A broker that listens. */
export interface BrokerProcess {
  program: Program;
  /** Of the process that says it is the broker. */
  pid: number;
  port: number;
}

/** The test server of the tutorial, as `hookmq receiver` runs it. */
export interface ReceiverProcess {
  program: Program;
  port: number;
}

type RunOptions = Partial<Pick<ProgramOptions, "env" | "ownGroup">>;

export class Place {
  readonly folder = mkdtempSync(path.join(tmpdir(), "hookmq-e2e-"));
  readonly pidFile = path.join(this.folder, "hookmq.pid");
  /** As a new user would have it, with nothing of ours but these. */
  readonly env: NodeJS.ProcessEnv;
  private readonly leaving: (() => Promise<unknown>)[] = [];

  constructor() {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(HOOKMQ|NANOMQ|npm|VITEST|NODE)_/i.test(name));
    this.env = {
      ...Object.fromEntries(inherited),
      // As an installed command is found: by name, and with the Node that runs us.
      PATH: [this.installCommands(), path.dirname(process.execPath), process.env.PATH].join(path.delimiter),
      HOOKMQ_PID_FILE: this.pidFile,
      // A hundred starts: without it each spends three quarters of its time on compiling the same files.
      NODE_COMPILE_CACHE: path.join(repository, "node_modules", ".cache", "hookmq-e2e"),
    };
  }

  file(name: string): string {
    return path.join(this.folder, name);
  }

  write(name: string, text: string): string {
    const file = this.file(name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  }

  /** `hookmq …` */
  hookmq(args: readonly string[], options: RunOptions = {}): Program {
    return this.run(process.execPath, [launcher, ...args], options);
  }

  /** Any program, in this folder and environment. */
  run(command: string, args: readonly string[], { env = {}, ownGroup }: RunOptions = {}): Program {
    const program = new Program(command, args, { cwd: this.folder, env: { ...this.env, ...env }, ownGroup });
    this.whenLeaving(() => program.kill());
    return program;
  }

  /** `hookmq start` on this configuration, once it listens. `listeners` is added: a free port of this machine only. */
  startBroker(configuration: string, flags: readonly string[] = [], options: RunOptions = {}): Promise<BrokerProcess> {
    const conf = this.write("nanomq.conf", `listeners.tcp.bind = "127.0.0.1:0"\n${configuration}\n`);
    return listening(this.hookmq(["start", "--conf", conf, ...flags], options));
  }

  async startReceiver(...flags: string[]): Promise<ReceiverProcess> {
    const program = this.hookmq(["receiver", "--port", "0", ...flags]);
    const [, port] = await program.line(/^Receiver is listening on http:\/\/127\.0\.0\.1:(\d+) /);
    return { program, port: Number(port) };
  }

  whenLeaving(act: () => Promise<unknown>): void {
    this.leaving.push(act);
  }

  async leave(): Promise<void> {
    await Promise.allSettled(this.leaving.map((act) => act()));
    // One in the background belongs to nobody any more.
    const daemon = runningBroker(this.pidFile);
    if (daemon !== undefined) process.kill(daemon, "SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Both names, as `npm install` links them. */
  private installCommands(): string {
    const bin = path.join(this.folder, "bin");
    mkdirSync(bin);
    for (const name of ["hookmq", "emqx-edge"]) symlinkSync(launcher, path.join(bin, name));
    return bin;
  }
}

/** Reads off the start-up report who it is and where it listens. */
export async function listening(program: Program): Promise<BrokerProcess> {
  const [, pid] = await program.line(/^ {2}version .*, process (\d+)$/);
  const [, port] = await program.line(/^ {2}mqtt +\S+:(\d+) \(/);
  return { program, pid: Number(pid), port: Number(port) };
}

/** Acts, and holds the program to what an operator is promised of a stop. */
export async function endsInTime(program: Program, act: () => void): Promise<void> {
  const since = performance.now();
  act();
  assert.deepEqual(await program.ended(), { code: 0, signal: null }, program.stderr.join("\n"));
  const tookMs = performance.now() - since;
  assert.ok(tookMs < stopMsMax, `the stop took ${Math.round(tookMs)} ms`);
}

/** `place` is the test's own; `commonPlace` is shared by the tests of a file. */
export const test = base
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads off the pattern that it needs no other fixture.
  .extend("commonPlace", { scope: "file" }, ({}, { onCleanup }) => newPlace(onCleanup))
  // biome-ignore lint/correctness/noEmptyPattern: as above.
  .extend("place", ({}, { onCleanup }) => newPlace(onCleanup));

function newPlace(onCleanup: (leave: () => Promise<void>) => void): Place {
  const place = new Place();
  onCleanup(() => place.leave());
  return place;
}
