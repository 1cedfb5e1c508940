/** The generator's side of the webhook receiver: starts the process, hears its progress, asks for its figures. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { SinkJob } from "./job.ts";

export type SinkSettings = SinkJob & { senders: number };

export interface SinkFigures {
  /** Distinct messages. */
  received: number;
  malformed: number;
  duplicates: number;
  outOfOrder: number;
  /** When the first and the last distinct message came. */
  firstAtMicros: number | undefined;
  lastAtMicros: number | undefined;
  latencyMicrosP50: number | undefined;
  latencyMicrosP99: number | undefined;
}

/** `finish` asks for the figures once so many events have come. */
export type ToSink = { kind: "measure"; on: boolean } | { kind: "finish"; events: number };
export type ToGenerator =
  | { kind: "listening" }
  | { kind: "progress"; received: number }
  | { kind: "figures"; figures: SinkFigures };

/** With fewer events than asked for and none arriving for this long, the figures are taken as they are. */
const silenceMs = 2_000;

export class WebhookSink {
  progressed: (events: number) => void = () => {};
  private readonly child: ChildProcess;
  private figures: ((figures: SinkFigures) => void) | undefined;
  private movedAt = 0;

  static async start(settings: SinkSettings): Promise<WebhookSink> {
    const child = fork(fileURLToPath(new URL("sink-process.ts", import.meta.url)), [JSON.stringify(settings)]);
    const sink = new WebhookSink(child);
    const exited = once(child, "exit").then(() => Promise.reject(new Error("the webhook sink did not start")));
    await Promise.race([once(child, "message"), exited]); // the first one is "listening"
    exited.catch(() => {});
    return sink;
  }

  private constructor(child: ChildProcess) {
    this.child = child;
    child.on("message", (message: ToGenerator) => this.hear(message));
  }

  measure(on: boolean): void {
    this.tell({ kind: "measure", on });
  }

  async finish(events: number): Promise<SinkFigures> {
    const figures = new Promise<SinkFigures>((resolve) => {
      this.figures = resolve;
    });
    this.movedAt = performance.now();
    this.tell({ kind: "finish", events });
    const timer = setInterval(() => {
      if (performance.now() - this.movedAt > silenceMs) this.tell({ kind: "finish", events: 0 });
    }, 100);
    return await figures.finally(() => clearInterval(timer));
  }

  close(): void {
    if (this.child.connected) this.child.disconnect();
  }

  private hear(message: ToGenerator): void {
    if (message.kind === "progress") {
      this.movedAt = performance.now();
      this.progressed(message.received);
    } else if (message.kind === "figures") {
      this.figures?.(message.figures);
    }
  }

  private tell(message: ToSink): void {
    this.child.send(message);
  }
}
