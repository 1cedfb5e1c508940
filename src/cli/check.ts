/** `hookmq check`: says what is wrong with a configuration, or every setting that would be in force and where it is from. */
import { renderEffective, renderErrors, renderWarnings } from "../config/check.ts";
import { type BrokerFlags, loadFor, type Place } from "./broker-flags.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export function check(flags: BrokerFlags, place: Place, terminal: Terminal): ExitCode {
  const loaded = loadFor(flags, place);
  for (const warning of renderWarnings(loaded)) terminal.complain(`warning: ${warning}`);
  if (loaded.settings === undefined) {
    terminal.complain(renderErrors(loaded));
    return 1;
  }
  terminal.print(renderEffective(loaded));
  return 0;
}
