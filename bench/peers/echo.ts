/**
 * The least that can stand where a broker stands: whole PUBLISH packets are copied to whoever subscribed, acknowledgements
 * are answered without being remembered, each socket is written once per turn of the event loop. It is no broker (no
 * sessions, no identifiers of its own, no limits); it shows what the generator can carry. `node bench/peers/echo.ts PORT`.
 */
import { createServer, type Socket } from "node:net";
import { cutPackets, packetType, type PacketHandler } from "../load/packets.ts";

const outboxBytes = 256 * 1024;
const readBytes = 256 * 1024;

const subscribers = new Map<string, Client[]>();
const dirty: Client[] = [];

class Client implements PacketHandler {
  private readonly socket: Socket;
  private bytes: Buffer = Buffer.alloc(0);
  private leftover: Buffer = Buffer.alloc(0);
  private targets: readonly Client[] | undefined;
  private outbox = Buffer.allocUnsafeSlow(512);
  private used = 0;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => this.receive(chunk));
    socket.on("error", () => socket.destroy());
  }

  packet(first: number, start: number, at: number, end: number): void {
    switch (first >> 4) {
      case packetType.publish:
        return this.publish((first >> 1) & 3, start, at, end);
      case packetType.pubrec:
        return this.answer(0x62, at);
      case packetType.pubrel:
        return this.answer(0x70, at);
      case packetType.connect:
        return this.append(connack, 0, connack.length);
      case packetType.subscribe:
        return this.subscribe(this.bytes.toString("utf8", at + 4, end - 1));
    }
  }

  private subscribe(topicFilter: string): void {
    const others = subscribers.get(topicFilter);
    if (others === undefined) subscribers.set(topicFilter, [this]);
    else others.push(this);
    this.append(suback, 0, suback.length);
  }

  append(bytes: Uint8Array, start: number, end: number): void {
    if (this.used === 0) dirty.push(this);
    if (this.used + end - start > this.outbox.length) this.grow(end - start);
    this.outbox.set(bytes.subarray(start, end), this.used);
    this.used += end - start;
  }

  flush(): void {
    if (this.used === 0) return;
    this.socket.write(this.outbox.subarray(0, this.used));
    if (this.socket.writableLength > 0) this.outbox = Buffer.allocUnsafeSlow(this.outbox.length);
    this.used = 0;
  }

  private receive(chunk: Buffer): void {
    this.bytes = this.leftover.length === 0 ? chunk : Buffer.concat([this.leftover, chunk]);
    const next = cutPackets(this.bytes, 0, this.bytes.length, this);
    this.leftover = this.bytes.subarray(next);
    if (flushDue || dirty.length === 0) return;
    flushDue = true;
    setImmediate(flushAll);
  }

  private publish(qos: number, start: number, at: number, end: number): void {
    const identifierAt = at + 2 + this.bytes.readUInt16BE(at);
    this.targets ??= targetsOf(this.bytes.toString("utf8", at + 2, identifierAt));
    for (const target of this.targets) target.append(this.bytes, start, end);
    if (qos > 0) this.answer(qos === 1 ? 0x40 : 0x50, identifierAt);
  }

  private answer(first: number, identifierAt: number): void {
    acknowledgement[0] = first;
    acknowledgement[2] = this.bytes[identifierAt];
    acknowledgement[3] = this.bytes[identifierAt + 1];
    this.append(acknowledgement, 0, 4);
  }

  private grow(needed: number): void {
    if (this.outbox.length === outboxBytes) return this.flush();
    const bytes = Buffer.allocUnsafeSlow(Math.min(outboxBytes, Math.max(this.outbox.length * 8, this.used + needed)));
    bytes.set(this.outbox.subarray(0, this.used));
    this.outbox = bytes;
  }
}

const connack = Uint8Array.of(0x20, 2, 0, 0);
const suback = Uint8Array.of(0x90, 3, 0, 1, 0);
const acknowledgement = Uint8Array.of(0, 2, 0, 0);
let flushDue = false;

/** A topic name has subscribers of its own, or else those of the one wildcard that the load uses. */
function targetsOf(topicName: string): readonly Client[] {
  return subscribers.get(topicName) ?? subscribers.get("bench/#") ?? [];
}

function flushAll(): void {
  flushDue = false;
  for (const client of dirty.splice(0)) client.flush();
}

createServer({ noDelay: true, highWaterMark: readBytes }, (socket) => new Client(socket)).listen(
  Number(process.argv[2]),
  "127.0.0.1",
  2048,
);
