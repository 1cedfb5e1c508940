// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are substitutions of HOCON
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "vitest";
import { memoryFiles } from "../base/hocon/memory-files.ts";
import { type EndpointOptions, eventNames, plainRequest } from "../webhook/options.ts";
import { problemText, renderEffective, renderErrors } from "./check.ts";
import type { Overrides } from "./command-line.ts";
import { overridesOfUrls } from "./command-line.ts";
import { loadSettings } from "./load.ts";
import type { Settings } from "./settings.ts";

interface Surroundings {
  env?: Record<string, string>;
  overrides?: Overrides;
  files?: Record<string, string>;
  oldConf?: boolean;
}

function load(text: string, { env = {}, overrides = {}, files = {}, oldConf = false }: Surroundings = {}) {
  const all = memoryFiles({ "/srv/nanomq.conf": text, ...files });
  return loadSettings({ path: "nanomq.conf", oldConf, env, overrides, cwd: "/srv", files: all, version: "1.2.3" });
}

function settingsOf(text: string, surroundings: Surroundings = {}): Settings {
  const { settings, errors } = load(text, surroundings);
  assert.deepEqual(errors.map(problemText), []);
  return settings!;
}

function endpointOf(text: string, surroundings: Surroundings = {}): EndpointOptions {
  const { endpoints } = settingsOf(text, surroundings).webhook;
  assert.equal(endpoints.length, 1);
  return endpoints[0]!;
}

function errorsOf(text: string, surroundings: Surroundings = {}): string[] {
  const { errors, settings } = load(text, surroundings);
  assert.equal(settings === undefined, errors.length > 0);
  return errors.map(problemText);
}

function warningsOf(text: string, surroundings: Surroundings = {}): string[] {
  const { errors, warnings } = load(text, surroundings);
  assert.deepEqual(errors.map(problemText), []);
  return warnings.map(problemText);
}

const minute = 60_000;
const hour = 60 * minute;

const tutorialEndpoint: EndpointOptions = {
  name: "default",
  enable: true,
  url: "http://127.0.0.1:8888",
  headers: [["content-type", "application/json"]],
  bodyEncoding: "plain",
  poolSize: 32,
  attemptTimeoutMs: 5000,
  connectTimeoutMs: 5000,
  request: plainRequest,
  retry: {
    scheduleMs: [1000, 5000, 15_000, minute, 5 * minute, 15 * minute, 30 * minute].concat(
      [1, 2, 4, 8, 8].map((hours) => hours * hour),
    ),
    jitter: 0.2,
  },
  maxAgeMs: 24 * hour,
  durability: "strict",
  queueBytesMax: 1024 ** 3,
  overflow: "drop_oldest",
  deadLetters: { bytesMax: 256 * 1024 ** 2, maxAgeMs: 7 * 24 * hour },
  timestampUnit: "ms",
  orderBy: "client",
  format: "edge",
  source: "/brokers/hookmq",
  template: undefined,
  rules: [
    { event: "on_message_publish", topicFilters: ["nmq/pub"] },
    { event: "on_client_connack", topicFilters: [] },
    { event: "on_client_disconnected", topicFilters: [] },
  ],
};

test("the tutorial's configuration, as shipped, means exactly this and warns of nothing", () => {
  const shipped = readFileSync(path.join(import.meta.dirname, "../../etc/nanomq.conf"), "utf8");
  const { settings, warnings, errors } = load(shipped);
  assert.deepEqual({ warnings, errors }, { warnings: [], errors: [] });
  assert.deepEqual(settings, {
    system: { daemon: false, pidFile: "/tmp/hookmq/hookmq.pid" },
    store: { engine: "disk", directory: "/srv/data", sync: "commit" },
    broker: {
      nodeName: "hookmq",
      version: "1.2.3",
      packetBytesMax: 10 * 1024 * 1024,
      queuedMessagesMax: 1024,
      topicAliasMax: 64,
      receiveMaximum: 1000,
      inflightMessagesMax: 2048,
      keepAliveMultiplier: 1.5,
      keepAliveSecondsMax: undefined,
      sessionExpirySecondsMax: 0xffff_ffff,
      connectionsMax: 100_000,
      sysIntervalSeconds: 10,
      responseInformation: undefined,
    },
    listeners: { tcp: [{ name: "default", host: "0.0.0.0", port: 1883 }] },
    log: { level: "warn", format: "text", console: true, file: undefined },
    webhook: { endpoints: [tutorialEndpoint] },
  } satisfies Settings);
});

test("no file at all: everything is default", () => {
  const files = memoryFiles({});
  const { settings, file, errors } = loadSettings({ env: {}, cwd: "/", files, version: "1" });
  assert.deepEqual(errors, []);
  assert.equal(file, undefined);
  assert.deepEqual(settings!.listeners.tcp, [{ name: "default", host: "0.0.0.0", port: 1883 }]);
  assert.deepEqual(settings!.webhook.endpoints, []);
});

test("a file that was named and is not there is an error", () => {
  const { errors, settings } = loadSettings({
    path: "none.conf",
    env: {},
    cwd: "/",
    files: memoryFiles({}),
    version: "1",
  });
  assert.equal(settings, undefined);
  assert.deepEqual(errors.map(problemText), [
    "none.conf: the configuration file cannot be read: there is no such file",
  ]);
});

