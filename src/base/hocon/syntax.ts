/** A file as parsed, before substitutions: the same tree as `value.ts`, with every layer that was written for a key. */
import type { HoconScalar, Position } from "./value.ts";
import { fold } from "./value.ts";

export type Syntax = HoconScalar | ObjectSyntax | ListSyntax | Substitution | Concatenation | Append;

export interface ObjectSyntax {
  readonly kind: "object";
  readonly fields: Map<string, FieldSyntax>;
  readonly at: Position;
}

export interface FieldSyntax {
  name: string;
  nameAt: Position;
  /** In the order written: a later one wins, objects merge, substitutions may look at the ones below them. */
  layers: Syntax[];
}

export interface ListSyntax {
  readonly kind: "list";
  readonly items: readonly Syntax[];
  readonly at: Position;
}

/** `${path}` or `${?path}`. */
export interface Substitution {
  readonly kind: "substitution";
  readonly path: readonly string[];
  readonly optional: boolean;
  /** Where the file was included: its paths are looked up from there first, then from the root. */
  readonly scope: readonly string[];
  readonly at: Position;
}

/** Parts that stand side by side and become one string, list or object. */
export interface Concatenation {
  readonly kind: "concatenation";
  readonly parts: readonly Syntax[];
  readonly at: Position;
}

/** `key += item`; several in a row are one layer. */
export interface Append {
  readonly kind: "append";
  readonly items: Syntax[];
  readonly at: Position;
}

export function emptyObject(at: Position): ObjectSyntax {
  return { kind: "object", fields: new Map(), at };
}

/** Writes one more layer for a field. */
export function addLayer(object: ObjectSyntax, name: string, nameAt: Position, layer: Syntax): void {
  const field = object.fields.get(fold(name));
  if (field === undefined) {
    object.fields.set(fold(name), { name, nameAt, layers: [layer] });
    return;
  }
  field.name = name;
  field.nameAt = nameAt;
  const last = field.layers.at(-1);
  if (layer.kind === "object" && last?.kind === "object") mergeInto(last, layer);
  else if (layer.kind === "append" && last?.kind === "append") last.items.push(...layer.items);
  // A plain value hides all that was written before it.
  else if (isPlain(layer)) field.layers = [layer];
  else field.layers.push(layer);
}

/** Writes all of `addition` into `object`, as if it stood there. */
export function mergeInto(object: ObjectSyntax, addition: ObjectSyntax): void {
  for (const { name, nameAt, layers } of addition.fields.values()) {
    for (const layer of layers) addLayer(object, name, nameAt, layer);
  }
}

function isPlain(layer: Syntax): boolean {
  switch (layer.kind) {
    case "string":
    case "number":
    case "boolean":
    case "null":
    case "broken":
      return true;
    case "object":
    case "list":
    case "substitution":
    case "concatenation":
    case "append":
      return false;
    default:
      return layer satisfies never;
  }
}
