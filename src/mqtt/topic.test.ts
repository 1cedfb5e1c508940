import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import {
  isShared,
  isValidTopicNameBytes,
  matches,
  parseShared,
  parseTopicFilter,
  parseTopicName,
  type TopicFilter,
  type TopicName,
} from "./topic.ts";

function name(text: string): TopicName {
  const topicName = parseTopicName(text);
  assert.ok(topicName !== undefined, `${text} is a topic name`);
  return topicName;
}

function filter(text: string): TopicFilter {
  const topicFilter = parseTopicFilter(text);
  assert.ok(topicFilter !== undefined, `${text} is a topic filter`);
  return topicFilter;
}

describe("topic names", () => {
  for (const [text, expected, clause] of [
    ["a", true, "MQTT5 4.7.3"],
    ["/", true, "MQTT5 4.7.1.1"],
    ["//a//", true, "MQTT5 4.7.1.1"],
    ["Accounts payable", true, "MQTT5 4.7.3"],
    ["$SYS/broker", true, "MQTT5 4.7.2"],
    ["__proto__", true, "MQTT5 4.7.3"],
    ["é/€/😀", true, "MQTT5 1.5.4"],
    ["", false, "MQTT5 4.7.3-1"],
    ["a/#", false, "MQTT5 4.7.0-1"],
    ["+", false, "MQTT5 4.7.0-1"],
    ["a+b", false, "MQTT5 4.7.0-1"],
    ["a\0", false, "MQTT5 4.7.3-2"],
    ["\ud800", false, "MQTT5 1.5.4-1"],
    ["a".repeat(65_535), true, "MQTT5 4.7.3-3"],
    ["a".repeat(65_536), false, "MQTT5 4.7.3-3"],
    ["€".repeat(21_845), true, "MQTT5 4.7.3-3"],
    [`${"€".repeat(21_845)}a`, false, "MQTT5 4.7.3-3"],
  ] as const) {
    test(`${JSON.stringify(text.slice(0, 20))} of ${text.length} is ${expected ? "one" : "none"} [${clause}]`, () => {
      assert.equal(parseTopicName(text), expected ? text : undefined);
    });
  }

  test("bytes are judged as text is", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "/", "+", "#", "\0", "é", "😀") });
    fc.assert(
      fc.property(text, (each) => {
        const bytes = Buffer.from(`+${each}+`);
        assert.equal(isValidTopicNameBytes(bytes, 1, bytes.length - 1), parseTopicName(each) !== undefined);
      }),
    );
  });

  test("ill-formed bytes are none", () => {
    for (const digits of ["ff", "61c3", "eda080", "c0af", "f4908080", "00"]) {
      const bytes = Buffer.from(digits, "hex");
      assert.equal(isValidTopicNameBytes(bytes, 0, bytes.length), false, digits);
    }
  });
});

describe("topic filters", () => {
  for (const [text, expected, clause] of [
    ["#", true, "MQTT5 4.7.1-1"],
    ["sport/tennis/#", true, "MQTT5 4.7.1-1"],
    ["/#", true, "MQTT5 4.7.1-1"],
    ["sport/tennis#", false, "MQTT5 4.7.1-1"],
    ["sport/tennis/#/ranking", false, "MQTT5 4.7.1-1"],
    ["##", false, "MQTT5 4.7.1-1"],
    ["#/", false, "MQTT5 4.7.1-1"],
    ["#a", false, "MQTT5 4.7.1-1"],
    ["+", true, "MQTT5 4.7.1-2"],
    ["+/tennis/#", true, "MQTT5 4.7.1-2"],
    ["sport+", false, "MQTT5 4.7.1-2"],
    ["sport/+/player1", true, "MQTT5 4.7.1-2"],
    ["+sport", false, "MQTT5 4.7.1-2"],
    ["++", false, "MQTT5 4.7.1-2"],
    ["+#", false, "MQTT5 4.7.1-2"],
    ["+/+", true, "MQTT5 4.7.1-2"],
    ["/+", true, "MQTT5 4.7.1-2"],
    ["/", true, "MQTT5 4.7.3"],
    ["", false, "MQTT5 4.7.3-1"],
    ["a\0/#", false, "MQTT5 4.7.3-2"],
    ["\udc00/#", false, "MQTT5 1.5.4-1"],
    ["a".repeat(65_536), false, "MQTT5 4.7.3-3"],
  ] as const) {
    test(`${JSON.stringify(text.slice(0, 30))} is ${expected ? "one" : "none"} [${clause}]`, () => {
      assert.equal(parseTopicFilter(text), expected ? text : undefined);
    });
  }
});

