/**
 * A client that speaks MQTT as it should and behaves as clients do: comes, goes, forgets to read, answers late, is cut off in
 * the middle of a handshake, comes back and takes up where it was.
 */
import type { Packet, ProtocolVersion, Publish, Will } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import type { Random } from "../fault/random.ts";
import type { Facts, SubscriptionFacts, WillFacts } from "./books.ts";
import { never } from "./books.ts";
import type { Line, LineUser } from "./line.ts";
import { payloadOf } from "./payload.ts";
import type { Timeline } from "./timeline.ts";

/** What a client needs of the world around it. */
export interface Surroundings {
  timeline: Timeline;
  random: Random;
  /** `undefined`: nobody listens there. */
  dial(version: ProtocolVersion, user: LineUser): Line | undefined;
  /**
   * Names the life of the session behind this connection. 3.1 has no word for it, and later ones cannot say that a session
   * which is present is not the one the client left, when the CONNACK that said so was lost.
   */
  sessionOf(line: Line): number;
  received(clientId: string, line: Line, packet: Publish, isNew: boolean): void;
  announceWill(line: Line, will: WillFacts | undefined): void;
}

interface Unacknowledged {
  packet: Publish & { qos: 1 | 2 };
  state: "sent" | "released";
}

const unacknowledgedMax = 20;
const hour = 3600;

export class Client {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  /** Its sessions are meant to last. */
  readonly lasting: boolean;
  private readonly around: Surroundings;
  private line: Line | undefined;
  private open = false;
  private keepAliveSeconds = 0;
  private lastSentAt = 0;
  private expirySeconds = 0;
  /** The one that what follows belongs to. */
  private session = 0;
  private readonly unacknowledged: Unacknowledged[] = [];
  private readonly unreleased = new Set<number>();
  /** SUBSCRIBE and UNSUBSCRIBE not answered yet. */
  private readonly asked = new Map<number, Packet>();
  private lastIdentifier = 0;
  private sequence = 0;
  private wills = 0;
  private readonly held: Packet[] = [];
  private lazy = false;
  private behaves = false;
  private readonly filters = new Set<string>();

  constructor(clientId: string, version: ProtocolVersion, lasting: boolean, around: Surroundings) {
    this.clientId = clientId;
    this.version = version;
    this.lasting = lasting;
    this.around = around;
  }

  get isOpen(): boolean {
    return this.open;
  }

  /** The line it uses, while it does. */
  get currentLine(): Line | undefined {
    return this.line;
  }

  /** Does something, or nothing. */
  move(): void {
    const { random } = this.around;
    if (!this.open) {
      if (this.line === undefined || random.chance(0.3)) this.connectSomehow();
      return;
    }
    const luck = random.below(100);
    if (luck < 45) this.publishSome();
    else if (luck < 57) this.subscribeSome();
    else if (luck < 61) this.unsubscribeSome();
    else if (luck < 71) this.drop();
    else if (luck < 76) this.disconnect();
    else if (luck < 79) this.vanish();
    else if (luck < 84) this.line!.stall(50 + random.below(random.chance(0.2) ? 600_000 : 2000));
    else if (luck < 90) this.beLazy(50 + random.below(random.chance(0.2) ? 1_200_000 : 3000));
    else if (luck < 93) this.connectSomehow();
    else if (luck < 94) this.line!.send({ type: "garbage" });
    else if (luck < 97) {
      this.publishSome();
      this.around.timeline.after(random.below(30), () => this.drop());
    }
  }

  /** Comes back and behaves from here on. */
  comeBack(): void {
    this.behaves = true;
    this.lazy = false;
    if (this.open) this.drop();
    this.connect({ fresh: false, expirySeconds: this.version === 5 ? 30 * 24 * hour : never, will: undefined });
  }

  /** Takes leave for good. */
  leaveForGood(): void {
    if (this.open) this.drop();
    this.connect({ fresh: true, expirySeconds: 0, will: undefined });
  }

  goodbye(): void {
    if (!this.open) return;
    this.line!.send({ type: "disconnect", reasonCode: ReasonCode.success });
    this.gone();
    this.line = undefined;
  }

