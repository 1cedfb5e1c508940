/** `hookmq restart`: stops the running broker, if there is one, and starts with the flags given. */
import { renderErrors } from "../config/check.ts";
import { type BrokerFlags, loadFor } from "./broker-flags.ts";
import { isDaemon } from "./daemon.ts";
import { runningBroker } from "./pid-file.ts";
import { type StartParts, start } from "./start.ts";
import { noneRunning, stopBroker } from "./stop.ts";
import type { ExitCode } from "./terminal.ts";

export async function restart(flags: BrokerFlags, parts: StartParts): Promise<ExitCode> {
  const { terminal } = parts;
  // The daemon's child comes by here again, when the old broker is stopped already.
  if (isDaemon(parts.env)) return start(flags, parts);
  const loaded = loadFor(flags, parts);
  if (loaded.settings === undefined) {
    terminal.complain(renderErrors(loaded));
    terminal.complain("Nothing was stopped.");
    return 1;
  }
  const pid = runningBroker(loaded.settings.system.pidFile);
  if (pid === undefined) terminal.print(noneRunning);
  else if (!(await stopBroker(pid, terminal))) return 1;
  return start(flags, parts);
}
