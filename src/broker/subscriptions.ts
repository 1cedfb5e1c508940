/**
 * Who wants what: a tree of topic filters by level, in which `+` and `#` are levels like any other. Levels are keys of
 * Maps, so `__proto__` is a name as good as another.
 */
import type { QoS } from "../mqtt/packet.ts";
import type { Session } from "./session.ts";

export interface Subscription {
  readonly session: Session;
  /** As the client gave it, `$share/…` included. */
  readonly topicFilter: string;
  /** The filter behind `$share/group/`, or the same as `topicFilter`. */
  readonly plainFilter: string;
  readonly sharedGroup: string | undefined;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  readonly subscriptionIdentifier: number | undefined;
}

/** The subscriptions to one topic filter. */
export interface Subscribers {
  plain: Map<Session, Subscription>;
  /** By the group's share name. */
  shared: Map<string, Map<Session, Subscription>> | undefined;
}

interface Level {
  children: Map<string, Level> | undefined;
  subscribers: Subscribers | undefined;
}

export class Subscriptions {
  private readonly root: Level = { children: undefined, subscribers: undefined };
  count = 0;
  /** Levels in the tree, the root left out. */
  levels = 0;

  /** Adds a subscription, or takes the place of the session's former one to the same filter. */
  add(subscription: Subscription): void {
    let level = this.root;
    for (const name of subscription.plainFilter.split("/")) {
      level.children ??= new Map();
      let next = level.children.get(name);
      if (next === undefined) {
        next = { children: undefined, subscribers: undefined };
        level.children.set(name, next);
        this.levels++;
      }
      level = next;
    }
    level.subscribers ??= { plain: new Map(), shared: undefined };
    const members = membersFor(level.subscribers, subscription.sharedGroup);
    if (!members.has(subscription.session)) this.count++;
    members.set(subscription.session, subscription);
  }

  remove(subscription: Subscription): void {
    this.removeBelow(this.root, subscription, subscription.plainFilter.split("/"), 0);
  }

  /** The subscribers of every filter that matches a topic name. */
  match(topicName: string): Subscribers[] {
    const found: Subscribers[] = [];
    const names = topicName.split("/");
    // A `$` topic stays out of filters that begin with a wildcard. [MQTT5 4.7.2-1] [MQTT311 4.7.2-1]
    collect(this.root, names, 0, topicName.startsWith("$"), found);
    return found;
  }

  /** True when the level has become empty. */
  private removeBelow(level: Level, subscription: Subscription, names: string[], depth: number): boolean {
    if (depth === names.length) {
      const { subscribers } = level;
      const members =
        subscription.sharedGroup === undefined
          ? subscribers?.plain
          : subscribers?.shared?.get(subscription.sharedGroup);
      if (members?.delete(subscription.session)) this.count--;
      if (subscription.sharedGroup !== undefined && members?.size === 0) {
        subscribers!.shared!.delete(subscription.sharedGroup);
      }
      if (subscribers?.plain.size === 0 && (subscribers.shared?.size ?? 0) === 0) level.subscribers = undefined;
    } else {
      const next = level.children?.get(names[depth]);
      if (next !== undefined && this.removeBelow(next, subscription, names, depth + 1)) {
        level.children!.delete(names[depth]);
        this.levels--;
        if (level.children!.size === 0) level.children = undefined;
      }
    }
    return level.children === undefined && level.subscribers === undefined;
  }
}

function membersFor(subscribers: Subscribers, sharedGroup: string | undefined): Map<Session, Subscription> {
  if (sharedGroup === undefined) return subscribers.plain;
  subscribers.shared ??= new Map();
  let members = subscribers.shared.get(sharedGroup);
  if (members === undefined) {
    members = new Map();
    subscribers.shared.set(sharedGroup, members);
  }
  return members;
}

function collect(level: Level, names: string[], depth: number, noWildcard: boolean, found: Subscribers[]): void {
  const { children } = level;
  if (depth === names.length) {
    if (level.subscribers !== undefined) found.push(level.subscribers);
    // `sport/#` matches `sport` itself. [MQTT5 4.7.1.2]
    const parent = children?.get("#")?.subscribers;
    if (parent !== undefined) found.push(parent);
    return;
  }
  if (children === undefined) return;
  const name = names[depth];
  const exact = children.get(name);
  if (exact !== undefined) collect(exact, names, depth + 1, false, found);
  if (noWildcard) return;
  const single = children.get("+");
  if (single !== undefined) collect(single, names, depth + 1, false, found);
  const multi = children.get("#")?.subscribers;
  if (multi !== undefined) found.push(multi);
}
