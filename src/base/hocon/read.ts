/** From a file's text to its values: parsing, includes and substitutions together. No key means anything here. */
import path from "node:path";
import type { Files } from "./files.ts";
import { includeDepthMax, includesMax } from "./limits.ts";
import type { IncludeRequest } from "./parse.ts";
import { parse } from "./parse.ts";
import { Problems } from "./problems.ts";
import type { Environment } from "./resolve.ts";
import { resolve } from "./resolve.ts";
import type { ObjectSyntax } from "./syntax.ts";
import type { HoconObject, Problem } from "./value.ts";

export interface HoconSource {
  /** How positions name it. */
  file: string;
  text: string;
  files: Files;
  env: Environment;
  /** The working directory: where an include is looked for when it is not beside the including file. */
  cwd: string;
}

export interface HoconResult {
  root: HoconObject;
  errors: Problem[];
  warnings: Problem[];
  /** Every text that was read, by the name positions use: to show the line of a mistake. */
  sources: Map<string, string>;
}

export function readHocon({ file, text, files, env, cwd }: HoconSource): HoconResult {
  const problems = new Problems();
  const sources = new Map([[file, text]]);
  const open: string[] = [path.resolve(cwd, file)];
  let includes = 0;

  const include = (request: IncludeRequest, including: string): ObjectSyntax | undefined => {
    const { at } = request;
    if (++includes > includesMax || open.length > includeDepthMax) {
      const expected = includes > includesMax ? `at most ${includesMax} in all` : `at most ${includeDepthMax} deep`;
      if (includes <= includesMax + 1) problems.error(at, "too many includes", { expected });
      return undefined;
    }
    for (const candidate of candidates(request.path, including, cwd)) {
      const absolute = path.resolve(cwd, candidate);
      if (open.includes(absolute)) {
        problems.error(at, `${candidate} includes itself`, {
          found: [...open.slice(open.indexOf(absolute)), absolute].map((name) => path.basename(name)).join(" → "),
          expected: "a file that is not being read already",
        });
        return undefined;
      }
      const reading = files.read(absolute);
      if (reading.outcome === "missing") continue;
      if (reading.outcome === "unreadable") {
        problems.error(at, `the included file ${candidate} cannot be read: ${reading.because}`);
        return undefined;
      }
      sources.set(candidate, reading.text);
      return parseFile(candidate, reading.text, request);
    }
    const what = `the included file ${request.path} is not there`;
    if (request.required) problems.error(at, what, { expected: "an existing file" });
    else problems.warn(at, what);
    return undefined;
  };

  const parseFile = (name: string, content: string, request?: IncludeRequest): ObjectSyntax => {
    if (request !== undefined) open.push(path.resolve(cwd, name));
    const parsed = parse({
      text: content,
      file: name,
      problems,
      scope: request?.scope,
      nesting: request?.nesting,
      include: (inner) => include(inner, name),
    });
    if (request !== undefined) open.pop();
    return parsed;
  };

  const root = resolve(parseFile(file, text), env, problems);
  return { root, errors: problems.errors, warnings: problems.warnings, sources };
}

/** Beside the including file first, then in the working directory. */
function candidates(included: string, including: string, cwd: string): string[] {
  if (path.isAbsolute(included)) return [included];
  const beside = path.join(path.dirname(including), included);
  const fromHere = path.normalize(included);
  return path.resolve(cwd, beside) === path.resolve(cwd, fromHere) ? [fromHere] : [beside, fromHere];
}
