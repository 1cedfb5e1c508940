/**
 * `start --daemon`: the same command again, in a process that outlives its terminal. Until the child listens, all it says
 * comes through here, and its failure is ours.
 */
import { spawn } from "node:child_process";
import type { Settings } from "../config/settings.ts";
import type { Place } from "./broker-flags.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

/** Tells the child that it is one. */
const mark = "HOOKMQ_IS_DAEMON";

type FromDaemon = { print: string } | { complain: string } | { ready: true };

export function isDaemon(env: Place["env"]): boolean {
  return env[mark] === "1" && process.send !== undefined;
}

export function startDaemon({ log }: Settings, terminal: Terminal): Promise<ExitCode> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { ...process.env, [mark]: "1" },
  });
  return new Promise((resolve) => {
    child.on("error", (error) => {
      terminal.complain(`HookMQ could not be started in the background: ${error.message}`);
      resolve(1);
    });
    child.on("message", (message: FromDaemon) => {
      if ("print" in message) return terminal.print(message.print);
      if ("complain" in message) return terminal.complain(message.complain);
      terminal.print(`HookMQ runs in the background; "hookmq stop" ends it.`);
      if (log.file === undefined) {
        terminal.print("Its messages go nowhere: log.to = [file] or --log_file would keep them.");
      }
      child.disconnect();
      child.unref();
      resolve(0);
    });
    child.on("exit", (code, signal) => {
      if (code !== 1) {
        terminal.complain(
          `HookMQ ended (${signal ?? `code ${code}`}) before it was listening; without --daemon it says why.`,
        );
      }
      resolve(code === 0 || code === null ? 1 : code);
    });
  });
}

/** In the child: the terminal of whoever started us, for as long as they listen. */
export function daemonTerminal(): { terminal: Terminal; ready: () => void } {
  const send = (message: FromDaemon) => {
    if (process.connected) process.send?.(message);
  };
  return {
    terminal: {
      print: (line) => send({ print: line.toString() }),
      complain: (line) => send({ complain: line }),
      isInteractive: false,
    },
    ready: () => send({ ready: true }),
  };
}
