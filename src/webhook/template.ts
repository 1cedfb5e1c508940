/**
 * Requests of the operator's own making: text with placeholders, compiled once and filled for each event. Whatever is filled
 * in is escaped for the place where it stands, so that no publisher can break out of it; nothing is ever run.
 */
import { isUtf8 } from "node:buffer";
import type { Instant } from "../base/clock.ts";
import type { Fact } from "./event.ts";
import { factsOf } from "./event.ts";
import { headerValueOf } from "./event-head.ts";
import type { Happening } from "./happening.ts";
import { messageOf } from "./happening.ts";
import type { BodyEncoding } from "./options.ts";
import { payloadBytesMax, payloadText } from "./payload-encoding.ts";

export type TemplatePlace = "path" | "query" | "header" | "body";

/** What a placeholder may begin with. */
export const placeholderNames = [
  "event",
  "action",
  "id",
  "ts",
  "topic",
  "qos",
  "retain",
  "payload",
  "clientid",
  "username",
  "from_client_id",
  "from_username",
  "proto_ver",
  "keepalive",
  "ipaddress",
  "connected_at",
  "conn_ack",
  "reason",
  "opts",
] as const;

interface Value {
  /** As it stands among text. */
  text: string;
  /** As it stands where JSON has a value. */
  json: string;
}

interface Placeholder {
  name: string;
  path: readonly string[];
  escape: (value: Value) => string;
}

export interface Template {
  parts: readonly (string | Placeholder)[];
  /** A body that is JSON whatever is filled in. */
  isJson: boolean;
}

