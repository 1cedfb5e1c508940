/** The webhooks of a broker at work are configured anew, again and again. */
import assert from "node:assert/strict";
import { connectMqttJs } from "./support/mqtt-js.ts";
import { type Place, test } from "./support/place.ts";
import { GoodReceiver } from "./support/receivers.ts";

const count = 1_500;

/** The first arrivals of this client's messages, in their order. */
function firstArrivals({ requests }: GoodReceiver): number[] {
  return [...new Set(requests.map(({ body }) => Number(JSON.parse(body).payload)))];
}

async function reload(place: Place, endpoints: string): Promise<string[]> {
  const webhook = endpoints === "" ? "" : `webhook.endpoints { ${endpoints} }`;
  place.write("nanomq.conf", `listeners.tcp.bind = "127.0.0.1:0"\n${webhook}`);
  const program = place.hookmq(["reload"]);
  assert.equal(await program.exitCode(), 0, program.stderr.join("\n"));
  return program.stdout;
}

test("under load nothing is lost or out of order: to who stays, who is changed, and who is new", async ({ place }) => {
  const [stays, changes, comes] = [
    await GoodReceiver.listen(place),
    await GoodReceiver.listen(place),
    await GoodReceiver.listen(place),
  ];
  const endpoint = (name: string, { port }: GoodReceiver, more = "") =>
    `${name} { url = "http://127.0.0.1:${port}", events = [{ event = on_message_publish }] ${more} }\n`;
  const before = endpoint("stays", stays) + endpoint("changes", changes);
  const broker = await place.startBroker(`webhook.endpoints { ${before} }`);
  const client = await connectMqttJs(place, broker.port, { clientId: "press" });
  let next = 1;
  const publish = async (upTo: number) => {
    while (next <= upTo) await client.publishAsync("plant/press", `${next++}`, { qos: 1 });
  };
  await publish(100);
  // Each while the publisher goes on.
  const published = publish(count);
  for (const seconds of [6, 7, 8]) {
    const said = await reload(
      place,
      endpoint("stays", stays) +
        endpoint("changes", changes, `, request_timeout = ${seconds}s`) +
        endpoint("comes", comes),
    );
    assert.ok(said.includes("webhook endpoints changed, with what they are owed: changes"), said.join("\n"));
    assert.equal(said.includes("webhook endpoints new: comes"), seconds === 6);
  }
  await published;
  const all = Array.from({ length: count }, (_, index) => index + 1);
  for (const receiver of [stays, changes, comes])
    await receiver.has(({ body }) => JSON.parse(body).payload === `${count}`);
  assert.deepEqual(firstArrivals(stays), all);
  assert.equal(stays.requests.length, count, "who stays is not sent anything twice");
  assert.deepEqual(firstArrivals(changes), all);
  // From the moment of its reload on it has everything.
  const [first] = firstArrivals(comes);
  assert.ok(first > 100);
  assert.deepEqual(firstArrivals(comes), all.slice(first - 1));
});

test("who is taken out of the file and put back into it gets what waited meanwhile", async ({ place }) => {
  const refusing = await place.startReceiver("--status", "503", "--quiet");
  const endpoint = `back { url = "http://127.0.0.1:${refusing.port}", events = [{ event = on_message_publish }] }`;
  const broker = await place.startBroker(`webhook.endpoints { ${endpoint} }`);
  const client = await connectMqttJs(place, broker.port, { clientId: "press" });
  for (let n = 1; n <= 3; n++) await client.publishAsync("plant/press", `${n}`, { qos: 1 });
  assert.match(
    (await reload(place, "")).join("\n"),
    /back is not configured any more, it is parked: 3 deliveries wait/,
  );
  await client.publishAsync("plant/press", "not for anybody", { qos: 1 });
  await refusing.program.kill();
  const receiver = await GoodReceiver.listen(place, refusing.port);
  assert.ok((await reload(place, endpoint)).includes("webhook endpoints new: back"));
  await receiver.has(({ body }) => JSON.parse(body).payload === "3");
  assert.deepEqual(firstArrivals(receiver), [1, 2, 3]);
});
