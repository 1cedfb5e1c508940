/**
 * Clients and a broker that others have written, against the real command: what they take for granted must hold, whatever our
 * own codec thinks of itself.
 */
import assert from "node:assert/strict";
import { connect } from "mqtt";
import { describe } from "vitest";
import { connectMqttJs, Inbox } from "./support/mqtt-js.ts";
import { type Place, test as inPlace } from "./support/place.ts";
import type { Program } from "./support/program.ts";
import { deadPort } from "./support/receivers.ts";
import { witness } from "./support/witness.ts";

/** One broker for the file. A retained message on `ready` tells subscribers that their subscriptions stand. */
const test = inPlace.extend("port", { scope: "file" }, async ({ commonPlace }) => {
  const { port } = await commonPlace.startBroker("");
  const client = await connectMqttJs(commonPlace, port);
  await client.publishAsync("ready", "ready", { qos: 1, retain: true });
  return port;
});

describe("Debian's mosquitto_pub and mosquitto_sub", () => {
  for (const version of ["mqttv31", "mqttv311", "mqttv5"]) {
    for (const qos of ["0", "1", "2"]) {
      test(`${version}, QoS ${qos}: each line once and in order`, async ({ place, port, skip }) => {
        const topicName = `lines/${version}/${qos}`;
        const lines = Array.from({ length: 50 }, (_, i) => `line ${i}`);
        const sub = await subscribed(place, witness("mosquitto_sub", skip), port, [
          ...["-V", version, "-q", qos, "-t", topicName, "-F", "%q %p"],
        ]);
        const pub = publish(place, witness("mosquitto_pub", skip), port, [
          ...["-V", version, "-q", qos, "-t", topicName, "-l"],
        ]);
        pub.give(`${lines.join("\n")}\n`);
        assert.equal(await pub.exitCode(), 0);
        assert.deepEqual(
          await sub.received(50),
          lines.map((line) => `${qos} ${line}`),
        );
      });
    }
  }

  test("a retained message is set, replaced and cleared", async ({ place, port, skip }) => {
    const mosquittoPub = witness("mosquitto_pub", skip);
    const mosquittoSub = witness("mosquitto_sub", skip);
    await done(publish(place, mosquittoPub, port, ["-t", "state/a", "-r", "-q", "1", "-m", "first"]));
    await done(publish(place, mosquittoPub, port, ["-t", "state/a", "-r", "-q", "1", "-m", "second"]));
    const before = await subscribed(place, mosquittoSub, port, ["-t", "state/+", "-F", "%t %r %p"]);
    assert.deepEqual(await before.received(1), ["state/a 1 second"]);
    // Those that are subscribed already get it as an ordinary message.
    await done(publish(place, mosquittoPub, port, ["-t", "state/a", "-r", "-q", "1", "-n"]));
    assert.deepEqual(await before.received(2), ["state/a 1 second", "state/a 0 "]);
    await done(publish(place, mosquittoPub, port, ["-t", "state/b", "-r", "-q", "1", "-m", "other"]));
    const after = await subscribed(place, mosquittoSub, port, ["-t", "state/+", "-F", "%t %r %p"]);
    assert.deepEqual(await after.received(1), ["state/b 1 other"]);
  });

  test("kill -9 of a client publishes its will, a good-bye does not", async ({ place, port, skip }) => {
    const mosquittoSub = witness("mosquitto_sub", skip);
    const watcher = await subscribed(place, mosquittoSub, port, ["-t", "wills/+", "-q", "1", "-F", "%t %q %p"]);
    const withWill = (name: string) =>
      subscribed(place, mosquittoSub, port, [
        ...["-i", name, "-t", "nothing", "--will-topic", `wills/${name}`, "--will-payload", "gone", "--will-qos", "1"],
      ]);
    const polite = await withWill("polite");
    polite.program.signal("SIGTERM");
    await polite.program.ended();
    const killed = await withWill("killed");
    killed.program.signal("SIGKILL");
    assert.deepEqual(await watcher.received(1), ["wills/killed 1 gone"]);
  });

  for (const [version, ...lasting] of [["mqttv311"], ["mqttv5", "-x", "600"]]) {
    test(`${version}: a persistent session gets what came while it was away`, async ({ place, port, skip }) => {
      const mosquittoSub = witness("mosquitto_sub", skip);
      const mosquittoPub = witness("mosquitto_pub", skip);
      const session = ["-V", version, "-c", "-i", `keeper-${version}`, "-q", "2", "-t", `away/${version}`, ...lasting];
      await done(place.run(mosquittoSub, [...at(port), ...session, "-E"]));
      for (const [qos, text] of ["1", "2"].flatMap((qos) => [
        [qos, `a${qos}`],
        [qos, `b${qos}`],
      ])) {
        await done(publish(place, mosquittoPub, port, ["-t", `away/${version}`, "-q", qos, "-m", text]));
      }
      const back = place.run(mosquittoSub, [...at(port), ...session, "-F", "%q %p", "-C", "4"]);
      await done(back);
      assert.deepEqual(back.stdout, ["1 a1", "1 b1", "2 a2", "2 b2"]);
    });
  }

  test("MQTT 5.0 properties go through as they are", async ({ place, port, skip }) => {
    const sub = await subscribed(place, witness("mosquitto_sub", skip), port, [
      ...["-V", "mqttv5", "-t", "props/#", "-D", "subscribe", "subscription-identifier", "77"],
      ...["-F", "%t|%p|%C|%R|%D|%F|%P|%S|%E"],
    ]);
    await done(
      publish(place, witness("mosquitto_pub", skip), port, [
        ...["-V", "mqttv5", "-t", "props/all", "-m", "Grüße"],
        ...["-D", "publish", "content-type", "text/plain"],
        ...["-D", "publish", "response-topic", "answers/here"],
        ...["-D", "publish", "correlation-data", "id-1"],
        ...["-D", "publish", "payload-format-indicator", "1"],
        ...["-D", "publish", "message-expiry-interval", "500"],
        ...["-D", "publish", "user-property", "one", "1", "-D", "publish", "user-property", "one", "2"],
      ]),
    );
    const [line] = await sub.received(1);
    const [expiry, ...others] = line.split("|").reverse();
    assert.deepEqual(others.reverse(), [
      ...["props/all", "Grüße", "text/plain", "answers/here", "id-1", "1", "one:1 one:2", "77"],
    ]);
    assert.ok(Number(expiry) > 400 && Number(expiry) <= 500, `Message Expiry Interval is ${expiry}`);
  });

  test("a 3.1.1 subscriber gets a 5.0 message without its properties", async ({ place, port, skip }) => {
    const sub = await subscribed(place, witness("mosquitto_sub", skip), port, ["-t", "mixed", "-F", "%p"]);
    await done(
      publish(place, witness("mosquitto_pub", skip), port, [
        ...["-V", "mqttv5", "-t", "mixed", "-m", "plain", "-D", "publish", "user-property", "a", "b"],
      ]),
    );
    assert.deepEqual(await sub.received(1), ["plain"]);
  });
});

