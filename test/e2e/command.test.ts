/**
 * The command as an operator meets it before anything runs: help, mistakes, and what a configuration comes to.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { repository, test } from "./support/place.ts";

test.concurrent("--version and --help answer on the standard output, exit 0", async ({ place }) => {
  const version = place.run("hookmq", ["--version"]);
  const help = place.run("emqx-edge", ["--help"]);
  assert.equal(await version.exitCode(), 0);
  const manifest = JSON.parse(readFileSync(`${repository}/package.json`, "utf8"));
  assert.deepEqual(version.stdout, [manifest.version]);
  assert.equal(await help.exitCode(), 0);
  for (const command of [
    "start",
    "stop",
    "restart",
    "reload",
    "check",
    "health",
    "metrics",
    "receiver",
    "pub",
    "sub",
  ]) {
    await help.line(new RegExp(`^ {2}${command} \\[options\\] `));
  }
  assert.deepEqual([...version.stderr, ...help.stderr], []);
});

for (const [args, said] of [
  [[], /^Usage: hookmq \[options\] \[command\]$/],
  [["--bad"], /unknown option '--bad'/],
  [["start", "--bad"], /unknown option '--bad'/],
  [["frobnicate"], /unknown command 'frobnicate'/],
  [["start", "--conf"], /option '--conf <path>' argument missing/],
  [
    ["start", "--conf", "nowhere.conf"],
    /^nowhere\.conf: the configuration file cannot be read: there is no such file$/,
  ],
  [["check", "--conf", "nowhere.conf"], /^nowhere\.conf: the configuration file cannot be read/],
  [["start", "--url", "gopher://here"], /^command line: listeners\.tcp\.bind .*"gopher:\/\/here".*expected host:port/],
  [["pub", "-m", "x"], /required option '-t, --topic <name>' not specified/],
  [["pub", "-t", "a"], /give the message in one way/],
  [["receiver", "--status", "99"], /an HTTP status from 200 to 599/],
  [["stop"], /^There is no running HookMQ instance\.$/],
  [["reload"], /^HookMQ is not running, use command 'hookmq start/],
] as const) {
  test.concurrent(`hookmq ${args.join(" ")} complains, exit 1`, async ({ place }) => {
    const program = place.hookmq(args);
    await program.complaint(said);
    assert.equal(await program.exitCode(), 1);
    assert.deepEqual(program.stdout, []);
    assert.ok(!program.stderr.some((line) => /^\s+at /.test(line)), "no stack trace is for operators");
  });
}

test.concurrent("five mistakes are five reports with their places, and nothing is started", async ({ place }) => {
  place.write(
    "nanomq.conf",
    [
      'listeners.tcp.bind = "127.0.0.1:0"',
      "mqtt {",
      "  max_packet_sise = 1MB",
      "  keepalive_multiplier = soon",
      "}",
      "webhook {",
      '  url = "127.0.0.1:8888"',
      "  events = [",
      '    { event = "on_message_published", topic = "nmq/pub" }',
      '    { event = "on_message_publish", topic = "nmq/#/pub" }',
      "  ]",
      "}",
    ].join("\n"),
  );
  for (const command of ["check", "start"]) {
    const program = place.hookmq([command, "--conf", "nanomq.conf"]);
    assert.equal(await program.exitCode(), 1);
    const places = program.stderr.flatMap(
      (line) => /^nanomq\.conf:(\d+:\d+): .*(?:found|expected)/.exec(line)?.[1] ?? [],
    );
    assert.deepEqual(places, ["3:3", "4:26", "7:9", "9:15", "10:45"], program.stderr.join("\n"));
    await program.complaint(/^nanomq\.conf:3:3: .*`?mqtt\.max_packet_size/);
    await program.complaint(/^nanomq\.conf:9:15: .*on_message_publish/);
    assert.equal(program.stderr.at(-1), "5 mistakes in the configuration");
    assert.deepEqual(program.stdout, []);
  }
  assert.ok(!existsSync(place.pidFile));
});

test.concurrent("check prints what is in force and where it is from: command line over environment over file", async ({
  place,
}) => {
  const lines = [
    'listeners.tcp.bind = "127.0.0.1:1001"',
    "log.level = debug",
    "mqtt.max_mqueue_len = 7",
    "webhook {",
    '  url = "http://user:hush@127.0.0.1:1/"',
    "  events = [ { event = on_client_connack } ]",
    "}",
  ];
  place.write("nanomq.conf", lines.join("\n"));
  const check = place.hookmq(["check", "--conf", "nanomq.conf", "--url", "nmq-tcp://127.0.0.1:1003"], {
    env: { NANOMQ_LOG_LEVEL: "error", NANOMQ_BROKER_URL: "nmq-tcp://127.0.0.1:1002" },
  });
  assert.equal(await check.exitCode(), 0);
  const inForce = new Map<string, string>();
  for (const line of check.stdout) {
    const [, key, setting] = /^(\S+) \+?= (.*)$/.exec(line) ?? ["", "", line];
    inForce.set(key, setting.replace(/ +# /, " # "));
  }
  assert.equal(inForce.get("listeners.tcp.bind"), '"127.0.0.1:1003" # command line');
  assert.equal(inForce.get("log.level"), "error # environment NANOMQ_LOG_LEVEL");
  assert.equal(inForce.get("mqtt.max_mqueue_len"), "7 # nanomq.conf:3:23");
  assert.equal(inForce.get("webhook.events"), "{ event = on_client_connack } # nanomq.conf:6:14");
  assert.equal(inForce.get("mqtt.keepalive_multiplier"), "1.5 # default");
  assert.ok(!check.stdout.join("\n").includes("hush"), "a password is not shown");
});
