import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import { matches, parseTopicFilter, parseTopicName } from "../mqtt/topic.ts";
import { Session } from "./session.ts";
import { Subscriptions, type Subscribers, type Subscription } from "./subscriptions.ts";

const sessions = ["one", "two", "three"].map((clientId) => new Session(clientId, undefined, 0));

function subscription(session: Session, plainFilter: string, sharedGroup?: string): Subscription {
  const topicFilter = sharedGroup === undefined ? plainFilter : `$share/${sharedGroup}/${plainFilter}`;
  return {
    session,
    topicFilter,
    plainFilter,
    sharedGroup,
    qos: 0,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionIdentifier: undefined,
  };
}

/** Who is found, as `client filter`, sorted. */
function found(matched: Subscribers[]): string[] {
  const all: Subscription[] = [];
  for (const { plain, shared } of matched) {
    all.push(...plain.values());
    for (const members of shared?.values() ?? []) all.push(...members.values());
  }
  return all.map(({ session, topicFilter }) => `${session.clientId} ${topicFilter}`).sort();
}

const level = fc.constantFrom("", "a", "b", "$x", "__proto__");
const topicName = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join("/"))
  .filter((text) => text !== "");
const plainFilter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant("+")), { maxLength: 4 }), fc.boolean())
  .map(([levels, all]) => [...levels, ...(all ? ["#"] : [])].join("/"))
  .filter((text) => text !== "");
const acts = fc.array(
  fc.record({
    act: fc.constantFrom("add", "add", "remove"),
    session: fc.constantFrom(...sessions),
    plainFilter,
    group: fc.constantFrom(undefined, undefined, "g", "__proto__"),
  }),
  { maxLength: 60 },
);

test("finds whom looking at every filter finds, and is empty when all have gone", () => {
  fc.assert(
    fc.property(acts, fc.array(topicName, { minLength: 1, maxLength: 10 }), (acts, topicNames) => {
      const subscriptions = new Subscriptions();
      const model = new Map<string, Subscription>();
      for (const { act, session, plainFilter, group } of acts) {
        const one = subscription(session, plainFilter, group);
        const key = `${session.clientId} ${one.topicFilter}`;
        if (act === "add") {
          subscriptions.add(one);
          model.set(key, one);
        } else {
          subscriptions.remove(one);
          model.delete(key);
        }
        assert.equal(subscriptions.count, model.size);
      }
      for (const text of topicNames) {
        const name = parseTopicName(text)!;
        const expected = [...model]
          .filter(([, { plainFilter }]) => matches(parseTopicFilter(plainFilter)!, name))
          .map(([key]) => key);
        assert.deepEqual(found(subscriptions.match(text)), expected.sort(), text);
      }
      for (const one of model.values()) subscriptions.remove(one);
      assert.equal(subscriptions.count, 0);
      // Nothing at all is left of the tree.
      assert.deepEqual(subscriptions, new Subscriptions());
    }),
    { numRuns: 300 },
  );
});

test("subscribing again takes the place of the former subscription", () => {
  const subscriptions = new Subscriptions();
  subscriptions.add(subscription(sessions[0], "a/+"));
  subscriptions.add({ ...subscription(sessions[0], "a/+"), qos: 2 });
  const [{ plain }] = subscriptions.match("a/b");
  assert.deepEqual(
    Array.from(plain.values(), ({ qos }) => qos),
    [2],
  );
  assert.equal(subscriptions.count, 1);
});

test("levels are counted once, however many filters go through them", () => {
  const subscriptions = new Subscriptions();
  subscriptions.add(subscription(sessions[0], "a/b/c"));
  subscriptions.add(subscription(sessions[1], "a/b/d"));
  assert.equal(subscriptions.levels, 4);
});
