/**
 * Where messages on a topic go. Worked out once from the subscriptions and the Taps, and remembered by topic name until
 * either changes: a PUBLISH that finds its route asks nobody anything.
 */
import type { QoS } from "../mqtt/packet.ts";
import { stringBytesMax } from "../mqtt/bytes.ts";
import { isValidTopicNameBytes } from "../mqtt/topic.ts";
import { type KeptMessage, ownBytes } from "./message.ts";
import type { Session } from "./session.ts";
import type { Subscribers, Subscription, Subscriptions } from "./subscriptions.ts";
import type { Tap } from "./tap.ts";
import { routesMax, routeTargetsMax, routeTopicBytesMax, routeTopicLengthMax, topicLevelsMax } from "./limits.ts";

const nothing = Buffer.alloc(0);
const none: readonly TapInterest[] = [];

/** What one session gets of a topic: all its matching subscriptions as one. [MQTT5 3.3.4] */
export interface Target {
  readonly session: Session;
  readonly qos: QoS;
  readonly retainAsPublished: boolean;
  readonly subscriptionIdentifiers: readonly number[];
  /** `subscriptionIdentifiers` as encoded properties. */
  readonly identifierProperties: Buffer;
  /** The session's own messages: `all` of them, `none`, or those of `toSelf`'s subscriptions only. [MQTT5 3.8.3.1] */
  readonly own: "all" | "none" | "to-self";
  readonly toSelf: Target | undefined;
  readonly sharedFilter: string | undefined;
}

/** One group of a shared subscription: each message goes to one member. [MQTT5 4.8.2] */
export interface SharedTarget {
  readonly members: readonly Target[];
  /** Where the search for the least loaded member begins: it goes round, so that equals take turns. */
  next: number;
}

export interface TapInterest {
  readonly tap: Tap;
  readonly interest: object;
}

export class Route {
  readonly topicName: string;
  readonly topicBytes: Buffer;
  /** False: it is no topic name. */
  readonly valid: boolean;
  /** The broker's own topics: nobody else publishes there. [MQTT5 4.7.2] */
  readonly reserved: boolean;
  epoch = -1;
  targets: readonly Target[] = [];
  shared: readonly SharedTarget[] = [];
  interests: readonly TapInterest[] = [];
  /** Of Taps that follow what becomes of messages: mostly none. */
  fates: readonly TapInterest[] = [];

  constructor(topicBytes: Buffer) {
    this.topicBytes = topicBytes;
    const { length } = topicBytes;
    this.valid =
      length <= stringBytesMax &&
      isValidTopicNameBytes(topicBytes, 0, length) &&
      levelsOf(topicBytes) <= topicLevelsMax;
    this.topicName = this.valid ? topicBytes.toString("utf8") : "";
    this.reserved = isReserved(this.topicName);
  }

  /** True for the topic name at `bytes[start..end)`. */
  is(bytes: Buffer, start: number, end: number): boolean {
    const { topicBytes } = this;
    const length = end - start;
    if (length !== topicBytes.length) return false;
    // From the end: names that differ mostly differ there.
    for (let i = length - 1; i >= 0; i--) if (bytes[start + i] !== topicBytes[i]) return false;
    return true;
  }
}

export class Routes {
  private readonly subscriptions: Subscriptions;
  private readonly taps: readonly Tap[];
  private readonly byTopic = new Map<string, Route>();
  private topicBytes = 0;
  /** Targets that remembered routes have been given since they were last forgotten. */
  private targetCount = 0;
  /** What a session gets through one subscription alone is the same for every topic: made once. */
  private readonly lone = new WeakMap<Subscription, Target>();
  /** Goes up with every change that may concern a route. */
  private epoch = 0;
  /** Those of the Taps that follow what becomes of messages. */
  private followers: readonly Tap[] = [];

  constructor(subscriptions: Subscriptions, taps: readonly Tap[]) {
    this.subscriptions = subscriptions;
    this.taps = taps;
    this.rulesChanged();
  }

  /** Subscriptions have changed: every route is worked out again when it is next used. */
  changed(): void {
    this.epoch++;
  }

  /** What Taps want has changed. */
  rulesChanged(): void {
    this.followers = this.taps.filter((tap) => tap.followsMessages?.());
    this.changed();
  }

  /** Who follows what becomes of a message that stayed. */
  fatesOfMessage({ topicBytes }: KeptMessage): readonly TapInterest[] {
    if (this.followers.length === 0) return none;
    const route = this.find(topicBytes, 0, topicBytes.length);
    if (!route.valid) return none;
    this.refresh(route);
    return route.fates;
  }

  find(bytes: Buffer, start: number, end: number): Route {
    // One character per byte: a key for any bytes, valid or not, at the price of one string.
    const key = bytes.toString("latin1", start, end);
    const known = this.byTopic.get(key);
    if (known !== undefined) return known;
    const route = new Route(ownBytes(bytes.subarray(start, end)));
    if (route.valid && end - start <= routeTopicLengthMax) this.remember(key, route);
    return route;
  }

