/**
 * One HTTP request made for a delivery, over connections that are kept and used again. Whatever a receiver does, an attempt
 * ends within its time as one Outcome: nothing is thrown, nothing stays behind.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Attempting } from "./delivery.ts";
import type { EndpointOptions } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import type { RequestHead } from "./request-head.ts";
import { assert } from "../base/assert.ts";
import { Client, type Dispatcher } from "undici";
import {
  answerBytesMax,
  answerExcerptBytesMax,
  answerHeaderBytesMax,
  deadlineSweepMsMax,
  deadlineSweepMsMin,
  idleConnectionMs,
  interimAnswersMax,
} from "./limits.ts";
import { cancelled, judgeAnswer, judgeFailure } from "./outcome.ts";
import { requestHead } from "./request-head.ts";

/** What was seen of an attempt, for whoever looks after the endpoint. */
export interface AttemptFacts {
  /** `undefined`: there was no answer. */
  status: number | undefined;
  durationMs: number;
  /** The beginning of the answer, as text. */
  excerpt: string;
}

export type Settling = (outcome: Outcome, facts?: AttemptFacts) => void;

/** Makes attempts for one endpoint. The dispatcher never has more than `poolSize` under way. */
export interface Sender {
  /** `settled` is called exactly once, after `send` has returned. */
  send(delivery: Attempting, settled: Settling): void;
  /** Takes back what is under way (as `cancelled`) and closes every connection. */
  close(): Promise<void>;
}

export function createSender(endpoint: EndpointOptions, parts: { clock: Clock; version: string }): Sender {
  return new HttpSender(endpoint, parts);
}

/**
 * An undici Client for each connection, rather than its Pool: only so is it known whether a connection has served before,
 * and a request follows the last one on the same connection at once instead of waiting in a queue of the Pool's.
 */
class HttpSender implements Sender {
  private readonly options: EndpointOptions;
  private readonly clock: Clock;
  private readonly head: RequestHead;
  private readonly connections = new Set<Connection>();
  /** The one used last is used next, so that a quiet endpoint has few. */
  private readonly idle: Connection[] = [];
  private sweep: Timer | undefined;
  private closing = false;

  constructor(options: EndpointOptions, { clock, version }: { clock: Clock; version: string }) {
    this.options = options;
    this.clock = clock;
    this.head = requestHead(options, version);
  }

  send(delivery: Attempting, settled: Settling): void {
    assert(!this.closing, "a closed sender sends nothing");
    const connection = this.idle.pop() ?? this.open();
    this.sweep ??= this.clock.every(sweepMs(this.options.attemptTimeoutMs), () => this.endOverdue());
    const exchange = new Exchange(connection, delivery, this.clock.monotonic(), (answered) => {
      connection.exchange = undefined;
      if (this.connections.has(connection)) this.idle.push(connection);
      const outcome = this.closing && !answered ? cancelled : exchange.outcome(this.clock.now());
      settled(outcome, exchange.facts(this.clock.monotonic()));
    });
    connection.exchange = exchange;
    connection.client.dispatch(requestOf(this.head, delivery), exchange);
  }

  async close(): Promise<void> {
    this.closing = true;
    this.sweep?.cancel();
    await Promise.all([...this.connections].map(({ client }) => client.destroy()));
    this.connections.clear();
    this.idle.length = 0;
  }

  private open(): Connection {
    const connection = new Connection(this.head.origin, this.options.connectTimeoutMs);
    this.connections.add(connection);
    assert(this.connections.size <= this.options.poolSize, "one attempt at a time on each connection");
    return connection;
  }

  /** One sweep for all: no timer is set for an attempt that goes well. */
  private endOverdue(): void {
    const startedBefore = this.clock.monotonic() - this.options.attemptTimeoutMs;
    let underWay = 0;
    for (const connection of this.connections) {
      const { exchange } = connection;
      if (exchange === undefined) continue;
      underWay++;
      if (exchange.startedAt > startedBefore) continue;
      // One that has not even got a connection cannot be taken back alone.
      if (!exchange.abort("timeout")) this.discard(connection);
    }
    if (underWay > 0) return;
    this.sweep?.cancel();
    this.sweep = undefined;
  }

  private discard(connection: Connection): void {
    this.connections.delete(connection);
    void connection.client.destroy();
  }
}

