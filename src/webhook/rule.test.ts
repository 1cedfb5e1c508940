import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { endpointOptions } from "./fake-endpoint.ts";
import type { Happening } from "./happening.ts";
import type { RuleFilter, RuleOptions } from "./options.ts";
import { matchesGlob, Rules } from "./rule.ts";

const never = () => assert.fail("chance decides nothing here");

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
    const rules = new Rules({ endpoints: [endpointOptions({ rules: [forTopics(...topicFilters)] })] }, never);
    const interest = rules.interest(topicName);
    assert.deepEqual(
      interest?.audiences.flatMap(({ recipients }) => recipients.map(({ name }) => name)),
      wanted ? ["default"] : undefined,
    );
  });
}

test("several matching rules of one endpoint make one delivery", () => {
  const rules = new Rules(
    {
      endpoints: [endpointOptions({ rules: [forTopics("a/#"), forTopics("a/b"), forTopics()] })],
    },
    never,
  );
  assert.deepEqual(
    rules.interest("a/b")?.audiences.map(({ recipients }) => recipients.map(({ name }) => name)),
    [["default"]],
  );
});

test("endpoints that want the same style share one body", () => {
  const rule = forTopics("a");
  const rules = new Rules(
    {
      endpoints: [
        endpointOptions({ name: "one", rules: [rule] }),
        endpointOptions({ name: "two", bodyEncoding: "base64", rules: [rule] }),
        endpointOptions({ name: "three", rules: [rule] }),
        endpointOptions({ name: "four", timestampUnit: "s", rules: [rule] }),
        endpointOptions({ name: "elsewhere", rules: [forTopics("b")] }),
      ],
    },
    never,
  );
  const audiences = rules.interest("a")!.audiences;
  assert.deepEqual(
    audiences.map(({ recipients }) => recipients.map(({ name }) => name)),
    [["one", "three"], ["two"], ["four"]],
  );
});

test("an endpoint gets the client events it has rules for; one that is off gets none", () => {
  const connack = { event: "on_client_connack" as const, topicFilters: [] };
  const rules = new Rules(
    {
      endpoints: [
        endpointOptions({ name: "on", rules: [connack, connack] }),
        endpointOptions({ name: "off", enable: false, rules: [connack, forTopics("a")] }),
      ],
    },
    never,
  );
  assert.deepEqual(
    rules.audiences("on_client_connack").flatMap(({ recipients }) => recipients.map(({ name }) => name)),
    ["on"],
  );
  assert.deepEqual(rules.audiences("on_client_disconnected"), []);
  assert.equal(rules.interest("a"), undefined);
});

for (const [glob, text, matching] of [
  ["pump", "pump", true],
  ["pump", "pump1", false],
  ["pump", "", false],
  ["", "", true],
  ["*", "", true],
  ["*", "anything at all", true],
  ["pump-*", "pump-", true],
  ["pump-*", "pump", false],
  ["*-pump", "a-pump-pump", true],
  ["*-pump", "a-pump-pumps", false],
  ["a*b*c", "a-b-b-c", true],
  ["a*b*c", "a-c-b", false],
  ["pump-??", "pump-12", true],
  ["pump-??", "pump-1", false],
  ["?", "😀", true],
  ["??", "😀", false],
  ["[a-z].+", "[a-z].+", true],
  ["[a-z].+", "abc", false],
] as const) {
  test(`the glob ${JSON.stringify(glob)} ${matching ? "matches" : "leaves out"} ${JSON.stringify(text)}`, () => {
    assert.equal(matchesGlob(glob, text), matching);
  });
}

test("a glob that backtracks takes its time with the lengths, not with their powers", () => {
  assert.equal(matchesGlob(`${"*a".repeat(50)}b`, "a".repeat(65_535)), false);
});

describe("a rule with a filter", () => {
  const message = {
    topicName: "a",
    payload: new Uint8Array(0),
    qos: 1,
    retain: false,
    properties: new Uint8Array(0),
    acceptedAt: 0,
    expiresAt: undefined,
    publisher: { clientId: "pump-1", userName: "plant" },
  } as const;
  const published: Happening = { event: "on_message_publish", client: message.publisher, message };
  const nameless: Happening = { ...published, client: { clientId: "pump-1", userName: undefined } };

  function wants(happening: Happening, filters: (RuleFilter | undefined)[], random: () => number = never): boolean {
    const rules = filters.map((filter): RuleOptions => ({ ...forTopics("a"), ...(filter && { filter }) }));
    const compiled = new Rules({ endpoints: [endpointOptions({ rules })] }, random);
    const [{ recipients }] = compiled.interest("a")!.audiences;
    assert.equal(recipients.length, 1);
    return recipients[0].wants?.(happening) ?? true;
  }

  for (const [filter, wanted] of [
    [{ clientIds: ["pump-*"] }, true],
    [{ clientIds: ["valve-*", "pump-?"] }, true],
    [{ clientIds: ["valve-*"] }, false],
    [{ userNames: ["plant"] }, true],
    [{ userNames: ["Plant"] }, false],
    [{ qos: [1, 2] }, true],
    [{ qos: [0] }, false],
    [{ retain: false }, true],
    [{ retain: true }, false],
    [{ clientIds: ["pump-1"], qos: [2] }, false],
  ] satisfies [RuleFilter, boolean][]) {
    test(`${JSON.stringify(filter)} ${wanted ? "takes" : "leaves out"} the message`, () => {
      assert.equal(wants(published, [filter]), wanted);
    });
  }

  test("for user names leaves out clients without one, whatever the glob", () => {
    assert.equal(wants(nameless, [{ userNames: ["*"] }]), false);
  });

  test("takes its sample by chance, of what it wants otherwise", () => {
    assert.equal(
      wants(published, [{ sample: 0.1 }], () => 0.0999),
      true,
    );
    assert.equal(
      wants(published, [{ sample: 0.1 }], () => 0.1),
      false,
    );
    assert.equal(wants(published, [{ sample: 0.1, qos: [0] }]), false);
  });

  test("is one of several: one that matches is enough, one without a filter settles it", () => {
    assert.equal(wants(published, [{ qos: [0] }, { qos: [1] }]), true);
    assert.equal(wants(published, [{ sample: 0.1 }, undefined]), true);
  });
});
