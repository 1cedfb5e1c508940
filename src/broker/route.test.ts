import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { routesMax, routeTargetsMax, routeTopicLengthMax, topicLevelsMax } from "./limits.ts";
import { encodeIdentifiers, Route, Routes } from "./route.ts";
import { Session } from "./session.ts";
import { Subscriptions, type Subscription } from "./subscriptions.ts";
import type { Tap } from "./tap.ts";

const alice = new Session("alice", undefined, 0);
const bob = new Session("bob", undefined, 0);

function subscription(session: Session, topicFilter: string, more: Partial<Subscription> = {}): Subscription {
  return {
    session,
    topicFilter,
    plainFilter: topicFilter,
    sharedGroup: undefined,
    qos: 0,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionIdentifier: undefined,
    ...more,
  };
}

function begin(taps: Tap[] = []) {
  const subscriptions = new Subscriptions();
  const routes = new Routes(subscriptions, taps);
  const find = (topicName: string) => {
    const bytes = Buffer.from(`..${topicName}.`);
    const route = routes.find(bytes, 2, bytes.length - 1);
    if (route.valid) routes.refresh(route);
    return route;
  };
  return { subscriptions, routes, find };
}

describe("a route is remembered", () => {
  test("and found again by the bytes of its topic name, wherever they lie", () => {
    const { find } = begin();
    const route = find("a/é");
    assert.equal(route.topicName, "a/é");
    assert.equal(find("a/é"), route);
    assert.notEqual(find("a/e"), route);
    // The two bytes of é, each as a character: other bytes, another topic.
    assert.notEqual(find("a/Ã©"), route);
  });

  test("with bytes of its own: it outlives the read it was made from", () => {
    const { routes } = begin();
    const read = Buffer.from("topic");
    const route = routes.find(read, 0, 5);
    read.fill(0);
    assert.equal(route.topicBytes.toString(), "topic");
    assert.equal(route.topicBytes.buffer.byteLength, 5);
  });

  test("until there are too many: then all are forgotten, and come back one by one", () => {
    const { find } = begin();
    const first = find("first");
    for (let i = 0; i < routesMax - 1; i++) find(`t${i}`);
    assert.equal(find("first"), first);
    find("one more");
    assert.notEqual(find("first"), first);
  });

  test("until they have too many subscribers together: those who hear everything are in every route", () => {
    const { subscriptions, find } = begin();
    for (let i = 0; i < 1000; i++) subscriptions.add(subscription(new Session(`s${i}`, undefined, 0), "#"));
    const first = find("first");
    for (let i = 1; i < routeTargetsMax / 1000; i++) find(`t${i}`);
    assert.equal(find("first"), first);
    find("beyond the limit");
    find("and one more");
    assert.notEqual(find("first"), first);
  });

  test("unless its name is so long that it is not worth it", () => {
    const { find } = begin();
    const long = "x".repeat(routeTopicLengthMax + 1);
    assert.notEqual(find(long), find(long));
    assert.equal(find(long).topicName, long);
    assert.equal(find(long.slice(1)), find(long.slice(1)));
  });

  test("and looked at again only when something has changed", () => {
    let asked = 0;
    const { subscriptions, routes, find } = begin([
      {
        interest: () => {
          asked++;
          return undefined;
        },
      },
    ]);
    const route = find("a");
    for (let i = 0; i < 10; i++) find("a");
    assert.equal(asked, 1);
    subscriptions.add(subscription(alice, "a"));
    routes.changed();
    assert.deepEqual(
      find("a").targets.map(({ session }) => session),
      [alice],
    );
    assert.equal(find("a"), route);
    assert.equal(asked, 2);
  });
});

describe("a topic name that is none has a route that is not valid", () => {
  for (const [what, topicName] of [
    ["empty", ""],
    ["with a wildcard", "a/+"],
    ["with U+0000", "a\0"],
    ["of too many levels", "/".repeat(topicLevelsMax)],
    ["longer than any string", "x".repeat(65_536)],
  ] as const) {
    test(what, () => {
      assert.equal(new Route(Buffer.from(topicName)).valid, false);
    });
  }

  test("ill-formed", () => {
    assert.equal(new Route(Buffer.from([0x61, 0xff])).valid, false);
  });

  test("the deepest and the longest there can be are valid", () => {
    assert.equal(new Route(Buffer.from("/".repeat(topicLevelsMax - 1))).valid, true);
    assert.equal(new Route(Buffer.from("x".repeat(65_535))).valid, true);
  });
});

