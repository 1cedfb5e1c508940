/**
 * The other half of a fill: its clients come back to their sessions, or its receiver listens at last, and everything that
 * was acknowledged must come. All is ready before the broker is: the first look at its port is part of what is measured.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { accepts } from "./accepts.ts";
import { type ArrivalLedger, Subscriber } from "./clients.ts";
import { microsNow } from "./clock.ts";
import { Connection } from "./connection.ts";
import { Histogram } from "./histogram.ts";
import type { DrainJob, LoadResult } from "./job.ts";
import { SequenceCheck } from "./sequence.ts";
import { eachOf } from "./setup.ts";
import { binaryStamp } from "./stamp.ts";
import { type SinkFigures, WebhookSink } from "./webhook-sink.ts";

/** Between two looks whether the broker listens. */
const lookMs = 5;
/** A broker that has not found its store by then has failed. */
const listeningMsMax = 30_000;
const watchMs = 20;

export async function runDrain(job: DrainJob, { ready }: { ready: () => void }): Promise<LoadResult> {
  const drain = new Drain(job);
  try {
    return await drain.measure(ready);
  } finally {
    drain.close();
  }
}

class Drain implements ArrivalLedger {
  received = 0;
  malformed = 0;
  readonly measuring = false;
  readonly latency = new Histogram();
  readonly sequence: SequenceCheck;
  private readonly job: DrainJob;
  private readonly connections: Connection[] = [];
  private sink: WebhookSink | undefined;
  private lost: Error | undefined;
  private firstAtMicros: number | undefined;
  private lastAtMicros: number | undefined;

  constructor(job: DrainJob) {
    this.job = job;
    this.sequence = new SequenceCheck({ senders: job.publishers, receivers: Math.max(1, job.subscribers) });
  }

  async measure(ready: () => void): Promise<LoadResult> {
    const { job } = this;
    if (job.sink !== undefined) {
      this.sink = await WebhookSink.start({ ...job.sink, senders: job.publishers });
      this.sink.progressed = (events) => {
        this.received = events;
      };
    }
    ready();
    const listeningAt = await this.listening();
    await eachOf(job.subscribers, (index) => this.comeBack(index));
    await this.watch();
    return this.result(listeningAt, await this.sink?.finish(0));
  }

  close(): void {
    for (const connection of this.connections) connection.close();
    this.sink?.close();
  }

  moved(): void {
    if (this.received === 0) return;
    this.firstAtMicros ??= microsNow();
    if (this.received === this.job.messages) this.lastAtMicros ??= microsNow();
  }

  private async listening(): Promise<number> {
    const until = performance.now() + listeningMsMax;
    while (!(await accepts(this.job.port))) {
      if (performance.now() > until) throw new Error("the broker does not listen again");
      await sleep(lookMs);
    }
    return microsNow();
  }

  private async comeBack(index: number): Promise<void> {
    const connection = new Connection({
      port: this.job.port,
      lost: (reason) => {
        this.lost ??= new Error(`sub-${index}: ${reason.message}`);
      },
    });
    this.connections.push(connection);
    const { payloadBytes, publishers: senders } = this.job;
    const handler = new Subscriber({ connection, index, payloadBytes, senders, format: binaryStamp, ledger: this });
    await connection.open(`sub-${index}`, { cleanSession: false, handler });
  }

  /** Until all has come, and no longer than something is moving. */
  private watch(): Promise<void> {
    const { messages, firstMsMax, silenceMsMax } = this.job;
    let [received, movedAt] = [0, performance.now()];
    return new Promise((resolve, reject) => {
      const timer = setInterval(() => {
        const now = performance.now();
        if (this.received !== received) [received, movedAt] = [this.received, now];
        const silent = now - movedAt > (received === 0 ? firstMsMax : silenceMsMax);
        if (this.lost === undefined && this.received < messages && !silent) return;
        clearInterval(timer);
        if (this.lost === undefined) resolve();
        else reject(this.lost);
      }, watchMs);
    });
  }

  private result(listening: number, events: SinkFigures | undefined): LoadResult {
    const received = events?.received ?? this.received;
    const first = events?.firstAtMicros ?? this.firstAtMicros;
    const last = events?.lastAtMicros ?? this.lastAtMicros;
    const lost = this.job.messages - received;
    const malformed = this.malformed + (events?.malformed ?? 0);
    return {
      figures: {
        drainedPerSecond: first !== undefined && last !== undefined ? (received * 1e6) / (last - first) : undefined,
      },
      counts: {
        received,
        lost,
        malformed,
        duplicates: this.sequence.duplicates + (events?.duplicates ?? 0),
        outOfOrder: this.sequence.outOfOrder + (events?.outOfOrder ?? 0),
      },
      failure: failureOf({ lost, malformed }),
      moments: { listening, first, last },
    };
  }
}

function failureOf({ lost, malformed }: { lost: number; malformed: number }): string | undefined {
  if (lost !== 0) return `${lost} deliveries lost`;
  return malformed === 0 ? undefined : `${malformed} deliveries malformed`;
}
