/** What an operator reads when the broker has started: what listens where, what is sent where, and what to try next. */
import path from "node:path";
import type { FoundFile } from "../config/find-file.ts";
import { maskedUrl } from "../config/secrets.ts";
import type { Settings } from "../config/settings.ts";
import type { RunningServer } from "../server.ts";
import type { StoreOptions } from "../store/options.ts";
import type { EndpointOptions, RuleOptions } from "../webhook/options.ts";
import type { Place } from "./broker-flags.ts";
import type { Terminal } from "./terminal.ts";
import { version } from "./version.ts";

export interface Started {
  settings: Settings;
  file: FoundFile | undefined;
  listeners: RunningServer["listeners"];
  parts: Place & { terminal: Terminal };
}

export function startedReport({ settings, file, listeners, parts }: Started): string[] {
  const { webhook } = settings;
  const lines = ["HookMQ Broker is started successfully!", `  version   ${version}, process ${process.pid}`];
  lines.push(
    `  settings  ${file === undefined ? "all defaults: no file was found" : `${file.path} (${file.because})`}`,
  );
  lines.push(`  store     ${storeText(settings.store)}`);
  for (const { name, host, port } of listeners) lines.push(`  mqtt      ${address(host, port)} (${name})`);
  const endpoints = webhook.endpoints.filter(({ enable }) => enable);
  for (const endpoint of endpoints) lines.push(...endpointLines(endpoint));
  if (endpoints.length === 0) lines.push("  webhook   none");
  const wantsHints = parts.terminal.isInteractive || parts.env.npm_lifecycle_event === "start";
  if (wantsHints && listeners.length > 0) lines.push(...hints(endpoints, listeners[0].port, parts));
  return lines;
}

function storeText(store: StoreOptions): string {
  return store.engine === "disk" ? `disk, ${store.directory}` : "memory: a stop forgets all that is kept";
}

function endpointLines({ name, url, rules }: EndpointOptions): string[] {
  return [`  webhook   ${name}: POST ${maskedUrl(url)}`, ...rules.map((rule) => `            ${ruleText(rule)}`)];
}

function ruleText({ event, topicFilters }: RuleOptions): string {
  if (event !== "on_message_publish") return event;
  return `${event}, topic ${topicFilters.length === 0 ? "any" : topicFilters.join(", ")}`;
}

function hints(endpoints: readonly EndpointOptions[], port: number, { env, cwd }: Place): string[] {
  const command = commandName(env, cwd);
  const where = port === 1883 ? "" : ` -p ${port}`;
  const filters = endpoints.flatMap(({ rules }) => rules.flatMap(({ topicFilters }) => topicFilters));
  const topicName = filters.find((filter) => !/[+#]/.test(filter)) ?? "nmq/pub";
  const lines = ["", "Try it, each in a terminal of its own (Ctrl-C here stops the broker):"];
  const receiverPort = endpoints.map(({ url }) => localPort(url)).find((found) => found !== undefined);
  if (receiverPort !== undefined) {
    lines.push(hint(`${command} receiver --port ${receiverPort}`, "shows what the webhook sends"));
  }
  lines.push(
    hint(`${command} sub${where} -t '#' -v`, "shows what is published"),
    hint(`${command} pub${where} -t ${topicName} -m 'Hello World!' -q 1`, "publishes"),
  );
  return lines;
}

function hint(command: string, meaning: string): string {
  return `  ${command.padEnd(66)}  # ${meaning}`;
}

/** How the operator can call us: by the installed name, or as this very file. */
function commandName(env: Place["env"], cwd: string): string {
  const script = path.relative(cwd, process.argv[1] ?? "");
  const isCheckout = env.npm_lifecycle_event === "start" || script === path.join("bin", "hookmq.cjs");
  return isCheckout ? "node bin/hookmq.cjs" : "hookmq";
}

/** The port of a receiver on this machine. */
function localPort(url: string): string | undefined {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "http:" || !["127.0.0.1", "localhost", "[::1]"].includes(hostname)) return undefined;
  return port === "" ? "80" : port;
}

function address(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
