import assert from "node:assert/strict";
import { test } from "vitest";
import { FakeClock } from "../base/fake-clock.ts";
import type { ApplicationMessage } from "../broker/message.ts";
import type { ClientInfo } from "../broker/tap.ts";
import { Turn } from "../broker/turn.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Change, OwedDelivery } from "../store/change.ts";
import { readEventHead } from "./event-head.ts";
import { endpointOptions } from "./fake-endpoint.ts";
import { base62PayloadBytesMax, orderKeyLengthMax } from "./limits.ts";
import type { EndpointOptions, RuleOptions } from "./options.ts";
import { Outbox } from "./outbox.ts";

const everything: RuleOptions[] = [
  { event: "on_message_publish", topicFilters: ["a/#"] },
  { event: "on_message_publish", topicFilters: ["a/b"] },
  { event: "on_client_connack", topicFilters: [] },
  { event: "on_client_disconnected", topicFilters: [] },
];

const client: ClientInfo = {
  clientId: "c1",
  userName: undefined,
  protocolVersion: 5,
  keepAliveSeconds: 30,
  cleanStart: true,
  remoteAddress: "127.0.0.1",
  remotePort: 1,
};

const message: ApplicationMessage = {
  topicName: "a/b",
  payload: Buffer.from("hello"),
  qos: 0,
  retain: false,
  properties: new Uint8Array(0),
  acceptedAt: 1_700_000_000_123,
  expiresAt: 1_700_000_009_000,
  publisher: { clientId: "c1", userName: "u1" },
};

function setUp(endpoints: readonly EndpointOptions[]) {
  const clock = new FakeClock();
  const committed: Change[] = [];
  const store = {
    trouble: undefined,
    onTrouble: undefined,
    commit: (changes: readonly Change[]) => void committed.push(...changes),
    load: () => Promise.reject(new Error("not asked for here")),
    close: () => Promise.resolve(),
  };
  const turn = new Turn(store, () => {});
  const outbox = new Outbox({ options: { endpoints }, clock, random: () => 0.5 });
  const owed = (): OwedDelivery[] => {
    turn.end();
    return committed.flatMap((change) => (change.type === "delivery-owed" ? [change.delivery] : []));
  };
  return { clock, turn, outbox, owed };
}

test("a message is owed once to each endpoint that wants it, in the style it wants", () => {
  const { turn, outbox, owed } = setUp([
    endpointOptions({ name: "one", rules: everything }),
    endpointOptions({ name: "two", bodyEncoding: "base64", rules: everything }),
    endpointOptions({ name: "three", rules: [] }),
  ]);
  outbox.published(message, outbox.interest("a/b")!, turn);
  const [one, two, ...more] = owed();
  assert.deepEqual(more, []);
  assert.equal(one.endpoint, "one");
  assert.equal(two.endpoint, "two");
  assert.match(Buffer.from(one.body).toString(), /^\{"ts":1700000000123,"topic":"a\/b",.*"payload":"hello"\}$/);
  assert.match(Buffer.from(two.body).toString(), /"payload":"aGVsbG8="\}$/);
  for (const { event, orderKey, acceptedAt, expiresAt } of [one, two]) {
    assert.deepEqual([event, orderKey], ["on_message_publish", "c1"]);
    assert.deepEqual([acceptedAt, expiresAt], [message.acceptedAt, message.expiresAt]);
  }
  assert.match(one.deliveryId, /^evt_01HF7YAT3V[0-9A-Z]{16}$/);
  assert.notEqual(one.deliveryId, two.deliveryId);
});

