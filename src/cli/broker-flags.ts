/** The flags of `start`, `restart` and `check`: the original's, each standing for a setting that it overrules. */
import path from "node:path";
import { type Command, Option } from "commander";
import { diskFiles } from "../base/hocon/files.ts";
import { type Overrides, overridesOfUrls } from "../config/command-line.ts";
import { type LoadResult, loadSettings } from "../config/load.ts";
import { version } from "./version.ts";

/** As commander gives them; what was not given is absent. */
export interface BrokerFlags {
  url?: string[];
  conf?: string;
  old_conf?: string;
  http?: true;
  port?: string;
  tq_thread?: string;
  max_tq_thread?: string;
  parallel?: string;
  property_size?: string;
  msq_len?: string;
  qos_duration?: string;
  daemon?: true;
  cacert?: string;
  cert?: string;
  key?: string;
  keypass?: string;
  verify?: true;
  fail?: true;
  log_level?: string;
  log_file?: string;
  log_stdout?: "true" | "false";
  log_syslog?: "true" | "false";
}

/** Which file: also for the commands that only look for a running broker. */
export interface FileFlags {
  conf?: string;
  old_conf?: string;
}

/** Where a command is: handed in, so that tests have their own. */
export interface Place {
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
}

const noEffect = "accepted for the original's sake; has no effect here";

export function addFileFlags(command: Command): Command {
  return command
    .option("--conf <path>", "configuration file (HOCON)")
    .addOption(new Option("--old_conf <path>", "configuration file in the older key=value form").conflicts("conf"));
}

export function addBrokerFlags(command: Command): Command {
  const trueOrFalse = (flags: string, text: string) => new Option(flags, text).choices(["true", "false"]);
  return addFileFlags(command)
    .option(
      "--url <url>",
      "listen here: nmq-tcp://host:port; may be given several times",
      (url, urls: string[] = []) => [...urls, url],
    )
    .option("-d, --daemon", "run in the background")
    .option("--http", "management HTTP server on")
    .option("-p, --port <port>", "port of the management HTTP server")
    .option("-s, --property_size <number>", "largest number of properties of a user")
    .option("-S, --msq_len <number>", "messages a session may hold unsent")
    .option("-D, --qos_duration <seconds>", "retry interval")
    .option("-t, --tq_thread <number>", noEffect)
    .option("-T, --max_tq_thread <number>", noEffect)
    .option("-n, --parallel <number>", noEffect)
    .option("--cacert <path>", "TLS: certificates of the authorities trusted")
    .option("-E, --cert <path>", "TLS: certificate")
    .option("--key <path>", "TLS: private key")
    .option("--keypass <text>", "TLS: password of the private key")
    .option("--verify", "TLS: ask clients for a certificate")
    .option("--fail", "TLS: refuse clients without a certificate")
    .option("--log_level <level>", "trace, debug, info, warn, error or fatal")
    .option("--log_file <path>", "write messages to this file")
    .addOption(trueOrFalse("--log_stdout <true|false>", "write messages to the console"))
    .addOption(trueOrFalse("--log_syslog <true|false>", "write messages to the system's log"));
}

export function loadFor(flags: BrokerFlags, { env, cwd }: Place): LoadResult {
  return loadSettings({
    path: flags.conf ?? flags.old_conf,
    oldConf: flags.conf === undefined && flags.old_conf !== undefined,
    env,
    overrides: overridesOf(flags),
    cwd,
    files: diskFiles,
    besides: path.dirname(process.argv[1] ?? cwd),
    version,
  });
}

/** Where the running broker's pid file is; a configuration with mistakes does not hide it. */
export function pidFileFor(flags: FileFlags, place: Place): string {
  return path.resolve(place.cwd, loadFor(flags, place).pidFile);
}

export function overridesOf(flags: BrokerFlags): Overrides {
  return {
    ...overridesOfUrls(flags.url ?? []),
    "system.daemon": flags.daemon,
    "system.num_taskq_thread": flags.tq_thread,
    "system.max_taskq_thread": flags.max_tq_thread,
    "system.parallel": flags.parallel,
    "mqtt.property_size": flags.property_size,
    "mqtt.max_mqueue_len": flags.msq_len,
    "mqtt.retry_interval": flags.qos_duration,
    "http_server.enable": flags.http,
    "http_server.port": flags.port,
    "listeners.ssl.cacertfile": flags.cacert,
    "listeners.ssl.certfile": flags.cert,
    "listeners.ssl.keyfile": flags.key,
    "listeners.ssl.key_password": flags.keypass,
    "listeners.ssl.verify_peer": flags.verify,
    "listeners.ssl.fail_if_no_peer_cert": flags.fail,
    "log.level": flags.log_level,
    "log.to": logTargets(flags),
    "log.dir": flags.log_file === undefined ? undefined : path.dirname(flags.log_file),
    "log.file": flags.log_file === undefined ? undefined : path.basename(flags.log_file),
  };
}

/** One of these flags is enough to say all of where messages go; the console is among it unless it is taken out. */
function logTargets({ log_file, log_stdout, log_syslog }: BrokerFlags): string[] | undefined {
  if (log_file === undefined && log_stdout === undefined && log_syslog === undefined) return undefined;
  const targets = log_stdout === "false" ? [] : ["console"];
  if (log_file !== undefined) targets.push("file");
  if (log_syslog === "true") targets.push("syslog");
  return targets;
}
