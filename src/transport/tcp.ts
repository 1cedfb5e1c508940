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
    super(`listeners.tcp (${listener.name}) cannot listen on ${listener.host}:${listener.port}: ${cause.code ?? cause.message}`, { cause });
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
  private readonly sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>, listening: Listening) {
    this.server = server;
    this.sockets = sockets;
    this.listening = listening;
  }

  /** Begins to listen. `accept` gives the user of a new Wire, or `undefined` when there is no room. Throws ListenFailed. */
  static open(options: TcpListenerOptions, accept: (wire: Wire) => WireUser | undefined): Promise<TcpListener> {
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true, allowHalfOpen: false }, (socket) => {
      const wire = new TcpWire(socket);
      const user = accept(wire);
      if (user === undefined) {
        socket.destroy();
        return;
      }
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      wire.serve(user);
    });
    return new Promise((resolve, reject) => {
      server.once("error", (cause) => reject(new ListenFailed(options, cause)));
      server.listen({ host: options.host, port: options.port, backlog: backlogMax }, () => {
        server.removeAllListeners("error");
        // What accept() itself fails with, such as too many open files, passes; the listener stays.
        server.on("error", () => {});
        const { address, port } = server.address() as AddressInfo;
        resolve(new TcpListener(server, sockets, { name: options.name, host: address, port }));
      });
    });
  }

  /** Accepts no more; connections stay. */
  stopAccepting(): void {
    this.server.close();
  }

  /** Resolves when every connection has closed, after `graceMs` by force. */
  async close(graceMs: number): Promise<void> {
    this.server.close();
    if (this.sockets.size === 0) return;
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => {
        for (const socket of this.sockets) socket.destroy();
      }, graceMs);
      for (const socket of this.sockets) {
        socket.once("close", () => {
          if (this.sockets.size > 0) return;
          clearTimeout(force);
          resolve();
        });
      }
    });
  }
}

class TcpWire implements Wire {
  readonly remoteAddress: string;
  readonly remotePort: number;
  private readonly socket: Socket;
  private user: WireUser | undefined;
  private waiting = false;
  private ending = false;

  constructor(socket: Socket) {
    this.socket = socket;
    this.remoteAddress = socket.remoteAddress ?? "";
    this.remotePort = socket.remotePort ?? 0;
  }

  serve(user: WireUser): void {
    this.user = user;
    const { socket } = this;
    socket.on("data", (chunk: Buffer) => user.received(chunk));
    // An error is always followed by "close", which is what counts.
    socket.on("error", () => {});
    const gone = () => {
      if (!this.ending) user.closed();
    };
    // A peer that closes its side has left, even if it does not take what waits for it.
    socket.on("end", gone);
    socket.on("close", gone);
  }

  write(bytes: Uint8Array): boolean {
    const { socket } = this;
    socket.write(bytes, this.written);
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
    const { socket } = this;
    socket.end();
    // Unread bytes would turn the close into a reset, which may overtake the last packet: read them, within reason.
    let bytes = 0;
    socket.removeAllListeners("data");
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > lingerBytesMax) socket.destroy();
    });
    socket.resume();
    const linger = setTimeout(() => socket.destroy(), lingerMs);
    linger.unref();
    socket.once("close", () => clearTimeout(linger));
  }

  destroy(): void {
    this.ending = true;
    this.socket.destroy();
  }

  /** One function for all writes: Node runs those of one tick together. */
  private readonly written = (): void => {
    if (!this.waiting || this.socket.writableLength > 0) return;
    this.waiting = false;
    if (!this.ending) this.user?.drained();
  };
}
