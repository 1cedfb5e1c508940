/** What commands of a place say once they have ended. */
import assert from "node:assert/strict";
import type { Place } from "./place.ts";

export interface Said {
  code: number;
  lines: string[];
  complaints: string[];
}

export async function hookmq(place: Place, ...args: string[]): Promise<Said> {
  const program = place.hookmq(args);
  return { code: await program.exitCode(), lines: program.stdout, complaints: program.stderr };
}

/** Says it again until it is so. */
export async function saysInTheEnd(place: Place, args: string[], isSo: (said: Said) => boolean): Promise<Said> {
  let said: Said;
  const giveUpAt = performance.now() + 20_000;
  do said = await hookmq(place, ...args);
  while (!isSo(said) && performance.now() < giveUpAt);
  assert.ok(isSo(said), [...said.lines, ...said.complaints].join("\n"));
  return said;
}
