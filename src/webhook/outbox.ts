/**
 * Where the broker's happenings become owed deliveries: the Tap that builds each event on the spot and adds what every
 * endpoint is owed to the Turn, so that it is as durable as the acknowledgement that follows.
 *
 * A client's events share its id as their order key, over reconnects too, unless an endpoint orders otherwise.
 */
import { createHash } from "node:crypto";
import type { Clock, Instant } from "../base/clock.ts";
import { createUlidSource } from "../base/ulid.ts";
import type { SubscriptionRequest } from "../mqtt/packet.ts";
import type { ReasonCode } from "../mqtt/reason-code.ts";
import type { ApplicationMessage, Publisher } from "../broker/message.ts";
import type { ClientInfo, DisconnectReason, DropReason, SessionEndReason, Tap } from "../broker/tap.ts";
import type { Turn } from "../broker/turn.ts";
import type { EventName, WebhookOptions } from "./options.ts";
import type { Audience, MessageInterest, Recipient } from "./rule.ts";
import type { Happening } from "./happening.ts";
import { messageOf } from "./happening.ts";
import { orderKeyLengthMax } from "./limits.ts";
import { eventNames } from "./options.ts";
import { Rules } from "./rule.ts";

/** What endpoints want to hear of the fate of messages on a topic. */
interface FateInterest {
  readonly delivered: MessageInterest | undefined;
  readonly acked: MessageInterest | undefined;
  readonly dropped: MessageInterest | undefined;
}

interface When {
  acceptedAt: Instant;
  expiresAt: Instant | undefined;
  /** A publisher waits until it is safe, where an endpoint is that strict. */
  isAwaited: boolean;
}

export class Outbox implements Tap {
  private readonly clock: Clock;
  private readonly random: () => number;
  private rules: Rules;
  private readonly ulid: (now: Instant) => string;
  private audiences: ReadonlyMap<EventName, readonly Audience[]>;

  constructor({ options, clock, random }: { options: WebhookOptions; clock: Clock; random: () => number }) {
    this.clock = clock;
    this.random = random;
    this.rules = new Rules(options, random);
    this.ulid = createUlidSource(random);
    this.audiences = audiencesOf(this.rules);
  }

  /** By other rules from here on. The broker must then be told: it remembers what `interest` has said. */
  reconfigure(options: WebhookOptions): void {
    this.rules = new Rules(options, this.random);
    this.audiences = audiencesOf(this.rules);
  }

  interest(topicName: string): MessageInterest | undefined {
    return this.rules.interest(topicName);
  }

  isAwaited(interest: object): boolean {
    return (interest as MessageInterest).audiences.some(({ recipients }) =>
      recipients.some(({ durability }) => durability === "strict"),
    );
  }

  published(message: ApplicationMessage, interest: object, turn: Turn): void {
    const { acceptedAt, expiresAt, publisher } = message;
    // What `interest` gave comes back.
    const { audiences } = interest as MessageInterest;
    const happening: Happening = { event: "on_message_publish", client: publisher, message };
    this.owe(audiences, happening, { acceptedAt, expiresAt, isAwaited: true }, turn);
  }

  followsMessages(): boolean {
    return (["on_message_delivered", "on_message_acked", "on_message_dropped"] as const).some((event) =>
      this.rules.wantsAny(event),
    );
  }

  fateInterest(topicName: string): FateInterest | undefined {
    const delivered = this.rules.interest(topicName, "on_message_delivered");
    const acked = this.rules.interest(topicName, "on_message_acked");
    const dropped = this.rules.interest(topicName, "on_message_dropped");
    return delivered || acked || dropped ? { delivered, acked, dropped } : undefined;
  }

  delivered(message: ApplicationMessage, receiver: Publisher, interest: object, turn: Turn): void {
    const { delivered } = interest as FateInterest;
    this.tellFate(delivered, { event: "on_message_delivered", client: receiver, message }, turn);
  }

  acked(message: ApplicationMessage, receiver: Publisher, interest: object, turn: Turn): void {
    const { acked } = interest as FateInterest;
    this.tellFate(acked, { event: "on_message_acked", client: receiver, message }, turn);
  }

  dropped(
    message: ApplicationMessage,
    receiver: Publisher | undefined,
    reason: DropReason,
    interest: object,
    turn: Turn,
  ): void {
    const { dropped } = interest as FateInterest;
    const client = receiver ?? message.publisher;
    this.tellFate(dropped, { event: "on_message_dropped", client, message, receiver, reason }, turn);
  }

