/**
 * A state as Changes that lead to it from nothing, in one batch: for the way from the disk, and from one thread to another.
 */
import type { BrokerChange, StoredMessage } from "./change.ts";
import type { StoredQueueEntry, StoredSession, StoredState } from "./store.ts";

export function* changesOf(state: StoredState): Generator<BrokerChange> {
  for (const [messageId, message] of state.messages) yield { type: "message-kept", messageId, message };
  for (const session of state.sessions) yield* changesOfSession(session);
  for (const [topicName, messageId] of state.retained) yield { type: "retained", topicName, messageId };
  for (const { clientId, messageId, delaySeconds, dueAt } of state.wills) {
    yield { type: "will-set", clientId, messageId, delaySeconds };
    if (dueAt !== undefined) yield { type: "will-due", clientId, at: dueAt };
  }
}

function* changesOfSession(session: StoredSession): Generator<BrokerChange> {
  const { clientId, userName, expirySeconds, disconnectedAt, subscriptions, queue, received } = session;
  yield { type: "session-opened", clientId, userName, expirySeconds };
  for (const subscription of subscriptions) yield { type: "subscribed", clientId, subscription };
  for (const entry of queue) yield* changesOfEntry(clientId, entry);
  for (const packetIdentifier of received) yield { type: "received", clientId, packetIdentifier };
  if (disconnectedAt !== undefined) yield { type: "session-disconnected", clientId, at: disconnectedAt, expirySeconds };
}

export function* changesOfEntry(clientId: string, entry: StoredQueueEntry): Generator<BrokerChange> {
  const { position, messageId, qos, retain, subscriptionIdentifiers, sharedFilter, state, packetIdentifier } = entry;
  // Of a released message only its place is left; what it was the queue has to name all the same.
  if (state === "released") yield { type: "message-kept", messageId, message: goneMessage };
  yield { type: "queued", clientId, position, messageId, qos, retain, subscriptionIdentifiers, sharedFilter };
  if (packetIdentifier !== undefined) yield { type: "sent", clientId, position, packetIdentifier };
  if (state === "released") yield { type: "released", clientId, position };
}

const nothing = new Uint8Array(0);
/** What stands for a released message: it is the receiver's, and all that is left of it is its place. */
export const goneMessage: StoredMessage = {
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
