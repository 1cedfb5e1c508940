/**
 * Batches for a store whose power goes: what batch `n` holds, and what a store holds after batches 1 to `n`, follow from `n`
 * alone. They come in waves: in the first half of a wave all is owed, in the second twice as much is settled, so that at the end
 * of a wave thousands of pages are free and the store gives them back.
 */
import type { BrokerChange, OwedDelivery } from "../../../src/store/change.ts";
import type { StoredDelivery } from "../../../src/store/deliveries.ts";
import type { Engine, StoredState } from "../../../src/store/store.ts";

/** Half a wave of payloads are more pages than the store keeps free. */
export const waveBatches = 480;
const payloadBytes = 44_000;

const clientId = "subscriber";
const topicName = "last-batch";
const endpoints = ["x", "y"];
/** Packet Identifiers of QoS 2 that are between PUBLISH and PUBREL. */
const receivedAtOnce = 7;

export function batch(n: number): BrokerChange[] {
  const changes: BrokerChange[] = [];
  if (n === 1) changes.push({ type: "session-opened", clientId, userName: undefined, expirySeconds: 3600 });
  changes.push(
    {
      type: "message-kept",
      messageId: n,
      message: {
        topicName,
        payload: payload(n),
        qos: 1,
        retain: true,
        properties: Buffer.alloc(0),
        acceptedAt: n,
        expiresAt: undefined,
        publisherClientId: "publisher",
        publisherUserName: undefined,
      },
    },
    { type: "retained", topicName, messageId: n },
    { type: "received", clientId, packetIdentifier: n },
    {
      type: "queued",
      clientId,
      position: n,
      messageId: n,
      qos: 1,
      retain: false,
      subscriptionIdentifiers: [],
      sharedFilter: undefined,
    },
  );
  for (const endpoint of endpoints)
    changes.push({ type: "delivery-owed", durability: "strict", delivery: delivery(endpoint, n) });
  for (let position = settledBy(n - 1) + 1; position <= settledBy(n); position++)
    changes.push({ type: "settled", clientId, position });
  if (n > receivedAtOnce) changes.push({ type: "receive-completed", clientId, packetIdentifier: n - receivedAtOnce });
  return changes;
}

/** The first so many messages are no longer owed once batch `n` is committed. */
function settledBy(n: number): number {
  const wave = Math.floor(n / waveBatches);
  return wave * waveBatches + Math.max(0, 2 * (n % waveBatches) - waveBatches);
}

function payload(n: number): Buffer {
  return Buffer.alloc(1 + ((n * 7919) % (2 * payloadBytes)), `${n} `);
}

function delivery(endpoint: string, n: number): OwedDelivery {
  return {
    deliveryId: `${endpoint}${n}`,
    endpoint,
    event: "on_message_publish",
    orderKey: "publisher",
    body: Buffer.from(`{"n":${n},"filling":"${"-".repeat(n % 300)}"}`),
    acceptedAt: n,
    expiresAt: undefined,
    head: n % 3 === 0 ? `{"n":${n}}` : "",
  };
}

/** The last batch that is in the store, which says what else must be. 0: none. */
export function lastBatch({ retained }: StoredState): number {
  return retained.get(topicName) ?? 0;
}

/** All that an endpoint is owed. */
export function owedTo(store: Engine, endpoint: string): StoredDelivery[] {
  return store.owedBehind(endpoint, 0, { countMax: 1_000_000, bytesMax: 2 ** 40 }).deliveries;
}

/** What is not as it must be after batches 1 to `n`, and no other. */
export function differences(store: Engine, state: StoredState, n: number): string[] {
  const owed = endpoints.flatMap((endpoint) => owedTo(store, endpoint)).sort((a, b) => a.position - b.position);
  const session = state.sessions[0];
  const queue = range(settledBy(n) + 1, n);
  const messages = n === 0 ? [] : [...new Set([...queue, n])];
  const deliveries = range(1, n).flatMap((k) => endpoints.map((endpoint) => delivery(endpoint, k)));
  const found: (readonly [string, boolean])[] = [
    ["sessions", state.sessions.length === Math.min(n, 1)],
    ["queue", same(session?.queue.map(({ position }) => position) ?? [], queue)],
    [
      "received",
      same(
        [...(session?.received ?? [])].sort((a, b) => a - b),
        range(Math.max(1, n - receivedAtOnce + 1), n),
      ),
    ],
    [
      "messages",
      same(
        [...state.messages.keys()].sort((a, b) => a - b),
        messages,
      ),
    ],
    ["payloads", [...state.messages].every(([id, message]) => payload(id).equals(message.payload))],
    [
      "deliveries",
      same(
        owed.map(({ owed: { deliveryId } }) => deliveryId),
        deliveries.map(({ deliveryId }) => deliveryId),
      ),
    ],
    [
      "bodies",
      owed.every(({ owed: { body } }, i) => Buffer.compare(body, deliveries[i]?.body ?? Buffer.alloc(0)) === 0),
    ],
  ];
  return found.filter(([, isSo]) => !isSo).map(([what]) => `${what} are not those of batches 1 to ${n}`);
}

function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
}

function same<Item>(one: readonly Item[], other: readonly Item[]): boolean {
  return one.length === other.length && one.every((item, i) => item === other[i]);
}
