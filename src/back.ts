/**
 * The back: the store engine and the sending half of the webhooks, on a thread of its own so that neither disk nor network
 * ever keeps a socket waiting. `back-link.ts` is its other end. A test may use a `Back` in its own thread.
 *
 * A batch is first committed, then its deliveries are taken over by the dispatcher, then it is answered.
 */
import { isMainThread, type MessagePort, parentPort, workerData } from "node:worker_threads";
import { assert } from "./base/assert.ts";
import { type Clock, systemClock } from "./base/clock.ts";
import type { Facts, Logger } from "./base/log.ts";
import type { BackMetrics } from "./metrics.ts";
import type { BrokerChange } from "./store/change.ts";
import { ChangeEncoder, decodeChanges } from "./store/change-codec.ts";
import { MemoryStore } from "./store/memory.ts";
import { MemoryDeliveries } from "./store/memory-deliveries.ts";
import { openDataFolder, StoreUnusable } from "./store/data-folder.ts";
import type { StoreOptions } from "./store/options.ts";
import { SqliteStore, type SqliteStoreParts } from "./store/sqlite.ts";
import { type Engine, type Store, StoreUnavailable } from "./store/store.ts";
import { createSender, type Sender } from "./webhook/attempt.ts";
import { Dispatcher, type Handed } from "./webhook/dispatcher.ts";
import type { EndpointFigures } from "./webhook/endpoint.ts";
import { isRefusal, type Operation, type OperationAnswer } from "./webhook/operations.ts";
import type { EndpointOptions, WebhookOptions } from "./webhook/options.ts";

/** What a back is built from; goes to the worker as it is. */
export interface BackOptions {
  store: StoreOptions;
  webhook: WebhookOptions;
  /** Named in the `user-agent` of requests. */
  version: string;
}

/**
 * To the back. A bare ArrayBuffer is a batch of Changes; batches are numbered 1, 2, 3 … as they are sent. `heardOf`: the
 * front knows that this batch was refused, and what comes from here on does not build on it.
 */
export type ToBack = ArrayBuffer | { id: number; ask: Question } | { heardOf: number };
export type Question =
  | { what: "load" }
  | { what: "figures" }
  | { what: "stop-deliveries"; graceMs: number }
  | { what: "close" }
  | { what: "check-store" }
  | { what: "backup"; file: string }
  | { what: "webhook"; operation: Operation }
  | { what: "reconfigure"; webhook: WebhookOptions }
  | { what: "metrics" };

/** From the back. A bare ArrayBuffer is a part of the state that was asked for, as Changes. A bare number is the highest batch that is committed, with all before it that were not refused. */
export type FromBack =
  | ArrayBuffer
  | number
  | { type: "refused"; batch: number; code: StoreUnavailable["code"]; cause: unknown }
  | { type: "answer"; id: number; value: unknown }
  | { type: "failure"; id: number; error: unknown }
  | { type: "trouble"; trouble: string | undefined }
  | { type: "log"; level: LogMethod; message: string; facts: Facts | undefined };
type LogMethod = keyof Logger;

export interface BackParts {
  engine: Engine;
  webhook: WebhookOptions;
  clock: Clock;
  random: () => number;
  log: Logger;
  /** Called once for each endpoint. */
  createSender: (endpoint: EndpointOptions) => Sender;
}

export class Back implements Store {
  private readonly engine: Engine;
  /** Of endpoints whose deliveries may end with the process. */
  private readonly volatile = new MemoryDeliveries();
  private readonly dispatcher: Dispatcher;
  private deliveriesStopped: Promise<void> | undefined;

  constructor({ engine, webhook, clock, random, log, createSender }: BackParts) {
    this.engine = engine;
    this.dispatcher = new Dispatcher({
      options: webhook,
      clock,
      createSender,
      random,
      log,
      durable: engine,
      volatile: this.volatile,
    });
  }

  get trouble(): string | undefined {
    return this.engine.trouble;
  }

