/** With `store.engine = disk`, what was acknowledged before `kill -9` is there after it. */
import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { describe } from "vitest";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";
import { TestClient, textOf } from "../support/client.ts";
import { type BrokerProcess, endsInTime, type Place, test } from "./support/place.ts";
import { deadPort, GoodReceiver } from "./support/receivers.ts";

const onDisk = "store.engine = disk";

async function killed({ program }: BrokerProcess): Promise<void> {
  program.signal("SIGKILL");
  await program.ended();
}

const lasting = { clientId: "lasting", cleanStart: false, properties: { sessionExpiryInterval: 3600 } } as const;

describe("after kill -9", () => {
  test("a session, what it is owed and what is retained are back, in order", async ({ place }) => {
    const before = await place.startBroker(onDisk);
    const subscriber = await TestClient.connect(before.port, lasting);
    await subscriber.subscribe("plant/#", { qos: 2 });
    await subscriber.disconnect();
    const publisher = await TestClient.connect(before.port);
    const payloads = Array.from({ length: 200 }, (_, i) => `message ${i}`);
    for (const [i, payload] of payloads.entries()) {
      const qos = i % 2 === 0 ? 1 : 2;
      assert.equal(await publisher.publish("plant/a", payload, { qos }), 0);
    }
    assert.equal(
      await publisher.publish("kept", "still here", { qos: 1, retain: true }),
      ReasonCode.noMatchingSubscribers,
    );
    await killed(before);

    const after = await place.startBroker(onDisk);
    const resumed = await TestClient.connect(after.port, lasting);
    assert.equal(resumed.connack.sessionPresent, true);
    assert.deepEqual(await resumed.receiveTexts(payloads.length), payloads);
    await resumed.subscribe("kept");
    assert.equal(textOf(await resumed.receive()), "still here");
    await resumed.nothing();
    await endsInTime(after.program, () => after.program.signal("SIGTERM"));
  });

  test("what was in flight comes again with DUP, and QoS 2 that was taken does not", async ({ place }) => {
    const before = await place.startBroker(onDisk);
    const subscriber = await TestClient.connect(before.port, lasting);
    await subscriber.subscribe("a", { qos: 2 });
    const publisher = await TestClient.connect(before.port);
    await publisher.publish("a", "taken", { qos: 2 });
    await publisher.publish("a", "in flight", { qos: 1 });
    const taken = await subscriber.expect("publish");
    const inFlight = await subscriber.expect("publish");
    assert.ok(taken.qos === 2 && inFlight.qos === 1);
    const { packetIdentifier } = taken;
    subscriber.send({ type: "pubrec", packetIdentifier, reasonCode: ReasonCode.success });
    await subscriber.expect("pubrel");
    await killed(before);

    const after = await place.startBroker(onDisk);
    const resumed = await TestClient.connect(after.port, lasting);
    assert.equal((await resumed.expect("pubrel")).packetIdentifier, packetIdentifier);
    const again = await resumed.expect("publish");
    assert.ok(again.qos === 1 && again.dup && again.packetIdentifier === inFlight.packetIdentifier);
    assert.equal(textOf(again), "in flight");
    await resumed.nothing();
  });

  test("the will of who was cut off is published", async ({ place }) => {
    const before = await place.startBroker(onDisk);
    const watcher = await TestClient.connect(before.port, lasting);
    await watcher.subscribe("gone", { qos: 1 });
    await watcher.disconnect();
    const will = { topicName: "gone", payload: Buffer.from("cut off"), qos: 1, retain: false } as const;
    // The subscription of one more lasting session is acknowledged after the will was handed to the store.
    const mortal = await TestClient.connect(before.port, { will, properties: { sessionExpiryInterval: 60 } });
    await mortal.subscribe("x", { qos: 1 });
    await killed(before);

    const after = await place.startBroker(onDisk);
    const resumed = await TestClient.connect(after.port, lasting);
    assert.equal(textOf(await resumed.receive()), "cut off");
  });

  test("a webhook gets what it was owed, under the same webhook-id", async ({ place }) => {
    const port = await deadPort();
    const configuration = `${onDisk}\nwebhook { url = "http://127.0.0.1:${port}", events = [{ event = on_message_publish, topic = "a" }] }`;
    const before = await place.startBroker(configuration);
    const publisher = await TestClient.connect(before.port);
    const payloads = Array.from({ length: 50 }, (_, i) => `event ${i}`);
    for (const payload of payloads) assert.equal(await publisher.publish("a", payload, { qos: 1 }), 0);
    await killed(before);

    const receiver = await GoodReceiver.listen(place, port);
    await place.startBroker(configuration);
    await receiver.holds(payloads.length);
    assert.deepEqual(
      receiver.requests.map(({ body }) => JSON.parse(body).payload),
      payloads,
    );
    assert.equal(new Set(receiver.requests.map(({ id }) => id)).size, payloads.length);
  });
});

for (const [durability, isLost] of [
  ["strict", false],
  ["disk", false],
  ["memory", true],
] as const) {
  test(`a stop says what it loses of an endpoint with durability = ${durability}`, async ({ place }) => {
    const broker = await place.startBroker(`
      log.to = [console]
      webhook {
        url = "http://127.0.0.1:${await deadPort()}", durability = ${durability}
        events = [{ event = on_message_publish }]
      }`);
    await (await TestClient.connect(broker.port)).publish("a", "owed", { qos: 1 });
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));
    const said = [...broker.program.stdout, ...broker.program.stderr].join("\n");
    const isSaid = /deliveries not made before the stop are lost .*deliveries=1/.test(said);
    assert.equal(isSaid, isLost, said);
    const check = place.hookmq(["store", "check", "--dir", "data", "--json"]);
    assert.equal(await check.exitCode(), 0);
    const { deliveries } = JSON.parse(check.stdout[0]);
    assert.deepEqual(deliveries, isLost ? [] : [{ endpoint: "default", deliveries: 1, deadLetters: 0 }]);
  });
}

test("a second broker on the same data folder says whose it is and leaves it alone", async ({ place }) => {
  const first = await place.startBroker(onDisk);
  const second = place.hookmq(["start", "--conf", place.file("nanomq.conf")], {
    env: { HOOKMQ_PID_FILE: place.file("second.pid") },
  });
  assert.equal(await second.exitCode(), 1);
  assert.match(second.stderr.join("\n"), new RegExp(`data folder .*data is in use by process ${first.pid}`));
  const client = await TestClient.connect(first.port, lasting);
  await client.subscribe("a", { qos: 1 });
  await client.disconnect();
});

test("a data file that is none is refused by name and left as it is", async ({ place }) => {
  const garbage = "not a database, but somebody's file all the same\n".repeat(100);
  const file = place.write("data/hookmq.db", garbage);
  await expectRefusal(place, /hookmq\.db.* is damaged/);
  assert.equal(statSync(file).size, garbage.length);
});

test("a data folder that cannot be one is refused by name", async ({ place }) => {
  writeFileSync(place.file("data"), "a file");
  await expectRefusal(place, /the data folder cannot be used: .*data/);
});

async function expectRefusal(place: Place, complaint: RegExp): Promise<void> {
  const conf = place.write("nanomq.conf", `listeners.tcp.bind = "127.0.0.1:0"\n${onDisk}`);
  const program = place.hookmq(["start", "--conf", conf]);
  assert.equal(await program.exitCode(), 1);
  assert.match(program.stderr.join("\n"), complaint);
}
