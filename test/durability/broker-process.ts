/** The judge's end of a broker on trial. */
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import { execPath } from "node:process";
import type { Settings } from "../../src/config/settings.ts";
import type { Orders } from "./back.ts";

const brokerFile = path.join(import.meta.dirname, "broker.ts");
/** Hundreds of starts: without it each spends most of its time on compiling the same files. */
const compileCache = path.join(import.meta.dirname, "../../node_modules/.cache/hookmq-durability");

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class BrokerProcess {
  /** Resolves with the port; `undefined`: it ended before it listened. */
  readonly listening: Promise<number | undefined>;
  readonly ended: Promise<Ended>;
  /** What its log says. */
  log = "";
  private readonly child: ChildProcess;
  private isOver = false;

  constructor(settings: Settings, orders: Orders) {
    const common = { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache };
    const env = { ...common, ...orders.layer, HOOKMQ_ORDERS: JSON.stringify(orders) };
    const child = spawn(execPath, [brokerFile, JSON.stringify(settings)], { env, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.log += text;
    });
    this.ended = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.isOver = true;
        resolve({ code, signal });
      });
    });
    let said = "";
    this.listening = new Promise((resolve) => {
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        const port = /^listening (\d+)\n/.exec(said)?.[1];
        if (port !== undefined) resolve(Number(port));
      });
      child.once("close", () => resolve(undefined));
    });
  }

  get isAlive(): boolean {
    return !this.isOver;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}
