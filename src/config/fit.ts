/**
 * Lays a configuration tree against its schema: knows every key or says which one was meant, hands the rest to zod as
 * plain values, and turns what zod says back into places in the file. On the way it notes what is read but not used,
 * and each setting's value with its origin.
 */
import type { z } from "zod";
import { print, printKey } from "../base/hocon/print.ts";
import { Problems } from "../base/hocon/problems.ts";
import type { HoconObject, HoconValue, Position, Problem } from "../base/hocon/value.ts";
import { fold, positionText } from "../base/hocon/value.ts";
import { nearest } from "./nearest.ts";
import type { Facts, KeyFacts, NamedEntries, SectionFacts } from "./schema.ts";
import { broken, factsOf, namedEntries } from "./schema.ts";
import { masked, maskedText } from "./secrets.ts";

/** One setting, for `hookmq check`. */
export interface Effective {
  /** `webhook.pool_size`; `webhook.events +` for one more item of a list. */
  path: string;
  /** As HOCON text; secrets masked. */
  value: string;
  /** `nanomq.conf:12:3`, `environment NANOMQ_MSQ_LEN`, `command line` or `default`. */
  origin: string;
}

export interface Fitting<Output> {
  /** Absent when there are errors. */
  value: Output | undefined;
  errors: Problem[];
  warnings: Problem[];
  effective: Effective[];
}

export interface FitOptions {
  /** Dotted path of `tree`, for messages. */
  path?: string;
  /** Every key of the whole configuration, to find the home of one that stands in the wrong section. */
  allPaths?: readonly string[];
}

export function fitSchema<Output>(
  tree: HoconObject,
  schema: z.ZodType<Output>,
  { path = "", allPaths = [] }: FitOptions = {},
): Fitting<Output> {
  const walk = new Walk(allPaths);
  const input = walk.plain(tree, schema, path, "everything");
  const parsed = schema.safeParse(input);
  for (const issue of parsed.error?.issues ?? []) {
    if (!walk.problems.full) walk.issue(issue, tree, schema, path);
  }
  const { errors, warnings } = walk.problems;
  const { effective } = walk;
  return { value: errors.length === 0 ? parsed.data : undefined, errors, warnings, effective };
}

/** Dotted paths of all keys of a schema. */
export function keyPaths(schema: z.ZodType, path = ""): string[] {
  const facts = factsOf(schema);
  switch (facts.kind) {
    case "key":
      return [path];
    case "list":
      return keyPaths(facts.item, path);
    case "section": {
      const paths = Object.entries(facts.keys).flatMap(([name, inner]) => keyPaths(inner, below(path, name)));
      return facts.named ? [...paths, ...keyPaths(facts.named.schema, below(path, facts.named.label))] : paths;
    }
    default:
      return facts satisfies never;
  }
}

/** The items of a list are shown whole, and what is not supported has had its one warning. */
type Hearing = "everything" | "warnings" | "mistakes";

class Walk {
  readonly problems = new Problems();
  readonly effective: Effective[] = [];
  private readonly allPaths: readonly string[];

  constructor(allPaths: readonly string[]) {
    this.allPaths = allPaths;
  }

  /** What zod gets for `value`; on the way down it hears less and less. */
  plain(value: HoconValue, schema: z.ZodType, path: string, hears: Hearing): unknown {
    const facts = factsOf(schema);
    if (value.kind === "null") return undefined;
    if (value.kind === "broken") return facts.kind === "key" ? broken : undefined;
    let inside = hears;
    if (hears !== "mistakes" && facts.status !== "works") {
      inside = "mistakes";
      this.noteUnused(value, facts, path);
    }
    if (hears === "everything" && (inside === "mistakes" || facts.kind === "key")) this.show(value, facts, path);
    switch (facts.kind) {
      case "key":
        if (inside !== "mistakes") this.noteLaterValues(value, facts, path);
        return bare(value);
      case "section":
        if (value.kind === "object") return this.section(value, facts, path, inside);
        this.misplaced(value, path, "an object: `{ … }`");
        return undefined;
      case "list": {
        if (value.kind !== "list") {
          this.misplaced(value, path, "a list: `[ … ]`");
          return undefined;
        }
        return value.items.map((item) => {
          if (inside === "everything") this.show(item, facts, `${path} +`);
          return this.plain(item, facts.item, path, inside === "everything" ? "warnings" : inside) ?? {};
        });
      }
      default:
        return facts satisfies never;
    }
  }

