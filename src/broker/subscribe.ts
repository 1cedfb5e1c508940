/** SUBSCRIBE and UNSUBSCRIBE. [MQTT5 3.8] [MQTT5 3.10] [MQTT311 3.8] [MQTT311 3.10] */
import type { Subscribe, SubscriptionRequest, Unsubscribe } from "../mqtt/packet.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import { isShared, parseShared, parseTopicFilter } from "../mqtt/topic.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import { retainedFeedsMax, subscriptionLevelsMax, subscriptionsPerSessionMax, topicLevelsMax } from "./limits.ts";
import type { Session } from "./session.ts";
import type { Subscription } from "./subscriptions.ts";

const grantedQoS = [ReasonCode.success, ReasonCode.grantedQos1, ReasonCode.grantedQos2] as const;

export function receiveSubscribe(broker: Broker, connection: Connection, packet: Subscribe): void {
  const { client, session } = connection;
  const { packetIdentifier } = packet;
  const identifier = packet.properties?.subscriptionIdentifier;
  const reasonCodes: ReasonCode[] = [];
  const wantRetained: Subscription[] = [];
  // Each filter is answered in its place. [MQTT5 3.9.3-1] [MQTT311 3.9.3-1]
  for (const request of packet.subscriptions) {
    broker.tell((tap) => tap.subscribe?.(client, request, broker.turn));
    const subscription = subscriptionOf(session, request, identifier);
    const refusal =
      subscription === undefined ? ReasonCode.topicFilterInvalid : refusalOf(broker, connection, subscription);
    if (subscription === undefined || refusal !== undefined) {
      reasonCodes.push(refusal ?? ReasonCode.topicFilterInvalid);
      continue;
    }
    const isNew = !session.subscriptions.has(subscription.topicFilter);
    addSubscription(broker, session, subscription);
    broker.tell((tap) => tap.subscribed?.(client, subscription, broker.turn));
    reasonCodes.push(grantedQoS[subscription.qos]);
    if (wantsRetained(subscription, isNew)) wantRetained.push(subscription);
  }
  answer(broker, connection, session.persistent, () => {
    connection.send({ type: "suback", packetIdentifier, reasonCodes });
    for (const subscription of wantRetained) feedRetainedTo(broker, connection, subscription);
  });
}

export function receiveUnsubscribe(broker: Broker, connection: Connection, packet: Unsubscribe): void {
  const { client, session } = connection;
  const { packetIdentifier } = packet;
  const reasonCodes = packet.topicFilters.map((topicFilter) => {
    broker.tell((tap) => tap.unsubscribe?.(client, topicFilter, broker.turn));
    const subscription = session.subscriptions.get(topicFilter);
    if (subscription === undefined) return ReasonCode.noSubscriptionExisted;
    removeSubscription(broker, subscription);
    broker.tell((tap) => tap.unsubscribed?.(client, topicFilter, broker.turn));
    return ReasonCode.success;
  });
  answer(broker, connection, session.persistent, () =>
    connection.send({ type: "unsuback", packetIdentifier, reasonCodes }),
  );
}

/** Adds a subscription or replaces the one to the same filter. [MQTT5 3.8.4-3] [MQTT311 3.8.4-3] */
function addSubscription(broker: Broker, session: Session, subscription: Subscription): void {
  session.setSubscription(subscription);
  broker.subscriptions.add(subscription);
  broker.routes.changed();
  if (!session.persistent) return;
  const { topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } = subscription;
  broker.turn.add({
    type: "subscribed",
    clientId: session.clientId,
    subscription: { topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier },
  });
}

export function removeSubscription(broker: Broker, subscription: Subscription): void {
  const { session, topicFilter } = subscription;
  session.deleteSubscription(topicFilter);
  broker.subscriptions.remove(subscription);
  broker.routes.changed();
  if (session.persistent) broker.turn.add({ type: "unsubscribed", clientId: session.clientId, topicFilter });
}

/** `undefined` for a topic filter that is none. */
export function subscriptionOf(
  session: Session,
  request: SubscriptionRequest,
  subscriptionIdentifier: number | undefined,
): Subscription | undefined {
  const { topicFilter } = request;
  const shared = isShared(topicFilter) ? parseShared(topicFilter) : undefined;
  const plainFilter =
    shared === undefined ? parseTopicFilter(topicFilter) : shared === "invalid" ? undefined : shared.topicFilter;
  if (plainFilter === undefined || levelsOf(plainFilter) > topicLevelsMax) return undefined;
  const sharedGroup = shared === undefined || shared === "invalid" ? undefined : shared.group;
  return { ...request, session, plainFilter, sharedGroup, subscriptionIdentifier };
}

function refusalOf(
  broker: Broker,
  { client, session }: Connection,
  { topicFilter, plainFilter }: Subscription,
): ReasonCode | undefined {
  if (!broker.access.maySubscribe(client, plainFilter)) return ReasonCode.notAuthorized;
  // What must last cannot be promised while the store takes nothing. 0x80 is the one refusal that every version has.
  if (session.persistent && broker.turn.isTroubled) return ReasonCode.unspecifiedError;
  const { subscriptions } = session;
  if (broker.subscriptions.levels > subscriptionLevelsMax) return ReasonCode.quotaExceeded;
  if (subscriptions.size >= subscriptionsPerSessionMax && !subscriptions.has(topicFilter))
    return ReasonCode.quotaExceeded;
  return undefined;
}

/** Retain Handling; never for a shared subscription. [MQTT5 3.3.1-9] [MQTT5 3.3.1-10] [MQTT5 3.3.1-11] [MQTT5 4.8.2] */
function wantsRetained({ sharedGroup, retainHandling }: Subscription, isNew: boolean): boolean {
  return sharedGroup === undefined && (retainHandling === 0 || (retainHandling === 1 && isNew));
}

function feedRetainedTo(broker: Broker, connection: Connection, subscription: Subscription): void {
  if (broker.retained.count === 0) return;
  if (connection.retainedFeed.length >= retainedFeedsMax) {
    return connection.end(
      "quota_exceeded",
      ReasonCode.quotaExceeded,
      "subscribes faster than it takes retained messages",
    );
  }
  connection.retainedFeed.push({ subscription, walk: broker.retained.walk(subscription.plainFilter) });
  broker.feedSoon(connection);
}

/** What a persistent session is told must be in the store first. */
function answer(broker: Broker, connection: Connection, durable: boolean, speak: () => void): void {
  if (!durable) return speak();
  broker.turn.whenCommitted(() => {
    if (connection.phase === "open") speak();
  });
}

function levelsOf(topicFilter: string): number {
  let levels = 1;
  for (let at = topicFilter.indexOf("/"); at >= 0; at = topicFilter.indexOf("/", at + 1)) levels++;
  return levels;
}
