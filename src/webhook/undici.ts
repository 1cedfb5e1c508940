/**
 * The HTTP client, loaded when the first connection is to be opened: that takes longer than to read 50,000 messages back from
 * the store, which a start has to do before it listens.
 */
import { createRequire } from "node:module";

let loaded: typeof import("undici") | undefined;

export function undici(): typeof import("undici") {
  loaded ??= createRequire(import.meta.url)("undici") as typeof import("undici");
  return loaded;
}
