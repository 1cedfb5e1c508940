/**
 * A state as Changes that lead to it from nothing, in one batch: for the way from the disk, and from one thread to another.
 */
import type { BrokerChange, StoredMessage } from "./change.ts";
import type { StoredQueueEntry, StoredSession, StoredState } from "./store.ts";

export function changesOf(state: StoredState): BrokerChange[] {
  const changes: BrokerChange[] = [];
  for (const [messageId, message] of state.messages) changes.push({ type: "message-kept", messageId, message });
  for (const session of state.sessions) addChangesOfSession(changes, session);
  for (const [topicName, messageId] of state.retained) changes.push({ type: "retained", topicName, messageId });
  for (const { clientId, messageId, delaySeconds, dueAt } of state.wills) {
    changes.push({ type: "will-set", clientId, messageId, delaySeconds });
    if (dueAt !== undefined) changes.push({ type: "will-due", clientId, at: dueAt });
  }
  return changes;
}

function addChangesOfSession(changes: BrokerChange[], session: StoredSession): void {
  const { clientId, userName, expirySeconds, disconnectedAt, subscriptions, queue, received } = session;
  changes.push({ type: "session-opened", clientId, userName, expirySeconds });
  for (const subscription of subscriptions) changes.push({ type: "subscribed", clientId, subscription });
  for (const entry of queue) addChangesOfEntry(changes, clientId, entry);
  for (const packetIdentifier of received) changes.push({ type: "received", clientId, packetIdentifier });
  if (disconnectedAt !== undefined)
    changes.push({ type: "session-disconnected", clientId, at: disconnectedAt, expirySeconds });
}

export function addChangesOfEntry(changes: BrokerChange[], clientId: string, entry: StoredQueueEntry): void {
  const { position, messageId, qos, retain, subscriptionIdentifiers, sharedFilter, state, packetIdentifier } = entry;
  // Of a released message only its place is left; what it was the queue has to name all the same.
  if (state === "released") changes.push({ type: "message-kept", messageId, message: goneMessage });
  changes.push({ type: "queued", clientId, position, messageId, qos, retain, subscriptionIdentifiers, sharedFilter });
  if (packetIdentifier !== undefined) changes.push({ type: "sent", clientId, position, packetIdentifier });
  if (state === "released") changes.push({ type: "released", clientId, position });
}

const nothing = new Uint8Array(0);
/** What stands for a released message: it is the receiver's, and all that is left of it is its place. */
const goneMessage: StoredMessage = {
  topicName: "",
  payload: nothing,
  qos: 2,
  retain: false,
  properties: nothing,
  acceptedAt: 0,
  expiresAt: undefined,
  publisherClientId: "",
  publisherUserName: undefined,
};