describe("MQTT.js", () => {
  test("members of a shared subscription get each message once among them", async ({ place, port }) => {
    const members = await Promise.all([1, 2, 3].map(() => connectMqttJs(place, port, { protocolVersion: 5 })));
    const inboxes = members.map((member) => new Inbox(member));
    const all = new Inbox(...members);
    for (const member of members) await member.subscribeAsync("$share/workers/jobs/+", { qos: 1 });
    const publisher = await connectMqttJs(place, port, { protocolVersion: 5 });
    const jobs = Array.from({ length: 300 }, (_, i) => `${i}`);
    await Promise.all(jobs.map((job) => publisher.publishAsync(`jobs/${job}`, job, { qos: 1 })));
    await all.holds(jobs.length);
    assert.deepEqual(all.texts.toSorted(byNumber), jobs);
    for (const { texts } of inboxes) assert.ok(texts.length > 0, "a member had nothing to do");
  });

  test("topic aliases in both directions", async ({ place, port }) => {
    const subscriber = await connectMqttJs(place, port, { protocolVersion: 5, properties: { topicAliasMaximum: 2 } });
    const aliased: boolean[] = [];
    subscriber.on("packetreceive", (packet) => {
      if (packet.cmd === "publish") aliased.push(packet.topic === "" && packet.properties?.topicAlias !== undefined);
    });
    const topicNames: string[] = [];
    const inbox = new Inbox(subscriber);
    subscriber.on("message", (topicName) => topicNames.push(topicName));
    await subscriber.subscribeAsync("aliased/#", { qos: 1 });
    const publisher = await connectMqttJs(place, port, { protocolVersion: 5, autoAssignTopicAlias: true });
    const sent: boolean[] = [];
    publisher.on("packetsend", (packet) => {
      if (packet.cmd === "publish") sent.push(packet.topic === "");
    });
    const expected = ["a", "b", "a", "b", "c", "a", "c"].map((name) => `aliased/${name}`);
    for (const topicName of expected) await publisher.publishAsync(topicName, topicName, { qos: 1 });
    assert.deepEqual(await inbox.holds(expected.length), expected);
    assert.deepEqual(topicNames, expected);
    assert.ok(sent.includes(true), "the publisher has sent an alias for a topic name");
    assert.ok(aliased.includes(true), "the broker has sent an alias for a topic name");
  });

  test("a Receive Maximum of 2 is kept, QoS 2 and in order: MQTT.js would end the connection", async ({
    place,
    port,
  }) => {
    const subscriber = await connectMqttJs(place, port, { protocolVersion: 5, properties: { receiveMaximum: 2 } });
    const errors: Error[] = [];
    subscriber.on("error", (error) => errors.push(error));
    const inbox = new Inbox(subscriber);
    await subscriber.subscribeAsync("narrow", { qos: 2 });
    const publisher = await connectMqttJs(place, port, { protocolVersion: 5 });
    const texts = Array.from({ length: 100 }, (_, i) => `${i}`);
    await Promise.all(texts.map((text) => publisher.publishAsync("narrow", text, { qos: 2 })));
    assert.deepEqual(await inbox.holds(texts.length), texts);
    assert.deepEqual(errors, []);
  });

  test("a session begun in 5.0 goes on in 3.1.1", async ({ place, port }) => {
    const session = { clientId: "changes", clean: false } as const;
    const first = await connectMqttJs(place, port, {
      ...session,
      protocolVersion: 5,
      properties: { sessionExpiryInterval: 600 },
    });
    await first.subscribeAsync("kept", { qos: 1 });
    await first.endAsync();
    const publisher = await connectMqttJs(place, port);
    await publisher.publishAsync("kept", "while away", { qos: 1 });
    const again = connect({ host: "127.0.0.1", port, reconnectPeriod: 0, ...session, protocolVersion: 4 });
    place.whenLeaving(() => again.endAsync(true));
    // Asked at once: what was kept comes right behind the CONNACK.
    assert.deepEqual(await new Inbox(again).holds(1), ["while away"]);
  });
});