  set onTrouble(listener: Store["onTrouble"]) {
    this.engine.onTrouble = listener;
  }

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    const kept = changes.some(isVolatile) ? changes.filter((change) => !isVolatile(change)) : changes;
    this.engine.commit(kept, (error, firstPosition) => {
      if (error !== undefined) return done(error);
      const owed = this.owedIn(changes, firstPosition!);
      if (owed.length > 0) this.dispatcher.accept(owed);
      done();
    });
  }

  /** Called once, at the start. What is owed to endpoints from before is sent from here; the rest is the broker's. */
  async load(take: (part: readonly BrokerChange[]) => void): Promise<void> {
    await this.engine.load(take);
    this.dispatcher.resume();
  }

  figures(): EndpointFigures[] {
    return this.dispatcher.figures();
  }

  /** What an operator asks of the webhooks. */
  async operate<Asked extends Operation>(operation: Asked): Promise<OperationAnswer<Asked["what"]>> {
    // The dispatcher answers each kind with its own.
    return (await this.dispatcher.operate(operation)) as OperationAnswer<Asked["what"]>;
  }

  /** Throws when the endpoints cannot be as these options have them; then they stay as they were. */
  async reconfigure(webhook: WebhookOptions): Promise<void> {
    await this.dispatcher.reconfigure(webhook);
  }

  async metrics(): Promise<BackMetrics> {
    const reports = await this.operate({ what: "endpoints" });
    return {
      endpoints: isRefusal(reports) ? this.figures() : reports,
      attempts: this.dispatcher.metrics(),
      storeCommitSeconds: this.engine instanceof SqliteStore ? this.engine.commitSeconds.figures() : undefined,
    };
  }

  /** Sends for at most so long what can be sent at once; what is left stays in the store. */
  stopDeliveries(graceMs: number): Promise<void> {
    this.deliveriesStopped ??= this.dispatcher.stop(graceMs);
    return this.deliveriesStopped;
  }

  async close(): Promise<void> {
    await this.stopDeliveries(0);
    await this.engine.close();
  }

  /** What is wrong with the store on disk; empty when nothing is. */
  checkStore(): string[] {
    return onDisk(this.engine).check();
  }

  backup(file: string): Promise<void> {
    return onDisk(this.engine).backup(file);
  }

  private owedIn(changes: readonly BrokerChange[], firstPosition: number): Handed[] {
    const deliveries: Handed[] = [];
    let next = firstPosition;
    for (const change of changes) {
      if (change.type !== "delivery-owed") continue;
      const owed = change.delivery;
      const position = isVolatile(change) ? this.volatile.owe(owed) : next++;
      const handed = { position, owed, attempts: 0, failures: 0, dueAt: undefined };
      deliveries.push({ ...handed, isVolatile: isVolatile(change) });
    }
    return deliveries;
  }
}

function onDisk(engine: Store): SqliteStore {
  assert(engine instanceof SqliteStore, "only what is kept on disk is checked and copied");
  return engine;
}

function isVolatile(change: BrokerChange): boolean {
  return change.type === "delivery-owed" && change.durability === "memory";
}

function openEngine(store: StoreOptions, log: Logger, moment: SqliteStoreParts["moment"]): Engine {
  switch (store.engine) {
    case "memory":
      return new MemoryStore();
    case "disk":
      return new SqliteStore({
        folder: openDataFolder(store.directory),
        sync: store.sync,
        clock: systemClock,
        log,
        moment,
      });
    default:
      return store satisfies never;
  }
}

