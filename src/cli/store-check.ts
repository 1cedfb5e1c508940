/** `hookmq store check`: what is in a data folder, and what is wrong with it. Writes nothing there. */
import { openForReading, StoreUnusable } from "../store/data-folder.ts";
import { type Inventory, inventoryOf } from "../store/inventory.ts";
import { faultsOfFolder } from "../store/salvage.ts";
import type { Place } from "./broker-flags.ts";
import { askBroker, controlPathOf } from "./control.ts";
import { directoryFor, pidFileOfHolder, type StoreFlags } from "./store-place.ts";
import { bytesInWords, tableLines } from "./table.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

interface Report extends Partial<Inventory> {
  faults: readonly string[];
}

export async function storeCheck(
  flags: StoreFlags & { json?: true },
  place: Place,
  terminal: Terminal,
): Promise<ExitCode> {
  const directory = directoryFor(flags, place, terminal);
  if (directory === undefined) return 1;
  let report: Report | undefined;
  try {
    report = checkOffline(directory);
  } catch (error) {
    if (!(error instanceof StoreUnusable)) throw error;
    terminal.complain(error.message);
    if (error.code !== "in-use") return 1;
    report = await checkRunning(directory, flags, place, terminal);
  }
  if (report === undefined) return 1;
  if (flags.json) terminal.print(JSON.stringify(report));
  else printReport(report, directory, terminal);
  return report.faults.length === 0 ? 0 : 1;
}

function checkOffline(directory: string): Report {
  let folder: ReturnType<typeof openForReading>;
  try {
    folder = openForReading(directory);
  } catch (error) {
    if (!(error instanceof StoreUnusable) || error.finding === undefined) throw error;
    return { file: error.file, faults: [error.finding] };
  }
  try {
    return { ...countWhatCanBe(folder), faults: faultsOfFolder(folder) };
  } finally {
    folder.close();
  }
}

/** A damaged file may not even let its rows be counted. */
function countWhatCanBe({ database, file }: ReturnType<typeof openForReading>): Partial<Inventory> {
  try {
    return inventoryOf(database, file);
  } catch {
    return { file };
  }
}

async function checkRunning(
  directory: string,
  flags: StoreFlags,
  place: Place,
  terminal: Terminal,
): Promise<Report | undefined> {
  const pidFile = pidFileOfHolder(directory, flags, place);
  if (pidFile === undefined) {
    terminal.complain("Give the --conf of that broker, and it is asked to check itself; or stop it first.");
    return undefined;
  }
  terminal.complain("It is asked to check itself; meanwhile it acknowledges nothing that needs the store.");
  try {
    const { succeeded, lines, body } = await askBroker(controlPathOf(pidFile), { command: "store-check" });
    if (succeeded && body !== undefined) return { ...body, file: body.directory };
    for (const line of lines) terminal.complain(line);
  } catch (error) {
    terminal.complain(`the broker does not answer on ${controlPathOf(pidFile)}: ${(error as Error).message}`);
  }
  return undefined;
}

function printReport(report: Report, directory: string, terminal: Terminal): void {
  const { file, bytes, format, sessions, queued, retained, wills, deliveries = [], faults } = report;
  const facts: [string, string | number | undefined][] = [
    ["store", file],
    ["size", bytes === undefined ? undefined : bytesInWords(bytes)],
    ["format", format],
    ["sessions", sessions],
    ["queued", queued],
    ["retained", retained],
    ["wills", wills],
    ...deliveries.flatMap(({ endpoint, deliveries, deadLetters }): [string, number][] => [
      [`deliveries to ${endpoint}`, deliveries],
      [`dead letters of ${endpoint}`, deadLetters],
    ]),
  ];
  const known = facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  const [head, ...rows] = known;
  if (head !== undefined) for (const line of tableLines(head, rows)) terminal.print(line);
  if (faults.length === 0) return terminal.print("no faults");
  terminal.print(faults.length === 1 ? "1 fault:" : `${faults.length} faults:`);
  for (const fault of faults) terminal.print(`  ${fault}`);
  terminal.print(
    `hookmq store repair --dir ${directory} saves what can be read into a new file, and puts this one aside.`,
  );
}
