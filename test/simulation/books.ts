/**
 * The plain model: what a broker has to know, as a fold of what happened to it. Nothing here is clever, and nothing is shared
 * with the broker but the words. The judge keeps two of them: one that is up to date, and one that knows only what is on disk.
 */

/** What is published, and what is known of it by whoever publishes. */
export interface Facts {
  /** The payload; empty clears a retained message. */
  id: string;
  topicName: string;
  qos: 0 | 1 | 2;
  retain: boolean;
  publisher: string;
  /** In the order of its publisher; 0 for a will. */
  sequence: number;
  expirySeconds: number | undefined;
}

export interface SubscriptionFacts {
  topicFilter: string;
  qos: 0 | 1 | 2;
  noLocal: boolean;
  retainHandling: 0 | 1 | 2;
}

export interface WillFacts {
  facts: Facts;
  delaySeconds: number;
}

export type Happening = { at: number } & (
  | {
      type: "connect";
      no: number;
      clientId: string;
      line: number;
      fresh: boolean;
      expirySeconds: number;
      will: WillFacts | undefined;
    }
  | { type: "welcome"; clientId: string }
  | { type: "ended"; clientId: string; cancelsWill: boolean; expirySeconds: number | undefined }
  | { type: "publish"; clientId: string; facts: Facts; packetIdentifier: number }
  | { type: "pubrel"; clientId: string; packetIdentifier: number }
  | { type: "subscribe"; clientId: string; subscriptions: readonly SubscriptionFacts[] }
  | { type: "unsubscribe"; clientId: string; topicFilters: readonly string[] }
  | { type: "session-expired"; clientId: string }
  | { type: "will-due"; clientId: string }
  | { type: "restart" }
);

/** A message a session is to get. */
interface Owed {
  facts: Facts;
  qos: 0 | 1 | 2;
  expiresAt: number | undefined;
  /** How many times it was routed to this session. */
  times: number;
  /** Its connection at that time: QoS 0 is for that one only. */
  line: number | undefined;
}

export interface SessionBook {
  /** Names this life of the session. */
  readonly no: number;
  readonly clientId: string;
  /** Survives the process. */
  readonly persistent: boolean;
  expirySeconds: number;
  line: number | undefined;
  /** Its client has its CONNACK: before that nothing is sent on the line. */
  isWelcome: boolean;
  expiresAt: number | undefined;
  subscriptions: Map<string, SubscriptionFacts>;
  received: Set<number>;
  owed: Map<string, Owed>;
  /** Retained messages that a subscription may bring, by id. */
  replays: Set<string>;
  /** Of these, by the connection that asked last: it must get them, unless they are replaced first. */
  replaysDue: Map<string, number>;
  /** Filters that asked for retained messages. */
  replayFilters: Set<string>;
}

interface WillBook extends WillFacts {
  dueAt: number | undefined;
}

/** A message for one member of a shared subscription. */
export interface SharedOwed {
  facts: Facts;
  topicFilter: string;
  expiresAt: number | undefined;
  /** Someone must get it: nobody who may have had it has taken it with him. */
  must: boolean;
  times: number;
}

interface RetainedBook {
  facts: Facts;
  expiresAt: number | undefined;
}

/** Session Expiry Interval that means "never". */
export const never = 0xffff_ffff;

export class Books {
  sessions = new Map<string, SessionBook>();
  wills = new Map<string, WillBook>();
  retained = new Map<string, RetainedBook>();
  shared = new Map<string, SharedOwed>();
  /** Wills published by what was applied last. */
  published: Facts[] = [];
  /** Retained messages asked for by what was applied last. */
  asked: string[] = [];

  /** As it would be read from disk. */
  copy(): Books {
    const copy = new Books();
    for (const [clientId, session] of this.sessions) {
      copy.sessions.set(clientId, {
        ...session,
        subscriptions: new Map(session.subscriptions),
        received: new Set(session.received),
        owed: new Map([...session.owed].map(([id, owed]) => [id, { ...owed }])),
        replays: new Set(session.replays),
        replaysDue: new Map(session.replaysDue),
        replayFilters: new Set(session.replayFilters),
      });
    }
    for (const [clientId, will] of this.wills) copy.wills.set(clientId, { ...will });
    copy.retained = new Map(this.retained);
    for (const [key, owed] of this.shared) copy.shared.set(key, { ...owed });
    return copy;
  }

