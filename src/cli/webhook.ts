/** `hookmq webhook …`: which command, and what its flags mean. */
import { type Command, InvalidArgumentError } from "commander";
import { addFileFlags } from "./broker-flags.ts";
import type { ExitCode } from "./terminal.ts";
import {
  type ChoiceFlags,
  deadLettersDelete,
  deadLettersExport,
  deadLettersList,
  deadLettersReplay,
  deadLettersShow,
  type FilterFlags,
} from "./webhook-dead-letters.ts";
import { webhookList, webhookPause, webhookResume, webhookShow, webhookTest } from "./webhook-endpoints.ts";
import type { WebhookFlags, WebhookParts } from "./webhook-engine.ts";
import { type LimitFlags, webhookAttempts, webhookQueue } from "./webhook-queue.ts";

export interface WebhookCommandParts {
  /** `hookmq webhook` */
  webhook: Command;
  commandOf: (parent: Command, name: string, description: string) => Command;
  run: (running: Promise<ExitCode>) => Promise<void>;
  parts: WebhookParts;
}

export function addWebhookCommands({ webhook, commandOf, run, parts }: WebhookCommandParts): void {
  const command = (name: string, description: string) =>
    addFileFlags(commandOf(webhook, name, description)).option("--json", "for programs");
  const ofEndpoint = (name: string, description: string) =>
    command(name, description).argument("<endpoint>", "its name");

  command("list", "all endpoints and how they are").action((flags: WebhookFlags) => run(webhookList(flags, parts)));
  ofEndpoint("show", "one endpoint and its counts").action((name: string, flags: WebhookFlags) =>
    run(webhookShow(name, flags, parts)),
  );
  ofEndpoint("pause", "send nothing until it is resumed; what comes is queued").action(
    (name: string, flags: WebhookFlags) => run(webhookPause(name, flags, parts)),
  );
  ofEndpoint("resume", "end a pause; have one that does not answer probed at once").action(
    (name: string, flags: WebhookFlags) => run(webhookResume(name, flags, parts)),
  );
  ofEndpoint("test", "send one made-up event and say what came of it")
    .option("--event <name>", "which event", "on_message_publish")
    .action((name: string, flags: WebhookFlags & { event: string }) => run(webhookTest(name, flags, parts)));
  ofEndpoint("queue", "what it is owed, the oldest first")
    .option("-n, --limit <count>", "so many at the most; 20 for people, all for programs", limit)
    .action((name: string, flags: LimitFlags) => run(webhookQueue(name, flags, parts)));
  ofEndpoint("attempts", "its last attempts, the newest first")
    .option("--delivery <id>", "of one delivery")
    .option("-n, --limit <count>", "so many at the most; 20 for people, 200 for programs", limit)
    .action((name: string, flags: LimitFlags & { delivery?: string }) => run(webhookAttempts(name, flags, parts)));

  const deadLetters = commandOf(webhook, "dead-letters", "deliveries that were given up").helpCommand(false);
  const ofLetters = (name: string, description: string) =>
    addFileFlags(commandOf(deadLetters, name, description)).argument("<endpoint>", "its name");
  addFilterFlags(ofLetters("list", "the oldest first"))
    .option("--json", "for programs")
    .option("-n, --limit <count>", "so many at the most; 20 for people, all for programs", limit)
    .action((name: string, flags: LimitFlags & FilterFlags) => run(deadLettersList(name, flags, parts)));
  ofLetters("show", "one, with its body")
    .argument("<delivery>", "its id")
    .option("--json", "for programs")
    .action((name: string, id: string, flags: WebhookFlags) => run(deadLettersShow(name, id, flags, parts)));
  addFilterFlags(ofLetters("replay", "make a fresh delivery of each, under the same webhook-id"))
    .argument("[deliveries...]", "their ids")
    .option("--all", "all there are now, or all that are like that")
    .option("--json", "for programs")
    .action((name: string, ids: string[], flags: ChoiceFlags) => run(deadLettersReplay(name, ids, flags, parts)));
  addFilterFlags(ofLetters("delete", "forget them; they stay counted"))
    .argument("[deliveries...]", "their ids")
    .option("--all", "all there are now, or all that are like that")
    .option("--json", "for programs")
    .action((name: string, ids: string[], flags: ChoiceFlags) => run(deadLettersDelete(name, ids, flags, parts)));
  addFilterFlags(ofLetters("export", "write them out with their bodies, a line of JSON each"))
    .argument("[file]", "a file that is not there yet; - for the standard output", "-")
    .action((name: string, file: string, flags: WebhookFlags & FilterFlags) =>
      run(deadLettersExport(name, file, flags, parts)),
    );
}

function addFilterFlags(command: Command): Command {
  return command
    .option("--reason <word>", "only those given up for this reason")
    .option("--event <name>", "only of this event")
    .option("--key <key>", "only with this key of order: a client id, unless the endpoint orders otherwise");
}

function limit(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("It should be a whole number from 1.");
  return value;
}