  connect(client: ClientInfo, turn: Turn): void {
    this.tell({ event: "on_client_connect", client }, turn);
  }

  connack(client: ClientInfo, reasonCode: ReasonCode, turn: Turn): void {
    this.tell({ event: "on_client_connack", client, reasonCode }, turn);
  }

  connected(client: ClientInfo, turn: Turn): void {
    this.tell({ event: "on_client_connected", client }, turn);
  }

  disconnected(client: ClientInfo, reason: DisconnectReason, _reasonCode: number, turn: Turn): void {
    this.tell({ event: "on_client_disconnected", client, reason }, turn);
  }

  subscribe(client: ClientInfo, subscription: SubscriptionRequest, turn: Turn): void {
    this.tell({ event: "on_client_subscribe", client, subscription }, turn);
  }

  unsubscribe(client: ClientInfo, topicFilter: string, turn: Turn): void {
    this.tell({ event: "on_client_unsubscribe", client, topicFilter }, turn);
  }

  subscribed(client: ClientInfo, subscription: SubscriptionRequest, turn: Turn): void {
    this.tell({ event: "on_session_subscribed", client, subscription }, turn);
  }

  unsubscribed(client: ClientInfo, topicFilter: string, turn: Turn): void {
    this.tell({ event: "on_session_unsubscribed", client, topicFilter }, turn);
  }

  terminated(client: Publisher, reason: SessionEndReason, turn: Turn): void {
    this.tell({ event: "on_session_terminated", client, reason }, turn);
  }

  private tell(happening: Happening, turn: Turn): void {
    const audiences = this.audiences.get(happening.event)!;
    if (audiences.length === 0) return;
    this.owe(audiences, happening, { acceptedAt: this.clock.now(), expiresAt: undefined, isAwaited: true }, turn);
  }

  /** Of messages on their way there are as many as there are subscribers: no publisher waits for that. */
  private tellFate(interest: MessageInterest | undefined, happening: Happening, turn: Turn): void {
    if (interest === undefined) return;
    const when = { acceptedAt: this.clock.now(), expiresAt: undefined, isAwaited: false };
    this.owe(interest.audiences, happening, when, turn);
  }

  private owe(audiences: readonly Audience[], happening: Happening, when: When, turn: Turn): void {
    const { acceptedAt, expiresAt, isAwaited } = when;
    const { event } = happening;
    /** One event has one name, which its first delivery has as well. */
    let eventId: string | undefined;
    for (const { formatter, recipients } of audiences) {
      let formatted: ReturnType<typeof formatter> | undefined;
      for (const recipient of recipients) {
        if (recipient.wants?.(happening) === false) continue;
        const { name: endpoint, durability } = recipient;
        const deliveryId = `evt_${this.ulid(acceptedAt)}`;
        eventId ??= deliveryId;
        formatted ??= formatter(happening, eventId, acceptedAt);
        const { body, head } = formatted;
        const orderKey = orderKeyOf(recipient, happening, deliveryId);
        const delivery = { deliveryId, endpoint, event, orderKey, body, head, acceptedAt, expiresAt };
        if (durability === "strict" && isAwaited) turn.add({ type: "delivery-owed", durability, delivery });
        else turn.addUnawaited({ type: "delivery-owed", durability, delivery });
      }
    }
  }
}

/**
 * A client's key is its id as it is; all others say of what they are, so that an endpoint whose order is changed does not
 * take what waits for the line of something else.
 */
function orderKeyOf({ orderBy }: Recipient, happening: Happening, deliveryId: string): string {
  switch (orderBy) {
    case "client":
      return short(happening.client.clientId);
    case "topic": {
      const message = messageOf(happening);
      return message === undefined ? short(happening.client.clientId) : `topic:${short(message.topicName)}`;
    }
    case "endpoint":
      return "endpoint:";
    case "none":
      return `delivery:${deliveryId}`;
    default:
      return orderBy satisfies never;
  }
}

/** Client ids and topic names may be 64 KiB long, and a key stands beside each delivery. */
function short(text: string): string {
  if (text.length <= orderKeyLengthMax) return text;
  return createHash("sha256").update(text).digest("base64url");
}

function audiencesOf(rules: Rules): ReadonlyMap<EventName, readonly Audience[]> {
  return new Map(eventNames.map((event) => [event, rules.audiences(event)]));
}
