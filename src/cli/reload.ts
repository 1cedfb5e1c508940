/** `hookmq reload`: has the running broker read its configuration again, and says what came of it. */
import path from "node:path";
import { type FileFlags, type Place, pidFileFor } from "./broker-flags.ts";
import { askBroker, controlPathOf } from "./control.ts";
import { runningBroker } from "./pid-file.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export async function reload(flags: FileFlags, place: Place, terminal: Terminal): Promise<ExitCode> {
  const pidFile = pidFileFor(flags, place);
  const pid = runningBroker(pidFile);
  if (pid === undefined) {
    terminal.complain("HookMQ is not running, use command 'hookmq start [--conf <path>]' to start a new instance.");
    return 1;
  }
  const file = flags.conf ?? flags.old_conf;
  try {
    const { succeeded, lines } = await askBroker(controlPathOf(pidFile), {
      command: "reload",
      conf: file === undefined ? undefined : path.resolve(place.cwd, file),
      oldConf: flags.conf === undefined && flags.old_conf !== undefined,
    });
    for (const line of lines) succeeded ? terminal.print(line) : terminal.complain(line);
    return succeeded ? 0 : 1;
  } catch (error) {
    terminal.complain(
      `reload failed, HookMQ (process ${pid}) does not answer on ${controlPathOf(pidFile)}: ${(error as Error).message}`,
    );
    return 1;
  }
}
