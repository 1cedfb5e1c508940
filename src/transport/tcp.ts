/** TCP: bytes in, bytes out. */
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { Wire, WireUser } from "../broker/wire.ts";
import type { TcpListenerOptions } from "./options.ts";

/** Where a listener really listens: the port is known even when 0 was asked for. */
export interface Listening {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** The address cannot be listened on; `code` is the system's: EADDRINUSE, EACCES, EADDRNOTAVAIL. */
export class ListenFailed extends Error {
  readonly code: string;
  readonly listener: TcpListenerOptions;

  constructor(listener: TcpListenerOptions, cause: NodeJS.ErrnoException) {
    super(
      `listeners.tcp (${listener.name}) cannot listen on ${listener.host}:${listener.port}: ${cause.code ?? cause.message}`,
      { cause },
    );
    this.name = "ListenFailed";
    this.code = cause.code ?? "";
    this.listener = listener;
  }
}

/** Connections that the kernel holds until they are accepted. */
const backlogMax = 4096;
/** After the last packet a peer has this long to take it and close. */
const lingerMs = 2000;
/** Bytes a closing peer may still send before it is cut off. */
const lingerBytesMax = 16 * 1024 * 1024;

export class TcpListener {
  readonly listening: Listening;
  private readonly server: Server;
  private readonly wires: Set<TcpWire>;

  private constructor(server: Server, wires: Set<TcpWire>, listening: Listening) {
    this.server = server;
    this.wires = wires;
    this.listening = listening;
  }

  /** Begins to listen. `accept` gives the user of a new Wire, or `undefined` when there is no room. Throws ListenFailed. */
  static open(options: TcpListenerOptions, accept: (wire: Wire) => WireUser | undefined): Promise<TcpListener> {
    const wires = new Set<TcpWire>();
    const server = createServer({ noDelay: true }, (socket) => {
      const wire = new TcpWire(socket, wires);
      const user = accept(wire);
      if (user === undefined) socket.destroy();
      else wire.serve(user);
    });
    return new Promise((resolve, reject) => {
      server.once("error", (cause) => reject(new ListenFailed(options, cause)));
      server.listen({ host: options.host, port: options.port, backlog: backlogMax }, () => {
        server.removeAllListeners("error");
        // What accept() itself fails with, such as too many open files, passes; the listener stays.
        server.on("error", ignore);
        const { address, port } = server.address() as AddressInfo;
        resolve(new TcpListener(server, wires, { name: options.name, host: address, port }));
      });
    });
  }

  /** Accepts no more; connections stay. */
  stopAccepting(): void {
    this.server.close();
  }

  /** Resolves when every connection has closed, after `graceMs` by force. */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    const force = setTimeout(() => {
      for (const wire of this.wires) wire.destroy();
    }, graceMs);
    await closed;
    clearTimeout(force);
  }
}

/** A socket that knows its Wire: its handlers are the same functions for all, which an idle connection is glad of. */
interface WiredSocket extends Socket {
  wire: TcpWire;
}

class TcpWire implements Wire {
  readonly remoteAddress: string;
  readonly remotePort: number;
  user: WireUser | undefined;
  private readonly socket: WiredSocket;
  private readonly wires: Set<TcpWire>;
  private waiting = false;
  private ending = false;
  private lingerBytes = 0;

  constructor(socket: Socket, wires: Set<TcpWire>) {
    this.socket = Object.assign(socket, { wire: this });
    this.wires = wires;
    this.remoteAddress = socket.remoteAddress ?? "";
    this.remotePort = socket.remotePort ?? 0;
  }

  serve(user: WireUser): void {
    this.user = user;
    this.wires.add(this);
    this.socket.on("data", received);
    // An error is always followed by "close", which is what counts.
    this.socket.on("error", ignore);
    // A peer that closes its side has left, even if it does not take what waits for it.
    this.socket.on("end", left);
    this.socket.on("close", closed);
  }

  write(bytes: Uint8Array): boolean {
    const { socket } = this;
    socket.write(bytes, this.onWritten);
    if (socket.writableLength === 0) return true;
    this.waiting = true;
    return false;
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    if (this.ending) return;
    this.ending = true;
    this.socket.end();
    // Unread bytes would turn the close into a reset, which may overtake the last packet: read them, within reason.
    this.socket.resume();
    const linger = setTimeout(() => this.socket.destroy(), lingerMs);
    this.socket.once("close", () => clearTimeout(linger));
  }

  destroy(): void {
    this.ending = true;
    this.socket.destroy();
  }

  received(chunk: Buffer): void {
    if (!this.ending) return this.user?.received(chunk);
    this.lingerBytes += chunk.length;
    if (this.lingerBytes > lingerBytesMax) this.socket.destroy();
  }

  left(): void {
    if (!this.ending) this.user?.closed();
  }

  closed(): void {
    this.wires.delete(this);
    this.left();
    this.user = undefined;
  }

  /** One function for all writes: Node calls those of one tick together. */
  private readonly onWritten = (): void => {
    if (!this.waiting || this.socket.writableLength > 0) return;
    this.waiting = false;
    if (!this.ending) this.user?.drained();
  };
}

function received(this: WiredSocket, chunk: Buffer): void {
  this.wire.received(chunk);
}

function left(this: WiredSocket): void {
  this.wire.left();
}

function closed(this: WiredSocket): void {
  this.wire.closed();
}

function ignore(): void {}
