/** Shared subscriptions: which member takes a message, and who takes over what a member leaves behind. [MQTT5 4.8.2] */
import { lowerQoS } from "../mqtt/packet.ts";
import type { Broker } from "./broker.ts";
import { tellDelivered } from "./fates.ts";
import { sharedMembersCompared } from "./limits.ts";
import { forgetBytes, letGo, owe } from "./outbound.ts";
import { fitsClient, writeMessage } from "./packet-writer.ts";
import type { SharedTarget, Target } from "./route.ts";
import type { Owed, Session } from "./session.ts";

/** The member to take a message: one that is connected before one that is not, then the one with least to do. */
export function leastLoaded(shared: SharedTarget): Target {
  const { members } = shared;
  const compared = Math.min(members.length, sharedMembersCompared);
  const first = shared.next++ % members.length;
  let best = members[first];
  let bestLoad = best.session.load;
  for (let i = 1; i < members.length; i++) {
    // Beyond the number compared any connected member will do.
    if (i >= compared && best.session.connection !== undefined) break;
    const member = members[(first + i) % members.length];
    const load = member.session.load;
    if (load < bestLoad) {
      best = member;
      bestLoad = load;
    }
  }
  return best;
}

/** Passes on what a shared subscription's member will not send any more. [MQTT5 4.8.2-4] [MQTT5 4.8.2-5] */
export function passOn(broker: Broker, owed: Owed, onlyConnected: boolean): boolean {
  const route = broker.routes.find(owed.message.topicBytes, 0, owed.message.topicBytes.length);
  broker.routes.refresh(route);
  const shared = route.shared.find(({ members }) => members[0].sharedFilter === owed.sharedFilter);
  const target = shared && leastLoaded(shared);
  if (target === undefined || (onlyConnected && target.session.connection === undefined)) return false;
  const qos = lowerQoS(owed.qos, target.qos);
  const { message, retain, sharedFilter } = owed;
  const { subscriptionIdentifiers } = target;
  const { connection } = target.session;
  if (qos !== 0) owe(broker, target.session, { message, qos, retain, subscriptionIdentifiers, sharedFilter });
  else if (connection !== undefined && fitsClient(broker, connection, message, 0, subscriptionIdentifiers)) {
    tellDelivered(broker, route.fates, message, target.session.publisher);
    writeMessage(broker, connection, message, retain ? 1 : 0, 0, subscriptionIdentifiers);
  }
  return true;
}

/** A member has disconnected: what it was not sent yet goes to those who are there. */
export function passOnUnsent(broker: Broker, session: Session): void {
  const waiting = [...session.queue];
  if (!waiting.some(({ sharedFilter }) => sharedFilter !== undefined)) return;
  session.queue.clear();
  for (const owed of waiting) {
    if (owed.sharedFilter !== undefined && passOn(broker, owed, true)) {
      forgetBytes(broker, session, owed);
      letGo(broker, session, owed);
    } else {
      session.queue.push(owed);
    }
  }
}
