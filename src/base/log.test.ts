import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, test } from "vitest";
import type { LogOptions } from "./log.ts";
import { createLogger } from "./log.ts";

const folder = mkdtempSync(path.join(tmpdir(), "log-"));
afterAll(() => rmSync(folder, { recursive: true }));

function capture(options: Partial<LogOptions> = {}, isTTY = false) {
  const lines: string[] = [];
  const console = { isTTY, write: (line: string) => lines.push(line) };
  const log = createLogger({ level: "info", format: "text", console: true, file: undefined, ...options }, console);
  return { log, lines };
}

test("a message is one line: time, level, text, facts", () => {
  const { log, lines } = capture();
  log.warn("client refused", { clientId: "a b", port: 1883, reason: "banned", list: [1] });
  assert.equal(lines.length, 1);
  assert.match(
    lines[0]!,
    /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARN {2}client refused clientId="a b" port=1883 reason=banned list=\[1\]\n$/,
  );
});

test("what is less important than the level is left out", () => {
  const { log, lines } = capture({ level: "error" });
  log.debug("no");
  log.info("no");
  log.warn("no");
  log.error("yes");
  assert.equal(lines.length, 1);
});

test("a stranger's text cannot begin a line or command a terminal", () => {
  const { log, lines } = capture();
  log.info("hello\nERROR forged \u001b[31m", { clientId: "x\r\ny\u001b[2J", "na\nme": { a: "\u2028" } });
  assert.equal(lines.join("").match(/\n/g)?.length, 1);
  assert.ok(!lines.join("").includes("\u001b"));
});

test("errors are told with their cause", () => {
  const { log, lines } = capture();
  log.error("failed", { error: new Error("commit", { cause: new Error("disk full") }) });
  assert.match(lines[0]!, /error="commit \(disk full\)"/);
});

test("secrets are masked", () => {
  for (const format of ["text", "json"] as const) {
    const { log, lines } = capture({ format });
    log.info("x", { password: "hunter2", headers: { authorization: "hunter2" }, secret: "hunter2" });
    assert.ok(!lines[0]!.includes("hunter2"), lines[0]);
    assert.ok(lines[0]!.includes("********"));
  }
});

test("colour is for terminals alone", () => {
  const plain = capture();
  plain.log.warn("x");
  assert.ok(!plain.lines[0]!.includes("\u001b"));
  const terminal = capture({}, true);
  terminal.log.warn("x");
  assert.ok(terminal.lines[0]!.includes("\u001b[33mWARN"));
});

test("json is one object a line", () => {
  const { log, lines } = capture({ format: "json" });
  log.info("hi", { port: 1 });
  const { time, ...rest } = JSON.parse(lines[0]!);
  assert.deepEqual(rest, { level: "info", port: 1, msg: "hi" });
  assert.ok(!Number.isNaN(Date.parse(time)));
});

test("console and file get the same lines; either may be left out", () => {
  const file = { path: path.join(folder, "both.log"), rotateBytes: 1024, rotatedFilesMax: 1 };
  const { log, lines } = capture({ file });
  log.info("one");
  log.close();
  assert.equal(readFileSync(file.path, "utf8"), lines.join(""));
  const quiet = capture({ console: false });
  quiet.log.error("x");
  assert.deepEqual(quiet.lines, []);
});
