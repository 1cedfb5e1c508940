/**
 * A thin MQTT client for trying things, under `pub` and `sub`: one connection, no reconnect. It speaks 3.1, 3.1.1 and 5.0
 * with the broker's own codec.
 *
 *   connecting ──CONNACK──→ connected ──end()──→ ended
 *        └──refused, or the network failed──┴──────↑
 */
import { connect, type Socket } from "node:net";
import { decodePacket, encodePacket } from "../mqtt/codec.ts";
import { Framer } from "../mqtt/framer.ts";
import type { Packet, ProtocolVersion, Publish, PublishAnswer, QoS, Suback } from "../mqtt/packet.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";

export interface ClientOptions {
  host: string;
  port: number;
  protocolVersion: ProtocolVersion;
  clientId: string;
  userName: string | undefined;
  password: string | undefined;
  keepAliveSeconds: number;
}

/** Said in words for whoever typed the command. */
export class ClientFailed extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "ClientFailed";
  }
}

/** The largest packet there can be. [MQTT5 2.1.4] */
const packetBytesMax = 268_435_460;
const connectWaitMs = 10_000;
const endWaitMs = 2_000;

interface Waiting {
  resolve(answer: Packet): void;
  reject(error: ClientFailed): void;
}

export class Client {
  /** Called for each message received, in order; its acknowledgement follows. */
  onMessage: (message: Publish) => void = () => {};
  /** Rejects when the connection ends without `end()`. */
  readonly lost: Promise<never>;
  private readonly options: ClientOptions;
  private readonly socket: Socket;
  private state: "connecting" | "connected" | "ended" = "connecting";
  /** What is waited for: `connack`, or the Packet Identifier of what was sent. */
  private readonly waiting = new Map<"connack" | number, Waiting>();
  /** QoS 2 messages handed on whose PUBREL has not come. [MQTT5 4.3.3] */
  private readonly received = new Set<number>();
  private lastPacketIdentifier = 0;
  private pings: NodeJS.Timeout | undefined;
  private answeredPing = true;
  private reportLost!: (error: ClientFailed) => void;

  private constructor(options: ClientOptions) {
    this.options = options;
    this.lost = new Promise((_, reject) => {
      this.reportLost = reject;
    });
    this.lost.catch(() => {}); // Whoever does not wait for it need not hear of it.
    this.socket = connect({ host: options.host, port: options.port, noDelay: true });
    const framer = new Framer(
      {
        packet: (bytes, start, bodyStart, end) =>
          this.take(decodePacket(options.protocolVersion, bytes[start], bytes, bodyStart, end)),
        begins: () => {},
      },
      packetBytesMax,
    );
    this.socket.on("data", (chunk) => {
      try {
        framer.push(chunk);
      } catch (cause) {
        framer.stop();
        this.fail(new ClientFailed(`the broker sent what is not MQTT: ${(cause as Error).message}`, { cause }));
      }
    });
    this.socket.on("error", (cause) => this.fail(networkFailure(cause, options)));
    this.socket.on("close", () => this.fail(new ClientFailed("the broker closed the connection")));
  }

  /** Throws ClientFailed when there is no broker, or it refuses. */
  static async connect(options: ClientOptions): Promise<Client> {
    const client = new Client(options);
    const { protocolVersion, clientId, userName, password, keepAliveSeconds } = options;
    const overdue = setTimeout(() => {
      client.fail(new ClientFailed(`${addressOf(options)} did not answer within ${connectWaitMs / 1000} s`));
    }, connectWaitMs);
    try {
      const connack = await client.ask("connack", {
        type: "connect",
        protocolVersion,
        cleanStart: true,
        keepAliveSeconds,
        clientId,
        userName,
        password: password === undefined ? undefined : Buffer.from(password),
      });
      if (connack.type === "connack" && connack.reasonCode !== ReasonCode.success) {
        throw new ClientFailed(`the broker refused the connection: ${reasonText(connack)}`);
      }
    } catch (error) {
      client.close();
      throw error;
    } finally {
      clearTimeout(overdue);
    }
    client.state = "connected";
    client.keepAlive();
    return client;
  }

  /** Resolves when the broker has it as far as its QoS promises; throws ClientFailed when the broker refuses it. */
  async publish(message: { topicName: string; payload: Uint8Array; qos: QoS; retain: boolean }): Promise<void> {
    const { topicName, payload, qos, retain } = message;
    if (qos === 0) return this.write({ type: "publish", topicName, payload, retain, qos });
    const packetIdentifier = this.nextPacketIdentifier();
    const publish: Publish = { type: "publish", topicName, payload, retain, qos, packetIdentifier, dup: false };
    const answer = (await this.ask(packetIdentifier, publish)) as PublishAnswer;
    if (answer.reasonCode >= 0x80) throw new ClientFailed(`the broker refused the message: ${reasonText(answer)}`);
  }

  /** Throws ClientFailed when the broker refuses one of them. */
  async subscribe(topicFilters: readonly string[], qos: QoS): Promise<void> {
    const packetIdentifier = this.nextPacketIdentifier();
    const suback = (await this.ask(packetIdentifier, {
      type: "subscribe",
      packetIdentifier,
      subscriptions: topicFilters.map((topicFilter) => ({
        topicFilter,
        qos,
        noLocal: false,
        retainAsPublished: false,
        retainHandling: 0,
      })),
    })) as Suback;
    const refused = topicFilters.flatMap((topicFilter, i) => {
      const reasonCode = suback.reasonCodes[i] ?? ReasonCode.unspecifiedError;
      return reasonCode < 0x80 ? [] : [`"${topicFilter}" (${reasonText({ reasonCode })})`];
    });
    if (refused.length > 0) throw new ClientFailed(`the broker refused the subscription to ${refused.join(", ")}`);
  }

