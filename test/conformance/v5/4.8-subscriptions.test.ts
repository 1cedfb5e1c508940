import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient, textOf } from "../../support/client.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker();
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

async function members(count: number, topicFilter: string, qos: 0 | 1 | 2 = 2): Promise<TestClient[]> {
  const clients: TestClient[] = [];
  for (let i = 0; i < count; i++) {
    const client = await TestClient.connect(broker.port);
    await client.subscribe(topicFilter, { qos });
    clients.push(client);
  }
  return clients;
}

/** What lies unread, once everything that was on its way has come. */
async function unreadTexts(client: TestClient): Promise<string[]> {
  await client.roundTrip();
  return client.unread.flatMap((packet) => (packet.type === "publish" ? [textOf(packet)] : []));
}

describe("a Shared Subscription", () => {
  test("gives each message to one member, all of them in turn [MQTT5 4.8.2]", async () => {
    const group = await members(3, "$share/turns/turns/#", 0);
    const texts = Array.from({ length: 9 }, (_, i) => String(i));
    for (const text of texts) await publisher.publish("turns/x", text);
    const received = await Promise.all(group.map(unreadTexts));
    assert.deepEqual(
      received.map(({ length }) => length),
      [3, 3, 3],
    );
    assert.deepEqual(received.flat().toSorted(), texts);
  });

  test("prefers the member with the least to do", async () => {
    const group = await members(3, "$share/load/load", 1);
    for (let i = 0; i < 9; i++) await publisher.publish("load", String(i), { qos: 1 });
    // The last one acknowledges, the others do not.
    await group[2].receiveTexts(3);
    await group[2].roundTrip();
    for (let i = 9; i < 12; i++) {
      await publisher.publish("load", String(i), { qos: 1 });
      assert.deepEqual(await group[2].receiveTexts(1), [String(i)]);
      await group[2].roundTrip();
    }
  });

  test("is another group's affair and every plain subscriber's: each gets it too [MQTT5 4.8.2]", async () => {
    const [one] = await members(1, "$share/one/groups");
    const [other] = await members(1, "$share/other/groups");
    const [plain] = await members(1, "groups");
    await publisher.publish("groups", "x", { qos: 1 });
    for (const client of [one, other, plain]) assert.deepEqual(await client.receiveTexts(1), ["x"]);
  });

  test("beside a plain one of the same client brings the message twice [MQTT5 4.8.2]", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("$share/g/beside", { subscriptionIdentifier: 1 });
    await client.subscribe("beside", { subscriptionIdentifier: 2 });
    await publisher.publish("beside", "x");
    const identifiers = [await client.receive(), await client.receive()].map(
      ({ properties }) => properties?.subscriptionIdentifiers,
    );
    assert.deepEqual(identifiers.flat().toSorted(), [1, 2]);
    await client.nothing();
  });

  test("grants each member its own QoS [MQTT5 4.8.2-3]", async () => {
    const group = [
      ...(await members(1, "$share/qos/granted", 0)),
      ...(await members(1, "$share/qos/granted", 1)),
      ...(await members(1, "$share/qos/granted", 2)),
    ];
    for (let i = 0; i < 3; i++) await publisher.publish("granted", "x", { qos: 2 });
    for (const [granted, member] of group.entries()) assert.equal((await member.receive()).qos, granted);
  });

  test("carries the member's Subscription Identifier, and RETAIN as the member asked", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("$share/g/options", { subscriptionIdentifier: 11, retainAsPublished: true });
    await publisher.publish("options", "x", { retain: true });
    const publish = await client.receive();
    assert.deepEqual(publish.properties?.subscriptionIdentifiers, [11]);
    assert.equal(publish.retain, true);
  });

  test("is left with UNSUBSCRIBE, and ends with its last member [MQTT5 4.8.2]", async () => {
    const [stays, leaves] = await members(2, "$share/leave/leave");
    await leaves.unsubscribe("$share/leave/leave");
    for (const text of ["a", "b"]) await publisher.publish("leave", text, { qos: 1 });
    assert.deepEqual(await stays.receiveTexts(2), ["a", "b"]);
    await leaves.nothing();
    await stays.disconnect();
    const code = await publisher.publish("leave", "c", { qos: 1 });
    assert.equal(code, ReasonCode.noMatchingSubscribers);
  });

  test("matches by the same rules as a plain one, wildcards and $ included [MQTT5 4.7.2-1]", async () => {
    const [all] = await members(1, "$share/wild/#");
    const [dollar] = await members(1, "$share/wild/$own/+");
    await publisher.publish("$own/x", "dollar");
    await publisher.publish("wild/x", "plain");
    assert.deepEqual(await dollar.receiveTexts(1), ["dollar"]);
    assert.deepEqual(await all.receiveTexts(1), ["plain"]);
    await all.disconnect();
  });

  for (const [topicFilter, clause] of [
    ["$share/g", "4.8.2-1"],
    ["$share/", "4.8.2-1"],
    ["$share//a", "4.8.2-1"],
    ["$share/g/", "4.8.2-2"],
    ["$share/+/a", "4.8.2-2"],
    ["$share/g#/a", "4.8.2-2"],
    ["$share/g/a/#/b", "4.7.1-1"],
  ] as const) {
    test(`cannot be named ${topicFilter}: 0x8F [MQTT5 ${clause}]`, async () => {
      const client = await TestClient.connect(broker.port);
      assert.deepEqual((await client.subscribe(topicFilter)).reasonCodes, [ReasonCode.topicFilterInvalid]);
      await client.nothing();
    });
  }

  test("$share alone, and $SHARE, are topics like any other", async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe("$share");
    await client.subscribe("$SHARE/g/a");
    await publisher.publish("$share", "x");
    await publisher.publish("$SHARE/g/a", "y");
    assert.deepEqual(await client.receiveTexts(2), ["x", "y"]);
  });
});

