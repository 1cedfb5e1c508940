import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { BrokerChange as Change, OwedDelivery, StoredMessage, StoredSubscription } from "./change.ts";
import { ChangeEncoder, decodeChanges } from "./change-codec.ts";

const text = fc.string({ unit: "grapheme", maxLength: 60 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const count = fc.maxSafeNat();
const instant = fc.double({ noNaN: true });
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const);
const flag = fc.boolean();
const maybe = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });

const message: fc.Arbitrary<StoredMessage> = fc.record({
  topicName: text,
  payload: bytes,
  qos,
  retain: flag,
  properties: bytes,
  acceptedAt: instant,
  expiresAt: maybe(instant),
  publisherClientId: text,
  publisherUserName: maybe(text),
});
const subscription: fc.Arbitrary<StoredSubscription> = fc.record({
  topicFilter: text,
  qos,
  noLocal: flag,
  retainAsPublished: flag,
  retainHandling: qos,
  subscriptionIdentifier: maybe(fc.integer({ min: 1, max: 268_435_455 })),
});
const delivery: fc.Arbitrary<OwedDelivery> = fc.record({
  deliveryId: text,
  endpoint: text,
  event: text,
  orderKey: text,
  body: bytes,
  head: text,
  acceptedAt: instant,
  expiresAt: maybe(instant),
});

/** One arbitrary for each kind of Change: a new kind does not compile until it is here. */
const kinds: { [Type in Change["type"]]: fc.Arbitrary<Omit<Extract<Change, { type: Type }>, "type">> } = {
  "message-kept": fc.record({ messageId: count, message }),
  "session-opened": fc.record({ clientId: text, userName: maybe(text), expirySeconds: instant }),
  "session-disconnected": fc.record({ clientId: text, at: instant, expirySeconds: instant }),
  "session-ended": fc.record({ clientId: text }),
  subscribed: fc.record({ clientId: text, subscription }),
  unsubscribed: fc.record({ clientId: text, topicFilter: text }),
  queued: fc.record({
    clientId: text,
    position: count,
    messageId: count,
    qos: fc.constantFrom(1 as const, 2 as const),
    retain: flag,
    subscriptionIdentifiers: fc.array(count, { maxLength: 4 }),
    sharedFilter: maybe(text),
  }),
  sent: fc.record({ clientId: text, position: count, packetIdentifier: count }),
  released: fc.record({ clientId: text, position: count }),
  settled: fc.record({ clientId: text, position: count }),
  received: fc.record({ clientId: text, packetIdentifier: count }),
  "receive-completed": fc.record({ clientId: text, packetIdentifier: count }),
  retained: fc.record({ topicName: text, messageId: count }),
  "retained-cleared": fc.record({ topicName: text }),
  "will-set": fc.record({ clientId: text, messageId: count, delaySeconds: instant }),
  "will-due": fc.record({ clientId: text, at: instant }),
  "will-cleared": fc.record({ clientId: text }),
  "delivery-owed": fc.record({
    durability: fc.constantFrom("strict" as const, "disk" as const, "memory" as const),
    delivery,
  }),
};
const change: fc.Arbitrary<Change> = fc.oneof(
  ...Object.entries(kinds).map(([type, fields]) =>
    (fields as fc.Arbitrary<object>).map((values) => ({ type, ...values }) as Change),
  ),
);

test("a batch comes back as it was, whatever its Changes", () => {
  const encoder = new ChangeEncoder();
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      expect(decodeChanges(encoder.encode(changes))).toEqual(changes);
    }),
    { numRuns: 500 },
  );
});

test("a batch larger than the room to write in comes back whole, and the next one too", () => {
  const encoder = new ChangeEncoder();
  const large: Change[] = [9, 5_000_000, 70_000].map((length, position) => ({
    type: "delivery-owed",
    durability: "strict",
    delivery: {
      deliveryId: `evt_${position}`,
      endpoint: "default",
      event: "on_message_publish",
      orderKey: "ä".repeat(length),
      body: Buffer.alloc(length, position),
      acceptedAt: 1,
      expiresAt: undefined,
      head: "{}",
    },
  }));
  const small: Change[] = [{ type: "session-ended", clientId: "a" }];
  const decoded = decodeChanges(encoder.encode(large));
  // `toEqual` takes seconds for megabytes.
  expect(isDeepStrictEqual(decoded, large)).toBe(true);
  expect(decodeChanges(encoder.encode(small))).toEqual(small);
});

test("a batch cut off within a record is refused", () => {
  fc.assert(
    fc.property(change, fc.nat(), (one, seed) => {
      const batch = new ChangeEncoder().encode([one]);
      const cutAt = 1 + (seed % (batch.byteLength - 1));
      expect(() => decodeChanges(batch.slice(0, cutAt))).toThrow("not a batch of Changes");
    }),
  );
});

for (const [what, hex, because] of [
  ["the tag 0", "00", "tag 0"],
  ["an unknown tag", "7f", "tag 127"],
  ["QoS 3", "05016101610300", "3 where 0, 1 or 2 stands"],
  ["QoS 0 in a queue", "0701610101000000", "has QoS 0"],
  ["a flag that is neither 0 nor 1", "02016102", "2 where less than 2"],
  ["a durability there is not", "1203", "3 where less than 3"],
  ["a count over 53 bits", "0901618080808080808010", "over 53 bits"],
  ["a length beyond the end", "04ffffff7f", "ends within a record"],
] as const) {
  test(`${what} is refused`, () => {
    const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
    expect(() => decodeChanges(bytes.buffer)).toThrow(because);
  });
}
