import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Settings } from "../config/settings.ts";
import type { ReloadReport, RunningServer } from "../server.ts";
import { ListenFailed } from "../transport/tcp.ts";
import { check } from "./check.ts";
import { reload } from "./reload.ts";
import { restart } from "./restart.ts";
import { type StartParts, start } from "./start.ts";
import { stop } from "./stop.ts";
import { FakeTerminal } from "./fake-terminal.ts";

const tutorial = `
listeners.tcp.bind = "127.0.0.1:1883"
webhook {
  url = "http://ann:secret@127.0.0.1:8888/hook"
  events = [ { event = "on_message_publish", topic = "nmq/pub" } { event = "on_client_connack" } ]
}
`;

let cwd: string;
let pidFile: string;
let env: Record<string, string>;
let signals: EventEmitter;
let terminal: FakeTerminal;
let child: ChildProcess | undefined;
const title = process.title;

beforeEach(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "hookmq-start-"));
  pidFile = path.join(cwd, "hookmq.pid");
  env = { HOOKMQ_PID_FILE: pidFile };
  signals = new EventEmitter();
  terminal = new FakeTerminal();
  writeFileSync(path.join(cwd, "x.conf"), tutorial);
});

afterEach(async () => {
  process.title = title;
  if (child !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  child = undefined;
  rmSync(cwd, { recursive: true });
});

class FakeServer implements RunningServer {
  readonly listeners = [{ name: "default", host: "127.0.0.1", port: 1883 }];
  readonly reloads: Settings[] = [];
  stops = 0;
  report: ReloadReport = {
    needRestart: [],
    endpoints: { added: [], changed: [], parked: [] },
    waiting: new Map(),
  };
  refusal: Error | undefined;

  async reload(settings: Settings): Promise<ReloadReport> {
    if (this.refusal !== undefined) throw this.refusal;
    this.reloads.push(settings);
    return this.report;
  }

  async stop(): Promise<void> {
    this.stops++;
  }

  async health(): Promise<never> {
    throw new Error("not asked for here");
  }

  async checkStore(): Promise<never> {
    throw new Error("not asked for here");
  }

  async backup(): Promise<never> {
    throw new Error("not asked for here");
  }

  async metrics(): Promise<never> {
    throw new Error("not asked for here");
  }

  async webhook(): Promise<never> {
    throw new Error("not asked for here");
  }
}

function parts(server: RunningServer | Error, onStart: () => void = () => {}): StartParts {
  return {
    terminal,
    env,
    cwd,
    signals,
    startServer: async () => {
      onStart();
      if (server instanceof Error) throw server;
      return server;
    },
  };
}

/** Starts, and waits until it runs. */
async function running(server: FakeServer): Promise<{ ended: Promise<number> }> {
  const ended = start({ conf: "x.conf" }, parts(server));
  await expect.poll(() => terminal.lines[0]).toBe("HookMQ Broker is started successfully!");
  return { ended };
}

/** A process that a pid file may name: it is called hookmq, and SIGTERM ends it. */
async function otherBroker(): Promise<number> {
  child = spawn(process.execPath, ["-e", "process.title = 'hookmq'; process.send(1); setInterval(() => {}, 60_000)"], {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  await once(child, "message");
  writeFileSync(pidFile, `${child.pid}\n`);
  return child.pid!;
}

describe("start", () => {
  test("says what listens and what is sent where, without secrets; SIGTERM ends it with 0", async () => {
    const server = new FakeServer();
    const { ended } = await running(server);
    const said = terminal.lines.join("\n");
    expect(said).toContain("settings  x.conf (named on the command line)");
    expect(said).toContain("mqtt      127.0.0.1:1883 (default)");
    expect(said).toContain("webhook   default: POST http://ann:********@127.0.0.1:8888/hook");
    expect(said).toContain("on_message_publish, topic nmq/pub");
    expect(said).toContain("on_client_connack");
    expect(said).not.toContain("secret");
    expect(said).not.toContain("Try it");
    expect(readFileSync(pidFile, "utf8")).toBe(`${process.pid}\n`);
    signals.emit("SIGTERM", "SIGTERM");
    expect(await ended).toBe(0);
    expect(server.stops).toBe(1);
    expect(existsSync(pidFile)).toBe(false);
    expect(existsSync(path.join(cwd, "hookmq.sock"))).toBe(false);
    expect(signals.eventNames().flatMap((name) => signals.listeners(name))).toEqual([]);
  });

  test("shows a person what to try next", async () => {
    terminal = new FakeTerminal(true);
    const { ended } = await running(new FakeServer());
    const said = terminal.lines.join("\n");
    for (const command of ["receiver --port 8888", "sub -t '#' -v", "pub -t nmq/pub -m 'Hello World!' -q 1"]) {
      expect(said).toContain(command);
    }
    signals.emit("SIGINT", "SIGINT");
    await ended;
  });

  test("stops what has just started when the signal came before it", async () => {
    const server = new FakeServer();
    const ended = start(
      { conf: "x.conf" },
      parts(server, () => signals.emit("SIGTERM", "SIGTERM")),
    );
    expect(await ended).toBe(0);
    expect(server.stops).toBe(1);
  });

  test("a configuration with mistakes starts nothing, and all of them are said", async () => {
    writeFileSync(path.join(cwd, "x.conf"), "mqtt.max_packet_size = no\nwebhok.url = 1");
    let started = false;
    const code = await start(
      { conf: "x.conf" },
      parts(new FakeServer(), () => (started = true)),
    );
    expect([code, started]).toEqual([1, false]);
    expect(terminal.complaints.join("\n")).toMatch(/x\.conf:1:[\s\S]*x\.conf:2:[\s\S]*2 mistakes/);
  });

  test("warnings are said once each", async () => {
    writeFileSync(path.join(cwd, "x.conf"), `${tutorial}\nsystem.parallel = 4`);
    const { ended } = await running(new FakeServer());
    expect(terminal.complaints).toEqual([expect.stringMatching(/^warning: x\.conf:\d+:\d+: system\.parallel/)]);
    signals.emit("SIGTERM", "SIGTERM");
    await ended;
  });

  test("a port in use: says which listener and what to do, and leaves no pid file", async () => {
    const cause = Object.assign(new Error("in use"), { code: "EADDRINUSE" });
    const failure = new ListenFailed({ name: "lan", host: "0.0.0.0", port: 1883 }, cause);
    expect(await start({ conf: "x.conf" }, parts(failure))).toBe(1);
    expect(terminal.complaints).toEqual([
      expect.stringMatching(
        /listener "lan" cannot listen on 0\.0\.0\.0:1883: the port is in use.*listeners\.tcp\.lan\.bind/,
      ),
    ]);
    expect(existsSync(pidFile)).toBe(false);
  });

  test("a log file that cannot be opened is said", async () => {
    expect(await start({ conf: "x.conf", log_file: path.join(cwd, "x.conf", "y.log") }, parts(new FakeServer()))).toBe(
      1,
    );
    expect(terminal.complaints).toEqual([expect.stringMatching(/the log file .* cannot be opened/)]);
  });

  test("beside a running broker with the same pid file is refused before anything is touched", async () => {
    const pid = await otherBroker();
    let started = false;
    expect(
      await start(
        { conf: "x.conf" },
        parts(new FakeServer(), () => (started = true)),
      ),
    ).toBe(1);
    expect(started).toBe(false);
    expect(terminal.complaints).toEqual([expect.stringContaining(`already running as process ${pid}`)]);
    expect(readFileSync(pidFile, "utf8")).toBe(`${pid}\n`);
  });

  test("that loses the pid file to another while it starts takes its server down again", async () => {
    const server = new FakeServer();
    const pid = await otherBroker();
    rmSync(pidFile);
    const code = await start(
      { conf: "x.conf" },
      parts(server, () => writeFileSync(pidFile, `${pid}\n`)),
    );
    expect([code, server.stops]).toEqual([1, 1]);
    expect(readFileSync(pidFile, "utf8")).toBe(`${pid}\n`);
  });
});

describe("reload", () => {
  const reloadWith = (conf?: string) => {
    // Our own title is what `reload` looks for; it is the same process here.
    return reload({ conf }, { env, cwd }, terminal);
  };

  test("has the running broker take over what changed, and says what needs a restart", async () => {
    const server = new FakeServer();
    server.report = { ...server.report, needRestart: ["listeners", "log"] };
    const { ended } = await running(server);
    writeFileSync(path.join(cwd, "x.conf"), `${tutorial}\nmqtt.max_mqueue_len = 99`);
    expect(await reloadWith()).toBe(0);
    expect(terminal.lines.slice(-2)).toEqual(["reload succeed!", "takes effect after a restart: listeners"]);
    expect(server.reloads.map(({ broker }) => broker.queuedMessagesMax)).toEqual([99]);
    writeFileSync(path.join(cwd, "other.conf"), `${tutorial}\nmqtt.max_mqueue_len = 7`);
    expect(await reloadWith("other.conf")).toBe(0);
    expect(server.reloads.at(-1)?.broker.queuedMessagesMax).toBe(7);
    signals.emit("SIGTERM", "SIGTERM");
    await ended;
  });

  test("says what became of the webhook endpoints", async () => {
    const server = new FakeServer();
    server.report = {
      needRestart: [],
      endpoints: { added: ["audit", "lake"], changed: ["default"], parked: ["old", "older"] },
      waiting: new Map([["old", 1200]]),
    };
    const { ended } = await running(server);
    expect(await reloadWith()).toBe(0);
    expect(terminal.lines.slice(-5)).toEqual([
      "reload succeed!",
      "webhook endpoints new: audit, lake",
      "webhook endpoints changed, with what they are owed: default",
      "webhook endpoint old is not configured any more, it is parked: 1,200 deliveries wait for it",
      "webhook endpoint older is not configured any more, it is parked: nothing waits for it",
    ]);
    signals.emit("SIGTERM", "SIGTERM");
    await ended;
  });

  test("that the webhooks refuse changes nothing, the log included, and says why", async () => {
    const server = new FakeServer();
    server.refusal = new Error("the certificate of lake cannot be read");
    const { ended } = await running(server);
    writeFileSync(path.join(cwd, "x.conf"), `${tutorial}\nlog { to = [file], dir = "${cwd}", file = "new.log" }`);
    expect(await reloadWith()).toBe(1);
    expect(terminal.complaints.at(-1)).toBe(
      "reload failed, nothing was changed: the certificate of lake cannot be read",
    );
    server.refusal = undefined;
    writeFileSync(path.join(cwd, "x.conf"), tutorial);
    expect(await reloadWith()).toBe(0);
    signals.emit("SIGTERM", "SIGTERM");
    await ended;
    // The stop is told to the log as it was.
    expect(readFileSync(path.join(cwd, "new.log"), "utf8")).toBe("");
  });

  test("with a faulty file changes nothing and says every mistake", async () => {
    const server = new FakeServer();
    const { ended } = await running(server);
    writeFileSync(path.join(cwd, "bad.conf"), "mqtt.max_mqueue_len = many");
    expect(await reloadWith("bad.conf")).toBe(1);
    expect(terminal.complaints[0]).toBe("reload failed, nothing was changed:");
    expect(terminal.complaints[1]).toMatch(/bad\.conf:1:\d+: .*max_mqueue_len/);
    expect(server.reloads).toEqual([]);
    signals.emit("SIGTERM", "SIGTERM");
    await ended;
  });

  test("comes with SIGHUP too", async () => {
    const server = new FakeServer();
    const { ended } = await running(server);
    signals.emit("SIGHUP", "SIGHUP");
    await expect.poll(() => server.reloads.length).toBe(1);
    signals.emit("SIGTERM", "SIGTERM");
    await ended;
  });

  test("without a running broker says how to start one", async () => {
    expect(await reloadWith()).toBe(1);
    expect(terminal.complaints).toEqual([
      "HookMQ is not running, use command 'hookmq start [--conf <path>]' to start a new instance.",
    ]);
  });
});

describe("stop", () => {
  test("ends the running broker and waits until it is gone", async () => {
    await otherBroker();
    const exited = once(child!, "exit");
    expect(await stop({}, { env, cwd }, terminal)).toBe(0);
    expect(terminal.lines).toEqual(["HookMQ stopped."]);
    expect((await exited)[1]).toBe("SIGTERM");
  });

  test("without a running broker says so, also when a stale pid file names a process of another kind", async () => {
    writeFileSync(pidFile, `${process.ppid}\n`);
    expect(await stop({}, { env, cwd }, terminal)).toBe(1);
    expect(terminal.complaints).toEqual(["There is no running HookMQ instance."]);
  });
});

describe("restart", () => {
  test("stops the running broker, then starts", async () => {
    await otherBroker();
    const server = new FakeServer();
    const ended = restart({ conf: "x.conf" }, parts(server));
    await expect
      .poll(() => terminal.lines.slice(0, 2))
      .toEqual(["HookMQ stopped.", "HookMQ Broker is started successfully!"]);
    signals.emit("SIGTERM", "SIGTERM");
    expect(await ended).toBe(0);
  });

  test("without a running broker says so and starts all the same", async () => {
    const ended = restart({ conf: "x.conf" }, parts(new FakeServer()));
    await expect.poll(() => terminal.lines[0]).toBe("There is no running HookMQ instance.");
    await expect.poll(() => terminal.lines[1]).toBe("HookMQ Broker is started successfully!");
    signals.emit("SIGTERM", "SIGTERM");
    expect(await ended).toBe(0);
  });

  test("with a faulty configuration stops nothing", async () => {
    const pid = await otherBroker();
    writeFileSync(path.join(cwd, "x.conf"), "nonsense {");
    expect(await restart({ conf: "x.conf" }, parts(new FakeServer()))).toBe(1);
    expect(terminal.complaints.at(-1)).toBe("Nothing was stopped.");
    expect(() => process.kill(pid, 0)).not.toThrow();
  });
});

describe("check", () => {
  test("prints every setting in force and where it is from", () => {
    expect(check({ conf: "x.conf", msq_len: "7" }, { env, cwd }, terminal)).toBe(0);
    expect(terminal.lines.join("\n")).toMatch(/max_mqueue_len = 7 +# command line/);
    expect(terminal.lines.join("\n")).toMatch(/listeners\.tcp\.bind = .*127\.0\.0\.1:1883.* +# x\.conf:2/);
  });

  test("reports all mistakes and exits 1", () => {
    writeFileSync(path.join(cwd, "x.conf"), "mqtt.max_packet_size = no\nmqtt.max_mqueue_len = no");
    expect(check({ conf: "x.conf" }, { env, cwd }, terminal)).toBe(1);
    expect(terminal.complaints.join("\n")).toContain("2 mistakes in the configuration");
    expect(terminal.lines).toEqual([]);
  });
});
