/** Receivers in the test's own process: one that is well and remembers, and those that are not. */
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { News } from "./news.ts";
import type { Place } from "./place.ts";

export interface ReceivedRequest {
  /** `webhook-id` */
  id: string;
  /** `x-webhook-attempt` */
  attempt: number;
  body: string;
}

/** Answers 200 to all, until it is closed. */
export class GoodReceiver {
  readonly requests: ReceivedRequest[] = [];
  readonly port: number;
  private readonly server: ReturnType<typeof createHttpServer>;
  private readonly news = new News();

  private constructor(server: ReturnType<typeof createHttpServer>) {
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("request", async (request, response) => {
      let body = "";
      for await (const chunk of request.setEncoding("utf8")) body += chunk;
      const { "webhook-id": id, "x-webhook-attempt": attempt } = request.headers;
      this.requests.push({ id: String(id), attempt: Number(attempt), body });
      response.end("ok", () => this.news.tell());
    });
  }

  static async listen(place: Place, port = 0): Promise<GoodReceiver> {
    const server = createHttpServer();
    await listen(server, port);
    const receiver = new GoodReceiver(server);
    place.whenLeaving(() => receiver.close());
    return receiver;
  }

  /** Resolves once a request has come that is so. */
  has(wanted: (request: ReceivedRequest) => boolean): Promise<true> {
    return this.when(() => this.requests.some(wanted));
  }

  holds(count: number): Promise<true> {
    return this.when(() => this.requests.length >= count);
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }

  private when(condition: () => boolean): Promise<true> {
    return this.news.until(
      () => condition() || undefined,
      () => new Error(`waited in vain for a request; ${this.requests.length} have come`),
    );
  }
}

/** Does the same bad thing with each connection. */
export class BadReceiver {
  readonly port: number;
  /** The most that any connection has taken, with what is on its way to it. */
  answerBytesPeak = 0;

  private constructor(server: Server, misbehave: (socket: Socket) => void, sockets: Set<Socket>) {
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.on("close", () => {
        sockets.delete(socket);
        this.answerBytesPeak = Math.max(this.answerBytesPeak, socket.bytesWritten);
      });
      // Whoever is treated like this may hang up.
      socket.on("error", () => {});
      misbehave(socket);
    });
  }

  static async listen(place: Place, misbehave: (socket: Socket) => void): Promise<BadReceiver> {
    const server = createServer();
    const sockets = new Set<Socket>();
    await listen(server, 0);
    place.whenLeaving(async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return new BadReceiver(server, misbehave, sockets);
  }
}

/** A port where nobody listens. */
export async function deadPort(): Promise<number> {
  const server = createServer();
  await listen(server, 0);
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What a receiver may do to whoever connects. */
export const misbehaviours = {
  "answers each after a fifth of a second": (socket) => {
    socket.on("data", () => setTimeout(() => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), 200));
  },
  "never reads": (socket) => socket.pause(),
  "reads and never answers": (socket) => socket.resume(),
  "resets each connection": (socket) => socket.once("data", () => socket.resetAndDestroy()),
  "closes each connection": (socket) => socket.once("data", () => socket.destroy()),
  "speaks no HTTP": (socket) => socket.once("data", () => socket.write("220 ready for mail\r\n")),
  "drips an answer that never ends": (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nx-drip: ");
      const drip = setInterval(() => socket.write("."), 5);
      socket.on("close", () => clearInterval(drip));
    });
  },
  "answers a gigabyte": (socket) => {
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${2 ** 30}\r\n\r\n`);
      pour(socket, Buffer.alloc(64 * 1024, "g"));
    });
  },
  "answers a gigabyte of headers": (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n");
      pour(socket, Buffer.from(`x-much: ${"m".repeat(8000)}\r\n`));
    });
  },
  "redirects to itself": (socket) => {
    const { localPort } = socket;
    const answer = `HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:${localPort}/\r\ncontent-length: 0\r\n\r\n`;
    socket.on("data", () => socket.write(answer));
  },
} satisfies Record<string, (socket: Socket) => void>;

/** As fast as it is taken, for as long as anybody takes it. */
function pour(socket: Socket, block: Uint8Array): void {
  const more = () => {
    while (socket.writable && socket.write(block));
  };
  socket.on("drain", more);
  more();
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
}
