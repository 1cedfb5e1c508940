import { readFileSync } from "node:fs";

// The same two steps up from `src/cli/` and from `dist/cli/`.
const manifest: { version: string } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

/** Of this program, as its package says. */
export const { version } = manifest;
