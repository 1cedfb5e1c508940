/**
 * A broker on trial, in a process of its own: with the settings it is given (JSON, on its command line), but a back thread
 * that takes orders. Says where it listens.
 */
import { flushCompileCache } from "node:module";
import type { Facts } from "../../src/base/log.ts";
import type { Settings } from "../../src/config/settings.ts";
import { startServer } from "../../src/server.ts";

// Not the real one, which takes a fifth of the start.
const say = (level: string) => (message: string, facts?: Facts) => {
  const told = JSON.stringify(facts, (_, value) => (value instanceof Error ? String(value.stack) : value));
  process.stderr.write(`${level} ${message} ${told ?? ""}\n`);
};
const log = { debug() {}, info() {}, warn: say("WARN"), error: say("ERROR") };
const settings = JSON.parse(process.argv[2]) as Settings;
const server = await startServer({ settings, log, backFile: new URL("./back.ts", import.meta.url) });
process.once("SIGTERM", async () => {
  await server.stop();
  process.exit(0);
});
process.stdout.write(`listening ${server.listeners[0].port}\n`);
// Whoever is killed leaves nothing compiled behind.
flushCompileCache();