  /** Says good-bye and closes. */
  async end(): Promise<void> {
    if (this.state !== "connected") return this.close();
    this.state = "ended";
    clearInterval(this.pings);
    const closed = new Promise<void>((resolve) => this.socket.once("close", () => resolve()));
    this.socket.end(encodePacket(this.options.protocolVersion, { type: "disconnect", reasonCode: ReasonCode.success }));
    const overdue = setTimeout(() => this.socket.destroy(), endWaitMs);
    await closed;
    clearTimeout(overdue);
  }

  private take(packet: Packet): void {
    switch (packet.type) {
      case "connack":
        return this.answered("connack", packet);
      case "publish":
        return this.receive(packet);
      case "pubrel":
        this.received.delete(packet.packetIdentifier);
        return this.send({ ...packet, type: "pubcomp", reasonCode: ReasonCode.success });
      case "pubrec":
        if (packet.reasonCode >= 0x80) return this.answered(packet.packetIdentifier, packet);
        return this.send({ ...packet, type: "pubrel", reasonCode: ReasonCode.success });
      case "puback":
      case "pubcomp":
      case "suback":
        return this.answered(packet.packetIdentifier, packet);
      case "pingresp":
        this.answeredPing = true;
        return;
      case "disconnect":
        return this.fail(new ClientFailed(`the broker closed the connection: ${reasonText(packet)}`));
      case "connect":
      case "subscribe":
      case "unsubscribe":
      case "unsuback":
      case "pingreq":
      case "auth":
        return this.fail(new ClientFailed(`the broker sent ${packet.type.toUpperCase()}, which nobody asked for`));
      default:
        packet satisfies never;
    }
  }

  private receive(publish: Publish): void {
    if (publish.qos === 0) return this.onMessage(publish);
    const { packetIdentifier } = publish;
    if (publish.qos === 1) {
      this.onMessage(publish);
      return this.send({ type: "puback", packetIdentifier, reasonCode: ReasonCode.success });
    }
    if (!this.received.has(packetIdentifier)) this.onMessage(publish);
    this.received.add(packetIdentifier);
    this.send({ type: "pubrec", packetIdentifier, reasonCode: ReasonCode.success });
  }

  private ask(name: "connack" | number, packet: Packet): Promise<Packet> {
    return new Promise((resolve, reject) => {
      if (this.state === "ended") return reject(new ClientFailed("the connection has ended"));
      this.waiting.set(name, { resolve, reject });
      this.send(packet);
    });
  }

  private answered(name: "connack" | number, packet: Packet): void {
    this.waiting.get(name)?.resolve(packet);
    this.waiting.delete(name);
  }

  private send(packet: Packet): void {
    this.socket.write(encodePacket(this.options.protocolVersion, packet));
  }

  /** Sends, and waits while the network is behind. */
  private write(packet: Packet): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(encodePacket(this.options.protocolVersion, packet), (error) => {
        if (error == null) resolve();
        else reject(networkFailure(error, this.options));
      });
    });
  }

  private nextPacketIdentifier(): number {
    this.lastPacketIdentifier = (this.lastPacketIdentifier % 65_535) + 1;
    return this.lastPacketIdentifier;
  }

  private keepAlive(): void {
    const { keepAliveSeconds } = this.options;
    if (keepAliveSeconds === 0) return;
    this.pings = setInterval(() => {
      if (!this.answeredPing) return this.fail(new ClientFailed("the broker does not answer any more"));
      this.answeredPing = false;
      this.send({ type: "pingreq" });
    }, keepAliveSeconds * 1000);
  }

  private fail(error: ClientFailed): void {
    if (this.state === "ended") return;
    this.close();
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
    this.reportLost(error);
  }

  private close(): void {
    this.state = "ended";
    clearInterval(this.pings);
    this.socket.destroy();
  }
}

function networkFailure(cause: Error, options: ClientOptions): ClientFailed {
  const address = addressOf(options);
  switch ((cause as NodeJS.ErrnoException).code) {
    case "ECONNREFUSED":
      return new ClientFailed(
        `nobody listens on ${address}: start a broker with "hookmq start", or name another one with --host and --port`,
        { cause },
      );
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new ClientFailed(`the host name "${options.host}" is not known`, { cause });
    case "ECONNRESET":
    case "EPIPE":
      return new ClientFailed(`${address} broke the connection off: is it an MQTT broker?`, { cause });
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return new ClientFailed(`${address} cannot be reached`, { cause });
    default:
      return new ClientFailed(`the connection to ${address} failed: ${cause.message}`, { cause });
  }
}

function addressOf({ host, port }: { host: string; port: number }): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `not authorized`, and what the broker adds to it. */
function reasonText(answer: { reasonCode: number; properties?: { reasonString?: string } }): string {
  const name = Object.entries(ReasonCode).find(([, code]) => code === answer.reasonCode)?.[0] ?? "unknown reason";
  const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  const said = answer.properties?.reasonString;
  return `${words} (0x${answer.reasonCode.toString(16).padStart(2, "0")})${said === undefined ? "" : `: ${said}`}`;
}
