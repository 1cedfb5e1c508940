/** Primary result codes of SQLite that we tell apart. https://sqlite.org/rescode.html */
export const SqliteCode = {
  busy: 5,
  outOfMemory: 7,
  readOnly: 8,
  inputOutput: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
} as const;

const outside = new Set<number | undefined>(Object.values(SqliteCode));

/** Of what `node:sqlite` has thrown; `undefined` for anything else. */
export function sqliteCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return undefined;
  // The upper bits say more, and differ between systems.
  return error.errcode & 0xff;
}

/** What the file says cannot be: no retry mends that. */
export function isDamage(error: unknown): boolean {
  const code = sqliteCodeOf(error);
  return code === SqliteCode.corrupt || code === SqliteCode.notADatabase;
}

/** The disk, the file or the machine are to blame, and not what was to be written. */
export function isOutsideFailure(error: unknown): boolean {
  return outside.has(sqliteCodeOf(error));
}
