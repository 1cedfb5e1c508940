/** `hookmq store backup`: a consistent copy of the store, made by the running broker, or of a folder that none uses. */
import { closeSync, existsSync, openSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { backup } from "node:sqlite";
import type { BackupReport } from "../server.ts";
import { openForReading } from "../store/data-folder.ts";
import { backupPagesPerStep } from "../store/limits.ts";
import { type FileFlags, type Place, pidFileFor } from "./broker-flags.ts";
import { askBroker, controlPathOf } from "./control.ts";
import type { Progress } from "./control-protocol.ts";
import { runningBroker } from "./pid-file.ts";
import { progressLines } from "./progress.ts";
import { directoryFor, outsideFailure } from "./store-place.ts";
import { bytesInWords } from "./table.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export async function storeBackup(
  target: string,
  flags: FileFlags & { json?: true },
  place: Place,
  terminal: Terminal,
): Promise<ExitCode> {
  const file = path.resolve(place.cwd, target);
  if (existsSync(file)) {
    terminal.complain(`${file} is there already: nothing is ever written over.`);
    return 1;
  }
  const pidFile = pidFileFor(flags, place);
  const show = terminal.isInteractive && !flags.json ? progressLines(terminal) : () => {};
  const report =
    runningBroker(pidFile) === undefined
      ? await copyFolder(file, flags, place, terminal, show)
      : await askForCopy(file, pidFile, terminal, show);
  if (report === undefined) return 1;
  const { bytes, seconds } = report;
  terminal.print(
    flags.json ? JSON.stringify(report) : `${file}: ${bytesInWords(bytes)} copied in ${seconds.toFixed(1)} s`,
  );
  return 0;
}

async function askForCopy(
  file: string,
  pidFile: string,
  terminal: Terminal,
  show: (progress: Progress) => void,
): Promise<BackupReport | undefined> {
  try {
    const request = { command: "store-backup", file } as const;
    const { succeeded, lines, body } = await askBroker(controlPathOf(pidFile), request, show);
    if (succeeded) return body;
    terminal.complain(`no copy was made: ${lines.join("; ")}`);
  } catch (error) {
    const socket = controlPathOf(pidFile);
    terminal.complain(`no copy was made, the broker does not answer on ${socket}: ${(error as Error).message}`);
  }
  return undefined;
}

/** The folder is locked meanwhile: no broker can start on it. */
async function copyFolder(
  file: string,
  flags: FileFlags,
  place: Place,
  terminal: Terminal,
  show: (progress: Progress) => void,
): Promise<BackupReport | undefined> {
  const directory = directoryFor(flags, place, terminal);
  if (directory === undefined) return undefined;
  const since = performance.now();
  let folder: ReturnType<typeof openForReading> | undefined;
  let isMade = false;
  try {
    folder = openForReading(directory);
    closeSync(openSync(file, "wx", 0o600));
    isMade = true;
    await backup(folder.database, file, {
      rate: backupPagesPerStep,
      progress: ({ totalPages, remainingPages }) => show({ done: totalPages - remainingPages, total: totalPages }),
    });
    return { file, bytes: statSync(file).size, seconds: (performance.now() - since) / 1000 };
  } catch (error) {
    if (isMade) rmSync(file, { force: true });
    terminal.complain(`no copy was made: ${outsideFailure(error)}`);
    return undefined;
  } finally {
    folder?.close();
  }
}
