/**
 * Writes docs/configuration.md from the schemas of src/config. With `--check` it writes nothing and ends with 1 when the
 * page is not what the schemas say.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { configuration } from "../src/config/configuration.ts";
import type { Facts, KeyFacts, SectionFacts, Status } from "../src/config/schema.ts";
import { factsOf } from "../src/config/schema.ts";

const page = path.join(import.meta.dirname, "..", "docs", "configuration.md");

function currentPage(): string | undefined {
  try {
    return readFileSync(page, "utf8");
  } catch {
    return undefined;
  }
}

export function referencePage(): string {
  const root = factsOf(configuration);
  if (root.kind !== "section") throw new Error("the configuration is a section");
  const sections = Object.entries(root.keys).map(([name, schema]) => sectionText(name, factsOf(schema)));
  return `${[introduction, ...sections].join("\n\n")}\n`;
}

const introduction = `<!-- Written by tools/configuration-reference.ts from src/config: change it there, then \`npm run docs\`. -->

# Configuration

HookMQ reads the configuration file of NanoMQ and EMQX Edge, \`nanomq.conf\`. \`hookmq check --conf <file>\` shows every
setting in force with the line it comes from, or every mistake at once.

**Which file.** \`--conf\`, else \`HOOKMQ_CONF_PATH\`, else \`NANOMQ_CONF_PATH\`, else \`nanomq.conf\` beside the program, else
\`/etc/nanomq.conf\`, else none: then all is default. A file in the older \`key=value\` format is read for webhooks, listeners
and logging; for other keys you are told what to write instead.

**Which value.** The command line wins over the environment, the environment over the file, the file over the default. In
the environment each key is \`HOOKMQ_\` and its path in capitals, with \`__\` for the dot (\`HOOKMQ_WEBHOOK__URL\`); the names of
the original (\`NANOMQ_LOG_LEVEL\`, …) hold as well, also with \`HOOKMQ_\` in front.

**How it is written.** HOCON: \`key = value\`, \`section { … }\`, dotted keys, lists in \`[ ]\`, comments with \`#\` or \`//\`,
\`\${path}\` and \`\${?NAME}\` for another key or an environment variable, \`+=\`, \`include "file"\` and
\`include required("file")\`. Keys and words match without regard to case.

| type | is written |
|---|---|
| duration | \`500ms\`, \`10s\`, \`5m\`, \`2h\`, \`1d\`; a bare number is in the unit that the key names |
| size | \`512\`, \`64KB\`, \`10MB\`, \`1GB\`; powers of 1024 |
| true or false | \`true\`, \`false\`; also \`yes\`, \`no\`, \`on\`, \`off\` |
| list | \`[a, b]\`; one item may stand without brackets |

A key that is not in this page, or a value that does not fit, is refused. Keys marked *not yet* are read and checked,
and a warning says that they do nothing yet; keys marked *no effect* belong to the original and mean nothing here.`;

function sectionText(name: string, facts: Facts): string {
  const head = [`## ${name}`, `${facts.meaning}${statusText(facts)}`];
  if (facts.kind !== "section" || facts.status !== "works") return head.join("\n\n");
  const rows = keyRows(facts, name);
  return [...head, ["| key | type | default | meaning |", "|---|---|---|---|", ...rows].join("\n")].join("\n\n");
}

function keyRows(facts: SectionFacts, path: string): string[] {
  const rows = Object.entries(facts.keys).flatMap(([name, schema]) => rowsOf(factsOf(schema), `${path}.${name}`));
  if (facts.named === undefined) return rows;
  return [...rows, ...rowsOf(factsOf(facts.named.schema), `${path}.${facts.named.label}`)];
}

function rowsOf(facts: Facts, path: string): string[] {
  switch (facts.kind) {
    case "key":
      return facts.status === "gone" ? [] : [keyRow(facts, path)];
    case "list": {
      const item = factsOf(facts.item);
      const head = row([`\`${path}[]\``, "list of objects", "", facts.meaning + statusText(facts)]);
      return item.kind === "section" ? [head, ...keyRows(item, `${path}[]`)] : [head];
    }
    case "section":
      if (facts.inherits === undefined && facts.status === "works") return keyRows(facts, path);
      return [row([`\`${path}.…\``, "object", "", facts.meaning + statusText(facts)])];
    default:
      return facts satisfies never;
  }
}

function keyRow(facts: KeyFacts, path: string): string {
  const standard = facts.default === undefined ? (facts.required ? "*required*" : "") : `\`${facts.default}\``;
  return row([`\`${path}\``, facts.type, standard, facts.meaning + statusText(facts)]);
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function statusText({ status, note }: { status: Status; note: string | undefined }): string {
  if (status === "works" || status === "gone") return "";
  const word = status === "later" ? "*Not yet*" : "*No effect*";
  return note === undefined ? ` ${word}.` : ` ${word}: ${note}.`;
}

if (import.meta.main) {
  const wanted = referencePage();
  if (!process.argv.includes("--check")) writeFileSync(page, wanted);
  else if (currentPage() !== wanted) {
    console.error("docs/configuration.md is not what the schemas say: run `npm run docs`");
    process.exitCode = 1;
  }
}