describe("Debian's mosquitto as the other broker", () => {
  for (const [version, qos] of [
    ["3", "0"],
    ["4", "1"],
    ["5", "2"],
  ]) {
    test(`hookmq pub and sub talk to it in version ${version}, QoS ${qos}`, async ({ place, skip }) => {
      const { port, program } = await startMosquitto(place, witness("mosquitto", skip));
      const sub = place.hookmq([...["sub", "-V", version, "-q", qos, "-t", "to/#", "-v", "-C", "2"], "-p", `${port}`]);
      await program.complaint(/Sending SUBACK to hookmq-sub-/);
      const pub = place.hookmq([...["pub", "-V", version, "-q", qos, "-t", "to/it", "-l"], "-p", `${port}`]);
      await done(pub.give("one\ntwo\n"));
      await done(sub);
      assert.deepEqual(sub.stdout, ["to/it one", "to/it two"]);
    });
  }

  test("it bridges to ours in both directions", async ({ place, port, skip }) => {
    const mosquitto = await startMosquitto(
      place,
      witness("mosquitto", skip),
      `connection ours\naddress 127.0.0.1:${port}\ntopic bridged/# both 1`,
    );
    await mosquitto.program.complaint(/Received SUBACK/);
    const here = await connectMqttJs(place, port);
    const there = await connectMqttJs(place, mosquitto.port);
    const inboxHere = new Inbox(here);
    const inboxThere = new Inbox(there);
    await here.subscribeAsync("bridged/to-ours", { qos: 1 });
    await there.subscribeAsync("bridged/to-theirs", { qos: 1 });
    await here.publishAsync("bridged/to-theirs", "hello mosquitto", { qos: 1 });
    await there.publishAsync("bridged/to-ours", "hello hookmq", { qos: 1 });
    assert.deepEqual(await inboxThere.holds(1), ["hello mosquitto"]);
    assert.deepEqual(await inboxHere.holds(1), ["hello hookmq"]);
  });
});

interface Subscribed {
  program: Program;
  /** What it has printed so far once it is so many lines. */
  received(count: number): Promise<string[]>;
}

async function subscribed(place: Place, command: string, port: number, args: readonly string[]): Promise<Subscribed> {
  const program = place.run(command, [...at(port), ...args, "-t", "ready"]);
  await program.line(/ready/);
  const received = async (count: number) => {
    const lines = await program.lines(count + 1);
    return lines.filter((line) => !line.includes("ready"));
  };
  return { program, received };
}

function publish(place: Place, command: string, port: number, args: readonly string[]): Program {
  return place.run(command, [...at(port), ...args]);
}

function at(port: number): string[] {
  return ["-h", "127.0.0.1", "-p", `${port}`];
}

async function done(program: Program): Promise<void> {
  assert.equal(await program.exitCode(), 0, program.stderr.join("\n"));
}

async function startMosquitto(
  place: Place,
  command: string,
  configuration = "",
): Promise<{ program: Program; port: number }> {
  const port = await deadPort();
  const conf = place.write("mosquitto.conf", `listener ${port} 127.0.0.1\nallow_anonymous true\n${configuration}\n`);
  const program = place.run(command, ["-v", "-c", conf]);
  await program.complaint(/mosquitto version \S+ running/);
  return { program, port };
}

function byNumber(a: string, b: string): number {
  return Number(a) - Number(b);
}
