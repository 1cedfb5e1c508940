/** `hookmq pub`: publishes one message, or one for each line of the standard input. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { QoS } from "../mqtt/packet.ts";
import { Client, ClientFailed, type ClientOptions } from "./client.ts";
import type { ExitCode, Terminal } from "./terminal.ts";

export interface PubOptions extends ClientOptions {
  topicName: string;
  qos: QoS;
  retain: boolean;
  payload: PayloadSource;
}

export type PayloadSource =
  | { from: "text"; text: string }
  | { from: "file"; path: string }
  | { from: "lines"; input: NodeJS.ReadableStream };

export async function pub(options: PubOptions, terminal: Terminal): Promise<ExitCode> {
  let client: Client | undefined;
  try {
    const payloads = payloadsOf(options.payload);
    client = await Client.connect(options);
    const { topicName, qos, retain } = options;
    for await (const payload of payloads) {
      await Promise.race([client.publish({ topicName, payload, qos, retain }), client.lost]);
    }
    await client.end();
    return 0;
  } catch (error) {
    if (!(error instanceof ClientFailed)) throw error;
    terminal.complain(error.message);
    await client?.end();
    return 1;
  }
}

function payloadsOf(source: PayloadSource): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  switch (source.from) {
    case "text":
      return [Buffer.from(source.text)];
    case "file":
      return [readPayload(source.path)];
    case "lines":
      return linesOf(source.input);
    default:
      return source satisfies never;
  }
}

function readPayload(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ClientFailed(`the file cannot be read: ${(cause as Error).message}`, { cause });
  }
}

async function* linesOf(input: NodeJS.ReadableStream): AsyncGenerator<Uint8Array> {
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) yield Buffer.from(line);
}
