import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { Awaiting, InflightWindow } from "./inflight.ts";

describe("Packet Identifiers", () => {
  test("begin at 1 and go round behind 65,535, never 0 [MQTT5 2.2.1]", () => {
    const window = new InflightWindow<never>();
    for (let expected = 1; expected <= 65_535; expected++) {
      const identifier = window.take(Awaiting.puback, undefined);
      assert.equal(identifier, expected);
      window.settle(identifier);
    }
    assert.equal(window.take(Awaiting.puback, undefined), 1);
  });

  test("of what is in flight are never given again [MQTT5 2.2.1-4]", () => {
    const window = new InflightWindow<never>();
    const held = window.take(Awaiting.pubrec, undefined);
    for (let i = 0; i < 200_000; i++) {
      const identifier = window.take(Awaiting.puback, undefined);
      assert.ok(identifier !== held && identifier > 0 && identifier <= 65_535);
      window.settle(identifier);
    }
    assert.equal(window.state(held), Awaiting.pubrec);
  });

  test("60,000 may be in flight at once, each its own", () => {
    const window = new InflightWindow<number>();
    const taken = new Set<number>();
    for (let i = 0; i < 60_000; i++) taken.add(window.take(Awaiting.puback, i));
    assert.equal(taken.size, 60_000);
    assert.equal(window.count, 60_000);
    assert.deepEqual(
      window.inOrder().map(({ entry }) => entry),
      Array.from({ length: 60_000 }, (_, i) => i),
    );
    for (const identifier of taken) window.settle(identifier);
    assert.equal(window.count, 0);
    assert.deepEqual(window.inOrder(), []);
  });
});

test("does what a plain map in order of taking does, whatever is asked of it", () => {
  const act = fc.record({
    kind: fc.constantFrom("take", "take", "take", "release", "settle", "look"),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 400 }), (acts) => {
      const window = new InflightWindow<string>();
      const model = new Map<number, { awaiting: Awaiting; entry: string | undefined }>();
      acts.forEach(({ kind, which }, i) => {
        const identifiers = [...model.keys()];
        const identifier = identifiers.length === 0 ? undefined : identifiers[which % identifiers.length];
        if (kind === "take") {
          const awaiting = which % 2 === 0 ? Awaiting.puback : Awaiting.pubrec;
          const entry = which % 3 === 0 ? undefined : `entry ${i}`;
          const taken = window.take(awaiting, entry);
          assert.ok(!model.has(taken));
          model.set(taken, { awaiting, entry });
        } else if (identifier !== undefined && kind === "release") {
          window.release(identifier);
          model.get(identifier)!.awaiting = Awaiting.pubcomp;
        } else if (identifier !== undefined && kind === "settle") {
          window.settle(identifier);
          model.delete(identifier);
          assert.equal(window.state(identifier), Awaiting.nothing);
        }
        const probe = (which % 70) + 1;
        assert.equal(window.state(probe), model.get(probe)?.awaiting ?? Awaiting.nothing);
        if (model.has(probe)) assert.equal(window.entry(probe), model.get(probe)!.entry);
        assert.equal(window.count, model.size);
      });
      const expected = [...model].map(([packetIdentifier, { awaiting, entry }]) => ({
        packetIdentifier,
        awaiting,
        entry,
      }));
      assert.deepEqual(window.inOrder(), expected);
    }),
  );
});

test("what is put back keeps its identifier and order, and the next comes behind it", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 50 }), (identifiers) => {
      const window = new InflightWindow<number>();
      for (const identifier of identifiers) window.restore(identifier, Awaiting.pubrec, identifier);
      assert.deepEqual(
        window.inOrder().map(({ packetIdentifier }) => packetIdentifier),
        identifiers,
      );
      for (const identifier of identifiers) {
        assert.equal(window.state(identifier), Awaiting.pubrec);
        assert.equal(window.entry(identifier), identifier);
      }
      for (let i = 0; i < 100; i++) assert.ok(!identifiers.includes(window.take(Awaiting.puback, undefined)));
      assert.equal(window.count, identifiers.length + 100);
    }),
  );
});

test("windows that hold nothing share nothing", () => {
  const one = new InflightWindow<string>();
  const other = new InflightWindow<string>();
  assert.equal(one.state(1), Awaiting.nothing);
  assert.equal(one.state(65_535), Awaiting.nothing);
  const identifier = one.take(Awaiting.puback, "one's");
  assert.equal(other.state(identifier), Awaiting.nothing);
  assert.deepEqual(other.inOrder(), []);
  assert.equal(other.count, 0);
});
