/**
 * One HTTP request made for a delivery, over connections that are kept and used again. Whatever a receiver does, an attempt
 * ends within its time as one Outcome: nothing is thrown, nothing stays behind.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Attempting } from "./delivery.ts";
import type { EndpointOptions } from "./options.ts";
import type { AttemptFacts, Outcome } from "./outcome.ts";
import { assert } from "../base/assert.ts";
import type { Client, Dispatcher } from "undici";
import {
  answerBytesMax,
  answerExcerptBytesMax,
  answerHeaderBytesMax,
  deadlineSweepMsMax,
  deadlineSweepMsMin,
  idleConnectionMs,
  interimAnswersMax,
} from "./limits.ts";
import { readEventHead } from "./event-head.ts";
import { cancelled, judgeAnswer, judgeFailure, parseRetryAfter } from "./outcome.ts";
import { AccessTokens } from "./access-token.ts";
import { BurstLog } from "./burst-log.ts";
import { Certificates } from "./certificates.ts";
import { Compressor } from "./compression.ts";
import { type Approach, approachTo, unusableConnector } from "./connector.ts";
import { EgressGuard, type Resolve } from "./egress.ts";
import { type RequestHead, requestHead, withDefaults, withEventHead } from "./request-head.ts";
import { Signatures } from "./signature.ts";
import { undici } from "./undici.ts";

/** Is told how an attempt ended. */
export type Settled = (outcome: Outcome, facts: AttemptFacts) => void;

/** Makes attempts for one endpoint. The dispatcher never has more than `poolSize` under way. */
export interface Sender {
  /** `settled` is called exactly once, after `send` has returned. */
  send(delivery: Attempting, settled: Settled): void;
  /** Takes back what is under way (as `cancelled`) and closes every connection. */
  close(): Promise<void>;
}

export interface SenderParts {
  clock: Clock;
  /** Of this program, for `user-agent`. */
  version: string;
  log: Logger;
  /** Finds the addresses of a name; absent: as the system does. */
  resolve?: Resolve;
}

export function createSender(endpoint: EndpointOptions, parts: SenderParts): Sender {
  return new HttpSender(endpoint, parts);
}

/**
 * An undici Client for each connection, rather than its Pool: only so is it known whether a connection has served before,
 * and a request follows the last one on the same connection at once instead of waiting in a queue of the Pool's.
 */
class HttpSender implements Sender {
  private readonly options: EndpointOptions;
  private readonly clock: Clock;
  private readonly bursts: BurstLog;
  private readonly url: URL;
  /** Of every request, with what the way there asks for. */
  private readonly head: RequestHead;
  /** Each `undefined` where nothing is configured for it: then an attempt goes straight to a connection. */
  private readonly signatures: Signatures | undefined;
  private readonly compressor: Compressor | undefined;
  private readonly tokens: AccessTokens | undefined;
  private readonly connections = new Set<Connection>();
  /** The one used last is used next, so that a quiet endpoint has few. */
  private readonly idle: Connection[] = [];
  private readonly guard: EgressGuard;
  /** `undefined`: no files to look after. */
  private readonly certificates: Certificates | undefined;
  private approach: Approach;
  /** Those that wait for their body to be compressed, or for a token. */
  private readonly preparing = new Set<Posting>();
  private sweep: Timer | undefined;
  private closing = false;

  constructor(options: EndpointOptions, { clock, version, log, resolve }: SenderParts) {
    this.options = options;
    this.clock = clock;
    this.bursts = new BurstLog(clock, log);
    this.url = new URL(options.url);
    const { secrets, egress, tls, auth, compression } = options.request;
    this.guard = new EgressGuard(egress, resolve);
    if (tls.authorityFile !== undefined || tls.certificateFile !== undefined) {
      this.certificates = new Certificates(tls, { endpoint: options.name, log, now: clock.monotonic() });
    }
    this.approach = this.approachOf(this.url);
    const head = requestHead(options, version);
    this.head = { ...head, headers: withDefaults(head.headers, this.approach.headers) };
    if (secrets.length > 0) this.signatures = new Signatures(secrets);
    if (compression !== "none") this.compressor = new Compressor(compression);
    if (auth.kind === "oauth2") {
      const approach = (url: URL) => this.approachOf(url);
      this.tokens = new AccessTokens({ options: auth, clock, timeoutMs: options.attemptTimeoutMs, approach });
    }
  }

