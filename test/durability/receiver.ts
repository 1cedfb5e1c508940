/**
 * A receiver of webhooks that remembers each request, answers as its mode says, and holds what comes to the promise: one
 * `webhook-id` for one event over all restarts, and a client's events in the order they happened, over its reconnects.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { isPoison, type Ledger, type Message, toldTopics } from "./ledger.ts";
import type { ReceiverMode } from "./plan.ts";
import { firstKeepAliveSeconds } from "./publisher.ts";

/** What has come under one `webhook-id`. */
interface Received {
  body: string;
  message: Message | undefined;
  /** How often it was taken, and refused for good. */
  accepted: number;
  rejected: number;
}

/** Of one client, as its events tell. */
interface Heard {
  /** The number of its latest message that came for the first time. */
  message: number;
  connection: number;
  isConnected: boolean;
}

type EventBody =
  | { action: "message_publish"; from_client_id: string; payload: string }
  | { action: "client_connack"; clientid: string; keepalive: number }
  | { action: "client_disconnected"; clientid: string };

export class Receiver {
  readonly name: string;
  readonly port: number;
  private readonly ledger: Ledger;
  private readonly onNews: () => void;
  private server: Server;
  private mode: ReceiverMode = "well";
  private changing = Promise.resolve();
  /** By `webhook-id`. */
  private readonly received = new Map<string, Received>();
  /** By message: the ids under which it came. A QoS 1 message that was sent again may be several events. */
  private readonly idsOf = new Map<string, Set<string>>();
  private readonly settledMessages = new Set<string>();
  private readonly heard = new Map<string, Heard>();
  acceptedIds = 0;
  rejectedIds = 0;
  /** Requests for what had been taken or refused already. */
  repetitions = 0;

  private constructor(name: string, server: Server, ledger: Ledger, onNews: () => void) {
    this.name = name;
    this.ledger = ledger;
    this.onNews = onNews;
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    this.serve(server);
  }

  static async listen(name: string, ledger: Ledger, onNews: () => void): Promise<Receiver> {
    const server = createServer();
    await listening(server, 0);
    return new Receiver(name, server, ledger, onNews);
  }

  /** One change after another. */
  become(mode: ReceiverMode): Promise<void> {
    this.changing = this.changing.then(() => this.change(mode));
    return this.changing;
  }

  private async change(mode: ReceiverMode): Promise<void> {
    const before = this.mode;
    if (mode === before) return;
    this.mode = mode;
    if (mode === "closed") return closed(this.server);
    if (before !== "closed") return;
    this.server = createServer();
    this.serve(this.server);
    await listening(this.server, this.port);
  }

  async close(): Promise<void> {
    await this.changing;
    if (this.mode !== "closed") await closed(this.server);
  }

  /** Different messages that were taken, or refused for good. */
  get settled(): number {
    return this.settledMessages.size;
  }

  /** Every event that has come was taken or refused for good. */
  get isIdle(): boolean {
    return this.acceptedIds + this.rejectedIds === this.received.size;
  }

  get events(): number {
    return this.received.size;
  }

  wants({ topicName }: Message): boolean {
    return topicName.startsWith(toldTopics);
  }

  hasSettled({ key }: Message): boolean {
    return this.settledMessages.has(key);
  }

  hasHeardOf({ key }: Message): boolean {
    return this.idsOf.has(key);
  }

  private serve(server: Server): void {
    server.on("request", async (request, response) => {
      try {
        let body = "";
        for await (const chunk of request.setEncoding("utf8")) body += chunk;
        this.receive(request, body, response);
      } catch {
        // The broker was killed in the middle of it.
      }
    });
  }

  private receive(request: IncomingMessage, body: string, response: ServerResponse): void {
    const id = String(request.headers["webhook-id"]);
    const received = this.received.get(id) ?? this.hear(id, body);
    if (received.body !== body) this.violated(`was sent another body under ${id}: ${body}`);
    this.answer(received, request, response);
    this.onNews();
  }

  private answer(received: Received, request: IncomingMessage, response: ServerResponse): void {
    switch (this.mode) {
      case "well":
        return this.settle(received, response);
      case "fails":
        response.writeHead(503).end();
        return;
      case "errs":
        response.writeHead(500).end();
        return;
      case "hangs":
        return;
      case "resets":
      case "closed":
        request.socket.destroy();
        return;
      default:
        this.mode satisfies never;
    }
  }

  private settle(received: Received, response: ServerResponse): void {
    const { message } = received;
    if (received.accepted + received.rejected > 0) this.repetitions++;
    if (message !== undefined) this.settledMessages.add(message.key);
    if (message !== undefined && isPoison(message)) {
      if (received.rejected++ === 0) this.rejectedIds++;
      response.writeHead(400).end();
    } else {
      if (received.accepted++ === 0) this.acceptedIds++;
      response.end();
    }
  }

  /** An event that comes for the first time: it is held to what came before. */
  private hear(id: string, body: string): Received {
    const event = JSON.parse(body) as EventBody;
    const received: Received = { body, message: undefined, accepted: 0, rejected: 0 };
    this.received.set(id, received);
    switch (event.action) {
      case "message_publish":
        received.message = this.hearMessage(id, event.from_client_id, event.payload);
        break;
      case "client_connack": {
        const heard = this.heardOf(event.clientid);
        heard.isConnected = true;
        if (event.keepalive < firstKeepAliveSeconds) break; // of no publisher
        const connection = event.keepalive - firstKeepAliveSeconds;
        if (connection <= heard.connection)
          this.violated(`heard of connection ${connection} of ${event.clientid} behind ${heard.connection}`);
        heard.connection = connection;
        break;
      }
      case "client_disconnected": {
        const heard = this.heardOf(event.clientid);
        if (!heard.isConnected) this.violated(`heard twice that ${event.clientid} has left`);
        heard.isConnected = false;
        break;
      }
      default:
        event satisfies never;
    }
    return received;
  }

  private hearMessage(id: string, clientId: string, payload: string): Message | undefined {
    const message = this.ledger.messageOf(payload);
    if (message === undefined || message.publisher !== clientId) {
      this.violated(`heard of what nobody published: ${clientId} ${payload}`);
      return undefined;
    }
    const { key, number, sendings, qos, firstConnection, outcome, acknowledgedOn } = message;
    const heard = this.heardOf(clientId);
    if (firstConnection > heard.connection)
      this.violated(`heard ${key} of connection ${firstConnection} before that connection`);
    if (outcome === "acknowledged" && acknowledgedOn < heard.connection)
      this.violated(
        `heard ${key}, acknowledged on connection ${acknowledgedOn}, behind connection ${heard.connection}`,
      );
    let ids = this.idsOf.get(key);
    if (ids === undefined) {
      ids = new Set();
      this.idsOf.set(key, ids);
      if (number < heard.message) this.violated(`heard ${key} behind number ${heard.message}`);
      heard.message = number;
    }
    ids.add(id);
    if (ids.size > (qos === 2 ? 1 : sendings))
      this.violated(`heard ${key} of QoS ${qos} under ${ids.size} ids: it was sent ${sendings} times`);
    return message;
  }

  private heardOf(clientId: string): Heard {
    let heard = this.heard.get(clientId);
    if (heard === undefined) {
      heard = { message: 0, connection: 0, isConnected: false };
      this.heard.set(clientId, heard);
    }
    return heard;
  }

  private violated(claim: string): void {
    this.ledger.violated(`receiver ${this.name} ${claim}`);
  }
}

function listening(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
