/** More of everything than anyone needs: each thing that a client can make grow has an end. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "vitest";
import { routesMax, subscriptionsPerSessionMax, topicLevelsMax } from "../../src/broker/limits.ts";
import type { SubscriptionRequest } from "../../src/mqtt/packet.ts";
import { encodePacket } from "../../src/mqtt/codec.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { until } from "../support/until.ts";
import { bytesInUse, undisturbed } from "./undisturbed.ts";

let server: TestBroker;
beforeEach(async () => {
  server = await startBroker();
});
afterEach(() => server.close());

const mebibyte = 1024 * 1024;
const request = (topicFilter: string): SubscriptionRequest => ({
  topicFilter,
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
});

test("one QoS 2 identifier over and over is one message, and one entry [mosquitto CVE-2023-28366]", async () => {
  await undisturbed(server, async () => {
    const watcher = await TestClient.connect(server.port);
    await watcher.subscribe("qos2", { qos: 2 });
    const client = await TestClient.connect(server.port, { clientId: "repeats", protocolVersion: 4 });
    for (let i = 0; i < 5000; i++) client.sendPublish("qos2", "x", { qos: 2, packetIdentifier: 7, dup: i > 0 });
    await client.roundTrip();
    assert.equal(client.unread.length, 5000);
    assert.equal(server.broker.sessions.get("repeats")?.received?.size, 1);
    await watcher.receive();
    await watcher.nothing();
    client.destroy();
    watcher.destroy();
  });
});

test("QoS 2 without PUBREL: 3.1.1 may use every identifier there is, and holds no more than those [nanomq#84]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port, { clientId: "never", protocolVersion: 4 });
    const before = bytesInUse();
    for (let from = 1; from <= 65_535; from += 5000) {
      const packets: Buffer[] = [];
      for (let packetIdentifier = from; packetIdentifier < Math.min(from + 5000, 65_536); packetIdentifier++) {
        const payload = new Uint8Array(100);
        packets.push(
          encodePacket(4, {
            type: "publish",
            topicName: "never",
            payload,
            retain: false,
            qos: 2,
            dup: false,
            packetIdentifier,
          }),
        );
      }
      client.sendBytes(Buffer.concat(packets));
      await client.roundTrip();
    }
    assert.equal(server.broker.sessions.get("never")?.received?.size, 65_535);
    assert.equal(client.unread.length, 65_535);
    assert.ok(bytesInUse() - before < 64 * mebibyte);
    client.destroy();
  });
});

test("QoS 2 without PUBREL: 5.0 is cut off beyond Receive Maximum [nanomq#84] [MQTT5 3.3.4-9]", async () => {
  const own = await startBroker({ receiveMaximum: 100 });
  await undisturbed(own, async () => {
    const client = await TestClient.connect(own.port, { clientId: "never" });
    for (let i = 1; i <= 101; i++) client.sendPublish("never", "x", { qos: 2, packetIdentifier: i });
    await client.closed();
    const last = client.unread.at(-1);
    assert.ok(last?.type === "disconnect" && last.reasonCode === 0x93);
    assert.equal(client.unread.filter(({ type }) => type === "pubrec").length, 100);
  });
  await own.close();
});

test("PUBREL, PUBREC, PUBCOMP and PUBACK for nothing, in any order, are answered and leave nothing [nanomq#84]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port, { clientId: "stray" });
    for (let i = 1; i <= 2000; i++) {
      client.send({ type: "pubrel", packetIdentifier: i, reasonCode: 0 });
      client.send({ type: "pubrec", packetIdentifier: i, reasonCode: 0 });
      client.send({ type: "pubcomp", packetIdentifier: i, reasonCode: 0 });
      client.send({ type: "puback", packetIdentifier: i, reasonCode: 0 });
    }
    await client.roundTrip();
    assert.equal(client.unread.length, 4000);
    for (const packet of client.unread) assert.equal("reasonCode" in packet && packet.reasonCode, 0x92);
    assert.equal(server.broker.sessions.get("stray")?.inflight.count, 0);
    client.destroy();
  });
});

test("very many user properties take their time and no more: in CONNECT, PUBLISH and SUBSCRIBE [mosquitto CVE-2021-41039]", async () => {
  await undisturbed(server, async () => {
    const userProperties = Array.from({ length: 20_000 }, (_, i) => [`name${i % 10}`, String(i)] as const);
    const properties = { userProperties };
    const will = { topicName: "w", payload: new Uint8Array(), qos: 0, retain: false, properties } as const;
    const watcher = await TestClient.connect(server.port);
    await watcher.subscribe("properties");
    const client = await TestClient.connect(server.port, { properties });
    for (let i = 0; i < 10; i++) await client.publish("properties", "x", { properties });
    for (let i = 0; i < 10; i++) assert.deepEqual((await watcher.receive()).properties?.userProperties, userProperties);
    client.send({ type: "subscribe", packetIdentifier: 1, subscriptions: [request("p")], properties });
    await client.expect("suback");
    // Its own properties and those of its will do not fit what a CONNECT may have.
    const greedy = await TestClient.open(server.port);
    greedy.send({
      type: "connect",
      protocolVersion: 5,
      cleanStart: true,
      keepAliveSeconds: 0,
      clientId: "g",
      properties,
      will,
    });
    await greedy.closed();
    client.destroy();
    watcher.destroy();
  });
});

test("subscribing and unsubscribing without end, while others publish there [NanoMQ CVE-2025-59946, CVE-2026-22040]", async () => {
  await undisturbed(server, async () => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => TestClient.connect(server.port)));
    const filters = ["storm/a", "storm/+", "storm/#", "#", "$share/g/storm/a", "$share/g/storm/+"];
    for (let round = 0; round < 30; round++) {
      for (const client of clients) {
        client.send({ type: "subscribe", packetIdentifier: 1, subscriptions: filters.map(request) });
        client.sendPublish("storm/a", "x", { qos: 1, packetIdentifier: 2 });
        client.send({ type: "unsubscribe", packetIdentifier: 3, topicFilters: filters.toReversed() });
        client.sendPublish("storm/a", "y");
      }
    }
    await Promise.all(clients.map((client) => client.roundTrip()));
    await until(() => server.broker.subscriptions.count === 1, "only the listener's subscription is left");
    for (const client of clients) {
      assert.equal(client.unread.filter(({ type }) => type === "suback").length, 30);
      assert.equal(client.unread.filter(({ type }) => type === "unsuback").length, 30);
      assert.equal(client.unread.filter(({ type }) => type === "puback").length, 30);
      client.destroy();
    }
  });
});

test("shared and plain subscriptions to one filter go one by one [mosquitto 2.0.18 to 2.0.21]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    const filters = ["mix/a", "$share/a/mix/a", "$share/b/mix/a", "$share/a/mix/+", "mix/+", "$share/a/mix/#"];
    for (let first = 0; first < filters.length; first++) {
      const order = filters.map((_, i) => filters[(first + i) % filters.length]);
      for (const filter of order) await client.subscribe(filter);
      for (let left = order.length; left > 0; left--) {
        await client.publish("mix/a", "x");
        // All plain subscriptions give it once, each share group once.
        const rest = order.slice(order.length - left);
        const plain = rest.some((filter) => !filter.startsWith("$share"));
        assert.equal(
          client.unread.length,
          rest.filter((filter) => filter.startsWith("$share")).length + (plain ? 1 : 0),
        );
        while (client.unread.length > 0) await client.receive();
        await client.unsubscribe(rest[0]);
      }
      await client.publish("mix/a", "x");
      await client.nothing();
    }
    client.destroy();
  });
});

test("100,000 topics are routed and not all remembered [NanoMQ flood]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port, { protocolVersion: 4 });
    const before = bytesInUse();
    for (let from = 0; from < 100_000; from += 10_000) {
      const packets: Buffer[] = [];
      for (let i = from; i < from + 10_000; i++) {
        const topicName = `flood/${"x".repeat(200)}/${i}`;
        packets.push(encodePacket(4, { type: "publish", topicName, payload: new Uint8Array(), retain: false, qos: 0 }));
      }
      client.sendBytes(Buffer.concat(packets));
      await client.roundTrip();
    }
    assert.ok(bytesInUse() - before < 1500 * routesMax, "a remembered route takes no more than 1,500 bytes");
    client.destroy();
  });
});

test("topics and filters deeper than any need are refused, 65,535 slashes too", async () => {
  await undisturbed(server, async () => {
    const deepest = "/".repeat(topicLevelsMax - 1);
    for (const topicFilter of [
      `${deepest}/`,
      "/".repeat(32_768),
      "/".repeat(65_535),
      `${deepest}/#`,
      `$share/g/${deepest}/`,
    ]) {
      const client = await TestClient.connect(server.port);
      assert.deepEqual((await client.subscribe(topicFilter)).reasonCodes, [0x8f]);
      client.destroy();
    }
    for (const topicName of [`${deepest}/`, "/".repeat(32_768), "/".repeat(65_535)]) {
      const client = await TestClient.connect(server.port);
      client.sendPublish(topicName, "x", { retain: true });
      const disconnect = await client.expect("disconnect");
      assert.equal(disconnect.reasonCode, 0x90);
      await client.closed();
    }
    const client = await TestClient.connect(server.port);
    await client.subscribe(deepest);
    await client.publish(deepest, "x", { retain: true });
    assert.equal((await client.receive()).topicName, deepest);
    await client.publish(deepest, "", { retain: true });
    client.destroy();
  });
});

test("a will too deep to be published harms nobody when it is due", async () => {
  await undisturbed(server, async () => {
    const will = { topicName: "/".repeat(65_535), payload: new Uint8Array(65_535), qos: 2, retain: true } as const;
    const client = await TestClient.open(server.port);
    await client.request({ clientId: "deep will", will, protocolVersion: 4 });
    client.destroy();
    await server.gone("deep will");
  });
});

test("one session subscribes so much and no more, and gets it back by unsubscribing", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    const granted: number[] = [];
    const size = 1000;
    for (let from = 0; from <= subscriptionsPerSessionMax; from += size) {
      const subscriptions = Array.from({ length: size }, (_, i) => request(`quota/${from + i}`));
      client.send({ type: "subscribe", packetIdentifier: 1, subscriptions });
      granted.push(...(await client.expect("suback")).reasonCodes);
    }
    assert.equal(granted.indexOf(0x97), subscriptionsPerSessionMax);
    assert.deepEqual(new Set(granted.slice(subscriptionsPerSessionMax)), new Set([0x97]));
    // Replacing one of its own is no further one.
    assert.deepEqual((await client.subscribe("quota/0", { qos: 1 })).reasonCodes, [1]);
    await client.unsubscribe("quota/0", "quota/1");
    assert.deepEqual((await client.subscribe("more/0")).reasonCodes, [0]);
    client.destroy();
  });
});

test("asking for retained messages faster than taking them ends; what is asked for costs no list", async () => {
  await undisturbed(server, async () => {
    const publisher = await TestClient.connect(server.port);
    for (let i = 0; i < 5000; i++) publisher.sendPublish(`kept/${i}`, "x".repeat(100), { retain: true });
    await publisher.roundTrip();
    const before = bytesInUse();
    const client = await TestClient.connect(server.port, { clientId: "asks" });
    for (let i = 0; i < 10_001; i += 1)
      client.send({ type: "subscribe", packetIdentifier: 1, subscriptions: [request("#")] });
    await client.closed();
    assert.ok(bytesInUse() - before < 64 * mebibyte);
    for (let i = 0; i < 5000; i++) publisher.sendPublish(`kept/${i}`, "", { retain: true });
    await publisher.roundTrip();
    publisher.destroy();
  });
});

test("retained topics that come and go leave no trace [FlashMQ CVE-2024-42644, CVE-2024-42645, CVE-2026-42209]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    const names = ["a", "a/b", "a/b/c", "a//c", "/", "//", "a/b/c/d/e/f/g", "z"];
    for (let round = 0; round < 200; round++) {
      for (const name of names) client.sendPublish(name, "x", { retain: true });
      const shift = round % names.length;
      for (let i = 0; i < names.length; i++)
        client.sendPublish(names[(i * 3 + shift) % names.length], "", { retain: true });
      // Clearing what is clear already.
      client.sendPublish("a/b", "", { retain: true });
      client.sendPublish("a/b/c/d", "", { retain: true });
    }
    await client.roundTrip();
    assert.equal(server.broker.retained.count, 0);
    assert.equal(server.broker.retained.bytes, 0);
    client.destroy();
  });
});

test("a subscriber that walks through the retained topics while they are cleared gets what is there [FlashMQ CVE-2024-42644]", async () => {
  await undisturbed(server, async () => {
    const publisher = await TestClient.connect(server.port);
    for (let i = 0; i < 1000; i++) publisher.sendPublish(`gone/${i % 10}/${i}`, String(i), { retain: true });
    await publisher.roundTrip();
    const subscriber = await TestClient.connect(server.port);
    subscriber.send({ type: "subscribe", packetIdentifier: 1, subscriptions: [request("gone/#")] });
    for (let i = 0; i < 1000; i++) publisher.sendPublish(`gone/${i % 10}/${i}`, "", { retain: true });
    await publisher.roundTrip();
    await subscriber.expect("suback");
    await subscriber.roundTrip();
    for (const packet of subscriber.unread) {
      assert.ok(packet.type === "publish");
      // Kept ones as they were, clearings as they came.
      assert.equal(packet.retain, packet.payload.length > 0);
    }
    publisher.destroy();
    subscriber.destroy();
  });
});

test("Topic Aliases: as many as announced, each as often as one likes, none beyond [MQTT5 3.3.2-9]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port);
    const watcher = await TestClient.connect(server.port);
    await watcher.subscribe("alias/#");
    for (let i = 0; i < 2000; i++) client.sendPublish(`alias/${i}`, "x", { properties: { topicAlias: (i % 16) + 1 } });
    for (let alias = 1; alias <= 16; alias++) client.sendPublish("", "by alias", { properties: { topicAlias: alias } });
    await client.roundTrip();
    await watcher.roundTrip();
    const last = watcher.unread.slice(-16).map((packet) => packet.type === "publish" && packet.topicName);
    assert.deepEqual(
      last,
      Array.from({ length: 16 }, (_, i) => `alias/${1984 + i}`),
    );
    client.sendPublish("alias/x", "x", { properties: { topicAlias: 17 } });
    assert.equal((await client.expect("disconnect")).reasonCode, 0x94);
    watcher.destroy();
  });
});
