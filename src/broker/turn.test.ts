import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { Change } from "../store/change.ts";
import { type Store, StoreUnavailable } from "../store/store.ts";
import { uncommittedBytesMax } from "./limits.ts";
import { Turn } from "./turn.ts";

/** A store that commits when it is told to. */
class SlowStore implements Pick<Store, "commit"> {
  readonly batches: { changes: readonly Change[]; done: (error?: StoreUnavailable) => void }[] = [];

  commit(changes: readonly Change[], done: (error?: StoreUnavailable) => void): void {
    this.batches.push({ changes, done });
  }
}

function setUp() {
  const store = new SlowStore();
  let opened = 0;
  const turn = new Turn(store as unknown as Store, () => opened++);
  const said: string[] = [];
  const say = (what: string) => turn.whenCommitted((committed) => said.push(committed ? what : `not ${what}`));
  return { store, turn, said, say, opened: () => opened };
}

const cleared = (topicName: string): Change => ({ type: "retained-cleared", topicName });
const kept = (bytes: number): Change => ({
  type: "message-kept",
  messageId: 1,
  message: {
    topicName: "a",
    payload: new Uint8Array(bytes),
    qos: 1,
    retain: false,
    properties: new Uint8Array(0),
    acceptedAt: 0,
    expiresAt: undefined,
    publisherClientId: "p",
    publisherUserName: undefined,
  },
});

describe("first commit, then speak", () => {
  test("an answer waits for the commit of what was added before it", () => {
    const { store, turn, said, say } = setUp();
    turn.add(cleared("a"));
    say("one");
    turn.end();
    assert.deepEqual(said, []);
    store.batches[0].done();
    assert.deepEqual(said, ["one"]);
  });

  test("all of one turn is one batch", () => {
    const { store, turn } = setUp();
    turn.add(cleared("a"));
    turn.add(cleared("b"));
    turn.end();
    assert.deepEqual(
      store.batches.map(({ changes }) => changes.length),
      [2],
    );
  });

  test("a turn with nothing durable speaks at its end, without the store", () => {
    const { store, turn, said, say } = setUp();
    say("one");
    turn.end();
    assert.deepEqual(said, ["one"]);
    assert.equal(store.batches.length, 0);
  });

  test("a turn with nothing durable waits behind one that is being committed", () => {
    const { store, turn, said, say } = setUp();
    turn.add(cleared("a"));
    say("one");
    turn.end();
    say("two");
    turn.end();
    assert.deepEqual(said, []);
    store.batches[0].done();
    assert.deepEqual(said, ["one", "two"]);
  });

  test("what was not committed is told so, and the turns behind it go on", () => {
    const { store, turn, said, say } = setUp();
    turn.add(cleared("a"));
    say("one");
    turn.end();
    turn.add(cleared("b"));
    say("two");
    turn.end();
    store.batches[0].done(new StoreUnavailable("commit"));
    store.batches[1].done();
    assert.deepEqual(said, ["not one", "two"]);
  });

  test("an empty turn ends without a word", () => {
    const { store, turn, opened } = setUp();
    turn.end();
    assert.equal(store.batches.length, 0);
    assert.equal(opened(), 0);
  });

  test("the first change or answer of a turn asks for its end, once", () => {
    const { turn, say, opened } = setUp();
    turn.add(cleared("a"));
    turn.add(cleared("b"));
    say("one");
    assert.equal(opened(), 1);
    turn.end();
    say("two");
    assert.equal(opened(), 2);
  });
});

describe("a store that falls behind", () => {
  test("is full beyond the limit, and has room again at half of it", () => {
    const { store, turn } = setUp();
    let room = 0;
    for (let i = 0; i < 4; i++) {
      turn.add(kept(uncommittedBytesMax / 4));
      turn.end();
    }
    assert.equal(turn.isFull, true);
    turn.whenRoom(() => room++);
    store.batches[0].done();
    assert.equal(turn.isFull, false);
    assert.equal(room, 0);
    store.batches[1].done();
    store.batches[2].done();
    assert.equal(room, 1);
    store.batches[3].done();
    assert.equal(room, 1);
  });

  test("counts what the present turn has added already", () => {
    const { turn } = setUp();
    turn.add(kept(uncommittedBytesMax));
    assert.equal(turn.isFull, true);
  });
});
