/**
 * One Network Connection: its phase, and the one switch over packet types.
 *
 *   connecting ──CONNECT──→ authenticating ─────────────────welcome──→ open ──→ closed
 *       │                       │    └──→ accepted ──commit──────────────↑         ↑
 *       └───────refused─────────┴─────────────┴────────────────────────────────────┘
 *
 * `accepted`: its session is open and its CONNACK waits for the store, where it tells of something durable.
 */
import { BrokenInvariant } from "../base/assert.ts";
import { Deque } from "../base/deque.ts";
import { decodePacket, encodePacket } from "../mqtt/codec.ts";
import { Framer, type PacketSink } from "../mqtt/framer.ts";
import type { Packet, ProtocolVersion } from "../mqtt/packet.ts";
import { ProtocolError } from "../mqtt/protocol-error.ts";
import { readPublish } from "../mqtt/publish-view.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Broker } from "./broker.ts";
import { receiveConnect, refuseConnect } from "./connect.ts";
import { disconnectReasonOf } from "./disconnect-reason.ts";
import { receivePublish, receivePubrel } from "./inbound.ts";
import {
  connectPacketBytesMax,
  outboundTopicAliasesMax,
  protocolPacketBytesMax,
  unreadAnswerBytesMax,
} from "./limits.ts";
import type { KeptMessage } from "./message.ts";
import { pump, receivePuback, receivePubcomp, receivePubrec } from "./outbound.ts";
import { Outbox } from "./outbox.ts";
import type { Route } from "./route.ts";
import type { Session } from "./session.ts";
import { receiveSubscribe, receiveUnsubscribe } from "./subscribe.ts";
import type { Subscription } from "./subscriptions.ts";
import type { ClientInfo, DisconnectReason } from "./tap.ts";
import type { Wire, WireUser } from "./wire.ts";

type PublishAnswer = "puback" | "pubrec";
type ReleaseAnswer = "pubrel" | "pubcomp";
const answerFirstByte = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70 } as const;

/** What new subscriptions are owed of the retained messages: a walk through the tree each, taken step by step. */
type RetainedFeed = Deque<{ subscription: Subscription; walk: Iterator<KeptMessage | undefined> }>;

/** Who a connection is before its CONNECT. */
const unknownClient: ClientInfo = {
  clientId: "",
  userName: undefined,
  protocolVersion: 4,
  keepAliveSeconds: 0,
  cleanStart: true,
  remoteAddress: "",
  remotePort: 0,
};

export class Connection implements WireUser, PacketSink {
  readonly outbox: Outbox;
  readonly wire: Wire;
  phase: "connecting" | "authenticating" | "accepted" | "open" | "closed" = "connecting";
  /** Set when CONNECT is accepted. */
  session!: Session;
  client = unknownClient;
  version5 = false;
  version: ProtocolVersion = 4;
  /** The client's Maximum Packet Size. */
  packetBytesMax = protocolPacketBytesMax;
  /** What its CONNACK allowed this client, whatever the options say by now. */
  receiveMaximum = 0;
  inboundAliasMax = 0;
  /** QoS 1 and 2 messages that may still be sent before an acknowledgement is due. [MQTT5 4.9] */
  sendQuota = 0;
  sendQuotaMax = 0;
  /** Milliseconds without a packet after which the client is gone; 0: never. */
  silenceMsMax = 0;
  /** On the monotonic clock. */
  lastHeardAt: number;
  lastRoute: Route | undefined;
  inboundAliases: Route[] | undefined;
  /** Set when the client takes Topic Aliases. */
  outboundAliases: Map<string, number> | undefined;
  outboundAliasMax = 0;
  readonly retainedFeed: RetainedFeed = new Deque();
  /** PUBACKs and PUBRECs that wait for a commit: later ones of this connection wait behind them. */
  private heldAnswers = 0;
  heldPubacks = 0;
  private readonly broker: Broker;
  private readonly framer: Framer;
  private reading = true;
  /**
   * A PUBLISH of this client, which is older than 5.0, was not taken and not answered. Later ones are not either, or they would
   * overtake it: it sends all of them again over its next connection. [MQTT311 4.6.0-1]
   */
  isUnheard = false;
  /** It added to what the store must keep faster than the store can: it is not read from until that has caught up. */
  waitsForStore = false;
  /** Of what the peer has not taken, what answers its own packets: messages for it do not count against its speaking. */
  private unreadAnswerBytes = 0;

