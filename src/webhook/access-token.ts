/**
 * OAuth 2.0 access tokens by client credentials. [RFC 6749 4.4] One request for a token at a time, whoever waits for it; a new
 * one is asked for before the old one ends, and after a receiver has refused it. A token is never logged or remembered.
 *
 *   none → asking → held → (nearly over: asking, still held) → held
 */
import type { Clock } from "../base/clock.ts";
import type { OAuth2Options } from "./options.ts";
import type { AttemptFacts, Outcome } from "./outcome.ts";
import type { Approach } from "./connector.ts";
import { answerBytesMax, answerHeaderBytesMax, tokenRenewalMsMax, tokenRenewalShare } from "./limits.ts";
import { judgeAnswer, judgeFailure } from "./outcome.ts";
import { undici } from "./undici.ts";

/** The value of `authorization`, or what the attempt came to for want of it. */
export type Obtained = { authorization: string } | { outcome: Outcome; facts: Omit<AttemptFacts, "durationMs"> };

interface Held {
  authorization: string;
  /** Of `Clock.monotonic`; `undefined`: until it is refused. */
  renewAt: number | undefined;
  endsAt: number | undefined;
}

export interface AccessTokensParts {
  options: OAuth2Options;
  clock: Clock;
  timeoutMs: number;
  /** How the token endpoint is reached at the moment. */
  approach: (url: URL) => Approach;
}

export class AccessTokens {
  private readonly parts: AccessTokensParts;
  private held: Held | undefined;
  /** A request is under way; those who wait for its end. */
  private asking: { waiting: ((obtained: Obtained) => void)[]; abort: AbortController } | undefined;

  constructor(parts: AccessTokensParts) {
    this.parts = parts;
  }

  /** One that is good now; when it is nearly over, the next one is asked for. */
  get current(): string | undefined {
    const { held } = this;
    if (held === undefined) return undefined;
    const now = this.parts.clock.monotonic();
    if (held.endsAt !== undefined && now >= held.endsAt) return undefined;
    if (held.renewAt !== undefined && now >= held.renewAt) this.ask();
    return held.authorization;
  }

  /** Calls back later, always. */
  obtain(obtained: (obtained: Obtained) => void): void {
    this.ask().waiting.push(obtained);
  }

  /** The receiver has refused it. */
  discard(authorization: string): void {
    if (this.held?.authorization === authorization) this.held = undefined;
  }

  /** Those who wait are not called any more. */
  close(): void {
    this.asking?.waiting.splice(0);
    this.asking?.abort.abort();
  }

  private ask(): NonNullable<AccessTokens["asking"]> {
    if (this.asking !== undefined) return this.asking;
    const asking = { waiting: [] as ((obtained: Obtained) => void)[], abort: new AbortController() };
    this.asking = asking;
    const { clock, timeoutMs } = this.parts;
    let isLate = false;
    const timer = clock.after(timeoutMs, () => {
      isLate = true;
      asking.abort.abort();
    });
    this.request(asking.abort.signal)
      .catch((error: Error & { code?: unknown }): Obtained => {
        const code = typeof error.code === "string" ? error.code : error.name;
        return failed({ code: isLate ? "timeout" : code, detail: error.message });
      })
      .then((obtained) => {
        timer.cancel();
        this.asking = undefined;
        for (const each of asking.waiting) each(obtained);
      });
    return asking;
  }

