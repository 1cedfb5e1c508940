/** What a broker remembers, and what its store does, in one form: after every commit they must be the same. */
import type { Broker } from "../../src/broker/broker.ts";
import { Awaiting } from "../../src/broker/inflight.ts";
import type { Owed, Session } from "../../src/broker/session.ts";
import type { StoredSession, StoredState } from "../../src/store/store.ts";

interface Entry {
  position: number;
  text: string | undefined;
  qos: 1 | 2;
  state: "queued" | "sent" | "released";
  packetIdentifier: number | undefined;
}

interface Remembered {
  sessions: { clientId: string; subscriptions: string[]; received: number[]; queue: Entry[] }[];
  retained: [topicName: string, text: string][];
  wills: [clientId: string, text: string][];
  /** Every message kept, by number; those that nothing names are not among them. */
  messageIds: number[];
}

export function stateOf({ sessions, retained }: Broker): Remembered {
  const all = [...sessions.all()];
  const lasting = all.filter(({ persistent }) => persistent);
  const kept = [...retained.walk("#"), ...retained.walk("$SYS/#")].flatMap((message) => message ?? []);
  const wills = all.flatMap(({ clientId, will }) => (will === undefined ? [] : [{ clientId, message: will.message }]));
  const owed = lasting.flatMap(({ queue, inflight }) => [
    ...queue,
    ...inflight.inOrder().flatMap(({ awaiting, entry }) => (awaiting === Awaiting.pubcomp ? [] : (entry ?? []))),
  ]);
  const messages = [...kept, ...wills.map(({ message }) => message), ...owed.map(({ message }) => message)];
  return {
    sessions: sorted(lasting.map(sessionOf), ({ clientId }) => clientId),
    retained: sorted(
      kept.map(({ topicName, payload }) => [topicName, text(payload)]),
      ([topicName]) => topicName,
    ),
    wills: sorted(
      wills.map(({ clientId, message }) => [clientId, text(message.payload)]),
      ([clientId]) => clientId,
    ),
    messageIds: [...new Set(messages.map(({ messageId }) => messageId))].sort((a, b) => a - b),
  };
}

export function storedStateOf({ sessions, retained, wills, messages }: StoredState): Remembered {
  const textOf = (messageId: number) => text(messages.get(messageId)!.payload);
  return {
    sessions: sorted(
      sessions.map((session) => storedSessionOf(session, textOf)),
      ({ clientId }) => clientId,
    ),
    retained: sorted(
      [...retained].map(([topicName, messageId]) => [topicName, textOf(messageId)]),
      ([topicName]) => topicName,
    ),
    wills: sorted(
      wills.map(({ clientId, messageId }) => [clientId, textOf(messageId)]),
      ([clientId]) => clientId,
    ),
    messageIds: [...messages.keys()].sort((a, b) => a - b),
  };
}

function sessionOf({ clientId, subscriptions, received, queue, inflight }: Session) {
  const entryOf = ({ position, message, qos }: Owed): Entry => ({
    position,
    text: text(message.payload),
    qos,
    state: "queued",
    packetIdentifier: undefined,
  });
  const sent = inflight.inOrder().map(({ packetIdentifier, awaiting, entry }): Entry => {
    const released = awaiting === Awaiting.pubcomp;
    const owed = entryOf(entry!);
    return { ...owed, state: released ? "released" : "sent", text: released ? undefined : owed.text, packetIdentifier };
  });
  return {
    clientId,
    subscriptions: [...subscriptions.keys()].sort(),
    received: [...(received ?? [])].sort((a, b) => a - b),
    queue: [...sent, ...[...queue].map(entryOf)].sort((a, b) => a.position - b.position),
  };
}

function storedSessionOf({ clientId, subscriptions, received, queue }: StoredSession, textOf: (id: number) => string) {
  return {
    clientId,
    subscriptions: subscriptions.map(({ topicFilter }) => topicFilter).sort(),
    received: [...received].sort((a, b) => a - b),
    queue: queue.map(({ position, messageId, qos, state, packetIdentifier }): Entry => {
      return { position, text: state === "released" ? undefined : textOf(messageId), qos, state, packetIdentifier };
    }),
  };
}

function sorted<Item>(items: Item[], key: (item: Item) => string): Item[] {
  return items.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function text(payload: Uint8Array): string {
  return Buffer.from(payload).toString();
}
