import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { memoryFiles } from "../base/hocon/memory-files.ts";
import { problemText } from "./check.ts";
import { looksLikeKeyValue } from "./key-value.ts";
import { loadSettings } from "./load.ts";

function load(text: string, oldConf: boolean) {
  const files = memoryFiles({ "/old.conf": text });
  return loadSettings({ path: "/old.conf", oldConf, env: {}, cwd: "/", files, version: "1" });
}

const hooks = `# the older format
url=nmq-tcp://0.0.0.0:1884
log.to=console, file
log.level=info
log.rotation.size=1MB

web.hook.enable=true
web.hook.url=http://127.0.0.1:8888/hook?a=b
web.hook.headers.content-type=application/json
web.hook.headers.X-Note = two words
web.hook.body.encoding_of_payload_field=base64
web.hook.pool_size=8
web.hook.cancel_timeout=2000
web.hook.rule.client.connack.1={"action": "on_client_connack"}
web.hook.rule.client.disconnected.1={"action": "on_client_disconnected"}
web.hook.rule.message.publish.1={"action": "on_message_publish", "topic": "foo/#"}
web.hook.rule.message.publish.2={"action": "on_message_publish"}
`;

for (const oldConf of [true, false]) {
  test(`webhooks, the listener and logging are read ${oldConf ? "with --old_conf" : "although it was given as --conf"}`, () => {
    const { settings, errors, warnings } = load(hooks, oldConf);
    assert.deepEqual(errors.map(problemText), []);
    assert.equal(warnings.length, oldConf ? 0 : 1);
    assert.deepEqual(settings!.listeners.tcp, [{ name: "default", host: "0.0.0.0", port: 1884 }]);
    assert.equal(settings!.log.level, "info");
    assert.equal(settings!.log.console, true);
    assert.equal(settings!.log.file?.rotateBytes, 1024 * 1024);
    const [endpoint, ...others] = settings!.webhook.endpoints;
    assert.deepEqual(others, []);
    assert.equal(endpoint!.enable, true);
    assert.equal(endpoint!.url, "http://127.0.0.1:8888/hook?a=b");
    assert.deepEqual(endpoint!.headers, [
      ["content-type", "application/json"],
      ["X-Note", "two words"],
    ]);
    assert.equal(endpoint!.bodyEncoding, "base64");
    assert.equal(endpoint!.poolSize, 8);
    assert.equal(endpoint!.attemptTimeoutMs, 2000);
    assert.deepEqual(endpoint!.rules, [
      { event: "on_client_connack", topicFilters: [] },
      { event: "on_client_disconnected", topicFilters: [] },
      { event: "on_message_publish", topicFilters: ["foo/#"] },
      { event: "on_message_publish", topicFilters: [] },
    ]);
  });
}

test("webhooks are off until they are switched on", () => {
  const { settings } = load(hooks.replace("web.hook.enable=true\n", ""), true);
  assert.equal(settings!.webhook.endpoints[0]!.enable, false);
});

test("every event of the family has its rule", () => {
  const { settings, warnings, errors } = load(`${hooks}web.hook.rule.session.subscribed.1={}\n`, true);
  assert.deepEqual([errors, warnings], [[], []]);
  const events = settings!.webhook.endpoints[0]!.rules.map(({ event }) => event);
  assert.ok(events.includes("on_session_subscribed"), String(events));
});

describe("what is not read is refused with what to write instead", () => {
  for (const [line, expected] of [
    [
      "msq_len=2048",
      "1:1: msq_len is not read from a key=value file; found `msq_len`; expected `mqtt.max_mqueue_len` in a HOCON file (see docs/configuration.md)",
    ],
    [
      "auth.1.login=admin",
      "1:1: auth.1.login is not read from a key=value file; found `auth.1.login`; expected `auth.password` in a HOCON file (see docs/configuration.md)",
    ],
    [
      "bridge.mqtt.emqx.address=x",
      "1:1: bridge.mqtt.emqx.address is not read from a key=value file; found `bridge.mqtt.emqx.address`; expected `bridges.mqtt.<name>` in a HOCON file (see docs/configuration.md)",
    ],
    ["log.levle=info", "1:1: unknown key; found `log.levle`; expected `log.level`"],
    ["no setting", "1:1: this is no setting; found `no setting`; expected key=value"],
    [
      "log.level=loud",
      '1:11: log.level has a wrong value; found "loud"; expected trace, debug, info, warn, error or fatal',
    ],
  ] as const) {
    test(line, () => assert.deepEqual(load(line, true).errors.map(problemText), [`/old.conf:${expected}`]));
  }
});

test("a rule that is no JSON is an error in its place", () => {
  for (const rule of ["{", "[]", "5", '{"topic": 5}']) {
    const { errors } = load(`web.hook.url=http://h\nweb.hook.rule.client.connack.1=${rule}\n`, true);
    assert.deepEqual(
      errors.map(({ at }) => [at.line, at.column]),
      [[2, 32]],
    );
  }
});

describe("the format is told by its keys", () => {
  for (const [text, expected] of [
    ["url=nmq-tcp://0.0.0.0:1883", true],
    ["## x\n\nweb.hook.url=http://h\n", true],
    ['web.hook.rule.client.connack.1={"action": "x"}', true],
    ["listeners.tcp.bind = 1883", false],
    ['webhook {\n  url = "http://h"\n}', false],
    ["webhook { # note\n  url = http://h\n}", false],
    ["log.level = info", false],
    ["", false],
  ] as const) {
    test(JSON.stringify(text), () => assert.equal(looksLikeKeyValue(text), expected));
  }
});
