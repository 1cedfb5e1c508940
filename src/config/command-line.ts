import type { HoconValue } from "../base/hocon/value.ts";
import type { Assignment } from "./assignments.ts";
import { placeOf, scalar } from "./assignments.ts";
import { listenerOfUrl } from "./broker-url.ts";

/** What the command line sets, by dotted path: `{ "log.level": "info" }`. Flags that were not given are left out. */
export type Overrides = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** What one `--url` sets; the second and further ones of a kind get names of their own. */
export function overridesOfUrls(urls: readonly string[]): Record<string, string> {
  const overrides: Record<string, string> = {};
  for (const url of urls) {
    const { listener, bind } = listenerOfUrl(url) ?? { listener: "tcp", bind: url };
    let path = `listeners.${listener}.bind`;
    for (let number = 2; path in overrides; number++) path = `listeners.${listener}.url${number}.bind`;
    overrides[path] = bind;
  }
  return overrides;
}

export function commandLineAssignments(overrides: Overrides): Assignment[] {
  return Object.entries(overrides).flatMap(([path, value]) =>
    value === undefined ? [] : [{ path: path.split("."), value: hoconOf(value) }],
  );
}

function hoconOf(value: string | number | boolean | readonly string[]): HoconValue {
  const at = placeOf("command line");
  if (typeof value === "boolean") return { kind: "boolean", value, at };
  if (typeof value === "object") return { kind: "list", items: value.map((text) => scalar(text, at)), at };
  return scalar(String(value), at);
}
