/** The power goes while a whole broker works: what a publisher has its PUBACK for is owed to subscriber and webhook after it. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import type { Engine, StoredState } from "../../../src/store/store.ts";
import { test } from "../../e2e/support/place.ts";
import { deadPort } from "../../e2e/support/receivers.ts";
import { TestClient } from "../../support/client.ts";
import { writeImage } from "./disk.ts";
import { cutInCheckpoint, cutsWanted, explore, scratchFolder, seedWanted } from "./exploring.ts";
import { buildLayer, Notes, readJournal, recordedBy, snapshotOf } from "./recording.ts";
import { owedTo } from "./workload.ts";

const messages = 1500;
const window = 20;

const lasting = { clientId: "lasting", cleanStart: false, properties: { sessionExpiryInterval: 3600 } } as const;

/** Both debts of a message are one batch, so message `n` is owed to both or to none; and in the order of publishing. */
function judge(store: Engine, state: StoredState, notes: readonly string[]): string[] {
  if (notes.length === 0) return [];
  const [session] = state.sessions;
  if (session?.subscriptions.length !== 1) return ["lost: the subscription"];
  const queued = session.queue.map(({ messageId }) => numberIn(state.messages.get(messageId)!.payload));
  const delivered = owedTo(store, "default").map(({ owed: { body } }) =>
    numberIn(Buffer.from(JSON.parse(`${Buffer.from(body)}`).payload)),
  );
  const owed = Math.max(...notes.map(Number));
  const faults = [];
  if (queued.length < owed) faults.push(`lost: messages ${queued.length + 1} to ${owed}`);
  if (queued.some((number, i) => number !== 1 + i)) faults.push("the queue has a gap");
  if (delivered.join() !== queued.join()) faults.push("subscriber and webhook are not owed the same");
  return faults;
}

function payload(n: number): string {
  return `${n} ${"-".repeat(2000)}`;
}

function numberIn(bytes: Uint8Array): number {
  return Number.parseInt(Buffer.from(bytes).toString(), 10);
}

test("what had its PUBACK is owed to subscriber and webhook, and a broker goes on from there", async ({
  place,
  skip,
}) => {
  const library = buildLayer(place.folder, skip);
  const scratch = scratchFolder();
  place.whenLeaving(() => rm(scratch, { recursive: true }));
  const folder = path.join(scratch, "disk");
  const journal = path.join(scratch, "journal");
  mkdirSync(folder);
  const before = snapshotOf(folder);
  const configuration = (directory: string, port: number) => `
    mqtt.max_mqueue_len = 100000
    store { engine = disk, dir = "${directory}" }
    webhook { url = "http://127.0.0.1:${port}", events = [{ event = on_message_publish, topic = "a" }] }`;

  const dead = await deadPort();
  const broker = await place.startBroker(configuration(folder, dead), [], {
    env: recordedBy(library, { folder, journal }),
  });
  const subscriber = await TestClient.connect(broker.port, lasting);
  await subscriber.subscribe("a", { qos: 1 });
  const notes = new Notes(journal);
  notes.note("0");
  await subscriber.disconnect();
  const publisher = await TestClient.connect(broker.port);
  const unanswered: number[] = [];
  const answered = async () => {
    const puback = await publisher.expect("puback");
    assert.equal(puback.reasonCode, 0);
    assert.equal(puback.packetIdentifier, unanswered.shift());
    notes.note(`${puback.packetIdentifier}`);
  };
  for (let n = 1; n <= messages; n++) {
    publisher.sendPublish("a", payload(n), { qos: 1, packetIdentifier: n as never });
    unanswered.push(n);
    if (unanswered.length === window) await answered();
  }
  while (unanswered.length > 0) await answered();
  broker.program.signal("SIGKILL");
  await broker.program.ended();
  notes.close();

  const recording = { before, steps: readJournal(journal) };
  const exploration = { recording, names: "own", directory: "", cuts: cutsWanted, seed: seedWanted, judge } as const;
  const { faults, cutsInCheckpoints } = await explore("a broker", exploration);
  expect(faults).toEqual([]);
  expect(cutsInCheckpoints).toBeGreaterThan(0);

  const found = cutInCheckpoint(recording, "own", seedWanted);
  const after = path.join(scratch, "after");
  writeImage(found.image, after);
  const again = await place.startBroker(configuration(after, dead));
  const resumed = await TestClient.connect(again.port, lasting);
  const owed = Math.max(...found.notes.map(Number));
  assert.ok(owed > 0);
  const texts = await resumed.receiveTexts(owed);
  assert.deepEqual(
    texts.map((text) => Number.parseInt(text, 10)),
    texts.map((_, i) => i + 1),
  );
});
