/** An operator's day: the receiver refuses all, is mended, and gets again what it had refused. */
import assert from "node:assert/strict";
import { connectMqttJs } from "./support/mqtt-js.ts";
import { type Place, test } from "./support/place.ts";
import { GoodReceiver } from "./support/receivers.ts";
import { hookmq, saysInTheEnd } from "./support/said.ts";

const events = "events = [{ event = on_message_publish }]";

async function reportOf(place: Place, isSo: (report: Record<string, unknown>) => boolean): Promise<void> {
  await saysInTheEnd(place, ["webhook", "show", "default", "--json"], ({ lines }) => {
    return lines[0] !== undefined && isSo(JSON.parse(lines[0]));
  });
}

/** accepted = delivered + dead + dropped + expired + queued + in flight, as `hookmq metrics` has it. */
async function assertConserved(place: Place): Promise<void> {
  const { lines } = await hookmq(place, "metrics");
  const sum = (pattern: RegExp) =>
    lines.filter((line) => pattern.test(line)).reduce((total, line) => total + Number(line.split(" ").at(-1)), 0);
  const ended = sum(/^webhook_(deliveries_total|queue_deliveries|inflight)\{/);
  assert.equal(sum(/^webhook_events_accepted_total\{/), ended, lines.join("\n"));
}

test("what a receiver refused is replayed once it is mended, under the same webhook-id; what is deleted is not", async ({
  place,
}) => {
  const refusing = await place.startReceiver("--status", "422", "--quiet");
  const { port } = await place.startBroker(`webhook { url = "http://127.0.0.1:${refusing.port}", ${events} }`);
  const press = await connectMqttJs(place, port, { clientId: "press" });
  for (let n = 1; n <= 450; n++) void press.publishAsync("plant/press", `part ${n}`, { qos: 1 });
  const oven = await connectMqttJs(place, port, { clientId: "oven" });
  await oven.publishAsync("plant/oven", "too hot", { qos: 1 });
  await reportOf(place, ({ deadLetters }) => deadLetters === 451);
  await assertConserved(place);
  const letters = await hookmq(place, "webhook", "dead-letters", "list", "default", "--json", "--key", "press");
  const ids = letters.lines.map((line) => String(JSON.parse(line).deliveryId));
  assert.equal(ids.length, 450);
  const attempts = await hookmq(place, "webhook", "attempts", "default", "--json", "--delivery", ids[0]);
  assert.equal(JSON.parse(attempts.lines[0]).status, 422);

  await refusing.program.kill();
  const receiver = await GoodReceiver.listen(place, refusing.port);
  const tried = await hookmq(place, "webhook", "test", "default", "--event", "on_message_publish");
  assert.equal(tried.code, 0, [...tried.lines, ...tried.complaints].join("\n"));
  await receiver.holds(1);

  const deleted = await hookmq(place, "webhook", "dead-letters", "delete", "default", "--all", "--key", "oven");
  assert.deepEqual(deleted.lines, ["1 dead letter of default deleted"]);
  const one = await hookmq(place, "webhook", "dead-letters", "replay", "default", ids[7]);
  assert.deepEqual(one.lines, ["1 dead letter of default replayed"]);
  await receiver.has(({ id, body }) => id === ids[7] && body.includes('"payload":"part 8"'));
  const rest = await hookmq(place, "webhook", "dead-letters", "replay", "default", "--all", "--reason", "rejected");
  assert.deepEqual(rest.lines, ["449 dead letters of default replayed"]);
  await reportOf(place, ({ deadLetters, queued, inflight }) => deadLetters === 0 && queued === 0 && inflight === 0);
  assert.deepEqual(
    receiver.requests
      .map(({ id }) => id)
      .filter((id) => ids.includes(id))
      .sort(),
    [...ids].sort(),
  );
  assert.ok(!receiver.requests.some(({ body }) => body.includes("too hot")));
  await assertConserved(place);
});

test("a paused endpoint sends nothing, over a restart too, and goes on where it was when it is resumed", async ({
  place,
}) => {
  const receiver = await GoodReceiver.listen(place);
  const configuration = `webhook { url = "http://127.0.0.1:${receiver.port}", ${events} }`;
  const first = await place.startBroker(configuration);
  assert.equal((await hookmq(place, "webhook", "pause", "default")).code, 0);
  const client = await connectMqttJs(place, first.port, { clientId: "press" });
  for (let n = 1; n <= 3; n++) await client.publishAsync("plant/press", `part ${n}`, { qos: 1 });
  await reportOf(place, ({ condition, queued }) => condition === "paused" && queued === 3);
  const health = await hookmq(place, "health");
  assert.equal(health.code, 1);
  assert.match(health.lines[0], /default is paused, 3 wait \(hookmq webhook resume default ends that\)/);
  first.program.signal("SIGTERM");
  await first.program.ended();

  await place.startBroker(configuration);
  await reportOf(place, ({ condition, queued }) => condition === "paused" && queued === 3);
  assert.deepEqual(receiver.requests, []);
  assert.equal((await hookmq(place, "webhook", "resume", "default")).code, 0);
  await receiver.holds(3);
  assert.deepEqual(
    receiver.requests.map(({ body }) => JSON.parse(body).payload),
    ["part 1", "part 2", "part 3"],
  );
  await assertConserved(place);
});
