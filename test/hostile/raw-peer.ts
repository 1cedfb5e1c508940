/** A peer without manners: bytes out, and nothing read unless it is told to. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { decodePacket, encodePacket } from "../../src/mqtt/codec.ts";
import { Framer } from "../../src/mqtt/framer.ts";
import type { Connect, Packet, ProtocolVersion } from "../../src/mqtt/packet.ts";
import { until } from "../support/until.ts";

export class RawPeer {
  /** All that was read. */
  received = Buffer.alloc(0);
  isClosed = false;
  version: ProtocolVersion = 4;
  private readonly socket: Socket;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => {
      this.isClosed = true;
    });
  }

  static async open(port: number): Promise<RawPeer> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const peer = new RawPeer(socket);
    await once(socket, "connect");
    return peer;
  }

  /** Connects and reads the CONNACK, then no more. */
  static async connect(port: number, packet: Partial<Connect> = {}): Promise<RawPeer> {
    const peer = await RawPeer.open(port);
    const defaults = { protocolVersion: 4, cleanStart: true, keepAliveSeconds: 0, clientId: "raw" } as const;
    const connect: Connect = { type: "connect", ...defaults, ...packet };
    peer.version = connect.protocolVersion;
    peer.read();
    peer.send(connect);
    await until(() => peer.received.length >= 4, "CONNACK has come");
    peer.stopReading();
    return peer;
  }

  send(packet: Packet): void {
    this.write(encodePacket(this.version, packet));
  }

  /** False when the network takes no more for now. */
  write(bytes: Uint8Array): boolean {
    return this.socket.write(bytes);
  }

  /** Bytes handed over that the network has not taken. */
  get unsent(): number {
    return this.socket.writableLength;
  }

  read(): void {
    this.socket.on("data", (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    this.socket.resume();
  }

  stopReading(): void {
    this.socket.pause();
    this.socket.removeAllListeners("data");
  }

  /** Reads on, a packet at a time. */
  readPackets(take: (packet: Packet) => void): void {
    const framer = new Framer(
      {
        packet: (bytes, start, bodyStart, end) => take(decodePacket(this.version, bytes[start], bytes, bodyStart, end)),
        begins: () => {},
      },
      Number.POSITIVE_INFINITY,
    );
    this.socket.on("data", (chunk: Buffer) => framer.push(chunk));
    this.socket.resume();
  }

  /** Reads on, keeping nothing but the number of bytes. */
  async drain(enough: (bytes: number) => boolean): Promise<void> {
    let bytes = 0;
    this.socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    this.socket.resume();
    await until(() => enough(bytes), "enough has been read");
  }

  closed(): Promise<void> {
    this.socket.resume();
    return until(() => this.isClosed, "the server has closed");
  }

  destroy(): void {
    this.socket.destroy();
  }
}
