import type { Files } from "./files.ts";

/** A file system for tests: texts by absolute path. */
export function memoryFiles(texts: Readonly<Record<string, string>>): Files {
  return {
    read(path) {
      const text = Object.hasOwn(texts, path) ? texts[path] : undefined;
      return text === undefined ? { outcome: "missing" } : { outcome: "text", text };
    },
  };
}
