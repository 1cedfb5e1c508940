/**
 * Days in the life of a broker, from one seed: clients come and go, receivers fail and recover, the process crashes and
 * starts again from its disk. All of it on one timeline, so the same seed is the same story, to the byte.
 *
 *   moving (days) ⇄ down … → everyone comes back → everyone leaves → nothing is left
 */
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { Change } from "../../src/store/change.ts";
import type { DeliveryStore } from "../../src/store/deliveries.ts";
import type { StoredState } from "../../src/store/store.ts";
import { storedState } from "../../src/store/stored-state.ts";
import {
  type EndpointOptions,
  plainRequest,
  type RuleOptions,
  type WebhookOptions,
} from "../../src/webhook/options.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import type { Packet, ProtocolVersion } from "../../src/mqtt/packet.ts";
import { Random } from "../fault/random.ts";
import { Client, type Surroundings } from "./client.ts";
import { Judge, SimulationFailure } from "./judge.ts";
import { Line, type LineUser } from "./line.ts";
import { idOf } from "./payload.ts";
import { Receivers } from "./receivers.ts";
import { Timeline } from "./timeline.ts";
import { Trace } from "./trace.ts";
import { Disk, World } from "./world.ts";

export interface SimulationOptions {
  days?: number;
  /** What a broken disk forgets at a crash, of what it held. */
  forgets?: (state: StoredState, deliveries: DeliveryStore) => readonly Change[];
  /** What a broken receiver says yes to and forgets. */
  isSwallowed?: (endpoint: string, deliveryId: string) => boolean;
  /** A dispatcher that answers to a pause and goes on. */
  ignoresPauses?: boolean;
}

/** What a run came to: its hash is that of all that happened. */
export interface Report {
  seed: number;
  hash: string;
  happenings: number;
  figures: Judge["figures"];
  deliveries: Record<string, number>;
}

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
/** Longer than any retry, Retry-After or probe takes once a receiver is well. */
const drainMs = 3 * hourMs;
/** Longer than a client is lazy or does not read. */
const calmMs = 25 * minuteMs;
const poolSizes = [1, 2, 4, 32];

/** Throws SimulationFailure with the seed, the claim and what happened before. */
export async function simulate(seed: number, options: SimulationOptions = {}): Promise<Report> {
  const simulation = new Simulation(seed, options);
  try {
    return await simulation.run();
  } catch (error) {
    throw simulation.explain(error);
  }
}

class Simulation {
  private readonly seed: number;
  private readonly random: Random;
  private readonly timeline = new Timeline();
  private readonly trace = new Trace(this.timeline);
  private readonly disk = new Disk();
  private readonly judge: Judge;
  private readonly receivers: Receivers;
  private readonly options: BrokerOptions;
  private webhook: WebhookOptions;
  private readonly clients: Client[] = [];
  private readonly days: number;
  private readonly forgets: NonNullable<SimulationOptions["forgets"]>;
  private readonly ignoresPauses: boolean;
  private world: World | undefined;
  private lines = new Map<number, Line>();
  private lastPort = 0;
  private moving = true;
  private isCalm = false;
  private turnEndsLater = false;
  private ending: "crash" | "stop" | undefined;
  /** Dropped by full queues in former lives of the process. */
  private dropsBefore = 0;

  constructor(seed: number, options: SimulationOptions) {
    const { days = 7, forgets = () => [], isSwallowed = () => false, ignoresPauses = false } = options;
    this.ignoresPauses = ignoresPauses;
    this.seed = seed;
    this.days = days;
    this.random = new Random(seed);
    const { random, timeline } = this;
    this.forgets = forgets;
    this.webhook = webhookOptions(random);
    this.options = brokerOptions(random);
    this.judge = new Judge(timeline, this.trace, this.webhook);
    this.receivers = new Receivers(timeline, random, {
      arrived: (endpoint, deliveryId, ending) => {
        this.trace.note(`${endpoint} gets ${deliveryId}: ${JSON.stringify(ending)}`);
        this.judge.ledger.arrived(deliveryId, ending);
      },
      isSwallowed,
    });
    const around = this.surroundings();
    const count = 8 + random.below(8);
    for (let i = 1; i <= count; i++) {
      this.clients.push(new Client(`c${i}`, random.pick([3, 4, 4, 5, 5, 5]), random.chance(0.65), around));
    }
  }

  async run(): Promise<Report> {
    await this.start();
    this.planMoments();
    for (let day = 1; day <= this.days; day++) {
      await this.runUntil(day * dayMs - calmMs - hourMs);
      await this.calmDown();
    }
    this.moving = false;
    await this.everyoneComesBack();
    await this.everyoneLeaves();
    await this.nothingIsLeft();
    const { seed, trace, judge } = this;
    return {
      seed,
      hash: trace.hash(),
      happenings: trace.count,
      figures: judge.figures,
      deliveries: { ...judge.ledger.settledAs },
    };
  }