/** A kept connection; it is opened when first needed, and again whenever it was lost. */
class Connection {
  readonly client: Client;
  exchange: Exchange | undefined;
  /** Answers since it was opened. */
  answers = 0;

  constructor(origin: string, connectTimeoutMs: number) {
    this.client = new Client(origin, {
      allowH2: false,
      pipelining: 1,
      connect: { timeout: connectTimeoutMs },
      keepAliveTimeout: idleConnectionMs,
      maxHeaderSize: answerHeaderBytesMax,
      // The sweep above limits the whole attempt, which these two do not.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.client.on("connect", () => {
      this.answers = 0;
    });
  }
}

/** An attempt's conversation. Once the status is there, it decides: what comes after can no longer spoil it. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly startedAt: number;
  private readonly connection: Connection;
  private readonly delivery: Attempting;
  private readonly ended: (answered: boolean) => void;
  private controller: Dispatcher.DispatchController | undefined;
  /** The connection has served before. */
  private reused = false;
  private answerBegun = false;
  private interimAnswers = 0;
  /** 0: none yet. */
  private status = 0;
  private retryAfter: string | undefined;
  private answerBytes = 0;
  private excerpt = "";
  private failureCode = "";

  constructor(connection: Connection, delivery: Attempting, startedAt: number, ended: (answered: boolean) => void) {
    this.connection = connection;
    this.delivery = delivery;
    this.startedAt = startedAt;
    this.ended = ended;
  }

  outcome(now: number): Outcome {
    const { status, retryAfter, excerpt, failureCode, reused, answerBegun, delivery } = this;
    if (status !== 0) return judgeAnswer({ status, retryAfter, excerpt }, now);
    return judgeFailure({ code: failureCode, free: reused && !answerBegun && !delivery.resent });
  }

  facts(monotonic: number): AttemptFacts {
    const { status, startedAt, excerpt } = this;
    return { status: status === 0 ? undefined : status, durationMs: monotonic - startedAt, excerpt };
  }

  /** False when there is no request to give up yet. */
  abort(code: string): boolean {
    this.failureCode = code;
    this.controller?.abort(new Error(code));
    return this.controller !== undefined;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    this.reused = this.connection.answers > 0;
  }

  onResponseStarted(): void {
    this.answerBegun = true;
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) {
      this.interimAnswers++;
      if (this.interimAnswers > interimAnswersMax) this.abort("interim_answers");
      return;
    }
    this.status = status;
    const retryAfter = headers["retry-after"];
    this.retryAfter = Array.isArray(retryAfter) ? retryAfter[0] : retryAfter;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.status >= 300 && this.answerBytes < answerExcerptBytesMax) {
      this.excerpt += chunk.toString("utf8", 0, answerExcerptBytesMax - this.answerBytes);
    }
    this.answerBytes += chunk.length;
    if (this.answerBytes > answerBytesMax) this.abort("answer_too_large");
  }

  onResponseEnd(): void {
    this.connection.answers++;
    this.ended(true);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error & { code?: string }): void {
    if (this.failureCode === "") this.failureCode = error.code ?? error.name;
    // The client is in the middle of losing its connection: it takes no new request before it is done.
    queueMicrotask(() => this.ended(this.status !== 0));
  }
}

function requestOf(
  { path, headers }: RequestHead,
  { owed, attempts, startedAt, contentType }: Attempting,
): Dispatcher.DispatchOptions {
  const ours = [
    "webhook-id",
    owed.deliveryId,
    "webhook-timestamp",
    `${Math.floor(startedAt / 1000)}`,
    "x-webhook-attempt",
    `${attempts}`,
  ];
  const all = contentType === undefined ? headers : withContentType(headers, contentType);
  return { method: "POST", path, headers: all.concat(ours), body: owed.body };
}

/** Names and values in turn. */
function withContentType(headers: readonly string[], contentType: string): readonly string[] {
  return headers.map((text, i) =>
    i % 2 === 1 && headers[i - 1].toLowerCase() === "content-type" ? contentType : text,
  );
}

function sweepMs(attemptTimeoutMs: number): number {
  return Math.min(deadlineSweepMsMax, Math.max(deadlineSweepMsMin, attemptTimeoutMs / 10));
}
