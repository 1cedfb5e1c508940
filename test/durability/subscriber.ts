/**
 * A subscriber with a session that lasts, which keeps to the receiver's half of each handshake, over all its connections:
 * a QoS 2 message is new unless its Packet Identifier waits for PUBREL. [MQTT5 4.3.3] So what counts as twice is the protocol's.
 */
import type { Packet, PacketIdentifier, ProtocolVersion, Publish, PublishAnswer } from "../../src/mqtt/packet.ts";
import { lowerQoS } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import type { Ledger, Message } from "./ledger.ts";
import { Link } from "./link.ts";
import type { SubscriberRound } from "./plan.ts";

interface SubscriberParts {
  clientId: string;
  version: ProtocolVersion;
  qos: 1 | 2;
  /** A topic filter that ends in `#`. */
  topicFilter: string;
  receiveMaximum?: number;
  ledger: Ledger;
  onNews: () => void;
}

export class Subscriber {
  readonly clientId: string;
  readonly topicFilter: string;
  private readonly parts: SubscriberParts;
  private readonly ledger: Ledger;
  private link: Link | undefined;
  /** The SUBACK has come: from here on session and subscription must be there. */
  isSubscribed = false;
  /** QoS 2, received and not yet released, with what they stand for. */
  private readonly received = new Map<PacketIdentifier, string>();
  /** How many times each message was new. */
  private readonly arrivals = new Map<string, number>();
  /** The same, of those without DUP. */
  private readonly freshArrivals = new Map<string, number>();
  /** By topic: the number of the latest message that came for the first time. */
  private readonly latest = new Map<string, number>();
  /** QoS 1 messages that came again. */
  repetitions = 0;
  private port = 0;
  private round: SubscriberRound = { comes: true, dropsAfter: 0, comesBack: false };

  constructor(parts: SubscriberParts) {
    this.clientId = parts.clientId;
    this.topicFilter = parts.topicFilter;
    this.ledger = parts.ledger;
    this.parts = parts;
  }

  /** Different messages that have come. */
  get arrived(): number {
    return this.arrivals.size;
  }

  /** No handshake is half done. */
  get isIdle(): boolean {
    return this.received.size === 0;
  }

  connect(port: number, round: SubscriberRound): void {
    if (!round.comes) return;
    this.round = round;
    this.reconnect(port);
  }

  leave(): void {
    this.link?.cut();
    this.link = undefined;
  }

  wants(message: Message): boolean {
    return message.topicName.startsWith(this.topicFilter.slice(0, -1));
  }

  timesArrived(message: Message): number {
    return this.arrivals.get(message.key) ?? 0;
  }

  isOwedOnce(message: Message): boolean {
    return lowerQoS(message.qos, this.parts.qos) === 2;
  }

  private reconnect(port: number): void {
    this.leave();
    this.port = port;
    const { clientId, version, receiveMaximum } = this.parts;
    this.link = new Link(port, version, {
      received: (packet) => this.handle(packet),
      ended: (complaint) => {
        if (complaint !== undefined) this.violated(`was sent ${complaint}`);
        this.leave();
      },
    });
    const properties = version === 5 ? { sessionExpiryInterval: 3600, receiveMaximum } : undefined;
    this.link.send({
      type: "connect",
      protocolVersion: version,
      cleanStart: false,
      keepAliveSeconds: 0,
      clientId,
      properties,
    });
  }

  private handle(packet: Packet): void {
    switch (packet.type) {
      case "connack":
        return this.connected(packet.reasonCode, packet.sessionPresent);
      case "suback":
        this.isSubscribed = true;
        this.ledger.acknowledgements++;
        break;
      case "publish":
        this.publish(packet);
        break;
      case "pubrel":
        this.received.delete(packet.packetIdentifier);
        this.answer("pubcomp", packet.packetIdentifier);
        break;
      case "disconnect":
        return;
      default:
        this.ledger.violated(`${this.clientId} was sent ${packet.type}`);
    }
    this.parts.onNews();
  }

  private connected(reasonCode: ReasonCode, sessionPresent: boolean): void {
    const { clientId, topicFilter, qos } = this.parts;
    if (reasonCode !== ReasonCode.success) return this.ledger.violated(`${clientId} was refused: ${reasonCode}`);
    if (this.isSubscribed) {
      if (!sessionPresent) this.ledger.violated(`the session of ${clientId} is lost`);
      return;
    }
    const subscription = { topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 2 } as const;
    this.link?.send({ type: "subscribe", packetIdentifier: 1, subscriptions: [subscription] });
  }

  private publish(packet: Publish): void {
    const payload = Buffer.from(packet.payload).toString();
    const message = this.ledger.messageOf(payload);
    if (message === undefined || message.payload !== payload || message.topicName !== packet.topicName)
      return this.violated(`was sent what nobody published: ${packet.topicName} ${payload.slice(0, 30)}`);
    if (packet.qos === 0 || packet.qos !== lowerQoS(message.qos, this.parts.qos))
      return this.violated(`got ${message.key} with QoS ${packet.qos}`);
    if (packet.qos === 1) this.arrive(message, packet.dup);
    else this.receive(packet.packetIdentifier, message, packet.dup);
    if (--this.round.dropsAfter < 0) return this.drop();
    this.answer(packet.qos === 1 ? "puback" : "pubrec", packet.packetIdentifier);
  }

  private receive(packetIdentifier: PacketIdentifier, message: Message, dup: boolean): void {
    const former = this.received.get(packetIdentifier);
    if (former === undefined) {
      this.received.set(packetIdentifier, message.key);
      return this.arrive(message, dup);
    }
    if (former !== message.key)
      return this.violated(`got ${message.key} as ${packetIdentifier}, which still stands for ${former}`);
    if (!dup) this.violated(`got ${message.key} again without DUP`);
  }

  private arrive(message: Message, dup: boolean): void {
    const times = this.timesArrived(message) + 1;
    this.arrivals.set(message.key, times);
    const fresh = (this.freshArrivals.get(message.key) ?? 0) + (dup ? 0 : 1);
    this.freshArrivals.set(message.key, fresh);
    // A publisher that sends a QoS 1 message again makes a new one of it.
    if (fresh > message.sendings) this.violated(`got ${message.key} again without DUP`);
    if (times > 1) {
      if (this.isOwedOnce(message)) this.violated(`got ${message.key} of QoS 2 ${times} times`);
      this.repetitions++;
      return;
    }
    const latest = this.latest.get(message.topicName) ?? 0;
    if (message.number < latest) this.violated(`got ${message.key} behind number ${latest} of ${message.topicName}`);
    this.latest.set(message.topicName, message.number);
  }

  private drop(): void {
    this.round = { ...this.round, dropsAfter: Number.POSITIVE_INFINITY };
    if (this.round.comesBack) this.reconnect(this.port);
    else this.leave();
  }

  private answer(type: PublishAnswer["type"], packetIdentifier: PacketIdentifier): void {
    this.link?.send({ type, packetIdentifier, reasonCode: ReasonCode.success });
  }

  private violated(claim: string): void {
    this.ledger.violated(`${this.clientId} ${claim}`);
  }
}
