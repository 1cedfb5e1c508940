/**
 * A broker on trial: one data folder, one broker after another on it, publishers, subscribers and receivers who remember,
 * and the verdict: is every obligation met?
 *
 * What is wrong is noted in the ledger as soon as it is seen; `verdict` adds what never came.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { diskFiles } from "../../src/base/hocon/files.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { loadSettings } from "../../src/config/load.ts";
import type { Settings } from "../../src/config/settings.ts";
import type { Packet, SubscriptionRequest } from "../../src/mqtt/packet.ts";
import { openDataFolder } from "../../src/store/data-folder.ts";
import { SqliteStore } from "../../src/store/sqlite.ts";
import { News } from "../e2e/support/news.ts";
import type { Orders } from "./back.ts";
import { BrokerProcess } from "./broker-process.ts";
import { bareTopics, Ledger, type Message, toldTopics } from "./ledger.ts";
import { Link } from "./link.ts";
import { Publisher } from "./publisher.ts";
import { Receiver } from "./receiver.ts";
import { Subscriber } from "./subscriber.ts";
import { type Tally, talliesOf } from "./tallies.ts";

/** Longer than a backlog drains. */
const drainMsMax = 120_000;
/** Longer than a breaker waits after the outages of a run: if nothing has come for so long, nothing will. */
const quietMsMax = 20_000;
const lookMsMax = 5_000;

export class Trial {
  readonly ledger: Ledger;
  readonly news: News;
  readonly publishers: readonly Publisher[];
  readonly subscribers: readonly Subscriber[];
  /** Always well. */
  readonly well: Receiver;
  /** Well, or not. */
  readonly frail: Receiver;
  readonly folder: string;
  private readonly settings: Settings;
  private broker: BrokerProcess | undefined;
  /** Lines of the log that are no news here. */
  private readonly expectedErrors: readonly string[];

  private constructor(parts: {
    ledger: Ledger;
    news: News;
    folder: string;
    well: Receiver;
    frail: Receiver;
    deadPort: number;
    expectedErrors: readonly string[];
  }) {
    const { ledger, news, folder, well, frail, deadPort, expectedErrors } = parts;
    this.ledger = ledger;
    this.expectedErrors = ["webhook endpoint does not take deliveries", ...expectedErrors];
    this.news = news;
    this.well = well;
    this.frail = frail;
    this.folder = folder;
    mkdirSync(this.dataFolder, { recursive: true, mode: 0o700 });
    this.settings = settingsOf(path.join(folder, "nanomq.conf"), configurationOf(well, frail, deadPort));
    const common = { ledger, onNews: () => news.tell() };
    this.publishers = [4, 5, 4, 5].map(
      (version, i) => new Publisher({ ...common, clientId: `p${i + 1}`, version: version as 4 | 5 }),
    );
    const all = `${toldTopics}#`;
    this.subscribers = [
      new Subscriber({ ...common, clientId: "s1", version: 5, qos: 2, topicFilter: all, receiveMaximum: 5 }),
      new Subscriber({ ...common, clientId: "s2", version: 4, qos: 2, topicFilter: all }),
      new Subscriber({ ...common, clientId: "s3", version: 4, qos: 1, topicFilter: all }),
      new Subscriber({ ...common, clientId: "s4", version: 5, qos: 2, topicFilter: `${toldTopics}p2/#` }),
    ];
  }

  /** Its files are in a folder of their own below `parent`. */
  static async open(
    seed: number,
    options: { parent?: string; expectedErrors?: readonly string[] } = {},
  ): Promise<Trial> {
    const { parent = tmpdir(), expectedErrors = [] } = options;
    const ledger = new Ledger(seed);
    const news = new News();
    const onNews = () => news.tell();
    const well = await Receiver.listen("well", ledger, onNews);
    const frail = await Receiver.listen("frail", ledger, onNews);
    const folder = mkdtempSync(path.join(parent, "hookmq-trial-"));
    return new Trial({ ledger, news, folder, well, frail, deadPort: await freePort(), expectedErrors });
  }