/** Says what was expected, where the text is no template for its place. */
export function compileTemplate(text: string, place: TemplatePlace): Template | { expected: string } {
  const parts: (string | Placeholder)[] = [];
  const isJson = place === "body" && /^\s*[[{"]/.test(text);
  let sample = "";
  let inString = false;
  for (let at = 0; at < text.length; ) {
    const opening = text.indexOf("${", at);
    const literal = text.slice(at, opening < 0 ? undefined : opening);
    inString = isInString(literal, inString);
    sample += literal;
    if (literal !== "") parts.push(literal);
    if (opening < 0) break;
    const closing = text.indexOf("}", opening);
    const written = closing < 0 ? text.slice(opening) : text.slice(opening, closing + 1);
    const [name, ...path] = written.slice(2, -1).split(".");
    const isKnown = closing >= 0 && (placeholderNames as readonly string[]).includes(name);
    const mayHavePath = name === "payload" || name === "opts";
    if (!isKnown || (path.length > 0 && !mayHavePath) || path.includes("")) {
      const known = placeholderNames.map((one) => `\${${one}}`).join(", ");
      return {
        expected: `a known placeholder in place of ${written} at character ${opening + 1}: ${known}, \${payload.a.b}`,
      };
    }
    const filling = isJson ? (inString ? asJsonText : asJsonValue) : escapes[place];
    parts.push({ name, path, escape: filling });
    sample += isJson ? (inString ? "" : "null") : "x";
    at = closing + 1;
  }
  const expected = isJson ? faultOfJson(sample) : faultOf[place](sample);
  return expected === undefined ? { parts, isJson } : { expected };
}

/** What an event has to fill in: made once, however many templates it goes into. */
export class TemplateValues {
  private readonly facts: Readonly<Record<string, Fact>>;
  private readonly payload: Uint8Array | undefined;
  private readonly bodyEncoding: BodyEncoding;
  private text: string | undefined;
  private parsed: { value: unknown } | "not JSON" | undefined;

  constructor(
    happening: Happening,
    { id, at, ...style }: { id: string; at: Instant; bodyEncoding: BodyEncoding; timestampUnit: "ms" | "s" },
  ) {
    const { event, client } = happening;
    const ts = style.timestampUnit === "ms" ? at : Math.floor(at / 1000);
    const who = { clientid: client.clientId, username: client.userName ?? "undefined" };
    this.facts = { event, id, ts, ...who, ...factsOf(happening, style.timestampUnit, at) };
    this.payload = messageOf(happening)?.payload;
    this.bodyEncoding = style.bodyEncoding;
  }

  /** `undefined`: this event cannot fill it. */
  fill({ parts }: Template): string | undefined {
    let filled = "";
    for (const part of parts) {
      if (typeof part === "string") {
        filled += part;
        continue;
      }
      const value = this.valueOf(part);
      if (value === undefined) return undefined;
      filled += part.escape(value);
    }
    return filled;
  }

  private valueOf({ name, path }: Placeholder): Value | undefined {
    if (name !== "payload") return Object.hasOwn(this.facts, name) ? memberOf(this.facts[name], path) : undefined;
    if (this.payload === undefined) return undefined;
    if (path.length > 0) return this.json === "not JSON" ? undefined : memberOf(this.json.value, path);
    const text = this.payloadText();
    if (text === undefined) return undefined;
    const isValue = this.bodyEncoding === "plain" && this.json !== "not JSON";
    return { text, json: isValue ? text : JSON.stringify(text) };
  }

  private payloadText(): string | undefined {
    const payload = this.payload!;
    if (payload.length > payloadBytesMax(this.bodyEncoding)) return undefined;
    if (this.bodyEncoding === "plain" && !isUtf8(payload)) return undefined;
    this.text ??= payloadText(payload, this.bodyEncoding);
    return this.text;
  }

  private get json(): { value: unknown } | "not JSON" {
    this.parsed ??= parse(this.payload!);
    return this.parsed;
  }
}

function parse(payload: Uint8Array): { value: unknown } | "not JSON" {
  if (!isUtf8(payload)) return "not JSON";
  try {
    return { value: JSON.parse(payloadText(payload, "plain")) };
  } catch {
    return "not JSON";
  }
}

function memberOf(whole: unknown, path: readonly string[]): Value | undefined {
  let value = whole;
  for (const name of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  const json = JSON.stringify(value);
  return { text: typeof value === "string" ? value : json, json };
}

const asJsonText = ({ text }: Value) => JSON.stringify(text).slice(1, -1);
const asJsonValue = ({ json }: Value) => json;
const inUrl = ({ text }: Value) => encodeURIComponent(text.toWellFormed());

const escapes: Readonly<Record<TemplatePlace, (value: Value) => string>> = {
  path: inUrl,
  query: inUrl,
  header: ({ text }) => headerValueOf(text),
  body: ({ text }) => text,
};

const faultOf: Readonly<Record<TemplatePlace, (sample: string) => string | undefined>> = {
  path: (sample) =>
    /^\/[!$-.0-;=@-Z_a-z~/]*$/.test(sample) && !sample.startsWith("//") && !hasDotSegment(sample)
      ? undefined
      : "a path that begins with one `/`, without `?`, `#`, spaces or `..`",
  query: (sample) =>
    /^[!$-;=?-Z_a-z~]*$/.test(sample) ? undefined : "a query without `#` and spaces, and without its `?`",
  header: (sample) => (/^[\t\x20-\x7e]*$/.test(sample) ? undefined : "a header value: one line of ASCII text"),
  body: () => undefined,
};

function faultOfJson(sample: string): string | undefined {
  try {
    JSON.parse(sample);
    return undefined;
  } catch (error) {
    return `JSON once its placeholders are filled in: ${(error as Error).message}`;
  }
}

/** Receivers take these for steps in the tree, however they are written. */
export function hasDotSegment(path: string): boolean {
  return path.split("/").some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment));
}

function isInString(json: string, before: boolean): boolean {
  let inString = before;
  for (let i = 0; i < json.length; i++) {
    if (json[i] === "\\" && inString) i++;
    else if (json[i] === '"') inString = !inString;
  }
  return inString;
}
