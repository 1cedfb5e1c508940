/** `hookmq metrics`: the figures of the running broker in the text form that Prometheus reads. */
import { type FileFlags, type Place, pidFileFor } from "./broker-flags.ts";
import { askBroker, controlPathOf } from "./control.ts";
import { runningBroker } from "./pid-file.ts";
import { noneRunning } from "./stop.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export async function metrics(flags: FileFlags, place: Place, terminal: Terminal): Promise<ExitCode> {
  const pidFile = pidFileFor(flags, place);
  const pid = runningBroker(pidFile);
  if (pid === undefined) {
    terminal.complain(noneRunning);
    return 1;
  }
  try {
    const { body, lines } = await askBroker(controlPathOf(pidFile), { command: "metrics" });
    if (body === undefined) throw new Error(lines.join("; "));
    terminal.print(body.replace(/\n$/, ""));
    return 0;
  } catch (error) {
    const because = error instanceof Error ? error.message : String(error);
    terminal.complain(`HookMQ (process ${pid}) does not answer on ${controlPathOf(pidFile)}: ${because}`);
    return 1;
  }
}