  get dataFolder(): string {
    return path.join(this.folder, "data");
  }

  get receivers(): readonly Receiver[] {
    return [this.well, this.frail];
  }

  start(orders: Orders = {}): BrokerProcess {
    const broker = new BrokerProcess(this.settings, orders);
    broker.ended.then(() => this.news.tell());
    this.broker = broker;
    return broker;
  }

  /** With a broker that must come to listen. */
  async startListening(orders: Orders = {}): Promise<{ broker: BrokerProcess; port: number }> {
    const broker = this.start(orders);
    const port = await broker.listening;
    if (port === undefined) throw new Error(`the broker does not start: ${broker.log}`);
    return { broker, port };
  }

  /** However it came about: its clients are cut off as well. */
  async ended(broker: BrokerProcess): Promise<void> {
    await broker.ended;
    for (const client of [...this.publishers, ...this.subscribers]) client.leave();
    this.hearComplaints(broker);
  }

  /** Told to stop, it must stop. */
  async stop(broker: BrokerProcess): Promise<void> {
    broker.signal("SIGTERM");
    const { code, signal } = await broker.ended;
    if (code !== 0) this.ledger.violated(`a stop ended with ${code ?? signal}: ${broker.log}`);
    await this.ended(broker);
  }

  /** The first broker of all: subscriptions are acknowledged, then it is killed. */
  async subscribeAndKill(orders: Orders): Promise<void> {
    const { broker, port } = await this.startListening(orders);
    for (const subscriber of this.subscribers)
      subscriber.connect(port, { comes: true, dropsAfter: Number.POSITIVE_INFINITY, comesBack: true });
    await this.until(
      () => this.subscribers.every(({ isSubscribed }) => isSubscribed),
      () => "all have their SUBACK",
    );
    broker.signal("SIGKILL");
    await this.ended(broker);
  }

  /** A new subscriber finds on each topic what it may hold, and nothing missing, if it lives to see. */
  async lookAtRetained(port: number, quietMs = lookMsMax): Promise<void> {
    const { ledger } = this;
    const held = new Map<string, string>();
    let pings = 0;
    let isCutOff = false;
    const received = (packet: Packet) => {
      if (packet.type === "publish" && packet.retain)
        held.set(packet.topicName, Buffer.from(packet.payload).toString());
      if (packet.type === "pingresp") pings++;
      this.news.tell();
    };
    const ended = () => {
      isCutOff = true;
      this.news.tell();
    };
    const link = new Link(port, 4, { received, ended });
    link.send({ type: "connect", protocolVersion: 4, cleanStart: true, keepAliveSeconds: 0, clientId: "looker" });
    link.send({
      type: "subscribe",
      packetIdentifier: 1,
      subscriptions: [`${toldTopics}#`, `${bareTopics}#`].map(atQoS0),
    });
    const missing = () => ledger.mustHold().filter((topicName) => !held.has(topicName));
    await this.eventually(() => isCutOff || missing().length === 0, lookMsMax, quietMs);
    // What should not be there comes behind, if it does.
    for (let i = 1; i <= 2; i++) {
      link.send({ type: "pingreq" });
      await this.eventually(() => isCutOff || pings >= i, lookMsMax);
    }
    link.cut();
    if (!isCutOff) for (const topicName of missing()) ledger.violated(`${topicName} has lost its retained message`);
    for (const [topicName, payload] of held) {
      if (!ledger.mayHold(topicName).some((message) => message.payload === payload))
        ledger.violated(`${topicName} still holds ${payload.slice(0, 20)}`);
    }
  }

