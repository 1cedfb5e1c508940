/** The command line: which command, and what its flags mean. */
import { randomBytes } from "node:crypto";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { ProtocolVersion, QoS } from "../mqtt/packet.ts";
import { startServer } from "../server.ts";
import { addBrokerFlags, addFileFlags, type BrokerFlags, type FileFlags, type Place } from "./broker-flags.ts";
import { check } from "./check.ts";
import type { ClientOptions } from "./client.ts";
import { daemonTerminal, isDaemon } from "./daemon.ts";
import { health } from "./health.ts";
import { metrics } from "./metrics.ts";
import { type PayloadSource, pub } from "./pub.ts";
import { receiver } from "./receiver.ts";
import { reload } from "./reload.ts";
import { restart } from "./restart.ts";
import { start, type StartParts } from "./start.ts";
import { stop } from "./stop.ts";
import { storeBackup } from "./store-backup.ts";
import { storeCheck } from "./store-check.ts";
import { storeExport } from "./store-export.ts";
import type { StoreFlags } from "./store-place.ts";
import { storeRepair } from "./store-repair.ts";
import { abortedBySignal, type Signals } from "./stop-signals.ts";
import { sub } from "./sub.ts";
import type { ExitCode, Terminal } from "./terminal.ts";
import { version } from "./version.ts";
import { addWebhookCommands } from "./webhook.ts";

export interface ProgramParts extends Place {
  terminal: Terminal;
  signals: Signals;
  stdin: NodeJS.ReadableStream;
  /** For what is too much for lines. */
  stdout: NodeJS.WritableStream;
}

