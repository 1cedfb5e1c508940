/** CONNECT again and again, too many, refused, and by somebody else. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "vitest";
import { type Access, openAccess } from "../../src/access/access.ts";
import { FakeClock } from "../../src/base/fake-clock.ts";
import type { Logger } from "../../src/base/log.ts";
import { lobbyConnectionsMax } from "../../src/broker/limits.ts";
import { encodePacket } from "../../src/mqtt/codec.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { until } from "../support/until.ts";
import { RawPeer } from "./raw-peer.ts";
import { emptied, undisturbed } from "./undisturbed.ts";

let server: TestBroker;
beforeEach(async () => {
  server = await startBroker();
});
afterEach(() => server.close());

for (const version of [3, 4, 5] as const) {
  test(`one client identifier connecting as fast as it can, version ${version}: the last one stays [NanoMQ CVE-2025-59946, nanomq#1863, #2114]`, async () => {
    await undisturbed(server, async () => {
      const will = { topicName: "storm/will", payload: new Uint8Array([1]), qos: 1, retain: false } as const;
      const connect = { protocolVersion: version, clientId: "storm", cleanStart: false, will } as const;
      const peers: RawPeer[] = [];
      for (let round = 0; round < 20; round++) {
        const opened = await Promise.all(Array.from({ length: 10 }, () => RawPeer.open(server.port)));
        for (const peer of opened) {
          peer.version = version;
          peer.read();
          peer.send({ type: "connect", keepAliveSeconds: 0, ...connect });
          peer.send({
            type: "subscribe",
            packetIdentifier: 1,
            subscriptions: [
              { topicFilter: "storm/#", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 },
            ],
          });
          if (round % 2 === 1) peer.write(encodePacket(version, { type: "pingreq" }));
        }
        if (round % 3 === 2) for (const peer of opened) peer.destroy();
        peers.push(...opened);
      }
      const { broker } = server;
      await until(() => broker.connections.size <= 3, "only the last is left");
      // The last one on, if it has survived, is in working order.
      const last = await TestClient.connect(server.port, { clientId: "storm", protocolVersion: version });
      assert.equal(last.connack.sessionPresent, false);
      await last.nothing();
      last.destroy();
      for (const peer of peers) peer.destroy();
    });
  });
}

test("taking over a connection with all it has under way leaves nothing of the old one [EMQX CVE-2026-8741]", async () => {
  await undisturbed(server, async () => {
    const publisher = await TestClient.connect(server.port);
    let former: TestClient | undefined;
    for (let round = 0; round < 20; round++) {
      const properties = { sessionExpiryInterval: 1000, receiveMaximum: 3 };
      const client = await TestClient.connect(server.port, { clientId: "over", cleanStart: false, properties });
      if (former !== undefined) {
        assert.equal((await former.expect("disconnect")).reasonCode, ReasonCode.sessionTakenOver);
        await former.closed();
      }
      await client.subscribe("over", { qos: 2 });
      for (let i = 0; i < 3; i++) await publisher.publish("over", `${round} ${i}`, { qos: 2 });
      // In each round one message is taken, in the order they were published.
      await until(() => client.unread.some(({ type }) => type === "publish"), "a message is there");
      const publish = await client.expect("publish");
      const taken = `${Math.floor(round / 3)} ${round % 3}`;
      assert.equal(Buffer.from(publish.payload).toString(), taken);
      assert.ok(publish.qos === 2);
      const { packetIdentifier } = publish;
      client.send({ type: "pubrec", packetIdentifier, reasonCode: 0 });
      await client.answerTo("pubrel", packetIdentifier);
      client.send({ type: "pubcomp", packetIdentifier, reasonCode: 0 });
      await client.roundTrip();
      for (let unread = client.unread.length; unread > 0; unread--) await client.next();
      former = client;
    }
    former?.destroy();
    publisher.destroy();
    const last = await TestClient.connect(server.port, { clientId: "over" });
    assert.equal(last.connack.sessionPresent, false);
    last.destroy();
  });
});

test("a session is its user's: another one with its client identifier gets a new, empty one [EMQX CVE-2026-6564]", async () => {
  await undisturbed(server, async () => {
    const properties = { sessionExpiryInterval: 1000 };
    const alice = await TestClient.connect(server.port, { clientId: "shared", userName: "alice", properties });
    await alice.subscribe("secret", { qos: 1 });
    await alice.disconnect();
    const publisher = await TestClient.connect(server.port);
    await publisher.publish("secret", "for alice", { qos: 1 });
    for (const userName of ["mallory", undefined, "", "Alice", "alice "]) {
      const other = await TestClient.connect(server.port, {
        clientId: "shared",
        userName,
        cleanStart: false,
        properties,
      });
      assert.equal(other.connack.sessionPresent, false);
      await publisher.publish("secret", "again", { qos: 1 });
      await other.nothing();
      await other.disconnect();
    }
    const last = await TestClient.connect(server.port, { clientId: "shared" });
    last.destroy();
    publisher.destroy();
  });
});

test("beyond the limit a CONNECT hears that the server is busy, beyond the lobby it hears nothing", async () => {
  const own = await startBroker({ connectionsMax: 5 });
  await undisturbed(own, async () => {
    const clients = [
      await TestClient.connect(own.port),
      await TestClient.connect(own.port),
      await TestClient.connect(own.port),
    ];
    const refused = await TestClient.open(own.port);
    assert.equal((await refused.request()).reasonCode, ReasonCode.serverBusy);
    await refused.closed();
    const lobby = await Promise.all(Array.from({ length: lobbyConnectionsMax }, () => RawPeer.open(own.port)));
    await until(() => own.broker.connections.size === 5 + lobbyConnectionsMax, "the lobby is full");
    const outside = await RawPeer.open(own.port);
    await outside.closed();
    for (const peer of lobby) peer.destroy();
    await until(() => own.broker.connections.size === 5, "the lobby is empty");
    for (const client of clients) {
      await client.nothing();
      client.destroy();
    }
  });
  await own.close();
});

test("a refused CONNECT leaves nothing open, whatever follows it [tinyMQTT CVE-2025-56352]", async () => {
  await undisturbed(server, async () => {
    const peers: RawPeer[] = [];
    for (let i = 0; i < 300; i++) {
      const peer = await RawPeer.open(server.port);
      // An empty client identifier that wants to last, bad user name flags, an unknown level: and on it talks.
      const connects = [
        "100c00044d5154540400000000 00",
        "100d00044d51545404420000000163",
        "100d00044d51545409020000000163",
      ];
      peer.write(Buffer.from(connects[i % 3].replaceAll(" ", ""), "hex"));
      peer.write(Buffer.from("c000c000300300016178", "hex"));
      peers.push(peer);
    }
    for (const peer of peers) await peer.closed();
    await until(() => server.broker.connections.size === 2, "only the bystanders are left");
  });
});

test("an answer to CONNECT that never comes holds nothing but its own connection", async () => {
  const clock = new FakeClock();
  const access: Access = {
    ...openAccess,
    authenticate: ({ clientId }) => (clientId.startsWith("waits") ? new Promise(() => {}) : ReasonCode.success),
  };
  const own = await startBroker({}, { access, clock });
  await undisturbed(own, async () => {
    const peers: RawPeer[] = [];
    for (let i = 0; i < 100; i++) {
      const peer = await RawPeer.open(own.port);
      const connect = { type: "connect", protocolVersion: 4, cleanStart: true, keepAliveSeconds: 0 } as const;
      peer.send({ ...connect, clientId: `waits ${i % 10}` });
      // More than a pause lets through.
      peer.write(Buffer.alloc(1024 * 1024, "c000", "hex"));
      peers.push(peer);
    }
    await until(() => own.broker.connections.size === 102, "all wait");
    const { bytesReceived } = own.broker.figures;
    assert.ok(bytesReceived < 100 * 128 * 1024, "what waits is not read");
    for (const peer of peers.slice(50)) peer.destroy();
    clock.advance(11_000);
    for (const peer of peers) await peer.closed();
  });
  await own.close();
});

test("an authentication that fails to decide refuses, and says so in the log once", async () => {
  const errors: string[] = [];
  const log: Logger = { debug() {}, info() {}, warn() {}, error: (message) => errors.push(message) };
  let reject = (_: Error) => {};
  const access = {
    ...openAccess,
    authenticate: () =>
      new Promise<ReasonCode>((_, rejected) => {
        reject = rejected;
      }),
  };
  const own = await startBroker({}, { access, log });
  const client = await TestClient.open(own.port);
  const answer = client.request();
  await until(() => [...own.broker.connections][0]?.phase === "authenticating", "it waits");
  reject(new Error("no answer from anywhere"));
  assert.equal((await answer).reasonCode, ReasonCode.serverUnavailable);
  await client.closed();
  assert.equal(errors.length, 1);
  await emptied(own);
  await own.close();
});

test("answers to CONNECT that come after the client has gone are for nobody", async () => {
  const decide: ((reasonCode: ReasonCode) => void)[] = [];
  const access = { ...openAccess, authenticate: () => new Promise<ReasonCode>((resolve) => decide.push(resolve)) };
  const own = await startBroker({}, { access });
  for (const reasonCode of [ReasonCode.success, ReasonCode.notAuthorized]) {
    const peer = await RawPeer.open(own.port);
    peer.send({ type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId: "gone" });
    await until(() => decide.length === 1, "it waits");
    peer.destroy();
    // A paused socket learns of the end when it is read again, or written to.
    decide.pop()!(reasonCode);
    await emptied(own);
  }
  await own.close();
});

test("two CONNECTs of one client identifier that are decided in the other order: the later answer stays", async () => {
  const decide: ((reasonCode: ReasonCode) => void)[] = [];
  const access = { ...openAccess, authenticate: () => new Promise<ReasonCode>((resolve) => decide.push(resolve)) };
  const own = await startBroker({}, { access });
  const first = await TestClient.open(own.port);
  const firstAnswer = first.request({ clientId: "both" });
  await until(() => decide.length === 1, "the first waits");
  const second = await TestClient.open(own.port);
  const secondAnswer = second.request({ clientId: "both" });
  await until(() => decide.length === 2, "the second waits");
  decide[1](ReasonCode.success);
  await secondAnswer;
  decide[0](ReasonCode.success);
  await firstAnswer;
  assert.equal((await second.expect("disconnect")).reasonCode, ReasonCode.sessionTakenOver);
  await second.closed();
  await first.nothing();
  first.destroy();
  await emptied(own);
  await own.close();
});

test("2,000 connections that come and go leave nothing [mosquitto CVE-2017-7654, 2.0.11]", async () => {
  await undisturbed(server, async () => {
    const will = { topicName: "w", payload: new Uint8Array(1000), qos: 1, retain: false } as const;
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          TestClient.connect(server.port, {
            clientId: `${round} ${i}`,
            will,
            userName: "u",
            password: new Uint8Array(99),
          }),
        ),
      );
      for (const [i, client] of clients.entries()) {
        if (i % 2 === 0) client.destroy();
        else client.send({ type: "disconnect", reasonCode: ReasonCode.success });
      }
    }
  });
});