/** Serves the front through `port`. `moment` is for tests that end the process in the middle of a commit. */
export function serve(
  port: MessagePort,
  { store, webhook, version }: BackOptions,
  moment?: SqliteStoreParts["moment"],
): void {
  const send = (message: FromBack) => port.postMessage(message, message instanceof ArrayBuffer ? [message] : []);
  const log = portLogger(send);
  const back = openBack(() => {
    const engine = openEngine(store, log, moment);
    const createSenderFor = (endpoint: EndpointOptions) => createSender(endpoint, { clock: systemClock, version, log });
    return new Back({ engine, webhook, clock: systemClock, random: Math.random, log, createSender: createSenderFor });
  });
  const answers = new BatchAnswers(send);
  let refused: { batch: number; error: StoreUnavailable } | undefined;
  if (back instanceof Back) back.onTrouble = (trouble) => send({ type: "trouble", trouble });
  port.on("message", (message: ToBack) => {
    if (message instanceof ArrayBuffer) {
      const batch = answers.next();
      if (back instanceof StoreUnusable) return answers.give(batch, new StoreUnavailable("load", { cause: back }));
      if (refused !== undefined) return answers.give(batch, refused.error);
      back.commit(decodeChanges(message), (error) => {
        if (error !== undefined) refused ??= { batch, error };
        answers.give(batch, error);
      });
      return;
    }
    if ("heardOf" in message) {
      if (message.heardOf === refused?.batch) refused = undefined;
      return;
    }
    const { id, ask } = message;
    answer(back, ask, send).then(
      (value) => answers.sendAfter({ type: "answer", id, value }),
      (error: unknown) => answers.sendAfter({ type: "failure", id, error }),
    );
  });
}

/** A store that cannot be used is the answer to the first question, not the end of the thread. */
function openBack(open: () => Back): Back | StoreUnusable {
  try {
    return open();
  } catch (error) {
    if (error instanceof StoreUnusable) return error;
    throw error;
  }
}

async function answer(
  back: Back | StoreUnusable,
  question: Question,
  send: (message: FromBack) => void,
): Promise<unknown> {
  if (back instanceof StoreUnusable) {
    if (question.what === "load") throw back;
    return question.what === "figures" ? [] : undefined;
  }
  switch (question.what) {
    case "load":
      return sendState(back, send);
    case "figures":
      return back.figures();
    case "stop-deliveries":
      return back.stopDeliveries(question.graceMs);
    case "close":
      return back.close();
    case "check-store":
      return back.checkStore();
    case "backup":
      return back.backup(question.file);
    case "webhook":
      return back.operate(question.operation);
    case "reconfigure":
      return back.reconfigure(question.webhook);
    case "metrics":
      return back.metrics();
    default:
      return question satisfies never;
  }
}

function sendState(back: Back, send: (message: FromBack) => void): Promise<void> {
  const encoder = new ChangeEncoder();
  return back.load((part) => send(encoder.encode(part)));
}

/** Gathers the answers of one turn of the loop: one message says how far all is committed. */
class BatchAnswers {
  private readonly send: (message: FromBack) => void;
  private received = 0;
  private committed = 0;
  private told = 0;
  private waiting = false;

  constructor(send: (message: FromBack) => void) {
    this.send = send;
  }

  next(): number {
    return ++this.received;
  }

  /** In the order of the batches. */
  give(batch: number, error: StoreUnavailable | undefined): void {
    if (error !== undefined) {
      this.sendAfter({ type: "refused", batch, code: error.code, cause: error.cause });
      this.committed = batch;
      this.told = batch;
      return;
    }
    this.committed = batch;
    if (this.waiting) return;
    this.waiting = true;
    setImmediate(() => this.tell());
  }

  /** Sends something else, behind what is known by now. */
  sendAfter(message: FromBack): void {
    this.tell();
    this.send(message);
  }

  private tell(): void {
    this.waiting = false;
    if (this.told === this.committed) return;
    this.told = this.committed;
    this.send(this.committed);
  }
}

function portLogger(send: (message: FromBack) => void): Logger {
  const at = (level: LogMethod) => (message: string, facts?: Facts) => send({ type: "log", level, message, facts });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

// Only where `back-link.ts` has started a worker from this file: a test that imports it may run in a worker as well.
if (!isMainThread && parentPort !== null && isOurs(workerData)) serve(parentPort, workerData);

function isOurs(data: unknown): data is BackOptions {
  return typeof data === "object" && data !== null && "file" in data && data.file === import.meta.url;
}
