/** What `hookmq check` and error reports must not show, also where no schema knows of it: by the name of the key. */
import type { HoconField, HoconValue } from "../base/hocon/value.ts";

export const maskedText = '"********"';

const secretName = /pass(?:word|wd|phrase)?$|secrets?$|token$|authorization$|cookie$|bearer$|api-?_?key$|^key$|login$/i;

/** `value` with everything secret in it replaced. */
export function masked(value: HoconValue, path: string): HoconValue {
  const name = path.slice(path.lastIndexOf(".") + 1).replaceAll('"', "");
  if (secretName.test(name)) return { kind: "string", text: "********", at: value.at };
  switch (value.kind) {
    case "string":
      return { ...value, text: withoutUserInfo(value.text) };
    case "list":
      return { ...value, items: value.items.map((item) => masked(item, path)) };
    case "object": {
      const fields = new Map<string, HoconField>();
      for (const [key, field] of value.fields) {
        fields.set(key, { ...field, value: masked(field.value, field.name) });
      }
      return { ...value, fields };
    }
    default:
      return value;
  }
}

/** A line of a file as it may be shown beside a mistake. */
export function maskedLine(line: string): string {
  const shown = line.replace(
    /([\w.-]+)("?\s*[=:]\s*)(\[[^\]]*\]?|"(?:[^"\\]|\\.)*"?|[^\s,}\]]+)/g,
    (setting, key, sign) => (secretName.test(key.slice(key.lastIndexOf(".") + 1)) ? `${key}${sign}********` : setting),
  );
  // Items of a list may stand on lines of their own; these say themselves what they are.
  return withoutUserInfo(shown.replace(/\bwh(?:sec|sk)_[^\s",\]}]+/g, "********"));
}

/** An address as it may be shown: without a password, and without what its query calls a secret. */
export function maskedUrl(url: string): string {
  return withoutUserInfo(url).replace(/([?&])([^=&#]+)=([^&#]*)/g, (parameter, sign, name) =>
    secretName.test(name) ? `${sign}${name}=********` : parameter,
  );
}

/** `http://user:password@host` without the password. */
function withoutUserInfo(text: string): string {
  return text.replace(/(:\/\/[^\s/:@"]*):[^\s/@"]*@/g, "$1:********@");
}
