/** What the pages point to is there. */
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { anchorsOf, pages, prose, read, root, rows, section } from "./markdown.ts";

describe.each(pages)("%s", (page) => {
  const text = read(page);

  test("links within the repository lead somewhere", () => {
    const targets = [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]);
    const broken = targets.filter((target) => !/^https?:/.test(target) && !leadsSomewhere(page, target));
    expect(broken).toEqual([]);
  });

  test("files of the source that are named are there", () => {
    const named = [...prose(text).matchAll(/`((?:src|test|docs|bench|tools|bin|etc)\/[^`\s]*)`/g)].map(
      (match) => match[1],
    );
    expect(named.filter((name) => !existsSync(path.join(root, name)))).toEqual([]);
  });
});

test("the walk through the house names functions that are in their files", () => {
  const steps = rows(section(read("ARCHITECTURE.md"), "One PUBLISH walks through the house"));
  expect(steps.length).toBeGreaterThan(10);
  const missing = steps.filter(([, where]) => {
    const [file, call] = [...where.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
    const name = call.replace("()", "");
    return !new RegExp(`^\\s*(?:export |private |readonly |async |function )*${name}\\b\\s*[(=]`, "m").test(read(file));
  });
  expect(missing).toEqual([]);
});

test("every decision stands in the list of decisions", () => {
  const list = read("docs/decisions/README.md");
  const decisions = pages
    .filter((page) => /^docs\/decisions\/(?!README)/.test(page))
    .map((page) => path.basename(page));
  expect(decisions.filter((decision) => !list.includes(`](${decision})`))).toEqual([]);
});

function leadsSomewhere(page: string, target: string): boolean {
  const [file, anchor] = target.split("#");
  const linked = file === "" ? page : path.posix.join(path.posix.dirname(page), file);
  if (!existsSync(path.join(root, linked))) return false;
  return anchor === undefined || anchorsOf(read(linked)).has(anchor);
}