/** Runs what `args` say, the words behind the command's own name. */
export async function runProgram(args: readonly string[], parts: ProgramParts): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = createProgram(parts, async (running) => {
    exitCode = await running;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
}

function createProgram(parts: ProgramParts, run: (running: ExitCode | Promise<ExitCode>) => Promise<void>): Command {
  const { terminal, signals } = parts;
  const program = new Command("hookmq")
    .description("An MQTT broker for the edge whose webhooks never lose what was acknowledged.")
    .version(version, "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .showHelpAfterError("Try 'hookmq --help' for more information.")
    .configureOutput({
      writeOut: (text) => terminal.print(text.replace(/\n$/, "")),
      writeErr: (text) => terminal.complain(text.replace(/\n$/, "")),
    })
    .exitOverride()
    .addHelpText("after", examples);
  const commandOf = (parent: Command, name: string, description: string) => {
    const words = [name];
    for (let above: Command | null = parent; above !== null; above = above.parent) words.unshift(above.name());
    return parent
      .command(name)
      .description(description)
      .helpOption("-h, --help", "print this help")
      .showHelpAfterError(`Try '${words.join(" ")} --help' for more information.`);
  };
  const command = (name: string, description: string) => commandOf(program, name, description);

  addBrokerFlags(command("start", "start the broker")).action((flags: BrokerFlags) =>
    run(start(flags, startParts(parts))),
  );
  addFileFlags(command("stop", "stop the running broker")).action((flags: FileFlags) =>
    run(stop(flags, parts, terminal)),
  );
  addBrokerFlags(command("restart", "stop the running broker and start it with these flags")).action(
    (flags: BrokerFlags) => run(restart(flags, startParts(parts))),
  );
  addFileFlags(command("reload", "have the running broker read its configuration again")).action((flags: FileFlags) =>
    run(reload(flags, parts, terminal)),
  );
  addBrokerFlags(
    command("check", "check a configuration and print every setting in force, with where it comes from"),
  ).action((flags: BrokerFlags) => run(check(flags, parts, terminal)));

  addFileFlags(command("health", "ask the running broker whether it is well"))
    .option("--json", "for programs")
    .action((flags: JsonFlags) => run(health(flags, parts, terminal)));

  addFileFlags(command("metrics", "print the figures of the running broker, as Prometheus reads them")).action(
    (flags: FileFlags) => run(metrics(flags, parts, terminal)),
  );

  const store = command("store", "look after the store on disk").helpCommand(false);
  addStoreFlags(commandOf(store, "check", "say what is in a data folder, and what is wrong with it"))
    .option("--json", "for programs")
    .action((flags: StoreFlags & JsonFlags) => run(storeCheck(flags, parts, terminal)));
  addStoreFlags(commandOf(store, "export", "write out all that can be read, a line of JSON each"))
    .argument("[file]", "a file that is not there yet; - for the standard output", "-")
    .action((file: string, flags: StoreFlags) => run(storeExport(file, flags, parts)));
  addStoreFlags(commandOf(store, "repair", "save what can be read of a damaged store, and put the damaged file aside"))
    .option("--json", "for programs")
    .action((flags: StoreFlags & JsonFlags) => run(storeRepair(flags, parts, terminal)));
  addFileFlags(commandOf(store, "backup", "copy the store, while the broker runs or not"))
    .argument("<file>", "a file that is not there yet")
    .option("--json", "for programs")
    .action((file: string, flags: JsonFlags) => run(storeBackup(file, flags, parts, terminal)));

  const webhook = command("webhook", "see and steer the webhook endpoints of the running broker").helpCommand(false);
  addWebhookCommands({ webhook, commandOf, run, parts });

  command("receiver", "a test server for webhooks: prints each request and answers ok")
    .option("--host <address>", "listen on this address", "127.0.0.1")
    .option("-p, --port <port>", "listen on this port", port, 8888)
    .option("--delay-ms <ms>", "wait before each answer", count, 0)
    .option("--fail-rate <0..1>", "let this part of the requests fail", fraction)
    .option("--status <code>", "how they fail; alone: all of them do", httpStatus)
    .option("--close", "close the connection instead of answering")
    .addOption(new Option("--hang", "never answer").conflicts("close"))
    .option("--quiet", "print counts instead of requests")
    .option("--all-headers", "print every header")
    .action((flags: ReceiverFlags) => run(receiver(receiverOptions(flags), terminal, abortedBySignal(signals))));

  addClientFlags(command("pub", "publish a message"))
    .requiredOption("-t, --topic <name>", "topic name")
    .option("-m, --message <text>", "the message")
    .option("-f, --file <path>", "the message is this file's content")
    .option("-l, --stdin-line", "a message for each line of the standard input")
    .option("-n, --null-message", "an empty message")
    .option("-q, --qos <0|1|2>", "quality of service", qos, 0)
    .option("-r, --retain", "retain the message")
    .action((flags: PubFlags, self: Command) =>
      run(
        pub(
          {
            ...clientOptions(flags, "pub"),
            topicName: flags.topic,
            qos: flags.qos,
            retain: flags.retain === true,
            payload: payloadSource(flags, self, parts.stdin),
          },
          terminal,
        ),
      ),
    );

  addClientFlags(command("sub", "subscribe, and print what is published"))
    .requiredOption("-t, --topic <filter>", "topic filter; may be given several times", collect)
    .option("-q, --qos <0|1|2>", "quality of service", qos, 0)
    .option("-v, --verbose", "print the topic name before each message")
    .option("-C, --count <number>", "end after so many messages", positiveCount)
    .option("-W, --wait <seconds>", "end after so long, with exit code 27", seconds)
    .action((flags: SubFlags) =>
      run(
        sub(
          {
            ...clientOptions(flags, "sub"),
            topicFilters: flags.topic,
            qos: flags.qos,
            verbose: flags.verbose === true,
            count: flags.count,
            waitSeconds: flags.wait,
          },
          terminal,
          abortedBySignal(signals),
        ),
      ),
    );
  return program;
}

const examples = `
Examples:
  hookmq start --conf /etc/nanomq.conf        run on an existing configuration
  hookmq check --conf /etc/nanomq.conf        see what is wrong with it, or what is in force
  hookmq receiver --port 8888                 see what the webhooks send
  hookmq sub -t 'nmq/#' -v                    see what is published
  hookmq pub -t nmq/pub -m 'Hello World!'     publish something`;

function startParts({ terminal, signals, env, cwd }: ProgramParts): StartParts {
  const parts = { signals, env, cwd, startServer };
  return isDaemon(env) ? { ...parts, ...daemonTerminal() } : { ...parts, terminal };
}

type JsonFlags = FileFlags & { json?: true };

function addStoreFlags(command: Command): Command {
  const dir = new Option("--dir <path>", "the data folder itself, in place of a configuration that names it");
  return addFileFlags(command).addOption(dir.conflicts(["conf", "old_conf"]));
}

interface ReceiverFlags {
  host: string;
  port: number;
  delayMs: number;
  failRate?: number;
  status?: number;
  close?: true;
  hang?: true;
  quiet?: true;
  allHeaders?: true;
}

function receiverOptions(flags: ReceiverFlags): Parameters<typeof receiver>[0] {
  return {
    host: flags.host,
    port: flags.port,
    delayMs: flags.delayMs,
    status: flags.status ?? 503,
    failRate: flags.failRate ?? (flags.status === undefined ? 0 : 1),
    close: flags.close === true,
    hang: flags.hang === true,
    quiet: flags.quiet === true,
    allHeaders: flags.allHeaders === true,
  };
}

interface ClientFlags {
  host: string;
  port: number;
  id?: string;
  username?: string;
  pw?: string;
  protocolVersion: ProtocolVersion;
  keepalive: number;
  qos: QoS;
}

interface PubFlags extends ClientFlags {
  topic: string;
  message?: string;
  file?: string;
  stdinLine?: true;
  nullMessage?: true;
  retain?: true;
}

interface SubFlags extends ClientFlags {
  topic: string[];
  verbose?: true;
  count?: number;
  wait?: number;
}

/** The letters of mosquitto_pub and mosquitto_sub: `-h` is the host. */
function addClientFlags(command: Command): Command {
  return command
    .helpOption("--help", "print this help")
    .option("-h, --host <host>", "the broker's host", "127.0.0.1")
    .option("-p, --port <port>", "the broker's port", port, 1883)
    .option("-i, --id <clientid>", "client id; without it one is made up")
    .option("-u, --username <name>", "user name")
    .option("-P, --pw <password>", "password")
    .option("-V, --protocol-version <3|4|5>", "3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0", protocolVersion, 4)
    .option("-k, --keepalive <seconds>", "keep alive; 0: none", keepAlive, 60);
}

function clientOptions(flags: ClientFlags, role: string): ClientOptions {
  return {
    host: flags.host,
    port: flags.port,
    protocolVersion: flags.protocolVersion,
    clientId: flags.id ?? `hookmq-${role}-${randomBytes(4).toString("hex")}`,
    userName: flags.username,
    password: flags.pw,
    keepAliveSeconds: flags.keepalive,
  };
}

function payloadSource(flags: PubFlags, command: Command, stdin: NodeJS.ReadableStream): PayloadSource {
  const sources: PayloadSource[] = [];
  if (flags.message !== undefined) sources.push({ from: "text", text: flags.message });
  if (flags.file !== undefined) sources.push({ from: "file", path: flags.file });
  if (flags.stdinLine) sources.push({ from: "lines", input: stdin });
  if (flags.nullMessage) sources.push({ from: "text", text: "" });
  if (sources.length !== 1) command.error("error: give the message in one way: -m <text>, -f <path>, -l or -n");
  return sources[0];
}

function collect(value: string, values: string[] = []): string[] {
  return [...values, value];
}

function port(text: string): number {
  return wholeNumber(text, 0, 65_535, "a port from 0 to 65535");
}

function count(text: string): number {
  return wholeNumber(text, 0, 2 ** 31 - 1, "a whole number");
}

function positiveCount(text: string): number {
  return wholeNumber(text, 1, Number.MAX_SAFE_INTEGER, "a whole number from 1");
}

function keepAlive(text: string): number {
  return wholeNumber(text, 0, 65_535, "a number of seconds from 0 to 65535");
}

function httpStatus(text: string): number {
  return wholeNumber(text, 200, 599, "an HTTP status from 200 to 599");
}

function qos(text: string): QoS {
  return wholeNumber(text, 0, 2, "0, 1 or 2") as QoS;
}

function seconds(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value > 0 && value < 2_000_000)) throw new InvalidArgumentError("It should be a number of seconds.");
  return value;
}

function fraction(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError("It should be a number from 0 to 1.");
  return value;
}

/** Also as mosquitto's tools call them. */
function protocolVersion(text: string): ProtocolVersion {
  const names: Readonly<Record<string, ProtocolVersion>> = {
    "3": 3,
    "31": 3,
    mqttv31: 3,
    "4": 4,
    "311": 4,
    mqttv311: 4,
    "5": 5,
    mqttv5: 5,
  };
  if (!Object.hasOwn(names, text)) throw new InvalidArgumentError("It should be 3, 4 or 5.");
  return names[text];
}

function wholeNumber(text: string, min: number, max: number, expected: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It should be ${expected}.`);
  return value;
}
