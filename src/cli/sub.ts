/** `hookmq sub`: subscribes, and prints what comes, a line a message. */
import type { Publish, QoS } from "../mqtt/packet.ts";
import { Client, ClientFailed, type ClientOptions } from "./client.ts";
import { type ExitCode, printable, type Terminal } from "./terminal.ts";

export interface SubOptions extends ClientOptions {
  topicFilters: readonly string[];
  qos: QoS;
  /** Prints the topic name before each payload. */
  verbose: boolean;
  /** Ends after so many messages. */
  count: number | undefined;
  /** Ends after so long. */
  waitSeconds: number | undefined;
}

/** As mosquitto_sub has it when the time is over. */
const timeOver = 27;

export async function sub(options: SubOptions, terminal: Terminal, stopped: AbortSignal): Promise<ExitCode> {
  const finished = Promise.withResolvers<ExitCode>();
  const overdue =
    options.waitSeconds === undefined
      ? undefined
      : setTimeout(() => finished.resolve(timeOver), options.waitSeconds * 1000);
  stopped.addEventListener("abort", () => finished.resolve(0), { once: true });
  let client: Client | undefined;
  try {
    client = await Client.connect(options);
    let left = options.count ?? Number.POSITIVE_INFINITY;
    client.onMessage = (message) => {
      // More may arrive with the last one that is wanted.
      if (left <= 0) return;
      terminal.print(lineOf(message, options.verbose, terminal.isInteractive));
      if (--left === 0) finished.resolve(0);
    };
    await Promise.race([client.subscribe(options.topicFilters, options.qos), client.lost, finished.promise]);
    return await Promise.race([finished.promise, client.lost]);
  } catch (error) {
    if (!(error instanceof ClientFailed)) throw error;
    terminal.complain(error.message);
    return 1;
  } finally {
    clearTimeout(overdue);
    await client?.end();
  }
}

/** Into a pipe or a file go the very bytes; a person is spared control characters. */
function lineOf({ topicName, payload }: Publish, verbose: boolean, isInteractive: boolean): string | Uint8Array {
  const head = verbose ? `${topicName} ` : "";
  if (isInteractive) return printable(head + Buffer.from(payload).toString("utf8"));
  return Buffer.concat([Buffer.from(head), payload]);
}
