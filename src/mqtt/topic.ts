/**
 * Topic Names and Topic Filters: their grammar and their matching [MQTT5 4.7] [MQTT311 4.7], and Shared Subscriptions
 * [MQTT5 4.8.2]. How many levels a topic may have is the broker's business.
 */
import type { Brand } from "../base/brand.ts";
import { stringBytesMax } from "./bytes.ts";
import { isWellFormedUtf8 } from "./utf8.ts";

/** What a message is published to: no wildcards. */
export type TopicName = Brand<string, "TopicName">;
/** What is subscribed to; `$share/…` has been taken off where it matters (`parseShared`). */
export type TopicFilter = Brand<string, "TopicFilter">;

const number = 0x23; // #
const plus = 0x2b; // +
const slash = 0x2f; // /

export function parseTopicName(text: string): TopicName | undefined {
  if (text.includes("+") || text.includes("#")) return undefined; // [MQTT5 4.7.0-1] [MQTT311 4.7.1-1]
  return isTopic(text) ? (text as TopicName) : undefined;
}

export function parseTopicFilter(text: string): TopicFilter | undefined {
  if (!isTopic(text)) return undefined;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (character !== number && character !== plus) continue;
    // A wildcard is a whole level [MQTT5 4.7.1-2] [MQTT311 4.7.1-3], and `#` the last one [MQTT5 4.7.1-1] [MQTT311 4.7.1-2].
    if (at > 0 && text.charCodeAt(at - 1) !== slash) return undefined;
    const last = at === text.length - 1;
    if (!last && (character === number || text.charCodeAt(at + 1) !== slash)) return undefined;
  }
  return text as TopicFilter;
}

/** What `$share/group/topicFilter` asks for. */
export interface SharedFilter {
  group: string;
  topicFilter: TopicFilter;
}

const sharePrefix = "$share/";

export function isShared(text: string): boolean {
  return text.startsWith(sharePrefix);
}

/** `undefined` when the filter is not a shared one at all, "invalid" when it is one with a bad group or topic filter. */
export function parseShared(text: string): SharedFilter | "invalid" | undefined {
  if (!isShared(text)) return undefined;
  const groupEnd = text.indexOf("/", sharePrefix.length);
  if (groupEnd < 0) return "invalid"; // [MQTT5 4.8.2-2]
  const group = text.slice(sharePrefix.length, groupEnd);
  if (group === "" || group.includes("+") || group.includes("#")) return "invalid"; // [MQTT5 4.8.2-1] [MQTT5 4.8.2-2]
  const topicFilter = parseTopicFilter(text.slice(groupEnd + 1));
  if (topicFilter === undefined || !isTopic(text)) return "invalid";
  return { group, topicFilter };
}

/** Makes nothing, so that it may be asked for every topic name and filter. */
export function matches(topicFilter: TopicFilter, topicName: TopicName): boolean {
  // A `$` topic stays out of filters that begin with a wildcard. [MQTT5 4.7.2-1] [MQTT311 4.7.2-1]
  if (topicName.startsWith("$") && (topicFilter.startsWith("#") || topicFilter.startsWith("+"))) return false;
  let at = 0;
  for (let i = 0; i < topicFilter.length; i++) {
    const character = topicFilter.charCodeAt(i);
    if (character === number) return true;
    if (character === plus) {
      const levelEnd = topicName.indexOf("/", at);
      at = levelEnd < 0 ? topicName.length : levelEnd;
    } else if (at === topicName.length) {
      // `sport/#` matches `sport` too. [MQTT5 4.7.1.2]
      return i === topicFilter.length - 2 && topicFilter.endsWith("/#");
    } else if (character !== topicName.charCodeAt(at++)) {
      return false;
    }
  }
  return at === topicName.length;
}

/** `parseTopicName` for bytes of a packet, which makes nothing. */
export function isValidTopicNameBytes(bytes: Uint8Array, start: number, end: number): boolean {
  let highest = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte === number || byte === plus || byte === 0) return false;
    highest |= byte;
  }
  return end > start && (highest < 0x80 || isWellFormedUtf8(bytes, start, end));
}

/** What holds for names and filters: [MQTT5 4.7.3-1], [MQTT5 4.7.3-2], [MQTT5 4.7.3-3] and the same in 3.1.1. */
function isTopic(text: string): boolean {
  if (text === "" || text.includes("\0") || !text.isWellFormed()) return false;
  // No UTF-16 unit takes more than three bytes.
  return text.length * 3 <= stringBytesMax || Buffer.byteLength(text) <= stringBytesMax;
}
