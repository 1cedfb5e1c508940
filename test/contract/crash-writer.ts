/**
 * Commits one batch after another, as fast as it can, and says the number of each once it is done: for `crash.test.ts`, which kills it.
 * What batch `n` holds follows from `n` alone, so that whoever knows how far it came knows what must be there.
 */
import { writeSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Change } from "../../src/store/change.ts";
import { openDataFolder } from "../../src/store/data-folder.ts";
import { SqliteStore } from "../../src/store/sqlite.ts";

export const writerFile = import.meta.filename;

/** The retained topic that tells the last batch of a store. */
export const lastBatchTopic = "last-batch";

const clients = ["a", "b", "c"];
/** So many batches later a message or delivery is settled: some within the transaction that owes it, some long after. */
const lags = [0, 1, 7, 40];

export function batch(n: number): Change[] {
  const clientId = clients[n % clients.length];
  const changes: Change[] = [];
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
      delivery: {
        deliveryId: `${endpoint}${n}`,
        endpoint,
        event,
        orderKey: clientId,
        body,
        acceptedAt: n,
        expiresAt: undefined,
      },
    });
  }
  const over = n - lags[n % lags.length];
  if (over < 1) return changes;
  const overClientId = clients[over % clients.length];
  changes.push({ type: "released", clientId: overClientId, position: over });
  if (n % 3 === 0) changes.push({ type: "settled", clientId: overClientId, position: over });
  changes.push({ type: "receive-completed", clientId: overClientId, packetIdentifier: 1 + (over % 100) });
  changes.push({ type: "delivery-settled", deliveryId: `x${over}`, outcome: "delivered", reason: "" });
  if (n % 5 === 0) changes.push({ type: "delivery-settled", deliveryId: `y${over}`, outcome: "dead", reason: "" });
  return changes;
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
      store.commit(batch(n), (error) => {
        if (error !== undefined) throw error;
        writeSync(1, `${n}\n`);
        if (i === count - 1) commitSome();
      });
    }
  };
  commitSome();
}
