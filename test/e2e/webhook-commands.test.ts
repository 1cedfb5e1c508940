/** What an operator sees of the webhooks of a real broker, with a receiver that wants none of it. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { connectMqttJs } from "./support/mqtt-js.ts";
import { test } from "./support/place.ts";
import { hookmq, saysInTheEnd } from "./support/said.ts";

const events = "events = [{ event = on_message_publish }]";

test("the dead letters of a receiver that refuses all: listed, shown, filtered, written out", async ({ place }) => {
  const receiver = await place.startReceiver("--status", "422", "--quiet");
  const { port } = await place.startBroker(`webhook { url = "http://127.0.0.1:${receiver.port}/in", ${events} }`);
  const client = await connectMqttJs(place, port, { clientId: "press" });
  for (let n = 1; n <= 30; n++) await client.publishAsync("plant/press", `part ${n}`, { qos: 1 });
  const other = await connectMqttJs(place, port, { clientId: "oven" });
  await other.publishAsync("plant/oven", "\u0001 hot", { qos: 1 });

  const list = await saysInTheEnd(place, ["webhook", "list", "--json"], ({ lines }) => {
    return lines[0] !== undefined && JSON.parse(lines[0]).deadLetters === 31;
  });
  const endpoint = JSON.parse(list.lines[0]);
  assert.equal(endpoint.endpoint, "default");
  assert.equal(endpoint.condition, "delivering");
  assert.equal(endpoint.accepted, 31);
  assert.equal(endpoint.oldestAgeMs, null);

  const metrics = await hookmq(place, "metrics");
  assert.equal(metrics.code, 0);
  assert.ok(metrics.lines.includes('webhook_deliveries_total{endpoint="default",outcome="dead"} 31'));
  assert.ok(metrics.lines.includes('webhook_attempts_total{endpoint="default",class="rejected"} 31'));
  assert.match(metrics.lines.find((line) => line.startsWith("store_commit_seconds_count"))!, / [1-9]\d*$/);

  const { lines } = await hookmq(place, "webhook", "dead-letters", "list", "default");
  assert.equal(lines.length, 1 + 20 + 1);
  assert.match(lines[1], /evt_\w{26} {2}on_message_publish {2}press .* rejected {2}status_422/);
  const all = await hookmq(place, "webhook", "dead-letters", "list", "default", "--json", "--key", "oven");
  assert.equal(all.lines.length, 1);
  const { deliveryId } = JSON.parse(all.lines[0]);

  const shown = await hookmq(place, "webhook", "dead-letters", "show", "default", deliveryId);
  assert.equal(shown.code, 0);
  assert.match(shown.lines.at(-1)!, /^\{"ts":\d+,"topic":"plant\/oven",.*"payload":"\\u0001 hot"\}$/);

  const written = await hookmq(place, "webhook", "dead-letters", "export", "default", "letters.ndjson");
  assert.deepEqual(written.lines, [`31 dead letters written to ${place.file("letters.ndjson")}`]);
  assert.equal(statSync(place.file("letters.ndjson")).mode & 0o777, 0o600);
  const records = readFileSync(place.file("letters.ndjson"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const payloads = records.map(({ body }) => JSON.parse(Buffer.from(body, "base64").toString()).payload);
  assert.deepEqual(
    payloads.filter((payload) => payload.startsWith("part")),
    Array.from({ length: 30 }, (_, n) => `part ${n + 1}`),
  );

  const none = await hookmq(place, "webhook", "dead-letters", "show", "default", "evt_none");
  assert.equal(none.code, 1);
  assert.match(none.complaints[0], /no dead letter evt_none/);
  const misspelt = await hookmq(place, "webhook", "show", "defualt");
  assert.equal(misspelt.code, 1);
  assert.deepEqual(misspelt.complaints, [
    'There is no webhook endpoint "defualt". Did you mean default? There are: default.',
  ]);
});

test("what waits for a receiver that is away: queue, condition, health", async ({ place }) => {
  const receiver = await place.startReceiver("--status", "401", "--quiet");
  // As the configuration may have it, and nobody is to be shown it.
  const url = `http://user:hunter2@127.0.0.1:${receiver.port}/in?token=hunter2`;
  const { port } = await place.startBroker(`webhook { url = "${url}", ${events} }`);
  const client = await connectMqttJs(place, port, { clientId: "press" });
  for (let n = 1; n <= 3; n++) await client.publishAsync("plant/press", `part ${n}`, { qos: 1 });
  const show = await saysInTheEnd(place, ["webhook", "show", "default"], ({ lines }) => {
    return lines.some((line) => line.includes("refuses our credentials"));
  });
  assert.ok(show.lines.some((line) => /^ {2}queued +3, the oldest for /.test(line)));
  const shown = await hookmq(place, "webhook", "list", "--json");
  const health = await hookmq(place, "health");
  const healthForPrograms = await hookmq(place, "health", "--json");
  for (const said of [show, shown, health, healthForPrograms]) assert.ok(!said.lines.join().includes("hunter2"));
  assert.equal(JSON.parse(shown.lines[0]).url, `http://user:********@127.0.0.1:${receiver.port}/in?token=********`);
  assert.equal(health.code, 1);
  assert.match(health.lines[0], /^degraded: webhook endpoint default refuses our credentials, 3 wait \(correct them, /);
  const queue = await hookmq(place, "webhook", "queue", "default");
  assert.equal(queue.lines.length, 4);
  assert.match(queue.lines[1], /evt_\w{26} {2}on_message_publish {2}press {2}\d+ B/);
});