describe("an existing nanomq.conf", () => {
  const full = `
    # everything the original's reference lists, as its users write it
    mqtt {
      property_size = 32, max_packet_size = 10KB, max_mqueue_len = 2048
      retry_interval = 10s, keepalive_multiplier = 1.25
      max_inflight_window = 2048, max_awaiting_rel = 10s, await_rel_timeout = 10s
      batch_resend = false
    }
    system { num_taskq_thread = 0, max_taskq_thread = 0, parallel = 8, daemon = false, enable_ipc_internal = true
      hook_ipc_url = "ipc:///tmp/nanomq_hook.ipc", cmd_ipc_url = "ipc:///tmp/nanomq_cmd.ipc" }
    listeners.tcp { bind = "0.0.0.0:1883" }
    listeners.tcp.local { bind = "127.0.0.1:11883", enable = true }
    listeners.ssl { bind = "0.0.0.0:8883", key_password = "secret", keyfile = "/etc/certs/key.pem"
      certfile = "/etc/certs/cert.pem", cacertfile = "/etc/certs/cacert.pem", verify_peer = false, fail_if_no_peer_cert = false }
    listeners.ws { bind = "0.0.0.0:8083/mqtt" }
    listeners.wss { bind = "0.0.0.0:8084/mqtt" }
    http_server { port = 8081, ip_addr = 0.0.0.0, limit_conn = 32, max_body = 65535, username = admin, password = public
      auth_type = basic, jwt { public.keyfile = "/etc/certs/jwt/jwtRS256.key.pub" } }
    log { to = [file, console], level = WARN, dir = "/var/log", file = "nanomq.log", rotation { size = 10MB, count = 5 } }
    auth {
      allow_anonymous = true, no_match = allow, deny_action = ignore
      cache = { max_size = 32, ttl = 1m }
      password = { include "/etc/nanomq_pwd.conf" }
      acl = { include "/etc/nanomq_acl.conf" }
      http_auth = { auth_req { url = "http://127.0.0.1:80/mqtt/auth", method = POST, params = { clientid = "%c" } }, timeout = 5s }
    }
    sqlite { disk_cache_size = 102400, mounted_file_path = "/tmp/", flush_mem_threshold = 100, resend_interval = 5000 }
    preset.session.1 { clientid = "example", topic = [ { remote_topic = "a", qos = 1 } { remote_topic = "b", qos = 2 } ] }
    bridges.mqtt.emqx1 {
      enable = true, server = "mqtt-tcp://127.0.0.1:1883", proto_ver = 4, keepalive = 60s, backoff_max = 60s, clean_start = false
      username = username, password = passwd
      will = { topic = "will_topic", qos = 1, retain = false, payload = "will" , properties = { payload_format_indicator = 0 } }
      forwards = [ { remote_topic = "fwd/topic1", local_topic = "topic1", qos = 1, retain = 2, suffix = "/x" } ]
      subscription = [ { remote_topic = "cmd/1", local_topic = "cmd/2", qos = 1, retain = 2, retain_as_published = 2 } ]
      ssl { key_password = "yourpass", keyfile = "k", certfile = "c", cacertfile = "ca" }
      tcp { nodelay = false, keepalive = false, quickack = false, keepidle = 7200, sendtimeo = 5000 }
      max_parallel_processes = 2, max_send_queue_len = 32, max_recv_queue_len = 128
      hybrid_bridging = false, hybrid_servers = ["mqtt-quic://127.0.0.1:14567"], quic_idle_timeout = 120s, quic_0rtt = true
    }
    bridges.mqtt.cache { disk_cache_size = 102400, flush_mem_threshold = 100 }
    bridges.aws.aws1 { server = "x.amazonaws.com:8883", proto_ver = 4 }
    rules.sqlite { path = "/tmp/sqlite_rule.db", rules = [ { sql = "SELECT * FROM \\"abc\\"", table = abc } ] }
    exchange_client.mq1 { exchange_url = "tcp://127.0.0.1:10000", exchange { topic = "exchange/topic1", ringbus = { fullOp = 2 } } }
    parquet { compress = uncompressed, dir = "/tmp/nanomq-parquet", file_count = 5 }
    plugin.libs = [ { path = "/lib/plugin_user_property.so" } ]
    webhook { url = "http://127.0.0.1:8888", headers.content-type = "application/json", cancel_timeout = 5000
      ssl { keyfile = "k" }, events = [ { event = on_client_connack } ] }
  `;

  test("starts, with one warning for each thing that does nothing", () => {
    const warned = warningsOf(full).map((line) => line.replace(/^\S+ /, "").split(": ")[0]!);
    assert.deepEqual(new Set(warned).size, warned.length);
    assert.deepEqual(
      warned.sort(),
      [
        ...["property_size", "retry_interval", "max_awaiting_rel", "await_rel_timeout", "batch_resend"].map(
          (key) => `mqtt.${key}`,
        ),
        ...[
          "num_taskq_thread",
          "max_taskq_thread",
          "parallel",
          "enable_ipc_internal",
          "hook_ipc_url",
          "cmd_ipc_url",
        ].map((key) => `system.${key}`),
        ...["ssl", "ws", "wss"].map((key) => `listeners.${key}`),
        ...["no_match", "deny_action", "cache", "password", "acl", "http_auth"].map((key) => `auth.${key}`),
        ...[
          "http_server",
          "sqlite",
          "preset",
          "bridges",
          "rules",
          "exchange_client",
          "parquet",
          "plugin",
          "webhook.ssl",
        ],
        "the included file /etc/nanomq_pwd.conf is not there",
        "the included file /etc/nanomq_acl.conf is not there",
      ].sort(),
    );
  });

  test("and its other settings hold", () => {
    const { broker, listeners, log } = settingsOf(full);
    assert.equal(broker.packetBytesMax, 10_240);
    assert.equal(broker.queuedMessagesMax, 2048);
    assert.equal(broker.keepAliveMultiplier, 1.25);
    assert.deepEqual(listeners.tcp, [
      { name: "default", host: "0.0.0.0", port: 1883 },
      { name: "local", host: "127.0.0.1", port: 11_883 },
    ]);
    assert.equal(log.level, "warn");
    assert.deepEqual(log.file, {
      path: path.join("/var/log", "nanomq.log"),
      rotateBytes: 10_485_760,
      rotatedFilesMax: 5,
    });
  });

  test("shows none of its secrets", () => {
    const shown = renderEffective(load(full));
    for (const secret of ["public", "passwd", "yourpass"]) assert.ok(!shown.includes(`= ${secret}`), secret);
    assert.ok(!shown.includes("key_password = secret"));
  });

  test("that asks for a password is told plainly that everyone may connect", () => {
    assert.deepEqual(warningsOf("auth {\n allow_anonymous = false\n password { admin = public }\n}"), [
      "nanomq.conf:2:20: auth.allow_anonymous = false: read, not yet supported: everyone may connect, with any password or none",
      "nanomq.conf:3:11: auth.password: read, not yet supported: passwords are not checked, everyone may connect",
    ]);
    assert.deepEqual(warningsOf("auth.allow_anonymous = true"), []);
  });
});