  apply(happening: Happening): void {
    this.published = [];
    this.asked = [];
    const { at } = happening;
    switch (happening.type) {
      case "connect":
        return this.connect(happening);
      case "publish": {
        const session = this.sessions.get(happening.clientId)!;
        const { facts, packetIdentifier } = happening;
        if (facts.qos === 2) {
          if (session.received.has(packetIdentifier)) return;
          session.received.add(packetIdentifier);
        }
        return this.publish(facts, at);
      }
      case "restart":
        return this.restart(at);
      case "will-due":
        return this.publishWill(happening.clientId, at);
      default: {
        const session = this.sessions.get(happening.clientId)!;
        switch (happening.type) {
          case "ended":
            return this.ended(session, happening);
          case "welcome":
            session.isWelcome = true;
            return;
          case "pubrel":
            session.received.delete(happening.packetIdentifier);
            return;
          case "subscribe":
            for (const subscription of happening.subscriptions) this.subscribe(session, subscription, at);
            return;
          case "unsubscribe":
            for (const topicFilter of happening.topicFilters) {
              if (!session.subscriptions.delete(topicFilter)) continue;
              this.excuse((owed) => owed.topicFilter === topicFilter);
            }
            return;
          case "session-expired":
            return this.endSession(session, at);
          default:
            happening satisfies never;
        }
      }
    }
  }

  /** What time alone will bring. */
  *due(): Generator<{ type: "session-expired" | "will-due"; clientId: string; at: number }> {
    for (const { clientId, expiresAt } of this.sessions.values())
      if (expiresAt !== undefined) yield { type: "session-expired", clientId, at: expiresAt };
    for (const [clientId, { dueAt }] of this.wills)
      if (dueAt !== undefined) yield { type: "will-due", clientId, at: dueAt };
  }

  private connect(connect: Extract<Happening, { type: "connect" }>): void {
    const { at, no, clientId, line, fresh, expirySeconds, will } = connect;
    const former = this.sessions.get(clientId);
    if (former?.line !== undefined) this.ended(former, { at, cancelsWill: false, expirySeconds: undefined });
    let session = this.sessions.get(clientId);
    if (session !== undefined && fresh) this.endSession(session, at);
    session = this.sessions.get(clientId);
    if (session === undefined) {
      session = {
        no,
        clientId,
        persistent: expirySeconds > 0,
        expirySeconds,
        line,
        isWelcome: false,
        expiresAt: undefined,
        subscriptions: new Map(),
        received: new Set(),
        owed: new Map(),
        replays: new Set(),
        replaysDue: new Map(),
        replayFilters: new Set(),
      };
      this.sessions.set(clientId, session);
    }
    session.line = line;
    session.isWelcome = false;
    session.expirySeconds = expirySeconds;
    session.expiresAt = undefined;
    if (will === undefined) this.wills.delete(clientId);
    else this.wills.set(clientId, { ...will, dueAt: undefined });
  }

  private ended(
    session: SessionBook,
    { at, cancelsWill, expirySeconds }: { at: number; cancelsWill: boolean; expirySeconds: number | undefined },
  ): void {
    session.line = undefined;
    session.isWelcome = false;
    if (expirySeconds !== undefined) session.expirySeconds = expirySeconds;
    if (cancelsWill) this.wills.delete(session.clientId);
    this.willFallsDue(session.clientId, session.expirySeconds, at);
    if (session.expirySeconds === 0) this.endSession(session, at);
    else if (session.expirySeconds !== never) session.expiresAt = at + session.expirySeconds * 1000;
  }

  private willFallsDue(clientId: string, expirySeconds: number, at: number): void {
    const will = this.wills.get(clientId);
    if (will === undefined) return;
    const delaySeconds = Math.min(will.delaySeconds, expirySeconds);
    if (delaySeconds === 0) this.publishWill(clientId, at);
    else will.dueAt = at + delaySeconds * 1000;
  }

  private endSession(session: SessionBook, at: number): void {
    this.sessions.delete(session.clientId);
    for (const { topicFilter } of session.subscriptions.values()) {
      // QoS 2 under way goes with its receiver; the rest goes to another member, if there is one. [MQTT5 4.8.2-5]
      const isLast = this.membersOf(topicFilter).length === 0;
      this.excuse((owed) => owed.topicFilter === topicFilter && (isLast || owed.facts.qos === 2));
    }
    this.publishWill(session.clientId, at);
  }

  private publishWill(clientId: string, at: number): void {
    const will = this.wills.get(clientId);
    if (will === undefined) return;
    this.wills.delete(clientId);
    this.published.push(will.facts);
    this.publish(will.facts, at);
  }

