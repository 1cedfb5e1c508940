/**
 * The front's end of the back thread: a Store whose batches cross over as bytes, and whose deliveries are sent over there.
 *
 *   running ──close()──→ closed
 *      └────the thread fails────→ failed: nothing can be promised any more, and the process ends
 */
import { Worker } from "node:worker_threads";
import type { BackOptions, FromBack, Question, ToBack } from "./back.ts";
import { Deque } from "./base/deque.ts";
import type { Logger } from "./base/log.ts";
import type { BackMetrics } from "./metrics.ts";
import type { BrokerChange } from "./store/change.ts";
import { ChangeEncoder, decodeChanges } from "./store/change-codec.ts";
import { type Store, StoreUnavailable } from "./store/store.ts";
import type { EndpointFigures } from "./webhook/endpoint.ts";
import type { Operation, OperationAnswer } from "./webhook/operations.ts";
import type { WebhookOptions } from "./webhook/options.ts";

export interface BackLinkParts extends BackOptions {
  log: Logger;
  /** Called once when the thread has failed, after it was logged. */
  failed?: () => void;
  /** What the thread runs; another one for tests. It calls `serve`. */
  file?: URL;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

// Deliveries come and go by the ten thousand: a small nursery keeps their garbage from piling up to hundreds of MB.
const resourceLimits = { maxYoungGenerationSizeMb: 16 };

// `src/back.ts` in a checkout, `dist/back.js` in the package.
const backFile = new URL(import.meta.url.endsWith(".ts") ? "./back.ts" : "./back.js", import.meta.url);

export class BackLink implements Store {
  private readonly worker: Worker;
  private readonly encoder = new ChangeEncoder();
  private readonly log: Logger;
  private readonly failed: () => void;
  private state: "running" | "closed" | "failed" = "running";
  /** Batches not yet answered, oldest first; the first is number `answered + 1`. */
  private readonly unanswered = new Deque<(error?: StoreUnavailable) => void>();
  private answered = 0;
  private readonly questions = new Map<number, Waiting>();
  private lastQuestion = 0;
  /** Takes the state that was asked for. */
  private take: ((part: readonly BrokerChange[]) => void) | undefined;
  trouble: string | undefined;
  onTrouble: Store["onTrouble"];

  constructor({ store, webhook, version, log, failed = endProcess, file = backFile }: BackLinkParts) {
    this.log = log;
    this.failed = failed;
    const workerData: BackOptions & { file: string } = { store, webhook, version, file: file.href };
    this.worker = new Worker(file, { workerData, name: "back", resourceLimits });
    this.worker.on("message", (message: FromBack) => this.receive(message));
    this.worker.on("error", (error) => this.fail(error instanceof Error ? error : new Error(String(error))));
    this.worker.on("exit", (code) => this.fail(new Error(`the thread ended by itself with code ${code}`)));
  }

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    if (this.state !== "running") return done(new StoreUnavailable("closed"));
    this.unanswered.push(done);
    const batch = this.encoder.encode(changes);
    this.worker.postMessage(batch satisfies ToBack, [batch]);
  }

  /** Throws StoreUnavailable with the reason, for the operator, as its cause. */
  async load(take: (part: readonly BrokerChange[]) => void): Promise<void> {
    try {
      this.take = take;
      await this.ask({ what: "load" });
    } catch (cause) {
      throw cause instanceof StoreUnavailable ? cause : new StoreUnavailable("load", { cause });
    } finally {
      this.take = undefined;
    }
  }

  figures(): Promise<EndpointFigures[]> {
    return this.ask({ what: "figures" }) as Promise<EndpointFigures[]>;
  }

  /** Sends for at most so long what can be sent at once; what is left stays in the store. */
  async stopDeliveries(graceMs: number): Promise<void> {
    await this.ask({ what: "stop-deliveries", graceMs });
  }

  async close(): Promise<void> {
    if (this.state !== "running") return;
    // Questions and batches travel in one line: what was handed in before is committed first.
    const closed = this.ask({ what: "close" });
    this.state = "closed";
    await closed;
    await this.worker.terminate();
  }

  checkStore(): Promise<string[]> {
    return this.ask({ what: "check-store" }) as Promise<string[]>;
  }

  async backup(file: string): Promise<void> {
    await this.ask({ what: "backup", file });
  }

  operate<Asked extends Operation>(operation: Asked): Promise<OperationAnswer<Asked["what"]>> {
    return this.ask({ what: "webhook", operation }) as Promise<OperationAnswer<Asked["what"]>>;
  }

  /** What is handed in from here on meets the new endpoints: questions and batches travel in one line. */
  async reconfigure(webhook: WebhookOptions): Promise<void> {
    await this.ask({ what: "reconfigure", webhook });
  }

  metrics(): Promise<BackMetrics> {
    return this.ask({ what: "metrics" }) as Promise<BackMetrics>;
  }

  private receive(message: FromBack): void {
    if (typeof message === "number") return this.committed(message);
    if (message instanceof ArrayBuffer) {
      this.take?.(decodeChanges(message));
      return;
    }
    switch (message.type) {
      case "refused":
        this.answered = message.batch;
        // Before anyone here hears of it: what was sent until now may build on it, what is sent from now on does not.
        this.worker.postMessage({ heardOf: message.batch } satisfies ToBack);
        return this.unanswered.shift()?.(new StoreUnavailable(message.code, { cause: message.cause }));
      case "answer":
        return this.takeQuestion(message.id)?.resolve(message.value);
      case "failure":
        return this.takeQuestion(message.id)?.reject(message.error);
      case "trouble":
        this.trouble = message.trouble;
        return this.onTrouble?.(message.trouble);
      case "log":
        return this.log[message.level](message.message, message.facts);
      default:
        message satisfies never;
    }
  }

  private committed(batch: number): void {
    while (this.answered < batch) {
      this.answered++;
      this.unanswered.shift()?.();
    }
  }

  private ask(question: Question): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.state !== "running") return reject(new StoreUnavailable("closed"));
      const id = ++this.lastQuestion;
      this.questions.set(id, { resolve, reject });
      this.worker.postMessage({ id, ask: question } satisfies ToBack);
    });
  }

  private takeQuestion(id: number): Waiting | undefined {
    const waiting = this.questions.get(id);
    this.questions.delete(id);
    return waiting;
  }

  /** Whoever waits is told, and nobody else is promised anything. */
  private fail(error: Error): void {
    if (this.state === "failed") return;
    // After close() the thread ends because it was told to.
    const expected = this.state === "closed" && this.questions.size === 0;
    if (expected) return;
    this.state = "failed";
    this.log.error("the thread of the store and the webhooks has failed: HookMQ ends", { error });
    const unavailable = new StoreUnavailable("closed", { cause: error });
    for (const { reject } of this.questions.values()) reject(unavailable);
    this.questions.clear();
    for (let done = this.unanswered.shift(); done !== undefined; done = this.unanswered.shift()) done(unavailable);
    this.failed();
  }
}

/** Whoever watches over the process starts it again; it then goes on from the store. */
function endProcess(): void {
  process.exit(1);
}
