import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { connect311 } from "./clients.ts";

let server: TestBroker;
beforeAll(async () => {
  server = await startBroker();
});
afterAll(() => server.close());

for (const [topicFilter, topicName, expected, clause] of [
  ["sport/tennis/player1/#", "sport/tennis/player1", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player2", false, "4.7.1.2"],
  ["sport/#", "sport", true, "4.7.1.2"],
  ["sport/#", "sports", false, "4.7.1.2"],
  ["sport/#", "/sport", false, "4.7.1.2"],
  ["#", "anything/at/all", true, "4.7.1.2"],
  ["#", "/", true, "4.7.1.2"],
  ["/#", "a", false, "4.7.1.2"],
  ["/#", "/", true, "4.7.1.2"],
  ["sport/tennis/+", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/tennis/+", "sport/tennis/player1/ranking", false, "4.7.1.3"],
  ["sport/+", "sport", false, "4.7.1.3"],
  ["sport/+", "sport/", true, "4.7.1.3"],
  ["+", "finance", true, "4.7.1.3"],
  ["+", "/finance", false, "4.7.1.3"],
  ["+/+", "/finance", true, "4.7.1.3"],
  ["/+", "/finance", true, "4.7.1.3"],
  ["+/tennis/#", "sport/tennis", true, "4.7.1.3"],
  ["+/tennis/#", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/+/player1", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/+/player1", "sport/player1", false, "4.7.1.3"],
  ["+/+/+", "a//b", true, "4.7.1.3"],
  ["#", "$other/a", false, "4.7.2-1"],
  ["+/a", "$other/a", false, "4.7.2-1"],
  ["+/#", "$other/a", false, "4.7.2-1"],
  ["#", "$other", false, "4.7.2-1"],
  ["+", "$other", false, "4.7.2-1"],
  ["$other/#", "$other/a", true, "4.7.2"],
  ["$other/+", "$other/a", true, "4.7.2"],
  ["$other/a", "$other/a", true, "4.7.2"],
  ["a/#", "a/$b", true, "4.7.2"],
  ["a/+", "a/$b", true, "4.7.2"],
  ["ACCOUNTS", "Accounts", false, "4.7.3"],
  ["Accounts payable", "Accounts payable", true, "4.7.3"],
  ["a", "/a", false, "4.7.3"],
  ["a", "a/", false, "4.7.3"],
  ["/", "/", true, "4.7.3"],
  ["//", "/", false, "4.7.3"],
  ["é", "e\u0301", false, "4.7.3-4"],
  ["\u00c5", "\u212b", false, "4.7.3-4"],
  ["a b", "a\u00a0b", false, "4.7.3-4"],
] as const) {
  const name = JSON.stringify(topicName);
  test(`${JSON.stringify(topicFilter)} ${expected ? "matches" : "leaves out"} ${name}, live and retained [MQTT311 ${clause}]`, async () => {
    const client = await connect311(server.port);
    await client.subscribe(topicFilter);
    await client.publish(topicName, "live", { retain: true });
    if (expected) assert.equal((await client.receive()).topicName, topicName);
    await client.nothing();
    await client.subscribe(topicFilter);
    if (expected) assert.equal((await client.receive()).topicName, topicName);
    await client.nothing();
    await client.publish(topicName, "", { retain: true });
    await client.disconnect();
  });
}

test("the server's own topics are below $SYS, and only the server publishes there [MQTT311 4.7.2]", async () => {
  const own = await startBroker({ sysIntervalSeconds: 60 });
  const watcher = await connect311(own.port);
  await watcher.subscribe("#");
  await watcher.nothing();
  await watcher.subscribe("$SYS/brokers/version");
  assert.equal(Buffer.from((await watcher.receive()).payload).toString(), "1.2.3");
  const client = await connect311(own.port);
  for (const qos of [0, 1, 2] as const) await client.publish("$SYS/brokers/version", "mine", { qos, retain: true });
  await watcher.nothing();
  await watcher.subscribe("$SYS/brokers/version");
  assert.equal(Buffer.from((await watcher.receive()).payload).toString(), "1.2.3");
  await own.close();
});
