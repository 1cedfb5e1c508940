/** Will messages: promised at CONNECT, published when the connection ends other than by a normal DISCONNECT. [MQTT5 3.1.2.5] */
import type { Instant } from "../base/clock.ts";
import type { Will } from "../mqtt/packet.ts";
import { encodePublishedProperties } from "../mqtt/properties.ts";
import type { Broker } from "./broker.ts";
import { KeptMessage, ownBytes } from "./message.ts";
import type { Session } from "./session.ts";

/** A will as the store keeps it, from CONNECT until it is published or cancelled. */
export interface PromisedWill {
  readonly message: KeptMessage;
  readonly delaySeconds: number;
}

export class Wills {
  private readonly broker: Broker;

  constructor(broker: Broker) {
    this.broker = broker;
  }

  /** CONNECT with or without a will: what the session had promised before is void. [MQTT5 3.1.3-9] */
  set(session: Session, will: Will | undefined): void {
    this.cancel(session);
    if (will === undefined) return;
    const { willDelayInterval = 0, ...published } = will.properties ?? {};
    const message = new KeptMessage({
      topicName: will.topicName,
      topicBytes: ownBytes(Buffer.from(will.topicName)),
      payload: ownBytes(will.payload),
      qos: will.qos,
      retain: will.retain,
      properties: ownBytes(encodePublishedProperties(published)),
      expiryOffset: -1,
      acceptedAt: this.broker.clock.now(),
      // The Message Expiry Interval runs from publication. [MQTT5 3.1.3.2.4]
      expiresAt: undefined,
      publisher: session.publisher,
    });
    const messageId = message.keep(this.broker.turn, this.broker.nextMessageId);
    session.will = { message, delaySeconds: willDelayInterval };
    this.broker.turn.add({ type: "will-set", clientId: session.clientId, messageId, delaySeconds: willDelayInterval });
  }

  /** The connection ended without a normal DISCONNECT: the will is due, now or after its delay. [MQTT5 3.1.2-8] [MQTT311 3.1.2-8] */
  due(session: Session): void {
    if (session.will === undefined) return;
    // The session's end does not wait for the delay. [MQTT5 3.1.3.2.2]
    const delayMs = Math.min(session.will.delaySeconds, session.expirySeconds) * 1000;
    if (delayMs === 0) return this.publishPending(session);
    this.broker.turn.add({ type: "will-due", clientId: session.clientId, at: this.broker.clock.now() + delayMs });
    this.wait(session, delayMs);
  }

  /** Publishes at `at`, as the store remembers. */
  restore(session: Session, will: PromisedWill, at: Instant | undefined): void {
    session.will = will;
    if (at === undefined) this.due(session);
    else this.wait(session, at - this.broker.clock.now());
  }

  publishPending(session: Session): void {
    const { will } = session;
    if (will === undefined) return;
    const { topicName, payload, qos, retain, properties, publisher } = will.message;
    // [MQTT5 3.8.3-3] holds for a will as well: its publisher is the client that left it.
    this.broker.publish({ topicName, payload, qos, retain, properties, publisher, leftBy: session });
    this.cancel(session);
  }

  /** Will not be published any more: a normal DISCONNECT, or the client is back in time. */
  cancel(session: Session): void {
    session.willTimer?.cancel();
    session.willTimer = undefined;
    if (session.will === undefined) return;
    session.will.message.letGo();
    session.will = undefined;
    this.broker.turn.add({ type: "will-cleared", clientId: session.clientId });
  }

  private wait(session: Session, delayMs: number): void {
    session.willTimer = this.broker.clock.after(delayMs, () => this.publishPending(session));
  }
}
