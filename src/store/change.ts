/**
 * Everything durable, as a closed union. A Change says what became true; a batch of them is committed whole or not at
 * all. Engines fold Changes into the present state (`Store.load`), so a Change never needs the ones before it to be read
 * again.
 */
import type { Instant } from "../base/clock.ts";
import type { QoS } from "../mqtt/packet.ts";

/** A message as the store keeps it; once for all sessions, retained topics and deliveries that name its `messageId`. */
export interface StoredMessage {
  topicName: string;
  payload: Uint8Array;
  qos: QoS;
  retain: boolean;
  properties: Uint8Array;
  acceptedAt: Instant;
  expiresAt: Instant | undefined;
  publisherClientId: string;
  publisherUserName: string | undefined;
}

export interface StoredSubscription {
  topicFilter: string;
  qos: QoS;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
  subscriptionIdentifier: number | undefined;
}

export type Change = BrokerChange | DeliveryChange;

/** What the broker makes true. */
export type BrokerChange =
  // Messages are counted by reference: kept before they are named, freed at the end of the batch after which no queue
  // entry, retained topic or will names them. Keeping one that is kept changes nothing.
  | { type: "message-kept"; messageId: number; message: StoredMessage }
  // Sessions. Opening one that exists goes on with all it has; what names a session or an entry that is not there
  // changes nothing.
  | { type: "session-opened"; clientId: string; userName: string | undefined; expirySeconds: number }
  | { type: "session-disconnected"; clientId: string; at: Instant; expirySeconds: number }
  | { type: "session-ended"; clientId: string }
  | { type: "subscribed"; clientId: string; subscription: StoredSubscription }
  | { type: "unsubscribed"; clientId: string; topicFilter: string }
  // Messages owed to a session, in the order of `position` (1, 2, 3 … within the session)
  | {
      type: "queued";
      clientId: string;
      position: number;
      messageId: number;
      qos: 1 | 2;
      retain: boolean;
      subscriptionIdentifiers: readonly number[];
      /** The `$share` filter through which it came, so that it can pass to another member. */
      sharedFilter: string | undefined;
    }
  | { type: "sent"; clientId: string; position: number; packetIdentifier: number }
  /** PUBREC received: the message itself is no longer owed, its PUBREL is. */
  | { type: "released"; clientId: string; position: number }
  | { type: "settled"; clientId: string; position: number }
  // QoS 2 packet identifiers of a publisher, from PUBLISH to PUBREL
  | { type: "received"; clientId: string; packetIdentifier: number }
  | { type: "receive-completed"; clientId: string; packetIdentifier: number }
  // Retained messages and wills. A will stands beside its session: it may outlive it.
  | { type: "retained"; topicName: string; messageId: number }
  | { type: "retained-cleared"; topicName: string }
  | { type: "will-set"; clientId: string; messageId: number; delaySeconds: number }
  | { type: "will-due"; clientId: string; at: Instant }
  | { type: "will-cleared"; clientId: string }
  // What webhooks are owed. The store gives each delivery the next position: 1, 2, 3 … over all endpoints, none twice.
  | { type: "delivery-owed"; durability: Durability; delivery: OwedDelivery };

/**
 * What the webhook engine makes true of an endpoint's deliveries. What names a delivery that is owed no more changes
 * nothing.
 */
export type DeliveryChange =
  /** The attempts that are under way now, in place of those named before. */
  | { type: "attempts-under-way"; endpoint: string; positions: readonly number[] }
  /** Attempted in vain: due again at `dueAt`. */
  | {
      type: "delivery-put-back";
      endpoint: string;
      position: number;
      attempts: number;
      failures: number;
      dueAt: Instant;
    }
  | { type: "delivery-settled"; endpoint: string; position: number; outcome: "delivered" | "dropped" | "expired" }
  /** It becomes a dead letter. */
  | {
      type: "delivery-died";
      endpoint: string;
      position: number;
      reason: string;
      detail: string;
      attempts: number;
      at: Instant;
    }
  /** A dead letter goes, and a fresh delivery of it is owed at the next position, as if accepted `at` this time. */
  | { type: "dead-letter-replayed"; endpoint: string; position: number; at: Instant }
  | { type: "dead-letter-deleted"; endpoint: string; position: number }
  /** Its dead letters up to this position make room. */
  | { type: "dead-letters-forgotten"; endpoint: string; upTo: number }
  /** What was sent together goes together until it has ended. `batches` is the webhook engine's own text. */
  | { type: "batches-frozen"; endpoint: string; batches: string }
  /** `breaker` is the webhook engine's own text. */
  | { type: "breaker-moved"; endpoint: string; breaker: string; heldUntil: Instant };

/**
 * What is safe of a delivery, and when its publisher hears. strict: committed before PUBACK. disk: written at once, on the
 * disk itself soon after; nobody waits. memory: it ends with the process.
 */
export type Durability = "strict" | "disk" | "memory";

/** One event owed to one endpoint. */
export interface OwedDelivery {
  /** `evt_` + ULID: the `webhook-id` of every attempt. */
  deliveryId: string;
  endpoint: string;
  /** The event's name as configured: `on_message_publish`, … */
  event: string;
  /** Deliveries of one endpoint with one key are sent one after another. */
  orderKey: string;
  /** The request body. */
  body: Uint8Array;
  /** The webhook engine's own text: what this event's request has beside its body; empty: as the endpoint is configured. */
  head: string;
  acceptedAt: Instant;
  /** From the message's expiry; `undefined`: the endpoint's `max_age` alone decides. */
  expiresAt: Instant | undefined;
}