  send(delivery: Attempting, settled: Settled): void {
    assert(!this.closing, "a closed sender sends nothing");
    const startedAt = this.clock.monotonic();
    if (this.certificates?.haveChanged(startedAt)) this.renewConnections();
    this.sweep ??= this.clock.every(sweepMs(this.options.attemptTimeoutMs), () => this.endOverdue());
    const posting: Posting = {
      delivery,
      startedAt,
      settled,
      body: delivery.owed.body,
      encoding: undefined,
      authorization: undefined,
      isSecond: false,
    };
    if (this.compressor?.isFor(posting.body)) this.compress(posting, this.compressor);
    else this.authorize(posting);
  }

  async close(): Promise<void> {
    this.closing = true;
    this.sweep?.cancel();
    this.tokens?.close();
    this.bursts.close();
    for (const posting of this.preparing) this.giveUp(posting, cancelled);
    await Promise.all([...this.connections].map(({ client }) => client.destroy()));
    this.connections.clear();
    this.idle.length = 0;
  }

  private compress(posting: Posting, compressor: Compressor): void {
    this.preparing.add(posting);
    compressor.compress(posting.body, (compressed) => {
      if (!this.preparing.delete(posting)) return;
      if (compressed !== undefined) {
        posting.body = compressed;
        posting.encoding = compressor.encoding;
      }
      this.authorize(posting);
    });
  }

  private authorize(posting: Posting): void {
    const { tokens } = this;
    posting.authorization = tokens?.current;
    if (tokens === undefined || posting.authorization !== undefined) return this.post(posting);
    this.preparing.add(posting);
    tokens.obtain((obtained) => {
      if (!this.preparing.delete(posting)) return;
      if ("outcome" in obtained) {
        const durationMs = this.clock.monotonic() - posting.startedAt;
        return posting.settled(obtained.outcome, { ...obtained.facts, durationMs });
      }
      posting.authorization = obtained.authorization;
      this.post(posting);
    });
  }

  private post(posting: Posting): void {
    const { delivery, startedAt } = posting;
    const connection = this.idle.pop() ?? this.open();
    const exchange = new Exchange(connection, delivery, startedAt, (answered) => {
      connection.exchange = undefined;
      if (connection.approach !== this.approach) this.discard(connection);
      else if (this.connections.has(connection)) this.idle.push(connection);
      const outcome = this.closing && !answered ? cancelled : exchange.outcome(this.clock.now());
      if (this.tokens !== undefined && outcome.kind === "auth" && !posting.isSecond && !this.closing) {
        return this.postAgain(posting, this.tokens);
      }
      if (exchange.retryAfter !== undefined) this.sayMalformed(outcome, exchange.retryAfter);
      posting.settled(outcome, exchange.facts(this.clock.monotonic()));
    });
    connection.exchange = exchange;
    connection.client.dispatch(this.requestOf(posting), exchange);
  }

  /** A token may be taken back before its time: with a fresh one, once. */
  private postAgain(posting: Posting, tokens: AccessTokens): void {
    posting.isSecond = true;
    if (posting.authorization !== undefined) tokens.discard(posting.authorization);
    this.authorize(posting);
  }

  private requestOf({ delivery, body, encoding, authorization }: Posting): Dispatcher.DispatchOptions {
    const { owed, attempts, startedAt } = delivery;
    const timestamp = `${Math.floor(startedAt / 1000)}`;
    const ours = ["webhook-id", owed.deliveryId, "webhook-timestamp", timestamp, "x-webhook-attempt", `${attempts}`];
    if (this.signatures !== undefined) {
      ours.push("webhook-signature", this.signatures.of({ id: owed.deliveryId, timestamp, body: owed.body }));
    }
    if (encoding !== undefined) ours.push("content-encoding", encoding);
    if (authorization !== undefined) ours.push("authorization", authorization);
    const { path, headers } = owed.head === "" ? this.head : withEventHead(this.head, readEventHead(owed.head));
    return { method: "POST", path: this.approach.pathPrefix + path, headers: headers.concat(ours), body };
  }

