import { EventEmitter } from "node:events";
import { PassThrough, Readable } from "node:stream";
import { expect, test } from "vitest";
import { runProgram } from "./program.ts";
import { FakeTerminal } from "./fake-terminal.ts";
import { version } from "./version.ts";

function run(...args: string[]): Promise<{ code: number; said: string; complained: string }> {
  return runIn({}, ...args);
}

async function runIn(env: NodeJS.ProcessEnv, ...args: string[]): ReturnType<typeof run> {
  const terminal = new FakeTerminal();
  const code = await runProgram(args, {
    terminal,
    signals: new EventEmitter(),
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    env: { HOOKMQ_PID_FILE: "/nonexistent/hookmq.pid", ...env },
    cwd: "/nonexistent",
  });
  return { code, said: terminal.lines.join("\n"), complained: terminal.complaints.join("\n") };
}

const commands = [
  "start",
  "stop",
  "restart",
  "reload",
  "check",
  "health",
  "metrics",
  "store",
  "webhook",
  "receiver",
  "pub",
  "sub",
];
const storeCommands = ["check", "export", "repair", "backup"];

test("--version prints the version alone", async () => {
  expect(await run("--version")).toEqual({ code: 0, said: version, complained: "" });
});

test("--help names every command", async () => {
  const { code, said } = await run("--help");
  expect(code).toBe(0);
  for (const command of commands) expect(said).toMatch(new RegExp(`^  ${command} `, "m"));
});

for (const command of commands) {
  test(`${command} --help explains its flags`, async () => {
    const { code, said } = await run(command, "--help");
    expect(code).toBe(0);
    expect(said).toContain(`Usage: hookmq ${command} [options]`);
  });
}

for (const command of storeCommands) {
  test(`store ${command} --help explains its flags`, async () => {
    const { code, said } = await run("store", command, "--help");
    expect(code).toBe(0);
    expect(said).toContain(`Usage: hookmq store ${command} [options]`);
    expect((await run("store", "--help")).said).toMatch(new RegExp(`^  ${command} `, "m"));
  });
}

test("health of a broker that does not run is told by the exit code, and to programs", async () => {
  expect(await run("health")).toEqual({ code: 2, said: "", complained: "There is no running HookMQ instance." });
  const { code, said } = await run("health", "--json");
  expect(code).toBe(2);
  expect(JSON.parse(said)).toMatchObject({ status: "unreachable" });
});

for (const [args, complaint] of [
  [[], "Usage: hookmq"],
  [["store"], "Usage: hookmq store"],
  [["store", "destroy"], "unknown command 'destroy'"],
  [["store", "check", "--dir", "d", "--conf", "c"], "cannot be used with"],
  [["store", "check", "--bad"], "Try 'hookmq store check --help' for more information."],
  [["store", "check"], "there is no store: /nonexistent/data/hookmq.db"],
  [["store", "check", "--dir", "d"], "there is no store: /nonexistent/d/hookmq.db"],
  [["store", "export", "--dir", "d"], "there is no store"],
  [["store", "repair", "--dir", "d"], "there is no store"],
  [["store", "backup"], "missing required argument 'file'"],
  [["store", "backup", "copy.db"], "there is no store: /nonexistent/data/hookmq.db"],
  [["strat"], "unknown command 'strat'\n(Did you mean start?)"],
  [["start", "--bad"], "unknown option '--bad'"],
  [["start", "--conf"], "option '--conf <path>' argument missing"],
  [["start", "--log_stdout", "yes"], "Allowed choices are true, false"],
  [["start", "--conf", "a", "--old_conf", "b"], "cannot be used with"],
  [["start", "extra"], "too many arguments"],
  [["stop"], "There is no running HookMQ instance."],
  [["receiver", "--port", "65536"], "a port from 0 to 65535"],
  [["receiver", "--fail-rate", "2"], "a number from 0 to 1"],
  [["receiver", "--status", "99"], "an HTTP status"],
  [["receiver", "--hang", "--close"], "cannot be used with"],
  [["pub", "-m", "x"], "required option '-t, --topic <name>' not specified"],
  [["pub", "-t", "x"], "give the message in one way"],
  [["pub", "-t", "x", "-m", "a", "-n"], "give the message in one way"],
  [["pub", "-t", "x", "-m", "a", "-q", "3"], "0, 1 or 2"],
  [["pub", "-t", "x", "-m", "a", "-V", "6"], "3, 4 or 5"],
  [["sub"], "required option '-t, --topic <filter>' not specified"],
  [["sub", "-t", "x", "-C", "0"], "a whole number from 1"],
  [["sub", "-t", "x", "-W", ""], "a number of seconds"],
] as const) {
  test(`"${["hookmq", ...args].join(" ")}" is refused with the reason`, async () => {
    const { code, complained } = await run(...args);
    expect(code).toBe(1);
    expect(complained).toContain(complaint);
  });
}

for (const args of [["check"], ["export"], ["repair"], ["backup", "copy.db"]]) {
  test(`store ${args[0]} says that a configuration keeps nothing on disk`, async () => {
    const { code, complained } = await runIn({ HOOKMQ_STORE__ENGINE: "memory" }, "store", ...args);
    expect(code).toBe(1);
    expect(complained).toContain("keeps nothing on disk (no configuration file was found)");
  });
}

test("a refused flag points to the help of its command", async () => {
  expect((await run("sub", "--nope")).complained).toContain("Try 'hookmq sub --help' for more information.");
});

test("-h of the clients is the host, and nobody there is said", async () => {
  const { code, complained } = await run("pub", "-h", "127.0.0.1", "-p", "1", "-t", "x", "-m", "y");
  expect(code).toBe(1);
  expect(complained).toContain("nobody listens on 127.0.0.1:1");
});