  /** Ends whatever it was up to. */
  calm(): void {
    this.endLaziness();
  }

  private connectSomehow(): void {
    const { random } = this.around;
    if (random.chance(0.05)) return this.connectHalf();
    const lasts = this.lasting || random.chance(0.2);
    const expirySeconds = !lasts
      ? 0
      : this.version === 5
        ? random.pick([20, 300, hour, 6 * hour, 48 * hour, never])
        : never;
    const fresh = this.version === 5 ? random.chance(lasts ? 0.05 : 0.5) : !lasts;
    const will = random.chance(0.5) ? this.makeWill() : undefined;
    this.connect({ fresh, expirySeconds, will });
  }

  private connectHalf(): void {
    const { timeline, random } = this.around;
    const line = this.around.dial(this.version, { received() {}, closed() {} });
    line?.sendHalf(this.connectPacket(false, 0, undefined));
    if (random.chance(0.5)) timeline.after(random.below(8000), () => line?.close());
  }

  private connect(asked: { fresh: boolean; expirySeconds: number; will: WillFacts | undefined }): void {
    const { fresh, expirySeconds, will } = asked;
    this.gone();
    const line = this.around.dial(this.version, {
      received: (packet) => {
        if (this.line === line) this.received(line!, packet);
      },
      closed: () => {
        if (this.line !== line) return;
        this.gone();
        this.line = undefined;
      },
    });
    this.line = line;
    if (line === undefined) return;
    const { random } = this.around;
    this.keepAliveSeconds = random.pick([0, 0, 600, 1800, 3600]);
    this.expirySeconds = expirySeconds;
    this.around.announceWill(line, will);
    this.send(this.connectPacket(fresh, expirySeconds, will));
  }

  private connectPacket(fresh: boolean, expirySeconds: number, will: WillFacts | undefined): Packet {
    const { random } = this.around;
    return {
      type: "connect",
      protocolVersion: this.version,
      cleanStart: this.version === 5 ? fresh : expirySeconds === 0,
      keepAliveSeconds: this.keepAliveSeconds,
      clientId: this.clientId,
      will: will && this.willOf(will),
      properties:
        this.version === 5
          ? {
              sessionExpiryInterval: expirySeconds,
              receiveMaximum: random.pick([1, 3, 20, 65_535]),
              topicAliasMaximum: random.pick([0, 0, 2, 100]),
            }
          : undefined,
    };
  }

  private makeWill(): WillFacts {
    const { random } = this.around;
    const expirySeconds = this.version === 5 && random.chance(0.2) ? 60 + random.below(7200) : undefined;
    const facts: Facts = {
      id: `${this.clientId}-will-${++this.wills}`,
      topicName: `will/${this.clientId}`,
      qos: random.pick([0, 1, 2]),
      retain: random.chance(0.3),
      publisher: this.clientId,
      sequence: 0,
      expirySeconds,
    };
    return { facts, delaySeconds: this.version === 5 ? random.pick([0, 0, 10, 120, 2 * hour]) : 0 };
  }

  private willOf({ facts, delaySeconds }: WillFacts): Will {
    const { topicName, qos, retain, id, expirySeconds } = facts;
    const properties =
      this.version === 5 ? { willDelayInterval: delaySeconds, messageExpiryInterval: expirySeconds } : undefined;
    return { topicName, qos, retain, payload: payloadOf(id, this.around.random), properties };
  }

  private received(line: Line, packet: Packet): void {
    switch (packet.type) {
      case "connack":
        return this.connected(line);
      case "publish":
        return this.receivedPublish(line, packet);
      case "puback":
      case "pubcomp":
        return this.forget(packet.packetIdentifier);
      case "pubrec": {
        const entry = this.unacknowledged.find((one) => one.packet.packetIdentifier === packet.packetIdentifier);
        if (packet.reasonCode >= 0x80) return this.forget(packet.packetIdentifier);
        if (entry !== undefined) entry.state = "released";
        return this.send({ type: "pubrel", packetIdentifier: packet.packetIdentifier, reasonCode: ReasonCode.success });
      }
      case "pubrel":
        this.unreleased.delete(packet.packetIdentifier);
        return this.answer({
          type: "pubcomp",
          packetIdentifier: packet.packetIdentifier,
          reasonCode: ReasonCode.success,
        });
      case "suback":
      case "unsuback":
        this.asked.delete(packet.packetIdentifier);
        return;
    }
  }