describe("mistakes", () => {
  test("five mistakes in one file are five errors in one report, in the order of the file", () => {
    const text = `listeners.tcp.bind = "0.0.0.0:99999"
mqtt {
  max_packet_size = 10XB
}
webhook {
  url = "htp://127.0.0.1:8888"
  pool_sise = 32
  events = [ { event = "on_message_publish", topic = "a/#/b" } ]
}
`;
    assert.deepEqual(errorsOf(text), [
      'nanomq.conf:1:22: listeners.tcp.bind has a wrong value; found "0.0.0.0:99999"; expected host:port, :port, port or [IPv6]:port, with a port from 0 to 65535',
      'nanomq.conf:3:21: mqtt.max_packet_size has a wrong value; found "10XB"; expected a size like 512, 64KB, 10MB or 1GB',
      'nanomq.conf:6:9: webhook.url has a wrong value; found "htp://127.0.0.1:8888"; expected an address like http://host:port/path or https://host/path',
      "nanomq.conf:7:3: unknown key webhook.pool_sise; found `pool_sise`; expected `webhook.pool_size`",
      'nanomq.conf:8:54: webhook.events.topic has a wrong value; found "a/#/b"; expected a list, each item a topic filter: `+` and `#` stand alone in their level, `#` at the end',
    ]);
  });

  test("mistakes of the syntax and of the schema come in one report", () => {
    const places = errorsOf('mqtt { max_mqueue_len = many\n bad line\n}\nlog.level = "loud\nlog.to = [printer]').map(
      (line) => line.split(": ")[0],
    );
    assert.deepEqual(places, ["nanomq.conf:1:25", "nanomq.conf:2:6", "nanomq.conf:4:13", "nanomq.conf:5:10"]);
  });

  const webhook = (rest: string) =>
    `webhook {\n url = "http://h"\n events = [{event = on_client_connack}]\n ${rest}\n}`;
  const rows: [text: string, place: string, wanted: RegExp][] = [
    ["listners.tcp.bind = 1883", "1:1", /expected `listeners`/],
    ["mqtt.bind = 1883", "1:6", /expected `listeners\.tcp\.bind`/],
    ["zzz = 1", "1:1", /expected one of system, mqtt/],
    ["listeners.tcp.bnd = 1883", "1:15", /expected `listeners\.tcp\.bind`/],
    ["listeners.tcp { x = null, a { bind = 70000 } }", "1:38", /listeners\.tcp\.a\.bind has a wrong value/],
    ['listeners.tcp { x = "a\n}', "1:21", /not closed/],
    ["listeners.tcp.a.enable = true", "1:17", /listeners\.tcp\.a\.bind is missing/],
    ['listeners.tcp."a b".bind = 1884', "1:15", /expected a name of 1 to 64 letters/],
    ["mqtt = 5", "1:8", /found 5; expected an object/],
    ["mqtt { max_mqueue_len = 0 }", "1:25", /found 0; expected a whole number from 1/],
    ["mqtt { max_mqueue_len = 1.5 }", "1:25", /found 1\.5/],
    ["mqtt { max_mqueue_len = [1] }", "1:25", /found a list of 1/],
    ["mqtt { keepalive_multiplier = 0.5 }", "1:31", /a number over 0\.5, at most 10/],
    ["mqtt { keepalive_multiplier = 11 }", "1:31", /a number over 0\.5, at most 10/],
    ["mqtt { max_keepalive = 1w }", "1:24", /a duration like/],
    ["mqtt { retry_interval = soon }", "1:25", /a duration like/],
    ["system.daemon = maybe", "1:17", /expected true or false/],
    ["system.node_name = a/b", "1:20", /a name without/],
    ["log.level = loud", "1:13", /trace, debug, info, warn, error or fatal/],
    ["log { rotation.size = -1 }", "1:23", /a size like/],
    ["http_server.port = 80810", "1:20", /from 0 to 65535/],
    ["http_server.prt = 8081", "1:13", /expected `http_server\.port`/],
    ["bridges.mqtt.a.proto_ver = 6", "1:28", /from 3 to 5/],
    ["bridges.mqtt.a.forwards = [{ qos = 9999 }]", "1:36", /bridges\.mqtt\.a\.forwards\.qos/],
    ["webhook {}", "1:9", /webhook\.url is missing; expected http/],
    ["webhook { url = 5 }", "1:17", /an address like/],
    ['webhook { url = "http://" }', "1:17", /an address like/],
    ['webhook { url = "http:h" }', "1:17", /an address like/],
    ['webhook { url = "http://h/a\\nb" }', "1:17", /an address like/],
    ['webhook { url = "http://h", events = [{topic = a}] }', "1:39", /webhook\.events\.event is missing/],
    ['webhook { url = "http://h", events = {event = on_client_connack} }', "1:38", /found an object; expected a list/],
    ['webhook { url = "http://h", events = [on_client_connack] }', "1:39", /expected an object/],
    [webhook("pool_size = lots"), "4:14", /found "lots"; expected a whole number from 1 to 1024/],
    [webhook("pool_size = 0"), "4:14", /from 1 to 1024/],
    [webhook("events += {event = on_client_conack}"), "4:21", /expected on_client_connack/],
    [webhook('events += {event = on_message_publish, topic = [a, "a+"]}'), "4:49", /a topic filter/],
    [webhook('events += {event = on_message_publish, topic = "$share/g/a"}'), "4:49", /without `\$share`/],
    [webhook('headers { x = "a\\r\\nb" }'), "4:16", /one line/],
    [webhook('headers { x = "a\\u0000b" }'), "4:16", /one line/],
    [webhook('headers { "x y" = a }'), "4:12", /a header name/],
    [webhook('headers { "x\\n" = a }'), "4:12", /a header name/],
    [webhook("headers { Content-Length = 5 }"), "4:12", /not set by the connection/],
    [webhook("headers { x = [a] }"), "4:16", /header value/],
    [webhook("body.encoding = base63"), "4:18", /plain, base64 or base62/],
    [webhook("cancel_timeout = 5 minutes"), "4:19", /a duration like/],
    [webhook("retry.schedule = [1s, later]"), "4:19", /a list, each item a duration/],
    [webhook("retry.jitter = 2"), "4:17", /from 0 to 1/],
    [webhook("ts_unit = us"), "4:12", /ms or s/],
    [webhook("queue.overflow = drop"), "4:19", /drop_oldest, drop_newest or block/],
    [
      webhook('rule.client.connack=[{"action":"on_client_connack"}]'),
      "4:7",
      /older form; expected rules as a list: events =/,
    ],
  ];
  for (const [text, place, wanted] of rows) {
    test(text.replace(/\s+/g, " "), () => {
      const errors = errorsOf(text);
      assert.equal(errors.length, 1, errors.join("\n"));
      assert.ok(errors[0]!.startsWith(`nanomq.conf:${place}: `), errors[0]);
      assert.match(errors[0]!, wanted);
    });
  }

  test("a value in the file is judged even where another takes its place", () => {
    const errors = errorsOf("log.level = loud", { overrides: { "log.level": "info" } });
    assert.deepEqual(
      errors.map((line) => line.split(": ")[0]),
      ["nanomq.conf:1:13"],
    );
  });

  test("a substitution without a value is one error, not two", () => {
    assert.deepEqual(
      errorsOf("webhook { url = ${WEBHOOK_URL}, events = [] }").map((line) => line.split("; ")[0]),
      ["nanomq.conf:1:17: ${WEBHOOK_URL} has no value"],
    );
  });

  test("secrets stay out of messages", () => {
    const text = "http_server.password = [hunter2]\nlisteners.ssl.key_password = [hunter2]";
    const errors = errorsOf(text);
    assert.equal(errors.length, 2);
    assert.ok(
      errors.every((line) => !line.includes("hunter2") && line.includes("not shown")),
      errors.join("\n"),
    );
  });

  test("hostile names are ordinary mistakes", () => {
    const errors = errorsOf(
      '__proto__ { a = 1 }\nconstructor = 1\nmqtt.__proto__.x = 1\nlisteners.tcp."__proto__" = 1',
    );
    assert.deepEqual(
      errors.map((line) => line.split(";")[0]),
      [
        "nanomq.conf:1:1: unknown key __proto__",
        "nanomq.conf:2:1: unknown key constructor",
        "nanomq.conf:3:6: unknown key mqtt.__proto__",
        "nanomq.conf:4:15: unknown key listeners.tcp.__proto__",
      ],
    );
    assert.equal(({} as { a?: number }).a, undefined);
  });
});

