/**
 * The heart: connections, sessions, subscriptions and retained messages of one broker, and the routing between them. It
 * knows no socket and no file: bytes come and go through Wires, what must survive through the Store, and whoever wants to
 * hear of things is a Tap.
 */
import type { Access } from "../access/access.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { QoS } from "../mqtt/packet.ts";
import { readPublish } from "../mqtt/publish-view.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Store } from "../store/store.ts";
import { Arrival } from "./arrival.ts";
import { announce } from "./connect.ts";
import { Connection } from "./connection.ts";
import { tellDropped } from "./fates.ts";
import { Figures } from "./figures.ts";
import { lobbyConnectionsMax, connectWaitMs } from "./limits.ts";
import type { KeptMessage, Publisher } from "./message.ts";
import type { BrokerOptions } from "./options.ts";
import { deliver, feedRetained } from "./outbound.ts";
import type { Outbox, OutboxHost } from "./outbox.ts";
import { Presence } from "./presence.ts";
import { Arena, PublishParts, publishBytes, writePublish } from "./publish-encoder.ts";
import { Restoring } from "./restore.ts";
import { Retained } from "./retained.ts";
import { Route, Routes } from "./route.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import { leastLoaded } from "./shared.ts";
import { SlabPool } from "./slabs.ts";
import { Subscriptions } from "./subscriptions.ts";
import { SysTopics } from "./sys.ts";
import type { DisconnectReason, Tap } from "./tap.ts";
import { takeBack } from "./take-back.ts";
import { Turn } from "./turn.ts";
import { Wills } from "./wills.ts";
import type { Wire } from "./wire.ts";

export interface BrokerParts {
  options: BrokerOptions;
  clock: Clock;
  log: Logger;
  store: Store;
  access: Access;
  taps: readonly Tap[];
  /** Runs an act once this turn of the event loop has read all it has to read: `setImmediate`. */
  defer: (act: () => void) => void;
}

/** How often silent connections are looked for: keep alive is kept to within this. */
const sweepIntervalMs = 500;
const nothing = Buffer.alloc(0);

export class Broker implements OutboxHost {
  /** Replaced as a whole when the configuration is read again. */
  options: BrokerOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly access: Access;
  readonly taps: readonly Tap[];
  readonly turn: Turn;
  readonly figures = new Figures();
  readonly connections = new Set<Connection>();
  readonly sessions = new Sessions(this);
  readonly subscriptions = new Subscriptions();
  readonly routes: Routes;
  readonly retained = new Retained();
  readonly wills = new Wills(this);
  readonly presence = new Presence(this);
  readonly arrival: Arrival;
  /** For messages that are sent later than they came; filled anew for each. */
  readonly keptParts = new PublishParts();
  readonly slabs = new SlabPool();
  waitingBytes = 0;
  lentBytesInUse = false;
  /** Bytes of messages in all sessions' queues. */
  queuedBytes = 0;
  /** What the latest change of a retained message has replaced. */
  formerRetained: KeptMessage | undefined;
  readonly startedAt: number;
  private readonly store: Store;
  private readonly defer: (act: () => void) => void;
  private readonly arena = new Arena();
  private dirtyOutboxes: Outbox[] = [];
  private feeding = new Set<Connection>();
  private turnEndScheduled = false;
  private lastMessageId = 0;
  private sweep: Timer | undefined;
  private readonly sys: SysTopics;
  private stopping = false;

  constructor({ options, clock, log, store, access, taps, defer }: BrokerParts) {
    this.options = options;
    this.clock = clock;
    this.log = log;
    this.access = access;
    this.taps = taps;
    this.defer = defer;
    this.store = store;
    this.turn = new Turn(store, () => this.scheduleTurnEnd(), {
      clock,
      takeBack: (voided) => takeBack(this, voided),
      takesAgain: () => this.closeUnheard(),
    });
    this.routes = new Routes(this.subscriptions, taps);
    this.arrival = new Arrival(this.arena, clock);
    this.startedAt = clock.now();
    this.sys = new SysTopics(this);
  }

  /** Takes up what the store remembers and begins to keep time. */
  async start(): Promise<void> {
    const restoring = new Restoring(this);
    await this.store.load((part) => restoring.take(part));
    // Before the end: a will that is due is a new message already.
    this.lastMessageId = restoring.lastMessageId;
    restoring.finish();
    this.sweep = this.clock.every(sweepIntervalMs, () => this.closeSilentConnections());
    this.sys.start();
  }

