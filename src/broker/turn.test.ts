import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { BrokerChange } from "../store/change.ts";
import { type Store, StoreUnavailable } from "../store/store.ts";
import { FakeClock } from "../base/fake-clock.ts";
import { storeRetryMs, uncommittedBytesMax } from "./limits.ts";
import { KeptMessage } from "./message.ts";
import { Turn } from "./turn.ts";
import type { Voided } from "./voided.ts";

/** Answers when it is told to. */
class SlowStore implements Store {
  trouble: string | undefined;
  onTrouble: Store["onTrouble"];
  readonly commits: { changes: readonly BrokerChange[]; done: (error?: StoreUnavailable) => void }[] = [];

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    this.commits.push({ changes, done });
  }

  become(trouble: string | undefined): void {
    this.trouble = trouble;
    this.onTrouble?.(trouble);
  }

  refuse(...numbers: number[]): void {
    for (const number of numbers) this.commits[number].done(new StoreUnavailable("commit"));
  }

  load(): ReturnType<Store["load"]> {
    throw new Error("not asked for");
  }

  async close(): Promise<void> {}
}

const change = (clientId: string): BrokerChange => ({ type: "session-ended", clientId });

function begin() {
  const store = new SlowStore();
  const clock = new FakeClock();
  const said: string[] = [];
  const takenBack: Voided[] = [];
  let opened = 0;
  const turn = new Turn(store, () => opened++, { clock, takeBack: (voided) => takenBack.push(voided) });
  const say = (text: string) => turn.whenCommitted(() => void said.push(text));
  /** An offer of one message, `number`, to a client of the same name. */
  const offer = (number: number) => {
    const from = turn.changeCount;
    turn.add(kept(number));
    turn.add(queued(number));
    turn.offer({ from, former: undefined }, (taken) => void said.push(`${number} ${taken ? "taken" : "void"}`));
  };
  const handedIn = () => store.commits.map(({ changes }) => changes);
  return { store, clock, said, takenBack, turn, say, offer, handedIn, opened: () => opened };
}

const message = { topicName: "a", qos: 1, retain: false, properties: new Uint8Array() } as const;
const publisher = { acceptedAt: 0, expiresAt: undefined, publisherClientId: "c", publisherUserName: undefined };

function kept(messageId: number, payload = new Uint8Array()): BrokerChange {
  return { type: "message-kept", messageId, message: { ...message, ...publisher, payload } };
}

