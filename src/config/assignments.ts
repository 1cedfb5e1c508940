/** Settings that come one by one (environment, command line, the older file format) as the tree a file would give. */
import type { HoconField, HoconObject, HoconValue, Position } from "../base/hocon/value.ts";
import { fold } from "../base/hocon/value.ts";

export interface Assignment {
  path: readonly string[];
  value: HoconValue;
}

/** The place of a setting whose source has no lines. */
export function placeOf(source: string): Position {
  return { file: source, line: 0, column: 0 };
}

/** A value that comes as bare text. */
export function scalar(text: string, at: Position): HoconValue {
  if (text === "true" || text === "false") return { kind: "boolean", value: text === "true", at };
  return { kind: /^-?\d+(?:\.\d+)?$/.test(text) ? "number" : "string", text, at };
}

/** Later ones win. */
export function assemble(assignments: readonly Assignment[], at: Position): HoconObject {
  const root: HoconObject = { kind: "object", fields: new Map(), at };
  for (const { path, value } of assignments) write(root, path, value);
  return root;
}

function write({ fields }: HoconObject, [name, ...rest]: readonly string[], value: HoconValue): void {
  const key = fold(name!);
  if (rest.length === 0) {
    fields.set(key, { name: name!, nameAt: value.at, value });
    return;
  }
  const inner: HoconValue | undefined = fields.get(key)?.value;
  const object: HoconObject = inner?.kind === "object" ? inner : { kind: "object", fields: new Map(), at: value.at };
  const field: HoconField = { name: name!, nameAt: value.at, value: object };
  fields.set(key, field);
  write(object, rest, value);
}