  private connected(line: Line): void {
    this.open = true;
    const session = this.around.sessionOf(line);
    const sessionPresent = session === this.session;
    this.session = session;
    const { timeline, random } = this.around;
    this.keepAlive(line);
    if (!sessionPresent) {
      this.unacknowledged.length = 0;
      this.unreleased.clear();
      this.asked.clear();
      this.filters.clear();
      if (random.chance(0.8) && !this.behaves) this.subscribeSome();
      return;
    }
    // In the order they were sent first. [MQTT5 4.4.0-1] [MQTT5 4.6.0-1]
    for (const { packet, state } of this.unacknowledged) {
      const { packetIdentifier } = packet;
      if (state === "sent") this.send({ ...packet, dup: true });
      else this.send({ type: "pubrel", packetIdentifier, reasonCode: ReasonCode.success });
    }
    // What was not answered is asked again.
    for (const packet of this.asked.values()) this.send(packet);
    if (random.chance(0.2) && !this.behaves)
      timeline.after(random.below(200), () => this.open && this.line === line && this.drop());
  }

  private receivedPublish(line: Line, packet: Publish): void {
    if (packet.qos === 2) {
      const isNew = !this.unreleased.has(packet.packetIdentifier);
      this.unreleased.add(packet.packetIdentifier);
      this.around.received(this.clientId, line, packet, isNew);
      return this.answer({ type: "pubrec", packetIdentifier: packet.packetIdentifier, reasonCode: ReasonCode.success });
    }
    this.around.received(this.clientId, line, packet, true);
    if (packet.qos === 1)
      this.answer({ type: "puback", packetIdentifier: packet.packetIdentifier, reasonCode: ReasonCode.success });
  }

  private forget(packetIdentifier: number): void {
    const at = this.unacknowledged.findIndex(({ packet }) => packet.packetIdentifier === packetIdentifier);
    if (at >= 0) this.unacknowledged.splice(at, 1);
  }

  private publishSome(): void {
    const { random, timeline } = this.around;
    const packets: Packet[] = [];
    for (let left = 1 + random.below(random.chance(0.1) ? 30 : 5); left > 0; left--) {
      const packet = this.makePublish();
      if (packet !== undefined) packets.push(packet);
    }
    if (packets.length > 0) this.send(...packets);
    if (random.chance(0.05)) timeline.after(random.below(20), () => this.open && this.publishSome());
  }

  private makePublish(): Packet | undefined {
    const { random } = this.around;
    const qos = this.unacknowledged.length >= unacknowledgedMax ? 0 : random.pick([0, 1, 1, 2, 2] as const);
    const retain = random.chance(0.15);
    const clears = retain && random.chance(0.3);
    const topicName = random.chance(0.25)
      ? `jobs/${random.below(3)}`
      : random.chance(0.5)
        ? `shop/${random.below(3)}/${random.pick(["a", "b"])}`
        : `home/${random.below(5)}`;
    const expirySeconds =
      this.version === 5 && random.chance(0.15) ? 1 + random.below(random.pick([60, 7200])) : undefined;
    const payload = clears ? Buffer.alloc(0) : payloadOf(`${this.clientId}:${++this.sequence}`, random);
    const properties = expirySeconds === undefined ? undefined : { messageExpiryInterval: expirySeconds };
    const message = { type: "publish", topicName, payload, retain, properties } as const;
    if (qos === 0) return { ...message, qos };
    const packet = { ...message, qos, packetIdentifier: this.nextIdentifier(), dup: false };
    this.unacknowledged.push({ packet, state: "sent" });
    return packet;
  }

