/**
 * A receiver cannot hurt a publisher: whatever becomes of webhooks, messages flow as if there were none, the broker's memory
 * keeps its bound, and it stops in time. What a receiver missed reaches it when it is back, each client's events in order.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe } from "vitest";
import { connectMqttJs, Inbox } from "./support/mqtt-js.ts";
import { type BrokerProcess, endsInTime, type Place, test } from "./support/place.ts";
import { BadReceiver, deadPort, GoodReceiver, misbehaviours } from "./support/receivers.ts";

const publishers = 4;
const messagesEach = 500;
const payloadBytes = 2000;

/** Far below what the messages or one greedy answer would take if they were kept; Node itself has about 100 of them. */
const memoryBytesMax = 300 * 1024 * 1024;

/** The broker reads far less of an answer: the rest is what the system's socket buffers hold. */
const answerBytesMax = 16 * 1024 * 1024;

const waiting = /ERROR webhook endpoint does not take deliveries: they wait, it is probed/;
const deadLetter = /WARN {2}webhook delivery became a dead letter: redirect/;

/** What the log says of each; `undefined`: the deliveries are made, for the status was 200. */
const outcomes: Readonly<Record<keyof typeof misbehaviours, RegExp | undefined>> = {
  "answers each after a fifth of a second": undefined,
  "never reads": waiting,
  "reads and never answers": waiting,
  "resets each connection": waiting,
  "closes each connection": waiting,
  "speaks no HTTP": waiting,
  "drips an answer that never ends": waiting,
  "answers a gigabyte": undefined,
  "answers a gigabyte of headers": waiting,
  "redirects to itself": deadLetter,
};

describe.concurrent("messages flow as without a webhook while the receiver", () => {
  test("is well", async ({ place }) => {
    const receiver = await GoodReceiver.listen(place);
    const broker = await place.startBroker(webhookTo(receiver.port, ""));
    await expectFlow(place, broker);
    await receiver.holds(publishers * messagesEach);
    await expectGoodEnd(broker);
  });

  test("refuses connections", async ({ place }) => {
    const broker = await place.startBroker(webhookTo(await deadPort()));
    await expectFlow(place, broker);
    await broker.program.line(waiting);
    await expectGoodEnd(broker);
  });

  for (const name of Object.keys(outcomes) as (keyof typeof misbehaviours)[]) {
    test(name, async ({ place }) => {
      const receiver = await BadReceiver.listen(place, misbehaviours[name]);
      const broker = await place.startBroker(webhookTo(receiver.port));
      await expectFlow(place, broker);
      const outcome = outcomes[name];
      if (outcome !== undefined) await broker.program.line(outcome);
      await expectGoodEnd(broker);
      const { answerBytesPeak } = receiver;
      assert.ok(answerBytesPeak < answerBytesMax, `an answer of ${answerBytesPeak} bytes was taken`);
    });
  }
});

test("a receiver that was away gets everything, each client's events in order over its reconnects", async ({
  place,
}) => {
  const first = await GoodReceiver.listen(place);
  const { port } = first;
  const broker = await place.startBroker(
    `log.level = info\n${webhookTo(port, "retry.schedule = [50ms, 50ms, 50ms, 50ms]")}`,
  );
  const expected = new Map<string, string[]>();
  const happened = (clientId: string, what: string) => appendTo(expected, clientId, what);
  const say = async (count: number) => {
    for (const clientId of ["ann", "ben", "cleo"]) {
      const client = await connectMqttJs(place, broker.port, { clientId });
      happened(clientId, "client_connack");
      for (let i = 0; i < count; i++) {
        happened(clientId, `message ${i}`);
        await client.publishAsync("flow/a", `message ${i}`, { qos: 1 });
      }
      await client.endAsync();
      happened(clientId, "client_disconnected");
    }
  };
  const total = () => [...expected.values()].flat().length;
  await say(10);
  await first.holds(total());
  await first.close();
  await say(20);
  await broker.program.line(waiting);
  await say(20);
  const second = await GoodReceiver.listen(place, port);
  await broker.program.line(/INFO {2}webhook endpoint answers again/);
  await second.holds(total() - first.requests.length);

  const received = new Map<string, string[]>();
  for (const { body } of [...first.requests, ...second.requests]) {
    const event = JSON.parse(body);
    appendTo(received, event.clientid ?? event.from_client_id, event.payload ?? event.action);
  }
  assert.deepEqual(received, expected);
  const ids = [...first.requests, ...second.requests].map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, "no event came twice");
  assert.ok(second.requests.some(({ attempt }) => attempt > 1));
});

