/** Programs of others that bear witness: used where they are installed, named in a skip line where they are not. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import path from "node:path";

/** Debian puts the broker where only the superuser's PATH leads. */
const alsoIn = ["/usr/sbin", "/usr/local/sbin"];

/** Ends the test that calls it, with a note. */
type Skip = (note: string) => never;

const named = new Set<string>();

/** The path of `program`. Where HOOKMQ_WITNESSES is `required`, a missing one is a failure. */
export function witness(program: string, skip: Skip): string {
  const found = installed(program)[0];
  if (found !== undefined) return found;
  const note = `${program} is not installed: its witness is not heard`;
  if (process.env.HOOKMQ_WITNESSES === "required") throw new Error(note);
  return skipAloud(note, skip);
}

/** A Node that is too old to run the broker, so that the launcher has to find another. */
export function olderNode(skip: Skip): string {
  const found = installed("node").find((node) => {
    const { stdout } = spawnSync(node, ["-p", "process.versions.node"], { encoding: "utf8" });
    return Number.parseInt(stdout, 10) < 24;
  });
  return found ?? skipAloud("there is no Node older than 24 here: the launcher has nothing to replace", skip);
}

function installed(program: string): string[] {
  const folders = [...(process.env.PATH ?? "").split(path.delimiter), ...alsoIn];
  return [...new Set(folders)].map((folder) => path.join(folder, program)).filter(isExecutable);
}

function skipAloud(note: string, skip: Skip): never {
  // Once in each file; the reporter shows a skipped test's own note only when it is asked to be verbose.
  if (!named.has(note)) console.warn(`skipped: ${note}`);
  named.add(note);
  return skip(note);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