  /** Without a kill, with all receivers well: everything that is owed comes, or never will. */
  async drain(port: number, quietMs = quietMsMax): Promise<void> {
    const { publishers, subscribers, receivers, ledger } = this;
    await this.frail.become("well");
    for (const publisher of publishers)
      publisher.connect(port, { messages: 0, window: 10, dropsAfter: Number.POSITIVE_INFINITY });
    for (const subscriber of subscribers)
      subscriber.connect(port, { comes: true, dropsAfter: Number.POSITIVE_INFINITY, comesBack: true });
    await this.eventually(() => publishers.every(({ isIdle }) => isIdle), drainMsMax, quietMs);
    const owed = (whom: { wants(message: Message): boolean }) =>
      this.acknowledged().filter((m) => whom.wants(m)).length;
    const subscribersOwed = subscribers.map(owed);
    const receiversOwed = receivers.map(owed);
    await this.eventually(
      () =>
        subscribers.every(({ arrived, isIdle }, i) => arrived >= subscribersOwed[i] && isIdle) &&
        receivers.every(({ settled, isIdle }, i) => settled >= receiversOwed[i] && isIdle),
      drainMsMax,
      quietMs,
    );
    for (const publisher of publishers) if (!publisher.isIdle) ledger.violated(publisher.describe());
  }

  /** Everything that can only be said at the end. */
  verdict(): void {
    const { ledger, subscribers, receivers } = this;
    for (const message of ledger.messages.values()) {
      const { key, qos, outcome, sendings } = message;
      for (const subscriber of subscribers) {
        if (!subscriber.wants(message)) continue;
        const times = subscriber.timesArrived(message);
        if (outcome === "acknowledged" && times === 0)
          ledger.violated(`${subscriber.clientId} never got ${key} of QoS ${qos}`);
        if (outcome === "refused" && sendings === 1 && times > 0)
          ledger.violated(`${subscriber.clientId} got ${key}, which was refused`);
      }
      for (const receiver of receivers) {
        if (!receiver.wants(message)) continue;
        if (outcome === "acknowledged" && !receiver.hasSettled(message))
          ledger.violated(`receiver ${receiver.name} never got ${key} of QoS ${qos}`);
        if (outcome === "refused" && sendings === 1 && receiver.hasHeardOf(message))
          ledger.violated(`receiver ${receiver.name} got ${key}, which was refused`);
      }
    }
  }

  /** The store as it lies there: whole, and the law of conservation holds. `isDrained`: nothing is owed any more. */
  async inspectStore(isDrained: boolean): Promise<void> {
    const { ledger, dataFolder } = this;
    const folder = openDataFolder(dataFolder);
    const store = new SqliteStore({ folder, sync: "commit", clock: systemClock, log: silentLogger });
    try {
      for (const fault of store.check()) ledger.violated(`the store is not whole: ${fault}`);
      const tallies = new Map(talliesOf(store).map((tally) => [tally.endpoint, tally]));
      for (const receiver of this.receivers) this.judge(tallies.get(receiver.name), receiver, isDrained);
      const nobody = tallies.get("nobody");
      if (nobody !== undefined) this.conserve(nobody);
    } finally {
      await store.close();
    }
  }