  explain(error: unknown): Error {
    const { failure } = this.judge;
    const claim = failure?.message ?? (error instanceof Error ? (error.stack ?? error.message) : String(error));
    const again = `HOOKMQ_SIMULATION_SEED=${this.seed} HOOKMQ_SIMULATION_DAYS=${this.days} npm run test:simulation`;
    return new SimulationFailure(
      `seed ${this.seed}, ${this.trace.time}: ${claim}\n\n${this.trace.tail}\n\nAgain: ${again}`,
    );
  }

  // Time

  private async runFor(ms: number): Promise<void> {
    await this.runUntil(this.timeline.elapsed + ms);
  }

  private async runUntil(at: number): Promise<void> {
    while (this.timeline.nextAt <= at) {
      this.step();
      if (this.ending !== undefined) await this.goDown();
    }
    this.timeline.elapsed = Math.max(this.timeline.elapsed, at);
  }

  private step(): void {
    this.timeline.step();
    if (this.world?.hasDeferred && !this.turnEndsLater && !this.timeline.hasTimersNow) this.endTurnSoon();
    if (this.timeline.nextAt > this.timeline.elapsed) this.judge.momentEnds();
    if (this.judge.failure !== undefined) throw this.judge.failure;
  }

  /** Some turns of the event loop read more than one socket. */
  private endTurnSoon(): void {
    if (this.random.chance(0.8)) return this.endTurn();
    this.turnEndsLater = true;
    this.timeline.after(this.random.below(3), () => this.endTurn());
  }

  private endTurn(): void {
    this.turnEndsLater = false;
    const { world, judge } = this;
    world?.endTurn((isLast) => judge.turnEnded(world.handedIn, isLast));
  }

  private async runUntilDone(act: Promise<void>): Promise<void> {
    let done = false;
    act.then(() => {
      done = true;
    });
    const patienceEnds = this.timeline.elapsed + hourMs;
    for (;;) {
      // Promises have their say before time goes on.
      await new Promise((resolve) => setImmediate(resolve));
      if (done) return;
      if (this.timeline.nextAt > patienceEnds) throw new SimulationFailure("the broker stops in time");
      this.step();
    }
  }

  // The process

  private async start(): Promise<void> {
    const { timeline, random, disk, options, webhook, judge, receivers } = this;
    const world = new World({
      timeline,
      random,
      disk,
      options,
      webhook,
      isWatched: (topicName) => topicName.startsWith("will/"),
      observer: judge,
      post: (endpoint, deliveryId, answer) => {
        judge.ledger.requested(deliveryId);
        receivers.post(endpoint, deliveryId, answer);
      },
    });
    judge.starts();
    this.world = world;
    await world.start();
    if (world.hasDeferred) this.endTurn();
    else judge.turnEnded(world.handedIn);
  }

  private async goDown(): Promise<void> {
    const how = this.ending!;
    this.ending = undefined;
    const { world, judge, random } = this;
    if (world === undefined) return;
    this.trace.note(`${how}!`);
    judge.addUp(world.figures(), false);
    if (how === "stop") {
      const stopped = world.stop(random.below(3000));
      judge.turnEnded(world.handedIn);
      await this.runUntilDone(stopped);
      judge.turnEnded(world.handedIn);
      judge.stopped();
      if (world.clock.armed > 0) judge.fail(`a good stop leaves no timer: ${world.clock.armed}`);
    }
    this.dropsBefore += world.broker.figures.dropped.queueFull;
    world.crash();
    this.world = undefined;
    this.turnEndsLater = false;
    judge.crashed();
    this.receivers.senderCrashed();
    for (const line of this.lines.values()) line.breakOff();
    this.lines = new Map();
    this.disk.forget(this.forgets(await storedState(this.disk.memory), this.disk.memory));
    const downMs = random.chance(0.7) ? random.below(10 * secondMs) : random.below(3 * hourMs);
    await this.runFor(downMs);
    await this.start();
  }

  // What moves

  private planMoments(): void {
    const gapMs = Math.ceil(-Math.log(1 - this.random.next()) * 15 * minuteMs);
    this.timeline.after(gapMs, () => {
      if (this.moving && !this.isCalm) this.moment();
      if (this.moving) this.planMoments();
    });
  }

