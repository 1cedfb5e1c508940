/** All Sessions by client identifier, and how they begin, wait and end. [MQTT5 4.1] */
import type { Broker } from "./broker.ts";
import { tellDropped } from "./fates.ts";
import { persistentSessionsMax } from "./limits.ts";
import { Awaiting } from "./inflight.ts";
import { shiftQueue } from "./outbound.ts";
import { passOn, passOnUnsent } from "./shared.ts";
import { Session } from "./session.ts";
import { removeSubscription } from "./subscribe.ts";
import type { DisconnectReason, SessionEndReason } from "./tap.ts";

/** Session Expiry Interval that means "never". [MQTT5 3.1.2.11.2] */
const neverExpires = 0xffff_ffff;

export class Sessions {
  private readonly broker: Broker;
  private readonly byClientId = new Map<string, Session>();
  /** Those whose end the store does not have yet, the last of each client. */
  private readonly ending = new Map<string, Session>();

  constructor(broker: Broker) {
    this.broker = broker;
  }

  get count(): number {
    return this.byClientId.size;
  }

  all(): Iterable<Session> {
    return this.byClientId.values();
  }

  get(clientId: string): Session | undefined {
    return this.byClientId.get(clientId);
  }

  /** False when this client's session may not outlive its connection: there are as many as the broker will keep. */
  hasRoomFor(clientId: string): boolean {
    return this.byClientId.has(clientId) || this.byClientId.size - this.broker.connections.size < persistentSessionsMax;
  }

  /** This CONNECT takes up the session that is there. What one user is owed is nobody else's to fetch. */
  goesOn(asked: { clientId: string; userName: string | undefined; cleanStart: boolean }): boolean {
    const former = this.byClientId.get(asked.clientId);
    return former !== undefined && !asked.cleanStart && former.userName === asked.userName;
  }

  /** A session of this client has ended, and would be there again if the process died now. */
  isEnding(clientId: string): boolean {
    return this.ending.has(clientId);
  }

  /** The session for an accepted CONNECT: the one that waited, or a new one. [MQTT5 3.1.2-4] [MQTT5 3.1.2-5] */
  open(asked: { clientId: string; userName: string | undefined; expirySeconds: number; cleanStart: boolean }): {
    session: Session;
    sessionPresent: boolean;
  } {
    const { clientId, userName, expirySeconds } = asked;
    const former = this.byClientId.get(clientId);
    if (former !== undefined && this.goesOn(asked)) {
      former.expiryTimer?.cancel();
      former.expiryTimer = undefined;
      former.expirySeconds = expirySeconds;
      this.broker.turn.add({ type: "session-opened", clientId, userName, expirySeconds });
      return { session: former, sessionPresent: true };
    }
    if (former !== undefined) this.end(former, "discarded");
    const session = new Session(clientId, userName, expirySeconds);
    this.byClientId.set(clientId, session);
    if (session.persistent) this.broker.turn.add({ type: "session-opened", clientId, userName, expirySeconds });
    return { session, sessionPresent: false };
  }

  /** Its connection has closed: it waits, or ends. */
  disconnected(session: Session, reason: DisconnectReason): void {
    if (session.expirySeconds === 0) return this.end(session, reason);
    const { clientId, expirySeconds } = session;
    this.broker.turn.add({ type: "session-disconnected", clientId, at: this.broker.clock.now(), expirySeconds });
    this.waitForExpiry(session, expirySeconds * 1000);
    passOnUnsent(this.broker, session);
  }

  waitForExpiry(session: Session, ms: number): void {
    if (session.expirySeconds === neverExpires) return;
    session.expiryTimer = this.broker.clock.after(ms, () => this.end(session, "expired"));
  }

  /** Puts back a session that the store remembers. */
  restore(session: Session): void {
    this.byClientId.set(session.clientId, session);
  }

  /** The session and all it holds are gone; its will, if one waits, is published. [MQTT5 3.1.2-10] */
  end(session: Session, reason: SessionEndReason): void {
    const { broker } = this;
    session.expiryTimer?.cancel();
    this.byClientId.delete(session.clientId);
    for (const subscription of [...session.subscriptions.values()]) removeSubscription(broker, subscription);
    this.abandon(session);
    // Routes not used since may still refer to the session: what it held must not stay with them.
    session.inflight.clear();
    broker.wills.publishPending(session);
    broker.tell((tap) => tap.terminated?.(session.publisher, reason, broker.turn));
    if (session.persistent) this.forget(session);
  }

  /** The broker stops: no timer stays behind. */
  stopTimers(): void {
    for (const session of this.byClientId.values()) {
      session.expiryTimer?.cancel();
      session.willTimer?.cancel();
    }
  }

  private forget(session: Session): void {
    const { clientId } = session;
    this.broker.turn.add({ type: "session-ended", clientId });
    this.ending.set(clientId, session);
    this.broker.turn.whenCommitted(() => {
      if (this.ending.get(clientId) === session) this.ending.delete(clientId);
    });
  }

  /** Takes everything the session is owed off the books; what it shared goes to other members. */
  private abandon(session: Session): void {
    const { broker } = this;
    const inflight = session.inflight.inOrder();
    for (const { entry, awaiting } of inflight) {
      if (entry === undefined) continue;
      if (entry.sharedFilter !== undefined && awaiting === Awaiting.puback) passOn(broker, entry, false);
      if (session.persistent && awaiting !== Awaiting.pubcomp) entry.message.letGo();
    }
    for (let owed = shiftQueue(broker, session); owed !== undefined; owed = shiftQueue(broker, session)) {
      if (owed.sharedFilter === undefined || !passOn(broker, owed, false)) {
        const { message } = owed;
        broker.figures.dropped.sessionEnded++;
        tellDropped(broker, broker.routes.fatesOfMessage(message), message, session.publisher, "session_ended");
      }
      if (session.persistent) owed.message.letGo();
    }
  }
}