function queued(messageId: number, clientId = String(messageId)): BrokerChange {
  const facts = { qos: 1, retain: false, subscriptionIdentifiers: [], sharedFilter: undefined } as const;
  return { type: "queued", clientId, position: 1, messageId, ...facts };
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
    const said: string[] = [];
    const store = { commit: (_: unknown, done: () => void) => done() } as unknown as Store;
    const turn = new Turn(store, () => {});
    turn.add(change("1"));
    turn.whenCommitted(() => void said.push("a"));
    turn.end();
    assert.deepEqual(said, ["a"]);
  });

  test("what a speaker adds and says belongs to the next turn", () => {
    const { turn, said, store, opened } = begin();
    turn.add(change("1"));
    turn.whenCommitted(() => {
      turn.add(change("2"));
      turn.whenCommitted(() => void said.push("second"));
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

describe("when the store refuses a batch", () => {
  test("an offer is void and its publisher told; what else is in the batch is held, and its speaker with it", () => {
    const { turn, store, said, say, offer, takenBack, handedIn } = begin();
    turn.add(change("1"));
    say("a");
    offer(1);
    turn.end();
    store.refuse(0);
    assert.deepEqual(said, ["1 void"]);
    assert.deepEqual([...takenBack[0].messageIds], [1]);
    assert.deepEqual([...takenBack[0].clientIds], ["1"]);
    turn.end();
    assert.deepEqual(handedIn()[1], [change("1")]);
    store.commits[1].done();
    assert.deepEqual(said, ["1 void", "a"]);
  });

  test("nothing is handed in before all that is under way is answered for; then all in one batch, in order", () => {
    const { turn, store, said, say, offer, handedIn } = begin();
    for (const text of ["1", "2", "3"]) {
      turn.add(change(text));
      say(text);
      turn.end();
    }
    store.commits[0].done();
    store.refuse(1);
    turn.add(change("4"));
    say("4");
    offer(5);
    turn.end();
    assert.equal(store.commits.length, 3);
    store.refuse(2);
    turn.end();
    assert.deepEqual(handedIn()[3], [change("2"), change("3"), change("4"), kept(5), queued(5)]);
    store.commits[3].done();
    assert.deepEqual(said, ["1", "2", "3", "4", "5 taken"]);
  });

  test("what was added since and names a void message goes with it", () => {
    const { turn, store, offer, handedIn } = begin();
    offer(1);
    turn.end();
    turn.add(queued(1, "another member"));
    turn.add(change("2"));
    store.refuse(0);
    turn.end();
    assert.deepEqual(handedIn()[1], [change("2")]);
  });

  test("what an offer brought about beside itself stays true: the oldest of a full queue has gone", () => {
    const { turn, store, handedIn } = begin();
    const settled: BrokerChange = { type: "settled", clientId: "1", position: 7 };
    turn.add(kept(1));
    turn.add(settled);
    turn.add(queued(1));
    turn.offer({ from: 0, former: undefined }, () => {});
    turn.end();
    store.refuse(0);
    turn.end();
    assert.deepEqual(handedIn()[1], [settled]);
  });

  test("an answer that only waited behind others is what it was", () => {
    const { turn, store, said, offer } = begin();
    offer(1);
    turn.whenDecided(() => void said.push("behind"));
    turn.end();
    assert.equal(turn.isDecided, false);
    store.refuse(0);
    assert.deepEqual(said, ["1 void", "behind"]);
    assert.equal(turn.isDecided, true);
  });

  test("of void retained messages in a row the first knows what was there before; a kept one between them starts anew", () => {
    const { turn, store, takenBack } = begin();
    const [a, b, d] = ["a", "b", "d"].map(retainedMessage);
    const retain = (topicName: string, messageId: number, former: KeptMessage | undefined) => {
      const from = turn.changeCount;
      turn.add(kept(messageId));
      turn.add({ type: "retained", topicName, messageId });
      turn.offer({ from, former }, () => {});
    };
    retain("chain", 2, a);
    retain("chain", 3, b);
    retain("overtaken", 4, a);
    turn.add(kept(5));
    turn.add({ type: "retained", topicName: "overtaken", messageId: 5 });
    retain("anew", 6, a);
    turn.add({ type: "retained-cleared", topicName: "anew" });
    retain("anew", 7, d);
    turn.end();
    store.refuse(0);
    assert.deepEqual(
      takenBack[0].formerRetained,
      new Map([
        ["chain", a],
        ["anew", d],
      ]),
    );
  });

  test("an offer that follows a void one would be taken back to what was there before that", () => {
    const { turn, store, takenBack } = begin();
    const [a, b] = ["a", "b"].map(retainedMessage);
    for (const [messageId, former] of [
      [2, a],
      [3, b],
    ] as const) {
      turn.add(kept(messageId));
      turn.add({ type: "retained", topicName: "t", messageId });
      turn.offer({ from: 0, former }, () => {});
      if (messageId === 2) turn.end();
    }
    store.refuse(0);
    assert.equal(takenBack[0].formerRetained.size, 0);
    turn.end();
    store.refuse(1);
    assert.deepEqual(takenBack[1].formerRetained, new Map([["t", a]]));
  });

  test("refused once more, it waits for its time, or for the store to say that the trouble is over", () => {
    const { turn, store, clock, said, say } = begin();
    turn.add(change("1"));
    say("a");
    turn.end();
    store.refuse(0);
    turn.end();
    store.refuse(1);
    turn.end();
    assert.equal(store.commits.length, 2);
    clock.advance(storeRetryMs);
    assert.equal(store.commits.length, 3);
    store.refuse(2);
    store.become("full");
    clock.advance(storeRetryMs);
    store.refuse(3);
    turn.end();
    store.become(undefined);
    assert.equal(clock.armed, 0);
    turn.end();
    store.commits[4].done();
    assert.deepEqual(said, ["a"]);
  });

  test("in trouble nothing is handed in, and offers are void at once", () => {
    const { turn, store, clock, said, say, offer, handedIn } = begin();
    store.become("full");
    assert.equal(turn.isTroubled, true);
    turn.add(change("1"));
    say("a");
    offer(2);
    turn.end();
    assert.deepEqual(said, ["2 void"]);
    assert.equal(store.commits.length, 0);
    store.become(undefined);
    turn.end();
    assert.deepEqual(handedIn(), [[change("1")]]);
    store.commits[0].done();
    assert.deepEqual(said, ["2 void", "a"]);
    assert.equal(clock.armed, 0);
  });

  test("trouble that comes between an offer and its turn's end makes it void, once what is under way is answered for", () => {
    const { turn, store, said, offer } = begin();
    offer(1);
    turn.end();
    offer(2);
    store.become("full");
    turn.end();
    assert.deepEqual(said, []);
    store.commits[0].done();
    assert.deepEqual(said, ["1 taken", "2 void"]);
  });

  test("what says nothing durable speaks though the store is in trouble", () => {
    const { turn, store, said, say } = begin();
    store.become("full");
    say("a");
    turn.end();
    assert.deepEqual(said, ["a"]);
  });

  test("what is held has the bound of what is under way, and room comes when it is taken", () => {
    const { turn, store } = begin();
    const acts: string[] = [];
    turn.add(kept(1, new Uint8Array(uncommittedBytesMax)));
    turn.end();
    assert.equal(turn.isStuck, false);
    turn.whenRoom(() => acts.push("goes on"));
    store.become("full");
    store.refuse(0);
    assert.equal(turn.isFull, true);
    assert.equal(turn.isStuck, true);
    assert.deepEqual(acts, []);
    store.become(undefined);
    turn.end();
    store.commits[1].done();
    assert.deepEqual(acts, ["goes on"]);
    assert.equal(turn.isFull, false);
  });

  test("void offers make room at once", () => {
    const { turn, store } = begin();
    const acts: string[] = [];
    turn.add(kept(1, new Uint8Array(uncommittedBytesMax)));
    turn.offer({ from: 0, former: undefined }, () => {});
    turn.end();
    turn.whenRoom(() => acts.push("goes on"));
    store.refuse(0);
    assert.deepEqual(acts, ["goes on"]);
  });

  test("a store that is closed for good: offers are void, nobody else hears anything, nothing is held", () => {
    const { turn, store, clock, said, say, offer } = begin();
    turn.add(change("1"));
    say("a");
    offer(2);
    turn.end();
    store.commits[0].done(new StoreUnavailable("closed"));
    say("b");
    offer(3);
    turn.end();
    assert.deepEqual(said, ["2 void", "3 void"]);
    assert.equal(store.commits.length, 1);
    assert.equal(clock.armed, 0);
  });
});

describe("the stop", () => {
  test("waits for what is under way and for what that sets off", async () => {
    const { turn, store } = begin();
    turn.add(change("1"));
    turn.whenCommitted(() => turn.add(change("2")));
    const finished = turn.finish();
    store.commits[0].done();
    store.commits[1].done();
    assert.equal(await finished, 0);
  });

  test("tries once more what was held, and tells how much it had to leave", async () => {
    const { turn, store, clock } = begin();
    store.become("full");
    turn.add(change("1"));
    turn.end();
    const finished = turn.finish();
    store.refuse(0);
    store.refuse(1);
    assert.equal(await finished, 1);
    assert.equal(clock.armed, 0);
  });
});

test("changes that nobody waits for count for their room, and not as awaited", () => {
  const { turn } = begin();
  turn.addUnawaited(kept(1, new Uint8Array(uncommittedBytesMax)));
  assert.equal(turn.isFull, true);
  assert.equal(turn.changeCount, 1);
  assert.equal(turn.awaitedCount, 0);
  turn.add(change("1"));
  assert.equal(turn.awaitedCount, 1);
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
  let messageId = 0;
  while (!turn.isFull) {
    turn.add(kept(++messageId, payload));
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
  turn.add(kept(1, payload));
  assert.equal(turn.isFull, true);
});

function retainedMessage(topicName: string): KeptMessage {
  const bytes = Buffer.alloc(0);
  return new KeptMessage({
    ...message,
    topicName,
    topicBytes: bytes,
    payload: bytes,
    properties: bytes,
    expiryOffset: -1,
    acceptedAt: 0,
    expiresAt: undefined,
    publisher: { clientId: "c", userName: undefined },
  });
}
