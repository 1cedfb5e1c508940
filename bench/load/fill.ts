/**
 * So many messages for whoever is not there: sessions whose clients are away, or a webhook whose receiver is not there.
 * Publishers keep to their windows and nothing else, so the figure is what the broker takes responsibility for.
 */
import type { Publisher, SendLedger } from "./clients.ts";
import { microsNow } from "./clock.ts";
import { Connection } from "./connection.ts";
import { Histogram } from "./histogram.ts";
import type { FillJob, LoadResult } from "./job.ts";
import { readProcess } from "./process-figures.ts";
import { eachOf, filterOf, publisherOn, topicOf } from "./setup.ts";
import { binaryStamp, textStamp } from "./stamp.ts";

const watchMs = 20;

export async function runFill(job: FillJob): Promise<LoadResult> {
  const fill = new Fill(job);
  try {
    await fill.connect();
    return await fill.measure();
  } finally {
    fill.close();
  }
}

class Fill implements SendLedger {
  readonly ackLatency = new Histogram();
  measuring = false;
  private readonly job: FillJob;
  private readonly connections: Connection[] = [];
  private readonly publishers: Publisher[] = [];
  private sent = 0;
  private turn = 0;
  private pumpDue = false;
  private lost: Error | undefined;
  private begin: Reading | undefined;
  private end: Reading | undefined;

  constructor(job: FillJob) {
    this.job = job;
  }

  async connect(): Promise<void> {
    await eachOf(this.job.subscribers, (index) => this.leaveSession(index));
    await eachOf(this.job.publishers, (sender) => this.addPublisher(sender));
  }

  async measure(): Promise<LoadResult> {
    this.moved();
    await this.watch();
    return this.result();
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }

  moved(): void {
    if (this.pumpDue) return;
    this.pumpDue = true;
    setImmediate(this.pump);
  }

  /** Once per turn of the event loop, after all that was readable has been read. */
  private readonly pump = (): void => {
    this.pumpDue = false;
    const { job } = this;
    if (this.begin === undefined && this.acknowledged() >= job.warmupMessages) {
      this.measuring = true;
      this.begin = this.reading();
    }
    if (this.end === undefined && this.acknowledged() === job.messages) this.end = this.reading();
    const now = microsNow();
    for (let passed = 0; passed < this.publishers.length && this.sent < job.messages; ) {
      const publisher = this.publishers[this.turn];
      this.turn = (this.turn + 1) % this.publishers.length;
      const count = publisher.send(Math.min(job.batch, job.messages - this.sent), now);
      passed = count === 0 ? passed + 1 : 0;
      this.sent += count;
    }
  };

  private acknowledged(): number {
    let waiting = 0;
    for (const { unacknowledged } of this.publishers) waiting += unacknowledged;
    return this.sent - waiting;
  }

  /** Until all is acknowledged, and no longer than something is moving. */
  private watch(): Promise<void> {
    let [acknowledged, movedAt] = [0, performance.now()];
    return new Promise((resolve, reject) => {
      const timer = setInterval(() => {
        const now = performance.now();
        if (this.acknowledged() !== acknowledged) [acknowledged, movedAt] = [this.acknowledged(), now];
        if (this.lost === undefined && this.end === undefined && now - movedAt <= this.job.silenceMsMax) return;
        clearInterval(timer);
        if (this.lost === undefined) resolve();
        else reject(this.lost);
      }, watchMs);
    });
  }

  private async leaveSession(index: number): Promise<void> {
    const { shape, qos } = this.job;
    const connection = this.connection(`sub-${index}`);
    await connection.open(`sub-${index}`, { cleanSession: false });
    await connection.subscribe(filterOf(shape, index), qos);
    await connection.leave();
  }

  private async addPublisher(sender: number): Promise<void> {
    const { job } = this;
    const connection = this.connection(`pub-${sender}`);
    this.connections.push(connection);
    await connection.open(`pub-${sender}`);
    const format = job.shape === "to-webhook" ? textStamp : binaryStamp;
    const topicName = topicOf(job.shape, sender);
    this.publishers[sender] = publisherOn(connection, { ...job, topicName, sender, format, ledger: this });
  }

  private connection(clientId: string): Connection {
    return new Connection({
      port: this.job.port,
      lost: (reason) => {
        this.lost ??= new Error(`${clientId}: ${reason.message}`);
      },
    });
  }

  private reading() {
    const { user, system } = process.cpuUsage();
    return {
      micros: microsNow(),
      acknowledged: this.acknowledged(),
      generatorCpuMicros: user + system,
      broker: readProcess(this.job.brokerPid),
    };
  }

  private result(): LoadResult {
    const { begin, end, job } = this;
    const counts = { sent: this.sent, acknowledged: this.acknowledged() };
    if (begin === undefined || end === undefined) {
      const missing = job.messages - counts.acknowledged;
      return { figures: {}, counts, failure: `${missing} of ${job.messages} messages were not acknowledged` };
    }
    const micros = end.micros - begin.micros;
    const acknowledged = end.acknowledged - begin.acknowledged;
    const brokerCpuSeconds = begin.broker && end.broker && end.broker.cpuSeconds - begin.broker.cpuSeconds;
    return {
      figures: {
        acknowledgedPerSecond: (acknowledged * 1e6) / micros,
        brokerMicrosPerMessage: brokerCpuSeconds && (brokerCpuSeconds * 1e6) / acknowledged,
        ackMicrosP50: this.ackLatency.percentile(50),
        ackMicrosP99: this.ackLatency.percentile(99),
      },
      counts,
      generatorCpuPercent: ((end.generatorCpuMicros - begin.generatorCpuMicros) / micros) * 100,
      brokerCpuPercent: brokerCpuSeconds && (brokerCpuSeconds * 1e8) / micros,
    };
  }
}

type Reading = ReturnType<Fill["reading"]>;
