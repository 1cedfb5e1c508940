import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogOptions } from "../base/log.ts";
import { LogRefused, ReplaceableLog } from "./replaceable-log.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "hookmq-log-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

function options(file: string, level: LogOptions["level"]): LogOptions {
  const place = { path: path.join(folder, file), rotateBytes: 1_000_000, rotatedFilesMax: 1 };
  return { level, format: "text", console: false, file: place };
}

function lines(file: string): string[] {
  return readFileSync(path.join(folder, file), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/^\S+ \S+ /, ""));
}

test("those who hold it write by the new settings from then on", () => {
  const log = new ReplaceableLog(options("a.log", "warn"));
  log.info("one");
  log.warn("two");
  log.replace(options("a.log", "debug"));
  log.debug("three");
  log.replace(options("b.log", "error"));
  log.error("four", { port: 1 });
  log.close();
  expect(lines("a.log")).toEqual(["WARN  two", "DEBUG three"]);
  expect(lines("b.log")).toEqual(["ERROR four port=1"]);
});

test("settings that cannot be had leave the old ones in force", () => {
  writeFileSync(path.join(folder, "file"), "");
  const log = new ReplaceableLog(options("a.log", "info"));
  expect(() => log.replace(options("file/b.log", "info"))).toThrow(LogRefused);
  log.info("still here");
  log.close();
  expect(lines("a.log")).toEqual(["INFO  still here"]);
});