  /**
   * Tells every client that the server goes, publishes the wills of those it cuts off, and waits until all of it is in the
   * store. The store stays open. [MQTT5 4.13]
   */
  async stop(): Promise<void> {
    this.stopping = true;
    this.sweep?.cancel();
    this.sys.stop();
    for (const connection of [...this.connections]) connection.end("server_shutdown", ReasonCode.serverShuttingDown);
    this.sessions.stopTimers();
    const stored = this.turn.finish();
    this.endTurn();
    const changesLost = await stored;
    if (changesLost > 0)
      this.log.error("the store did not take the last changes before the stop", { changes: changesLost });
  }

  /** Why nothing new can be kept at present; `undefined` while all is well. */
  get storeTrouble(): string | undefined {
    return this.store.trouble;
  }

  /** A peer has connected. Its bytes go to the Connection that comes back; `undefined`: there is no room, close it. */
  accept(wire: Wire): Connection | undefined {
    if (this.stopping || this.connections.size >= this.options.connectionsMax + lobbyConnectionsMax) return undefined;
    const connection = new Connection(this, wire);
    this.connections.add(connection);
    return connection;
  }

  connectionClosed(
    connection: Connection,
    phase: Connection["phase"],
    reason: DisconnectReason,
    reasonCode: number,
  ): void {
    this.connections.delete(connection);
    this.feeding.delete(connection);
    if (phase !== "open" && phase !== "accepted") return;
    const { session, client } = connection;
    session.connection = undefined;
    session.arriving = undefined;
    // One whose CONNACK was still to come leaves both events, as if it had had it and been cut off at once: its session and
    // its will show that it was here.
    if (phase === "accepted") announce(this, client);
    this.tell((tap) => tap.disconnected?.(client, reason, reasonCode, this.turn));
    this.presence.offline(client, reason, reasonCode);
    this.wills.due(session);
    this.sessions.disconnected(session, reason);
  }

  /** Tells the Taps of a client's doings, while there is room for what they add. */
  tell(happening: (tap: Tap) => void): void {
    if (this.turn.isStuck) this.figures.happeningsUntold += this.taps.length;
    else for (const tap of this.taps) happening(tap);
  }

