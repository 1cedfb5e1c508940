/**
 * A publisher with a session that lasts: sends again, after each reconnection and in order, what was not acknowledged, so
 * that exactly once is defined for QoS 2. Notes every acknowledgement in the ledger.
 *
 *   QoS 1:  publishing ──PUBACK──→ done
 *   QoS 2:  publishing ──PUBREC──→ releasing ──PUBCOMP──→ done
 */
import type { Packet, PacketIdentifier, ProtocolVersion, PublishAnswer } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import type { Ledger, Message } from "./ledger.ts";
import { Link } from "./link.ts";
import type { PublisherRound } from "./plan.ts";

interface Sending {
  message: Message;
  phase: "publishing" | "releasing";
}

/** So few that each is soon used again: an identifier that the broker takes for used loses a message. */
const identifiers = 16;
/** Keep Alive tells connections apart in what receivers hear of them. */
export const firstKeepAliveSeconds = 10_000;

export class Publisher {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  private readonly ledger: Ledger;
  /** Something was acknowledged, or refused, or the session was taken up. */
  private readonly onNews: () => void;
  /** By Packet Identifier, in the order they were first sent. */
  private readonly sendings = new Map<PacketIdentifier, Sending>();
  private nextIdentifier = 1;
  private published = 0;
  private connections = 0;
  private link: Link | undefined;
  private isOpen = false;
  /** The store must know the session: something was acknowledged in it. */
  private isKnown = false;
  private port = 0;
  private messagesLeft = 0;
  private window = 1;
  private dropsAfter = Number.POSITIVE_INFINITY;
  refusals = 0;

  constructor(parts: { clientId: string; version: ProtocolVersion; ledger: Ledger; onNews: () => void }) {
    this.clientId = parts.clientId;
    this.version = parts.version;
    this.ledger = parts.ledger;
    this.onNews = parts.onNews;
  }

  /** Nothing is left to be sent, and all is acknowledged. */
  get isIdle(): boolean {
    return this.messagesLeft === 0 && this.sendings.size === 0;
  }

  connect(port: number, { messages, window, dropsAfter }: PublisherRound): void {
    this.messagesLeft = messages;
    this.window = window;
    this.dropsAfter = dropsAfter;
    this.reconnect(port);
  }

  /** With what it had to send. */
  reconnect(port = this.port): void {
    this.leave();
    this.port = port;
    this.connections++;
    const keepAliveSeconds = firstKeepAliveSeconds + this.connections;
    const { clientId, version } = this;
    this.link = new Link(port, version, {
      received: (packet) => this.received(packet),
      ended: (complaint) => {
        if (complaint !== undefined) this.ledger.violated(`${clientId} was sent ${complaint}`);
        this.leave();
      },
    });
    const properties = version === 5 ? { sessionExpiryInterval: 3600 } : undefined;
    this.link.send({
      type: "connect",
      protocolVersion: version,
      cleanStart: false,
      keepAliveSeconds,
      clientId,
      properties,
    });
  }

  /** More to send, on the present connection. */
  publish(messages: number): void {
    this.messagesLeft += messages;
    if (this.isOpen) this.fillWindow();
  }

  /** Sends nothing new until there is more. */
  pause(): void {
    this.messagesLeft = 0;
  }

  /** Without a word. */
  leave(): void {
    this.link?.cut();
    this.link = undefined;
    this.isOpen = false;
  }

  /** What is under way, for who waits in vain. */
  describe(): string {
    const under = [...this.sendings].map(([identifier, { message, phase }]) => `${message.key} ${phase} ${identifier}`);
    return `${this.clientId} has ${this.messagesLeft} to send, under way: ${under.join(", ") || "nothing"}`;
  }

  private received(packet: Packet): void {
    switch (packet.type) {
      case "connack":
        return this.connected(packet.reasonCode, packet.sessionPresent);
      case "puback":
      case "pubrec":
      case "pubcomp":
        this.answered(packet);
        return this.onNews();
      case "disconnect":
        return;
      default:
        this.ledger.violated(`${this.clientId} was sent ${packet.type}`);
    }
  }

  private connected(reasonCode: ReasonCode, sessionPresent: boolean): void {
    const { ledger, clientId } = this;
    if (reasonCode !== ReasonCode.success) return ledger.violated(`${clientId} was refused: ${reasonCode}`);
    if (this.isKnown && !sessionPresent) ledger.violated(`the session of ${clientId} is lost`);
    this.isOpen = true;
    for (const [packetIdentifier, { message, phase }] of this.sendings) {
      // A session that is new knows of no identifier. [MQTT5 4.1]
      if (phase === "releasing") this.release(packetIdentifier);
      else this.send(packetIdentifier, message, sessionPresent);
    }
    this.fillWindow();
    this.onNews();
  }

  private fillWindow(): void {
    while (this.messagesLeft > 0 && this.sendings.size < Math.min(this.window, identifiers)) {
      this.messagesLeft--;
      const message = this.ledger.publish(this.clientId, ++this.published, this.connections);
      const packetIdentifier = this.freeIdentifier();
      this.sendings.set(packetIdentifier, { message, phase: "publishing" });
      this.send(packetIdentifier, message, false);
    }
  }

  private freeIdentifier(): PacketIdentifier {
    while (this.sendings.has(this.nextIdentifier)) this.nextIdentifier = (this.nextIdentifier % identifiers) + 1;
    const free = this.nextIdentifier;
    this.nextIdentifier = (free % identifiers) + 1;
    return free;
  }

  private send(packetIdentifier: PacketIdentifier, message: Message, dup: boolean): void {
    message.sendings++;
    const { topicName, qos, retain } = message;
    const payload = Buffer.from(message.payload);
    this.link?.send({ type: "publish", topicName, payload, qos, retain, dup, packetIdentifier });
  }

  private release(packetIdentifier: PacketIdentifier): void {
    this.link?.send({ type: "pubrel", packetIdentifier, reasonCode: ReasonCode.success });
  }

  private answered({ type, packetIdentifier, reasonCode }: PublishAnswer): void {
    const { ledger } = this;
    const sending = this.sendings.get(packetIdentifier);
    const awaited = sending?.phase === "releasing" ? "pubcomp" : sending?.message.qos === 1 ? "puback" : "pubrec";
    if (sending === undefined || type !== awaited)
      return ledger.violated(`${this.clientId} got a ${type} for ${packetIdentifier} that it did not wait for`);
    const { message } = sending;
    if (reasonCode >= ReasonCode.unspecifiedError && type !== "pubcomp") {
      this.sendings.delete(packetIdentifier);
      ledger.refused(message);
      this.refusals++;
      return this.fillWindow();
    }
    this.isKnown = true;
    ledger.acknowledgements++;
    if (type !== "pubcomp") ledger.acknowledged(message, this.connections);
    if (type === "pubrec") {
      sending.phase = "releasing";
      this.release(packetIdentifier);
    } else {
      this.sendings.delete(packetIdentifier);
    }
    if (--this.dropsAfter === 0) return this.reconnect();
    this.fillWindow();
  }
}
