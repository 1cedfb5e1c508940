import assert from "node:assert/strict";
import { test } from "vitest";
import { endpointOptions } from "./fake-endpoint.ts";
import { Rules } from "./rule.ts";

const forTopics = (...topicFilters: string[]) => ({ event: "on_message_publish" as const, topicFilters });

for (const [topicFilters, topicName, wanted] of [
  [["nmq/pub"], "nmq/pub", true],
  [["nmq/pub"], "nmq/pub/1", false],
  [["nmq/#"], "nmq/pub1", true],
  [["nmq/#"], "nmq", true],
  [["a", "b/+"], "b/c", true],
  [[], "anything/at/all", true],
  [[], "$SYS/brokers", false],
  [["#"], "$SYS/brokers", false],
  [["+/brokers"], "$SYS/brokers", false],
  [["$SYS/#"], "$SYS/brokers", true],
] as const) {
  test(`a rule for [${topicFilters}] ${wanted ? "wants" : "leaves out"} ${topicName}`, () => {
    const rules = new Rules({ endpoints: [endpointOptions({ rules: [forTopics(...topicFilters)] })] });
    const interest = rules.interest(topicName);
    assert.deepEqual(
      interest?.audiences.flatMap(({ recipients }) => recipients.map(({ name }) => name)),
      wanted ? ["default"] : undefined,
    );
  });
}

test("several matching rules of one endpoint make one delivery", () => {
  const rules = new Rules({
    endpoints: [endpointOptions({ rules: [forTopics("a/#"), forTopics("a/b"), forTopics()] })],
  });
  assert.deepEqual(
    rules.interest("a/b")?.audiences.map(({ recipients }) => recipients.map(({ name }) => name)),
    [["default"]],
  );
});

test("endpoints that want the same style share one body", () => {
  const rule = forTopics("a");
  const rules = new Rules({
    endpoints: [
      endpointOptions({ name: "one", rules: [rule] }),
      endpointOptions({ name: "two", bodyEncoding: "base64", rules: [rule] }),
      endpointOptions({ name: "three", rules: [rule] }),
      endpointOptions({ name: "four", timestampUnit: "s", rules: [rule] }),
      endpointOptions({ name: "elsewhere", rules: [forTopics("b")] }),
    ],
  });
  const audiences = rules.interest("a")!.audiences;
  assert.deepEqual(
    audiences.map(({ recipients }) => recipients.map(({ name }) => name)),
    [["one", "three"], ["two"], ["four"]],
  );
  assert.equal(audiences[1].style.bodyEncoding, "base64");
  assert.equal(audiences[2].style.timestampUnit, "s");
});

test("an endpoint gets the client events it has rules for; one that is off gets none", () => {
  const connack = { event: "on_client_connack" as const, topicFilters: [] };
  const rules = new Rules({
    endpoints: [
      endpointOptions({ name: "on", rules: [connack, connack] }),
      endpointOptions({ name: "off", enable: false, rules: [connack, forTopics("a")] }),
    ],
  });
  assert.deepEqual(
    rules.recipientsOf("on_client_connack").map(({ name }) => name),
    ["on"],
  );
  assert.deepEqual(rules.recipientsOf("on_client_disconnected"), []);
  assert.equal(rules.interest("a"), undefined);
});