describe("Shared Subscriptions", () => {
  for (const [text, expected, clause] of [
    ["$share/consumer/sport/tennis/+", { group: "consumer", topicFilter: "sport/tennis/+" }, "MQTT5 4.8.2"],
    ["$share/g//finance", { group: "g", topicFilter: "/finance" }, "MQTT5 4.8.2"],
    ["$share/g/#", { group: "g", topicFilter: "#" }, "MQTT5 4.8.2"],
    ["$share/__proto__/$SYS/#", { group: "__proto__", topicFilter: "$SYS/#" }, "MQTT5 4.8.2"],
    ["$share//a", "invalid", "MQTT5 4.8.2-1"],
    ["$share/", "invalid", "MQTT5 4.8.2-1"],
    ["$share/g", "invalid", "MQTT5 4.8.2-2"],
    ["$share/g/", "invalid", "MQTT5 4.8.2-2"],
    ["$share/g+/a", "invalid", "MQTT5 4.8.2-2"],
    ["$share/#/a", "invalid", "MQTT5 4.8.2-2"],
    ["$share/+/a", "invalid", "MQTT5 4.8.2-2"],
    ["$share/g/a#", "invalid", "MQTT5 4.7.1-1"],
    ["$share/g\0/a", "invalid", "MQTT5 1.5.4-2"],
    ["$share", undefined, "MQTT5 4.8.2"],
    ["$shared/g/a", undefined, "MQTT5 4.8.2"],
    ["$SHARE/g/a", undefined, "MQTT5 4.8.2"],
    ["a/$share/g/a", undefined, "MQTT5 4.8.2"],
  ] as const) {
    test(`${JSON.stringify(text)} is ${JSON.stringify(expected) ?? "none"} [${clause}]`, () => {
      assert.deepEqual(parseShared(text), expected);
      assert.equal(isShared(text), expected !== undefined);
    });
  }
});

describe("matching", () => {
  for (const [topicFilter, topicName, expected, clause] of [
    ["sport/tennis/player1/#", "sport/tennis/player1", true, "MQTT5 4.7.1.2"],
    ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true, "MQTT5 4.7.1.2"],
    ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true, "MQTT5 4.7.1.2"],
    ["sport/tennis/player1/#", "sport/tennis/player10", false, "MQTT5 4.7.1.2"],
    ["sport/#", "sport", true, "MQTT5 4.7.1.2"],
    ["sport/#", "spor", false, "MQTT5 4.7.1.2"],
    ["sport/#", "sport/", true, "MQTT5 4.7.1.2"],
    ["#", "/", true, "MQTT5 4.7.1.2"],
    ["+/#", "a", true, "MQTT5 4.7.1.2"],
    ["a/+/#", "a/b", true, "MQTT5 4.7.1.2"],
    ["a/+/#", "a", false, "MQTT5 4.7.1.2"],
    ["sport/tennis/+", "sport/tennis/player1", true, "MQTT5 4.7.1.3"],
    ["sport/tennis/+", "sport/tennis/player1/ranking", false, "MQTT5 4.7.1.3"],
    ["sport/+", "sport", false, "MQTT5 4.7.1.3"],
    ["sport/+", "sport/", true, "MQTT5 4.7.1.3"],
    ["+/+", "/finance", true, "MQTT5 4.7.1.3"],
    ["/+", "/finance", true, "MQTT5 4.7.1.3"],
    ["+", "/finance", false, "MQTT5 4.7.1.3"],
    ["+", "/", false, "MQTT5 4.7.1.3"],
    ["+/b/+", "a/b/", true, "MQTT5 4.7.1.3"],
    ["#", "$SYS/uptime", false, "MQTT5 4.7.2-1"],
    ["+/monitor/Clients", "$SYS/monitor/Clients", false, "MQTT5 4.7.2-1"],
    ["+", "$SYS", false, "MQTT5 4.7.2-1"],
    ["$SYS/#", "$SYS/uptime", true, "MQTT5 4.7.2-1"],
    ["$SYS/#", "$SYS", true, "MQTT5 4.7.2-1"],
    ["$SYS/monitor/+", "$SYS/monitor/Clients", true, "MQTT5 4.7.2-1"],
    ["a/+", "a/$b", true, "MQTT5 4.7.2"],
    ["ACCOUNTS", "Accounts", false, "MQTT5 4.7.3"],
    ["/finance", "finance", false, "MQTT5 4.7.3"],
    ["finance/", "finance", false, "MQTT5 4.7.3"],
    ["a", "a/b", false, "MQTT5 4.7.3-4"],
    ["a/b", "a", false, "MQTT5 4.7.3-4"],
    ["constructor/+", "constructor/__proto__", true, "MQTT5 4.7.3-4"],
  ] as const) {
    test(`${topicFilter} ${expected ? "matches" : "leaves out"} ${topicName} [${clause}]`, () => {
      assert.equal(matches(filter(topicFilter), name(topicName)), expected);
    });
  }

  test("agrees with the rules told level by level", () => {
    const level = fc.constantFrom("", "a", "ab", "$", "$a");
    const topicName = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
    const topicFilter = fc
      .tuple(fc.array(fc.oneof(level, fc.constant("+")), { maxLength: 4 }), fc.boolean())
      .map(([levels, all]) => (all ? [...levels, "#"] : levels).join("/"));
    fc.assert(
      fc.property(
        topicFilter.filter((each) => each !== ""),
        topicName.filter((each) => each !== ""),
        (each, other) => {
          assert.equal(matches(filter(each), name(other)), matchesByLevel(each, other));
        },
      ),
      { numRuns: 3000 },
    );
  });
});

function matchesByLevel(topicFilter: string, topicName: string): boolean {
  if (/^\$/.test(topicName) && /^[+#]/.test(topicFilter)) return false;
  const levelsMatch = (wanted: string[], given: string[]): boolean => {
    const [first, ...others] = wanted;
    if (first === undefined) return given.length === 0;
    if (first === "#") return true;
    return given.length > 0 && (first === "+" || first === given[0]) && levelsMatch(others, given.slice(1));
  };
  return levelsMatch(topicFilter.split("/"), topicName.split("/"));
}
