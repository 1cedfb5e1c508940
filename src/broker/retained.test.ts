import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { matches, parseTopicFilter, parseTopicName } from "../mqtt/topic.ts";
import { retainedBytesMax } from "./limits.ts";
import { KeptMessage } from "./message.ts";
import { Retained } from "./retained.ts";

function message(topicName: string, payload = "x"): KeptMessage {
  return new KeptMessage({
    topicName,
    topicBytes: Buffer.from(topicName),
    payload: Buffer.from(payload),
    qos: 0,
    retain: true,
    properties: Buffer.alloc(0),
    expiryOffset: -1,
    acceptedAt: 0,
    expiresAt: undefined,
    publisher: { clientId: "c", userName: undefined },
  });
}

const walked = (retained: Retained, topicFilter: string) =>
  [...retained.walk(topicFilter)].filter((step) => step !== undefined);

const level = fc.constantFrom("", "a", "b", "$x", "__proto__", "constructor");
const topicName = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join("/"))
  .filter((text) => text !== "");
const topicFilter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant("+")), { maxLength: 4 }), fc.boolean())
  .map(([levels, all]) => [...levels, ...(all ? ["#"] : [])].join("/"))
  .filter((text) => text !== "");
const acts = fc.array(fc.tuple(topicName, fc.constantFrom("set", "set", "delete"), fc.string({ maxLength: 5 })), {
  maxLength: 60,
});

test("holds what a plain map holds, finds what looking at every topic finds, and leaves nothing behind", () => {
  fc.assert(
    fc.property(acts, fc.array(topicFilter, { minLength: 1, maxLength: 8 }), (acts, filters) => {
      const retained = new Retained();
      const model = new Map<string, KeptMessage>();
      for (const [name, act, payload] of acts) {
        if (act === "set") {
          const one = message(name, payload);
          assert.equal(retained.set(one), model.get(name));
          model.set(name, one);
        } else {
          assert.equal(retained.delete(name), model.get(name));
          model.delete(name);
        }
        assert.equal(retained.get(name), model.get(name));
      }
      assert.equal(retained.count, model.size);
      assert.equal(
        retained.bytes,
        [...model.values()].reduce((sum, { bytes }) => sum + bytes, 0),
      );
      for (const filter of filters) {
        const expected = [...model.keys()].filter((name) => matches(parseTopicFilter(filter)!, parseTopicName(name)!));
        assert.deepEqual(
          walked(retained, filter)
            .map(({ topicName }) => topicName)
            .sort(),
          expected.sort(),
          filter,
        );
      }
      for (const name of model.keys()) retained.delete(name);
      assert.deepEqual(retained, new Retained());
    }),
    { numRuns: 300 },
  );
});

describe("a walk takes steps, and the tree may change between them", () => {
  test("what is there all along is found once, whatever comes and goes beside it", () => {
    fc.assert(
      fc.property(acts, fc.array(fc.nat({ max: 5 }), { maxLength: 60 }), (acts, pauses) => {
        const retained = new Retained();
        const staying = ["stays", "stays/a", "stays/a/b", "stays/c"];
        for (const name of staying) retained.set(message(name));
        for (const [name] of acts) retained.set(message(name));
        const found: string[] = [];
        const walk = retained.walk("#");
        acts.forEach(([name, act], i) => {
          for (let steps = pauses[i] ?? 1; steps > 0; steps--) {
            const { value } = walk.next();
            if (value !== undefined) found.push(value.topicName);
          }
          if (act === "set") retained.set(message(name));
          else retained.delete(name);
        });
        for (const step of walk) if (step !== undefined) found.push(step.topicName);
        assert.deepEqual(found.filter((name) => staying.includes(name)).sort(), staying);
      }),
    );
  });

  test("steps without a find are steps: a filter that finds nothing in a large tree takes many, not one long one", () => {
    const retained = new Retained();
    for (let i = 0; i < 1000; i++) retained.set(message(`a/${i}/b`));
    const steps = [...retained.walk("a/+/c")];
    assert.ok(steps.length >= 1000);
    assert.ok(steps.every((step) => step === undefined));
  });
});

test("there is room as long as count and bytes allow, and always for what takes no more than it replaces", () => {
  const retained = new Retained();
  const one = message("a", "12345");
  assert.equal(retained.hasRoomFor(one), true);
  retained.set(one);
  retained.bytes = retainedBytesMax;
  assert.equal(retained.hasRoomFor(message("b", "")), false);
  assert.equal(retained.hasRoomFor(message("a", "123456")), false);
  assert.equal(retained.hasRoomFor(message("a", "54321")), true);
});