  async close(): Promise<void> {
    this.broker?.signal("SIGKILL");
    await this.broker?.ended;
    for (const client of [...this.publishers, ...this.subscribers]) client.leave();
    for (const receiver of this.receivers) await receiver.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Resolves when it is so; fails when it does not become so. */
  until(condition: () => boolean, awaited: () => string): Promise<true> {
    return this.news.until(
      () => condition() || undefined,
      () =>
        new Error(
          `waited in vain until ${awaited()} (seed ${this.ledger.seed}, ${this.ledger.progress}): ${this.broker?.log}`,
        ),
    );
  }

  /** Resolves when it is so, or will not be: after so long, or when nothing at all has happened for so long. */
  async eventually(condition: () => boolean, patienceMs = drainMsMax, quietMs = patienceMs): Promise<void> {
    let isOver = false;
    const giveUp = () => {
      isOver = true;
      this.news.tell();
    };
    const timers = [setTimeout(giveUp, patienceMs), setTimeout(giveUp, quietMs)];
    const look = () => {
      timers[1].refresh();
      return isOver || condition() || undefined;
    };
    await this.news.until(look, () => new Error("never"), 2 * patienceMs);
    for (const timer of timers) clearTimeout(timer);
  }

  private acknowledged(): Message[] {
    return [...this.ledger.messages.values()].filter(({ outcome }) => outcome === "acknowledged");
  }

  private judge(tally: Tally | undefined, receiver: Receiver, isDrained: boolean): void {
    const { ledger } = this;
    const owed = this.acknowledged().filter((message) => receiver.wants(message)).length;
    if (tally === undefined) {
      if (owed > 0) ledger.violated(`the store knows nothing of endpoint ${receiver.name}`);
      return;
    }
    this.conserve(tally);
    const { accepted, delivered, dead, dropped, expired, queued } = tally;
    const { acceptedIds, rejectedIds, events } = receiver;
    const claims: [boolean, string][] = [
      [accepted >= owed, `${owed} acknowledged`],
      [accepted >= events, `${events} events heard of`],
      [delivered <= acceptedIds, `${acceptedIds} taken by the receiver`],
      [dead <= rejectedIds, `${rejectedIds} refused by the receiver`],
      [dropped === 0 && expired === 0, "none to be dropped or expired"],
    ];
    if (isDrained)
      claims.push(
        [delivered === acceptedIds, `${acceptedIds} taken by the receiver`],
        [dead === rejectedIds, `${rejectedIds} refused by the receiver`],
        [queued === 0, "nothing queued"],
      );
    for (const [holds, claim] of claims)
      if (!holds) ledger.violated(`the store says ${JSON.stringify(tally)}, but there are ${claim}`);
  }

  private conserve(tally: Tally): void {
    const { accepted, delivered, dead, dropped, expired, queued } = tally;
    if (accepted !== delivered + dead + dropped + expired + queued)
      this.ledger.violated(`accepted is not the sum of the others: ${JSON.stringify(tally)}`);
  }

  private hearComplaints({ log }: BrokerProcess): void {
    for (const line of log.split("\n")) {
      if (!line.startsWith("ERROR") || this.expectedErrors.some((expected) => line.includes(expected))) continue;
      this.ledger.violated(`the broker's log says ${line}`);
    }
  }
}

function atQoS0(topicFilter: string): SubscriptionRequest {
  return { topicFilter, qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 };
}

function settingsOf(file: string, configuration: string): Settings {
  writeFileSync(file, configuration);
  const { settings, errors } = loadSettings({ path: file, env: {}, cwd: "/", files: diskFiles, version: "0.0.0" });
  if (settings === undefined) throw new Error(`the configuration is not right: ${JSON.stringify(errors)}`);
  return settings;
}

function configurationOf(well: Receiver, frail: Receiver, deadPort: number): string {
  const events = `[ { event = on_message_publish, topic = "${toldTopics}#" } { event = on_client_connack } { event = on_client_disconnected } ]`;
  return `
listeners.tcp.bind = "127.0.0.1:0"
store { engine = disk, dir = "data" }
mqtt { max_mqueue_len = 1000000, sys_interval = 0 }
log.level = warn
webhook {
  events = ${events}
  # A failure that is not the endpoint's costs an attempt: more of them than any outage here has.
  retry.schedule = [ ${Array.from({ length: 500 }, () => "100ms").join(", ")} ]
  queue.max_bytes = 256MB
  endpoints.well.url = "http://127.0.0.1:${well.port}"
  endpoints.frail { url = "http://127.0.0.1:${frail.port}", request_timeout = 500ms }
  # Drops and expires, and has to count it.
  endpoints.nobody { url = "http://127.0.0.1:${deadPort}", max_age = 1s, queue.max_bytes = 40KB }
}
`;
}

/** Where nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
