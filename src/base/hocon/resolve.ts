/**
 * The syntax tree to the tree of values: layers of a key merged, substitutions replaced. A field is worked out when it is
 * first asked for and remembered, so the order in the file does not matter.
 */
import { nestingMax, pastedMax, resolvingMax } from "./limits.ts";
import type { Problems } from "./problems.ts";
import type { Append, Concatenation, FieldSyntax, ListSyntax, ObjectSyntax, Substitution, Syntax } from "./syntax.ts";
import type { HoconField, HoconList, HoconObject, HoconScalar, HoconValue, Position } from "./value.ts";
import { fold, overlay } from "./value.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export function resolve(root: ObjectSyntax, env: Environment, problems: Problems): HoconObject {
  return new Resolver(root, env, problems).object(root, 0);
}

/** `undefined` is "not there": an optional substitution without a value. */
type Resolved = HoconValue | undefined;

class Resolver {
  private readonly root: ObjectSyntax;
  private readonly env: Environment;
  private readonly problems: Problems;
  private readonly finished = new Map<FieldSyntax, Resolved>();
  /** Fields being worked out, with the layer they are at: a substitution that comes back here sees what lies below. */
  private readonly layerInWork = new Map<FieldSyntax, number>();
  private resolving = 0;
  private pasted = 0;

  constructor(root: ObjectSyntax, env: Environment, problems: Problems) {
    this.root = root;
    this.env = env;
    this.problems = problems;
  }

  object(syntax: ObjectSyntax, nesting: number): HoconObject {
    const fields = new Map<string, HoconField>();
    for (const [key, field] of syntax.fields) {
      const value = this.field(field, nesting + 1);
      if (value !== undefined) fields.set(key, { name: field.name, nameAt: field.nameAt, value });
    }
    return { kind: "object", fields, at: syntax.at };
  }

  private field(field: FieldSyntax, nesting: number): Resolved {
    if (this.finished.has(field)) return this.finished.get(field);
    const value = this.layers(field, field.layers.length, nesting);
    this.finished.set(field, value);
    return value;
  }

  /** What the layers below `end` add up to. */
  private layers(field: FieldSyntax, end: number, nesting: number): Resolved {
    const outerLayer = this.layerInWork.get(field);
    let upper: HoconObject | undefined;
    let result: Resolved;
    for (let index = end - 1; index >= 0; index--) {
      this.layerInWork.set(field, index);
      const value = this.layer(field, index, nesting);
      if (value === undefined) continue;
      if (value.kind !== "object") {
        result = upper ?? value;
        break;
      }
      upper = upper === undefined ? value : overlay(value, upper);
      result = upper;
    }
    if (outerLayer === undefined) this.layerInWork.delete(field);
    else this.layerInWork.set(field, outerLayer);
    return result;
  }

  private layer(field: FieldSyntax, index: number, nesting: number): Resolved {
    const layer = field.layers[index]!;
    if (layer.kind !== "append") return this.value(layer, nesting);
    const { items } = this.list(layer, nesting);
    const list = this.layers(field, index, nesting);
    if (list === undefined || list.kind === "null") return { kind: "list", items, at: layer.at };
    if (list.kind === "list") return { kind: "list", items: [...list.items, ...items], at: list.at };
    if (list.kind !== "broken") {
      this.problems.error(layer.at, `${field.name} += … needs a list to add to`, {
        found: kindText(list),
        expected: "a list",
      });
    }
    return { kind: "broken", at: layer.at };
  }

  private value(syntax: Syntax, nesting: number): Resolved {
    if (this.resolving >= resolvingMax) {
      this.problems.error(syntax.at, "substitutions lead into each other too deeply", {
        expected: `at most ${resolvingMax} levels`,
      });
      return { kind: "broken", at: syntax.at };
    }
    this.resolving++;
    const value = this.valueWithin(syntax, nesting);
    this.resolving--;
    return value;
  }

  private valueWithin(syntax: Syntax, nesting: number): Resolved {
    switch (syntax.kind) {
      case "object":
        return this.object(syntax, nesting);
      case "list":
        return this.list(syntax, nesting);
      case "substitution":
        return this.substitution(syntax, nesting);
      case "concatenation":
        return this.concatenation(syntax, nesting);
      case "append":
        throw new Error("an append stands only as a layer of a field");
      default:
        return syntax;
    }
  }

  private list({ items, at }: ListSyntax | Append, nesting: number): HoconList {
    const values = items.map((item) => this.value(item, nesting + 1)).filter((item) => item !== undefined);
    return { kind: "list", items: values, at };
  }

  private substitution({ path, optional, scope, at }: Substitution, nesting: number): Resolved {
    if (this.pasted > pastedMax) return { kind: "broken", at };
    const found = this.lookUpFrom(scope, path) ?? this.environmentValue(path, at);
    if (found === "cycle") {
      if (optional) return undefined;
      this.problems.error(at, `\${${path.join(".")}} leads back to itself`, {
        expected: "a substitution that ends in a value",
      });
      return { kind: "broken", at };
    }
    if (found !== undefined && found.kind !== "null") return this.paste(found, at, nesting);
    if (optional) return undefined;
    this.problems.error(at, `\${${path.join(".")}} has no value`, {
      expected: `a key or an environment variable of that name, or \${?${path.join(".")}}`,
    });
    return { kind: "broken", at };
  }

