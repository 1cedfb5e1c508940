/**
 * What may be asked of the running broker, and what it answers: one line of JSON asks; the answer is the last line, and
 * before it come as many that tell how far it is.
 *
 * A further command is a member of `ControlRequest`, a body in `ControlBodies`, a case in `parseRequest`, and its handler in
 * `start.ts`; the compiler names each place.
 */
import type { BackupReport, Health, StoreCheck } from "../server.ts";
import type { Operation } from "../webhook/operations.ts";
import { parseOperation, type ResultOnWire } from "./webhook-operation.ts";

export type ControlRequest =
  /** `conf` is an absolute path; without it, the file that the broker was started with. */
  | { command: "reload"; conf: string | undefined; oldConf: boolean }
  | { command: "health" }
  | { command: "metrics" }
  | { command: "store-check" }
  /** `file` is an absolute path. */
  | { command: "store-backup"; file: string }
  | { command: "webhook"; operation: Operation };

/** What an answer carries for programs. */
interface ControlBodies {
  reload: undefined;
  health: Health;
  metrics: string;
  "store-check": StoreCheck;
  "store-backup": BackupReport;
  webhook: ResultOnWire;
}

export interface ControlAnswer<Command extends ControlRequest["command"] = ControlRequest["command"]> {
  succeeded: boolean;
  /** What the operator should read, line by line: the report, or what went wrong. */
  lines: readonly string[];
  /** There when it succeeded, where the command has one. */
  body?: ControlBodies[Command];
}

export interface Progress {
  done: number;
  total: number;
}

/** One line from the broker. Without figures: it is still at it. */
export type FromBroker = ControlAnswer | { progress: Progress | undefined };

/** `undefined` when the line asks for nothing there is. */
export function parseRequest(line: string): ControlRequest | undefined {
  const request: unknown = JSON.parse(line);
  if (typeof request !== "object" || request === null) return undefined;
  const { command, conf, oldConf, file, operation } = request as Record<string, unknown>;
  switch (command as ControlRequest["command"]) {
    case "reload":
      return conf === undefined || typeof conf === "string"
        ? { command: "reload", conf, oldConf: oldConf === true }
        : undefined;
    case "health":
      return { command: "health" };
    case "metrics":
      return { command: "metrics" };
    case "store-check":
      return { command: "store-check" };
    case "store-backup":
      return typeof file === "string" ? { command: "store-backup", file } : undefined;
    case "webhook": {
      const asked = parseOperation(operation);
      return asked === undefined ? undefined : { command: "webhook", operation: asked };
    }
    default:
      return undefined;
  }
}
