import type { HoconObject, HoconValue } from "./value.ts";

/** A value as HOCON text that reads back as the same value. */
export function print(value: HoconValue): string {
  switch (value.kind) {
    case "object":
      return value.fields.size === 0 ? "{}" : `{ ${printFields(value).join(", ")} }`;
    case "list":
      return value.items.length === 0 ? "[]" : `[${value.items.map(print).join(", ")}]`;
    case "string":
      return printText(value.text);
    case "number":
      return value.text;
    case "boolean":
      return String(value.value);
    case "null":
    case "broken":
      return "null";
    default:
      return value satisfies never;
  }
}

export function printKey(name: string): string {
  return /^[\w@*-]+$/.test(name) && name.toLowerCase() !== "include" ? name : printText(name);
}

/** Simple words and amounts stay bare, as people write them. */
function printText(text: string): string {
  if (/^(?!(?:true|false|null)$)[a-z][\w-]*$|^\d+(?:[a-z]+|[KMG]?B)$/i.test(text)) return text;
  // `"${?…}"` alone would be a substitution.
  return JSON.stringify(text).replace(/^"\$\{\?/, '"\\u0024{?');
}

function printFields({ fields }: HoconObject): string[] {
  return [...fields.values()].map(({ name, value }) => `${printKey(name)} = ${print(value)}`);
}
