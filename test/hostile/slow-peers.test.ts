/** Peers that do not take what is theirs, or take their time. What waits for them has an end; others do not wait. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "vitest";
import { FakeClock } from "../../src/base/fake-clock.ts";
import { outboxBytesMax, unreadAnswerBytesMax } from "../../src/broker/limits.ts";
import { encodePacket } from "../../src/mqtt/codec.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { until } from "../support/until.ts";
import { RawPeer } from "./raw-peer.ts";
import { bytesInUse, emptied, undisturbed } from "./undisturbed.ts";

let server: TestBroker;
beforeEach(async () => {
  server = await startBroker({ queuedMessagesMax: 100 });
});
afterEach(() => server.close());

const mebibyte = 1024 * 1024;
const subscribeTo = (topicFilter: string, qos: 0 | 1 | 2) =>
  ({
    type: "subscribe",
    packetIdentifier: 1,
    subscriptions: [{ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
  }) as const;

/** A subscriber that reads nothing any more. */
async function deafSubscriber(qos: 0 | 1 | 2, clientId = "deaf"): Promise<RawPeer> {
  const peer = await RawPeer.connect(server.port, { clientId });
  peer.send(subscribeTo("flood", qos));
  await until(() => server.broker.sessions.get(clientId)?.subscriptions.size === 1, "it has subscribed");
  return peer;
}

test("to a subscriber that never reads QoS 0 waits up to a bound, then is dropped and counted; a reading one gets all [aedes#1060] [NanoMQ CVE-2024-48077]", async () => {
  await undisturbed(server, async () => {
    const before = bytesInUse();
    const deaf = await deafSubscriber(0);
    const reader = await TestClient.connect(server.port, { clientId: "reader" });
    await reader.subscribe("flood");
    const publisher = await TestClient.connect(server.port);
    const payload = new Uint8Array(64 * 1024);
    const count = 3000;
    for (let sent = 0; sent < count; sent += 10) {
      for (let i = 0; i < 10; i++) publisher.sendPublish("flood", payload);
      await publisher.roundTrip();
      for (let i = 0; i < 10; i++) await reader.receive();
    }
    const { connection } = server.broker.sessions.get("deaf")!;
    const { dropped } = server.broker.figures;
    assert.ok(connection!.outbox.unread <= outboxBytesMax + 2 * payload.length);
    assert.ok(dropped.slowReader > 0);
    assert.ok(bytesInUse() - before < 3 * outboxBytesMax);
    // Once it reads again it gets what waited, and what comes from then on.
    const waiting = count - dropped.slowReader;
    await deaf.drain((bytes) => bytes >= waiting * payload.length);
    await until(() => !connection!.outbox.blocked, "it has caught up");
    const droppedBefore = dropped.slowReader;
    publisher.sendPublish("flood", payload);
    await publisher.roundTrip();
    assert.equal(dropped.slowReader, droppedBefore);
    for (const peer of [deaf, reader, publisher]) peer.destroy();
  });
});

test("to a subscriber that never reads QoS 1 waits in its queue, the oldest go beyond its limit, and memory returns with its end [aedes#1060]", async () => {
  await undisturbed(server, async () => {
    const deaf = await deafSubscriber(1);
    const publisher = await TestClient.connect(server.port);
    const payload = new Uint8Array(256 * 1024);
    for (let i = 0; i < 400; i++) await publisher.publish("flood", payload, { qos: 1 });
    const session = server.broker.sessions.get("deaf")!;
    assert.ok(session.connection!.outbox.unread <= outboxBytesMax + 2 * payload.length);
    assert.equal(session.queue.length, 100);
    assert.equal(session.queuedBytes, 100 * (payload.length + "flood".length));
    assert.equal(server.broker.queuedBytes, session.queuedBytes);
    const { queueFull } = server.broker.figures.dropped;
    assert.equal(queueFull, 400 - session.inflight.count - 100);
    deaf.destroy();
    publisher.destroy();
  });
  assert.equal(server.broker.queuedBytes, 0);
  assert.equal(server.broker.waitingBytes, 0);
});

