/**
 * Where the broker's happenings become owed deliveries: the Tap that builds each event on the spot and adds what every
 * endpoint is owed to the Turn, so that it is as durable as the acknowledgement that follows.
 *
 * A client's events share its id as their order key, over reconnects too.
 */
import { createHash } from "node:crypto";
import type { Clock, Instant } from "../base/clock.ts";
import { createUlidSource } from "../base/ulid.ts";
import type { ReasonCode } from "../mqtt/reason-code.ts";
import type { ApplicationMessage } from "../broker/message.ts";
import type { ClientInfo, DisconnectReason, Tap } from "../broker/tap.ts";
import type { Turn } from "../broker/turn.ts";
import type { EventName, WebhookOptions } from "./options.ts";
import type { MessageInterest, Recipient } from "./rule.ts";
import { connackBody, disconnectedBody, publishBody } from "./event.ts";
import { orderKeyLengthMax } from "./limits.ts";
import { Rules } from "./rule.ts";

/** Owed all the same when no body can be made: the dispatcher makes a dead letter of it that says why. */
const noBody = new Uint8Array(0);

interface Happening {
  event: EventName;
  orderKey: string;
  acceptedAt: Instant;
  expiresAt: Instant | undefined;
}

export class Outbox implements Tap {
  private readonly clock: Clock;
  private rules: Rules;
  private readonly ulid: (now: Instant) => string;
  private connackRecipients: readonly Recipient[];
  private disconnectedRecipients: readonly Recipient[];

  constructor({ options, clock, random }: { options: WebhookOptions; clock: Clock; random: () => number }) {
    this.clock = clock;
    this.rules = new Rules(options);
    this.ulid = createUlidSource(random);
    this.connackRecipients = this.rules.recipientsOf("on_client_connack");
    this.disconnectedRecipients = this.rules.recipientsOf("on_client_disconnected");
  }

  /** By other rules from here on. The broker must then be told: it remembers what `interest` has said. */
  reconfigure(options: WebhookOptions): void {
    this.rules = new Rules(options);
    this.connackRecipients = this.rules.recipientsOf("on_client_connack");
    this.disconnectedRecipients = this.rules.recipientsOf("on_client_disconnected");
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
    const happening: Happening = { event: "on_message_publish", orderKey: keyOf(publisher), acceptedAt, expiresAt };
    // What `interest` gave comes back.
    for (const { style, recipients } of (interest as MessageInterest).audiences) {
      this.owe(recipients, happening, publishBody(message, style) ?? noBody, turn);
    }
  }

  connack(client: ClientInfo, reasonCode: ReasonCode, turn: Turn): void {
    if (this.connackRecipients.length === 0) return;
    const happening = this.clientHappening("on_client_connack", client);
    this.owe(this.connackRecipients, happening, connackBody(client, reasonCode), turn);
  }

  disconnected(client: ClientInfo, reason: DisconnectReason, _reasonCode: number, turn: Turn): void {
    if (this.disconnectedRecipients.length === 0) return;
    const happening = this.clientHappening("on_client_disconnected", client);
    this.owe(this.disconnectedRecipients, happening, disconnectedBody(client, reason), turn);
  }

  private clientHappening(event: EventName, client: ClientInfo): Happening {
    return { event, orderKey: keyOf(client), acceptedAt: this.clock.now(), expiresAt: undefined };
  }

  private owe(recipients: readonly Recipient[], happening: Happening, body: Uint8Array, turn: Turn): void {
    const { event, orderKey, acceptedAt, expiresAt } = happening;
    for (const { name: endpoint, durability } of recipients) {
      const deliveryId = `evt_${this.ulid(acceptedAt)}`;
      const delivery = { deliveryId, endpoint, event, orderKey, body, acceptedAt, expiresAt };
      if (durability === "strict") turn.add({ type: "delivery-owed", durability, delivery });
      else turn.addUnawaited({ type: "delivery-owed", durability, delivery });
    }
  }
}

/** Client identifiers may be 64 KiB long, and a key stands beside each delivery. */
function keyOf({ clientId }: { readonly clientId: string }): string {
  if (clientId.length <= orderKeyLengthMax) return clientId;
  return createHash("sha256").update(clientId).digest("base64url");
}
