/**
 * Commits one batch after another, as fast as it can, and says the number of each once it is done: for `crash.test.ts`, which kills it.
 * What batch `n` holds follows from `n` alone, so that whoever knows how far it came knows what must be there.
 */
import { writeSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { BrokerChange, DeliveryChange } from "../../src/store/change.ts";
import { openDataFolder } from "../../src/store/data-folder.ts";
import { SqliteStore } from "../../src/store/sqlite.ts";
import type { Engine } from "../../src/store/store.ts";

export const writerFile = import.meta.filename;

/** The retained topic that tells the last batch of a store. */
export const lastBatchTopic = "last-batch";

const clients = ["a", "b", "c"];
/** So many batches later a message or delivery is settled: some within the transaction that owes it, some long after. */
const lags = [0, 1, 7, 40];

interface Batch {
  changes: BrokerChange[];
  /** Handed in with it. */
  ends: DeliveryChange[];
}

function batch(n: number): Batch {
  const clientId = clients[n % clients.length];
  const changes: BrokerChange[] = [];
  const ends: DeliveryChange[] = [];
  if (n <= clients.length) changes.push({ type: "session-opened", clientId, userName: undefined, expirySeconds: 3600 });
  changes.push(
    {
      type: "message-kept",
      messageId: n,
      message: {
        topicName: lastBatchTopic,
        payload: Buffer.from(`${n} `.repeat(1 + (n % 400))),
        qos: 1,
        retain: true,
        properties: Buffer.alloc(0),
        acceptedAt: n,
        expiresAt: undefined,
        publisherClientId: clientId,
        publisherUserName: undefined,
      },
    },
    { type: "retained", topicName: lastBatchTopic, messageId: n },
    { type: "received", clientId, packetIdentifier: 1 + (n % 100) },
    {
      type: "queued",
      clientId,
      position: n,
      messageId: n,
      qos: 2,
      retain: false,
      subscriptionIdentifiers: [],
      sharedFilter: undefined,
    },
    { type: "sent", clientId, position: n, packetIdentifier: 1 + (n % 60_000) },
  );
  for (const endpoint of ["x", "y"]) {
    const body = Buffer.from(`{"n":${n},"filling":"${"-".repeat(n % 300)}"}`);
    const event = "on_message_publish";
    changes.push({
      type: "delivery-owed",
      durability: "strict",
      delivery: {
        deliveryId: `${endpoint}${n}`,
        endpoint,
        event,
        orderKey: clientId,
        body,
        acceptedAt: n,
        expiresAt: undefined,
        head: n % 3 === 0 ? `{"n":${n}}` : "",
      },
    });
  }
  const over = n - lags[n % lags.length];
  if (over < 1) return { changes, ends };
  const overClientId = clients[over % clients.length];
  changes.push({ type: "released", clientId: overClientId, position: over });
  if (n % 3 === 0) changes.push({ type: "settled", clientId: overClientId, position: over });
  changes.push({ type: "receive-completed", clientId: overClientId, packetIdentifier: 1 + (over % 100) });
  const [x, y] = [2 * over - 1, 2 * over];
  ends.push({ type: "delivery-settled", endpoint: "x", position: x, outcome: "delivered" });
  const letter = { reason: "rejected", detail: "", attempts: 1, at: n };
  if (n % 5 === 0) ends.push({ type: "delivery-died", endpoint: "y", position: y, ...letter });
  else ends.push({ type: "delivery-put-back", endpoint: "y", position: y, attempts: 1, failures: 1, dueAt: n });
  return { changes, ends };
}

/** Both are in one transaction, or neither is. */
export function commitBatch(store: Engine, n: number, done: () => void): void {
  const { changes, ends } = batch(n);
  const orThrow = (act: () => void) => (error?: Error) => {
    if (error !== undefined) throw error;
    act();
  };
  store.commit(
    changes,
    orThrow(() => {}),
  );
  store.record(ends, orThrow(done));
}

if (process.argv[1] === writerFile) write(process.argv[2], Number(process.argv[3]));

/** From batch `first` on, some in one transaction, until the end of the process. */
function write(directory: string, first: number): void {
  const store = new SqliteStore({
    folder: openDataFolder(directory),
    sync: "commit",
    clock: systemClock,
    log: silentLogger,
  });
  let next = first;
  const commitSome = () => {
    const count = 1 + (next % 20);
    for (let i = 0; i < count; i++) {
      const n = next++;
      commitBatch(store, n, () => {
        writeSync(1, `${n}\n`);
        if (i === count - 1) commitSome();
      });
    }
  };
  commitSome();
}
