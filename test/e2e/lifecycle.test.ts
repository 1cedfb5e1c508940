/** A broker's life as its operator sees it: started, told to reload, started over, stopped, and never two in one place. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import path from "node:path";
import { connect, type IDisconnectPacket, type MqttClient } from "mqtt";
import { describe } from "vitest";
import { encodePacket } from "../../src/mqtt/codec.ts";
import { TestClient } from "../support/client.ts";
import { connectMqttJs, Inbox } from "./support/mqtt-js.ts";
import { endsInTime, launcher, listening, type Place, test } from "./support/place.ts";
import { deadPort, GoodReceiver } from "./support/receivers.ts";
import { olderNode } from "./support/witness.ts";

const serverShuttingDown = 0x8b;

describe("stopping", () => {
  test("SIGTERM: clients hear why, webhooks are told, exit 0 within five seconds", async ({ place }) => {
    const receiver = await place.startReceiver();
    const broker = await place.startBroker(webhookOf(receiver.port, "on_client_disconnected"));
    const client = await connectMqttJs(place, broker.port, { protocolVersion: 5, clientId: "told" });
    const older = await connectMqttJs(place, broker.port, { protocolVersion: 4, clientId: "cut off" });
    const toldWhy = disconnectOf(client);
    const closed = new Promise<void>((resolve) => older.once("close", resolve));
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));
    assert.equal((await toldWhy).reasonCode, serverShuttingDown);
    await closed;
    for (const clientId of ["told", "cut off"]) {
      await receiver.program.line(
        new RegExp(`"reason":"server_shutdown","username":"undefined","clientid":"${clientId}"`),
      );
    }
    assert.ok(!existsSync(place.pidFile), "the pid file is gone");
    assert.deepEqual(broker.program.stderr, []);
  });

  test("Ctrl-C under load: a flood comes in, one does not read, another does, and a receiver hangs", async ({
    place,
  }) => {
    const receiver = await place.startReceiver("--hang", "--quiet");
    const broker = await place.startBroker(webhookOf(receiver.port, "on_message_publish"), [], { ownGroup: true });
    const reader = await connectMqttJs(place, broker.port);
    const inbox = new Inbox(reader);
    await reader.subscribeAsync("flood");
    startFlood(place, broker.port);
    await inbox.holds(10_000);
    await endsInTime(broker.program, () => broker.program.interruptGroup());
    assert.ok(!existsSync(place.pidFile), "the pid file is gone");
  });

  test("kill -9 leaves a pid file that keeps nobody from starting again", async ({ place }) => {
    const first = await place.startBroker("");
    first.program.signal("SIGKILL");
    await first.program.ended();
    assert.equal(pidIn(place.pidFile), first.pid);
    const second = await place.startBroker("");
    assert.equal(pidIn(place.pidFile), second.pid);
  });

  test("a reader of its output that goes away does not end it", async ({ place }) => {
    const broker = await place.startBroker("log.level = info");
    const client = await connectMqttJs(place, broker.port, { protocolVersion: 5 });
    broker.program.closeOutput();
    const toldWhy = disconnectOf(client);
    broker.program.signal("SIGHUP"); // is logged
    await client.publishAsync("a", "still here", { qos: 1 });
    await endsInTime(broker.program, () => broker.program.signal("SIGTERM"));
    assert.equal((await toldWhy).reasonCode, serverShuttingDown);
  });

  test.skipIf(!existsSync("/dev/full"))("a full disk behind its output does not end it", async ({ place }) => {
    const port = await deadPort();
    const command = `exec hookmq start --url nmq-tcp://127.0.0.1:${port} --log_level info > /dev/full 2>&1`;
    const program = place.run("sh", ["-c", command]);
    // It cannot say when it listens.
    const client = connect({ host: "127.0.0.1", port, protocolVersion: 5, reconnectPeriod: 50 });
    client.on("error", () => {});
    place.whenLeaving(() => client.endAsync(true));
    await new Promise<void>((resolve) => client.once("connect", () => resolve()));
    const toldWhy = disconnectOf(client);
    program.signal("SIGHUP");
    await client.publishAsync("a", "still here", { qos: 1 });
    await endsInTime(program, () => program.signal("SIGTERM"));
    assert.equal((await toldWhy).reasonCode, serverShuttingDown);
  });

  test("a pid file that names a stranger keeps nobody from starting, and the stranger is left alone", async ({
    place,
  }) => {
    place.write("hookmq.pid", `${process.pid}\n`);
    const stop = place.hookmq(["stop"]);
    assert.equal(await stop.exitCode(), 1);
    assert.deepEqual(stop.stderr, ["There is no running HookMQ instance."]);
    const broker = await place.startBroker("");
    assert.equal(pidIn(place.pidFile), broker.pid);
  });

  test("a link in the place of the pid file is not followed", async ({ place }) => {
    const precious = place.write("precious", "keep me");
    symlinkSync(precious, place.pidFile);
    place.write("nanomq.conf", 'listeners.tcp.bind = "127.0.0.1:0"');
    const program = place.hookmq(["start", "--conf", "nanomq.conf"]);
    assert.equal(await program.exitCode(), 1);
    await program.complaint(/hookmq\.pid is no regular file/);
    assert.equal(readFileSync(precious, "utf8"), "keep me");
  });
});

describe.concurrent("a second instance", () => {
  test("on the first one's port says so and what to do, exit 1; the first goes on", async ({ place }) => {
    const first = await place.startBroker("");
    const client = await connectMqttJs(place, first.port);
    const inbox = new Inbox(client);
    await client.subscribeAsync("still/here", { qos: 1 });

    place.write("second.conf", `listeners.tcp.bind = "127.0.0.1:${first.port}"\nstore.dir = second`);
    const second = place.hookmq(["start", "--conf", "second.conf"], {
      env: { HOOKMQ_PID_FILE: place.file("second.pid") },
    });
    assert.equal(await second.exitCode(), 1);
    await second.complaint(
      new RegExp(`127\\.0\\.0\\.1:${first.port}: the port is in use.*listeners\\.tcp\\.bind, or --url`),
    );
    assert.equal(second.stderr.length, 1);
    assert.deepEqual(second.stdout, []);
    assert.ok(!existsSync(place.file("second.pid")));

    assert.equal(pidIn(place.pidFile), first.pid);
    await client.publishAsync("still/here", "yes", { qos: 1 });
    assert.deepEqual(await inbox.holds(1), ["yes"]);
  });

  test("with the first one's pid file says which process has it, exit 1; the first can still be stopped", async ({
    place,
  }) => {
    const first = await place.startBroker("");
    for (const flags of [[], ["--daemon"]]) {
      const second = place.hookmq(["start", "--url", "nmq-tcp://127.0.0.1:0", ...flags]);
      assert.equal(await second.exitCode(), 1);
      await second.complaint(new RegExp(`already running as process ${first.pid}\\b.*HOOKMQ_PID_FILE=`));
      assert.deepEqual(second.stdout, []);
    }
    assert.equal(pidIn(place.pidFile), first.pid);
    const stop = place.hookmq(["stop"]);
    assert.equal(await stop.exitCode(), 0);
    assert.deepEqual(stop.stdout, ["HookMQ stopped."]);
    assert.equal(await first.program.exitCode(), 0);
  });

  test("of the receiver on a port in use says so, exit 1", async ({ place }) => {
    const { port } = await place.startReceiver();
    const second = place.hookmq(["receiver", "--port", `${port}`]);
    assert.equal(await second.exitCode(), 1);
    await second.complaint(new RegExp(`127\\.0\\.0\\.1:${port}: the port is in use.*--port`));
  });
});

describe("in the background", () => {
  test("start --daemon, reload, restart, stop: each says what it did", async ({ place }) => {
    place.write("nanomq.conf", 'listeners.tcp.bind = "127.0.0.1:0"\nlog { to = [file], dir = ".", level = info }');
    const start = place.hookmq(["start", "--daemon", "--conf", "nanomq.conf"]);
    assert.equal(await start.exitCode(), 0, start.stderr.join("\n"));
    const first = await listening(start);
    await start.line(/^HookMQ runs in the background; "hookmq stop" ends it\.$/);
    assert.equal(pidIn(place.pidFile), first.pid);
    assert.notEqual(first.pid, start.pid);

    const reload = place.hookmq(["reload"]);
    assert.equal(await reload.exitCode(), 0);
    assert.deepEqual(reload.stdout, ["reload succeed!"]);

    const client = await connectMqttJs(place, first.port);
    const closed = new Promise<void>((resolve) => client.once("close", resolve));
    const restart = place.hookmq(["restart", "--daemon", "--conf", "nanomq.conf"]);
    assert.equal(await restart.exitCode(), 0, restart.stderr.join("\n"));
    await closed;
    assert.equal(restart.stdout[0], "HookMQ stopped.");
    const second = await listening(restart);
    assert.equal(pidIn(place.pidFile), second.pid);
    assert.notEqual(second.pid, first.pid);
    await connectMqttJs(place, second.port);

    const stop = place.hookmq(["stop"]);
    assert.equal(await stop.exitCode(), 0);
    assert.deepEqual(stop.stdout, ["HookMQ stopped."]);
    assert.ok(!existsSync(place.pidFile));
    assert.match(readFileSync(place.file("nanomq.log"), "utf8"), /SIGTERM received: HookMQ stops/);
  });

  test("a daemon that cannot listen complains through the command that started it, exit 1", async ({ place }) => {
    const { port } = await place.startReceiver();
    place.write("nanomq.conf", `listeners.tcp.bind = "127.0.0.1:${port}"`);
    const start = place.hookmq(["start", "--daemon", "--conf", "nanomq.conf"]);
    assert.equal(await start.exitCode(), 1);
    await start.complaint(new RegExp(`127\\.0\\.0\\.1:${port}: the port is in use`));
    assert.ok(!existsSync(place.pidFile));
  });

  test("restart with mistakes in the file stops nothing; without a running broker it starts one", async ({ place }) => {
    const first = await place.startBroker("");
    place.write("wrong.conf", "mqtt.no_such_key = 1");
    const wrong = place.hookmq(["restart", "--conf", "wrong.conf"]);
    assert.equal(await wrong.exitCode(), 1);
    assert.equal(wrong.stderr.at(-1), "Nothing was stopped.");
    assert.equal(pidIn(place.pidFile), first.pid);

    const second = place.hookmq(["restart", "--url", "nmq-tcp://127.0.0.1:0"]);
    assert.equal(await first.program.exitCode(), 0);
    await connectMqttJs(place, (await listening(second)).port);
    await endsInTime(second, () => second.signal("SIGTERM"));

    const third = place.hookmq(["restart", "--url", "nmq-tcp://127.0.0.1:0"]);
    await third.line(/^There is no running HookMQ instance\.$/);
    await connectMqttJs(place, (await listening(third)).port);
  });
});

describe.concurrent("reload", () => {
  test("takes over what can change, and names what needs a restart", async ({ place }) => {
    const broker = await place.startBroker("mqtt.max_packet_size = 5000");
    assert.equal(await packetBytesMax(broker.port), 5000);
    place.write("nanomq.conf", 'listeners.tcp.bind = "127.0.0.1:1"\nmqtt.max_packet_size = 6000');
    const reload = place.hookmq(["reload"]);
    assert.equal(await reload.exitCode(), 0);
    assert.deepEqual(reload.stdout, ["reload succeed!", "takes effect after a restart: listeners"]);
    assert.equal(await packetBytesMax(broker.port), 6000);

    const other = place.write("other/other.conf", "mqtt.max_packet_size = 7000");
    assert.equal(await place.hookmq(["reload", "--conf", path.relative(place.folder, other)]).exitCode(), 0);
    assert.equal(await packetBytesMax(broker.port), 7000);
  });

  test("takes over the webhooks: who is new is told, who is gone keeps what it is owed, a faulty file changes nothing", async ({
    place,
  }) => {
    const old = await deadPort();
    const receiver = await GoodReceiver.listen(place);
    const { port } = await place.startBroker(webhookOf(old, "on_message_publish"));
    const client = await connectMqttJs(place, port);
    await client.publishAsync("a", "to the old one", { qos: 1 });

    const file = (endpoints: string) => `listeners.tcp.bind = "127.0.0.1:0"\nwebhook.endpoints { ${endpoints} }`;
    const lake = `lake { url = "http://127.0.0.1:${receiver.port}", events = [{ event = on_message_publish }] }`;
    place.write("nanomq.conf", file(lake));
    const reload = place.hookmq(["reload"]);
    assert.equal(await reload.exitCode(), 0, reload.stderr.join("\n"));
    assert.deepEqual(reload.stdout, [
      "reload succeed!",
      "webhook endpoints new: lake",
      "webhook endpoint default is not configured any more, it is parked: 1 delivery waits for it",
    ]);
    // The connection is the same, and so is the topic whose route was remembered.
    await client.publishAsync("a", "to the new one", { qos: 1 });
    await receiver.has(({ body }) => body.includes("to the new one"));

    place.write("nanomq.conf", file(lake.replace("event =", "evnt =")));
    const faulty = place.hookmq(["reload"]);
    assert.equal(await faulty.exitCode(), 1);
    await faulty.complaint(/evnt/);
    await client.publishAsync("a", "still to the new one", { qos: 1 });
    await receiver.has(({ body }) => body.includes("still to the new one"));

    // Under other options it goes on as the same.
    place.write("nanomq.conf", file(lake.replace("url", "body.encoding = base64, url")));
    const changed = place.hookmq(["reload"]);
    assert.equal(await changed.exitCode(), 0);
    assert.equal(changed.stdout[1], "webhook endpoints changed, with what they are owed: lake");
    await client.publishAsync("a", "encoded", { qos: 1 });
    await receiver.has(({ body }) => body.includes(Buffer.from("encoded").toString("base64")));
    assert.ok(!receiver.requests.some(({ body }) => body.includes("to the old one")));
  });

  test("of a file with mistakes changes nothing, exit 1", async ({ place }) => {
    const broker = await place.startBroker("mqtt.max_packet_size = 5000");
    place.write("nanomq.conf", "mqtt.max_packet_size = 6000\nmqtt.max_packet_size_ = 1");
    const reload = place.hookmq(["reload"]);
    assert.equal(await reload.exitCode(), 1);
    await reload.complaint(/nanomq\.conf:2:6: /);
    assert.equal(reload.stderr[0], "reload failed, nothing was changed:");
    assert.equal(await packetBytesMax(broker.port), 5000);
  });

  test("SIGHUP reloads and says so in the log; the connections stay", async ({ place }) => {
    const broker = await place.startBroker("mqtt.max_packet_size = 5000\nlog.level = info");
    const client = await connectMqttJs(place, broker.port);
    const inbox = new Inbox(client);
    await client.subscribeAsync("a");
    place.write("nanomq.conf", "mqtt.max_packet_size = 6000\nlog.level = info");
    broker.program.signal("SIGHUP");
    await broker.program.line(/INFO .*reload succeed!/);
    assert.equal(await packetBytesMax(broker.port), 6000);
    place.write("nanomq.conf", "mqtt.max_packet_size = many");
    broker.program.signal("SIGHUP");
    await broker.program.line(/ERROR .*reload failed, nothing was changed.*nanomq\.conf:1:24/);
    assert.equal(await packetBytesMax(broker.port), 6000);
    await client.publishAsync("a", "still here");
    assert.deepEqual(await inbox.holds(1), ["still here"]);
  });
});

describe.concurrent("what was written for the original", () => {
  const oldFile = (port: number) => `
    url=nmq-tcp://127.0.0.1:0
    log.level=info
    web.hook.enable=true
    web.hook.url=http://127.0.0.1:${port}
    web.hook.headers.content-type=application/json
    web.hook.body.encoding_of_payload_field=base64
    web.hook.rule.client.connack.1={"action": "on_client_connack"}
    web.hook.rule.message.publish.1={"action": "on_message_publish", "topic": "old/#"}`;

  for (const flag of ["--old_conf", "--conf"]) {
    test(`a key=value file runs with ${flag}, webhooks and all`, async ({ place }) => {
      const receiver = await place.startReceiver();
      place.write("nanomq_old.conf", oldFile(receiver.port));
      const broker = await listening(place.hookmq(["start", flag, "nanomq_old.conf"]));
      const client = await connectMqttJs(place, broker.port, { clientId: "c" });
      await client.publishAsync("old/topic", "hello", { qos: 1 });
      await receiver.program.line(/^Received: \{"proto_ver":4.*"clientid":"c","action":"client_connack"\}$/);
      await receiver.program.line(/^Received: \{"ts":\d{13},"topic":"old\/topic",.*"payload":"aGVsbG8="\}$/);
    });
  }

  test("a key=value file with a key that is not read says where it is written now", async ({ place }) => {
    place.write("old.conf", "url=nmq-tcp://127.0.0.1:0\nmax_packet_size=10\n");
    const program = place.hookmq(["start", "--old_conf", "old.conf"]);
    assert.equal(await program.exitCode(), 1);
    await program.complaint(/^old\.conf:2:1: .*`mqtt\.max_packet_size` in a HOCON file/);
  });

  test("its environment variables choose file, listener, pid file and log", async ({ place }) => {
    place.write("by-environment.conf", "mqtt.max_packet_size = 4321");
    mkdirSync(place.file("logs"));
    const program = place.hookmq(["start"], {
      env: {
        HOOKMQ_PID_FILE: undefined,
        NANOMQ_PID_FILE: place.file("nano.pid"),
        NANOMQ_CONF_PATH: place.file("by-environment.conf"),
        NANOMQ_BROKER_URL: "nmq-tcp://127.0.0.1:0",
        NANOMQ_LOG_TO: "file",
        NANOMQ_LOG_DIR: place.file("logs"),
        NANOMQ_LOG_FILE: "nano.log",
        NANOMQ_LOG_LEVEL: "info",
      },
    });
    const broker = await listening(program);
    await program.line(/by-environment\.conf \(named by NANOMQ_CONF_PATH\)$/);
    assert.equal(pidIn(place.file("nano.pid")), broker.pid);
    assert.equal(await packetBytesMax(broker.port), 4321);
    await endsInTime(program, () => program.signal("SIGTERM"));
    assert.match(readFileSync(place.file("logs/nano.log"), "utf8"), /SIGTERM received/);
  });
});

describe.concurrent("the launcher under an older Node", () => {
  test("passes on arguments, input, output and exit codes", async ({ place, skip }) => {
    const older = olderNode(skip);
    const broker = await place.startBroker("");
    const bad = place.run(older, [launcher, "--bad"]);
    await bad.complaint(/unknown option '--bad'/);
    assert.equal(await bad.exitCode(), 1);
    const sub = place.run(older, [launcher, "sub", "-p", `${broker.port}`, "-t", "ready", "-t", "a", "-C", "3"]);
    const client = await connectMqttJs(place, broker.port);
    await client.publishAsync("ready", "ready", { qos: 1, retain: true });
    await sub.line(/^ready$/);
    const pub = place.run(older, [launcher, "pub", "-p", `${broker.port}`, "-t", "a", "-l"]);
    assert.equal(await pub.give("one\ntwo\n").exitCode(), 0);
    assert.equal(await sub.exitCode(), 0);
    assert.deepEqual(sub.stdout, ["ready", "one", "two"]);
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`passes on ${signal}, and the broker's exit code back`, async ({ place, skip }) => {
      const older = olderNode(skip);
      place.write("nanomq.conf", 'listeners.tcp.bind = "127.0.0.1:0"\nlog.level = info');
      const program = place.run(older, [launcher, "start", "--conf", "nanomq.conf"]);
      const broker = await listening(program);
      assert.notEqual(broker.pid, program.pid);
      program.signal("SIGHUP");
      await program.line(/reload succeed!/);
      await endsInTime(program, () => program.signal(signal));
    });
  }

  test("Ctrl-C, which launcher and broker both hear, is one stop", async ({ place, skip }) => {
    const older = olderNode(skip);
    const program = place.run(older, [launcher, "start", "--url", "nmq-tcp://127.0.0.1:0"], { ownGroup: true });
    await listening(program);
    await endsInTime(program, () => program.interruptGroup());
  });

  test("dies as the broker died", async ({ place, skip }) => {
    const program = place.run(olderNode(skip), [launcher, "start", "--url", "nmq-tcp://127.0.0.1:0"]);
    const broker = await listening(program);
    process.kill(broker.pid, "SIGKILL");
    assert.deepEqual(await program.ended(), { code: null, signal: "SIGKILL" });
  });
});

function disconnectOf(client: MqttClient): Promise<IDisconnectPacket> {
  return new Promise((resolve) => client.once("disconnect", resolve));
}

/** Messages without end, and a subscriber that never reads them. */
function startFlood(place: Place, port: number): void {
  const deaf = connectTcp(port, "127.0.0.1");
  deaf.pause();
  deaf.write(encodePacket(4, { ...hello, clientId: "deaf" }));
  const subscription = {
    topicFilter: "flood",
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
  } as const;
  deaf.write(encodePacket(4, { type: "subscribe", packetIdentifier: 1, subscriptions: [subscription] }));

  const flood = connectTcp(port, "127.0.0.1");
  flood.write(encodePacket(4, { ...hello, clientId: "flood" }));
  const message = {
    type: "publish",
    topicName: "flood",
    payload: Buffer.alloc(200, "x"),
    retain: false,
    qos: 0,
  } as const;
  const block = Buffer.concat(Array.from({ length: 200 }, () => encodePacket(4, message)));
  const pour = () => {
    while (flood.writable && flood.write(block));
  };
  flood.on("drain", pour);
  pour();
  for (const socket of [deaf, flood]) {
    // The broker ends them.
    socket.on("error", () => {});
    place.whenLeaving(async () => socket.destroy());
  }
}

const hello = { type: "connect", protocolVersion: 4, cleanStart: true, keepAliveSeconds: 0 } as const;

function webhookOf(port: number, event: string): string {
  return `webhook { url = "http://127.0.0.1:${port}", events = [ { event = ${event} } ] }`;
}

/** What a 5.0 client is told in its CONNACK. */
async function packetBytesMax(port: number): Promise<number | undefined> {
  const client = await TestClient.connect(port);
  await client.disconnect();
  return client.connack.properties?.maximumPacketSize;
}

function pidIn(file: string): number {
  return Number(readFileSync(file, "utf8"));
}