  /** Brings a route up to date. */
  refresh(route: Route): void {
    if (route.epoch === this.epoch) return;
    route.epoch = this.epoch;
    const found = this.subscriptions.match(route.topicName);
    route.targets = this.targetsOf(found);
    route.shared = this.sharedTargetsOf(found);
    this.targetCount += route.targets.length;
    for (const { members } of route.shared) this.targetCount += members.length;
    const interests: TapInterest[] = [];
    for (const tap of this.taps) {
      const interest = tap.interest?.(route.topicName);
      if (interest !== undefined) interests.push({ tap, interest });
    }
    route.interests = interests;
    route.fates = this.fatesOf(route.topicName);
  }

  private fatesOf(topicName: string): readonly TapInterest[] {
    if (this.followers.length === 0) return none;
    return this.followers.flatMap((tap) => {
      const interest = tap.fateInterest?.(topicName);
      return interest === undefined ? [] : [{ tap, interest }];
    });
  }

  private remember(key: string, route: Route): void {
    // Topics are the publishers' to choose. Forgetting all is simple and rare; what is in use comes back at its next message.
    if (this.byTopic.size >= routesMax || this.topicBytes > routeTopicBytesMax || this.targetCount > routeTargetsMax) {
      this.byTopic.clear();
      this.topicBytes = 0;
      this.targetCount = 0;
    }
    this.byTopic.set(key, route);
    this.topicBytes += key.length;
  }

  private targetsOf(found: readonly Subscribers[]): Target[] {
    const [only] = found;
    if (found.length === 1) return Array.from(only.plain.values(), this.loneTargetOf);
    return Array.from(bySession(found).values(), (subscriptions) =>
      subscriptions.length === 1 ? this.loneTargetOf(subscriptions[0]) : targetOf(subscriptions),
    );
  }

  private sharedTargetsOf(found: readonly Subscribers[]): SharedTarget[] {
    const shared: SharedTarget[] = [];
    for (const { shared: groups } of found) {
      if (groups === undefined) continue;
      for (const members of groups.values()) {
        shared.push({ members: Array.from(members.values(), this.loneTargetOf), next: 0 });
      }
    }
    return shared;
  }

  private readonly loneTargetOf = (subscription: Subscription): Target => {
    let target = this.lone.get(subscription);
    if (target === undefined) {
      target = targetOf([subscription]);
      this.lone.set(subscription, target);
    }
    return target;
  };
}

function bySession(found: readonly Subscribers[]): Map<Session, Subscription[]> {
  const bySession = new Map<Session, Subscription[]>();
  for (const { plain } of found) {
    for (const subscription of plain.values()) {
      const others = bySession.get(subscription.session);
      if (others === undefined) bySession.set(subscription.session, [subscription]);
      else others.push(subscription);
    }
  }
  return bySession;
}

/** The highest QoS of all, every Subscription Identifier, RETAIN as published if any asks for it. [MQTT5 3.3.4-2] [MQTT5 3.3.4-4] */
function targetOf(subscriptions: readonly Subscription[]): Target {
  const [{ session, topicFilter, sharedGroup }] = subscriptions;
  let qos: QoS = 0;
  let retainAsPublished = false;
  const subscriptionIdentifiers: number[] = [];
  const others = subscriptions.filter(({ noLocal }) => !noLocal);
  for (const subscription of subscriptions) {
    if (subscription.qos > qos) qos = subscription.qos;
    retainAsPublished ||= subscription.retainAsPublished;
    if (subscription.subscriptionIdentifier !== undefined) {
      subscriptionIdentifiers.push(subscription.subscriptionIdentifier);
    }
  }
  const own = others.length === subscriptions.length ? "all" : others.length === 0 ? "none" : "to-self";
  return {
    session,
    qos,
    retainAsPublished,
    subscriptionIdentifiers,
    identifierProperties: encodeIdentifiers(subscriptionIdentifiers),
    own,
    toSelf: own === "to-self" ? targetOf(others) : undefined,
    sharedFilter: sharedGroup === undefined ? undefined : topicFilter,
  };
}

/** Subscription Identifier properties (0x0B), one after another. [MQTT5 3.3.2.3.8] */
export function encodeIdentifiers(identifiers: readonly number[]): Buffer {
  if (identifiers.length === 0) return nothing;
  const bytes: number[] = [];
  for (const identifier of identifiers) {
    bytes.push(0x0b);
    let rest = identifier;
    while (rest >= 128) {
      bytes.push((rest & 0x7f) | 0x80);
      rest >>= 7;
    }
    bytes.push(rest);
  }
  return ownBytes(Uint8Array.from(bytes));
}

/** Only our own tree: bridges of other brokers tell their state below `$SYS/broker/`, and may. */
function isReserved(topicName: string): boolean {
  return topicName === "$SYS/brokers" || topicName.startsWith("$SYS/brokers/");
}

function levelsOf(topicBytes: Buffer): number {
  let levels = 1;
  for (const byte of topicBytes) if (byte === 0x2f) levels++;
  return levels;
}
