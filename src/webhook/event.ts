/**
 * The JSON documents that happenings become: compact, in exactly the key order of the webhook tutorial, always valid.
 * Built on the broker's thread, once per happening and style.
 */
import type { Instant } from "../base/clock.ts";
import type { SubscriptionRequest } from "../mqtt/packet.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { ApplicationMessage } from "../broker/message.ts";
import type { Happening } from "./happening.ts";
import { messageOf } from "./happening.ts";
import type { BodyEncoding } from "./options.ts";
import { payloadBytesMax, payloadJson } from "./payload-encoding.ts";
import { bodyBytesMax } from "./limits.ts";

/** What endpoints may want different in one and the same event. */
export interface EventStyle {
  readonly bodyEncoding: BodyEncoding;
  readonly timestampUnit: "ms" | "s";
}

export type Fact = string | number | boolean | Readonly<Record<string, number>>;

/** `undefined` when the payload is too large to be made a body (`refusal` says why). */
export function edgeBody(happening: Happening, style: EventStyle, at: Instant): Uint8Array | undefined {
  const message = messageOf(happening);
  const isPublish = happening.event === "on_message_publish";
  const facts = isPublish
    ? publishFacts(happening.message, style.timestampUnit)
    : JSON.stringify(factsOf(happening, style.timestampUnit, at));
  if (message === undefined) return Buffer.from(facts);
  const { payload } = message;
  if (payload.length > payloadBytesMax(style.bodyEncoding)) return undefined;
  // Last, since it may bring a member of its own.
  const body = Buffer.from(`${facts.slice(0, -1)},"payload":${payloadJson(payload, style.bodyEncoding)}}`);
  return body.length > bodyBytesMax ? undefined : body;
}

/** The facts of a publish as JSON: of the events that come by the thousand a second, this is two thirds of the cost. */
function publishFacts({ topicName, retain, qos, publisher, acceptedAt }: ApplicationMessage, unit: "ms" | "s"): string {
  return (
    `{"ts":${inUnit(acceptedAt, unit)},"topic":${JSON.stringify(topicName)},"retain":${retain},"qos":${qos}` +
    `,"action":"message_publish","from_username":${JSON.stringify(nameOf(publisher.userName))}` +
    `,"from_client_id":${JSON.stringify(publisher.clientId)}}`
  );
}

/** All that an event tells but its payload, in the order of its body. `at`: when it happened. */
export function factsOf(happening: Happening, unit: "ms" | "s", at: Instant): Record<string, Fact> {
  const { client } = happening;
  const action = happening.event.slice("on_".length);
  const who = { username: nameOf(client.userName), clientid: client.clientId, action };
  switch (happening.event) {
    case "on_client_connect": {
      const { protocolVersion, keepAliveSeconds, remoteAddress } = happening.client;
      return {
        proto_ver: protocolVersion,
        keepalive: keepAliveSeconds,
        ipaddress: plainAddress(remoteAddress),
        ...who,
      };
    }
    case "on_client_connected": {
      const { protocolVersion, keepAliveSeconds, remoteAddress } = happening.client;
      const ipaddress = plainAddress(remoteAddress);
      const connected_at = inUnit(at, unit);
      return { proto_ver: protocolVersion, keepalive: keepAliveSeconds, connected_at, ipaddress, ...who };
    }
    case "on_client_connack": {
      const { protocolVersion, keepAliveSeconds } = happening.client;
      const conn_ack = reasonNames.get(happening.reasonCode)!;
      return { proto_ver: protocolVersion, keepalive: keepAliveSeconds, conn_ack, ...who };
    }
    case "on_client_disconnected":
    case "on_session_terminated":
      return { reason: happening.reason, ...who };
    case "on_client_subscribe":
    case "on_session_subscribed": {
      const { topicFilter, ...options } = happening.subscription;
      return { topic: topicFilter, opts: optsOf(options), ...who };
    }
    case "on_client_unsubscribe":
    case "on_session_unsubscribed":
      return { topic: happening.topicFilter, ...who };
    case "on_message_publish":
      return messageFacts(happening.message, unit, action);
    case "on_message_delivered":
    case "on_message_acked": {
      const { username, clientid } = who;
      return { ...messageFacts(happening.message, unit, action), username, clientid };
    }
    case "on_message_dropped": {
      const { receiver, reason } = happening;
      const to = { username: nameOf(receiver?.userName), clientid: receiver?.clientId ?? "undefined" };
      return { reason, ...messageFacts(happening.message, unit, action), ...to };
    }
    default:
      return happening satisfies never;
  }
}

function messageFacts(message: ApplicationMessage, unit: "ms" | "s", action: string): Record<string, Fact> {
  const { topicName, retain, qos, publisher, acceptedAt } = message;
  return {
    ts: inUnit(acceptedAt, unit),
    topic: topicName,
    retain,
    qos,
    action,
    from_username: nameOf(publisher.userName),
    from_client_id: publisher.clientId,
  };
}

/** Subscription options under the names that consumers of these events know. */
function optsOf({ qos, noLocal, retainAsPublished, retainHandling }: Omit<SubscriptionRequest, "topicFilter">) {
  return { qos, nl: noLocal ? 1 : 0, rap: retainAsPublished ? 1 : 0, rh: retainHandling };
}

function nameOf(userName: string | undefined): string {
  return userName ?? "undefined";
}

function inUnit(at: Instant, unit: "ms" | "s"): number {
  return unit === "ms" ? at : Math.floor(at / 1000);
}

/** A listener on IPv6 sees clients of IPv4 under longer names. */
function plainAddress(address: string): string {
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}

/** The Reason Codes' names in snake case, whatever the version of the client: `bad_username_or_password`. */
const reasonNames: ReadonlyMap<ReasonCode, string> = new Map(
  Object.entries(ReasonCode).map(([name, code]) => [
    code,
    name.replace("UserName", "Username").replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
);