test("QoS 1 that waited for a slow reader comes in order, nothing twice, once it reads", async () => {
  await undisturbed(server, async () => {
    const deaf = await deafSubscriber(1);
    const publisher = await TestClient.connect(server.port);
    const count = 200;
    const bodyBytes = 300_000;
    for (let i = 0; i < count; i++) {
      const payload = Buffer.alloc(bodyBytes, 0x2e);
      payload.writeUInt32BE(i);
      await publisher.publish("flood", payload, { qos: 1 });
    }
    assert.equal(server.broker.figures.dropped.queueFull, 0);
    assert.ok(server.broker.queuedBytes > 0);
    const received: number[] = [];
    deaf.readPackets((packet) => {
      if (packet.type !== "publish" || packet.qos !== 1) return;
      received.push(Buffer.from(packet.payload).readUInt32BE(0));
      deaf.send({ type: "puback", packetIdentifier: packet.packetIdentifier, reasonCode: 0 });
    });
    await until(() => received.length >= count, "all have come");
    assert.deepEqual(
      received,
      Array.from({ length: count }, (_, i) => i),
    );
    const session = server.broker.sessions.get("deaf")!;
    await until(() => session.inflight.count === 0, "all are acknowledged");
    assert.equal(server.broker.queuedBytes, 0);
    deaf.destroy();
    publisher.destroy();
  });
});

test("many slow readers together are held to a smaller bound each [aedes#1060]", async () => {
  await undisturbed(server, async () => {
    const before = bytesInUse();
    const deaf = await Promise.all(Array.from({ length: 20 }, (_, i) => deafSubscriber(0, `deaf ${i}`)));
    const publisher = await TestClient.connect(server.port);
    const payload = new Uint8Array(256 * 1024);
    for (let i = 0; i < 200; i++) await publisher.publish("flood", payload);
    // 20 times 32 MB would be 640.
    assert.ok(server.broker.waitingBytes < 300 * mebibyte);
    assert.ok(bytesInUse() - before < 400 * mebibyte);
    for (const peer of [...deaf, publisher]) peer.destroy();
  });
});

/** Writes until the broker reads no more of it; gives the number of bursts. */
async function writeUntilUnread(peer: RawPeer, clientId: string, burst: Buffer): Promise<number> {
  const { outbox } = server.broker.sessions.get(clientId)!.connection!;
  const witness = await TestClient.connect(server.port);
  let bursts = 0;
  while (outbox.unread <= unreadAnswerBytesMax) {
    if (peer.unsent < burst.length) {
      peer.write(burst);
      bursts++;
    }
    await witness.roundTrip();
  }
  for (let more = 0; more < 20; more++) {
    peer.write(burst);
    bursts++;
    await witness.roundTrip();
  }
  const { unread } = outbox;
  for (let turns = 0; turns < 20; turns++) await witness.roundTrip();
  assert.equal(outbox.unread, unread);
  witness.destroy();
  return bursts;
}

test("a peer that does not take its acknowledgements is not read from any more; taking them sets it free [NanoMQ CVE-2024-48077]", async () => {
  await undisturbed(server, async () => {
    const before = bytesInUse();
    const rude = await RawPeer.connect(server.port, { clientId: "rude" });
    const packets: Buffer[] = [];
    for (let i = 1; i <= 20_000; i++) {
      packets.push(
        encodePacket(4, {
          type: "publish",
          topicName: "acks",
          payload: new Uint8Array(),
          retain: false,
          qos: 1,
          dup: false,
          packetIdentifier: i,
        }),
      );
    }
    const bursts = await writeUntilUnread(rude, "rude", Buffer.concat(packets));
    const { outbox } = server.broker.sessions.get("rude")!.connection!;
    assert.ok(outbox.unread <= unreadAnswerBytesMax + mebibyte, String(outbox.unread));
    assert.ok(bytesInUse() - before < 100 * mebibyte);
    await rude.drain((bytes) => bytes >= bursts * 20_000 * 4);
    rude.destroy();
  });
});

test("PINGREQ without end and without reading is stopped the same way", async () => {
  await undisturbed(server, async () => {
    const rude = await RawPeer.connect(server.port, { clientId: "pings" });
    const burst = Buffer.alloc(mebibyte);
    for (let at = 0; at < burst.length; at += 2) burst[at] = 0xc0;
    await writeUntilUnread(rude, "pings", burst);
    const { outbox } = server.broker.sessions.get("pings")!.connection!;
    assert.ok(outbox.unread <= unreadAnswerBytesMax + mebibyte, String(outbox.unread));
    rude.destroy();
  });
});

