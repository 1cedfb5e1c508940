/**
 * A network connection between one client and the broker: bytes in order both ways, in pieces, after a while. Either end may
 * go while bytes are under way, and the client may stop reading.
 */
import type { Connection } from "../../src/broker/connection.ts";
import type { Wire } from "../../src/broker/wire.ts";
import { decodePacket, encodePacket } from "../../src/mqtt/codec.ts";
import { Framer } from "../../src/mqtt/framer.ts";
import type { Packet, ProtocolVersion, Publish } from "../../src/mqtt/packet.ts";
import type { Random } from "../fault/random.ts";
import type { Timeline } from "./timeline.ts";

/** What no broker understands. */
const garbage = Buffer.from([0x00, 0x00]);
export type Sent = Packet | { type: "garbage" };

/** Hears what reaches the broker, before it does, and what leaves it. */
export interface LineWatch {
  reaches(line: Line, packets: readonly Sent[]): void;
  /** `writtenAt`: when the broker let go of it. */
  leaves(line: Line, packet: Packet, writtenAt: number): void;
  /** The broker hears that the client is gone. */
  lost(line: Line): void;
  brokerCloses(line: Line): void;
}

export interface LineUser {
  received(packet: Packet): void;
  closed(): void;
}

type Arrival = { chunk: Buffer; packets: Sent[] } | "close";

export class Line implements Wire {
  readonly remoteAddress = "192.0.2.1";
  readonly remotePort: number;
  readonly version: ProtocolVersion;
  private readonly timeline: Timeline;
  private readonly random: Random;
  private readonly watch: LineWatch;
  private user: LineUser | undefined;
  private connection: Connection | undefined;
  private brokerClosed = false;
  private cut = false;
  private cutOff = false;
  private paused = false;
  private stalled = false;
  /** What it was sent may have waited in the broker, written as it was when it was sent. */
  hasStalled = false;
  private readonly arrivals: Arrival[] = [];

  private lastUp = 0;
  private lastDown = 0;
  private readonly untaken: { bytes: Uint8Array; writtenAt: number }[] = [];
  private writtenAt = 0;
  /** Topic names by the broker's Topic Alias. */
  private readonly aliases = new Map<number, string>();
  private readonly reader = new Framer(
    { packet: (bytes, start, bodyStart, end) => this.left(bytes, start, bodyStart, end), begins: () => {} },
    Number.POSITIVE_INFINITY,
  );

  constructor(
    parts: { timeline: Timeline; random: Random; watch: LineWatch },
    facts: { port: number; version: ProtocolVersion; user: LineUser },
  ) {
    this.timeline = parts.timeline;
    this.random = parts.random;
    this.watch = parts.watch;
    this.remotePort = facts.port;
    this.version = facts.version;
    this.user = facts.user;
  }

  /** Bytes go nowhere before. */
  attach(connection: Connection): void {
    this.connection = connection;
  }

  // The client's end

  send(...packets: Sent[]): void {
    if (this.user === undefined) return;
    const encoded = packets.map((packet) => (packet.type === "garbage" ? garbage : encodePacket(this.version, packet)));
    const bytes = Buffer.concat(encoded);
    const cutAt = this.random.chance(0.15) ? this.random.below(bytes.length) : 0;
    let end = 0;
    let whole = 0;
    for (const { length } of encoded) {
      end += length;
      if (end <= cutAt) whole++;
    }
    if (cutAt > 0) this.goesUp({ chunk: Buffer.from(bytes.subarray(0, cutAt)), packets: packets.slice(0, whole) });
    this.goesUp({ chunk: Buffer.from(bytes.subarray(cutAt)), packets: packets.slice(whole) });
  }

  /** The beginning of a CONNECT that never comes. */
  sendHalf(packet: Packet): void {
    const bytes = encodePacket(this.version, packet);
    this.goesUp({ chunk: Buffer.from(bytes.subarray(0, 1 + this.random.below(bytes.length - 1))), packets: [] });
  }

  /** The client goes; what it sent last may go with it. */
  close(): void {
    if (this.user === undefined) return;
    this.user = undefined;
    this.cut = this.random.chance(0.5);
    this.goesUp("close");
  }

  /** The client is gone, and the broker is not told. */
  vanish(): void {
    this.user = undefined;
  }

  /** The client stops reading for a while. */
  stall(ms: number): void {
    if (this.stalled) return;
    this.stalled = true;
    this.hasStalled = true;
    this.timeline.after(ms, () => this.readOn());
  }

  // The broker's end

  write(bytes: Uint8Array): boolean {
    if (this.stalled) {
      this.untaken.push({ bytes, writtenAt: this.timeline.elapsed });
      return false;
    }
    this.take(bytes, this.timeline.elapsed);
    return true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.timeline.after(0, () => this.arrive());
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.brokerClosed) return;
    this.brokerClosed = true;
    this.watch.brokerCloses(this);
    this.goesDown(() => {
      const { user } = this;
      this.user = undefined;
      user?.closed();
    });
  }

  /** The broker's process is gone. */
  breakOff(): void {
    if (this.brokerClosed) return;
    this.brokerClosed = true;
    this.untaken.length = 0;
    this.goesDown(() => {
      const { user } = this;
      this.user = undefined;
      user?.closed();
    });
  }

  get isOpen(): boolean {
    return !this.brokerClosed && this.user !== undefined;
  }

  private goesUp(arrival: Arrival): void {
    this.lastUp = Math.max(this.lastUp, this.timeline.elapsed + 1 + this.random.below(40));

    this.timeline.after(this.lastUp - this.timeline.elapsed, () => {
      // Of what was under way when the client went, the end may be missing.
      if (this.cut && arrival !== "close" && this.random.chance(0.4)) this.cutOff = true;
      if (this.cutOff && arrival !== "close") return;
      this.arrivals.push(arrival);
      this.arrive();
    });
  }

  private arrive(): void {
    while (!this.paused && !this.brokerClosed) {
      const arrival = this.arrivals.shift();
      if (arrival === undefined || this.connection === undefined) return;
      if (arrival === "close") {
        this.brokerClosed = true;
        this.watch.lost(this);
        this.connection.closed();
        return;
      }
      this.watch.reaches(this, arrival.packets);
      this.connection.received(arrival.chunk);
    }
  }

  private readOn(): void {
    this.stalled = false;
    if (this.untaken.length === 0) return;
    for (const { bytes, writtenAt } of this.untaken.splice(0)) this.take(bytes, writtenAt);
    if (!this.brokerClosed) this.connection?.drained();
  }

  private take(bytes: Uint8Array, writtenAt: number): void {
    this.writtenAt = writtenAt;
    this.reader.push(Buffer.from(bytes));
  }

  private left(bytes: Buffer, start: number, bodyStart: number, end: number): void {
    const packet = decodePacket(this.version, bytes[start], bytes, bodyStart, end);
    if (packet.type === "publish") this.resolveAlias(packet);
    this.watch.leaves(this, packet, this.writtenAt);
    this.goesDown(() => this.user?.received(packet));
  }

  private resolveAlias(packet: Publish): void {
    const alias = packet.properties?.topicAlias;
    if (alias === undefined) return;
    if (packet.topicName === "") packet.topicName = this.aliases.get(alias) ?? "";
    else this.aliases.set(alias, packet.topicName);
  }

  private goesDown(act: () => void): void {
    this.lastDown = Math.max(this.lastDown, this.timeline.elapsed + 1 + this.random.below(40));
    this.timeline.after(this.lastDown - this.timeline.elapsed, act);
  }
}
