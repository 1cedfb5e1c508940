import path from "node:path";
import type { Environment } from "../base/hocon/resolve.ts";

export interface FileSearch {
  /** `--conf` or `--old_conf`. */
  given: string | undefined;
  env: Environment;
  /** The folder of the program. */
  besides: string | undefined;
  exists(path: string): boolean;
}

export interface FoundFile {
  path: string;
  /** How it was found, for the start-up message. */
  because: string;
}

/** The configuration file, in the original's order. One that was named is used even if it is not there: that is an error. */
export function findFile({ given, env, besides, exists }: FileSearch): FoundFile | undefined {
  if (given !== undefined) return { path: given, because: "named on the command line" };
  for (const variable of ["HOOKMQ_CONF_PATH", "NANOMQ_CONF_PATH"]) {
    const named = env[variable];
    if (named) return { path: named, because: `named by ${variable}` };
  }
  const usual = [...(besides === undefined ? [] : [path.join(besides, "nanomq.conf")]), "/etc/nanomq.conf"];
  const found = usual.find(exists);
  return found === undefined ? undefined : { path: found, because: "found in the usual place" };
}