  constructor(broker: Broker, wire: Wire) {
    this.broker = broker;
    this.wire = wire;
    this.outbox = new Outbox(wire, broker);
    this.framer = new Framer(this, Math.min(connectPacketBytesMax, broker.options.packetBytesMax));
    this.lastHeardAt = broker.clock.monotonic();
  }

  // The Wire's calls

  received(chunk: Buffer): void {
    if (this.phase === "closed") return;
    // Before CONNECT only time itself counts: bytes that trickle in keep nothing open.
    if (this.phase === "open") this.lastHeardAt = this.broker.clock.monotonic();
    this.broker.figures.bytesReceived += chunk.length;
    const { turn } = this.broker;
    const changesBefore = turn.changeCount;
    this.attempt(() => this.framer.push(chunk));
    if (turn.isFull && turn.changeCount > changesBefore && !this.waitsForStore) this.waitForStore();
    this.readOrWait();
  }

  drained(): void {
    if (this.phase === "closed") return;
    this.outbox.drained();
    this.unreadAnswerBytes = 0;
    if (this.phase !== "open") return;
    this.readOrWait();
    pump(this.broker, this.session);
  }

  closed(): void {
    this.leave("connection_lost", ReasonCode.unspecifiedError);
  }

  // The Framer's calls

  begins(firstByte: number): void {
    if (this.phase === "connecting" && firstByte !== 0x10) throw beforeConnect();
  }

  packet(bytes: Buffer, start: number, bodyStart: number, end: number): void {
    const firstByte = bytes[start];
    if (this.phase !== "open") return this.firstPacket(bytes, firstByte, bodyStart, end);
    const { broker } = this;
    if (firstByte >> 4 === 3) {
      const { view } = broker.arrival;
      readPublish(view, this.version, bytes, start, bodyStart, end);
      return receivePublish(broker, this, view);
    }
    // The short forms of acknowledgements, which are nearly all there are.
    if (end - bodyStart === 2) {
      const packetIdentifier = (bytes[bodyStart] << 8) | bytes[bodyStart + 1];
      if (packetIdentifier !== 0) {
        if (firstByte === 0x40) return receivePuback(broker, this.session, packetIdentifier, ReasonCode.success);
        if (firstByte === 0x50) return receivePubrec(broker, this, packetIdentifier, ReasonCode.success);
        if (firstByte === 0x62) return receivePubrel(broker, this, packetIdentifier);
        if (firstByte === 0x70) return receivePubcomp(broker, this.session, packetIdentifier);
      }
    }
    // [MQTT5 3.1.0-2] [MQTT311 3.1.0-2] Whatever is in it: what is wrong with a CONNECT has no words in a DISCONNECT.
    if (firstByte >> 4 === 1) throw new ProtocolError(ReasonCode.protocolError, "a second CONNECT");
    this.handle(decodePacket(this.version, firstByte, bytes, bodyStart, end));
  }

  // What the broker does with it

  /** CONNACK is written: packets that came behind CONNECT are read now. */
  opened(): void {
    this.phase = "open";
    this.lastHeardAt = this.broker.clock.monotonic();
    this.framer.packetBytesMax = this.broker.options.packetBytesMax;
    this.attempt(() => this.framer.release());
  }

  /** Waits for an answer before reading on. */
  holdPackets(): void {
    this.framer.hold();
    this.wire.pause();
  }

  releaseWire(): void {
    this.wire.resume();
  }

  /** False for a packet larger than the client takes: it is not sent. [MQTT5 3.1.2-24] */
  send(packet: Packet): boolean {
    const bytes = encodePacket(this.version, packet);
    if (bytes.length > this.packetBytesMax) return false;
    if (this.outbox.blocked) this.unreadAnswerBytes += bytes.length;
    this.outbox.append(bytes, 0, bytes.length);
    return true;
  }

  /** Answers a PUBLISH that made nothing durable, in the order they came. [MQTT5 4.6.0] [MQTT311 4.6.0-2] [MQTT311 4.6.0-3] */
  answerPublish(type: PublishAnswer, packetIdentifier: number, reasonCode: ReasonCode): void {
    if (this.heldAnswers === 0) return this.writeAnswer(type, packetIdentifier, reasonCode);
    this.heldAnswers++;
    if (type === "puback") this.heldPubacks++;
    this.broker.turn.whenDecided(() => this.answerHeld(type, packetIdentifier, reasonCode));
  }

