/**
 * The JSON documents that happenings become: compact, in exactly the key order of the webhook tutorial, always valid.
 * Built on the broker's thread, once per happening and style.
 */
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { ApplicationMessage } from "../broker/message.ts";
import type { ClientInfo, DisconnectReason } from "../broker/tap.ts";
import type { BodyEncoding } from "./options.ts";
import { payloadBytesMax, payloadJson } from "./payload-encoding.ts";
import { bodyBytesMax } from "./limits.ts";

/** What endpoints may want different in one and the same event. */
export interface EventStyle {
  readonly bodyEncoding: BodyEncoding;
  readonly timestampUnit: "ms" | "s";
}

export function connackBody(client: ClientInfo, reasonCode: ReasonCode): Uint8Array {
  return Buffer.from(
    `{"proto_ver":${client.protocolVersion},"keepalive":${client.keepAliveSeconds}` +
      `,"conn_ack":"${reasonNames.get(reasonCode)}","username":${quoteUserName(client.userName)}` +
      `,"clientid":${JSON.stringify(client.clientId)},"action":"client_connack"}`,
  );
}

export function disconnectedBody(client: ClientInfo, reason: DisconnectReason): Uint8Array {
  return Buffer.from(
    `{"reason":"${reason}","username":${quoteUserName(client.userName)}` +
      `,"clientid":${JSON.stringify(client.clientId)},"action":"client_disconnected"}`,
  );
}

/** `undefined` when the payload is too large to be made a body (`refusal` says why). */
export function publishBody(message: ApplicationMessage, style: EventStyle): Uint8Array | undefined {
  const { payload, publisher, acceptedAt } = message;
  if (payload.length > payloadBytesMax(style.bodyEncoding)) return undefined;
  const timestamp = style.timestampUnit === "ms" ? acceptedAt : Math.floor(acceptedAt / 1000);
  const body = Buffer.from(
    `{"ts":${timestamp},"topic":${JSON.stringify(message.topicName)},"retain":${message.retain}` +
      `,"qos":${message.qos},"action":"message_publish","from_username":${quoteUserName(publisher.userName)}` +
      `,"from_client_id":${JSON.stringify(publisher.clientId)},"payload":${payloadJson(payload, style.bodyEncoding)}}`,
  );
  return body.length > bodyBytesMax ? undefined : body;
}

function quoteUserName(userName: string | undefined): string {
  return userName === undefined ? '"undefined"' : JSON.stringify(userName);
}

/** The Reason Codes' names in snake case, whatever the version of the client: `bad_username_or_password`. */
const reasonNames: ReadonlyMap<ReasonCode, string> = new Map(
  Object.entries(ReasonCode).map(([name, code]) => [
    code,
    name.replace("UserName", "Username").replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
);
