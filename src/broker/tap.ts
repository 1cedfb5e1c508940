import type { ReasonCode } from "../mqtt/reason-code.ts";
import type { ProtocolVersion, SubscriptionRequest } from "../mqtt/packet.ts";
import type { ApplicationMessage, Publisher } from "./message.ts";
import type { Turn } from "./turn.ts";

/** What a Tap may know of a client. */
export interface ClientInfo {
  /** The assigned one when CONNECT had none; the empty string when it was refused before one was assigned. */
  readonly clientId: string;
  readonly userName: string | undefined;
  readonly protocolVersion: ProtocolVersion;
  readonly keepAliveSeconds: number;
  readonly cleanStart: boolean;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** Why a connection ended, in the words operators and webhooks see. A closed list: `docs/webhooks.md` explains each. */
export type DisconnectReason =
  | "normal"
  | "disconnect_with_will"
  | "connection_lost"
  | "keepalive_timeout"
  | "session_taken_over"
  | "kicked"
  | "protocol_error"
  | "malformed_packet"
  | "packet_too_large"
  | "quota_exceeded"
  | "receive_maximum_exceeded"
  | "topic_alias_invalid"
  | "topic_name_invalid"
  | "topic_filter_invalid"
  | "payload_format_invalid"
  | "not_authorized"
  | "server_shutdown"
  | "server_error";

/** Why a session ended: with its connection, whose reason it is, or later. */
export type SessionEndReason = DisconnectReason | "expired" | "discarded";

/** Why a message did not reach a subscriber, or had none. A closed list: `docs/webhooks.md` explains each. */
export type DropReason =
  | "no_subscribers"
  | "slow_reader"
  | "queue_full"
  | "too_large"
  | "expired"
  | "session_ended"
  | "refused_by_receiver";

/**
 * Hears what happens in the broker and adds what must survive to the Turn. Webhooks, metrics and bridges are Taps;
 * the broker knows none of them. Calls are synchronous, in the order things happen, and must not throw.
 */
export interface Tap {
  /**
   * What this Tap wants of messages on a topic, or `undefined` for nothing. Asked once and remembered with the topic's
   * route until `Broker.rulesChanged()`, so it must depend on the topic name alone; filters on anything else belong
   * into `published`.
   */
  interest?(topicName: string): object | undefined;
  /**
   * True when what `published` adds for this interest must be safe before the publisher is answered; taken to be so
   * without this method. Asked only while the store can keep nothing: then such a PUBLISH is refused.
   */
  isAwaited?(interest: object): boolean;
  /** Once per accepted PUBLISH, will, or message of the broker's own on a topic of interest, before it is routed. */
  published?(message: ApplicationMessage, interest: object, turn: Turn): void;
  /**
   * It has a use for the fate of messages: `delivered`, `acked` and `dropped`. Asked at the start and by
   * `Broker.rulesChanged()`; without it nothing is spent on that.
   */
  followsMessages?(): boolean;
  /** As `interest`, in the fate of messages on a topic. */
  fateInterest?(topicName: string): object | undefined;
  /** A message is handed to a subscriber's connection for the first time. */
  delivered?(message: ApplicationMessage, receiver: Publisher, interest: object, turn: Turn): void;
  /** A subscriber has taken a message: PUBACK, or PUBREC at QoS 2. */
  acked?(message: ApplicationMessage, receiver: Publisher, interest: object, turn: Turn): void;
  /** A message will not reach this subscriber; `undefined`: it has none. */
  dropped?(
    message: ApplicationMessage,
    receiver: Publisher | undefined,
    reason: DropReason,
    interest: object,
    turn: Turn,
  ): void;
  /** A CONNECT that can be read has come: nothing is decided. */
  connect?(client: ClientInfo, turn: Turn): void;
  /** The answer to a CONNECT is about to be sent, or would have been, had its connection not ended while it waited. */
  connack?(client: ClientInfo, reasonCode: ReasonCode, turn: Turn): void;
  /** The client is in the system: behind `connack` with success. */
  connected?(client: ClientInfo, turn: Turn): void;
  /** A SUBSCRIBE has come: once for each of its filters, before it is judged. */
  subscribe?(client: ClientInfo, request: SubscriptionRequest, turn: Turn): void;
  /** An UNSUBSCRIBE has come: once for each of its filters. */
  unsubscribe?(client: ClientInfo, topicFilter: string, turn: Turn): void;
  /** A subscription was added, or took the place of one to the same filter. */
  subscribed?(client: ClientInfo, subscription: SubscriptionRequest, turn: Turn): void;
  /** A subscription was removed, as its client asked. */
  unsubscribed?(client: ClientInfo, topicFilter: string, turn: Turn): void;
  /** A session has ended, and all that it held. */
  terminated?(client: Publisher, reason: SessionEndReason, turn: Turn): void;
  /** A connection of which `connack` told with success has ended. */
  disconnected?(client: ClientInfo, reason: DisconnectReason, reasonCode: number, turn: Turn): void;
}