  private section(object: HoconObject, facts: SectionFacts, path: string, inside: Hearing): Record<string, unknown> {
    const input: Record<string, unknown> = Object.create(null);
    const names = new Map(Object.keys(facts.keys).map((name) => [fold(name), name]));
    const named: [string, unknown][] = [];
    for (const [folded, { name, nameAt, value }] of object.fields) {
      const known = names.get(folded);
      if (known !== undefined) {
        const inner = this.plain(value, facts.keys[known]!, below(path, known), inside);
        if (inner !== undefined) input[known] = inner;
      } else if (facts.named !== undefined && isEntry(value, facts.named)) {
        const expected = facts.named.checkName(name);
        if (expected !== undefined) {
          const found = `\`${name.slice(0, 80)}\``;
          this.problems.error(nameAt, `${path} has an entry with a wrong name`, { found, expected });
        }
        named.push([name, this.plain(value, facts.named.schema, below(path, printKey(name)), inside) ?? {}]);
      } else if (facts.named === undefined || (value.kind !== "null" && value.kind !== "broken")) {
        this.unknownKey(name, nameAt, facts, path);
      }
    }
    if (inside === "everything") this.showDefaults(object, facts, path);
    if (named.length > 0) input[namedEntries] = named;
    return input;
  }

  private unknownKey(name: string, at: Position, facts: SectionFacts, path: string): void {
    if (this.problems.full) return;
    const shown = name.slice(0, 80);
    const expected = this.suggestion(name, facts, path);
    this.problems.error(at, `unknown key ${below(path, printKey(shown))}`, { found: `\`${shown}\``, expected });
  }

  /** What an unknown key was meant to be: a neighbour with a similar name, or a key of that name elsewhere. */
  private suggestion(name: string, facts: SectionFacts, path: string): string {
    const keys = Object.keys(facts.keys).filter((key) => factsOf(facts.keys[key]!).status !== "gone");
    const similar = nearest(name, keys);
    if (similar !== undefined) return `\`${below(path, similar)}\``;
    const elsewhere = this.allPaths.find((known) => known.endsWith(`.${name.toLowerCase()}`));
    if (elsewhere !== undefined) return `\`${elsewhere}\``;
    return `one of ${keys.join(", ")}`;
  }

  private misplaced(value: HoconValue, path: string, expected: string): void {
    this.problems.error(value.at, `${path} has a wrong value`, { found: foundText(masked(value, path)), expected });
  }

  private noteUnused(value: HoconValue, { status, note }: Facts, path: string): void {
    if (status === "gone") this.problems.error(value.at, `${path} is of an older form`, { expected: note });
    else {
      const what = status === "later" ? "read, not yet supported" : "read, has no effect here";
      this.problems.warn(value.at, `${path}: ${what}${note ? `: ${note}` : ""}`);
    }
  }

  private noteLaterValues(value: HoconValue, { laterValues, note }: KeyFacts, path: string): void {
    for (const item of value.kind === "list" ? value.items : [value]) {
      const word = wordOf(item);
      if (word === undefined || !laterValues.includes(word.toLowerCase())) continue;
      const what = `${path} = ${word}: read, not yet supported${note ? `: ${note}` : ""}`;
      this.problems.warn(item.at, what);
    }
  }

  private show(value: HoconValue, facts: Facts, path: string): void {
    const secret = facts.kind === "key" && facts.secret;
    this.effective.push({
      path,
      value: secret ? maskedText : print(masked(value, path)),
      origin: positionText(value.at),
    });
  }

  private showDefaults(object: HoconObject, { keys, inherits }: SectionFacts, path: string): void {
    if (inherits !== undefined) return;
    for (const [name, schema] of Object.entries(keys)) {
      const facts = factsOf(schema);
      const written = object.fields.get(fold(name))?.value;
      if ((written !== undefined && written.kind !== "null") || facts.status !== "works") continue;
      if (facts.kind === "key" && facts.default !== undefined) {
        this.effective.push({ path: below(path, name), value: facts.default, origin: "default" });
      } else if (facts.kind === "section") {
        this.showDefaults({ kind: "object", fields: new Map(), at: object.at }, facts, below(path, name));
      }
    }
  }