test("client events are owed under their client's order key, at the present time", () => {
  const { clock, turn, outbox, owed } = setUp([endpointOptions({ rules: everything })]);
  clock.advance(77);
  outbox.connack(client, ReasonCode.success, turn);
  outbox.disconnected(client, "keepalive_timeout", ReasonCode.keepAliveTimeout, turn);
  const deliveries = owed();
  assert.deepEqual(
    deliveries.map(({ event, orderKey, acceptedAt }) => [event, orderKey, acceptedAt]),
    [
      ["on_client_connack", "c1", clock.now()],
      ["on_client_disconnected", "c1", clock.now()],
    ],
  );
  assert.match(Buffer.from(deliveries[1].body).toString(), /^\{"reason":"keepalive_timeout"/);
});

test("what nobody wants adds nothing to the turn", () => {
  const { turn, outbox } = setUp([endpointOptions({ rules: [{ event: "on_message_publish", topicFilters: ["x"] }] })]);
  outbox.connack(client, ReasonCode.success, turn);
  outbox.disconnected(client, "normal", ReasonCode.success, turn);
  assert.equal(outbox.interest("a/b"), undefined);
  assert.equal(turn.changeCount, 0);
});

test("a message too large for its encoding is owed without a body, for the dead letters", () => {
  const { turn, outbox, owed } = setUp([endpointOptions({ bodyEncoding: "base62", rules: everything })]);
  const payload = Buffer.alloc(base62PayloadBytesMax + 1);
  outbox.published({ ...message, payload }, outbox.interest("a/b")!, turn);
  assert.deepEqual(
    owed().map(({ body, head }) => [body.length, readEventHead(head)]),
    [[0, { refused: "payload_too_large_for_base62" }]],
  );
});

test("an endpoint that orders otherwise has other keys, which say of what they are", () => {
  const { turn, outbox, owed } = setUp(
    (["client", "topic", "endpoint", "none"] as const).map((orderBy) =>
      endpointOptions({ name: orderBy, orderBy, rules: everything }),
    ),
  );
  outbox.published(message, outbox.interest("a/b")!, turn);
  outbox.connack(client, ReasonCode.success, turn);
  const deliveries = owed();
  const keys = Map.groupBy(deliveries, ({ endpoint }) => endpoint);
  const of = (endpoint: string) => keys.get(endpoint)!.map(({ orderKey }) => orderKey);
  assert.deepEqual(of("client"), ["c1", "c1"]);
  assert.deepEqual(of("topic"), ["topic:a/b", "c1"]);
  assert.deepEqual(of("endpoint"), ["endpoint:", "endpoint:"]);
  const ids = keys.get("none")!.map(({ deliveryId }) => deliveryId);
  assert.deepEqual(of("none"), [`delivery:${ids[0]}`, `delivery:${ids[1]}`]);
});

test("a long client id or topic name has a digest for a key", () => {
  const topicName = `a/${"x".repeat(orderKeyLengthMax)}`;
  const publisher = { clientId: "c".repeat(orderKeyLengthMax + 1), userName: undefined };
  const { turn, outbox, owed } = setUp([
    endpointOptions({ name: "client", rules: everything }),
    endpointOptions({ name: "topic", orderBy: "topic", rules: everything }),
  ]);
  outbox.published({ ...message, topicName, publisher }, outbox.interest(topicName)!, turn);
  const [byClient, byTopic] = owed();
  assert.match(byClient.orderKey, /^[\w-]{43}$/);
  assert.match(byTopic.orderKey, /^topic:[\w-]{43}$/);
});

test("the fate of messages is followed for those who asked, and holds up no publisher", () => {
  const rules: RuleOptions[] = [{ event: "on_message_acked", topicFilters: ["a/#"] }];
  const { turn, outbox, owed } = setUp([endpointOptions({ rules })]);
  assert.equal(outbox.followsMessages(), true);
  assert.equal(outbox.fateInterest("b"), undefined);
  const interest = outbox.fateInterest("a/b")!;
  const receiver = { clientId: "sub", userName: undefined };
  outbox.delivered(message, receiver, interest, turn);
  outbox.acked(message, receiver, interest, turn);
  outbox.dropped(message, receiver, "queue_full", interest, turn);
  assert.equal(turn.awaitedCount, 0);
  assert.deepEqual(
    owed().map(({ event, orderKey }) => [event, orderKey]),
    [["on_message_acked", "sub"]],
  );
});

test("nobody follows messages whose fate no rule is about", () => {
  assert.equal(setUp([endpointOptions({ rules: everything })]).outbox.followsMessages(), false);
});

test("one event has one name: that of its first delivery", () => {
  const { turn, outbox, owed } = setUp([
    endpointOptions({ name: "edge", rules: everything }),
    endpointOptions({ name: "one", format: "cloudevents", rules: everything }),
    endpointOptions({ name: "two", format: "cloudevents", orderBy: "none", rules: everything }),
  ]);
  outbox.published(message, outbox.interest("a/b")!, turn);
  const [edge, ...others] = owed();
  assert.deepEqual(
    others.map(({ body }) => JSON.parse(Buffer.from(body).toString()).id),
    [edge.deliveryId, edge.deliveryId],
  );
});

test("by other rules from one event to the next", () => {
  const { outbox, turn, owed } = setUp([endpointOptions({ name: "old", rules: everything })]);
  outbox.connack(client, ReasonCode.success, turn);
  outbox.reconfigure({ endpoints: [endpointOptions({ name: "new", rules: everything })] });
  outbox.disconnected(client, "normal", 0, turn);
  outbox.published(message, outbox.interest("a/b")!, turn);
  assert.deepEqual(
    owed().map(({ endpoint, event }) => [endpoint, event]),
    [
      ["old", "on_client_connack"],
      ["new", "on_client_disconnected"],
      ["new", "on_message_publish"],
    ],
  );
});
