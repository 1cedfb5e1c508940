/** A client that does exactly what a test says: packets or bytes out, packets in, nothing answered by itself. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { decodePacket, encodePacket } from "../../src/mqtt/codec.ts";
import { Framer } from "../../src/mqtt/framer.ts";
import type {
  Connack,
  Connect,
  Packet,
  PacketIdentifier,
  ProtocolVersion,
  Publish,
  PublishAnswer,
  PublishProperties,
  QoS,
  Suback,
  SubscriptionRequest,
  Unsuback,
} from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { patienceMs } from "./until.ts";

type Of<T extends Packet["type"]> = T extends PublishAnswer["type"]
  ? PublishAnswer & { type: T }
  : Extract<Packet, { type: T }>;

export interface PublishOptions {
  qos?: QoS;
  retain?: boolean;
  dup?: boolean;
  packetIdentifier?: PacketIdentifier;
  properties?: PublishProperties;
}

const serverClosed = "the server has closed";

interface Waiting {
  wants(packet: Packet): boolean;
  resolve(packet: Packet): void;
  reject(error: Error): void;
}

export class TestClient {
  /** Set by `connect`. */
  connack!: Connack;
  clientId = "";
  /** What packets are encoded and decoded as; set by sending a CONNECT. */
  version: ProtocolVersion = 5;
  private readonly socket: Socket;
  private readonly packets: Packet[] = [];
  /** In the order they began to wait. */
  private waiting: Waiting[] = [];
  private ended = false;
  /** Why nothing more comes. */
  private complaint = serverClosed;
  private lastPacketIdentifier = 0;

  private constructor(socket: Socket) {
    this.socket = socket;
    const framer = new Framer(
      {
        packet: (bytes, start, bodyStart, end) => {
          this.received(decodePacket(this.version, bytes[start], bytes, bodyStart, end));
        },
        begins: () => {},
      },
      Number.POSITIVE_INFINITY,
    );
    socket.on("data", (chunk: Buffer) => {
      try {
        framer.push(chunk);
      } catch (error) {
        this.complaint = `the server has sent what is no packet: ${(error as Error).message}`;
        socket.destroy();
      }
    });
    // A reset is an end like any other.
    socket.on("error", () => {});
    socket.on("close", () => this.end());
  }

  /** TCP only, nothing sent. */
  static async open(port: number): Promise<TestClient> {
    const socket = connectTcp({ port, host: "127.0.0.1", noDelay: true });
    const client = new TestClient(socket);
    await once(socket, "connect");
    return client;
  }

  /** A 5.0 client with a clean start and a name of its own, unless told otherwise; fails unless it is accepted. */
  static async connect(port: number, connect: Partial<Connect> = {}): Promise<TestClient> {
    const client = await TestClient.open(port);
    client.connack = await client.request(connect);
    if (client.connack.reasonCode !== ReasonCode.success) throw new Error(`refused: ${show(client.connack)}`);
    client.clientId = client.connack.properties?.assignedClientIdentifier ?? client.clientId;
    return client;
  }

  /** Sends a CONNECT and gives its answer, whatever it is. */
  async request(connect: Partial<Connect> = {}): Promise<Connack> {
    const clientId = `test-${randomBytes(6).toString("hex")}`;
    this.send({ type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId, ...connect });
    return this.expect("connack");
  }

  /** Packets received that no one has asked for yet. */
  get unread(): readonly Packet[] {
    return this.packets;
  }

  send(packet: Packet): void {
    if (packet.type === "connect") {
      this.version = packet.protocolVersion;
      this.clientId = packet.clientId;
    }
    this.socket.write(encodePacket(this.version, packet));
  }

  /** Hexadecimal digits, spaces allowed, or bytes. */
  sendBytes(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes.replaceAll(/\s/g, ""), "hex") : bytes);
  }

  /** The next packet, whatever it is. */
  next(): Promise<Packet> {
    return this.take("a packet", () => true);
  }

  /** The next packet, which must be of this type. */
  async expect<T extends Packet["type"]>(type: T): Promise<Of<T>> {
    const packet = await this.take(type.toUpperCase(), () => true);
    if (packet.type !== type) throw new Error(`expected ${type.toUpperCase()}, got ${show(packet)}`);
    return packet as Of<T>;
  }

  /** The next packet, which must be a PUBLISH; acknowledges it as its QoS asks for. */
  async receive(): Promise<Publish> {
    const publish = await this.expect("publish");
    if (publish.qos === 0) return publish;
    const { packetIdentifier } = publish;
    const answer = (type: "puback" | "pubrec" | "pubcomp") =>
      this.send({ type, packetIdentifier, reasonCode: ReasonCode.success });
    if (publish.qos === 1) answer("puback");
    else {
      answer("pubrec");
      await this.answerTo("pubrel", packetIdentifier);
      answer("pubcomp");
    }
    return publish;
  }

  /** The payloads of the next messages, in the order they come. */
  async receiveTexts(count: number): Promise<string[]> {
    const texts: string[] = [];
    for (let i = 0; i < count; i++) texts.push(textOf(await this.receive()));
    return texts;
  }

  /**
   * Fails if anything has come that was not asked for. A round trip proves that all there was to come has come: a second
   * one, that answers of the broker to what it read before the first are out too.
   */
  async nothing(): Promise<void> {
    await this.roundTrip();
    await this.roundTrip();
    if (this.packets.length > 0) throw new Error(`expected nothing, got ${this.packets.map(show).join(", ")}`);
  }

  /** When it resolves the broker has handled all that was sent before. */
  async roundTrip(): Promise<void> {
    this.send({ type: "pingreq" });
    await this.take("PINGRESP", ({ type }) => type === "pingresp");
  }

  async subscribe(
    topicFilter: string,
    options: Partial<SubscriptionRequest> & { subscriptionIdentifier?: number } = {},
  ): Promise<Suback> {
    const { subscriptionIdentifier, ...request } = options;
    const packetIdentifier = this.nextPacketIdentifier();
    const defaults = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    this.send({
      type: "subscribe",
      packetIdentifier,
      subscriptions: [{ ...defaults, topicFilter, ...request }],
      properties: subscriptionIdentifier === undefined ? undefined : { subscriptionIdentifier },
    });
    return this.answerTo("suback", packetIdentifier);
  }

  async unsubscribe(...topicFilters: string[]): Promise<Unsuback> {
    const packetIdentifier = this.nextPacketIdentifier();
    this.send({ type: "unsubscribe", packetIdentifier, topicFilters });
    return this.answerTo("unsuback", packetIdentifier);
  }

  /** Sends a PUBLISH and waits until the broker has done with it; gives the Reason Code of PUBACK or PUBREC. */
  async publish(topicName: string, payload: string | Uint8Array, options: PublishOptions = {}): Promise<ReasonCode> {
    const packet = this.sendPublish(topicName, payload, options);
    if (packet.qos === 0) {
      await this.roundTrip();
      return ReasonCode.success;
    }
    const { packetIdentifier } = packet;
    if (packet.qos === 1) return (await this.answerTo("puback", packetIdentifier)).reasonCode;
    const { reasonCode } = await this.answerTo("pubrec", packetIdentifier);
    if (reasonCode >= ReasonCode.unspecifiedError) return reasonCode;
    this.send({ type: "pubrel", packetIdentifier, reasonCode: ReasonCode.success });
    await this.answerTo("pubcomp", packetIdentifier);
    return reasonCode;
  }

  /** Sends a PUBLISH and waits for nothing. */
  sendPublish(topicName: string, payload: string | Uint8Array, options: PublishOptions = {}): Publish {
    const { qos = 0, retain = false, dup = false, properties } = options;
    const bytes = typeof payload === "string" ? new Uint8Array(Buffer.from(payload)) : payload;
    const message = { type: "publish", topicName, payload: bytes, retain, properties } as const;
    const packet: Publish =
      qos === 0
        ? { ...message, qos }
        : { ...message, qos, packetIdentifier: options.packetIdentifier ?? this.nextPacketIdentifier(), dup };
    this.send(packet);
    return packet;
  }

  /** The next packet of this type about this Packet Identifier; others stay where they are. */
  async answerTo<T extends "puback" | "pubrec" | "pubrel" | "pubcomp" | "suback" | "unsuback">(
    type: T,
    packetIdentifier: PacketIdentifier,
  ): Promise<Of<T>> {
    const packet = await this.take(
      `${type.toUpperCase()} for ${packetIdentifier}`,
      (packet) => packet.type === type && packet.packetIdentifier === packetIdentifier,
    );
    return packet as Of<T>;
  }

  /** Resolves when the server has closed. */
  async closed(): Promise<void> {
    if (!this.ended) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("waited in vain for the server to close")), patienceMs);
        this.socket.once("close", () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    if (this.complaint !== serverClosed) throw new Error(this.complaint);
  }

  /** Leaves with a DISCONNECT; resolves when the server has closed. */
  async disconnect(): Promise<void> {
    this.send({ type: "disconnect", reasonCode: ReasonCode.success });
    await this.closed();
  }

  /** Leaves without a word. */
  destroy(): void {
    this.socket.destroy();
  }

  private nextPacketIdentifier(): PacketIdentifier {
    return ++this.lastPacketIdentifier;
  }

  private received(packet: Packet): void {
    const at = this.waiting.findIndex(({ wants }) => wants(packet));
    if (at >= 0) this.waiting.splice(at, 1)[0].resolve(packet);
    else this.packets.push(packet);
  }

  private end(): void {
    this.ended = true;
    for (const { reject } of this.waiting.splice(0)) reject(new Error(this.complaint));
  }

  private async take(awaited: string, wants: (packet: Packet) => boolean): Promise<Packet> {
    const at = this.packets.findIndex(wants);
    if (at >= 0) return this.packets.splice(at, 1)[0];
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Packet>((resolve, reject) => {
        if (this.ended) return reject(new Error(this.complaint));
        const waiting = { wants, resolve, reject };
        this.waiting.push(waiting);
        timer = setTimeout(() => {
          this.waiting.splice(this.waiting.indexOf(waiting), 1);
          reject(new Error("nothing came"));
        }, patienceMs);
      });
    } catch (error) {
      const unread = this.packets.length === 0 ? "" : `; unread: ${this.packets.map(show).join(", ")}`;
      throw new Error(`waited for ${awaited}, but ${(error as Error).message}${unread}`);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The payload of a message. */
export function textOf({ payload }: Publish): string {
  return Buffer.from(payload).toString();
}

function show(packet: Packet): string {
  return JSON.stringify(packet, (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString() : value));
}
