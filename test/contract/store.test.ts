import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openDataFolder } from "../../src/store/data-folder.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { SqliteStore } from "../../src/store/sqlite.ts";
import { storeContract } from "./store-contract.ts";

let root: string;
let stores = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), "hookmq-contract-"));
});
afterAll(() => rmSync(root, { recursive: true }));

storeContract("memory", async () => new MemoryStore());

for (const sync of ["commit", "interval", "none"] as const) {
  storeContract(`sqlite (sync ${sync})`, async () => {
    const folder = openDataFolder(path.join(root, `${++stores}`));
    return new SqliteStore({ folder, sync, clock: systemClock, log: silentLogger });
  });
}
