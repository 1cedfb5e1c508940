/** Every configuration in the pages is one that the program takes. */
import { describe, expect, test } from "vitest";
import { problemText } from "../../src/config/check.ts";
import { diskFiles } from "../../src/base/hocon/files.ts";
import { loadSettings } from "../../src/config/load.ts";
import { blocks, pages, read, root, section } from "./markdown.ts";

/** The info string that says: this is a whole configuration. */
const marked = "hocon nanomq.conf";

const examples = pages.flatMap((page) =>
  blocks(read(page))
    .filter(({ info }) => info === marked)
    .map(({ text, line }) => ({ name: `${page}:${line}`, text })),
);

describe("a configuration in the documentation is read without a mistake or a warning", () => {
  test.each(examples)("$name", ({ text }) => {
    const { errors, warnings } = load(text);
    expect([...errors, ...warnings].map(problemText)).toEqual([]);
  });
});

test("there are such examples in README.md and docs/tutorial.md", () => {
  const names = examples.map(({ name }) => name.split(":")[0]);
  expect(names).toContain("README.md");
  expect(names).toContain("docs/tutorial.md");
});

test("the tutorial's configuration means what `npm start` runs", () => {
  const tutorial = load(examples.find(({ name }) => name.startsWith("docs/tutorial.md"))!.text);
  const started = load(read("etc/nanomq.conf"));
  expect(tutorial.settings).toEqual(started.settings);
});

test("docs/webhooks.md tells the retry schedule that is the default", () => {
  const { effective } = load(read("etc/nanomq.conf"));
  const schedule = effective.find(({ path }) => path === "webhook.retry.schedule");
  const [told] = blocks(read("docs/webhooks.md")).filter(({ info }) => info === "text");
  expect(`[${told.text.trim()}]`).toBe(schedule?.value);
});

test("a key that docs/migrating.md lists as not there yet is read with a warning", () => {
  const page = section(read("docs/migrating.md"), "What is not there yet");
  const sections = ["http_server", "bridges", "rules", "exchange_client", "parquet", "plugin", "sqlite", "preset"];
  expect(sections.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  for (const name of sections) {
    const { errors, warnings } = load(`${name} {}`);
    expect(errors.map(problemText)).toEqual([]);
    expect(warnings.map(problemText).join("\n")).toContain(name);
  }
});

function load(text: string) {
  const files = {
    read: (name: string) =>
      name.endsWith("example.conf") ? ({ outcome: "text", text } as const) : diskFiles.read(name),
  };
  return loadSettings({ path: "example.conf", env: {}, cwd: root, files, version: "0" });
}
