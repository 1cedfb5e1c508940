/** The simulation finds what it is there to find: a broken part in an otherwise sound world is noticed. */
import assert from "node:assert/strict";
import { test } from "vitest";
import type { Change } from "../../src/store/change.ts";
import type { StoredQueueEntry, StoredSession, StoredState } from "../../src/store/store.ts";
import { SimulationFailure } from "./judge.ts";
import { simulate, type SimulationOptions } from "./simulation.ts";

/** What is lost may heal before anyone misses it: in one of these stories it is missed. */
const seeds = [21, 22, 23, 24];

async function finds(options: SimulationOptions, claims: RegExp): Promise<void> {
  for (const seed of seeds) {
    const failure = await simulate(seed, { days: 3, ...options }).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (failure === undefined) continue;
    assert.ok(failure instanceof SimulationFailure);
    const [first] = failure.message.split("\n", 1);
    assert.match(first, new RegExp(`^seed ${seed}, day \\d \\d\\d:\\d\\d:\\d\\d\\.\\d\\d\\d: `));
    assert.match(first, claims);
    assert.match(failure.message, new RegExp(`Again: HOOKMQ_SIMULATION_SEED=${seed} `));
    return;
  }
  assert.fail(`none of the seeds ${seeds.join(", ")} found it`);
}

/** What was committed and is lost at each crash, as if its Change had never been written. */
const losses: Record<string, { forgets: NonNullable<SimulationOptions["forgets"]>; claims: RegExp }> = {
  "a session": {
    forgets: ({ sessions }) => first(sessions, ({ clientId }) => ({ type: "session-ended", clientId })),
    claims: /Session Present is true|what was accepted arrives|a will is published/,
  },
  "a subscription": {
    forgets: ({ sessions }) =>
      first(
        sessions,
        ({ clientId, subscriptions: [one] }) => one && { type: "unsubscribed", clientId, topicFilter: one.topicFilter },
      ),
    // An UNSUBSCRIBE of what is forgotten needs no disk.
    claims: /what was accepted arrives|the QoS is the lower of both|first commit, then speak: \S+ got UNSUBACK/,
  },
  "a message of a queue": {
    forgets: (state) =>
      entry(state, "queued", ({ clientId }, { position }) => ({ type: "settled", clientId, position })),
    claims: /what was accepted arrives/,
  },
  "what had been sent": {
    forgets: (state) => entry(state, "sent", ({ clientId }, { position }) => ({ type: "settled", clientId, position })),
    claims: /what was accepted arrives/,
  },
  "its identifiers of QoS 2": {
    forgets: ({ sessions }) =>
      sessions.flatMap(({ clientId, received }) =>
        received.map((packetIdentifier) => ({ type: "receive-completed", clientId, packetIdentifier })),
      ),
    claims: /each matching event is owed|sent again only as a duplicate|exactly once|did not ask for|got PUBCOMP/,
  },
  "a retained message": {
    forgets: ({ retained }) => first(retained.keys(), (topicName) => ({ type: "retained-cleared", topicName })),
    claims: /retained message is the last one|are missing, 0 were dropped: retained/,
  },
  "a will": {
    forgets: ({ wills }) => first(wills, ({ clientId }) => ({ type: "will-cleared", clientId })),
    claims: /a will is published when it is due|each matching event is owed/,
  },
  "a delivery": {
    forgets: (_state, store) =>
      first(store.endpoints(), ({ endpoint }) => {
        const [owed] = store.owedBehind(endpoint, 0, { countMax: 1, bytesMax: 0 }).deliveries;
        return owed && { type: "delivery-settled", endpoint, position: owed.position, outcome: "delivered" };
      }),
    claims: /accepted is what is on disk|what waits is on disk|nothing is left|in order/,
  },
};

for (const [what, { forgets, claims }] of Object.entries(losses)) {
  test(`a disk that forgets ${what} is found`, () => finds({ forgets }, claims));
}

test("a receiver that says yes and forgets is found", async () => {
  let requests = 0;
  await finds({ isSwallowed: () => ++requests >= 200 }, /the end of a delivery is true/);
});

test("a dispatcher that does not heed a pause is found", () =>
  finds({ ignoresPauses: true }, /a paused endpoint is sent nothing/));

function first<Item>(items: Iterable<Item>, loss: (item: Item) => Change | undefined): Change[] {
  for (const item of items) {
    const found = loss(item);
    if (found !== undefined) return [found];
  }
  return [];
}

function entry(
  { sessions }: StoredState,
  state: StoredQueueEntry["state"],
  loss: (session: StoredSession, entry: StoredQueueEntry) => Change,
): Change[] {
  const entries = sessions.flatMap((session) => session.queue.map((one) => ({ session, one })));
  return first(entries, ({ session, one }) => (one.state === state ? loss(session, one) : undefined));
}
