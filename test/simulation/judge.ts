/**
 * Holds what the broker does against the plain model of `books.ts`. It hears what reaches the broker just before the broker
 * does, and what leaves it; what it claims is in the words of `fail`.
 */
import type { Packet, Publish, PublishAnswer, Suback, Unsuback } from "../../src/mqtt/packet.ts";
import type { DisconnectReason } from "../../src/broker/tap.ts";
import type { EndpointFigures } from "../../src/webhook/endpoint.ts";
import type { WebhookOptions } from "../../src/webhook/options.ts";
import { Books, type Facts, type Happening, type SessionBook, type WillFacts } from "./books.ts";
import { Ledger } from "./ledger.ts";
import type { Line, LineWatch, Sent } from "./line.ts";
import { idInText, idOf, sequenceOf } from "./payload.ts";
import { Rank, type Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";
import type { Observer } from "./world.ts";

export class SimulationFailure extends Error {}

interface Peer {
  readonly line: Line;
  readonly dialledAt: number;
  clientId: string;
  /** `accepted`: its session is open, and it has no CONNACK yet. */
  phase: "connecting" | "accepted" | "open" | "closed";
  /** The broker has closed it. */
  closedByBroker: boolean;
  /** Names the life of its session. */
  session: number;
  sessionPresent: boolean;
  /** The turn in which that became true which CONNACK says; none for what needs no disk. */
  trueSince: number | undefined;
  /** The turn that the broker may wait for with its CONNACK. */
  mayWaitFor: number | undefined;
  keepAliveSeconds: number;
  lastHeardAt: number;
  /** Set by what must end it, until the broker says so. */
  endsAs: DisconnectReason | undefined;
}

/** A day in the life of the keep-alive sweep. */
const sweepMs = 500;
const connectWaitMs = 10_000;
/** A commit that hangs, and what waits behind it. */
const lateMs = 20_000;
/** From a commit until the broker has heard of it. */
const heardMs = 10;

export class Judge implements LineWatch, Observer {
  failure: SimulationFailure | undefined;
  readonly ledger: Ledger;
  readonly figures = { published: 0, received: 0, wills: 0, connects: 0, sessionsPresent: 0, crashes: 0, missing: 0 };
  private readonly timeline: Timeline;
  private readonly trace: Trace;
  private books = new Books();
  private onDiskBooks = new Books();
  private down = true;
  private readonly peers = new Map<number, Peer>();
  private readonly announcedWills = new Map<Line, WillFacts | undefined>();
  private count = 0;
  // Turns of the event loop, and what is on disk
  private turn = 0;
  private batchesAfter = new Map<number, number>();
  private batchOnDisk = 0;
  private journal: { turn: number; happening: Happening }[] = [];
  // What must be seen before time goes on
  private readonly willsDue = new Set<string>();
  private readonly endsDue = new Set<Peer>();
  /** By connection: since when nothing stands in the way. */
  private readonly connacksDue = new Map<number, number | undefined>();
  /** The turn in which that became true which an answer of a session says; none for what needs no disk. */
  private readonly answers = new Map<string, number>();
  private readonly scheduled = new Set<string>();
  /** When a lasting session was last gone from disk, by client. */
  private readonly endsOnDisk = new Map<string, number>();
  // What clients have seen, by the life of their session
  private readonly copies = new Map<string, number>();
  private readonly seen = new Map<string, number>();
  private readonly seenAtQoS2 = new Map<string, number>();
  private readonly seenByAnyone = new Set<string>();
  private readonly replayed = new Set<string>();
  private readonly lastSequence = new Map<string, number>();
  private readonly handledTimes = new Map<string, number>();

  constructor(timeline: Timeline, trace: Trace, webhook: WebhookOptions) {
    this.timeline = timeline;
    this.trace = trace;
    this.ledger = new Ledger(webhook, (claim) => this.fail(claim));
  }

  // Life and death of the process

  starts(): void {
    this.down = false;
    this.trace.note("the broker starts");
    this.happens({ type: "restart", at: this.timeline.elapsed });
  }

  /** What is on disk is all there is. */
  crashed(): void {
    this.trace.note("the broker is gone");
    this.figures.crashes++;
    this.down = true;
    this.books = this.onDiskBooks.copy();
    this.journal = [];
    this.turn++;
    this.batchesAfter = new Map();
    this.batchOnDisk = 0;
    for (const peer of this.peers.values()) peer.phase = "closed";
    this.answers.clear();
    this.willsDue.clear();
    this.endsDue.clear();
    this.connacksDue.clear();
    this.ledger.crashed(this.timeline.elapsed - lateMs);
    // What went to sessions that the disk does not know, or at QoS 0, and was forgotten with its publisher's PUBLISH, may
    // come again with it.
    const times = new Map<string, number>();
    for (const { no, owed } of this.books.sessions.values())
      for (const [id, entry] of owed) times.set(`${no} ${id}`, entry.times);
    for (const { facts, times: more } of this.books.shared.values())
      times.set(facts.id, (times.get(facts.id) ?? 0) + more);
    for (const counts of [this.copies, this.seenAtQoS2]) {
      for (const [key, count] of counts) counts.set(key, Math.min(count, times.get(key) ?? 0));
    }
  }

  stopped(): void {
    this.momentEnds();
    if (this.journal.length > 0)
      this.fail(`a good stop leaves all on disk: not so ${JSON.stringify(this.journal[0].happening)}`);
  }

  turnEnded(batchesHandedIn: number, isLast = true): void {
    this.batchesAfter.set(this.turn, batchesHandedIn);
    this.turn++;
    if (isLast) this.ledger.turnEnded();
    this.learn();
  }

  /** No more happens at this time: what had to happen now has. */
  momentEnds(): void {
    const [will] = this.willsDue;
    if (will !== undefined) this.fail(`a will is published when it is due: ${will} was not`);
    const [peer] = this.endsDue;
    if (peer !== undefined) this.fail(`a connection ends when it must: ${nameOf(peer)} as ${peer.endsAs}`);
    const now = this.timeline.elapsed;
    for (const [port, since] of this.connacksDue) {
      const { mayWaitFor } = this.peers.get(port)!;
      if (mayWaitFor !== undefined && !this.isOnDisk(mayWaitFor)) continue;
      if (since === undefined) this.connacksDue.set(port, now);
      else if (now > since + heardMs) this.fail(`a CONNECT is answered: ${port}`);
    }
  }

  // What reaches the broker

  dialled(line: Line): void {
    this.peers.set(line.remotePort, {
      line,
      dialledAt: this.timeline.elapsed,
      clientId: "",
      phase: "connecting",
      closedByBroker: false,
      session: 0,
      sessionPresent: false,
      trueSince: undefined,
      mayWaitFor: undefined,
      keepAliveSeconds: 0,
      lastHeardAt: 0,
      endsAs: undefined,
    });
  }

  announceWill(line: Line, will: WillFacts | undefined): void {
    this.announcedWills.set(line, will);
  }

  reaches(line: Line, packets: readonly Sent[]): void {
    const peer = this.peers.get(line.remotePort)!;
    if (peer.phase === "open") peer.lastHeardAt = this.timeline.elapsed;
    for (const packet of packets) this.handle(peer, packet);
  }

  lost(line: Line): void {
    const peer = this.peers.get(line.remotePort)!;
    this.trace.note(`${nameOf(peer)} is lost`);
    if (peer.phase === "open" || peer.phase === "accepted") this.ends(peer, "connection_lost");
    peer.phase = "closed";
  }

  brokerCloses(line: Line): void {
    this.peers.get(line.remotePort)!.closedByBroker = true;
  }

  // What the broker does

  connack(port: number): void {
    if (!this.connacksDue.delete(port)) this.fail(`only a CONNECT is answered: ${port}`);
    const peer = this.peers.get(port)!;
    const { clientId } = peer;
    // One that ends before its CONNACK is told of all the same.
    if (peer.phase === "closed") return;
    peer.phase = "open";
    peer.lastHeardAt = this.timeline.elapsed;
    this.happens({ type: "welcome", at: this.timeline.elapsed, clientId });
    this.ledger.expect("on_client_connack", clientId, "connack success");
  }

  disconnected(port: number, reason: DisconnectReason): void {
    const peer = this.peers.get(port)!;
    this.trace.note(`${nameOf(peer)} ends: ${reason}`);
    if (this.endsDue.delete(peer)) {
      if (peer.endsAs !== reason)
        this.fail(`a connection's end has its reason: ${nameOf(peer)} ${peer.endsAs}, not ${reason}`);
      return;
    }
    if (peer.phase !== "open") this.fail(`a connection ends once: ${nameOf(peer)} ${reason}`);
    if (reason === "keepalive_timeout") {
      const silentMs = this.timeline.elapsed - peer.lastHeardAt;
      const allowedMs = peer.keepAliveSeconds * 1500;
      if (peer.keepAliveSeconds === 0 || silentMs <= allowedMs || silentMs > allowedMs + sweepMs)
        this.fail(`a silent client is cut off in time: ${nameOf(peer)} after ${silentMs} ms`);
    } else if (reason === "connection_lost" && peer.closedByBroker) {
      // The disk was too slow for its CONNECT.
      if (this.timeline.elapsed - peer.dialledAt <= connectWaitMs)
        this.fail(`a CONNECT has time to be answered: ${nameOf(peer)}`);
    } else if (reason !== "server_shutdown") {
      this.fail(`nobody is cut off without a cause: ${nameOf(peer)} ${reason}`);
    }
    this.ends(peer, reason);
    this.endsDue.delete(peer);
  }

  published(topicName: string, payload: string): void {
    const id = idInText(payload);
    if (id === "") return; // Its retained message is cleared.
    this.trace.note(`will ${id} is published`);
    this.figures.wills++;
    if (!this.willsDue.delete(id)) this.fail(`a will is published only when it is due: ${id} to ${topicName}`);
  }

  handedIn(batch: number, owed: Parameters<Observer["handedIn"]>[1]): void {
    this.ledger.handedIn(batch, owed);
  }

  onDisk(batch: number): void {
    this.batchOnDisk = batch;
    this.ledger.onDisk(batch);
    this.learn();
  }

  settledOnDisk(deliveryId: string, outcome: Parameters<Observer["settledOnDisk"]>[1]): void {
    this.trace.note(`${deliveryId} ends on disk: ${outcome}`);
    this.ledger.settledOnDisk(deliveryId, outcome, this.timeline.now());
  }

  complained(complaint: string): void {
    this.fail(`the broker finds nothing wrong with itself: ${complaint}`);
  }

  leaves(line: Line, packet: Packet, writtenAt: number): void {
    const peer = this.peers.get(line.remotePort)!;
    this.trace.note(`${nameOf(peer)} ← ${show(packet)}`);
    switch (packet.type) {
      case "connack":
        if (packet.reasonCode !== 0) this.fail(`everyone may connect: ${nameOf(peer)} got ${packet.reasonCode}`);
        if (line.version !== 3 && packet.sessionPresent !== peer.sessionPresent)
          this.fail(`Session Present is true: ${nameOf(peer)} got ${packet.sessionPresent}`);
        if (peer.trueSince !== undefined && peer.phase !== "closed" && !this.isOnDisk(peer.trueSince))
          this.fail(`first commit, then speak: ${nameOf(peer)} got CONNACK before the disk had it`);
        return;
      case "puback":
      case "pubrec":
      case "pubcomp":
      case "suback":
      case "unsuback":
        return this.acknowledged(peer, packet);
      case "publish":
        return this.sent(peer, packet, writtenAt);
    }
  }

  /** A client has read it. `isNew`: not the second copy of one whose handshake has begun. */
  received(clientId: string, line: Line, packet: Publish, isNew: boolean): void {
    const peer = this.peers.get(line.remotePort)!;
    const id = idOf(packet.payload);
    if (id === undefined) return this.fail(`what comes out is what went in: ${clientId} got ${show(packet)}`);
    if (id === "" || !isNew) return;
    this.figures.received++;
    const key = `${peer.session} ${id}`;
    if (packet.retain) {
      this.replayed.add(key);
      return;
    }
    const times = (this.seen.get(key) ?? 0) + 1;
    this.seen.set(key, times);
    this.seenByAnyone.add(id);
    const session = this.sessionOf(peer);
    const owed = session?.owed.get(id);
    if (session === undefined || this.down) return;
    if (packet.qos === 2) this.onlyOnce(peer, packet.topicName, id, owed?.times ?? 0);
    if (owed === undefined || times > 1 || this.handledTimes.get(id) !== 1) return;
    const { publisher, sequence, topicName } = owed.facts;
    if (sequence === 0) return;
    const order = `${peer.session} ${publisher} ${topicName} ${packet.qos > 0}`;
    if (sequence < (this.lastSequence.get(order) ?? 0))
      this.fail(`messages keep the order of their publisher and topic: ${nameOf(peer)} got ${id} late`);
    this.lastSequence.set(order, sequence);
  }

  /** Names the life of the session behind a connection. */
  sessionNumber(line: Line): number {
    return this.peers.get(line.remotePort)!.session;
  }

  // Claims on everything, at a time when nobody moves

  /** `isHere`: the client reads and answers. At the end all clients are, and `drops` says how many messages may be missing. */
  nothingMissing(isHere: (clientId: string, line: number) => boolean, drops: number, atTheEnd: boolean): void {
    const now = this.timeline.elapsed;
    const missing: string[] = [];
    const isExpired = ({ expiresAt }: { expiresAt: number | undefined }) => expiresAt !== undefined && expiresAt <= now;
    for (const session of this.books.sessions.values()) {
      const here = session.line !== undefined && isHere(session.clientId, session.line);
      if (!here) {
        if (atTheEnd) this.fail(`at the end everyone is here: ${session.clientId}`);
        continue;
      }
      for (const [id, owed] of session.owed) {
        if (this.seen.has(`${session.no} ${id}`) || isExpired(owed)) continue;
        if (owed.qos > 0 || owed.line === session.line) missing.push(`${id} for ${session.clientId} (QoS ${owed.qos})`);
      }
      for (const { facts } of this.books.retainedFor("#", now)) {
        const isDue = session.replaysDue.get(facts.id) === session.line;
        if (isDue && !this.replayed.has(`${session.no} ${facts.id}`))
          missing.push(`retained ${facts.id} for ${session.clientId}`);
      }
      this.forgetWhatIsSettled(session);
    }
    if (atTheEnd) {
      for (const [key, owed] of this.books.shared) {
        if (owed.must && !isExpired(owed) && !this.seenByAnyone.has(owed.facts.id)) missing.push(`${key} for anyone`);
      }
    }
    this.figures.missing = missing.length;
    if (missing.length > drops)
      this.fail(
        `what was accepted arrives: ${missing.length} are missing, ${drops} were dropped: ${missing.slice(0, 5)}`,
      );
  }

  /** What an auditor got for `#`. */
  retainedIs(found: ReadonlyMap<string, string>, before: ReadonlyMap<string, string>): void {
    const now = this.retainedNow();
    for (const topicName of new Set([...found.keys(), ...before.keys(), ...now.keys()])) {
      const allowed = [before.get(topicName), now.get(topicName)];
      if (!allowed.includes(found.get(topicName)))
        this.fail(
          `a topic's retained message is the last one: ${topicName} has ${found.get(topicName)}, not ${allowed}`,
        );
    }
  }

  retainedNow(): Map<string, string> {
    return new Map(
      [...this.books.retainedFor("#", this.timeline.elapsed)].map(({ facts }) => [facts.topicName, facts.id]),
    );
  }

  retainedTopics(): string[] {
    return [...this.books.retained.keys()];
  }

  nobodyIsKept(): void {
    const now = this.timeline.elapsed;
    for (const peer of this.peers.values()) {
      if (peer.closedByBroker || peer.phase === "closed") continue;
      const silentMs = now - peer.lastHeardAt;
      const isSilent = peer.keepAliveSeconds > 0 && silentMs > peer.keepAliveSeconds * 1500 + sweepMs;
      if (peer.phase === "open" ? isSilent : now - peer.dialledAt > connectWaitMs + sweepMs)
        this.fail(`who is silent for too long is cut off: ${nameOf(peer)} for ${silentMs} ms`);
    }
    for (const [port, peer] of this.peers) if (peer.phase === "closed") this.peers.delete(port);
  }

  addUp(figures: readonly EndpointFigures[], still: boolean): void {
    this.ledger.addUp(figures, still);
  }

  get isAllOnDisk(): boolean {
    return this.journal.length === 0;
  }

  fail(claim: string): void {
    this.failure ??= new SimulationFailure(claim);
    this.trace.note(`FAILED: ${claim}`);
  }

  // The packets, one by one

  private handle(peer: Peer, packet: Sent): void {
    if (peer.phase === "closed") return;
    this.trace.note(`${nameOf(peer)} → ${packet.type === "garbage" ? "garbage" : show(packet)}`);
    const at = this.timeline.elapsed;
    const { clientId } = peer;
    switch (packet.type) {
      case "connect":
        return this.connects(peer, packet);
      case "publish":
        return this.publishes(peer, packet);
      case "pubrel":
        this.becomesTrue(
          peer,
          `pubcomp ${packet.packetIdentifier}`,
          this.sessionOf(peer)!.received.has(packet.packetIdentifier),
        );
        return this.happens({ type: "pubrel", at, clientId, packetIdentifier: packet.packetIdentifier });
      case "subscribe":
        this.becomesTrue(peer, `suback ${packet.packetIdentifier}`, true);
        this.happens({ type: "subscribe", at, clientId, subscriptions: packet.subscriptions });
        return this.forgetReplays(peer);
      case "unsubscribe":
        this.becomesTrue(peer, `unsuback ${packet.packetIdentifier}`, this.isSubscribed(peer, packet.topicFilters));
        return this.happens({ type: "unsubscribe", at, clientId, topicFilters: packet.topicFilters });
      case "garbage":
        return this.ends(peer, "malformed_packet");
      case "disconnect": {
        const expirySeconds = packet.properties?.sessionExpiryInterval;
        const cancelsWill = packet.reasonCode === 0;
        return this.ends(peer, cancelsWill ? "normal" : "disconnect_with_will", cancelsWill, expirySeconds);
      }
    }
  }

  private connects(peer: Peer, packet: Packet & { type: "connect" }): void {
    const { clientId, cleanStart, keepAliveSeconds, properties, protocolVersion } = packet;
    const at = this.timeline.elapsed;
    peer.clientId = clientId;
    const former = this.books.sessions.get(clientId);
    const holder = former?.line === undefined ? undefined : this.peers.get(former.line)!;
    this.figures.connects++;
    peer.phase = "accepted";
    peer.keepAliveSeconds = keepAliveSeconds;
    const expirySeconds =
      protocolVersion === 5 ? (properties?.sessionExpiryInterval ?? 0) : cleanStart ? 0 : 0xffff_ffff;
    if (holder !== undefined) this.isOver(holder, "session_taken_over");
    const no = ++this.count;
    const line = peer.line.remotePort;
    const will = this.announcedWills.get(peer.line);
    this.announcedWills.delete(peer.line);
    this.happens({ type: "connect", at, no, clientId, line, fresh: cleanStart, expirySeconds, will });
    const session = this.books.sessions.get(clientId)!;
    const stored = [former, session, this.onDiskBooks.sessions.get(clientId)];
    const needsDisk = will !== undefined || stored.some((one) => one?.persistent) || this.lastsUnwritten(clientId);
    if (needsDisk) peer.trueSince = this.turn;
    // Of an end that has just reached the disk the broker may not have heard yet.
    const endedAt = this.endsOnDisk.get(clientId) ?? Number.NEGATIVE_INFINITY;
    if (needsDisk || at <= endedAt + heardMs) peer.mayWaitFor = this.turn;
    this.connacksDue.set(line, undefined);
    peer.session = session.no;
    peer.sessionPresent = peer.session !== no;
    if (peer.sessionPresent) this.figures.sessionsPresent++;
  }

  /** A lasting session of this client is on its way to the disk: even one that has ended by now could be there after a crash. */
  private lastsUnwritten(clientId: string): boolean {
    return this.journal.some(
      ({ happening }) => happening.type === "connect" && happening.clientId === clientId && happening.expirySeconds > 0,
    );
  }

  private publishes(peer: Peer, packet: Publish): void {
    const { clientId } = peer;
    const { topicName, retain, qos } = packet;
    const id = idOf(packet.payload)!;
    const packetIdentifier = packet.qos === 0 ? 0 : packet.packetIdentifier;
    const session = this.sessionOf(peer)!;
    const expirySeconds = packet.properties?.messageExpiryInterval;
    const facts: Facts = { id, topicName, qos, retain, publisher: clientId, sequence: sequenceOf(id), expirySeconds };
    const isDuplicate = qos === 2 && session.received.has(packetIdentifier);
    const clearsNothing = id === "" && !this.books.retained.has(topicName);
    this.happens({ type: "publish", at: this.timeline.elapsed, clientId, facts, packetIdentifier });
    let needsDisk = qos === 2 && session.persistent;
    if (!isDuplicate) {
      this.figures.published++;
      this.handledTimes.set(id, (this.handledTimes.get(id) ?? 0) + 1);
      const isEvent = this.ledger.expect("on_message_publish", clientId, eventOf(facts), topicName);
      needsDisk ||= isEvent || (retain && !clearsNothing) || this.isOwedOnDisk(id);
    }
    if (qos === 0) return;
    const answer = `${qos === 1 ? "puback" : "pubrec"} ${packetIdentifier}`;
    if (!isDuplicate && !needsDisk) this.answers.delete(`${peer.session} ${answer}`);
    else this.becomesTrue(peer, answer, !isDuplicate);
  }

  /** What this answer says is so from this turn on, and from an earlier one unless it is new. */
  private becomesTrue(peer: Peer, answer: string, isNew: boolean): void {
    if (isNew) this.answers.set(`${peer.session} ${answer}`, this.turn);
  }

  private isSubscribed(peer: Peer, topicFilters: readonly string[]): boolean {
    const { subscriptions } = this.sessionOf(peer)!;
    return topicFilters.some((topicFilter) => subscriptions.has(topicFilter));
  }

  /** What this subscription brings is yet to come, also where an earlier one brought the same. */
  private forgetReplays({ session }: Peer): void {
    for (const id of this.books.asked) this.replayed.delete(`${session} ${id}`);
  }

  private isOwedOnDisk(id: string): boolean {
    for (const { persistent, owed } of this.books.sessions.values())
      if (persistent && (owed.get(id)?.qos ?? 0) > 0) return true;
    return sharedFilters.some((topicFilter) => this.books.shared.get(`${topicFilter} ${id}`)?.must === true);
  }

  private acknowledged(peer: Peer, packet: PublishAnswer | Suback | Unsuback): void {
    const { type, packetIdentifier } = packet;
    if ("reasonCode" in packet && packet.reasonCode >= 0x80 && type !== "pubcomp")
      this.fail(`what is sound is not refused: ${nameOf(peer)} got ${show(packet)}`);
    const turn = this.answers.get(`${peer.session} ${type} ${packetIdentifier}`);
    const session = this.sessionOf(peer);
    const needsDisk = type === "puback" || type === "pubrec" || session?.persistent === true;
    if (turn === undefined || !needsDisk || this.down || peer.phase === "closed") return;
    if (!this.isOnDisk(turn))
      this.fail(`first commit, then speak: ${nameOf(peer)} got ${show(packet)} before the disk had it`);
  }

  /** A PUBLISH has left the broker. */
  private sent(peer: Peer, packet: Publish, writtenAt: number): void {
    const id = idOf(packet.payload);
    if (id === undefined) return this.fail(`what comes out is what went in: ${nameOf(peer)} got ${show(packet)}`);
    const session = this.sessionOf(peer);
    if (id === "" || session === undefined || this.down) return;
    if (packet.retain) {
      if (!session.replays.has(id))
        this.fail(`a retained message is sent to who asked for it: ${nameOf(peer)} got ${id}`);
      return;
    }
    const owed = session.owed.get(id);
    const sharedTimes = this.timesShared(packet.topicName, id);
    if (owed === undefined && sharedTimes === 0)
      return this.fail(`nobody gets what he did not ask for: ${nameOf(peer)} got ${show(packet)}`);
    if (owed === undefined || sharedTimes > 0) return;
    const isAgain = packet.qos > 0 && "dup" in packet && packet.dup;
    if (owed.times === 1 && packet.qos !== owed.qos)
      this.fail(`the QoS is the lower of both: ${nameOf(peer)} got ${show(packet)}, not QoS ${owed.qos}`);
    if (!isAgain) {
      const key = `${peer.session} ${id}`;
      const copies = (this.copies.get(key) ?? 0) + 1;
      this.copies.set(key, copies);
      if (copies > owed.times)
        this.fail(`a message is sent again only as a duplicate: ${nameOf(peer)} got ${show(packet)}`);
      if (
        owed.expiresAt !== undefined &&
        owed.times === 1 &&
        !peer.line.hasStalled &&
        writtenAt > owed.expiresAt + lateMs
      )
        this.fail(`an expired message is not sent: ${nameOf(peer)} got ${show(packet)}`);
    }
    const left = packet.properties?.messageExpiryInterval;
    if (left !== undefined && owed.expiresAt !== undefined && owed.times === 1 && !peer.line.hasStalled) {
      const trueMs = owed.expiresAt - writtenAt;
      if (left * 1000 < trueMs - 1 || left * 1000 > Math.max(0, trueMs) + 1000 + lateMs)
        this.fail(`the Message Expiry Interval counts down: ${nameOf(peer)} got ${left} s of ${trueMs} ms`);
    }
  }

  private onlyOnce(peer: Peer, topicName: string, id: string, times: number): void {
    const shared = this.timesShared(topicName, id);
    // A message for one member of a group counts for all of them.
    const key = shared > 0 ? id : `${peer.session} ${id}`;
    const seen = (this.seenAtQoS2.get(key) ?? 0) + 1;
    this.seenAtQoS2.set(key, seen);
    if (seen > (shared > 0 ? shared : times)) this.fail(`QoS 2 is exactly once: ${nameOf(peer)} got ${id} again`);
  }

  private timesShared(topicName: string, id: string): number {
    let times = 0;
    if (!topicName.startsWith("jobs/")) return times;
    for (const topicFilter of sharedFilters) times += this.books.shared.get(`${topicFilter} ${id}`)?.times ?? 0;
    return times;
  }

  // Time, turns and the disk

  private happens(happening: Happening): void {
    this.books.apply(happening);
    this.journal.push({ turn: this.turn, happening });
    for (const facts of this.books.published) {
      this.willsDue.add(facts.id);
      this.handledTimes.set(facts.id, (this.handledTimes.get(facts.id) ?? 0) + 1);
      this.ledger.expect("on_message_publish", facts.publisher, eventOf(facts), facts.topicName);
    }
    this.watchTheClock();
  }

  /** Sessions that will end and wills that will fall due by time alone. */
  private watchTheClock(): void {
    for (const due of this.books.due()) {
      const key = `${due.type} ${due.clientId} ${due.at}`;
      if (this.scheduled.has(key)) continue;
      this.scheduled.add(key);
      this.timeline.at(due.at, Rank.model, () => {
        this.scheduled.delete(key);
        if (this.down) return;
        for (const still of this.books.due()) {
          if (`${still.type} ${still.clientId} ${still.at}` !== key) continue;
          this.trace.note(`${due.clientId}: ${due.type}`);
          return this.happens({ ...still, at: this.timeline.elapsed });
        }
      });
    }
  }

  private ends(peer: Peer, reason: DisconnectReason, cancelsWill = false, expirySeconds?: number): void {
    this.isOver(peer, reason);
    this.happens({ type: "ended", at: this.timeline.elapsed, clientId: peer.clientId, cancelsWill, expirySeconds });
  }

  private isOver(peer: Peer, reason: DisconnectReason): void {
    if (peer.phase === "accepted") this.ledger.expect("on_client_connack", peer.clientId, "connack success");
    peer.phase = "closed";
    peer.endsAs = reason;
    this.endsDue.add(peer);
    this.ledger.expect("on_client_disconnected", peer.clientId, `disconnected ${reason}`);
  }

  private isOnDisk(turn: number): boolean {
    const batches = this.batchesAfter.get(turn);
    return batches !== undefined && batches <= this.batchOnDisk;
  }

  /** Takes into the books of the disk what has reached it. */
  private learn(): void {
    let known = 0;
    while (known < this.journal.length && this.isOnDisk(this.journal[known].turn)) {
      this.learnOf(this.journal[known].happening);
      known++;
    }
    if (known > 0) this.journal.splice(0, known);
  }

  private learnOf(happening: Happening): void {
    const { sessions } = this.onDiskBooks;
    if (happening.type === "restart") return this.onDiskBooks.apply(happening);
    const before = sessions.get(happening.clientId);
    this.onDiskBooks.apply(happening);
    const isGone = before?.persistent && sessions.get(happening.clientId) !== before;
    if (isGone) this.endsOnDisk.set(happening.clientId, this.timeline.elapsed);
  }

  private sessionOf(peer: Peer): SessionBook | undefined {
    const session = this.books.sessions.get(peer.clientId);
    return session?.no === peer.session ? session : undefined;
  }

  /** Keeps the books short: what a client that is here has seen is not looked at again. */
  private forgetWhatIsSettled(session: SessionBook): void {
    if (this.journal.length > 0) return;
    const onDisk = this.onDiskBooks.sessions.get(session.clientId);
    for (const id of [...session.owed.keys()]) {
      const key = `${session.no} ${id}`;
      if (!this.seen.has(key)) continue;
      session.owed.delete(id);
      if (onDisk?.no === session.no) onDisk.owed.delete(id);
      this.seen.delete(key);
      this.seenAtQoS2.delete(key);
      this.copies.delete(key);
    }
  }
}

/** All the shared filters there are in a simulation. */
const sharedFilters = ["lasting", "fleeting"].flatMap((group) => [`$share/${group}/jobs/#`, `$share/${group}/jobs/+`]);

function eventOf({ topicName, qos, retain, id }: Facts): string {
  return `publish ${topicName} ${qos} ${retain} ${id}`;
}

function nameOf({ clientId, line }: Peer): string {
  return `${clientId || "someone"}@${line.remotePort}`;
}

function show(packet: Packet): string {
  switch (packet.type) {
    case "publish": {
      const { topicName, qos, retain, payload } = packet;
      const identifier = packet.qos === 0 ? "" : ` #${packet.packetIdentifier}${packet.dup ? " DUP" : ""}`;
      return `PUBLISH ${topicName} QoS ${qos}${identifier}${retain ? " RETAIN" : ""} ${idOf(payload) ?? "damaged"}`;
    }
    case "connect": {
      const { cleanStart, will, properties } = packet;
      return `CONNECT ${packet.clientId} v${packet.protocolVersion}${cleanStart ? " clean" : ""} expiry ${properties?.sessionExpiryInterval} will ${will && idInText(Buffer.from(will.payload).toString())} after ${will?.properties?.willDelayInterval}`;
    }
    case "subscribe":
      return `SUBSCRIBE #${packet.packetIdentifier} ${packet.subscriptions.map(({ topicFilter, qos, noLocal }) => `${topicFilter} QoS ${qos}${noLocal ? " no local" : ""}`)}`;
    case "unsubscribe":
      return `UNSUBSCRIBE #${packet.packetIdentifier} ${packet.topicFilters}`;
    case "connack":
      return `CONNACK ${packet.reasonCode}${packet.sessionPresent ? " present" : ""}`;
    default:
      return `${packet.type.toUpperCase()}${"packetIdentifier" in packet ? ` #${packet.packetIdentifier}` : ""}${"reasonCode" in packet && packet.reasonCode > 0 ? ` ${packet.reasonCode}` : ""}`;
  }
}
