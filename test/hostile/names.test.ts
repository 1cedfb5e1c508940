/** Names are the clients' to choose: each is a string like any other, whatever it means elsewhere. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { undisturbed } from "./undisturbed.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

const prototypeNames = [
  ...Object.getOwnPropertyNames(Object.prototype),
  ...Object.getOwnPropertyNames(Array.prototype),
  "prototype",
  "null",
  "undefined",
  "NaN",
  "true",
  "0",
  "-1",
];

test("topics named after what every object has are topics: live, retained, as level, filter and share name [aedes 1.2.0]", async () => {
  await undisturbed(server, async () => {
    const client = await TestClient.connect(server.port, { clientId: "names" });
    for (const name of prototypeNames) {
      for (const topicName of [name, `${name}/${name}`]) {
        await client.publish(topicName, name, { retain: true });
        await client.subscribe(topicName);
        const kept = await client.receive();
        assert.deepEqual([kept.topicName, kept.retain, Buffer.from(kept.payload).toString()], [topicName, true, name]);
        await client.publish(topicName, "live");
        assert.equal((await client.receive()).topicName, topicName);
        await client.unsubscribe(topicName);
        await client.subscribe(`$share/${name}/${topicName}`);
        await client.publish(topicName, "", { retain: true });
        assert.equal((await client.receive()).topicName, topicName);
        await client.unsubscribe(`$share/${name}/${topicName}`);
        await client.publish(topicName, "nobody's");
      }
    }
    await client.nothing();
    client.destroy();
  });
});

test("clients named after what every object has are clients: sessions, user names, wills, user properties [aedes 1.2.0]", async () => {
  await undisturbed(server, async () => {
    for (const name of prototypeNames) {
      const properties = { sessionExpiryInterval: 100 };
      const userProperties = [[name, name]] as const;
      const will = {
        topicName: name,
        payload: new Uint8Array(),
        qos: 1,
        retain: false,
        properties: { userProperties },
      } as const;
      const watcher = await TestClient.connect(server.port);
      await watcher.subscribe(name, { qos: 1 });
      const first = await TestClient.connect(server.port, { clientId: name, userName: name, properties, will });
      assert.equal(first.connack.sessionPresent, false, name);
      await first.subscribe("names", { qos: 1 });
      first.destroy();
      assert.deepEqual((await watcher.receive()).properties?.userProperties, userProperties);
      await server.gone(name);
      await watcher.publish("names", name, { qos: 1 });
      const second = await TestClient.connect(server.port, { clientId: name, userName: name, cleanStart: false });
      assert.equal(second.connack.sessionPresent, true);
      assert.equal(Buffer.from((await second.receive()).payload).toString(), name);
      await second.disconnect();
      watcher.destroy();
    }
  });
});

const watchedNames = [
  ["`#`", "#"],
  ["`+`", "+"],
  ["slashes only", "/".repeat(1000)],
  ["wildcards and slashes", "a/+/#/$share/x"],
  ["control characters", "\u0001\u001b[2J\r\n"],
  ["HTML", "<img src=x onerror=alert(1)>"],
  ["a quote that would end a string", '","status":"admin","x":"'],
  ["65,535 bytes", "a".repeat(65_535)],
  ["65,535 bytes that look like properties", "/".repeat(65_535)],
  ["as many bytes as its status topic has room for", "b".repeat(65_535 - "$SYS/brokers/client_status/".length)],
  ["one byte more than its status topic has room for", "c".repeat(65_536 - "$SYS/brokers/client_status/".length)],
] as const;

for (const [what, clientId] of watchedNames) {
  test(`a client whose name is ${what} comes and goes before the eyes of those who watch $SYS [HiveMQ CVE-2020-13821] [mosquitto CVE-2017-7650]`, async () => {
    await undisturbed(server, async () => {
      const watcher = await TestClient.connect(server.port, { clientId: "watcher" });
      await watcher.subscribe("$SYS/brokers/client_status/#");
      const client = await TestClient.connect(server.port, { clientId });
      await client.subscribe("$SYS/#");
      await client.roundTrip();
      client.destroy();
      await server.gone(clientId);
      await watcher.roundTrip();
      for (const packet of watcher.unread) {
        assert.ok(packet.type === "publish");
        const { client_id: named } = JSON.parse(Buffer.from(packet.payload).toString());
        assert.equal(named, clientId);
        assert.equal(packet.topicName, `$SYS/brokers/client_status/${clientId}`);
      }
      watcher.destroy();
    });
  });
}

test("the longest name does not break a CONNACK with Response Information", async () => {
  const own = await startBroker({ responseInformation: "response/" });
  await undisturbed(own, async () => {
    const properties = { requestResponseInformation: true };
    const client = await TestClient.connect(own.port, { clientId: "x".repeat(65_535), properties });
    await client.nothing();
    client.destroy();
  });
  await own.close();
});
