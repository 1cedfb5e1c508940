/** Messages for the operator: one line each, to the console and to a file that rotates. Secrets are masked by name. */
import { pino } from "pino";
import { RotatingFile } from "./rotating-file.ts";

type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal";

export interface LogOptions {
  /** The least important messages still written. */
  level: LogLevel;
  /** For people, or one JSON object a line. */
  format: "text" | "json";
  console: boolean;
  file: LogFileOptions | undefined;
}

interface LogFileOptions {
  path: string;
  /** A file of this size is put aside. */
  rotateBytes: number;
  rotatedFilesMax: number;
}

/** Facts belong to the message and are written as `key=value`; an `error` among them with what caused it. */
export type Facts = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, facts?: Facts): void;
  info(message: string, facts?: Facts): void;
  warn(message: string, facts?: Facts): void;
  error(message: string, facts?: Facts): void;
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Where lines for the console go: standard output, or a test. */
export interface Console {
  write(line: string): unknown;
  isTTY?: boolean;
}

/** The logger of the process. Two of them must not share one file: the other thread's messages come through ours. */
export function createLogger(options: LogOptions, console: Console = process.stdout): Logger & { close(): void } {
  const { level, format } = options;
  const file = options.file && new RotatingFile(options.file);
  const streams: pino.StreamEntry[] = [];
  const write = (target: (line: string) => unknown, colour: boolean) =>
    streams.push({
      level,
      stream: { write: (line: string) => target(format === "json" ? line : textLine(JSON.parse(line), colour)) },
    });
  if (options.console) write((line) => console.write(line), console.isTTY === true);
  if (file) write((line) => file.write(line), false);
  const log = pino(
    {
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: errorText },
      redact: { paths: secretNames.flatMap((name) => [`["${name}"]`, `*["${name}"]`]), censor: "********" },
    },
    pino.multistream(streams),
  );
  return {
    debug: (message, facts) => log.debug(facts ?? {}, message),
    info: (message, facts) => log.info(facts ?? {}, message),
    warn: (message, facts) => log.warn(facts ?? {}, message),
    error: (message, facts) => log.error(facts ?? {}, message),
    close: () => file?.close(),
  };
}

const secretNames = ["password", "secret", "secrets", "token", "authorization", "key_password", "keyPassword"];

const colours: Readonly<Record<string, number>> = { trace: 90, debug: 36, info: 32, warn: 33, error: 31, fatal: 35 };

/** `2026-11-23 17:40:49.123 WARN  text key=value` in local time. */
function textLine({ time, level, msg, ...facts }: Record<string, unknown>, colour: boolean): string {
  const word = String(level).toUpperCase().padEnd(5);
  const shownLevel = colour ? `\u001b[${colours[String(level)] ?? 0}m${word}\u001b[0m` : word;
  const shownFacts = Object.entries(facts).map(([name, value]) => ` ${oneLine(name)}=${factText(value)}`);
  return `${localTime(new Date(String(time)))} ${shownLevel} ${oneLine(String(msg))}${shownFacts.join("")}\n`;
}

function factText(value: unknown): string {
  if (typeof value !== "string") return oneLine(JSON.stringify(value));
  return /^[^\s"=\p{Cc}]+$/u.test(value) ? value : JSON.stringify(value);
}

/** Client ids and topics come from strangers: no line break or terminal command of theirs gets into the log. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : ` (${errorText(error.cause)})`;
  return `${error.message}${cause}`;
}

function localTime(date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
