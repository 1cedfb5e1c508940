/**
 * Publishers to subscribers, or to a webhook. Closed loop: as much as the broker takes while everything that is owed
 * stays within a bound, so nothing needs to be dropped. Open loop: each message when it is due, stamped with that
 * time, so lateness of any origin counts as latency (no coordinated omission).
 */
import { constants, setPriority } from "node:os";
import { type ArrivalLedger, type Publisher, type SendLedger, Subscriber } from "./clients.ts";
import { microsNow } from "./clock.ts";
import { Connection } from "./connection.ts";
import { Histogram } from "./histogram.ts";
import type { FlowJob, LoadResult } from "./job.ts";
import { readProcess } from "./process-figures.ts";
import { SequenceCheck } from "./sequence.ts";
import { eachOf, filterOf, publisherOn, topicOf } from "./setup.ts";
import { binaryStamp, textStamp, type StampFormat } from "./stamp.ts";
import { WebhookSink, type SinkFigures } from "./webhook-sink.ts";

const { priority } = constants;

/** With something owed and nothing arriving for this long, the rest is lost. */
const silenceMs = 2_000;
const watchMs = 20;

export async function runFlow(job: FlowJob): Promise<LoadResult> {
  const flow = new Flow(job);
  try {
    await flow.connect();
    return await flow.measure();
  } finally {
    flow.close();
  }
}

class Flow implements ArrivalLedger, SendLedger {
  received = 0;
  malformed = 0;
  measuring = false;
  readonly latency = new Histogram();
  readonly ackLatency = new Histogram();
  readonly sequence: SequenceCheck;
  private readonly job: FlowJob;
  private readonly format: StampFormat;
  /** Deliveries owed for each message. */
  private readonly fan: number;
  /** The smallest write worth making: waiting for a full one keeps the writes few. */
  private readonly batchMin: number;
  private readonly connections: Connection[] = [];
  private readonly publishers: Publisher[] = [];
  private readonly sendLag = new Histogram();
  private sink: WebhookSink | undefined;
  private sent = 0;
  private turn = 0;
  private sending = false;
  private pumpDue = false;
  private lost: Error | undefined;
  private rateStartedAt = 0;
  private rateSent = 0;

  constructor(job: FlowJob) {
    this.job = job;
    this.format = job.sink === undefined ? binaryStamp : textStamp;
    this.fan = job.shape === "fan-out" ? job.subscribers : 1;
    const share = Math.floor(job.outstandingMax / this.fan / 2);
    this.batchMin = job.qos === 0 ? Math.max(1, Math.min(job.batch, share)) : 1;
    this.sequence = new SequenceCheck({ senders: job.publishers, receivers: Math.max(1, job.subscribers) });
  }

  async connect(): Promise<void> {
    const { job } = this;
    if (job.sink !== undefined) {
      this.sink = await WebhookSink.start({ ...job.sink, senders: job.publishers });
      // It shares our core, and at a fixed rate we never sleep: it must be able to interrupt us.
      setPriority(priority.PRIORITY_LOW);
      if (job.shape === "to-webhook") this.sink.progressed = (events) => this.eventsReceived(events);
    }
    await eachOf(job.subscribers, (index) => this.addSubscriber(index));
    await eachOf(job.publishers, (index) => this.addPublisher(index));
  }

  async measure(): Promise<LoadResult> {
    const { job } = this;
    this.sending = true;
    this.rateStartedAt = microsNow();
    if (job.rate === undefined) this.moved();
    else this.sendWhenDue();
    await this.watch(job.warmupSeconds);

    this.measuring = true;
    this.sink?.measure(true);
    const begin = this.reading();
    await this.watch(job.seconds);
    const end = this.reading();
    this.measuring = false;
    this.sink?.measure(false);
    this.sending = false;

    await this.watch(Number.POSITIVE_INFINITY);
    const events = await this.sink?.finish(job.sink!.expectsAll ? this.sent * (job.sink!.receivers ?? 1) : 0);
    return this.result(begin, end, events);
  }

  close(): void {
    for (const connection of this.connections) connection.close();
    this.sink?.close();
  }

  moved(): void {
    if (this.pumpDue || !this.sending || this.job.rate !== undefined) return;
    this.pumpDue = true;
    setImmediate(this.pump);
  }

  /** Once per turn of the event loop, after all that was readable has been read. */
  private readonly pump = (): void => {
    this.pumpDue = false;
    if (!this.sending) return;
    const now = microsNow();
    for (let passed = 0; passed < this.publishers.length; ) {
      const room = this.room();
      if (room < this.batchMin) return;
      const count = this.nextPublisher().send(Math.min(this.job.batch, room), now);
      passed = count === 0 ? passed + 1 : 0;
      this.sent += count;
    }
  };

  /** Never sleeps: a timer would come up to a millisecond late, and that would be measured as the broker's latency. */
  private readonly sendWhenDue = (): void => {
    if (!this.sending) return;
    const microsPerMessage = 1e6 / this.job.rate!;
    for (let passed = 0; passed < this.publishers.length && this.room() > 0; ) {
      const now = microsNow();
      const dueAt = this.rateStartedAt + this.rateSent * microsPerMessage;
      if (dueAt > now) break;
      if (this.nextPublisher().send(1, dueAt) === 0) {
        passed++;
        continue;
      }
      passed = 0;
      this.rateSent++;
      this.sent++;
      if (this.measuring) this.sendLag.add(Math.round(now - dueAt));
    }
    setImmediate(this.sendWhenDue);
  };