  private publish(facts: Facts, at: number): void {
    const { id, topicName, retain, expirySeconds } = facts;
    const expiresAt = expirySeconds === undefined ? undefined : at + expirySeconds * 1000;
    if (retain && id === "") this.retained.delete(topicName);
    else if (retain) {
      this.retained.set(topicName, { facts, expiresAt });
      for (const session of this.sessions.values()) {
        for (const topicFilter of session.replayFilters) if (matches(topicFilter, topicName)) session.replays.add(id);
      }
    }
    if (id === "") return;
    const groups = new Set<string>();
    for (const session of this.sessions.values()) {
      let granted: 0 | 1 | 2 | undefined;
      for (const { topicFilter, qos, noLocal } of session.subscriptions.values()) {
        if (topicFilter.startsWith("$share/")) {
          if (matches(filterOf(topicFilter), topicName)) groups.add(topicFilter);
        } else if (matches(topicFilter, topicName) && !(noLocal && facts.publisher === session.clientId)) {
          if (granted === undefined || qos > granted) granted = qos;
        }
      }
      if (granted !== undefined) this.owe(session, facts, expiresAt, granted);
    }
    for (const topicFilter of groups) this.oweOne(topicFilter, facts, expiresAt);
  }

  private owe(session: SessionBook, facts: Facts, expiresAt: number | undefined, granted: 0 | 1 | 2): void {
    const qos = Math.min(facts.qos, granted) as 0 | 1 | 2;
    if (qos === 0 && !session.isWelcome) return;
    const times = (session.owed.get(facts.id)?.times ?? 0) + 1;
    session.owed.set(facts.id, { facts, qos, expiresAt, times, line: session.line });
  }

  private oweOne(topicFilter: string, facts: Facts, expiresAt: number | undefined): void {
    const members = this.membersOf(topicFilter);
    const must = facts.qos > 0 && members.every(({ persistent }) => persistent);
    const key = `${topicFilter} ${facts.id}`;
    const times = (this.shared.get(key)?.times ?? 0) + 1;
    this.shared.set(key, { facts, topicFilter, expiresAt, must, times });
  }

  private excuse(isExcused: (owed: SharedOwed) => boolean): void {
    for (const owed of this.shared.values()) if (isExcused(owed)) owed.must = false;
  }

  private membersOf(topicFilter: string): SessionBook[] {
    return [...this.sessions.values()].filter(({ subscriptions }) => subscriptions.has(topicFilter));
  }

  private subscribe(session: SessionBook, subscription: SubscriptionFacts, at: number): void {
    const { topicFilter, noLocal, retainHandling } = subscription;
    const isNew = !session.subscriptions.has(topicFilter);
    session.subscriptions.set(topicFilter, subscription);
    if (topicFilter.startsWith("$share/") || retainHandling === 2 || (retainHandling === 1 && !isNew)) return;
    session.replayFilters.add(topicFilter);
    for (const { facts, expiresAt } of this.retainedFor(topicFilter, at)) {
      if (expiresAt !== undefined && expiresAt <= at) continue;
      if (noLocal && facts.publisher === session.clientId) continue;
      this.asked.push(facts.id);
      session.replays.add(facts.id);
      session.replaysDue.set(facts.id, session.line!);
    }
  }

  *retainedFor(topicFilter: string, at: number): Generator<RetainedBook> {
    for (const retained of this.retained.values()) {
      if (retained.expiresAt !== undefined && retained.expiresAt <= at) continue;
      if (matches(topicFilter, retained.facts.topicName)) yield retained;
    }
  }

  /** Everyone was cut off; who was connected counts from now. */
  private restart(at: number): void {
    for (const session of [...this.sessions.values()]) {
      if (!session.persistent) this.sessions.delete(session.clientId);
      else if (session.line !== undefined) {
        session.line = undefined;
        session.isWelcome = false;
        if (session.expirySeconds !== never) session.expiresAt = at + session.expirySeconds * 1000;
      }
    }
    for (const [clientId, { dueAt }] of [...this.wills]) {
      if (dueAt === undefined) this.willFallsDue(clientId, this.sessions.get(clientId)?.expirySeconds ?? 0, at);
    }
  }
}

export function filterOf(topicFilter: string): string {
  return topicFilter.startsWith("$share/") ? topicFilter.split("/").slice(2).join("/") : topicFilter;
}

const matched = new Map<string, Map<string, boolean>>();

/** For names that do not begin with `$`. */
export function matches(topicFilter: string, topicName: string): boolean {
  let known = matched.get(topicName);
  if (known === undefined) {
    known = new Map();
    matched.set(topicName, known);
  }
  let answer = known.get(topicFilter);
  if (answer === undefined) {
    answer = compare(topicFilter.split("/"), topicName.split("/"));
    known.set(topicFilter, answer);
  }
  return answer;
}

function compare(wanted: readonly string[], names: readonly string[]): boolean {
  for (const [i, name] of wanted.entries()) {
    if (name === "#") return names.length >= i;
    if (i >= names.length || (name !== "+" && name !== names[i])) return false;
  }
  return wanted.length === names.length;
}