test("the broker's own topics are reserved, and no others", () => {
  for (const [topicName, reserved] of [
    ["$SYS/brokers", true],
    ["$SYS/brokers/version", true],
    ["$SYS", false],
    ["$SYS/broker/connection/bridge/state", false],
    ["$SYS/brokersx", false],
    ["$SYSTEM", false],
    ["$sys", false],
    ["a/$SYS", false],
    ["$x", false],
  ] as const) {
    assert.equal(new Route(Buffer.from(topicName)).reserved, reserved, topicName);
  }
});

describe("all subscriptions of a session that match are one target", () => {
  test("of the highest QoS, with every Subscription Identifier, RETAIN kept if any asks for it [MQTT5 3.3.4-2] [MQTT5 3.3.4-4]", () => {
    const { subscriptions, find } = begin();
    subscriptions.add(subscription(alice, "a/#", { qos: 1, subscriptionIdentifier: 300 }));
    subscriptions.add(subscription(alice, "a/+", { qos: 2, retainAsPublished: true }));
    subscriptions.add(subscription(alice, "a/b", { subscriptionIdentifier: 1 }));
    subscriptions.add(subscription(bob, "a/b"));
    const [first, second] = find("a/b").targets.toSorted((a, b) =>
      a.session.clientId.localeCompare(b.session.clientId),
    );
    assert.deepEqual([first.session, first.qos, first.retainAsPublished], [alice, 2, true]);
    assert.deepEqual(first.subscriptionIdentifiers.toSorted(), [1, 300]);
    assert.deepEqual([second.session, second.qos, second.retainAsPublished], [bob, 0, false]);
    assert.deepEqual(second.subscriptionIdentifiers, []);
  });

  test("that knows what is for its own messages [MQTT5 3.8.3.1]", () => {
    const { subscriptions, find } = begin();
    subscriptions.add(subscription(alice, "a", { noLocal: true, qos: 2, subscriptionIdentifier: 1 }));
    assert.equal(find("a").targets[0].own, "none");
    subscriptions.add(subscription(alice, "b/+", { noLocal: true, qos: 2, subscriptionIdentifier: 1 }));
    subscriptions.add(subscription(alice, "b/#", { qos: 1, subscriptionIdentifier: 2 }));
    const [target] = find("b/c").targets;
    assert.equal(target.own, "to-self");
    assert.equal(target.qos, 2);
    assert.deepEqual([target.toSelf?.qos, target.toSelf?.subscriptionIdentifiers], [1, [2]]);
    subscriptions.add(subscription(bob, "c"));
    assert.equal(find("c").targets[0].own, "all");
  });
});

test("a subscription that matches alone is one target for all topics; a new one in its place is another", () => {
  const { subscriptions, routes, find } = begin();
  subscriptions.add(subscription(alice, "#"));
  const [target] = find("a").targets;
  assert.equal(find("b").targets[0], target);
  subscriptions.add(subscription(alice, "#", { qos: 2 }));
  routes.changed();
  assert.equal(find("a").targets[0].qos, 2);
});

test("shared subscriptions are groups of their own, by share name and filter [MQTT5 4.8.2]", () => {
  const { subscriptions, find } = begin();
  const shared = (session: Session, group: string, plainFilter: string) =>
    subscriptions.add(subscription(session, `$share/${group}/${plainFilter}`, { plainFilter, sharedGroup: group }));
  shared(alice, "g", "a");
  shared(bob, "g", "a");
  shared(alice, "h", "a");
  shared(alice, "g", "+");
  subscriptions.add(subscription(bob, "a"));
  const route = find("a");
  assert.deepEqual(
    route.targets.map(({ session }) => session),
    [bob],
  );
  const groups = route.shared.map(({ members }) =>
    members.map(({ session, sharedFilter }) => `${session.clientId} ${sharedFilter}`),
  );
  assert.deepEqual(groups.toSorted(), [
    ["alice $share/g/+"],
    ["alice $share/g/a", "bob $share/g/a"],
    ["alice $share/h/a"],
  ]);
});

test("Subscription Identifiers are encoded as properties [MQTT5 3.3.2.3.8]", () => {
  assert.equal(encodeIdentifiers([]).length, 0);
  assert.equal(encodeIdentifiers([1, 127, 128, 268_435_455]).toString("hex"), "0b010b7f0b80010bffffff7f");
});
