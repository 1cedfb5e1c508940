/**
 * Fire and forget, as a broker that forwards events and hopes: every PUBLISH is acknowledged at once, made the same JSON event,
 * and posted over kept connections with the HTTP client that HookMQ uses. Nothing is kept, tried again, put in order, or
 * read of the answer. It shows what the client library alone costs. `node bench/peers/post-loop.ts PORT URL`.
 */
import { createServer, type Socket } from "node:net";
import { type Dispatcher, Pool } from "undici";
import { cutPackets, packetType, type PacketHandler } from "../load/packets.ts";

const [port, url] = process.argv.slice(2);
const { origin, pathname: path } = new URL(url);
const readBytes = 256 * 1024;
const headers = ["content-type", "application/json"];

const pool = new Pool(origin, { connections: 32, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });
const unheard: Dispatcher.DispatchHandler = {
  onRequestStart() {},
  onResponseStart() {},
  onResponseData() {},
  onResponseEnd() {},
  onResponseError() {},
};

class Publisher implements PacketHandler {
  private readonly socket: Socket;
  private bytes: Buffer = Buffer.alloc(0);
  private leftover: Buffer = Buffer.alloc(0);
  private answers: Buffer[] = [];
  private clientId = "";

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => this.receive(chunk));
    socket.on("error", () => socket.destroy());
  }

  packet(first: number, _start: number, at: number, end: number): void {
    switch (first >> 4) {
      case packetType.publish:
        return this.publish((first >> 1) & 3, at, end);
      case packetType.connect:
        this.clientId = this.bytes.toString("utf8", at + 12, at + 12 + this.bytes.readUInt16BE(at + 10));
        this.answers.push(connack);
        return;
    }
  }

  private receive(chunk: Buffer): void {
    this.bytes = this.leftover.length === 0 ? chunk : Buffer.concat([this.leftover, chunk]);
    const next = cutPackets(this.bytes, 0, this.bytes.length, this);
    this.leftover = this.bytes.subarray(next);
    if (this.answers.length > 0) this.socket.write(Buffer.concat(this.answers.splice(0)));
  }

  private publish(qos: number, at: number, end: number): void {
    const topicEnd = at + 2 + this.bytes.readUInt16BE(at);
    const payloadAt = qos > 0 ? topicEnd + 2 : topicEnd;
    const topic = JSON.stringify(this.bytes.toString("utf8", at + 2, topicEnd));
    const payload = JSON.stringify(this.bytes.toString("utf8", payloadAt, end));
    const body =
      `{"ts":${Date.now()},"topic":${topic},"retain":false,"qos":${qos},"action":"message_publish"` +
      `,"from_username":"undefined","from_client_id":${JSON.stringify(this.clientId)},"payload":${payload}}`;
    pool.dispatch({ method: "POST", path, headers, body }, unheard);
    if (qos > 0) this.answers.push(Buffer.of(0x40, 2, this.bytes[topicEnd], this.bytes[topicEnd + 1]));
  }
}

const connack = Buffer.of(0x20, 2, 0, 0);

createServer({ noDelay: true, highWaterMark: readBytes }, (socket) => new Publisher(socket)).listen(
  Number(port),
  "127.0.0.1",
  2048,
);
