import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import type { Packet } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";
import { until } from "../../support/until.ts";

let clock: FakeClock;
let broker: TestBroker;
const start = async (options: Partial<BrokerOptions> = {}) => {
  clock = new FakeClock();
  broker = await startBroker(options, { clock });
};
beforeEach(() => start());
afterEach(() => broker.close());

/** Asked of the broker itself: a packet to find out would be a sign of life. */
const isConnected = ({ clientId }: TestClient) => broker.broker.sessions.get(clientId)?.connection !== undefined;

/** Silent for just as long as allowed, then for up to a second more. */
async function closesAfter(client: TestClient, silenceMs: number): Promise<void> {
  clock.advance(silenceMs);
  assert.equal(isConnected(client), true, `still connected after ${silenceMs} ms`);
  clock.advance(1000);
  assert.equal(isConnected(client), false, `closed after ${silenceMs + 1000} ms`);
  assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.keepAliveTimeout);
  await client.closed();
}

test("a client silent for one and a half times its Keep Alive is told 0x8D and closed, to the second [MQTT5 3.1.2-22]", async () => {
  const client = await TestClient.connect(broker.port, { keepAliveSeconds: 10 });
  await closesAfter(client, 15_000);
});

test("the longest Keep Alive there is holds as well", async () => {
  const client = await TestClient.connect(broker.port, { keepAliveSeconds: 65_535 });
  await closesAfter(client, 98_302_500);
});

test("Keep Alive 0 lets a client be silent for ever [MQTT5 3.1.2.10]", async () => {
  const client = await TestClient.connect(broker.port, { keepAliveSeconds: 0 });
  clock.advance(7 * 24 * 3600 * 1000);
  await client.nothing();
});

describe("every packet is a sign of life", () => {
  for (const packet of [
    { type: "pingreq" },
    { type: "publish", topicName: "t", payload: new Uint8Array(), retain: false, qos: 0 },
    { type: "puback", packetIdentifier: 77, reasonCode: 0 },
    { type: "unsubscribe", packetIdentifier: 1, topicFilters: ["t"] },
  ] as const satisfies Packet[]) {
    test(`${packet.type.toUpperCase()} too [MQTT5 3.1.2-22]`, async () => {
      const client = await TestClient.connect(broker.port, { keepAliveSeconds: 10 });
      const connection = broker.broker.sessions.get(client.clientId)?.connection;
      clock.advance(14_000);
      client.send(packet);
      // Only when the broker has heard it does the time run anew.
      await until(() => connection?.lastHeardAt === 14_000, "the packet was heard");
      clock.advance(14_000);
      assert.equal(isConnected(client), true);
    });
  }
});

test("what the server sends is no sign of life", async () => {
  const client = await TestClient.connect(broker.port, { keepAliveSeconds: 10 });
  await client.subscribe("t");
  const other = await TestClient.connect(broker.port);
  clock.advance(14_000);
  await other.publish("t", "x");
  clock.advance(2_000);
  assert.equal(isConnected(client), false);
});

describe("Server Keep Alive", () => {
  for (const [asked, granted] of [
    [60, 20],
    [0, 20],
    [20, undefined],
    [5, undefined],
  ] as const) {
    const answer = granted === undefined ? "is left as it is" : `becomes ${granted}`;
    test(`a Keep Alive of ${asked} ${answer} where 20 is the most [MQTT5 3.1.2-21] [MQTT5 3.2.2-21] [MQTT5 3.2.2-22]`, async () => {
      await broker.close();
      await start({ keepAliveSecondsMax: 20 });
      const client = await TestClient.connect(broker.port, { keepAliveSeconds: asked });
      assert.equal(client.connack.properties?.serverKeepAlive, granted);
      await closesAfter(client, (granted ?? asked) * 1500);
    });
  }
});

test("the operator may set another factor than one and a half", async () => {
  await broker.close();
  await start({ keepAliveMultiplier: 3 });
  const client = await TestClient.connect(broker.port, { keepAliveSeconds: 10 });
  await closesAfter(client, 30_000);
});

test("who connects and says nothing is closed within a reasonable time [MQTT5 3.1.4]", async () => {
  const mute = await TestClient.open(broker.port);
  const slow = await TestClient.open(broker.port);
  slow.sendBytes("10 0d 00");
  const bystander = await TestClient.connect(broker.port);
  await bystander.nothing();
  clock.advance(11_000);
  await mute.closed();
  await slow.closed();
  assert.deepEqual([...mute.unread, ...slow.unread], []);
  await bystander.nothing();
});