  /** Several clients do something at nearly the same time, and now and then that is the process's last moment. */
  private moment(): void {
    const { random, timeline } = this;
    const withinMs = random.pick([5, 50, 500]);
    for (let left = 1 + random.below(6); left > 0; left--) {
      const client = random.pick(this.clients);
      timeline.after(random.below(withinMs), () => client.move());
    }
    if (random.chance(0.05)) timeline.after(random.below(withinMs), () => this.operatorActs());
    if (random.chance(0.03)) {
      timeline.after(random.below(2 * withinMs + 50), () => {
        this.ending = random.chance(0.75) ? "crash" : "stop";
      });
    }
  }

  /** Pauses an endpoint for a while, or gives all of them other numbers of connections. */
  private operatorActs(): void {
    const { random, timeline, trace, judge, world } = this;
    if (world === undefined) return;
    const { name } = random.pick(this.webhook.endpoints);
    if (random.chance(0.5)) {
      trace.note(`${name} is paused`);
      if (!this.ignoresPauses) world.pause(name);
      judge.ledger.pauses(name, timeline.elapsed);
      timeline.after(random.below(3 * hourMs), () => this.resume(name));
    } else {
      trace.note("the webhooks are configured anew");
      const endpoints = this.webhook.endpoints.map((one) => ({ ...one, poolSize: random.pick(poolSizes) }));
      this.webhook = { ...this.webhook, endpoints };
      world.reconfigure(this.webhook);
    }
  }

  /** A process that is down is asked again when it is there. */
  private resume(name: string): void {
    if (this.world === undefined) return void this.timeline.after(minuteMs, () => this.resume(name));
    this.trace.note(`${name} goes on`);
    this.judge.ledger.resumes(name);
    this.world.resume(name);
  }

  private surroundings(): Surroundings {
    const { timeline, random, judge } = this;
    return {
      timeline,
      random,
      dial: (version, user) => this.dial(version, user),
      sessionOf: (line) => judge.sessionNumber(line),
      received: (clientId, line, packet, isNew) => judge.received(clientId, line, packet, isNew),
      announceWill: (line, will) => judge.announceWill(line, will),
    };
  }

  private dial(version: ProtocolVersion, user: LineUser): Line | undefined {
    const { timeline, random, judge, world } = this;
    if (world === undefined) return undefined;
    const line = new Line({ timeline, random, watch: judge }, { port: ++this.lastPort, version, user });
    judge.dialled(line);
    const connection = world.accept(line);
    if (connection === undefined) {
      line.breakOff();
      return line;
    }
    this.lines.set(line.remotePort, line);
    line.attach(connection);
    return line;
  }

  // Times at which all must be well

  private async calmDown(): Promise<void> {
    this.isCalm = true;
    await this.settle();
    this.checkArrivals(false);
    await this.auditRetained();
    this.isCalm = false;
  }

  /** Nobody begins anything; who was slow is so no more. */
  private async settle(): Promise<void> {
    for (const client of this.clients) client.calm();
    await this.runFor(calmMs);
    while (this.world === undefined || !this.judge.isAllOnDisk) await this.runFor(minuteMs);
    this.judge.nobodyIsKept();
    this.judge.addUp(this.world.figures(), false);
    for (const [port, line] of this.lines) if (!line.isOpen) this.lines.delete(port);
  }

  private checkArrivals(atTheEnd: boolean): void {
    const drops = this.dropsBefore + this.world!.broker.figures.dropped.queueFull;
    const isHere = (clientId: string, port: number) =>
      this.clients.some((client) => {
        const line = client.currentLine;
        return client.clientId === clientId && client.isOpen && line?.remotePort === port && line.isOpen;
      });
    this.judge.nothingMissing(isHere, drops, atTheEnd);
    if (this.judge.failure !== undefined) throw this.judge.failure;
  }

