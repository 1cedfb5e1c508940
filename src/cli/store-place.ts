/** Which data folder a `store` command is about, and which broker uses it. */
import path from "node:path";
import { renderErrors } from "../config/check.ts";
import { holderOf, StoreUnusable } from "../store/data-folder.ts";
import { type FileFlags, loadFor, type Place, pidFileFor } from "./broker-flags.ts";
import { runningBroker } from "./pid-file.ts";
import type { Terminal } from "./terminal.ts";

export interface StoreFlags extends FileFlags {
  /** The folder itself, without any configuration. */
  dir?: string;
}

/** `undefined` when there is none to be about; then the reason has been said. */
export function directoryFor(flags: StoreFlags, place: Place, terminal: Terminal): string | undefined {
  if (flags.dir !== undefined) return path.resolve(place.cwd, flags.dir);
  const loaded = loadFor(flags, place);
  if (loaded.settings === undefined) {
    terminal.complain(renderErrors(loaded));
    return undefined;
  }
  const { store } = loaded.settings;
  if (store.engine === "disk") return store.directory;
  const file = loaded.file === undefined ? "no configuration file was found" : `${loaded.file.path} was read`;
  terminal.complain(`This configuration keeps nothing on disk (${file}): --dir <path> names a data folder itself.`);
  return undefined;
}

/** The pid file of the broker that uses the folder, when it is the one that these flags lead to. */
export function pidFileOfHolder(directory: string, flags: StoreFlags, place: Place): string | undefined {
  const pidFile = pidFileFor(flags, place);
  const pid = runningBroker(pidFile);
  return pid !== undefined && pid === holderOf(directory) ? pidFile : undefined;
}

/** In words, what a folder, a file or the disk would not do. Throws what is a fault of ours. */
export function outsideFailure(error: unknown): string {
  const isOutside = error instanceof StoreUnusable || (error instanceof Error && "code" in error);
  if (!isOutside) throw error;
  return error.message;
}
