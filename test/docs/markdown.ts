/** The documentation as the tests see it: pages, their headings, tables, fenced blocks and links. */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";

export const root = path.join(import.meta.dirname, "..", "..");

export interface Block {
  /** What stands behind the opening fence: `hocon nanomq.conf`. */
  info: string;
  text: string;
  line: number;
}

/** `README.md`, `docs/webhooks.md`, …, relative to the root of the repository. */
export const pages: readonly string[] = [
  ...globSync("*.md", { cwd: root }),
  ...globSync("docs/**/*.md", { cwd: root }),
].map((page) => page.split(path.sep).join("/"));

export function read(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

export function blocks(text: string): Block[] {
  return [...text.matchAll(/^```(.+)\n([\s\S]*?)^```$/gm)].map((match) => ({
    info: match[1],
    text: match[2],
    line: text.slice(0, match.index).split("\n").length,
  }));
}

/** The text without its fenced blocks, line for line. */
export function prose(text: string): string {
  return text.replace(/^```.*\n[\s\S]*?^```$/gm, (block) => block.replace(/.*/g, ""));
}

/** Where a heading is linked to, as GitHub makes it. */
export function anchorsOf(text: string): Set<string> {
  const headings = [...prose(text).matchAll(/^#+ (.+)$/gm)].map((match) => match[1]);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** The part of a page under one heading, up to the next of any level. */
export function section(text: string, heading: string): string {
  const lines = prose(text).split("\n");
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, "") === heading);
  if (start < 0) throw new Error(`there is no heading "${heading}"`);
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line));
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).join("\n");
}

/** The rows of all tables in a text, without their heads; a cell's backquotes are left as they are. */
export function rows(text: string): string[][] {
  const found: string[][] = [];
  const lines = text.split("\n");
  for (const [index, line] of lines.entries()) {
    const isHead = /^\|[\s:|-]+\|$/.test(lines[index + 1] ?? "");
    if (!line.startsWith("|") || isHead || /^\|[\s:|-]+\|$/.test(line)) continue;
    found.push(
      line
        .slice(1, line.lastIndexOf("|"))
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
  }
  return found;
}

/** `name` of a cell that is one quoted name. */
export function unquoted(cell: string): string {
  return /^`([^`]+)`$/.exec(cell)?.[1] ?? cell;
}
