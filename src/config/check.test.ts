import assert from "node:assert/strict";
import { test } from "vitest";
import { memoryFiles } from "../base/hocon/memory-files.ts";
import { readHocon } from "../base/hocon/read.ts";
import { renderEffective, renderErrors, renderWarnings } from "./check.ts";
import { loadSettings } from "./load.ts";

function load(text: string) {
  const files = memoryFiles({ "/c.conf": text });
  return loadSettings({ path: "/c.conf", env: {}, cwd: "/", files, version: "1" });
}

test("each mistake comes with its line and a caret under it, and the last line counts them", () => {
  const report = renderErrors(load('mqtt {\n\tmax_mqueue_len = many\n}\nlog.level = "x'));
  assert.equal(
    report,
    [
      '/c.conf:2:19: mqtt.max_mqueue_len has a wrong value; found "many"; expected a whole number from 1 to 1000000',
      "    \tmax_mqueue_len = many",
      "    \t                 ^",
      '/c.conf:4:13: this string is not closed; found the end of the file; expected `"`',
      '    log.level = "x',
      "                ^",
      "2 mistakes in the configuration",
    ].join("\n"),
  );
  assert.match(renderErrors(load("zzz = 1")), /\n1 mistake in the configuration$/);
});

test("a very long line is not shown", () => {
  assert.deepEqual(renderErrors(load(`mqtt { ${" ".repeat(5000)}zzz = 1 }`)).split("\n").length, 2);
});

test("lines that hold secrets are shown without them", () => {
  const report = renderErrors(
    load(
      'http_server { prt = 1, password = hunter2 }\nwebhook { ulr = 1, secret : "hunter2 x", url = "http://u:hunter2@h" }\nwebhook { nope = 1, secrets = ["hunter2 x", \'y\', "hunter2"] }\nwebhook.secrets = [\n "whsec_hunter2", zzz = 1\n]',
    ),
  );
  assert.ok(!report.includes("hunter2"), report);
});

test("effective settings read back as a configuration, secrets masked, with the origin of each", () => {
  const result = load(
    'webhook {\n url = "http://me:hunter2@h"\n secret = "hunter2 hunter2 hunter2"\n headers { authorization = hunter2, "x y.z" = 1 }\n events = [{ event = on_client_connack }]\n}',
  );
  const page = renderEffective({ ...result, errors: [] });
  assert.ok(!page.includes("hunter2"), page);
  assert.match(page, /^# \/c\.conf \(named on the command line\)$/m);
  assert.match(page, /^webhook\.url = "http:\/\/me:\*{8}@h" +# \/c\.conf:2:8$/m);
  assert.match(page, /^webhook\.events \+= \{ event = on_client_connack \} +# \/c\.conf:5:12$/m);
  assert.match(page, /^mqtt\.max_packet_size = 10MB +# default$/m);
  const { errors } = readHocon({ file: "page", text: page, files: memoryFiles({}), env: {}, cwd: "/" });
  assert.deepEqual(errors, []);
});

test("warnings are one line each", () => {
  assert.deepEqual(renderWarnings(load("mqtt.batch_resend = true\nsqlite {}")), [
    "/c.conf:1:21: mqtt.batch_resend: read, has no effect here: messages are sent again when a client reconnects, as MQTT says, and never on a timer",
    "/c.conf:2:8: sqlite: read, not yet supported: its keys do nothing, the store keeps both without them",
  ]);
});