  private subscribeSome(): void {
    const { random } = this.around;
    const subscriptions: SubscriptionFacts[] = [];
    for (let left = 1 + random.below(3); left > 0; left--) {
      const topicFilter = this.pickFilter();
      const isShared = topicFilter.startsWith("$share/");
      subscriptions.push({
        topicFilter,
        qos: isShared ? random.pick([1, 2]) : random.pick([0, 1, 2, 2]),
        noLocal: this.version === 5 && !isShared && random.chance(0.2),
        retainHandling: this.version === 5 ? random.pick([0, 0, 1, 2]) : 0,
      });
      this.filters.add(topicFilter);
    }
    this.ask({
      type: "subscribe",
      packetIdentifier: this.nextIdentifier(),
      subscriptions: subscriptions.map((subscription) => ({ ...subscription, retainAsPublished: false })),
      properties:
        this.version === 5 && random.chance(0.3) ? { subscriptionIdentifier: 1 + random.below(300) } : undefined,
    });
  }

  private unsubscribeSome(): void {
    const { random } = this.around;
    if (this.filters.size === 0) return;
    const topicFilter = random.pick([...this.filters]);
    this.filters.delete(topicFilter);
    this.ask({ type: "unsubscribe", packetIdentifier: this.nextIdentifier(), topicFilters: [topicFilter] });
  }

  private ask(packet: Packet & { packetIdentifier: number }): void {
    this.asked.set(packet.packetIdentifier, packet);
    this.send(packet);
  }

  private pickFilter(): string {
    const { random } = this.around;
    const luck = random.below(100);
    // Groups of sessions that last, and others: only the first can promise anything over a crash.
    if (luck < 20) return `$share/${this.lasting ? "lasting" : "fleeting"}/${random.pick(["jobs/#", "jobs/+"])}`;
    if (luck < 30) return random.pick(["will/#", "will/+"]);
    if (luck < 65) return random.pick(["shop/#", "shop/+/a", "shop/1/+", `shop/${random.below(3)}/b`]);
    return random.pick(["home/+", "home/#", `home/${random.below(5)}`]);
  }

  private drop(): void {
    this.line?.close();
    this.gone();
    this.line = undefined;
  }

  private vanish(): void {
    this.line?.vanish();
    this.gone();
    this.line = undefined;
  }

  private disconnect(): void {
    const { random } = this.around;
    const withWill = this.version === 5 && random.chance(0.2);
    const changesExpiry = this.version === 5 && this.expirySeconds > 0 && random.chance(0.3);
    const sessionExpiryInterval = changesExpiry ? random.pick([0, 30, hour]) : undefined;
    this.line!.send({
      type: "disconnect",
      reasonCode: withWill ? ReasonCode.disconnectWithWill : ReasonCode.success,
      properties: changesExpiry ? { sessionExpiryInterval } : undefined,
    });
    this.gone();
    this.line = undefined;
  }

  private gone(): void {
    this.open = false;
    this.held.length = 0;
  }

  private beLazy(ms: number): void {
    this.lazy = true;
    this.around.timeline.after(ms, () => this.endLaziness());
  }

  private endLaziness(): void {
    this.lazy = false;
    if (this.open && this.held.length > 0) this.send(...this.held.splice(0));
  }

  private answer(packet: Packet): void {
    if (this.lazy) this.held.push(packet);
    else this.send(packet);
  }

  private send(...packets: Packet[]): void {
    this.lastSentAt = this.around.timeline.elapsed;
    this.line?.send(...packets);
  }

  private keepAlive(line: Line): void {
    if (this.keepAliveSeconds === 0) return;
    const waitMs = this.lastSentAt + this.keepAliveSeconds * 900 - this.around.timeline.elapsed;
    this.around.timeline.after(Math.max(waitMs, 1), () => {
      if (this.line !== line || !this.open) return;
      if (this.around.timeline.elapsed - this.lastSentAt >= this.keepAliveSeconds * 900) this.send({ type: "pingreq" });
      this.keepAlive(line);
    });
  }

  private nextIdentifier(): number {
    do {
      this.lastIdentifier = (this.lastIdentifier % 65_535) + 1;
    } while (
      this.asked.has(this.lastIdentifier) ||
      this.unacknowledged.some(({ packet }) => packet.packetIdentifier === this.lastIdentifier)
    );
    return this.lastIdentifier;
  }
}
