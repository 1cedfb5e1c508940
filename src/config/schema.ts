/**
 * What a configuration section is made of. Each key is a zod schema with facts beside it: its type in words, default,
 * meaning and how far we support it. `fit.ts` walks the facts along a file, `tools/configuration-reference.ts` along the
 * documentation.
 */
import { z } from "zod";
import { assert } from "../base/assert.ts";

/**
 * `works`; `later`: read, not yet supported; `idle`: of the original, and without a meaning here; `gone`: an older form
 * that is refused, with what to write instead.
 */
export type Status = "works" | "later" | "idle" | "gone";

export interface KeyFacts {
  kind: "key";
  /** In words, for the reference and for "expected". */
  type: string;
  /** As it would be written; absent: none. */
  default: string | undefined;
  required: boolean;
  meaning: string;
  status: Status;
  /** Completes a warning: what follows from the status. */
  note: string | undefined;
  /** Values that are known and not yet supported. */
  laterValues: readonly string[];
  /** Never shown. */
  secret: boolean;
}

export interface SectionFacts {
  kind: "section";
  meaning: string;
  status: Status;
  note: string | undefined;
  keys: Readonly<Record<string, z.ZodType>>;
  /** Entries with names of the operator's choice, beside the keys. */
  named: NamedEntries | undefined;
  /** The section that has the same keys and gives what is left out here. */
  inherits: string | undefined;
}

export interface NamedEntries<Schema extends z.ZodType = z.ZodType> {
  label: string;
  /** What a name has to be, when it is not. */
  checkName(name: string): string | undefined;
  schema: Schema;
}

interface ListFacts {
  kind: "list";
  meaning: string;
  status: Status;
  note: string | undefined;
  item: z.ZodType;
}

export type Facts = KeyFacts | SectionFacts | ListFacts;

const factsBeside = new WeakMap<z.ZodType, Facts>();

export function factsOf(schema: z.ZodType): Facts {
  const facts = factsBeside.get(schema);
  assert(facts !== undefined, "every schema of the configuration has its facts");
  return facts;
}

/** Turns what a file holds into a value, or says what it expected. */
export interface ValueType<Value> {
  type: string;
  read(input: unknown): { value: Value } | { expected: string };
}

interface KeyNotes {
  meaning: string;
  status?: Status;
  note?: string;
  laterValues?: readonly string[];
  secret?: boolean;
}

/** Stands in for a value with a mistake that has been reported already. */
export const broken: unique symbol = Symbol("broken");

/** A key with a default, which is written as in a file. */
export function key<Value>(type: ValueType<Value>, notes: KeyNotes & { default: string | readonly string[] }) {
  const reading = type.read(notes.default);
  assert("value" in reading, `the default of a key is valid: ${notes.default}`);
  const written = typeof notes.default === "string" ? notes.default : `[${notes.default.join(", ")}]`;
  const schema = leaf(type).default(() => reading.value as never) as unknown as z.ZodType<Value>;
  return described(schema, type, { ...notes, default: written }, false);
}

/** A key that may be left out, and then means nothing. */
export function optional<Value>(type: ValueType<Value>, notes: KeyNotes) {
  return described(leaf(type).optional() as z.ZodType<Value | undefined>, type, notes, false);
}

export function required<Value>(type: ValueType<Value>, notes: KeyNotes) {
  return described(leaf(type), type, notes, true);
}

/** A key that is checked and otherwise left alone: of a feature not built, or one of the original's without a meaning here. */
export function unused(status: "later" | "idle", type: ValueType<unknown>, meaning: string, note?: string) {
  return optional(type, { meaning, status, note });
}

/** An older form, refused with what to write instead. */
export function gone(instead: string) {
  return optional(
    { type: "older form", read: () => ({ value: undefined }) },
    { meaning: `Refused: ${instead}.`, status: "gone", note: instead },
  );
}

interface SectionNotes {
  meaning: string;
  status?: Status;
  note?: string;
  inherits?: string;
}

const sectionDefaults = { status: "works", note: undefined, named: undefined, inherits: undefined } as const;

export function section<Shape extends Record<string, z.ZodType>>(keys: Shape, notes: SectionNotes) {
  const schema = z.object(keys).prefault({} as never);
  factsBeside.set(schema, { kind: "section", ...sectionDefaults, ...notes, keys });
  return schema;
}

/** The entries with names of their own, in the output of a section that has them: pairs, so that any name is safe. */
export const namedEntries = "*";

export function sectionWithNamed<Shape extends Record<string, z.ZodType>, Named extends z.ZodType>(
  keys: Shape,
  { named, ...notes }: SectionNotes & { named: NamedEntries<Named> },
) {
  const pairs = z.array(z.tuple([z.string(), named.schema])).prefault([]);
  const schema = z.object({ ...keys, [namedEntries]: pairs } as Shape & { "*": typeof pairs }).prefault({} as never);
  factsBeside.set(schema, { kind: "section", ...sectionDefaults, ...notes, keys, named });
  return schema;
}

/** The name of a listener or endpoint: it appears in logs, metrics and addresses. */
export function entryName(name: string): string | undefined {
  return /^[\w.-]{1,64}$/.test(name) ? undefined : "a name of 1 to 64 letters, digits, `_`, `.` and `-`";
}

export function list<Item extends z.ZodType>(item: Item, notes: SectionNotes) {
  const schema = z.array(item).prefault([]);
  factsBeside.set(schema, { kind: "list", status: "works", note: undefined, ...notes, item });
  return schema;
}

function leaf<Value>(type: ValueType<Value>): z.ZodType<Value> {
  return z.unknown().transform((input, context) => {
    if (input === broken) return z.NEVER;
    const reading = type.read(input);
    if ("value" in reading) return reading.value;
    context.issues.push({ code: "custom", message: reading.expected, input });
    return z.NEVER;
  });
}

function described<Value>(
  schema: z.ZodType<Value>,
  { type }: ValueType<unknown>,
  {
    meaning,
    status = "works",
    note,
    laterValues = [],
    secret = false,
    default: written,
  }: KeyNotes & { default?: string },
  isRequired: boolean,
): z.ZodType<Value> {
  factsBeside.set(schema, {
    kind: "key",
    type,
    default: written,
    required: isRequired,
    meaning,
    status,
    note,
    laterValues,
    secret,
  });
  return schema;
}
