import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, expect, test } from "vitest";
import { addBrokerFlags, type BrokerFlags, loadFor, overridesOf, pidFileFor } from "./broker-flags.ts";

let cwd: string;

beforeEach(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "hookmq-flags-"));
});

afterEach(() => rmSync(cwd, { recursive: true }));

function parse(...args: string[]): BrokerFlags {
  return addBrokerFlags(new Command()).parse(args, { from: "user" }).opts();
}

/** Only what is set. */
function overrides(...args: string[]): object {
  return Object.fromEntries(Object.entries(overridesOf(parse(...args))).filter(([, value]) => value !== undefined));
}

for (const [args, expected] of [
  [[], {}],
  [["-d"], { "system.daemon": true }],
  [["--daemon"], { "system.daemon": true }],
  [["--url", "nmq-tcp://127.0.0.1:1885"], { "listeners.tcp.bind": "127.0.0.1:1885" }],
  [["--url=nmq-tcp://:1", "--url=broker+tcp://:2"], { "listeners.tcp.bind": ":1", "listeners.tcp.url2.bind": ":2" }],
  [["--http", "-p", "8082"], { "http_server.enable": true, "http_server.port": "8082" }],
  [
    ["-t", "1", "-T", "2", "-n", "3"],
    { "system.num_taskq_thread": "1", "system.max_taskq_thread": "2", "system.parallel": "3" },
  ],
  [
    ["-s", "4", "-S", "5", "-D", "6"],
    { "mqtt.property_size": "4", "mqtt.max_mqueue_len": "5", "mqtt.retry_interval": "6" },
  ],
  [["--cacert=a", "-E", "b"], { "listeners.ssl.cacertfile": "a", "listeners.ssl.certfile": "b" }],
  [["--log_level", "info"], { "log.level": "info" }],
  [["--log_file", "/var/log/mq.log"], { "log.to": ["console", "file"], "log.dir": "/var/log", "log.file": "mq.log" }],
  [["--log_file=mq.log", "--log_stdout=false"], { "log.to": ["file"], "log.dir": ".", "log.file": "mq.log" }],
  [["--log_syslog", "true"], { "log.to": ["console", "syslog"] }],
] as const) {
  test(`${args.join(" ") || "no flag"} sets ${JSON.stringify(expected)}`, () => {
    expect(overrides(...args)).toEqual(expected);
  });
}

test("a flag overrules the file, which overrules the environment", () => {
  const file = path.join(cwd, "x.conf");
  writeFileSync(file, "mqtt.max_mqueue_len = 10\nmqtt.max_packet_size = 2KB");
  const env = { NANOMQ_MSQ_LEN: "5", NANOMQ_MAX_PACKET_SIZE: "7", HOOKMQ_LOG_LEVEL: "error" };
  const { settings } = loadFor(parse("--conf", file, "-S", "20"), { env, cwd });
  expect(settings).toMatchObject({ broker: { queuedMessagesMax: 20 }, log: { level: "error" } });
});

test("--old_conf reads the older form", () => {
  writeFileSync(path.join(cwd, "old.conf"), "url=nmq-tcp://127.0.0.1:1999\n");
  const { settings } = loadFor(parse("--old_conf", "old.conf"), { env: {}, cwd });
  expect(settings?.listeners.tcp).toEqual([{ name: "default", host: "127.0.0.1", port: 1999 }]);
});

test("the pid file is found by the environment, by the file, and in spite of mistakes in it", () => {
  const env = { HOOKMQ_PID_FILE: "/run/mine.pid" };
  writeFileSync(path.join(cwd, "good.conf"), 'system.pid_file = "broker.pid"');
  writeFileSync(path.join(cwd, "bad.conf"), "nonsense = {");
  expect(pidFileFor({}, { env, cwd })).toBe("/run/mine.pid");
  expect(pidFileFor({ conf: "good.conf" }, { env: {}, cwd })).toBe(path.join(cwd, "broker.pid"));
  expect(pidFileFor({ conf: "bad.conf" }, { env, cwd })).toBe("/run/mine.pid");
  expect(pidFileFor({ conf: "bad.conf" }, { env: {}, cwd })).toBe(pidFileFor({}, { env: {}, cwd }));
});
