/** The two ends of the load: publishers that keep to their window, subscribers that check what arrives. */
import { microsNow, microsSince } from "./clock.ts";
import { lastRead, type Connection, type ConnectionHandler } from "./connection.ts";
import type { Histogram } from "./histogram.ts";
import { packetType, type PublishBatch, type Qos } from "./packets.ts";
import type { SequenceCheck } from "./sequence.ts";
import type { StampFormat } from "./stamp.ts";

/** What publishers report to; one for the whole run. */
export interface SendLedger {
  readonly ackLatency: Histogram;
  /** Only within the measured seconds do waiting times count. */
  measuring: boolean;
  /** Something arrived that may let a publisher send. */
  moved(): void;
}

/** What subscribers report to; one for the whole run. */
export interface ArrivalLedger {
  /** Messages that arrived for the first time, over all subscribers. */
  received: number;
  /** Messages that were not of this run, or not whole. */
  malformed: number;
  readonly latency: Histogram;
  readonly sequence: SequenceCheck;
  measuring: boolean;
  moved(): void;
}

export class Publisher implements ConnectionHandler {
  private readonly connection: Connection;
  private readonly batch: PublishBatch;
  private readonly qos: Qos;
  private readonly ledger: SendLedger;
  private readonly answers = new Answers();
  private sequence = 0;
  /** QoS 1 and 2: packet identifiers free to use, a stack; which are in flight, and when each one's message was due. */
  private readonly freeIdentifiers: number[];
  private readonly inFlight: Uint8Array;
  private readonly dueAt: Int32Array;
  private readNow = 0;

  constructor(of: { connection: Connection; batch: PublishBatch; qos: Qos; window: number; ledger: SendLedger }) {
    this.connection = of.connection;
    this.batch = of.batch;
    this.qos = of.qos;
    this.ledger = of.ledger;
    this.freeIdentifiers = Array.from({ length: of.window }, (_, i) => of.window - i);
    this.inFlight = new Uint8Array(of.window + 1);
    this.dueAt = new Int32Array(of.window + 1);
  }

  /** Sends up to this many messages in one write; answers how many its window and its socket allowed. */
  send(wanted: number, dueMicros: number): number {
    if (this.connection.blocked) return 0;
    const allowed = this.qos === 0 ? this.batch.slots : this.freeIdentifiers.length;
    const count = Math.min(wanted, this.batch.slots, allowed);
    if (count <= 0) return 0;
    for (let slot = 0; slot < count; slot++) {
      this.batch.write(slot, { micros: dueMicros, sequence: this.sequence++ });
      if (this.qos === 0) continue;
      const identifier = this.freeIdentifiers.pop()!;
      this.inFlight[identifier] = 1;
      this.dueAt[identifier] = dueMicros;
      this.batch.identify(slot, identifier);
    }
    this.connection.write(this.batch.first(count));
    return count;
  }

  /** QoS 1 and 2: handshakes that have not ended. */
  get unacknowledged(): number {
    return this.inFlight.length - 1 - this.freeIdentifiers.length;
  }

  packet(first: number, _start: number, at: number): void {
    const identifier = lastRead.view.getUint16(at);
    if (this.inFlight[identifier] !== 1) throw new Error(`an answer to packet identifier ${identifier}, not in flight`);
    switch (first >> 4) {
      case packetType.puback:
      case packetType.pubcomp:
        this.acknowledged(identifier);
        return;
      case packetType.pubrec:
        this.answers.add(0x62, identifier);
        return;
      default:
        throw new Error(`a publisher got packet type ${first >> 4}`);
    }
  }

  readDone(): void {
    this.readNow = 0;
    this.answers.flush(this.connection);
    this.ledger.moved();
  }

  writable(): void {
    this.ledger.moved();
  }

  private acknowledged(identifier: number): void {
    this.inFlight[identifier] = 0;
    this.freeIdentifiers.push(identifier);
    if (!this.ledger.measuring) return;
    if (this.readNow === 0) this.readNow = microsNow();
    this.ledger.ackLatency.add(microsSince(this.dueAt[identifier], this.readNow));
  }
}

export class Subscriber implements ConnectionHandler {
  private readonly connection: Connection;
  private readonly index: number;
  private readonly payloadBytes: number;
  private readonly senders: number;
  private readonly format: StampFormat;
  private readonly ledger: ArrivalLedger;
  private readonly answers = new Answers();
  private readNow = 0;

  constructor(of: {
    connection: Connection;
    index: number;
    payloadBytes: number;
    senders: number;
    format: StampFormat;
    ledger: ArrivalLedger;
  }) {
    this.connection = of.connection;
    this.index = of.index;
    this.payloadBytes = of.payloadBytes;
    this.senders = of.senders;
    this.format = of.format;
    this.ledger = of.ledger;
  }

  packet(first: number, _start: number, at: number, end: number): void {
    const type = first >> 4;
    if (type === packetType.pubrel) {
      this.answers.add(0x70, lastRead.view.getUint16(at));
      return;
    }
    if (type !== packetType.publish) throw new Error(`a subscriber got packet type ${type}`);
    const qos = (first >> 1) & 3;
    let payloadAt = at + 2 + lastRead.view.getUint16(at);
    if (qos > 0) {
      this.answers.add(qos === 1 ? 0x40 : 0x50, lastRead.view.getUint16(payloadAt));
      payloadAt += 2;
    }
    this.take(payloadAt, end);
  }

  readDone(): void {
    this.readNow = 0;
    this.answers.flush(this.connection);
    this.ledger.moved();
  }

  writable(): void {}

  private take(payloadAt: number, end: number): void {
    const { ledger, format } = this;
    const sender = end - payloadAt === this.payloadBytes ? format.sender(lastRead.view, payloadAt) : this.senders;
    if (sender >= this.senders) {
      ledger.malformed++;
      return;
    }
    if (!ledger.sequence.arrived(this.index, sender, format.sequence(lastRead.view, payloadAt))) return;
    ledger.received++;
    if (!ledger.measuring) return;
    // One look at the clock a read: all of it was there when the read returned.
    if (this.readNow === 0) this.readNow = microsNow();
    ledger.latency.add(microsSince(format.micros(lastRead.view, payloadAt), this.readNow));
  }
}

/** Acknowledgements gathered over one read and written once. */
class Answers {
  private bytes = Buffer.allocUnsafeSlow(answerBytes);
  private used = 0;

  add(first: number, packetIdentifier: number): void {
    if (this.used === this.bytes.length) this.bytes = Buffer.concat([this.bytes, Buffer.allocUnsafeSlow(this.used)]);
    this.bytes[this.used] = first;
    this.bytes[this.used + 1] = 2;
    this.bytes[this.used + 2] = packetIdentifier >> 8;
    this.bytes[this.used + 3] = packetIdentifier & 0xff;
    this.used += 4;
  }

  flush(connection: Connection): void {
    if (this.used === 0) return;
    const taken = connection.write(this.bytes.subarray(0, this.used));
    // What the socket did not take at once still lies in these bytes.
    if (!taken) this.bytes = Buffer.allocUnsafeSlow(answerBytes);
    this.used = 0;
  }
}

const answerBytes = 4 * 1024;
