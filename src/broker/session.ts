/**
 * A Session: what the server remembers of a client between packets and, where it asked for that, between connections.
 * [MQTT5 4.1]
 *
 *   connected ──connection ends──→ waiting ──expiry──→ ended
 *       ↑──────────CONNECT───────────┘                   ↑
 *       └────────expiry 0, or Clean Start────────────────┘
 */
import type { Timer } from "../base/clock.ts";
import { Deque } from "../base/deque.ts";
import type { Connection } from "./connection.ts";
import { InflightWindow } from "./inflight.ts";
import type { KeptMessage, Publisher } from "./message.ts";
import type { Subscription } from "./subscriptions.ts";
import type { PromisedWill } from "./wills.ts";

/** A QoS 1 or 2 message owed to a session. */
export interface Owed {
  readonly message: KeptMessage;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  readonly subscriptionIdentifiers: readonly number[];
  readonly sharedFilter: string | undefined;
  /** Its place in the order of all that was owed to this session; 0 for a session that the store does not keep. */
  readonly position: number;
}

const none: ReadonlyMap<string, Subscription> = new Map();
/** In `load`, more than any connected session can have waiting. */
const awayLoad = 2 ** 40;

export class Session {
  readonly clientId: string;
  readonly userName: string | undefined;
  /** How its messages name their publisher. */
  readonly publisher: Publisher;
  /** Whose client has its CONNACK. */
  connection: Connection | undefined;
  /** Whose CONNACK waits for the store: until then nothing is sent, as if nobody were there. */
  arriving: Connection | undefined;
  /** Session Expiry Interval; 0 ends the session with its connection. 0xFFFFFFFF: never. */
  expirySeconds: number;
  /** Kept by the store: the session outlives its connection, and the process. */
  readonly persistent: boolean;
  subscriptions: ReadonlyMap<string, Subscription> = none;
  /** Owed and not yet sent, oldest first. */
  readonly queue = new Deque<Owed>();
  queuedBytes = 0;
  readonly inflight = new InflightWindow<Owed>();
  /** In flight since an earlier connection, to be sent again in order before anything new. */
  readonly resend = new Deque<number>();
  /** Packet Identifiers of QoS 2 messages received and not yet released. */
  received: Set<number> | undefined;
  nextPosition = 1;
  expiryTimer: Timer | undefined;
  will: PromisedWill | undefined;
  willTimer: Timer | undefined;

  constructor(clientId: string, userName: string | undefined, expirySeconds: number, persistent = expirySeconds > 0) {
    this.clientId = clientId;
    this.userName = userName;
    this.publisher = { clientId, userName };
    this.expirySeconds = expirySeconds;
    this.persistent = persistent;
  }

  /** The one connection that has this session. */
  get holder(): Connection | undefined {
    return this.connection ?? this.arriving;
  }

  /** How much this session has to do, for shared subscriptions. */
  get load(): number {
    return (
      this.inflight.count +
      this.queue.length +
      (this.connection === undefined ? awayLoad : this.connection.outbox.unread)
    );
  }

  setSubscription(subscription: Subscription): void {
    if (this.subscriptions === none) this.subscriptions = new Map();
    (this.subscriptions as Map<string, Subscription>).set(subscription.topicFilter, subscription);
  }

  deleteSubscription(topicFilter: string): void {
    (this.subscriptions as Map<string, Subscription>).delete(topicFilter);
  }
}
