/**
 * Bad input harms only its sender. Every test here does something that has broken some broker, and holds ours to three
 * things: the sender is answered as the specification says, two other clients go on talking as if nothing were, and what
 * the sender took is given back.
 *
 * Known classes of such input that are at home elsewhere, or come with what they attack:
 *
 *   | class                                                              | comes with                  |
 *   |--------------------------------------------------------------------|-----------------------------|
 *   | Remaining Length larger than the WebSocket frame                   | the WebSocket listener      |
 *   | CONNECT without a user name, HTTP authentication template %u, %P   | HTTP authentication         |
 *   | client identifier or user name `#` or `+` in ACL patterns          | access rules                |
 *   | rights withdrawn after SUBSCRIBE, QoS 2 or retained messages       | access rules                |
 *   | empty or malformed password and ACL files, reload without files    | password files              |
 *   | payloads of JSON that is a power of two long, bursts of 500        | webhooks (`test/e2e/`)      |
 *   | hostile remote broker behind a bridge                              | bridges                     |
 *   | client identifier as HTML in a console                             | the dashboard               |
 *   | damaged store at start                                             | the store (`test/fault/`)   |
 *   | QoS 2 and a crash between publish and commit                       | the store (`test/fault/`)   |
 */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { TestBroker } from "../support/broker.ts";
import { TestClient } from "../support/client.ts";
import { until } from "../support/until.ts";

/** Longer than a message may take while others misbehave: a stall, on a busy machine too. */
const stallMs = 2000;

/**
 * Runs `act` while two other clients exchange messages at QoS 1, each a new one as soon as the last has arrived. Fails
 * unless all arrive once and in order without a stall, and unless nothing is left in the end of any connection.
 */
export async function undisturbed(server: TestBroker, act: () => Promise<void>): Promise<void> {
  const topicName = "bystanders";
  const speaker = await TestClient.connect(server.port, { clientId: "speaker" });
  const listener = await TestClient.connect(server.port, { clientId: "listener" });
  await listener.subscribe(topicName, { qos: 1 });
  let acting = true;
  let slowestMs = 0;
  const talk = async () => {
    let said = 0;
    do {
      const since = performance.now();
      const text = String(said++);
      speaker.sendPublish(topicName, text, { qos: 1, packetIdentifier: (said % 65_535) + 1 });
      assert.equal(Buffer.from((await listener.receive()).payload).toString(), text);
      await speaker.answerTo("puback", (said % 65_535) + 1);
      slowestMs = Math.max(slowestMs, performance.now() - since);
    } while (acting);
  };
  const talked = talk();
  try {
    await Promise.race([act(), talked.then(() => Promise.reject(new Error("the bystanders have fallen silent")))]);
  } finally {
    acting = false;
    await talked;
    await listener.nothing();
    speaker.destroy();
    listener.destroy();
  }
  assert.ok(slowestMs < stallMs, `a bystander's message took ${Math.round(slowestMs)} ms`);
  await emptied(server);
}

/** Resolves when nothing is left that connections have brought. */
export function emptied({ broker }: TestBroker): Promise<void> {
  const left = () => ({
    connections: broker.connections.size,
    sessions: broker.sessions.count,
    subscriptions: broker.subscriptions.count,
    retained: broker.retained.count,
    retainedBytes: broker.retained.bytes,
    queuedBytes: broker.queuedBytes,
    waitingBytes: broker.waitingBytes,
  });
  return until(() => Object.values(left()).every((count) => count === 0), "nothing is left").catch(() => {
    assert.fail(`left over: ${JSON.stringify(left())}`);
  });
}

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

/** Bytes in use once all garbage is gone: objects, and what buffers hold. */
export function bytesInUse(): number {
  // Buffers are swept behind the first collection's back; the second waits for that.
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