test("a subscriber with much to catch up on is still heard: its PINGREQ keeps it alive [MQTT311 3.1.2-24]", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const slow = await RawPeer.connect(own.port, { clientId: "slow", keepAliveSeconds: 10 });
  slow.send(subscribeTo("flood", 0));
  const publisher = await TestClient.connect(own.port);
  await until(() => own.broker.sessions.get("slow")?.subscriptions.size === 1, "it has subscribed");
  const { connection } = own.broker.sessions.get("slow")!;
  for (let i = 0; i < 200; i++) await publisher.publish("flood", new Uint8Array(64 * 1024));
  assert.ok(connection!.outbox.unread > unreadAnswerBytesMax);
  for (let round = 0; round < 6; round++) {
    const heard = connection!.lastHeardAt;
    clock.advance(8000);
    slow.send({ type: "pingreq" });
    await until(() => connection!.lastHeardAt > heard, "its PINGREQ was heard");
  }
  assert.equal(slow.isClosed, false);
  slow.destroy();
  publisher.destroy();
  await emptied(own);
  await own.close();
});

test("a subscriber that reads nothing and says nothing is cut off when its keep alive ends [CVE-2020-13849]", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const dead = await RawPeer.connect(own.port, { clientId: "dead", keepAliveSeconds: 10 });
  dead.send(subscribeTo("flood", 1));
  const publisher = await TestClient.connect(own.port);
  await until(() => own.broker.sessions.get("dead")?.subscriptions.size === 1, "it has subscribed");
  for (let i = 0; i < 200; i++) await publisher.publish("flood", new Uint8Array(64 * 1024), { qos: 1 });
  assert.ok(own.broker.sessions.get("dead")!.connection!.outbox.blocked);
  clock.advance(16_000);
  await until(() => own.broker.sessions.get("dead") === undefined, "it is gone");
  publisher.destroy();
  await emptied(own);
  await dead.closed();
  await own.close();
});

test("a keep alive of 0 or 18 hours is brought down to what the operator allows [CVE-2020-13849]", async () => {
  const clock = new FakeClock();
  const own = await startBroker({ keepAliveSecondsMax: 60 }, { clock });
  for (const keepAliveSeconds of [0, 65_535]) {
    const client = await TestClient.connect(own.port, { keepAliveSeconds });
    assert.equal(client.connack.properties?.serverKeepAlive, 60);
    clock.advance(91_000);
    assert.equal((await client.expect("disconnect")).reasonCode, 0x8d);
    await client.closed();
  }
  await emptied(own);
  await own.close();
});

test("bytes that drip in before CONNECT buy no time", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const peers: RawPeer[] = [];
  for (let i = 0; i < 50; i++) {
    const peer = await RawPeer.open(own.port);
    peer.write(Buffer.from("10ff", "hex"));
    peers.push(peer);
  }
  await until(() => own.broker.connections.size === 50, "all are there");
  for (let second = 0; second < 9; second++) {
    const { bytesReceived } = own.broker.figures;
    clock.advance(1000);
    for (const peer of peers) peer.write(Uint8Array.of(second === 0 ? 0x01 : 0x00));
    await until(() => own.broker.figures.bytesReceived >= bytesReceived + 50, "it has come");
  }
  assert.equal(own.broker.connections.size, 50);
  clock.advance(2000);
  for (const peer of peers) await peer.closed();
  await emptied(own);
  await own.close();
});

test("connections that say nothing at all are closed, and new ones find room again", async () => {
  const clock = new FakeClock();
  const own = await startBroker({ connectionsMax: 20 }, { clock });
  const silent = await Promise.all(Array.from({ length: 20 }, () => RawPeer.open(own.port)));
  await until(() => own.broker.connections.size === 20, "all are there");
  clock.advance(11_000);
  for (const peer of silent) await peer.closed();
  const client = await TestClient.connect(own.port);
  client.destroy();
  await emptied(own);
  await own.close();
});

test("a client that waits after half a packet is cut off when its keep alive ends", async () => {
  const clock = new FakeClock();
  const own = await startBroker({}, { clock });
  const client = await TestClient.connect(own.port, { keepAliveSeconds: 10 });
  client.sendBytes("30 ff 7f 0001 61 00 78");
  await until(() => own.broker.figures.bytesReceived > 30, "it has come");
  clock.advance(16_000);
  assert.equal((await client.expect("disconnect")).reasonCode, 0x8d);
  await client.closed();
  await emptied(own);
  await own.close();
});