test("an overflowing queue drops the oldest, and the log counts each drop", async ({ place }) => {
  const port = await deadPort();
  const broker = await place.startBroker(webhookTo(port, "queue.max_bytes = 400KB"));
  const client = await connectMqttJs(place, broker.port, { clientId: "c" });
  const count = 1000;
  const payload = "p".repeat(1000);
  for (let i = 0; i < count; i++) client.publish("flow/a", `${payload}${i}`, { qos: 1 });
  await client.publishAsync("flow/a", `${payload}${count}`, { qos: 1 });
  await broker.program.line(/WARN {2}webhook delivery dropped: the queue is full \(drop_oldest\)/);
  const receiver = await GoodReceiver.listen(place, port);
  await receiver.has(({ body }) => body.includes(`p${count}"`));
  await expectGoodEnd(broker);

  const messages = receiver.requests
    .map(({ body }) => JSON.parse(body))
    .filter(({ action }) => action === "message_publish");
  const numbers = messages.map(({ payload }) => Number(/\d+$/.exec(payload)));
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, i) => count + 1 - numbers.length + i),
  );
  assert.equal(droppedIn(broker.program.stdout) + messages.length, count + 1);
});

test("bodies that are a power of two long arrive whole, 500 in a burst", async ({ place }) => {
  const receiver = await GoodReceiver.listen(place);
  const broker = await place.startBroker(webhookTo(receiver.port, ""));
  const client = await connectMqttJs(place, broker.port, { clientId: "c" });
  await client.publishAsync("flow/a", "", { qos: 1 });
  await receiver.has(({ body }) => body.endsWith('"payload":""}'));
  const bytesWithout = receiver.requests.at(-1)!.body.length;
  // Quotes are two characters in the body.
  const payloads = Array.from({ length: 500 }, (_, i) => {
    const room = 2 ** (8 + (i % 9)) - bytesWithout;
    return '"'.repeat(i % 2) + String(i).padEnd(room - 2 * (i % 2), "x");
  });
  for (const payload of payloads) client.publish("flow/a", payload, { qos: 1 });
  await receiver.holds(2 + payloads.length);
  const bodies = receiver.requests.slice(2).map(({ body }) => body);
  assert.deepEqual(
    bodies.map((body) => JSON.parse(body).payload),
    payloads,
  );
  for (const { length } of bodies) assert.ok(Number.isInteger(Math.log2(length)), `a body of ${length} bytes`);
});

function webhookTo(port: number, settings = "cancel_timeout = 1s, queue.max_bytes = 1MB"): string {
  return `
    webhook {
      url = "http://127.0.0.1:${port}"
      pool_size = 8
      ${settings}
      events = [
        { event = on_message_publish, topic = "flow/#" }
        { event = on_client_connack }
        { event = on_client_disconnected }
      ]
    }`;
}

/** Every message of every publisher is acknowledged, and reaches the subscriber once and in order. */
async function expectFlow(place: Place, { port }: BrokerProcess): Promise<void> {
  const subscriber = await connectMqttJs(place, port);
  const inbox = new Inbox(subscriber);
  await subscriber.subscribeAsync("flow/#", { qos: 1 });
  const filling = "f".repeat(payloadBytes);
  const publish = async (publisher: number) => {
    const client = await connectMqttJs(place, port);
    const acknowledged = Array.from({ length: messagesEach }, (_, i) =>
      client.publishAsync(`flow/${publisher}`, `${publisher} ${i} ${filling}`, { qos: 1 }),
    );
    await Promise.all(acknowledged);
    await client.endAsync();
  };
  const numbered = Array.from({ length: publishers }, (_, publisher) => publisher);
  await Promise.all(numbered.map(publish));
  const texts = await inbox.holds(publishers * messagesEach);
  for (const publisher of numbered) {
    const own = texts.map((text) => text.split(" ")).filter(([from]) => from === `${publisher}`);
    assert.deepEqual(
      own.map(([, i]) => Number(i)),
      Array.from({ length: messagesEach }, (_, i) => i),
    );
  }
}

/** It has kept its memory in bounds, and stops as promised. */
async function expectGoodEnd({ program, pid }: BrokerProcess): Promise<void> {
  const bytes = memoryBytesPeak(pid);
  assert.ok(bytes < memoryBytesMax, `${Math.round(bytes / 1024 / 1024)} MB in use at the most`);
  await endsInTime(program, () => program.signal("SIGTERM"));
}

/** The most that was ever resident; 0 where the system does not tell. */
function memoryBytesPeak(pid: number): number {
  if (process.platform !== "linux") return 0;
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? assert.fail();
  return Number(kilobytes) * 1024;
}

function appendTo(lists: Map<string, string[]>, key: string, item: string): void {
  lists.set(key, [...(lists.get(key) ?? []), item]);
}

function droppedIn(log: readonly string[]): number {
  let dropped = 0;
  for (const line of log) {
    if (!line.includes("webhook delivery dropped: the queue is full")) continue;
    dropped += Number(/ more=(\d+)$/.exec(line)?.[1] ?? 1);
  }
  return dropped;
}
