/**
 * What a HOCON file says, as a tree in which every value knows where it was written. Fields are kept in Maps, so a key
 * like `__proto__` or `constructor` is a key like any other.
 */

export interface Position {
  /** The file, or another name of the source: `command line`, `environment HOOKMQ_LOG_LEVEL`. */
  readonly file: string;
  /** From 1; 0 in a source that has no lines. */
  readonly line: number;
  /** From 1, in UTF-16 units, as editors count. */
  readonly column: number;
}

export type HoconValue = HoconObject | HoconList | HoconScalar;

export interface HoconObject {
  readonly kind: "object";
  /** By folded name, in the order of first mention. */
  readonly fields: Map<string, HoconField>;
  readonly at: Position;
}

export interface HoconField {
  /** As written last. */
  readonly name: string;
  readonly nameAt: Position;
  readonly value: HoconValue;
}

export interface HoconList {
  readonly kind: "list";
  readonly items: readonly HoconValue[];
  readonly at: Position;
}

export type HoconScalar =
  | { readonly kind: "string"; readonly text: string; readonly at: Position }
  /** `text` is the number as written: `1.50` and 20-digit numbers survive where text is wanted. */
  | { readonly kind: "number"; readonly text: string; readonly at: Position }
  | { readonly kind: "boolean"; readonly value: boolean; readonly at: Position }
  | { readonly kind: "null"; readonly at: Position }
  /** A value with a mistake in it, which stands among the errors already. */
  | { readonly kind: "broken"; readonly at: Position };

/** One mistake or doubt in a configuration, with what an operator needs to mend it. */
export interface Problem {
  readonly at: Position;
  /** `webhook.pool_size is not a number`. */
  readonly what: string;
  readonly found?: string;
  readonly expected?: string;
}

/** Keys match without regard to case. */
export function fold(name: string): string {
  return name.toLowerCase();
}

/** `nanomq.conf:12:3`, or the source's name alone. */
export function positionText({ file, line, column }: Position): string {
  return line === 0 ? file : `${file}:${line}:${column}`;
}

/** `upper` laid over `lower`: objects merge field by field, anything else of `upper` wins. */
export function overlay(lower: HoconObject, upper: HoconObject): HoconObject {
  const fields = new Map(lower.fields);
  for (const [key, field] of upper.fields) {
    const below = fields.get(key)?.value;
    const merges = below?.kind === "object" && field.value.kind === "object";
    fields.set(key, merges ? { ...field, value: overlay(below, field.value) } : field);
  }
  return { kind: "object", fields, at: upper.at };
}

/** The value at a path of field names and list indexes. */
export function valueAt(root: HoconValue, path: readonly (string | number)[]): HoconValue | undefined {
  let value: HoconValue | undefined = root;
  for (const part of path) {
    if (value?.kind === "object") value = value.fields.get(fold(String(part)))?.value;
    else if (value?.kind === "list" && typeof part === "number") value = value.items[part];
    else return undefined;
  }
  return value;
}