  private nextPublisher(): Publisher {
    const publisher = this.publishers[this.turn];
    this.turn = (this.turn + 1) % this.publishers.length;
    return publisher;
  }

  private room(): number {
    return Math.floor((this.job.outstandingMax - this.owed()) / this.fan);
  }

  private owed(): number {
    return this.sent * this.fan - this.received;
  }

  /** Until the time is over; without end: until nothing is owed. Either way no longer than something is moving. */
  private watch(seconds: number): Promise<void> {
    const until = performance.now() + seconds * 1000;
    let [received, movedAt] = [this.received, performance.now()];
    return new Promise((resolve, reject) => {
      const timer = setInterval(() => {
        const now = performance.now();
        if (this.received !== received || this.owed() === 0) [received, movedAt] = [this.received, now];
        const silent = now - movedAt > silenceMs;
        const settled = seconds === Number.POSITIVE_INFINITY && this.owed() === 0;
        if (this.lost === undefined && now < until && !silent && !settled) return;
        clearInterval(timer);
        if (this.lost === undefined) resolve();
        else reject(this.lost);
      }, watchMs);
    });
  }

  private async addSubscriber(index: number): Promise<void> {
    const { shape, qos, payloadBytes, publishers: senders, persistent = false } = this.job;
    const connection = await this.open(`sub-${index}`, { cleanSession: !persistent });
    await connection.subscribe(filterOf(shape, index), qos);
    connection.handler = new Subscriber({
      connection,
      index,
      payloadBytes,
      senders,
      format: this.format,
      ledger: this,
    });
  }

  private async addPublisher(sender: number): Promise<void> {
    const { job, format } = this;
    const connection = await this.open(`pub-${sender}`, { cleanSession: true });
    const topicName = topicOf(job.shape, sender);
    this.publishers[sender] = publisherOn(connection, { ...job, topicName, sender, format, ledger: this });
  }

  private async open(clientId: string, how: { cleanSession: boolean }): Promise<Connection> {
    const connection = new Connection({
      port: this.job.port,
      lost: (reason) => {
        this.lost ??= new Error(`${clientId}: ${reason.message}`);
      },
    });
    this.connections.push(connection);
    await connection.open(clientId, how);
    return connection;
  }

  private eventsReceived(events: number): void {
    this.received = events;
    this.moved();
  }

  private reading() {
    const { user, system } = process.cpuUsage();
    return {
      micros: microsNow(),
      received: this.received,
      generatorCpuMicros: user + system,
      broker: readProcess(this.job.brokerPid),
    };
  }

  private result(begin: Reading, end: Reading, events: SinkFigures | undefined): LoadResult {
    const { job, latency, ackLatency } = this;
    const micros = end.micros - begin.micros;
    const deliveries = end.received - begin.received;
    const perSecond = (deliveries * 1e6) / micros;
    const lost =
      this.owed() +
      (job.shape !== "to-webhook" && job.sink?.expectsAll
        ? this.sent * (job.sink.receivers ?? 1) - events!.received
        : 0);
    const toWebhook = job.shape === "to-webhook";
    const generatorCpuMicros = end.generatorCpuMicros - begin.generatorCpuMicros;
    const brokerCpuMicros = begin.broker && end.broker && (end.broker.cpuSeconds - begin.broker.cpuSeconds) * 1e6;
    return {
      figures: {
        ...(toWebhook ? { eventsPerSecond: perSecond } : { messagesPerSecond: perSecond }),
        messagesPerGeneratorSecond: (deliveries * 1e6) / generatorCpuMicros,
        brokerMicrosPerMessage: brokerCpuMicros && brokerCpuMicros / deliveries,
        latencyMicrosP50: latency.percentile(50),
        latencyMicrosP99: latency.percentile(99),
        latencyMicrosP999: latency.percentile(99.9),
        ackMicrosP50: ackLatency.percentile(50),
        ackMicrosP99: ackLatency.percentile(99),
        eventMicrosP50: events?.latencyMicrosP50,
        eventMicrosP99: events?.latencyMicrosP99,
      },
      counts: {
        sent: this.sent,
        received: this.received,
        lost,
        duplicates: this.sequence.duplicates + (events?.duplicates ?? 0),
        outOfOrder: this.sequence.outOfOrder + (events?.outOfOrder ?? 0),
        malformed: this.malformed + (events?.malformed ?? 0),
      },
      failure: failureOf({ lost, malformed: this.malformed + (events?.malformed ?? 0), deliveries }),
      generatorCpuPercent: job.rate === undefined ? (generatorCpuMicros / micros) * 100 : undefined,
      brokerCpuPercent: brokerCpuMicros && (brokerCpuMicros / micros) * 100,
      sendLagMicrosP999: this.sendLag.percentile(99.9),
    };
  }
}

type Reading = ReturnType<Flow["reading"]>;

function failureOf({ lost, malformed, deliveries }: { lost: number; malformed: number; deliveries: number }) {
  if (lost !== 0) return `${lost} deliveries lost`;
  if (malformed !== 0) return `${malformed} deliveries malformed`;
  return deliveries === 0 ? "nothing arrived" : undefined;
}