  /** What zod found wrong, at its place in the file. */
  issue(issue: z.core.$ZodIssue, tree: HoconObject, schema: z.ZodType, path: string): void {
    const place = locate(tree, schema, issue.path, path);
    if (place.value === undefined || place.value.kind === "null") {
      this.problems.error(place.near.at, `${place.path} is missing`, { expected: expectedOf(place.facts) });
    } else {
      const hidden = place.facts?.kind === "key" && place.facts.secret;
      this.problems.error(place.value.at, `${place.path} has a wrong value`, {
        found: hidden ? "a value that is not shown" : foundText(masked(place.value, place.path)),
        expected: issue.message,
      });
    }
  }
}

/** Beside the keys of a section only objects are entries with a name; where entries are plain values, all are. */
function isEntry({ kind }: HoconValue, { schema }: NamedEntries): boolean {
  return kind === "object" || (kind !== "null" && factsOf(schema).kind === "key");
}

interface Place {
  path: string;
  facts: Facts | undefined;
  value: HoconValue | undefined;
  /** The innermost value on the way that is there. */
  near: HoconValue;
}

/** Follows a zod path, in which named entries are pairs, through the file. */
function locate(tree: HoconObject, schema: z.ZodType, zodPath: readonly PropertyKey[], path: string): Place {
  const place: Place = { path, facts: factsOf(schema), value: tree, near: tree };
  const steps = [...zodPath];
  while (steps.length > 0 && place.facts !== undefined && place.value !== undefined) {
    const step = steps.shift();
    const { facts } = place;
    if (facts.kind === "section" && step === namedEntries && place.value.kind === "object") {
      const known = new Set(Object.keys(facts.keys).map(fold));
      const entries = [...place.value.fields].filter(
        ([folded, { value }]) => !known.has(folded) && facts.named !== undefined && isEntry(value, facts.named),
      );
      const entry = entries[Number(steps.shift())]?.[1];
      steps.shift();
      place.path = below(place.path, printKey(entry?.name ?? ""));
      place.facts = facts.named && factsOf(facts.named.schema);
      place.value = entry?.value;
    } else if (facts.kind === "section" && place.value.kind === "object") {
      place.path = below(place.path, String(step));
      place.facts = factsOf(facts.keys[String(step)]!);
      place.value = place.value.fields.get(fold(String(step)))?.value;
    } else if (facts.kind === "list" && place.value.kind === "list") {
      place.facts = factsOf(facts.item);
      place.value = place.value.items[Number(step)];
    } else break;
    place.near = place.value ?? place.near;
  }
  return place;
}

function expectedOf(facts: Facts | undefined): string | undefined {
  return facts?.kind === "key" ? facts.type : undefined;
}

/** A value as an error message quotes it. */
function foundText(value: HoconValue): string {
  switch (value.kind) {
    case "object":
      return "an object";
    case "list":
      return value.items.length === 0 ? "an empty list" : `a list of ${value.items.length}`;
    case "string":
      return JSON.stringify(value.text.length > 60 ? `${value.text.slice(0, 60)}…` : value.text);
    default:
      return print(value);
  }
}

/** Without positions: text for everything but true and false, because each key knows best how to read it. */
function bare(value: HoconValue): unknown {
  switch (value.kind) {
    case "string":
    case "number":
      return value.text;
    case "boolean":
      return value.value;
    case "null":
      return undefined;
    case "broken":
      return broken;
    case "list":
      return value.items.map(bare);
    case "object": {
      const object: Record<string, unknown> = Object.create(null);
      for (const { name, value: inner } of value.fields.values()) object[name] = bare(inner);
      return object;
    }
    default:
      return value satisfies never;
  }
}

function wordOf(value: HoconValue): string | undefined {
  if (value.kind === "string" || value.kind === "number") return value.text;
  return value.kind === "boolean" ? String(value.value) : undefined;
}

export function below(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