  /** Answers a PUBLISH that made durable what this turn holds from change number `from` on. */
  answerOffer(
    type: PublishAnswer,
    packetIdentifier: number,
    reasonCode: ReasonCode,
    offered: { from: number; former: KeptMessage | undefined },
  ): void {
    this.heldAnswers++;
    if (type === "puback") this.heldPubacks++;
    this.broker.turn.offer(offered, (taken) => {
      // What was not taken is a new message when it comes again. [MQTT5 4.3.3-9]
      if (type === "pubrec" && !taken) this.session.received?.delete(packetIdentifier);
      this.answerHeld(type, packetIdentifier, taken ? reasonCode : undefined);
    });
  }

  /** Answers a QoS 2 PUBLISH that came before, perhaps over another connection; its first answer may still be held. */
  answerDuplicate(packetIdentifier: number): void {
    const { turn } = this.broker;
    if (turn.isDecided) return this.answerPublish("pubrec", packetIdentifier, ReasonCode.success);
    this.heldAnswers++;
    turn.whenDecided(() => {
      const taken = this.session.received?.has(packetIdentifier);
      this.answerHeld("pubrec", packetIdentifier, taken ? ReasonCode.success : undefined);
    });
  }

  /** Answers a PUBREC or PUBREL, in the order they came: for a session that lasts, once that is in the store. [MQTT5 4.6.0] */
  answerRelease(type: ReleaseAnswer, packetIdentifier: number, reasonCode: ReasonCode): void {
    if (!this.session.persistent) return this.writeAnswer(type, packetIdentifier, reasonCode);
    this.broker.turn.whenCommitted(() => {
      if (this.phase === "open") this.writeAnswer(type, packetIdentifier, reasonCode);
    });
  }

  /** The Topic Alias for an outgoing message, if the client takes them; `known`: it has heard the topic name already. */
  outboundAlias(topicName: string): { property: Buffer; known: boolean } | undefined {
    const { outboundAliases } = this;
    if (outboundAliases === undefined) return undefined;
    const former = outboundAliases.get(topicName);
    if (former !== undefined) return { property: aliasProperty(former), known: true };
    if (outboundAliases.size >= Math.min(this.outboundAliasMax, outboundTopicAliasesMax)) return undefined;
    const alias = outboundAliases.size + 1;
    outboundAliases.set(topicName, alias);
    return { property: aliasProperty(alias), known: false };
  }

  /** Ends the connection from our side; a v5 client hears why. [MQTT5 4.13] */
  end(reason: DisconnectReason, reasonCode: ReasonCode, reasonString?: string): void {
    if (this.phase === "open" && this.version5) {
      const explained =
        reasonString !== undefined && this.send({ type: "disconnect", reasonCode, properties: { reasonString } });
      if (!explained) this.send({ type: "disconnect", reasonCode });
    }
    this.leave(reason, reasonCode);
  }

  /** Closes without a word of MQTT, after what was written already. */
  leave(reason: DisconnectReason, reasonCode: number): void {
    if (this.phase === "closed") return;
    const { phase } = this;
    this.phase = "closed";
    this.framer.stop();
    this.outbox.flush();
    this.outbox.close();
    this.wire.end();
    this.broker.connectionClosed(this, phase, reason, reasonCode);
  }

  private firstPacket(bytes: Buffer, firstByte: number, bodyStart: number, end: number): void {
    if (this.phase !== "connecting") return;
    if (firstByte >> 4 !== 1) throw beforeConnect(); // [MQTT5 3.1.0-1] [MQTT311 3.1.0-1]
    try {
      const packet = decodePacket(4, firstByte, bytes, bodyStart, end);
      if (packet.type === "connect") receiveConnect(this.broker, this, packet);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      refuseConnect(this.broker, this, error, bytes.subarray(bodyStart, end));
    }
  }

  /** All packets but CONNECT, PUBLISH and short acknowledgements. */
  private handle(packet: Packet): void {
    const { broker } = this;
    switch (packet.type) {
      case "puback":
        return receivePuback(broker, this.session, packet.packetIdentifier, packet.reasonCode);
      case "pubrec":
        return receivePubrec(broker, this, packet.packetIdentifier, packet.reasonCode);
      case "pubrel":
        return receivePubrel(broker, this, packet.packetIdentifier);
      case "pubcomp":
        return receivePubcomp(broker, this.session, packet.packetIdentifier);
      case "subscribe":
        return receiveSubscribe(broker, this, packet);
      case "unsubscribe":
        return receiveUnsubscribe(broker, this, packet);
      case "pingreq":
        this.send({ type: "pingresp" }); // [MQTT5 3.12.4-1] [MQTT311 3.12.4-1]
        return;
      case "disconnect":
        return this.receiveDisconnect(packet.reasonCode, packet.properties?.sessionExpiryInterval);
      case "auth":
        // We offer no Authentication Method, so none can be under way. [MQTT5 4.12.0-6]
        throw new ProtocolError(ReasonCode.protocolError, "AUTH without an Authentication Method");
      case "connack":
      case "suback":
      case "unsuback":
      case "pingresp":
        throw new ProtocolError(ReasonCode.protocolError, `${packet.type.toUpperCase()} is the server's to send`);
      case "connect":
      case "publish":
        return;
      default:
        packet satisfies never;
    }
  }

