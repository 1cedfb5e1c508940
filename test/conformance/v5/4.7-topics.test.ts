import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { ReasonCode } from "../../../src/mqtt/reason-code.ts";
import { startBroker, type TestBroker } from "../../support/broker.ts";
import { TestClient } from "../../support/client.ts";

let broker: TestBroker;
let publisher: TestClient;
beforeAll(async () => {
  broker = await startBroker();
  publisher = await TestClient.connect(broker.port);
});
afterAll(() => broker.close());

for (const [topicFilter, topicName, expected, clause] of [
  ["sport/tennis/player1", "sport/tennis/player1", true, "4.7.1"],
  ["sport/tennis/player1/#", "sport/tennis/player1", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player12", false, "4.7.1.2"],
  ["sport/#", "sport", true, "4.7.1.2"],
  ["sport/#", "sport/", true, "4.7.1.2"],
  ["sport/#", "sports", false, "4.7.1.2"],
  ["#", "any/topic/there/is", true, "4.7.1.2"],
  ["#", "/", true, "4.7.1.2"],
  ["sport/tennis/+", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/tennis/+", "sport/tennis/player1/ranking", false, "4.7.1.3"],
  ["sport/+", "sport", false, "4.7.1.3"],
  ["sport/+", "sport/", true, "4.7.1.3"],
  ["+", "sport", true, "4.7.1.3"],
  ["+", "/sport", false, "4.7.1.3"],
  ["+/+", "/finance", true, "4.7.1.3"],
  ["/+", "/finance", true, "4.7.1.3"],
  ["+", "/finance", false, "4.7.1.3"],
  ["+/tennis/#", "sport/tennis", true, "4.7.1.3"],
  ["+/tennis/#", "sport/tennis/a/b", true, "4.7.1.3"],
  ["sport/+/player1", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/+/player1", "sport//player1", true, "4.7.1.1"],
  ["sport/+/player1", "sport/a/b/player1", false, "4.7.1.3"],
  ["+/+/+", "a/b", false, "4.7.1.3"],
  ["/", "/", true, "4.7.1.1"],
  ["/", "//", false, "4.7.1.1"],
  ["//", "//", true, "4.7.1.1"],
  ["+/", "a/", true, "4.7.1.1"],
  ["a/", "a", false, "4.7.3"],
  ["/a", "a", false, "4.7.3"],
  ["ACCOUNTS", "Accounts", false, "4.7.3-4"],
  ["a b", "a b", true, "4.7.3"],
  ["u\u0308", "\u00fc", false, "4.7.3-4"],
  ["\ufeffa", "\ufeffa", true, "1.5.4-3"],
  ["a", "\ufeffa", false, "1.5.4-3"],
  ["#", "$internal/x", false, "4.7.2-1"],
  ["+/x", "$internal/x", false, "4.7.2-1"],
  ["+", "$internal", false, "4.7.2-1"],
  ["$internal/#", "$internal/x", true, "4.7.2-1"],
  ["$internal/+", "$internal/x", true, "4.7.2-1"],
  ["$internal/x", "$internal/x", true, "4.7.2-1"],
  ["a/#", "a/$b", true, "4.7.2-1"],
  ["+/+", "a/$b", true, "4.7.2-1"],
  ["__proto__/+", "__proto__/constructor", true, "4.7.3"],
  ["constructor", "toString", false, "4.7.3"],
] as const) {
  test(`${show(topicFilter)} ${expected ? "matches" : "leaves out"} ${show(topicName)} [MQTT5 ${clause}]`, async () => {
    const client = await TestClient.connect(broker.port);
    await client.subscribe(topicFilter);
    await publisher.publish(topicName, "live");
    // What waits as a retained message is found by another walk: it must agree.
    await publisher.publish(topicName, "kept", { retain: true });
    await publisher.publish(topicName, "", { retain: true });
    if (expected) assert.deepEqual(await client.receiveTexts(3), ["live", "kept", ""]);
    await client.nothing();
    await publisher.publish(topicName, "kept", { retain: true });
    const late = await TestClient.connect(broker.port);
    await late.subscribe(topicFilter);
    if (expected) assert.deepEqual(await late.receiveTexts(1), ["kept"]);
    await late.nothing();
    await publisher.publish(topicName, "", { retain: true });
    await client.disconnect();
    await late.disconnect();
  });
}

describe("a topic filter that is none gets 0x8F, and the connection lives", () => {
  for (const [topicFilter, clause] of [
    ["", "4.7.3-1"],
    ["sport/tennis#", "4.7.1-1"],
    ["sport/tennis/#/ranking", "4.7.1-1"],
    ["#/", "4.7.1-1"],
    ["sport+", "4.7.1-2"],
    ["+sport", "4.7.1-2"],
    ["a/+b/c", "4.7.1-2"],
    ["++", "4.7.1-2"],
    ["a/b".padEnd(600, "/"), "4.7.3"],
  ] as const) {
    test(`${show(topicFilter)} [MQTT5 ${clause}]`, async () => {
      const client = await TestClient.connect(broker.port);
      assert.deepEqual((await client.subscribe(topicFilter)).reasonCodes, [ReasonCode.topicFilterInvalid]);
      await client.nothing();
    });
  }
});

test("a topic name of more levels than the server follows ends the connection with 0x90 [MQTT5 3.3.2.1]", async () => {
  const client = await TestClient.connect(broker.port);
  client.sendPublish("a/b".padEnd(600, "/"), "x");
  assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.topicNameInvalid);
  await client.closed();
});

test("a filter of 65,535 bytes is a filter [MQTT5 4.7.3-3]", async () => {
  const client = await TestClient.connect(broker.port);
  const topicName = "x".repeat(65_535);
  assert.deepEqual((await client.subscribe(topicName)).reasonCodes, [0]);
  await publisher.publish(topicName, "x");
  assert.equal((await client.receive()).topicName, topicName);
});

function show(topic: string): string {
  return topic.length < 40 ? JSON.stringify(topic) : `a topic of ${topic.length} characters`;
}
