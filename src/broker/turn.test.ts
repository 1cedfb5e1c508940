import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { BrokerChange } from "../store/change.ts";
import { type Store, StoreUnavailable } from "../store/store.ts";
import { uncommittedBytesMax } from "./limits.ts";
import { Turn } from "./turn.ts";

/** Answers when it is told to. */
class SlowStore implements Store {
  readonly trouble = undefined;
  onTrouble: Store["onTrouble"];
  readonly commits: { changes: readonly BrokerChange[]; done: (error?: StoreUnavailable) => void }[] = [];

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    this.commits.push({ changes, done });
  }

  load(): ReturnType<Store["load"]> {
    throw new Error("not asked for");
  }

  async close(): Promise<void> {}
}

const change = (clientId: string): BrokerChange => ({ type: "session-ended", clientId });

function begin() {
  const store = new SlowStore();
  const said: string[] = [];
  let opened = 0;
  const turn = new Turn(store, () => opened++);
  const say = (text: string) => turn.whenCommitted((committed) => said.push(committed ? text : `not ${text}`));
  return { store, said, turn, say, opened: () => opened };
}

describe("first commit, then speak", () => {
  test("a turn with nothing durable speaks as soon as it ends, and commits nothing", () => {
    const { turn, say, said, store } = begin();
    say("a");
    assert.deepEqual(said, []);
    turn.end();
    assert.deepEqual(said, ["a"]);
    assert.equal(store.commits.length, 0);
  });

  test("a turn with changes speaks when they are safe: one commit, all in order", () => {
    const { turn, say, said, store } = begin();
    say("a");
    turn.add(change("1"));
    say("b");
    turn.add(change("2"));
    say("c");
    turn.end();
    assert.deepEqual(said, []);
    assert.deepEqual(
      store.commits.map(({ changes }) => changes),
      [[change("1"), change("2")]],
    );
    store.commits[0].done();
    assert.deepEqual(said, ["a", "b", "c"]);
  });

  test("turns speak in the order they ended, those without changes behind those with", () => {
    const { turn, say, said, store } = begin();
    for (const [text, durable] of [
      ["a", true],
      ["b", false],
      ["c", true],
      ["d", false],
    ] as const) {
      if (durable) turn.add(change(text));
      say(text);
      turn.end();
    }
    assert.deepEqual(said, []);
    store.commits[0].done();
    assert.deepEqual(said, ["a", "b"]);
    store.commits[1].done();
    assert.deepEqual(said, ["a", "b", "c", "d"]);
    say("e");
    turn.end();
    assert.deepEqual(said, ["a", "b", "c", "d", "e"]);
  });

  test("a store that answers before it returns is fine", () => {
    const said: boolean[] = [];
    const store = { commit: (_: unknown, done: () => void) => done() } as unknown as Store;
    const turn = new Turn(store, () => {});
    turn.add(change("1"));
    turn.whenCommitted((committed) => said.push(committed));
    turn.end();
    assert.deepEqual(said, [true]);
  });

  test("a failed commit is told to its own turn alone", () => {
    const { turn, say, said, store } = begin();
    turn.add(change("1"));
    say("a");
    turn.end();
    turn.add(change("2"));
    say("b");
    turn.end();
    say("c");
    turn.end();
    store.commits[0].done(new StoreUnavailable("commit"));
    assert.deepEqual(said, ["not a"]);
    store.commits[1].done();
    assert.deepEqual(said, ["not a", "b", "c"]);
  });

  test("what a speaker adds and says belongs to the next turn", () => {
    const { turn, said, store, opened } = begin();
    turn.add(change("1"));
    turn.whenCommitted(() => {
      turn.add(change("2"));
      turn.whenCommitted(() => said.push("second"));
    });
    turn.end();
    store.commits[0].done();
    assert.equal(opened(), 2);
    assert.equal(turn.changeCount, 1);
    turn.end();
    store.commits[1].done();
    assert.deepEqual(said, ["second"]);
  });
});

test("a turn asks for its end once, with its first change or speaker; an empty one ends without a trace", () => {
  const { turn, say, store, opened } = begin();
  turn.end();
  assert.equal(opened(), 0);
  say("a");
  say("b");
  turn.add(change("1"));
  assert.equal(opened(), 1);
  assert.equal(turn.changeCount, 1);
  turn.end();
  assert.equal(turn.changeCount, 0);
  turn.add(change("2"));
  assert.equal(opened(), 2);
  turn.end();
  turn.end();
  assert.equal(store.commits.length, 2);
});

test("what the store has not answered for has a bound: beyond it others wait, until half of it is done", () => {
  const { turn, store } = begin();
  const acts: string[] = [];
  const payload = new Uint8Array(uncommittedBytesMax / 8);
  const message = { topicName: "a", payload, qos: 1, retain: false, properties: new Uint8Array() } as const;
  const publisher = { acceptedAt: 0, expiresAt: undefined, publisherClientId: "c", publisherUserName: undefined };
  let messageId = 0;
  while (!turn.isFull) {
    turn.add({ type: "message-kept", messageId: ++messageId, message: { ...message, ...publisher } });
    turn.end();
  }
  assert.equal(messageId, 8);
  turn.whenRoom(() => acts.push("goes on"));
  for (const [i, { done }] of store.commits.entries()) {
    assert.deepEqual(acts, i <= 4 ? [] : ["goes on"]);
    done();
  }
  assert.equal(turn.isFull, false);
  assert.deepEqual(acts, ["goes on"]);
});

test("what the present turn has added counts already", () => {
  const { turn } = begin();
  const payload = new Uint8Array(uncommittedBytesMax);
  const message = { topicName: "a", payload, qos: 1, retain: false, properties: new Uint8Array() } as const;
  const publisher = { acceptedAt: 0, expiresAt: undefined, publisherClientId: "c", publisherUserName: undefined };
  turn.add({ type: "message-kept", messageId: 1, message: { ...message, ...publisher } });
  assert.equal(turn.isFull, true);
});
