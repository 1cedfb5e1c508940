/** The webhook engine of the running broker, as the commands of `hookmq webhook` ask it. */
import { nearest } from "../config/nearest.ts";
import type { Operation, OperationRefusal } from "../webhook/operations.ts";
import { isRefusal } from "../webhook/operations.ts";
import { type FileFlags, type Place, pidFileFor } from "./broker-flags.ts";
import { askBroker, controlPathOf } from "./control.ts";
import { runningBroker } from "./pid-file.ts";
import { noneRunning } from "./stop.ts";
import type { ExitCode, Terminal } from "./terminal.ts";
import type { ResultOnWire } from "./webhook-operation.ts";

export interface WebhookParts extends Place {
  terminal: Terminal;
  stdout: NodeJS.WritableStream;
}

export interface WebhookFlags extends FileFlags {
  json?: true;
}

/** Ends a command; the message is for the operator. */
export class CannotBeDone extends Error {
  readonly refusal: OperationRefusal["refused"] | undefined;

  constructor(message: string, refusal?: OperationRefusal["refused"]) {
    super(message);
    this.name = "CannotBeDone";
    this.refusal = refusal;
  }
}

export class WebhookEngine {
  private readonly socket: string;
  private readonly pid: number;

  constructor({ socket, pid }: { socket: string; pid: number }) {
    this.socket = socket;
    this.pid = pid;
  }

  /** Throws CannotBeDone. */
  async ask<Asked extends Operation>(
    operation: Asked,
  ): Promise<Exclude<ResultOnWire<Asked["what"]>, OperationRefusal>> {
    const answer = await this.answerTo(operation);
    if (!isRefusal(answer)) return answer as Exclude<ResultOnWire<Asked["what"]>, OperationRefusal>;
    throw new CannotBeDone(await this.inWords(answer, operation), answer.refused);
  }

  private async answerTo(operation: Operation): Promise<ResultOnWire> {
    let answer: Awaited<ReturnType<typeof askBroker<"webhook">>>;
    try {
      answer = await askBroker(this.socket, { command: "webhook", operation });
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      throw new CannotBeDone(`HookMQ (process ${this.pid}) does not answer on ${this.socket}: ${because}`);
    }
    if (answer.body === undefined) throw new CannotBeDone(answer.lines.join("; "));
    return answer.body;
  }

  private async inWords({ refused, message }: OperationRefusal, operation: Operation): Promise<string> {
    switch (refused) {
      case "no_such_endpoint":
        return "endpoint" in operation ? await this.noSuchEndpoint(operation.endpoint) : message;
      case "store_unavailable":
        return `${message} (hookmq health says how the store is)`;
      case "no_such_dead_letter":
      case "no_such_event":
      case "not_sending":
        return message;
      default:
        return refused satisfies never;
    }
  }

  private async noSuchEndpoint(name: string): Promise<string> {
    const answer = await this.answerTo({ what: "endpoints" });
    const names = Array.isArray(answer) ? answer.map((report) => ("endpoint" in report ? report.endpoint : "")) : [];
    const said = `There is no webhook endpoint ${JSON.stringify(name)}`;
    if (names.length === 0) return `${said}: none is configured.`;
    const meant = nearest(name, names);
    const question = meant === undefined ? "" : ` Did you mean ${meant}?`;
    return `${said}.${question} There are: ${names.join(", ")}.`;
  }
}

/** Lets a command speak with the running broker; its exit code, 1 when it cannot be done, with the reason said. */
export async function withEngine(
  flags: FileFlags,
  parts: WebhookParts,
  act: (engine: WebhookEngine) => Promise<ExitCode>,
): Promise<ExitCode> {
  const pidFile = pidFileFor(flags, parts);
  const pid = runningBroker(pidFile);
  if (pid === undefined) {
    parts.terminal.complain(noneRunning);
    return 1;
  }
  try {
    return await act(new WebhookEngine({ socket: controlPathOf(pidFile), pid }));
  } catch (error) {
    if (!(error instanceof CannotBeDone)) throw error;
    parts.terminal.complain(error.message);
    return 1;
  }
}