  private async request(signal: AbortSignal): Promise<Obtained> {
    const { options, clock, approach } = this.parts;
    const url = new URL(options.tokenUrl);
    const { origin, pathPrefix, headers, connector } = approach(url);
    const { Client } = undici();
    const client = new Client(origin, {
      allowH2: false,
      connect: connector,
      maxHeaderSize: answerHeaderBytesMax,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    const askedAt = clock.monotonic();
    try {
      const {
        statusCode,
        headers: answerHeaders,
        body,
      } = await client.request({
        method: "POST",
        path: pathPrefix + url.pathname + url.search,
        headers: [...headers, ...headersOf(options)],
        body: formOf(options),
        signal,
        reset: true,
      });
      let text = "";
      for await (const chunk of body.setEncoding("utf8")) {
        text += chunk;
        if (text.length > answerBytesMax) break;
      }
      if (statusCode < 200 || statusCode > 299) {
        const retryAfter = [answerHeaders["retry-after"]].flat()[0];
        return refused({ status: statusCode, retryAfter, text, now: clock.now() });
      }
      const grant = readGrant(text);
      if (grant === undefined) return noGrant;
      const { token, lifeMs } = grant;
      const authorization = `Bearer ${token}`;
      const renewAheadMs = lifeMs === undefined ? 0 : Math.min(lifeMs * tokenRenewalShare, tokenRenewalMsMax);
      const endsAt = lifeMs === undefined ? undefined : askedAt + lifeMs;
      this.held = { authorization, endsAt, renewAt: endsAt === undefined ? undefined : endsAt - renewAheadMs };
      return { authorization };
    } finally {
      await client.destroy();
    }
  }
}

function headersOf({ clientId, clientSecret, sendsCredentials }: OAuth2Options): string[] {
  const headers = ["content-type", "application/x-www-form-urlencoded", "accept", "application/json"];
  if (sendsCredentials === "body") return headers;
  // Each half is form-encoded before they become Basic credentials. [RFC 6749 2.3.1]
  const credentials = `${formEncoded(clientId)}:${formEncoded(clientSecret)}`;
  return [...headers, "authorization", `Basic ${Buffer.from(credentials).toString("base64")}`];
}

function formOf({ clientId, clientSecret, scope, audience, sendsCredentials }: OAuth2Options): string {
  const form = new URLSearchParams({ grant_type: "client_credentials" });
  if (scope !== undefined) form.set("scope", scope);
  if (audience !== undefined) form.set("audience", audience);
  if (sendsCredentials === "body") {
    form.set("client_id", clientId);
    form.set("client_secret", clientSecret);
  }
  return form.toString();
}

function formEncoded(text: string): string {
  return new URLSearchParams({ "": text }).toString().slice(1);
}

/** [RFC 6749 5.1] */
function readGrant(text: string): { token: string; lifeMs: number | undefined } | undefined {
  const answer = readObject(text);
  const { access_token: token, token_type: type, expires_in: seconds } = answer;
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) return undefined;
  if (typeof type === "string" && type.toLowerCase() !== "bearer") return undefined;
  const life = typeof seconds === "string" ? Number(seconds) : seconds;
  const isKnown = typeof life === "number" && Number.isFinite(life) && life > 0;
  return { token, lifeMs: isKnown ? life * 1000 : undefined };
}

/** Only the code of the error is told on: an answer may repeat what it was asked with. [RFC 6749 5.2] */
function refused({
  status,
  retryAfter,
  text,
  now,
}: {
  status: number;
  retryAfter: string | undefined;
  text: string;
  now: number;
}): Obtained {
  const { error } = readObject(text);
  const code = typeof error === "string" && /^[\w.-]{1,64}$/.test(error) ? error : "";
  const excerpt = code === "" ? "" : `token endpoint: ${code}`;
  const judged = judgeAnswer({ status, retryAfter, excerpt: "" }, now);
  const retryAfterMs = "retryAfterMs" in judged ? judged.retryAfterMs : 0;
  // Whatever it is, it is no single delivery's fault: who we are is not accepted, or the token endpoint is not well.
  const isIll = judged.kind === "endpoint" || judged.kind === "retry";
  const reason = code === "" ? `token_status_${status}` : `token_${code}`;
  return {
    outcome: { kind: isIll ? "endpoint" : "auth", reason, retryAfterMs },
    facts: { status: undefined, excerpt },
  };
}

const noGrant: Obtained = {
  outcome: { kind: "endpoint", reason: "token_bad_answer", retryAfterMs: 0 },
  facts: { status: undefined, excerpt: "" },
};

function failed(failure: { code: string; detail: string }): Obtained {
  const judged = judgeFailure({ ...failure, free: false });
  const facts = { status: undefined, excerpt: "" };
  if (judged.kind !== "endpoint") return { outcome: judged, facts };
  return { outcome: { ...judged, reason: `token_${judged.reason}` }, facts };
}

function readObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
