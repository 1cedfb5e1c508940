import { readFileSync, statSync } from "node:fs";
import { fileBytesMax } from "./limits.ts";

/** A file's text, or why there is none. */
type FileReading =
  | { outcome: "text"; text: string }
  | { outcome: "missing" }
  | { outcome: "unreadable"; because: string };

/** The file system as the configuration sees it; tests hand in their own. */
export interface Files {
  read(path: string): FileReading;
}

export const diskFiles: Files = {
  read(path) {
    try {
      const facts = statSync(path);
      if (!facts.isFile()) return { outcome: "unreadable", because: "it is not a regular file" };
      if (facts.size > fileBytesMax) return { outcome: "unreadable", because: tooLarge };
      return textOf(readFileSync(path));
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return { outcome: "missing" };
      return { outcome: "unreadable", because: code === "EACCES" ? "permission denied" : message };
    }
  },
};

const tooLarge = `it is larger than ${fileBytesMax / 1024 / 1024} MB`;

function textOf(bytes: Uint8Array): FileReading {
  // It may have grown since it was measured.
  if (bytes.length > fileBytesMax) return { outcome: "unreadable", because: tooLarge };
  try {
    return { outcome: "text", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { outcome: "unreadable", because: "it is not UTF-8 text" };
  }
}
