/** `hookmq stop`: asks the broker that the pid file names to stop, and waits until it is gone. */
import { setTimeout as sleep } from "node:timers/promises";
import { type FileFlags, type Place, pidFileFor } from "./broker-flags.ts";
import { isBrokerProcess, runningBroker } from "./pid-file.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

const waitMs = 10_000;
const lookEveryMs = 20;

export const noneRunning = "There is no running HookMQ instance.";

export async function stop(flags: FileFlags, place: Place, terminal: Terminal): Promise<ExitCode> {
  const pid = runningBroker(pidFileFor(flags, place));
  if (pid === undefined) {
    terminal.complain(noneRunning);
    return 1;
  }
  return (await stopBroker(pid, terminal)) ? 0 : 1;
}

/** False when it is still there; then the reason has been said. */
export async function stopBroker(pid: number, terminal: Terminal): Promise<boolean> {
  try {
    process.kill(pid, "SIGTERM");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ESRCH") {
      const because = code === "EPERM" ? "it belongs to another user" : message;
      terminal.complain(`HookMQ (process ${pid}) cannot be told to stop: ${because}.`);
      return false;
    }
  }
  const giveUpAt = performance.now() + waitMs;
  while (isBrokerProcess(pid)) {
    if (performance.now() > giveUpAt) {
      terminal.complain(
        `HookMQ (process ${pid}) has not stopped within ${waitMs / 1000} s. "kill -9 ${pid}" would end it at once.`,
      );
      return false;
    }
    await sleep(lookEveryMs);
  }
  terminal.print("HookMQ stopped.");
  return true;
}