describe("values", () => {
  test("keys, words and units match without regard to case, and amounts may be quoted", () => {
    const { broker, log } = settingsOf('MQTT { Max_Packet_Size = "1kb", max_mqueue_len = "7" }\nLOG.Level = INFO');
    assert.equal(broker.packetBytesMax, 1024);
    assert.equal(broker.queuedMessagesMax, 7);
    assert.equal(log.level, "info");
  });

  test("mqtt keys of our own", () => {
    const { broker } = settingsOf(
      "mqtt { receive_maximum = 5, max_keepalive = 2m, max_session_expiry = 1d, max_connections = 9, sys_interval = 0, response_information = rsp, max_topic_alias = 0, max_inflight_window = 3 }",
    );
    assert.equal(broker.receiveMaximum, 5);
    assert.equal(broker.keepAliveSecondsMax, 120);
    assert.equal(broker.sessionExpirySecondsMax, 86_400);
    assert.equal(broker.connectionsMax, 9);
    assert.equal(broker.sysIntervalSeconds, 0);
    assert.equal(broker.responseInformation, "rsp");
    assert.equal(broker.topicAliasMax, 0);
    assert.equal(broker.inflightMessagesMax, 3);
  });

  test("null is as if the key were not there", () => {
    assert.equal(settingsOf("mqtt.max_mqueue_len = 5\nmqtt.max_mqueue_len = null").broker.queuedMessagesMax, 1024);
  });
});

describe("listeners", () => {
  const rows: [text: string, expected: [name: string, host: string, port: number][]][] = [
    ["", [["default", "0.0.0.0", 1883]]],
    ["listeners.tcp {}", [["default", "0.0.0.0", 1883]]],
    ["listeners.tcp.bind = 1884", [["default", "0.0.0.0", 1884]]],
    ["listeners.tcp.bind = :1884", [["default", "0.0.0.0", 1884]]],
    ['listeners.tcp.bind = "[::]:1883"', [["default", "::", 1883]]],
    ["listeners.tcp.bind = broker.local:1883", [["default", "broker.local", 1883]]],
    ['listeners.tcp.bind = "nmq-tcp://127.0.0.1:1883"', [["default", "127.0.0.1", 1883]]],
    ["listeners.tcp { enable = false }", []],
    ["listeners.tcp.a.bind = 1", [["a", "0.0.0.0", 1]]],
    [
      "listeners.tcp { bind = 1, B.bind = 2, c { bind = 3, enable = false } }",
      [
        ["default", "0.0.0.0", 1],
        ["B", "0.0.0.0", 2],
      ],
    ],
    ["listeners.ws.bind = 8083", []],
  ];
  for (const [text, expected] of rows) {
    test(text || "none", () => {
      assert.deepEqual(
        settingsOf(text).listeners.tcp,
        expected.map(([name, host, port]) => ({ name, host, port })),
      );
    });
  }

  test("a file after which nobody can connect says so", () => {
    assert.deepEqual(warningsOf("listeners.tcp.enable = false"), [
      "nanomq.conf:1:11: no listener is on: nobody can connect",
    ]);
  });
});

