/**
 * From a file, the environment and the command line to settings, or to everything that is wrong. Reads nothing itself but
 * what is handed in. Precedence, lowest first: defaults, file, environment, command line.
 */
import path from "node:path";
import type { Files } from "../base/hocon/files.ts";
import { bounded } from "../base/hocon/problems.ts";
import { readHocon } from "../base/hocon/read.ts";
import type { Environment } from "../base/hocon/resolve.ts";
import type { HoconObject, HoconValue, Problem } from "../base/hocon/value.ts";
import { overlay, valueAt } from "../base/hocon/value.ts";
import type { Assignment } from "./assignments.ts";
import { assemble, placeOf } from "./assignments.ts";
import type { Overrides } from "./command-line.ts";
import { commandLineAssignments } from "./command-line.ts";
import { configuration } from "./configuration.ts";
import { checkEndpoint } from "./endpoint-check.ts";
import { environmentAssignments } from "./environment.ts";
import type { FoundFile } from "./find-file.ts";
import { findFile } from "./find-file.ts";
import type { Effective } from "./fit.ts";
import { below, fitSchema, keyPaths } from "./fit.ts";
import { looksLikeKeyValue, readKeyValue } from "./key-value.ts";
import { defaultBind } from "./sections/listeners.ts";
import type { EndpointKeys } from "./sections/webhook.ts";
import { endpoint } from "./sections/webhook.ts";
import type { Settings } from "./settings.ts";
import { defaultPidFile, toSettings } from "./settings.ts";

export interface LoadRequest {
  /** `--conf`, or `--old_conf` with `oldConf`. */
  path?: string;
  oldConf?: boolean;
  env: Environment;
  overrides?: Overrides;
  cwd: string;
  files: Files;
  /** The folder of the program, where a `nanomq.conf` may stand. */
  besides?: string;
  /** Of this program. */
  version: string;
}

export interface LoadResult {
  /** Absent when there are errors. */
  settings: Settings | undefined;
  /** Known as far as it can be even with errors, so that a running broker is still found. */
  pidFile: string;
  /** The file that was used; `undefined`: none, all is default. */
  file: FoundFile | undefined;
  effective: Effective[];
  warnings: Problem[];
  errors: Problem[];
  /** Texts of the files, by the names that positions use. */
  sources: ReadonlyMap<string, string>;
}

interface FileTree {
  root: HoconObject;
  errors: Problem[];
  warnings: Problem[];
  sources: ReadonlyMap<string, string>;
}

export function loadSettings(request: LoadRequest): LoadResult {
  const { path: given, env, overrides = {}, cwd, files, besides, version } = request;
  const exists = (name: string) => files.read(path.resolve(cwd, name)).outcome !== "missing";
  const file = findFile({ given, env, besides, exists });
  const tree = file === undefined ? noFile : readFile(file, request);

  const outer = [environmentAssignments(env), commandLineAssignments(overrides)].map(treeOf);
  const root = outer.reduce(overlay, tree.root);
  const whole = fitSchema(root, configuration, { allPaths });
  const folder = file === undefined ? cwd : path.dirname(path.resolve(cwd, file.path));
  const endpoints = fitEndpoints(root, { files, folder });
  // A wrong value in the file is told even where the environment or the command line put another in its place.
  const hidden = fitSchema(tree.root, configuration, { allPaths }).errors.filter(({ found }) => found !== undefined);

  const errors = ordered(
    [
      ...tree.errors,
      ...whole.errors,
      ...bounded(ordered(endpoints.errors, tree.sources), "mistakes of endpoints"),
      ...hidden,
    ],
    tree.sources,
  );
  const warnings = [...tree.warnings, ...whole.warnings, ...bounded(endpoints.warnings, "warnings of endpoints")];
  // A file that lists listeners lists all of them, but what is added from outside takes nothing away.
  const tcp = valueAt(tree.root, ["listeners"]) === undefined || valueAt(root, ["listeners", "tcp"]) !== undefined;
  const settings =
    errors.length === 0 && whole.value !== undefined
      ? toSettings({ configuration: whole.value, endpoints: endpoints.found, tcp, version, folder })
      : undefined;
  const main = settings?.listeners.tcp.find(({ name }) => name === "default");
  const effective = [...whole.effective];
  if (main !== undefined && valueAt(root, ["listeners", "tcp", "bind"]) === undefined) {
    effective.push({ path: "listeners.tcp.bind", value: `"${defaultBind}"`, origin: "default" });
  }
  if (settings?.listeners.tcp.length === 0) {
    warnings.push({ at: valueAt(root, ["listeners"])?.at ?? root.at, what: "no listener is on: nobody can connect" });
  }
  const pidFile = settings?.system.pidFile ?? textAt(root, ["system", "pid_file"]) ?? defaultPidFile;
  return { settings, pidFile, file, effective, warnings, errors, sources: tree.sources };
}

