/** Every `hookmq …` that a page shows is a command with flags that there are. */
import { execFileSync } from "node:child_process";
import path from "node:path";
import { expect, test } from "vitest";
import { blocks, pages, prose, read, root } from "./markdown.ts";

interface Shown {
  page: string;
  command: string;
  flags: string[];
}

/** Commands that have commands. */
const groups = new Set(["store", "webhook", "webhook dead-letters"]);
const shown = pages.flatMap(commandsOf);
const flagsOf = new Map<string, ReadonlySet<string>>();

test("the pages show commands", () => {
  expect(shown.length).toBeGreaterThan(20);
});

test.each(shown)("$page: $command $flags", ({ command, flags }) => {
  const known = knownFlags(command);
  expect(flags.filter((flag) => !known.has(flag))).toEqual([]);
});

test("every command stands in the README", () => {
  const inReadme = new Set(commandsOf("README.md").map(({ command }) => command.split(" ")[0]));
  expect([...knownCommands()].filter((command) => !inReadme.has(command))).toEqual([]);
});

/** In shell blocks and in backquotes. */
function commandsOf(page: string): Shown[] {
  const text = read(page);
  const lines = blocks(text)
    .filter(({ info }) => info === "sh")
    .flatMap((block) => block.text.split("\n"));
  const quoted = [...prose(text).matchAll(/`([^`\n]+)`/g)].map((match) => match[1]);
  return [...lines, ...quoted].flatMap((line) => {
    const match = /^(?:[A-Z_]+=\S+ )*(?:npx )?(?:hookmq|emqx-edge) (\S+)(.*)$/.exec(line.trim());
    if (match === null || match[1] === "…") return [];
    let [, command, rest] = match;
    while (groups.has(command)) {
      const inGroup = /^ ([\w-]+)(.*)$/.exec(rest);
      if (inGroup === null) break;
      command = `${command} ${inGroup[1]}`;
      rest = inGroup[2];
    }
    // What follows `#` is for the reader; what stands in quotes is a value.
    const words = rest
      .replace(/'[^']*'|"[^"]*"/g, "value")
      .replace(/ #.*$/, "")
      .split(/\s+/);
    const flags = words.filter((word) => word.startsWith("-")).map((word) => word.replace(/=.*$/, ""));
    return command.startsWith("-") ? [{ page, command: "", flags: [command, ...flags] }] : [{ page, command, flags }];
  });
}

function knownFlags(command: string): ReadonlySet<string> {
  const known = flagsOf.get(command) ?? new Set(help(command).match(/(?<=^ {2}.*?)(?<![\w-])--?[\w-]+/gm));
  flagsOf.set(command, known);
  return known;
}

function knownCommands(): Set<string> {
  const commands = help("")
    .replace(/^[\s\S]*\nCommands:\n/, "")
    .replace(/\n\n[\s\S]*$/, "");
  return new Set([...commands.matchAll(/^ {2}(\w+)/gm)].map((match) => match[1]));
}

/** Fails when there is no such command. */
function help(command: string): string {
  const words = command === "" ? [] : command.split(" ");
  const launcher = path.join(root, "bin", "hookmq.cjs");
  return execFileSync(process.execPath, [launcher, ...words, "--help"], { encoding: "utf8", stdio: "pipe" });
}
