/** One connection of a client: packets out, packets in, and its end. After `cut` nothing more comes of it. */
import { connect, type Socket } from "node:net";
import { decodePacket, encodePacket } from "../../src/mqtt/codec.ts";
import { Framer } from "../../src/mqtt/framer.ts";
import type { Packet, ProtocolVersion } from "../../src/mqtt/packet.ts";

export interface LinkUser {
  received(packet: Packet): void;
  /** The broker has hung up, or was never there. `complaint`: it has sent what is no packet. */
  ended(complaint?: string): void;
}

export class Link {
  private readonly socket: Socket;
  private readonly version: ProtocolVersion;
  private isCut = false;

  constructor(port: number, version: ProtocolVersion, user: LinkUser) {
    this.version = version;
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const framer = new Framer(
      {
        packet: (bytes, start, bodyStart, end) => {
          if (!this.isCut) user.received(decodePacket(version, bytes[start], bytes, bodyStart, end));
        },
        begins: () => {},
      },
      Number.POSITIVE_INFINITY,
    );
    this.socket.on("data", (chunk: Buffer) => {
      if (this.isCut) return;
      try {
        framer.push(chunk);
      } catch (error) {
        this.cut();
        user.ended(`what is no packet: ${(error as Error).message}`);
      }
    });
    // Refused or reset: an end like any other.
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      if (!this.isCut) user.ended();
    });
  }

  send(packet: Packet): void {
    if (!this.isCut) this.socket.write(encodePacket(this.version, packet));
  }

  cut(): void {
    this.isCut = true;
    this.socket.destroy();
  }
}
