/** `$SYS/brokers/…`: the broker's own figures, and who comes and goes. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "vitest";
import { FakeClock } from "../../../src/base/fake-clock.ts";
import type { ConnectProperties } from "../../../src/mqtt/packet.ts";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let clock: FakeClock;
let broker: TestBroker;
beforeEach(async () => {
  clock = new FakeClock(1_795_455_649_401);
  broker = await startBroker({ version: "4.5.6", sysIntervalSeconds: 10 }, { clock });
});
afterEach(() => broker.close());

async function figure(name: string): Promise<string> {
  const client = await TestClient.connect(broker.port);
  await client.subscribe(`$SYS/brokers/${name}`);
  const text = textOf(await client.receive());
  await client.disconnect();
  return text;
}

describe("figures", () => {
  test("are retained, so that who asks hears them at once", async () => {
    assert.equal(await figure("version"), "4.5.6");
    assert.equal(await figure("uptime"), "0");
  });

  test("are published anew at every interval", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("$SYS/brokers/uptime", { retainHandling: 2 });
    for (const uptime of ["10", "20", "30"]) {
      clock.advance(10_000);
      assert.equal(textOf(await client.receive()), uptime);
    }
  });

  test("count clients, subscriptions and messages", async () => {
    const one = await TestClient.connect(broker.port);
    await one.subscribe("counted/#");
    const two = await TestClient.connect(broker.port, { clientId: "two", properties: { sessionExpiryInterval: 100 } });
    for (let i = 0; i < 5; i++) await two.publish("counted/x", "x");
    await one.receiveTexts(5);
    await two.disconnect();
    clock.advance(10_000);
    assert.equal(await figure("clients/connected"), "1");
    assert.equal(await figure("clients/total"), "2");
    assert.equal(await figure("subscriptions/count"), "1");
    assert.equal(await figure("messages/received"), "5");
    assert.ok(Number(await figure("messages/sent")) >= 5);
    assert.ok(Number(await figure("bytes/received")) > 0);
    assert.ok(Number(await figure("bytes/sent")) > 0);
  });

  test("stay out of subscriptions that begin with a wildcard [MQTT5 4.7.2-1]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("#");
    await client.subscribe("+/brokers/#");
    clock.advance(10_000);
    await client.nothing();
  });

  test("are the broker's alone to publish [MQTT5 4.7.2]", async () => {
    const client = await TestClient.connect(broker.port);
    const code = await client.publish("$SYS/brokers/version", "mine", { qos: 1, retain: true });
    assert.equal(code, ReasonCode.notAuthorized);
    assert.equal(await figure("version"), "4.5.6");
  });

  test("are not published at all with an interval of 0", async () => {
    await broker.close();
    broker = await startBroker({ sysIntervalSeconds: 0 }, { clock });
    const client = await TestClient.connect(broker.port);
    await client.subscribe("$SYS/#");
    clock.advance(100_000);
    await client.nothing();
  });
});

describe("presence", () => {
  const topicOf = (clientId: string) => `$SYS/brokers/client_status/${clientId}`;

  async function watch(clientId: string): Promise<{ next(): Promise<Record<string, unknown>>; watcher: TestClient }> {
    const watcher = await TestClient.connect(broker.port);
    await watcher.subscribe(topicOf(clientId));
    return { watcher, next: async () => JSON.parse(textOf(await watcher.receive())) };
  }

  const online = {
    status: "online",
    username: "(null)",
    ts: 1_795_455_649_401,
    proto_name: "MQTT",
    keepalive: 60,
    return_code: "0",
    proto_ver: 5,
    client_id: "c1",
    clean_start: 1,
    IPv4: "127.0.0.1",
  };

  test("says online with who, how and when", async () => {
    const { next } = await watch("c1");
    await TestClient.connect(broker.port, { clientId: "c1", keepAliveSeconds: 60 });
    assert.deepEqual(await next(), online);
  });

  for (const [protocolVersion, expected] of [
    [4, { proto_ver: 4, proto_name: "MQTT" }],
    [3, { proto_ver: 3, proto_name: "MQIsdp" }],
  ] as const) {
    test(`names protocol version ${protocolVersion}, the user and Clean Session 0`, async () => {
      const { next } = await watch("c1");
      const connect = { clientId: "c1", keepAliveSeconds: 60, protocolVersion, cleanStart: false, userName: "user1" };
      await TestClient.connect(broker.port, connect);
      assert.deepEqual(await next(), { ...online, ...expected, username: "user1", clean_start: 0 });
    });
  }

  for (const [how, reasonCode, leave] of [
    ["with DISCONNECT", "0", (client) => client.send({ type: "disconnect", reasonCode: 0 })],
    ["with DISCONNECT 0x04", "4", (client) => client.send({ type: "disconnect", reasonCode: 4 })],
    ["without a word", "8b", (client) => client.destroy()],
    ["silently, past its keep alive", "8d", () => clock.advance(91_000)],
    ["with a malformed packet", "81", (client) => client.sendBytes("f1 00")],
  ] as const satisfies [string, string, (client: TestClient) => void][]) {
    test(`says offline with reason ${reasonCode} of who goes ${how}`, async () => {
      const { next } = await watch("c1");
      const client = await TestClient.connect(broker.port, { clientId: "c1", keepAliveSeconds: 60 });
      await next();
      leave(client);
      const offline = await next();
      assert.ok(typeof offline.ts === "number" && offline.ts >= online.ts);
      assert.deepEqual(
        { ...offline, ts: 0 },
        { status: "offline", username: "(null)", ts: 0, reason_code: reasonCode, client_id: "c1", IPv4: "127.0.0.1" },
      );
    });
  }

  test("says offline with 8e, then online, when another connection takes over", async () => {
    const { next } = await watch("c1");
    for (const expected of [["online"], ["offline", "online"]]) {
      await TestClient.connect(broker.port, { clientId: "c1" });
      for (const status of expected) {
        const said = await next();
        assert.equal(said.status, status);
        if (status === "offline") assert.equal(said.reason_code, "8e");
      }
    }
  });

  test("says offline also of who has a session that lasts", async () => {
    const { next } = await watch("c1");
    const properties: ConnectProperties = { sessionExpiryInterval: 1000 };
    const client = await TestClient.connect(broker.port, { clientId: "c1", properties });
    await next();
    await client.disconnect();
    assert.equal((await next()).status, "offline");
  });

  test("is valid JSON whatever a client is called, and not cut off", async () => {
    for (const clientId of ['"quoted\\"', "line\nbreak", "ü𝄞", "x".repeat(1000)]) {
      const { next } = await watch(clientId);
      await TestClient.connect(broker.port, { clientId, userName: clientId });
      const said = await next();
      assert.equal(said.client_id, clientId);
      assert.equal(said.username, clientId);
    }
  });

  test("goes at QoS 0 and is not retained", async () => {
    const { watcher } = await watch("c1");
    await TestClient.connect(broker.port, { clientId: "c1" });
    const publish = await watcher.receive();
    assert.equal(publish.qos, 0);
    const late = await TestClient.connect(broker.port);
    await late.subscribe(topicOf("c1"));
    await late.nothing();
  });

  test("of a client whose name has wildcards or slashes reaches who watches all", async () => {
    const watcher = await TestClient.connect(broker.port);
    await watcher.subscribe("$SYS/brokers/client_status/#");
    await watcher.roundTrip();
    await TestClient.connect(broker.port, { clientId: "a/b" });
    assert.equal((await watcher.receive()).topicName, topicOf("a/b"));
    // No topic name can hold it: there is no message, and no harm.
    const odd = await TestClient.connect(broker.port, { clientId: "a/#" });
    await odd.nothing();
    await watcher.nothing();
  });
});