describe("webhook", () => {
  test("every key that works", () => {
    const endpoint = endpointOf(`webhook {
      enable = true, url = "https://user@h:8443/x?y=z"
      headers { X-One = 1, authorization = "Bearer a b", Content-Type = text/plain }
      body.encoding = BASE64, pool_size = 4, cancel_timeout = 1500, connect_timeout = 2
      order_by = client, retry { schedule = [500ms, 2], jitter = 0 }, max_age = 90
      queue { max_bytes = 1MB, overflow = drop_newest }, ts_unit = s
      durability = disk, dead_letters { max_bytes = 2MB, max_age = 3h }
      events = [ { event = ON_MESSAGE_PUBLISH, topic = ["a/+", "$SYS/#"] } { event = on_message_publish } ]
    }`);
    assert.deepEqual(endpoint, {
      name: "default",
      enable: true,
      url: "https://user@h:8443/x?y=z",
      headers: [
        ["X-One", "1"],
        ["authorization", "Bearer a b"],
        ["Content-Type", "text/plain"],
      ],
      bodyEncoding: "base64",
      poolSize: 4,
      attemptTimeoutMs: 1500,
      connectTimeoutMs: 2000,
      request: plainRequest,
      retry: { scheduleMs: [500, 2000], jitter: 0 },
      maxAgeMs: 90_000,
      durability: "disk",
      queueBytesMax: 1024 * 1024,
      overflow: "drop_newest",
      deadLetters: { bytesMax: 2 * 1024 ** 2, maxAgeMs: 3 * hour },
      timestampUnit: "s",
      orderBy: "client",
      format: "edge",
      source: "/brokers/hookmq",
      template: undefined,
      rules: [
        { event: "on_message_publish", topicFilters: ["a/+", "$SYS/#"] },
        { event: "on_message_publish", topicFilters: [] },
      ],
    } satisfies EndpointOptions);
  });

  test("a header that is null is not sent", () => {
    const { headers } = endpointOf(
      'webhook { url = "http://h", headers { a = 1, b = 2 }, headers.a = null, events = [{event = on_client_connack}] }',
    );
    assert.deepEqual(headers, [
      ["b", "2"],
      ["content-type", "application/json"],
    ]);
  });

  test("request_timeout wins over cancel_timeout, and no retry is an empty schedule", () => {
    const endpoint = endpointOf(
      'webhook { url = "http://h", cancel_timeout = 5, request_timeout = 7s, retry.schedule = [], events = [{event = on_client_connack}] }',
    );
    assert.equal(endpoint.attemptTimeoutMs, 7000);
    assert.deepEqual(endpoint.retry.scheduleMs, []);
  });

  test("endpoints take from webhook what they leave out; the short form is one of them", () => {
    const { endpoints } = settingsOf(`webhook {
      url = "http://short", pool_size = 4, headers { a = 1, b = 2 }, body.encoding = base64
      events = [ { event = on_client_connack } ]
      endpoints.Audit { url = "https://audit", headers.b = 3, events = [ { event = on_client_disconnected } ] }
      endpoints.lake { pool_size = 8, body.encoding = plain, enable = false }
    }`).webhook;
    const shown = endpoints.map(({ name, url, poolSize, headers, bodyEncoding, rules, enable }) => [
      name,
      url,
      poolSize,
      headers.map(([header, value]) => header + value).join(" "),
      bodyEncoding,
      rules.map(({ event }) => event).join(),
      enable,
    ]);
    assert.deepEqual(shown, [
      ["default", "http://short", 4, "a1 b2 content-typeapplication/json", "base64", "on_client_connack", true],
      ["Audit", "https://audit", 4, "a1 b3 content-typeapplication/json", "base64", "on_client_disconnected", true],
      ["lake", "http://short", 8, "a1 b2 content-typeapplication/json", "plain", "on_client_connack", false],
    ]);
  });

  test("what the endpoints share makes no endpoint of its own, and is told once when it is wrong", () => {
    const text = (size: string) => `webhook {
      pool_size = ${size}
      endpoints.a { url = "http://a", events = [{event = on_client_connack}] }
      endpoints.b { url = "http://b", events = [{event = on_client_connack}] }
    }`;
    assert.deepEqual(
      settingsOf(text("2")).webhook.endpoints.map(({ name, poolSize }) => [name, poolSize]),
      [
        ["a", 2],
        ["b", 2],
      ],
    );
    assert.equal(errorsOf(text("none")).length, 1);
    assert.deepEqual(
      errorsOf("webhook.endpoints.a.events = []").map((line) => line.split(";")[0]),
      ["nanomq.conf:1:21: webhook.endpoints.a.url is missing"],
    );
  });

  test("enable = false turns all endpoints off", () => {
    const { endpoints } = settingsOf(
      'webhook { enable = false, url = "http://h", events = [{event = on_client_connack}], endpoints.a { enable = true } }',
    ).webhook;
    assert.deepEqual(
      endpoints.map(({ enable }) => enable),
      [false, false],
    );
  });

  test("what is not built yet is read with one warning each", () => {
    const text = `webhook {
      url = "http://h", rate = 5, batch { max_events = 5 }
      queue.overflow = block
      events = [ { event = on_client_connack } ]
    }`;
    const warned = warningsOf(text).map((line) => line.replace(/^\S+ /, "").split(": ")[0]!);
    assert.deepEqual(warned.sort(), ["webhook.queue.overflow = block"]);
    const endpoint = endpointOf(text);
    assert.deepEqual(endpoint.batch, { eventsMax: 5, bytesMax: 1024 ** 2, waitMs: 50, format: "json" });
    assert.deepEqual(endpoint.rules, [{ event: "on_client_connack", topicFilters: [] }]);
    assert.equal(endpoint.overflow, "drop_oldest");
  });

  test("secrets sign requests, and one that cannot is refused without being shown", () => {
    const key = `whsec_${"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`;
    const webhookWith = (keys: string) =>
      `webhook { url = "http://h", events = [{event = on_client_connack}]\n ${keys} }`;
    assert.deepEqual(endpointOf(webhookWith(`secret = "${key}"`)).request.secrets, [key]);
    const both = webhookWith(`secret = "new new new new new", secrets = ["${key}", "old old old old old"]`);
    assert.deepEqual(endpointOf(both).request.secrets, ["new new new new new", key, "old old old old old"]);
    assert.deepEqual(
      errorsOf(webhookWith('secret = hunter2, secrets = ["whsec_hunter2", b]')).map((line) => line.split(": ")[1]),
      [
        "webhook.secret has a wrong value; found a value that is not shown; expected a secret of at least 16 characters, or `whsec_` and base64",
        "webhook.secrets has a wrong value; found a value that is not shown; expected a list, each item `whsec_` and the base64 of 24 bytes or more",
      ],
    );
    const nine = Array.from({ length: 9 }, (_, i) => `"secret number ${i} of nine"`).join(", ");
    assert.match(errorsOf(webhookWith(`secrets = [${nine}]`)).join(), /8 of them at most$/);
  });

  test("an address in the URL that egress refuses is warned of", () => {
    const text = 'webhook { url = "http://0.0.0.0:8888", events = [{event = on_client_connack}] }';
    assert.deepEqual(warningsOf(text), [
      "nanomq.conf:1:17: webhook.url: egress = guarded does not let connect to 0.0.0.0: every delivery becomes a dead letter",
    ]);
  });

  test("a substitution without a value is one mistake in every key of a request", () => {
    for (const key of [
      "egress",
      "tls",
      "tls.cacertfile",
      "auth",
      "auth.bearer",
      "auth.oauth2.token_url",
      "secret",
      "proxy",
    ]) {
      const text = `webhook {\n url = "https://h", events = [{event = on_client_connack}]\n ${key} = \${NOT_SET}\n }`;
      assert.deepEqual(
        errorsOf(text).map((error) => error.split("; ")[0]?.replace(/^\S+ /, "")),
        ["${NOT_SET} has no value"],
        key,
      );
    }
  });

  test("egress is a word, or the ranges that are allowed", () => {
    const egressOf = (keys: string) =>
      endpointOf(`webhook { url = "http://h", events = [{event = on_client_connack}]\n ${keys} }`).request.egress;
    assert.deepEqual(egressOf(""), { mode: "guarded" });
    assert.deepEqual(egressOf("egress = public_only"), { mode: "public_only" });
    assert.deepEqual(egressOf('egress { allow = ["10.0.0.0/8", "::1"] }'), {
      mode: "allow",
      ranges: ["10.0.0.0/8", "::1"],
    });
    assert.deepEqual(egressOf("egress.allow = 10.1.2.3"), { mode: "allow", ranges: ["10.1.2.3"] });
    for (const [wrong, expected] of [
      ["egress = open", /expected guarded, public_only or \{ allow/],
      ["egress { deny = [] }", /expected guarded, public_only or \{ allow/],
      ['egress { allow = ["10.0.0.0/99"] }', /expected a list, each item an address or a range/],
    ] as const) {
      const text = `webhook { url = "http://h", events = [{event = on_client_connack}]\n ${wrong} }`;
      assert.match(errorsOf(text).join(), expected);
    }
  });

  describe("tls", () => {
    const shelf = path.join(import.meta.dirname, "../../test/support/certificates");
    const fixture = (name: string) => readFileSync(path.join(shelf, name), "utf8");
    const files = {
      "/srv/ca.pem": fixture("authority.pem"),
      "/etc/hook/client.pem": fixture("client.pem"),
      "/etc/hook/client.key": fixture("client-locked.key"),
    };
    const withTls = (keys: string) =>
      `webhook {\n url = "https://h", events = [{event = on_client_connack}]\n ${keys}\n }`;
    const client = 'certfile = "/etc/hook/client.pem", keyfile = "/etc/hook/client.key"';

    test("files are beside the configuration file, and ssl is an older word for it", () => {
      const expected = {
        authorityFile: "/srv/ca.pem",
        certificateFile: "/etc/hook/client.pem",
        keyFile: "/etc/hook/client.key",
        keyPassword: "open-sesame",
        verifiesPeer: true,
        serverName: "h.test",
      };
      for (const section of ["tls", "ssl"]) {
        const text = withTls(
          `${section} { cacertfile = ca.pem, ${client}, key_password = open-sesame, server_name = h.test }`,
        );
        assert.deepEqual(endpointOf(text, { files }).request.tls, expected);
      }
      const off = withTls("ssl { enable = false, cacertfile = ca.pem }");
      assert.deepEqual(endpointOf(off, { files }).request.tls, plainRequest.tls);
    });

    test("an endpoint takes it from webhook, key by key", () => {
      const text = withTls('tls { cacertfile = ca.pem }, endpoints.a { url = "https://a", tls.server_name = a.test }');
      const { endpoints } = settingsOf(text, { files }).webhook;
      assert.deepEqual(
        endpoints.map(({ request }) => [request.tls.authorityFile, request.tls.serverName]),
        [
          ["/srv/ca.pem", undefined],
          ["/srv/ca.pem", "a.test"],
        ],
      );
    });

    for (const [title, keys, expected] of [
      [
        "a file that is not there",
        "tls.cacertfile = gone.pem",
        "webhook.tls.cacertfile cannot be used: /srv/gone.pem cannot be read: there is no such file",
      ],
      [
        "a file that holds something else",
        "ssl.cacertfile = nanomq.conf",
        "webhook.ssl.cacertfile cannot be used: /srv/nanomq.conf holds no certificate in PEM form",
      ],
      [
        "a wrong password",
        `tls { ${client}, key_password = hunter2 }`,
        "webhook.tls.key_password cannot be used: /etc/hook/client.key does not open with this password",
      ],
      [
        "no password",
        `tls { ${client} }`,
        "webhook.tls.keyfile cannot be used: /etc/hook/client.key is locked with a password: key_password",
      ],
      [
        "a certificate alone",
        'tls.certfile = "/etc/hook/client.pem"',
        "webhook.tls.certfile cannot be used: a certificate is of use with its keyfile only",
      ],
    ] as const) {
      test(`${title} is a mistake at its place`, () => {
        const [error, ...more] = errorsOf(withTls(keys), { files });
        assert.deepEqual(more, []);
        assert.match(error ?? "", /^nanomq\.conf:3:\d+: /);
        assert.equal(error?.replace(/^\S+ /, ""), expected);
      });
    }

    test("that trusts everybody is warned of", () => {
      const warnings = warningsOf(withTls("tls.verify_peer = false"), { files });
      assert.deepEqual(warnings, [
        "nanomq.conf:3:20: webhook.tls.verify_peer = false: whoever answers is taken for the receiver",
      ]);
    });
  });

  describe("auth", () => {
    const withAuth = (keys: string) =>
      `webhook {\n url = "http://h", events = [{event = on_client_connack}]\n ${keys}\n }`;

    test("is basic, a bearer's token or OAuth 2.0", () => {
      const authOf = (keys: string) => endpointOf(withAuth(keys)).request.auth;
      assert.deepEqual(authOf(""), { kind: "none" });
      assert.deepEqual(authOf("auth.basic { username = ann, password = 123 }"), {
        kind: "basic",
        username: "ann",
        password: "123",
      });
      assert.deepEqual(authOf("auth.bearer = abc.def"), { kind: "bearer", token: "abc.def" });
      const oauth2 =
        'auth.oauth2 { token_url = "https://id.test/token", client_id = me, client_secret = s, audience = a }';
      assert.deepEqual(authOf(oauth2), {
        kind: "oauth2",
        tokenUrl: "https://id.test/token",
        clientId: "me",
        clientSecret: "s",
        scope: undefined,
        audience: "a",
        sendsCredentials: "header",
      });
    });

    test("an endpoint may replace what it inherits", () => {
      const text = withAuth(
        'auth.bearer = abc, endpoints.a { url = "http://a", auth { bearer = null, basic.username = ann } }',
      );
      const { endpoints } = settingsOf(text).webhook;
      assert.deepEqual(
        endpoints.map(({ request }) => request.auth.kind),
        ["bearer", "basic"],
      );
    });

    for (const [title, keys, expected] of [
      [
        "two ways at once",
        "auth { bearer = hunter2, basic { username = a } }",
        ["webhook.auth says in several ways who we are"],
      ],
      ["a password alone", "auth.basic.password = hunter2", ["webhook.auth.basic.username is missing"]],
      [
        "half of OAuth 2.0",
        "auth.oauth2.client_secret = hunter2",
        ["webhook.auth.oauth2.token_url is missing", "webhook.auth.oauth2.client_id is missing"],
      ],
      ["a token of two words", 'auth.bearer = "hunter2 x"', ["webhook.auth.bearer has a wrong value"]],
      ["a proxy that is none", 'proxy = "socks5://u:hunter2@h"', ["webhook.proxy has a wrong value"]],
    ] as const) {
      test(`${title} is a mistake, told without the secret`, () => {
        const errors = errorsOf(withAuth(keys));
        assert.deepEqual(
          errors.map((error) => error.replace(/^\S+ /, "").split(";")[0]),
          expected,
        );
        assert.ok(!errors.join().includes("hunter2"), errors.join());
      });
    }

    test("secrets stay out of what check shows", () => {
      const text = withAuth(
        'secret = "hunter2 hunter2 hunter2", proxy = "http://u:hunter2@p:1", auth.oauth2 { token_url = "http://t", client_id = a, client_secret = hunter2 }, tls.key_password = hunter2',
      );
      const shown = renderEffective(load(text));
      assert.ok(!shown.includes("hunter2"), shown);
      assert.match(shown, /^webhook\.auth\.oauth2\.client_id = a /m);
    });
  });

  test("a secret from the environment is taken; without the variable it is no secret", () => {
    const text = 'webhook { url = "http://h", events = [{event = on_client_connack}], secret = ${?HOOK_SECRET} }';
    const env = { HOOK_SECRET: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" };
    assert.deepEqual(endpointOf(text, { env }).request.secrets, [env.HOOK_SECRET]);
    assert.deepEqual(endpointOf(text).request.secrets, []);
    const quoted = text.replace("${?HOOK_SECRET}", '"${?HOOK_SECRET}"');
    assert.deepEqual(endpointOf(quoted, { env }).request.secrets, [env.HOOK_SECRET]);
    assert.deepEqual(endpointOf(quoted).request.secrets, []);
  });

  test("every event has rules, with filters and lists", () => {
    const { rules, orderBy } = endpointOf(`webhook {
      url = "http://h", order_by = topic
      events = [
        ${eventNames.map((event) => `{ event = ${event} }`).join(" ")}
        { event = on_client_connack, clientid = ["pump-*", valve], username = plant, qos = 1 }
        { event = on_message_acked, topic = ["a/#", b], qos = [1, 2], retain = false, sample = 1/4 }
        { event = on_message_dropped, sample = 0.5 }
        { event = on_message_publish, sample = 1 }
      ]
    }`);
    assert.equal(orderBy, "topic");
    assert.deepEqual(
      rules.slice(0, eventNames.length),
      eventNames.map((event) => ({ event, topicFilters: [] })),
    );
    assert.deepEqual(rules.slice(eventNames.length), [
      {
        event: "on_client_connack",
        topicFilters: [],
        filter: { clientIds: ["pump-*", "valve"], userNames: ["plant"] },
      },
      {
        event: "on_message_acked",
        topicFilters: ["a/#", "b"],
        filter: { qos: [1, 2], retain: false, sample: 0.25 },
      },
      { event: "on_message_dropped", topicFilters: [], filter: { sample: 0.5 } },
      { event: "on_message_publish", topicFilters: [] },
    ]);
  });

  for (const [filter, expected] of [
    ["qos = 3", /a whole number from 0 to 2/],
    ["retain = perhaps", /true or false/],
    ["sample = 0", /1\/n/],
    ["sample = 10", /1\/n/],
    ["sample = 1/0", /1\/n/],
    ['clientid = ""', /an id or name/],
  ] as const) {
    test(`a filter ${filter} is refused`, () => {
      const [error] = errorsOf(`webhook { url = "http://h", events = [{ event = on_message_publish, ${filter} }] }`);
      assert.match(error!, expected);
    });
  }

  test("formats: what they are told, and the content type that is theirs", () => {
    const text = `webhook {
      url = "http://h", format = template
      template { url_path = "/in/\${topic}", query = "q=\${qos}", headers.x-by = "\${clientid}", body = """{"v":\${payload.a}}""" }
      endpoints.ce { url = "http://c", format = cloudevents, cloudevents.source = "urn:plant:7" }
      events = [{ event = on_message_publish }]
    }`;
    const [ours, cloudEvents] = settingsOf(text).webhook.endpoints;
    assert.deepEqual(ours!.template, {
      urlPath: "/in/${topic}",
      query: "q=${qos}",
      headers: [["x-by", "${clientid}"]],
      body: '{"v":${payload.a}}',
    });
    assert.deepEqual([ours!.format, ours!.headers, ours!.source], ["template", [], "/brokers/hookmq"]);
    assert.deepEqual(
      [cloudEvents!.format, cloudEvents!.source, cloudEvents!.template],
      ["cloudevents", "urn:plant:7", undefined],
    );
  });

  for (const [key, expected] of [
    ['template.body = "x ${topc}"', /webhook\.template\.body.*\$\{topc\} at character 3: \$\{event\}, /],
    ['template.body = "${payload.a..b}"', /\$\{payload\.a\.\.b\} at character 1/],
    ['template.body = "${topic"', /\$\{topic at character 1/],
    ['template.body = "${topic.a}"', /\$\{topic\.a\} at character 1/],
    ['template.body = """{"a":"${topic}"""", template.query = ""', /JSON once its placeholders are filled in/],
    ['template.url_path = "http://evil/${topic}"', /a path that begins with one/],
    ['template.url_path = "//evil/"', /a path that begins with one/],
    ['template.url_path = "/a/../b"', /a path that begins with one/],
    ['template.url_path = "/a?b"', /a path that begins with one/],
    ['template.query = "a#b"', /a query without/],
    ['template.headers.webhook-id = "1"', /a header that is not set by the broker itself/],
    ['template.headers.content-length = "1"', /a header that is not set by the connection itself/],
    ['cloudevents.source = "not a uri"', /an absolute URI/],
  ] as const) {
    test(`${key} is refused`, () => {
      const errors = errorsOf(
        `webhook { url = "http://h", format = template, ${key}, events = [{event = on_client_connack}] }`,
      );
      assert.match(errors.join("\n"), expected);
    });
  }

  test("batches and a rate are there when they are asked for", () => {
    const text = (more: string) => `webhook { url = "http://h", events = [{event = on_client_connack}] ${more} }`;
    const endpoint = endpointOf(text("\n batch { max_wait = 1s, format = ndjson }, rate = 100/s"));
    assert.deepEqual(endpoint.batch, { eventsMax: 500, bytesMax: 1024 ** 2, waitMs: 1_000, format: "ndjson" });
    assert.equal(endpoint.rate, 100);
    assert.equal(endpointOf(text("\n rate = 0.5")).rate, 0.5);
    assert.equal(endpointOf(text("")).batch, undefined);
    const mistake = (more: string) => load(text(more)).errors.map(problemText).join();
    assert.match(mistake("\n format = raw, batch.max_events = 5"), /webhook.batch cannot hold events of `format` raw/);
    assert.match(mistake("\n rate = fast"), /requests a second, like 100 or 100\/s/);
  });

  test("a webhook without events is legal, and told", () => {
    assert.deepEqual(warningsOf('webhook { url = "http://h" }'), [
      "nanomq.conf:1:9: webhook has no events: nothing is sent",
    ]);
  });

  test("the environment reaches the file by substitution", () => {
    const env = { WEBHOOK_HOST: "hooks.example" };
    const endpoint = endpointOf(
      'webhook { url = "http://"${WEBHOOK_HOST}":8888/x", pool_size = ${?POOL}, events = [{event = on_client_connack}] }',
      { env },
    );
    assert.equal(endpoint.url, "http://hooks.example:8888/x");
    assert.equal(endpoint.poolSize, 32);
  });
});

test("a webhook that is switched off needs no address", () => {
  assert.deepEqual(settingsOf("webhook.enable = false").webhook.endpoints, []);
});

describe("hostile files end in a bounded report", () => {
  for (const [name, text] of [
    ["unknown keys", Array.from({ length: 100_000 }, (_, index) => `k${index}=1`).join("\n")],
    ["wrong items", `webhook { url = "http://h", events = [${"{event = x}".repeat(50_000)}] }`],
    [
      "wrong names",
      `webhook { url = "http://h", headers {${Array.from({ length: 50_000 }, (_, index) => `"a ${index}"=[1]`).join()}} }`,
    ],
    ["doubts", Array.from({ length: 30_000 }, (_, index) => `webhook.endpoints.e${index}.url="http://h"`).join("\n")],
    ["wrong endpoints", Array.from({ length: 30_000 }, (_, index) => `webhook.endpoints.e${index}.url=5`).join("\n")],
    ["one long line", "a".repeat(1_000_000)],
    ["one long old line", `url=a${" ".repeat(1_000_000)}b`],
  ] as const) {
    test(name, { timeout: 60_000 }, () => {
      const result = load(text);
      assert.ok(result.errors.length <= 500 && result.warnings.length <= 200);
      assert.ok(result.errors.length + result.warnings.length > 0);
      assert.ok(renderErrors(result).length < 200_000);
    });
  }
});

describe("precedence and origin", () => {
  const origin = (text: string, surroundings: Surroundings, key: string) => {
    const { effective, errors } = load(text, surroundings);
    assert.deepEqual(errors.map(problemText), []);
    const found = effective.filter((one) => one.path === key);
    assert.equal(found.length, 1, key);
    return [found[0]!.value, found[0]!.origin];
  };
  const key = "mqtt.max_mqueue_len";

  test("default, file, environment, command line", () => {
    const file = "\nmqtt {\n  max_mqueue_len = 1\n}";
    const env = { NANOMQ_MSQ_LEN: "2" };
    assert.deepEqual(origin("", {}, key), ["1024", "default"]);
    assert.deepEqual(origin(file, {}, key), ["1", "nanomq.conf:3:20"]);
    assert.deepEqual(origin(file, { env }, key), ["2", "environment NANOMQ_MSQ_LEN"]);
    assert.deepEqual(origin(file, { env: { ...env, HOOKMQ_MSQ_LEN: "3" } }, key), ["3", "environment HOOKMQ_MSQ_LEN"]);
    const ours = { ...env, HOOKMQ_MSQ_LEN: "3", HOOKMQ_MQTT__MAX_MQUEUE_LEN: "4" };
    assert.deepEqual(origin(file, { env: ours }, key), ["4", "environment HOOKMQ_MQTT__MAX_MQUEUE_LEN"]);
    assert.deepEqual(origin(file, { env: ours, overrides: { [key]: 5 } }, key), ["5", "command line"]);
    assert.equal(settingsOf(file, { env: ours, overrides: { [key]: 5 } }).broker.queuedMessagesMax, 5);
  });

  test("included values name their own file", () => {
    const files = { "/srv/more.conf": "max_mqueue_len = 6" };
    assert.deepEqual(origin('mqtt { include "more.conf" }', { files }, key), ["6", "more.conf:1:18"]);
  });

  test("the original's environment variables", () => {
    const env = {
      NANOMQ_BROKER_URL: "nmq-tcp://127.0.0.1:1999",
      NANOMQ_DAEMON: "YES",
      NANOMQ_MAX_PACKET_SIZE: "5",
      NANOMQ_LOG_TO: "file|console",
      NANOMQ_LOG_LEVEL: "debug",
      NANOMQ_LOG_ROTATION_SIZE: "1MB",
      NANOMQ_PID_FILE: "/run/x.pid",
      HOOKMQ_WITNESSES: "required",
    };
    const { listeners, system, broker, log } = settingsOf("", { env });
    assert.deepEqual(listeners.tcp, [{ name: "default", host: "127.0.0.1", port: 1999 }]);
    assert.deepEqual(system, { daemon: true, pidFile: "/run/x.pid" });
    assert.equal(broker.packetBytesMax, 5 * 1024);
    assert.equal(log.console, true);
    assert.equal(log.file?.rotateBytes, 1024 * 1024);
    assert.equal(log.level, "debug");
  });

  test("a wrong value or key from the environment is told by its variable", () => {
    assert.deepEqual(
      errorsOf("", { env: { NANOMQ_LOG_LEVEL: "loud", HOOKMQ_MQTT__MAX_QUEUE: "1" } }).map(
        (line) => line.split("; e")[0],
      ),
      [
        "environment HOOKMQ_MQTT__MAX_QUEUE: unknown key mqtt.max_queue; found `max_queue`",
        'environment NANOMQ_LOG_LEVEL: log.level has a wrong value; found "loud"',
      ],
    );
  });

  test("--url replaces the main listener of its kind and leaves the others", () => {
    const text = "listeners.tcp { bind = 1883, extra.bind = 1884 }";
    const overrides = overridesOfUrls([
      "nmq-tcp://0.0.0.0:2000",
      "broker+tcp://127.0.0.1:2001",
      "nmq-ws://0.0.0.0:8083/mqtt",
    ]);
    assert.deepEqual(
      settingsOf(text, { overrides }).listeners.tcp.map(({ name, port }) => [name, port]),
      [
        ["default", 2000],
        ["extra", 1884],
        ["url2", 2001],
      ],
    );
    assert.equal(errorsOf("", { overrides: overridesOfUrls(["ftp://x:1"]) }).length, 1);
  });

  test("a listener from outside does not take the standard one away", () => {
    assert.equal(settingsOf("", { env: { NANOMQ_WEBSOCKET_URL: "0.0.0.0:8083" } }).listeners.tcp.length, 1);
  });
});