function textAt(root: HoconObject, names: string[]): string | undefined {
  const value = valueAt(root, names);
  return value?.kind === "string" ? value.text : undefined;
}

const allPaths = keyPaths(configuration);

const noFile: FileTree = { root: treeOf([]), errors: [], warnings: [], sources: new Map() };

function treeOf(assignments: readonly Assignment[]): HoconObject {
  return assemble(assignments, assignments[0]?.value.at ?? placeOf("default"));
}

function readFile({ path: name }: FoundFile, { oldConf = false, env, cwd, files }: LoadRequest): FileTree {
  const reading = files.read(path.resolve(cwd, name));
  if (reading.outcome !== "text") {
    const because = reading.outcome === "missing" ? "there is no such file" : reading.because;
    return { ...noFile, errors: [{ at: placeOf(name), what: `the configuration file cannot be read: ${because}` }] };
  }
  const { text } = reading;
  const sources = new Map([[name, text]]);
  if (oldConf) return { ...readKeyValue(text, name), warnings: [], sources };
  if (!looksLikeKeyValue(text)) return readHocon({ file: name, text, files, env, cwd });
  const what = "this file is in the older key=value format; it is read as with --old_conf";
  return { ...readKeyValue(text, name), warnings: [{ at: placeOf(name), what }], sources };
}

interface Endpoints {
  found: [string, EndpointKeys][];
  errors: Problem[];
  warnings: Problem[];
}

/** Each endpoint with what it takes from `webhook`. */
function fitEndpoints(root: HoconObject, surroundings: { files: Files; folder: string }): Endpoints {
  const webhook = valueAt(root, ["webhook"]);
  const endpoints: Endpoints = { found: [], errors: [], warnings: [] };
  if (webhook?.kind !== "object") return endpoints;
  const shared: HoconObject = { ...webhook, fields: new Map(webhook.fields) };
  for (const key of ["endpoints", "rule"]) shared.fields.delete(key);
  const named = webhook.fields.get("endpoints")?.value;
  const others = named?.kind === "object" ? named.fields : new Map<never, never>();

  // The short form is an endpoint too, unless it only holds what the others share. Switched off, it needs no address.
  const hasUrl = shared.fields.has("url");
  const isShort =
    others.size === 0 ? hasUrl || !isFalse(shared.fields.get("enable")?.value) : hasUrl && shared.fields.has("events");
  const trees = isShort && !others.has("default") ? [{ name: "default", path: "webhook", tree: shared }] : [];
  for (const { name, value } of others.values()) {
    if (value.kind !== "object") continue;
    trees.push({ name, path: below("webhook.endpoints", name), tree: overlay(shared, value) });
  }
  for (const { name, path: where, tree } of trees) {
    const fitting = fitSchema(tree, endpoint, { path: where, allPaths });
    endpoints.errors.push(...fitting.errors);
    if (fitting.value === undefined) continue;
    endpoints.found.push([name, fitting.value]);
    const check = checkEndpoint({ keys: fitting.value, tree, path: where, ...surroundings });
    endpoints.errors.push(...check.errors);
    endpoints.warnings.push(...check.warnings);
    if (fitting.value.events.length === 0) {
      endpoints.warnings.push({ at: tree.at, what: `${where} has no events: nothing is sent` });
    }
  }
  return endpoints;
}

function isFalse(value: HoconValue | undefined): boolean {
  return value?.kind === "boolean" && !value.value;
}

/** In the order of the file, what endpoints inherit only once. */
function ordered(problems: readonly Problem[], sources: ReadonlyMap<string, string>): Problem[] {
  const once = new Map<string, Problem>();
  for (const problem of problems) {
    const { at, found, expected } = problem;
    const what = found === undefined ? problem.what : "";
    const name = JSON.stringify([at.file, at.line, at.column, found, what, found === undefined ? expected : ""]);
    if (!once.has(name)) once.set(name, problem);
  }
  const files = [...sources.keys()];
  // Sources outside of files come last.
  const rank = (file: string) => (files.includes(file) ? files.indexOf(file) : files.length);
  return [...once.values()].sort(
    ({ at: left }, { at: right }) =>
      rank(left.file) - rank(right.file) || left.line - right.line || left.column - right.column,
  );
}
