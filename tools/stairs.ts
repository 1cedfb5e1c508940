/**
 * Holds the imports of `src/` to the stairs: a file imports from its own folder and from lower steps, never from a higher
 * one or from a neighbour on its own. `npm run check:stairs` prints each import that goes up and exits 1.
 */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";

/** Lowest first. Neighbours on one step meet in `server.ts`. */
const steps: readonly (readonly string[])[] = [
  ["base"],
  ["mqtt"],
  ["store"],
  ["access"],
  ["broker"],
  ["webhook", "bridge", "transport"],
  ["api"],
  ["config"],
  ["."], // server.ts, back.ts and what else stands in src/ itself
  ["cli"],
];
/** The browser app knows `api/contract.ts`, and nobody knows it. */
const dashboard = "dashboard";
const dashboardKnows = "api/contract.ts";

export interface SourceFile {
  /** Relative to `src/`, with `/`. */
  file: string;
  text: string;
}

export interface UpwardImport {
  file: string;
  line: number;
  imported: string;
  because: string;
}

export function upwardImports(files: readonly SourceFile[]): UpwardImport[] {
  return files.flatMap(({ file, text }) =>
    relativeImports(text).flatMap(({ specifier, line }) => {
      const imported = path.posix.join(path.posix.dirname(file), specifier);
      const because = objection(file, imported);
      return because === undefined ? [] : [{ file, line, imported, because }];
    }),
  );
}

function objection(file: string, imported: string): string | undefined {
  const from = folderOf(file);
  const to = folderOf(imported);
  if (from === to) return undefined;
  if (imported.startsWith("../")) return "it leaves src/";
  if (from === dashboard) return imported === dashboardKnows ? undefined : `the dashboard knows only ${dashboardKnows}`;
  if (to === dashboard) return "nobody imports the dashboard";
  const fromStep = stepOf(from);
  const toStep = stepOf(to);
  if (fromStep < 0) return `${from}/ stands on no step: give it one in tools/stairs.ts`;
  if (toStep < 0) return `${to}/ stands on no step: give it one in tools/stairs.ts`;
  if (toStep > fromStep) return `${nameOf(to)} is above ${nameOf(from)}`;
  if (toStep === fromStep) return `${nameOf(to)} is a neighbour of ${nameOf(from)}: they meet in server.ts`;
  return undefined;
}

/** Static and dynamic imports, re-exports, and source files named by `new URL("./worker.ts", import.meta.url)`. */
function relativeImports(text: string): { specifier: string; line: number }[] {
  const pattern = /(?:\bfrom\s*|\bimport\s*\(?\s*|\bnew URL\(\s*)(["'])(\.{1,2}\/[^"'\n]+\.tsx?)\1/g;
  return [...text.matchAll(pattern)].map((match) => ({
    specifier: match[2],
    line: text.slice(0, match.index + match[0].length).split("\n").length,
  }));
}

function folderOf(file: string): string {
  const [folder, ...rest] = file.split("/");
  return rest.length === 0 ? "." : folder;
}

function stepOf(folder: string): number {
  return steps.findIndex((step) => step.includes(folder));
}

function nameOf(folder: string): string {
  return folder === "." ? "src/" : `${folder}/`;
}

if (import.meta.main) {
  const root = path.join(import.meta.dirname, "..", "src");
  const files = globSync("**/*.{ts,tsx}", { cwd: root }).map((file) => ({
    file: file.split(path.sep).join("/"),
    text: readFileSync(path.join(root, file), "utf8"),
  }));
  const upward = upwardImports(files);
  for (const { file, line, imported, because } of upward) {
    console.error(`src/${file}:${line}: imports ${imported}, but ${because}`);
  }
  if (upward.length > 0) process.exitCode = 1;
  else console.log(`stairs: ${files.length} files import downwards only`);
}
