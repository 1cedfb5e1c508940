/** Each event at its moment: what real clients do, as an endpoint with a rule for everything is owed it. */
import assert from "node:assert/strict";
import { afterEach, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import type { Connect } from "../../src/mqtt/packet.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import type { EventName, RuleOptions } from "../../src/webhook/options.ts";
import { endpointOptions } from "../../src/webhook/fake-endpoint.ts";
import { eventNames } from "../../src/webhook/options.ts";
import { Outbox } from "../../src/webhook/outbox.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient, textOf } from "../support/client.ts";
import { until } from "../support/until.ts";

let store: MemoryStore;
let server: TestBroker;

afterEach(() => server.close());

async function start(events: readonly EventName[] = eventNames): Promise<void> {
  const rules = events.map((event): RuleOptions => ({ event, topicFilters: [] }));
  const options = { endpoints: [endpointOptions({ rules })] };
  const outbox = new Outbox({ options, clock: systemClock, random: Math.random });
  store = new MemoryStore();
  server = await startBroker({ queuedMessagesMax: 2 }, { store, taps: [outbox] });
}

/** All that is owed so far, as `action who what`. */
function told(): string[] {
  const { deliveries } = store.owedBehind("default", 0, { countMax: 1000, bytesMax: 1e9 });
  return deliveries.map(({ owed }) => {
    const { action, clientid, from_client_id, ...body } = JSON.parse(Buffer.from(owed.body).toString());
    const what = [body.conn_ack, body.reason, body.topic, body.payload].filter((part) => part !== undefined);
    return [action, clientid ?? from_client_id, ...what].join(" ");
  });
}

/** Nothing is said of the events named. */
const but = (...actions: string[]) => told().filter((line) => !actions.some((action) => line.startsWith(action)));

const connect = (clientId: string, more: Partial<Connect> = {}) =>
  TestClient.connect(server.port, { clientId, ...more });

test("a client's life, from CONNECT to the end of its session", async () => {
  await start();
  const client = await connect("c");
  await client.subscribe("a/#", { qos: 1 });
  await client.subscribe("bad/#/filter");
  await client.unsubscribe("a/#", "never/was");
  await client.disconnect();
  await server.gone("c");
  assert.deepEqual(told(), [
    "client_connect c",
    "client_connack c success",
    "client_connected c",
    "client_subscribe c a/#",
    "session_subscribed c a/#",
    "client_subscribe c bad/#/filter",
    "client_unsubscribe c a/#",
    "session_unsubscribed c a/#",
    "client_unsubscribe c never/was",
    "client_disconnected c normal",
    "session_terminated c normal",
  ]);
});

test("a refused client is heard of twice, and never connected", async () => {
  await start();
  const client = await TestClient.open(server.port);
  await client.request({ clientId: "c", properties: { authenticationMethod: "x" } });
  await client.closed();
  assert.deepEqual(told(), ["client_connect c", "client_connack c bad_authentication_method"]);
});

test("a session that lasts ends later, when its time is over or its client begins anew", async () => {
  await start(["on_session_terminated"]);
  const lasting = { properties: { sessionExpiryInterval: 100 } };
  const first = await connect("c", lasting);
  await first.disconnect();
  assert.deepEqual(told(), []);
  await connect("c", { cleanStart: true, ...lasting });
  await until(() => told().length > 0, "the session has ended");
  assert.deepEqual(told(), ["session_terminated c discarded"]);
});

for (const qos of [0, 1, 2] as const) {
  test(`a message of QoS ${qos} on its way`, async () => {
    await start();
    const subscriber = await connect("sub");
    await subscriber.subscribe("a", { qos });
    const publisher = await connect("pub");
    await publisher.publish("a", "hello", { qos });
    assert.equal(textOf(await subscriber.receive()), "hello");
    await subscriber.roundTrip();
    assert.deepEqual(but("client", "session"), [
      "message_publish pub a hello",
      "message_delivered sub a hello",
      ...(qos > 0 ? ["message_acked sub a hello"] : []),
    ]);
  });
}

test("a message for a session that lasts is delivered once, when it is sent", async () => {
  await start(["on_message_delivered", "on_message_acked"]);
  const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const away = await connect("sub", lasting);
  await away.subscribe("a", { qos: 1 });
  await away.disconnect();
  await server.gone("sub");
  const publisher = await connect("pub");
  await publisher.publish("a", "hello", { qos: 1 });
  assert.deepEqual(told(), []);
  const silent = await connect("sub", lasting);
  await silent.expect("publish");
  silent.destroy();
  await server.gone("sub");
  assert.deepEqual(told(), ["message_delivered sub a hello"]);
  const back = await connect("sub", lasting);
  await back.receive();
  await back.roundTrip();
  assert.deepEqual(told(), ["message_delivered sub a hello", "message_acked sub a hello"]);
});

test("what becomes of messages that reach nobody", async () => {
  await start(["on_message_dropped"]);
  const publisher = await connect("pub");
  await publisher.publish("a", "for nobody");
  const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const away = await connect("sub", lasting);
  await away.subscribe("a", { qos: 1 });
  await away.disconnect();
  await server.gone("sub");
  for (const text of ["1", "2", "3"]) await publisher.publish("a", text, { qos: 1 });
  await connect("sub", { cleanStart: true });
  const picky = await connect("picky");
  await picky.subscribe("a", { qos: 1 });
  await publisher.publish("a", "refused", { qos: 1 });
  const { packetIdentifier } = (await picky.expect("publish")) as { packetIdentifier: number };
  picky.send({ type: "puback", packetIdentifier, reasonCode: 0x97 });
  await picky.roundTrip();
  assert.deepEqual(told(), [
    "message_dropped undefined no_subscribers a for nobody",
    "message_dropped sub queue_full a 1",
    "message_dropped sub session_ended a 2",
    "message_dropped sub session_ended a 3",
    "message_dropped picky refused_by_receiver a refused",
  ]);
});

test("a message too large for a subscriber, and one that is too old for it, are dropped", async () => {
  await start(["on_message_dropped"]);
  const small = await connect("small", { properties: { maximumPacketSize: 60 } });
  await small.subscribe("a", { qos: 1 });
  const publisher = await connect("pub");
  const payload = "x".repeat(100);
  await publisher.publish("a", payload, { qos: 1 });
  assert.deepEqual(told(), [`message_dropped small too_large a ${payload}`]);
});

test("a rule without a topic hears nothing of the broker's own messages on $SYS", async () => {
  await start();
  const subscriber = await connect("sub");
  await subscriber.subscribe("$SYS/#");
  await connect("c");
  await subscriber.expect("publish");
  assert.deepEqual(but("client", "session"), []);
});
