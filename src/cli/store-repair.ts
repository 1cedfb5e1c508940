/** `hookmq store repair`: saves what can be read of a damaged store into a fresh file, and puts the damaged one aside. */
import { repair } from "../store/salvage.ts";
import type { Place } from "./broker-flags.ts";
import { directoryFor, outsideFailure, type StoreFlags } from "./store-place.ts";
import { tableLines } from "./table.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export function storeRepair(flags: StoreFlags & { json?: true }, place: Place, terminal: Terminal): ExitCode {
  const directory = directoryFor(flags, place, terminal);
  if (directory === undefined) return 1;
  let result: ReturnType<typeof repair>;
  try {
    result = repair(directory, new Date());
  } catch (error) {
    terminal.complain(`${outsideFailure(error)}\nNothing was changed.`);
    return 1;
  }
  if (flags.json) terminal.print(JSON.stringify(result));
  switch (result.outcome) {
    case "whole":
      if (!flags.json) terminal.print("nothing to repair");
      return 0;
    case "unreadable":
      terminal.complain(
        `nothing in ${directory} can be read (${result.because}). Nothing was changed: put back a copy from before, or ` +
          "move hookmq.db and hookmq.db-wal elsewhere to begin anew.",
      );
      return 1;
    case "repaired":
      if (!flags.json) printRepair(result, terminal);
      return 0;
    default:
      return result satisfies never;
  }
}

function printRepair(
  { faults, tables, damagedFile }: Extract<ReturnType<typeof repair>, { outcome: "repaired" }>,
  terminal: Terminal,
): void {
  for (const fault of faults) terminal.print(`found: ${fault}`);
  const rows = tables.map(({ table, saved, lostRows, lostPages, dropped }) => [
    table,
    saved,
    lostRows,
    lostPages,
    dropped,
  ]);
  for (const line of tableLines(["table", "saved", "lost", "pages lost", "dropped"], rows)) terminal.print(line);
  if (tables.some(({ lostPages }) => lostPages > 0)) {
    terminal.print("A lost page may have held more rows than those known to be lost.");
  }
  if (tables.some(({ dropped }) => dropped > 0)) {
    terminal.print("Dropped is what was read, but belongs to something that is lost.");
  }
  terminal.print(`The damaged file is kept as ${damagedFile}`);
  terminal.print("The store is whole: the broker can be started.");
}
