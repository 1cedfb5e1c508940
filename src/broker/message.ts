import type { Instant } from "../base/clock.ts";
import type { QoS } from "../mqtt/packet.ts";
import type { Turn } from "./turn.ts";

/** Who an Application Message comes from; `undefined` userName when its CONNECT had none. */
export interface Publisher {
  readonly clientId: string;
  readonly userName: string | undefined;
}

/**
 * One Application Message that outlives the read it came in: kept by sessions, the retained store and Taps, all by
 * reference to this one object. Its bytes are its own, so nothing pins a larger read.
 */
export interface ApplicationMessage {
  readonly topicName: string;
  readonly payload: Uint8Array;
  readonly qos: QoS;
  readonly retain: boolean;
  /**
   * The encoded MQTT 5.0 properties that travel with the message (no length prefix, no Topic Alias, no Subscription
   * Identifier); empty when there are none. `mqtt/properties.ts` reads them.
   */
  readonly properties: Uint8Array;
  /** When the broker accepted it. */
  readonly acceptedAt: Instant;
  /** When its Message Expiry Interval ends; `undefined` when it has none. [MQTT5 3.3.2.3.3] */
  readonly expiresAt: Instant | undefined;
  readonly publisher: Publisher;
}

/**
 * A copy that shares its memory with nothing. Node cuts small Buffers out of blocks of 64 KiB, and the smallest of them
 * that stays would keep its whole block.
 */
export function ownBytes(bytes: Uint8Array): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return own;
}

/** An ApplicationMessage as the broker holds it: with what it takes to send it again and to count its places in the store. */
export class KeptMessage implements ApplicationMessage {
  readonly topicName: string;
  readonly topicBytes: Buffer;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: Buffer;
  readonly acceptedAt: Instant;
  readonly expiresAt: Instant | undefined;
  readonly publisher: Publisher;
  /** Where in `properties` the four bytes of the Message Expiry Interval are; -1 without one. */
  readonly expiryOffset: number;
  /** Its name in the store, while anything durable refers to it; 0 otherwise. */
  messageId = 0;
  private keepers = 0;

  constructor(
    facts: ApplicationMessage & { topicBytes: Buffer; payload: Buffer; properties: Buffer; expiryOffset: number },
  ) {
    this.topicName = facts.topicName;
    this.topicBytes = facts.topicBytes;
    this.payload = facts.payload;
    this.qos = facts.qos;
    this.retain = facts.retain;
    this.properties = facts.properties;
    this.acceptedAt = facts.acceptedAt;
    this.expiresAt = facts.expiresAt;
    this.publisher = facts.publisher;
    this.expiryOffset = facts.expiryOffset;
  }

  /** What it counts for where the bytes of messages are limited: a publisher chooses its topic and properties too. */
  get bytes(): number {
    return this.topicBytes.length + this.properties.length + this.payload.length;
  }

  isExpired(now: Instant): boolean {
    return this.expiresAt !== undefined && this.expiresAt <= now;
  }

  /** One more durable place refers to it: the first takes it into the store. */
  keep(turn: Turn, nextMessageId: () => number): number {
    if (this.keepers++ === 0) {
      this.messageId = nextMessageId();
      const { topicName, payload, qos, retain, properties, acceptedAt, expiresAt, publisher } = this;
      const message = {
        topicName,
        payload,
        qos,
        retain,
        properties,
        acceptedAt,
        expiresAt,
        publisherClientId: publisher.clientId,
        publisherUserName: publisher.userName,
      };
      turn.add({ type: "message-kept", messageId: this.messageId, message });
    }
    return this.messageId;
  }

  /** One durable place fewer: the store lets go of it with the last. */
  letGo(): void {
    if (--this.keepers === 0) this.messageId = 0;
  }

  /** It is in the store already, in one more place. For a start. */
  restored(messageId: number): void {
    this.messageId = messageId;
    this.keepers++;
  }
}
