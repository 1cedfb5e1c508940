/** `hookmq store export`: all that can be read of a data folder, a line of JSON each. Writes nothing there. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type DataFolderForReading, dataFileOf, openForReading, StoreUnusable } from "../store/data-folder.ts";
import { exportRecords } from "../store/export.ts";
import { faultsOfFolder, salvageInto } from "../store/salvage.ts";
import type { Place } from "./broker-flags.ts";
import { RecordOutput } from "./record-output.ts";
import { directoryFor, outsideFailure, type StoreFlags } from "./store-place.ts";
import { inWords } from "./table.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export interface ExportParts extends Place {
  terminal: Terminal;
  stdout: NodeJS.WritableStream;
}

/** `target`: a file that does not exist yet, or `-` for the standard output. */
export async function storeExport(target: string, flags: StoreFlags, parts: ExportParts): Promise<ExitCode> {
  const { terminal, cwd, stdout } = parts;
  const directory = directoryFor(flags, parts, terminal);
  if (directory === undefined) return 1;
  const file = target === "-" ? undefined : path.resolve(cwd, target);
  if (file !== undefined && existsSync(file)) {
    terminal.complain(`${file} is there already: nothing is ever written over.`);
    return 1;
  }
  let source: Source | undefined;
  try {
    source = openSource(directory, file === undefined ? tmpdir() : path.dirname(file), terminal);
    const output = new RecordOutput(file, stdout);
    for (const record of exportRecords(source.database)) await output.add(record);
    await output.end();
    if (file !== undefined) terminal.print(`${inWords(output.records)} records written to ${file}`);
    return source.isWhole ? 0 : 1;
  } catch (error) {
    terminal.complain(outsideFailure(error));
    if (error instanceof StoreUnusable && error.code === "in-use") {
      terminal.complain("Stop that broker first; or copy it with hookmq store backup, and export the copy.");
    }
    return 1;
  } finally {
    source?.close();
  }
}

interface Source {
  database: DatabaseSync;
  isWhole: boolean;
  close(): void;
}

/** A damaged store is read around its faults into a file of its own, in `folder`, which is gone afterwards. */
function openSource(directory: string, folder: string, terminal: Terminal): Source {
  let open: DataFolderForReading | undefined;
  let faults: readonly string[];
  try {
    open = openForReading(directory);
    faults = faultsOfFolder(open);
  } catch (error) {
    if (!(error instanceof StoreUnusable) || error.finding === undefined) throw error;
    faults = [error.finding];
  }
  if (open !== undefined && faults.length === 0) return { ...open, isWhole: true };
  for (const fault of faults) terminal.complain(`warning: ${fault}`);
  const place = mkdtempSync(path.join(folder, "hookmq-export-"));
  const close = () => {
    rmSync(place, { recursive: true, force: true });
    open?.close();
  };
  try {
    const copy = path.join(place, "readable.db");
    for (const { table, lostRows, lostPages } of salvageInto(copy, dataFileOf(directory))) {
      if (lostRows + lostPages === 0) continue;
      terminal.complain(`warning: ${table}: ${inWords(lostPages)} pages and ${inWords(lostRows)} rows cannot be read`);
    }
    const database = new DatabaseSync(copy);
    return {
      database,
      isWhole: false,
      close() {
        database.close();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}
