/** The document that a run leaves behind: enough to know later what was compared, nothing of where. */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir, totalmem, type } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { SyncCost } from "./disk.ts";
import { peers, type PeerName } from "./peers/peers.ts";
import type { Measured, Row } from "./report.ts";
import type { Settings } from "./scenarios.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

interface Results {
  /** Undefined: `bench/results/`, named by the date. */
  file: string | undefined;
  peers: readonly PeerName[];
  settings: Settings;
  runs: number;
  pinned: boolean;
  /** The machine's load average before the first run. */
  load: number;
  /** Where brokers kept their files, and what a synced write cost there before the first run and after the last. */
  disk: string;
  sync: { before: SyncCost; after: SyncCost } | undefined;
  rows: readonly Row[];
  measured: readonly Measured[];
}

/** Returns the name of the file. */
export function writeResults(results: Results): string {
  const { file, peers: ran, settings, runs, pinned, load, disk, sync, rows, measured } = results;
  const date = new Date().toISOString();
  const document = {
    date,
    command: commandLine(),
    versions: Object.fromEntries([["node", process.version], ...ran.map((peer) => [peer, peers[peer].version()])]),
    machine: {
      cpu: cpus()[0]?.model,
      cores: cpus().length,
      memoryGib: Math.round(totalmem() / 2 ** 30),
      system: `${type()} ${release()}`,
      pinned,
      load,
      sync,
    },
    settings: { ...settings, runs },
    rows,
    measured,
  };
  const path = file ?? join(root, "bench", "results", `${date.slice(0, 16).replace("T", "-").replace(":", "")}.json`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${withoutPlaces(JSON.stringify(document, undefined, 1), disk)}\n`);
  return file ?? relative(root, path);
}

/** What was asked for, without the file to write to. */
function commandLine(): string {
  const asked = process.argv.slice(2);
  const kept = asked.filter((argument, i) => !argument.startsWith("--json") && asked[i - 1] !== "--json");
  return ["npm run bench", ...(kept.length > 0 ? ["--", ...kept] : [])].join(" ");
}

/** A broker's last words may name files of this machine. */
function withoutPlaces(text: string, disk: string): string {
  return text.replaceAll(root, "").replaceAll(disk, "").replaceAll(tmpdir(), "");
}
