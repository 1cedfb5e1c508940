/**
 * One MQTT connection of the generator. All connections read into one shared buffer: what a read brought is judged
 * before the next read happens, and only the start of a packet that was cut off is kept.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import {
  connectPacket,
  cutPackets,
  disconnectPacket,
  packetType,
  subscribePacket,
  type PacketHandler,
  type Qos,
} from "./packets.ts";

const readBytes = 256 * 1024;
/** Room in front of what is read, for the start of a packet that the read before ended with. */
const headroomBytes = 64 * 1024;
const memory = Buffer.allocUnsafeSlow(headroomBytes + readBytes);
const readable = memory.subarray(headroomBytes);

/** Where handlers find the bytes that their offsets speak of, until they return. */
export const lastRead: { readonly bytes: Buffer; readonly view: DataView } = {
  bytes: memory,
  view: new DataView(memory.buffer, memory.byteOffset, memory.length),
};

export interface ConnectionHandler extends PacketHandler {
  /** All whole packets of one read were handed over. */
  readDone(): void;
  /** Everything written before was taken; only called after a write that had to wait. */
  writable(): void;
}

export class Connection {
  handler: ConnectionHandler = unexpected;
  private readonly socket: Socket;
  private readonly lost: (reason: Error) => void;
  private leftover: Buffer = noBytes;
  private waiting = false;
  private closing = false;
  private answered: Answer | undefined;

  /** `lost` hears of a connection that ends before `close`. */
  constructor({ port, lost }: { port: number; lost: (reason: Error) => void }) {
    this.lost = lost;
    this.socket = connect({
      host: "127.0.0.1",
      port,
      noDelay: true,
      onread: { buffer: readable, callback: (bytes) => this.receive(bytes) },
    });
    this.socket.on("error", (error) => this.end(error));
    this.socket.on("close", () => this.end(new Error("the broker closed the connection")));
  }

  /** Resolved by CONNACK. A session that was kept may have something to say at once: `handler` hears it. */
  async open(clientId: string, { cleanSession = true, handler = unexpected }: OpenOptions = {}): Promise<void> {
    this.write(connectPacket(clientId, { cleanSession }));
    await this.answer(packetType.connack, handler);
  }

  /** Resolved by SUBACK. */
  async subscribe(topicFilter: string, qos: Qos): Promise<void> {
    this.write(subscribePacket(topicFilter, qos));
    await this.answer(packetType.suback);
  }

  /** False when the socket did not take all of it at once; the bytes are then still in use until `writable`. */
  write(bytes: Uint8Array): boolean {
    this.socket.write(bytes, this.written);
    this.waiting = this.socket.writableLength > 0;
    return !this.waiting;
  }

  get blocked(): boolean {
    return this.waiting;
  }

  close(): void {
    this.closing = true;
    this.socket.end(disconnectPacket);
    this.socket.destroySoon();
  }

  /** Resolved once the broker has closed its side as well: it has heard DISCONNECT. */
  async leave(): Promise<void> {
    this.closing = true;
    const closed = once(this.socket, "close");
    this.socket.end(disconnectPacket);
    await closed;
  }

  private readonly written = (): void => {
    if (!this.waiting || this.socket.writableLength > 0) return;
    this.waiting = false;
    this.handler.writable();
  };

  private receive(count: number): true {
    const start = headroomBytes - this.leftover.length;
    const end = headroomBytes + count;
    memory.set(this.leftover, start);
    try {
      const next = cutPackets(memory, start, end, this.handler);
      if (end - next > headroomBytes) throw new Error("a packet larger than the generator can hold");
      this.leftover = next === end ? noBytes : Buffer.from(memory.subarray(next, end));
    } catch (error) {
      this.socket.destroy(error as Error);
      return true;
    }
    this.handler.readDone();
    return true;
  }

  private answer(type: number, next = unexpected): Promise<void> {
    return new Promise((resolve, reject) => {
      this.answered = { resolve, reject };
      this.handler = {
        ...unexpected,
        packet: (first, start, at, end) => {
          // The same read may hold what comes after the answer.
          if (this.answered === undefined) return this.handler.packet(first, start, at, end);
          this.handler = next;
          this.settle(first >> 4 === type, at, type);
        },
      };
    });
  }

  private settle(asExpected: boolean, at: number, type: number): void {
    // CONNACK: flags, return code. SUBACK: packet identifier, return code, where 0x80 is the refusal.
    const refused = type === packetType.connack ? memory[at + 1] !== 0 : memory[at + 2] >= 0x80;
    const answer = this.answered;
    this.answered = undefined;
    if (asExpected && !refused) answer?.resolve();
    else answer?.reject(new Error(asExpected ? `refused in packet type ${type}` : "answered with another packet"));
  }

  private end(reason: Error): void {
    if (this.closing) return;
    this.closing = true;
    this.answered?.reject(reason);
    this.lost(reason);
  }
}

interface OpenOptions {
  cleanSession?: boolean;
  handler?: ConnectionHandler;
}

interface Answer {
  resolve: () => void;
  reject: (reason: Error) => void;
}

const noBytes = Buffer.alloc(0);

const unexpected: ConnectionHandler = {
  packet(first) {
    throw new Error(`an unexpected packet of type ${first >> 4}`);
  },
  readDone() {},
  writable() {},
};