  /**
   * Passes the message in hand to the retained store, the Taps and every subscriber. `promised`: a will, which is kept
   * whatever the store says at present; of others nothing durable is made then.
   */
  route(arrival: Arrival, promised = false): ReasonCode {
    const { route, view } = arrival;
    this.routes.refresh(route);
    if (view.retain) this.retain(arrival, promised);
    const { targets, shared, interests } = route;
    for (const { tap, interest } of interests) {
      if (this.turn.isTroubled && !promised) this.figures.happeningsUntold++;
      else tap.published?.(arrival.message(), interest, this.turn);
    }
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i];
      if (target.own === "all" || target.session !== arrival.session) deliver(this, target, arrival);
      else if (target.toSelf !== undefined) deliver(this, target.toSelf, arrival);
    }
    for (const group of shared) {
      deliver(this, leastLoaded(group), arrival);
    }
    const isUnmatched = targets.length === 0 && shared.length === 0;
    if (isUnmatched && route.fates.length > 0)
      tellDropped(this, route.fates, arrival.message(), undefined, "no_subscribers");
    if (!isUnmatched || interests.length > 0) return ReasonCode.success;
    this.figures.messagesUnmatched++;
    return ReasonCode.noMatchingSubscribers; // [MQTT5 3.4.2.1]
  }

  /** Publishes a message that no connection brought: a will, or one of the broker's own. */
  publish(message: {
    topicName: string;
    payload: Buffer;
    qos: QoS;
    retain: boolean;
    properties?: Buffer;
    publisher: Publisher;
    /** Whose will it is: No Local keeps it from itself, and it is kept whatever the store says at present. */
    leftBy?: Session;
  }): void {
    const { topicName, payload, qos, retain, properties = nothing, publisher, leftBy } = message;
    const parts = new PublishParts();
    parts.topic = Buffer.from(topicName);
    const route = this.routes.find(parts.topic, 0, parts.topic.length);
    if (!route.valid) return;
    parts.properties = properties;
    parts.propertiesEnd = properties.length;
    parts.payload = payload;
    parts.payloadEnd = payload.length;
    const packet = Buffer.alloc(publishBytes(parts, true, qos, nothing, parts.topic.length));
    const flags = (qos << 1) | (retain ? 1 : 0);
    const identifierAt = writePublish(packet, 0, parts, true, flags, nothing, parts.topic.length);
    if (qos !== 0) packet[identifierAt + 1] = 1; // any valid one: each subscriber gets its own
    const { arrival } = this;
    readPublish(arrival.view, 5, packet, 0, bodyStartOf(packet), packet.length);
    arrival.begin(route, publisher, leftBy, true);
    this.route(arrival, leftBy !== undefined);
  }

  /** Someone would hear a message on this topic: worth asking before making one. */
  isHeard(topicName: string): boolean {
    // Not a route to remember: there may be one such topic for each client.
    const route = new Route(Buffer.from(topicName));
    if (!route.valid) return false;
    this.routes.refresh(route);
    return route.targets.length > 0 || route.shared.length > 0 || route.interests.length > 0;
  }

  /** The rules of some Tap have changed. */
  rulesChanged(): void {
    this.routes.rulesChanged();
  }

  readonly nextMessageId = (): number => ++this.lastMessageId;

  outboxDirty(outbox: Outbox): void {
    this.dirtyOutboxes.push(outbox);
    this.scheduleTurnEnd();
  }

  /** At the end of this turn the connection gets its next slice of retained messages. */
  feedSoon(connection: Connection): void {
    this.feeding.add(connection);
    this.scheduleTurnEnd();
  }

  private scheduleTurnEnd(): void {
    if (this.turnEndScheduled) return;
    this.turnEndScheduled = true;
    this.defer(this.endTurn);
  }

  /** Commits what must survive, then writes: one write per connection. */
  private readonly endTurn = (): void => {
    this.turnEndScheduled = false;
    this.turn.end();
    if (this.feeding.size > 0) {
      const { feeding } = this;
      this.feeding = new Set();
      for (const connection of feeding) if (connection.phase === "open") feedRetained(this, connection);
    }
    const dirty = this.dirtyOutboxes;
    this.dirtyOutboxes = [];
    for (const outbox of dirty) outbox.flush();
    this.arena.reset(this.lentBytesInUse);
    this.lentBytesInUse = false;
  };

  /** Sets or clears the topic's retained message. [MQTT5 3.3.1-5] [MQTT5 3.3.1-6] [MQTT311 3.3.1-5] [MQTT311 3.3.1-10] */
  private retain(arrival: Arrival, promised: boolean): void {
    const { topicName, reserved } = arrival.route;
    // The broker's own figures are made anew by each process.
    if (reserved) {
      this.retained.set(arrival.message());
      return;
    }
    if (this.turn.isTroubled && !promised) {
      this.figures.retainedRefused++;
      return;
    }
    if (arrival.view.payloadStart === arrival.view.payloadEnd) {
      const former = this.retained.delete(topicName);
      if (former === undefined) return;
      this.formerRetained = former;
      former.letGo();
      this.turn.add({ type: "retained-cleared", topicName });
      return;
    }
    const message: KeptMessage = arrival.message();
    if (!this.retained.hasRoomFor(message)) {
      this.figures.retainedRefused++;
      return;
    }
    const messageId = message.keep(this.turn, this.nextMessageId);
    this.turn.add({ type: "retained", topicName, messageId });
    this.formerRetained = this.retained.set(message);
    this.formerRetained?.letGo();
  }

  /** Whose messages met with silence sends them again, in order, over a new connection. [MQTT311 4.4.0-1] */
  private closeUnheard(): void {
    for (const connection of [...this.connections]) {
      if (connection.isUnheard) connection.end("quota_exceeded", ReasonCode.quotaExceeded);
    }
  }

  private closeSilentConnections(): void {
    const now = this.clock.monotonic();
    for (const connection of this.connections) {
      const silentMs = now - connection.lastHeardAt;
      if (connection.phase === "open") {
        // [MQTT5 3.1.2-22] [MQTT311 3.1.2-24]
        if (connection.silenceMsMax > 0 && silentMs > connection.silenceMsMax && !connection.waitsForStore) {
          connection.end("keepalive_timeout", ReasonCode.keepAliveTimeout);
        }
      } else if (silentMs > connectWaitMs) {
        connection.leave("connection_lost", ReasonCode.unspecifiedError);
      }
    }
  }
}

function bodyStartOf(packet: Buffer): number {
  let at = 1;
  while (packet[at] >= 0x80) at++;
  return at + 1;
}
