import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claimPidFile, isBrokerProcess, PidFileRefused, refuseSecond, runningBroker } from "./pid-file.ts";

let folder: string;
let file: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "hookmq-pid-"));
  file = path.join(folder, "run", "hookmq.pid");
});

afterEach(async () => {
  if (child !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  child = undefined;
  rmSync(folder, { recursive: true });
});

const everyone = () => true;
const nobody = () => false;

test("is made with its folder, holds the process number, and goes when it is given back", () => {
  const giveBack = claimPidFile(file, nobody);
  expect(readFileSync(file, "utf8")).toBe(`${process.pid}\n`);
  expect(statSync(path.dirname(file)).mode & 0o777).toBe(0o700);
  expect(runningBroker(file, everyone)).toBe(process.pid);
  giveBack();
  expect(existsSync(file)).toBe(false);
});

test("of a running broker stays as it is: the second is refused and told how to run two", () => {
  claimPidFile(file, nobody);
  writeFileSync(file, "4242\n");
  expect(() => claimPidFile(file, everyone)).toThrow(PidFileRefused);
  expect(() => refuseSecond(file, everyone)).toThrow(/process 4242.*HOOKMQ_PID_FILE/);
  expect(readFileSync(file, "utf8")).toBe("4242\n");
});

test("of a broker that is gone is replaced", () => {
  claimPidFile(file, nobody);
  writeFileSync(file, "4242\n");
  claimPidFile(file, nobody);
  expect(runningBroker(file, everyone)).toBe(process.pid);
});

test("of somebody else is not removed when ours is given back", () => {
  const giveBack = claimPidFile(file, nobody);
  writeFileSync(file, "4242\n");
  giveBack();
  expect(readFileSync(file, "utf8")).toBe("4242\n");
});

test("that is a symbolic link is refused, and what it points to is left alone", () => {
  const victim = path.join(folder, "victim");
  writeFileSync(victim, "precious");
  const link = path.join(folder, "hookmq.pid");
  symlinkSync(victim, link);
  expect(() => claimPidFile(link, nobody)).toThrow("no regular file");
  expect(readFileSync(victim, "utf8")).toBe("precious");
});

test("in a place that cannot be made is refused with the reason", () => {
  writeFileSync(path.join(folder, "run"), "");
  expect(() => claimPidFile(path.join(folder, "run", "x", "hookmq.pid"), nobody)).toThrow(/cannot be made: .*ENOTDIR/);
});

for (const [what, text, pid] of [
  ["the original's padding", `77\0\0\0\0`, 77],
  ["no line end", "77", 77],
  ["nothing", "", undefined],
  ["words", "seventy", undefined],
  ["zero, which would be our own process group", "0", undefined],
  ["a negative number", "-77", undefined],
] as const) {
  test(`with ${what} names ${pid === undefined ? "nobody" : `process ${pid}`}`, () => {
    const loose = path.join(folder, "x.pid");
    writeFileSync(loose, text);
    expect(runningBroker(loose, everyone)).toBe(pid);
  });
}

test("that is not there names nobody", () => {
  expect(runningBroker(file, everyone)).toBe(undefined);
});

test.skipIf(process.platform !== "linux")(
  "a process is a broker by its title alone, and only while it lives",
  async () => {
    const script = "process.title = process.env.TITLE; process.send('ready'); setInterval(() => {}, 60_000)";
    for (const [title, expected] of [
      ["hookmq", true],
      ["something-else", false],
    ] as const) {
      child = spawn(process.execPath, ["-e", script], {
        stdio: ["ignore", "ignore", "ignore", "ipc"],
        env: { ...process.env, TITLE: title },
      });
      await once(child, "message");
      const pid = child.pid!;
      expect(isBrokerProcess(pid)).toBe(expected);
      child.kill("SIGKILL");
      await once(child, "exit");
      expect(isBrokerProcess(pid)).toBe(false);
    }
  },
);