describe("when a member of a Shared Subscription goes", () => {
  test("what it has not acknowledged of QoS 1 goes to another when its session ends [MQTT5 4.8.2-4]", async () => {
    const [dies, stays] = await members(2, "$share/die/die", 1);
    for (const text of ["a", "b", "c", "d"]) await publisher.publish("die", text, { qos: 1 });
    const own = await stays.receiveTexts(2);
    const lost = await unreadTexts(dies);
    assert.equal(lost.length, 2);
    dies.destroy();
    assert.deepEqual(await stays.receiveTexts(2), lost);
    assert.deepEqual([...own, ...lost].toSorted(), ["a", "b", "c", "d"]);
    await stays.nothing();
  });

  test("what it was sent of QoS 2 goes to nobody else [MQTT5 4.8.2-5]", async () => {
    const [dies, stays] = await members(2, "$share/exactly/exactly", 2);
    for (const text of ["a", "b"]) await publisher.publish("exactly", text, { qos: 2 });
    await stays.receiveTexts(1);
    assert.equal((await unreadTexts(dies)).length, 1);
    dies.destroy();
    await broker.gone(dies.clientId);
    await stays.nothing();
  });

  test("what it was sent of QoS 2 waits for it in its session [MQTT5 4.8.2-5]", async () => {
    const connect = { clientId: "exactly-back", cleanStart: false, properties: { sessionExpiryInterval: 100 } };
    const first = await TestClient.connect(broker.port, connect);
    await first.subscribe("$share/back/back", { qos: 2 });
    await publisher.publish("back", "x", { qos: 2 });
    const sent = await first.expect("publish");
    first.destroy();
    await broker.gone(connect.clientId);
    const [other] = await members(1, "$share/back/back");
    await other.nothing();
    const second = await TestClient.connect(broker.port, connect);
    assert.deepEqual(await second.receive(), { ...sent, dup: true });
    await other.nothing();
  });

  test("what it was not sent yet goes to those who are there [MQTT5 4.8.2]", async () => {
    const slow = await TestClient.connect(broker.port, {
      clientId: "slow",
      properties: { receiveMaximum: 1, sessionExpiryInterval: 100 },
    });
    await slow.subscribe("$share/unsent/unsent", { qos: 2 });
    for (const text of ["sent", "a", "b"]) await publisher.publish("unsent", text, { qos: 2 });
    assert.equal(textOf(await slow.expect("publish")), "sent");
    const [fast] = await members(1, "$share/unsent/unsent");
    slow.destroy();
    assert.deepEqual(await fast.receiveTexts(2), ["a", "b"]);
    await fast.nothing();
  });

  test("what it refuses goes to nobody else [MQTT5 4.8.2-6]", async () => {
    const [refuses, other] = await members(2, "$share/refuse/refuse", 2);
    for (const qos of [1, 1, 2, 2] as const) await publisher.publish("refuse", "x", { qos });
    await other.receiveTexts(2);
    for (const answer of ["puback", "pubrec"] as const) {
      const publish = await refuses.expect("publish");
      assert.ok(publish.qos !== 0);
      refuses.send({ type: answer, packetIdentifier: publish.packetIdentifier, reasonCode: 0x80 });
    }
    await refuses.roundTrip();
    refuses.destroy();
    await broker.gone(refuses.clientId);
    await other.nothing();
  });

  test("what it leaves keeps to the next one's QoS and Maximum Packet Size [MQTT5 3.1.2-24] [MQTT5 4.8.2-3]", async () => {
    for (const [qos, maximumPacketSize] of [
      [0, 100],
      [1, 100],
      [0, 1000],
      [1, 1000],
    ] as const) {
      const topicName = `heir/${qos}/${maximumPacketSize}`;
      const [dies] = await members(1, `$share/heir/${topicName}`, 1);
      await publisher.publish(topicName, "x".repeat(200), { qos: 1 });
      await dies.roundTrip();
      const heir = await TestClient.connect(broker.port, { properties: { maximumPacketSize } });
      await heir.subscribe(`$share/heir/${topicName}`, { qos });
      dies.destroy();
      await broker.gone(dies.clientId);
      if (maximumPacketSize === 1000) assert.equal((await heir.receive()).qos, qos);
      await heir.nothing();
    }
  });

  test("new messages go to members who are there before members who are away", async () => {
    const connect = { clientId: "away", properties: { sessionExpiryInterval: 100 } };
    const away = await TestClient.connect(broker.port, connect);
    await away.subscribe("$share/there/there", { qos: 1 });
    await away.disconnect();
    const [here] = await members(1, "$share/there/there", 1);
    for (const text of ["a", "b", "c"]) await publisher.publish("there", text, { qos: 1 });
    assert.deepEqual(await here.receiveTexts(3), ["a", "b", "c"]);
  });

  test("and nobody else is there, messages wait for the first who comes back", async () => {
    const connect = { clientId: "alone", cleanStart: false, properties: { sessionExpiryInterval: 100 } };
    const first = await TestClient.connect(broker.port, connect);
    await first.subscribe("$share/alone/alone", { qos: 1 });
    await first.disconnect();
    await publisher.publish("alone", "x", { qos: 1 });
    const second = await TestClient.connect(broker.port, connect);
    assert.deepEqual(await second.receiveTexts(1), ["x"]);
  });
});
