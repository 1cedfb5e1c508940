/** What the broker told of, as it becomes an event: in memory only until its body is made. */
import type { SubscriptionRequest } from "../mqtt/packet.ts";
import type { ReasonCode } from "../mqtt/reason-code.ts";
import type { ApplicationMessage, Publisher } from "../broker/message.ts";
import type { ClientInfo, DisconnectReason, DropReason, SessionEndReason } from "../broker/tap.ts";

export type Happening =
  | { event: "on_client_connect" | "on_client_connected"; client: ClientInfo }
  | { event: "on_client_connack"; client: ClientInfo; reasonCode: ReasonCode }
  | { event: "on_client_disconnected"; client: ClientInfo; reason: DisconnectReason }
  | { event: "on_client_subscribe" | "on_session_subscribed"; client: ClientInfo; subscription: SubscriptionRequest }
  | { event: "on_client_unsubscribe" | "on_session_unsubscribed"; client: ClientInfo; topicFilter: string }
  | { event: "on_session_terminated"; client: Publisher; reason: SessionEndReason }
  | MessageHappening;

/** `client`: whose doing it is: the publisher at first, then the receiver, if the message has one. */
type MessageHappening = { client: Publisher; message: ApplicationMessage } & (
  | { event: "on_message_publish" | "on_message_delivered" | "on_message_acked" }
  | { event: "on_message_dropped"; receiver: Publisher | undefined; reason: DropReason }
);

/** The message, in events that have one. */
export function messageOf(happening: Happening): ApplicationMessage | undefined {
  return "message" in happening ? happening.message : undefined;
}