  private receiveDisconnect(reasonCode: ReasonCode, sessionExpirySeconds: number | undefined): void {
    if (sessionExpirySeconds !== undefined) {
      if (this.session.expirySeconds === 0 && sessionExpirySeconds !== 0) {
        // [MQTT5 3.14.2.2.2]
        throw new ProtocolError(
          ReasonCode.protocolError,
          "DISCONNECT sets a Session Expiry Interval that CONNECT had as 0",
        );
      }
      this.session.expirySeconds = Math.min(sessionExpirySeconds, this.broker.options.sessionExpirySecondsMax);
    }
    if (reasonCode === ReasonCode.success) this.broker.wills.cancel(this.session); // [MQTT5 3.14.4-3] [MQTT311 3.14.4-3]
    const withWill = reasonCode === ReasonCode.disconnectWithWill;
    this.leave(
      withWill ? "disconnect_with_will" : reasonCode < 0x80 ? "normal" : disconnectReasonOf(reasonCode),
      reasonCode,
    );
  }

  /**
   * Runs what a peer's bytes set off: what it did wrong, or what we do wrong with it, ends its connection and nothing else.
   * Only a broken invariant goes on to end the process, since then nobody's state can be trusted.
   */
  private attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (error instanceof BrokenInvariant) throw error;
      const { clientId } = this.client;
      const from = `${this.wire.remoteAddress}:${this.wire.remotePort}`;
      if (error instanceof ProtocolError) {
        this.broker.log.info("client broke the protocol", { clientId, from, reason: error.message });
        return this.end(disconnectReasonOf(error.reasonCode), error.reasonCode, error.message);
      }
      const stack = error instanceof Error ? error.stack : String(error);
      this.broker.log.error("a packet could not be handled; its connection is closed, please report this", {
        clientId,
        from,
        stack,
      });
      this.end("server_error", ReasonCode.implementationSpecificError);
    }
  }

  /** `undefined`: the store did not take it. A client before 5.0 hears nothing then, and sends the message again. */
  private answerHeld(type: PublishAnswer, packetIdentifier: number, reasonCode: ReasonCode | undefined): void {
    this.heldAnswers--;
    if (type === "puback") this.heldPubacks--;
    if (reasonCode === undefined && !this.version5) this.isUnheard = true;
    if (this.phase !== "open" || (reasonCode === undefined && !this.version5)) return;
    this.writeAnswer(type, packetIdentifier, reasonCode ?? ReasonCode.quotaExceeded);
  }

  private writeAnswer(type: PublishAnswer | ReleaseAnswer, packetIdentifier: number, reasonCode: ReasonCode): void {
    const { outbox } = this;
    const short = reasonCode === ReasonCode.success || !this.version5;
    if (outbox.blocked) this.unreadAnswerBytes += 4;
    const at = outbox.reserve(short ? 4 : 5);
    const { slab } = outbox;
    slab[at] = answerFirstByte[type];
    slab[at + 1] = short ? 2 : 3;
    slab[at + 2] = packetIdentifier >> 8;
    slab[at + 3] = packetIdentifier & 0xff;
    if (!short) slab[at + 4] = reasonCode;
  }

  private waitForStore(): void {
    this.waitsForStore = true;
    this.broker.turn.whenRoom(() => {
      this.waitsForStore = false;
      // The silence was ours.
      this.lastHeardAt = this.broker.clock.monotonic();
      this.readOrWait();
    });
  }

  /** A peer that does not take its answers, or outruns the store, is not asked for more. */
  private readOrWait(): void {
    if (this.phase !== "open") return;
    const mayRead = !this.waitsForStore && this.unreadAnswerBytes <= unreadAnswerBytesMax;
    if (mayRead === this.reading) return;
    this.reading = mayRead;
    if (mayRead) this.wire.resume();
    else this.wire.pause();
  }
}

function beforeConnect(): ProtocolError {
  return new ProtocolError(ReasonCode.protocolError, "the first packet is not CONNECT");
}

function aliasProperty(alias: number): Buffer {
  return Buffer.from([0x23, alias >> 8, alias & 0xff]);
}