  /** It is ignored; the log counts how often. */
  private sayMalformed(outcome: Outcome, retryAfter: string): void {
    if (!("retryAfterMs" in outcome) || parseRetryAfter(retryAfter, this.clock.now()) !== undefined) return;
    const facts = { endpoint: this.options.name, retryAfter: retryAfter.slice(0, 60) };
    this.bursts.warn("webhook endpoint sends a Retry-After that is none: ignored", facts);
  }

  /** One that has not got as far as a connection. */
  private giveUp(posting: Posting, outcome: Outcome): void {
    this.preparing.delete(posting);
    const durationMs = this.clock.monotonic() - posting.startedAt;
    posting.settled(outcome, { status: undefined, durationMs, excerpt: "" });
  }

  private approachOf(url: URL): Approach {
    const { guard, certificates } = this;
    const { connectTimeoutMs, request } = this.options;
    const { proxy } = request;
    // The name is the receiver's, not that of who gives out tokens.
    const tls = url === this.url ? request.tls : { ...request.tls, serverName: undefined };
    const context = certificates?.current;
    const approach = approachTo(url, { guard, connectTimeoutMs, tls, context, proxy });
    const isUsable = certificates === undefined || context !== undefined;
    return isUsable ? approach : { ...approach, connector: unusableConnector };
  }

  /** Those under way end as they began, and then make room as well. */
  private renewConnections(): void {
    this.approach = this.approachOf(this.url);
    for (const connection of this.idle.splice(0)) this.discard(connection);
  }

  private open(): Connection {
    const connection = new Connection(this.approach);
    this.connections.add(connection);
    assert(this.connections.size <= this.options.poolSize, "one attempt at a time on each connection");
    return connection;
  }

  /** One sweep for all: no timer is set for an attempt that goes well. */
  private endOverdue(): void {
    const startedBefore = this.clock.monotonic() - this.options.attemptTimeoutMs;
    for (const posting of this.preparing) {
      if (posting.startedAt <= startedBefore) this.giveUp(posting, judgeFailure({ code: "timeout", free: false }));
    }
    let underWay = this.preparing.size;
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

/** An attempt on its way to a connection. */
interface Posting {
  readonly delivery: Attempting;
  readonly startedAt: number;
  readonly settled: Settled;
  /** As it is sent. */
  body: Uint8Array;
  encoding: string | undefined;
  authorization: string | undefined;
  /** The receiver did not accept the first token. */
  isSecond: boolean;
}

/** A kept connection; it is opened when first needed, and again whenever it was lost. */
class Connection {
  readonly client: Client;
  readonly approach: Approach;
  exchange: Exchange | undefined;
  /** Answers since it was opened. */
  answers = 0;

  constructor(approach: Approach) {
    this.approach = approach;
    this.client = new (undici().Client)(approach.origin, {
      allowH2: false,
      pipelining: 1,
      connect: approach.connector,
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
  retryAfter: string | undefined;
  private answerBytes = 0;
  private excerpt = "";
  private failureCode = "";
  private failureDetail: string | undefined;

  constructor(connection: Connection, delivery: Attempting, startedAt: number, ended: (answered: boolean) => void) {
    this.connection = connection;
    this.delivery = delivery;
    this.startedAt = startedAt;
    this.ended = ended;
  }

  outcome(now: number): Outcome {
    const { status, retryAfter, excerpt, failureCode, failureDetail, reused, answerBegun, delivery } = this;
    if (status !== 0) return judgeAnswer({ status, retryAfter, excerpt }, now);
    const free = reused && !answerBegun && !delivery.resent;
    return judgeFailure({ code: failureCode, free, detail: failureDetail });
  }

  facts(endedAt: number): AttemptFacts {
    const status = this.status === 0 ? undefined : this.status;
    return { status, durationMs: endedAt - this.startedAt, excerpt: this.excerpt };
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
    if (this.answerBytes < answerExcerptBytesMax) {
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
    if (this.failureCode === "") {
      this.failureCode = error.code ?? error.name;
      this.failureDetail = error.message;
    }
    // The client is in the middle of losing its connection: it takes no new request before it is done.
    queueMicrotask(() => this.ended(this.status !== 0));
  }
}

function sweepMs(attemptTimeoutMs: number): number {
  return Math.min(deadlineSweepMsMax, Math.max(deadlineSweepMsMin, attemptTimeoutMs / 10));
}