  private async auditRetained(): Promise<void> {
    const found = new Map<string, string>();
    const line = this.dial(5, {
      received: (packet) => {
        if (packet.type === "publish" && packet.retain) found.set(packet.topicName, idOf(packet.payload) ?? "");
      },
      closed() {},
    })!;
    line.send(connectOf("auditor"));
    await this.runFor(10 * secondMs);
    const before = this.judge.retainedNow();
    const request = { topicFilter: "#", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
    line.send({ type: "subscribe", packetIdentifier: 1, subscriptions: [request] });
    await this.runFor(30 * secondMs);
    this.judge.retainedIs(found, before);
    line.send({ type: "disconnect", reasonCode: ReasonCode.success });
    await this.runFor(10 * secondMs);
  }

  private async everyoneComesBack(): Promise<void> {
    this.receivers.heal();
    for (const { name } of this.webhook.endpoints) this.resume(name);
    await this.settle();
    for (const client of this.clients) client.comeBack();
    await this.settle();
    this.checkArrivals(true);
    await this.auditRetained();
  }

  private async everyoneLeaves(): Promise<void> {
    for (const client of this.clients) client.leaveForGood();
    await this.runFor(10 * secondMs);
    for (const client of this.clients) client.goodbye();
    await this.runFor(10 * secondMs);
    const line = this.dial(5, { received() {}, closed() {} })!;
    line.send(connectOf("auditor"));
    for (const topicName of this.judge.retainedTopics()) {
      line.send({ type: "publish", topicName, payload: Buffer.alloc(0), retain: true, qos: 0 });
    }
    await this.runFor(minuteMs);
    line.send({ type: "disconnect", reasonCode: ReasonCode.success });
    await this.runFor(drainMs);
  }

  private async nothingIsLeft(): Promise<void> {
    const { judge } = this;
    const { broker, clock } = this.world!;
    judge.addUp(this.world!.figures(), true);
    const { connections, sessions, subscriptions, retained, queuedBytes, waitingBytes } = broker;
    const left = {
      connections: connections.size,
      sessions: sessions.count,
      subscriptions: subscriptions.count,
      levels: subscriptions.levels,
      retained: retained.count,
      retainedLevels: retained.levels,
      retainedBytes: retained.bytes,
      queuedBytes,
      waitingBytes,
      slowReaders: broker.figures.dropped.slowReader,
      tooLarge: broker.figures.dropped.tooLarge,
      deliveries: judge.ledger.open,
      ...(await leftOnDisk(this.disk)),
    };
    for (const [what, count] of Object.entries(left))
      if (count !== 0) judge.fail(`in the end nothing is left: ${count} ${what}`);
    const stopped = this.world!.stop(0);
    await this.runUntilDone(stopped);
    if (clock.armed > 0) judge.fail(`in the end nothing is left: ${clock.armed} timers`);
    if (judge.failure !== undefined) throw judge.failure;
  }
}

async function leftOnDisk({ memory }: Disk): Promise<Record<string, number>> {
  const { messages, sessions, retained, wills } = await storedState(memory);
  const waiting = memory.endpoints().flatMap(({ queued }) => Object.values(queued));
  return {
    "messages on disk": messages.size,
    "sessions on disk": sessions.length,
    "retained on disk": retained.size,
    "wills on disk": wills.length,
    "deliveries on disk": waiting.reduce((sum, { count }) => sum + count, 0),
  };
}

function connectOf(clientId: string): Packet {
  return { type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId };
}

/** One broker in three has short queues or short windows. */
function brokerOptions(random: Random): BrokerOptions {
  return {
    nodeName: "simulation",
    version: "0",
    packetBytesMax: 1024 * 1024,
    queuedMessagesMax: random.chance(0.7) ? 100_000 : 20 + random.below(100),
    topicAliasMax: 16,
    receiveMaximum: 1000,
    inflightMessagesMax: random.pick([1000, 1000, 1, 4]),
    keepAliveMultiplier: 1.5,
    keepAliveSecondsMax: undefined,
    sessionExpirySecondsMax: 0xffff_ffff,
    connectionsMax: 1000,
    sysIntervalSeconds: 0,
    responseInformation: undefined,
  };
}

function webhookOptions(random: Random): WebhookOptions {
  const on = (event: RuleOptions["event"], ...topicFilters: string[]): RuleOptions => ({ event, topicFilters });
  const endpoint = (
    name: string,
    rules: readonly RuleOptions[],
    more: Partial<EndpointOptions> = {},
  ): EndpointOptions => ({
    name,
    enable: true,
    url: `http://${name}.example/`,
    headers: [],
    bodyEncoding: "plain",
    poolSize: random.pick(poolSizes),
    attemptTimeoutMs: 5000,
    connectTimeoutMs: 5000,
    request: plainRequest,
    retry: { scheduleMs: [1000, 5000, 15_000, minuteMs, 5 * minuteMs, 15 * minuteMs], jitter: 0.2 },
    maxAgeMs: random.pick([hourMs, dayMs, 3 * dayMs]),
    durability: "strict",
    queueBytesMax: 1024 * 1024 * 1024,
    overflow: "drop_oldest",
    deadLetters: { bytesMax: 1024 * 1024, maxAgeMs: dayMs },
    timestampUnit: "ms",
    orderBy: "client",
    format: "edge",
    source: "/brokers/nanomq",
    template: undefined,
    rules,
    ...more,
  });
  return {
    endpoints: [
      endpoint("audit", [
        on("on_client_connack"),
        on("on_client_disconnected"),
        on("on_message_publish", "home/+", "will/#"),
      ]),
      endpoint("lake", [on("on_message_publish", "shop/1/#", "shop/+/a", "jobs/#")], { orderBy: "topic" }),
      endpoint("shed", [on("on_client_connack"), on("on_message_publish", "shop/#")], {
        queueBytesMax: 200_000,
        overflow: random.pick(["drop_oldest", "drop_newest"]),
      }),
    ],
  };
}