  /** From where the file was included, then from the root. */
  private lookUpFrom(scope: readonly string[], path: readonly string[]): HoconValue | "cycle" | undefined {
    const scoped = scope.length > 0 ? this.lookUp([...scope, ...path]) : undefined;
    return scoped === undefined || scoped === "cycle" ? (this.lookUp(path) ?? scoped) : scoped;
  }

  private lookUp([name, ...rest]: readonly string[], object = this.root): HoconValue | "cycle" | undefined {
    const field = object.fields.get(fold(name!));
    if (field === undefined) return undefined;
    const only = field.layers.length === 1 ? field.layers[0]! : undefined;
    // Inside one plain object only the field that is asked for is worked out: its siblings may refer to each other.
    if (rest.length > 0 && only?.kind === "object") return this.lookUp(rest, only);
    const value = this.fieldSeenFrom(field);
    return value === "cycle" || value === undefined ? value : within(value, rest);
  }

  private fieldSeenFrom(field: FieldSyntax): HoconValue | "cycle" | undefined {
    const inWork = this.layerInWork.get(field);
    if (inWork === undefined) return this.field(field, 0);
    // `path = ${path}":/opt"` means what was written before.
    return inWork === 0 ? "cycle" : this.layers(field, inWork, 0);
  }

  private environmentValue(path: readonly string[], at: Position): HoconValue | undefined {
    const name = path.join(".");
    const text = Object.hasOwn(this.env, name) ? this.env[name] : undefined;
    return text === undefined ? undefined : { kind: "string", text, at };
  }

  /** A value found elsewhere, to stand here: bounded, or ten lines could name a billion values. */
  private paste(value: HoconValue, at: Position, nesting: number): HoconValue {
    const allowance = pastedMax - this.pasted;
    const { weight, depth } = measure(value, allowance);
    this.pasted += weight;
    if (weight > allowance) {
      if (allowance >= 0)
        this.problems.error(at, "the substitutions of this file add up to too much", {
          expected: `at most ${pastedMax} values and characters`,
        });
      return { kind: "broken", at };
    }
    if (nesting + depth > nestingMax) {
      this.problems.error(at, "nested too deeply", { expected: `at most ${nestingMax} levels` });
      return { kind: "broken", at };
    }
    return { ...value, at };
  }

  private concatenation({ parts, at }: Concatenation, nesting: number): Resolved {
    const values = parts.map((part) => this.value(part, nesting)).filter((value) => value !== undefined);
    if (values.some(({ kind }) => kind === "broken")) return { kind: "broken", at };
    const structured = values.filter(({ kind }) => kind === "object" || kind === "list");
    if (structured.length === 0) {
      // `${?UNSET}` alone is not there; beside text it is empty.
      if (values.length === 0) return undefined;
      return { kind: "string", text: values.map(scalarText).join("").trim(), at };
    }
    // White space between `${base}` and `{ … }` only separates them.
    const meant = values.filter((value) => !(value.kind === "string" && value.text.trim() === ""));
    const first = meant[0]!;
    for (const value of meant) {
      if (value.kind === first.kind) continue;
      this.problems.error(value.at, `${kindText(first)} and ${kindText(value)} cannot become one value`, {
        expected: 'text in quotes ("…"), or a comma between two values',
      });
      return { kind: "broken", at };
    }
    const objects = meant.filter((value) => value.kind === "object");
    if (objects.length > 0) return objects.reduce(overlay);
    return { kind: "list", items: meant.flatMap((value) => (value.kind === "list" ? value.items : [])), at };
  }
}

function within(value: HoconValue, path: readonly string[]): HoconValue | undefined {
  let inner: HoconValue | undefined = value;
  for (const name of path) {
    if (inner?.kind === "broken") break;
    inner = inner?.kind === "object" ? inner.fields.get(fold(name))?.value : undefined;
  }
  return inner;
}

/** How much a value weighs, in values and characters, and how deep it goes; weighing stops beyond `weightMax`. */
function measure(value: HoconValue, weightMax: number): { weight: number; depth: number } {
  let weight = 0;
  let depth = 0;
  const waiting: { value: HoconValue; level: number }[] = [{ value, level: 0 }];
  while (weight <= weightMax) {
    const next = waiting.pop();
    if (next === undefined) break;
    depth = Math.max(depth, next.level);
    weight += 1 + (next.value.kind === "string" ? next.value.text.length : 0);
    const children =
      next.value.kind === "object"
        ? [...next.value.fields.values()].map((field) => field.value)
        : next.value.kind === "list"
          ? next.value.items
          : [];
    for (const child of children) waiting.push({ value: child, level: next.level + 1 });
  }
  return { weight, depth };
}

function scalarText(value: HoconValue): string {
  switch (value.kind) {
    case "string":
    case "number":
      return value.text;
    case "boolean":
      return String(value.value);
    default:
      return "null";
  }
}

/** In words, for messages. */
function kindText(value: HoconValue): string {
  const words: Record<HoconScalar["kind"] | "object" | "list", string> = {
    object: "an object",
    list: "a list",
    string: "text",
    number: "a number",
    boolean: "true or false",
    null: "null",
    broken: "a value with a mistake",
  };
  return words[value.kind];
}
