/** `npm run bench`: every scenario on every broker, one broker at a time, the runs of the brokers taking turns. */
import { loadavg } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { runBacklog } from "./backlog.ts";
import { diskFolder, isOnDisk, measureSync, type SyncCost } from "./disk.ts";
import type { Job, LoadResult } from "./load/job.ts";
import type { Qos } from "./load/packets.ts";
import { payloadBytesMin } from "./load/stamp.ts";
import { onDisk, ours, peerNames, peers, type PeerName } from "./peers/peers.ts";
import { canPin, freePort, generate, startBroker } from "./peers/processes.ts";
import { headlineOf, rowsOf, tablesOf, type Measured } from "./report.ts";
import { writeResults } from "./results.ts";
import { peersFor, scenarios, type Cell, type Scenario, type Settings } from "./scenarios.ts";

interface Options {
  scenario?: string[];
  qos: Qos[];
  payload?: number[];
  runs?: number;
  seconds?: number;
  peers?: PeerName[];
  backlog?: number;
  disk?: string;
  quick?: true;
  list?: true;
  json?: string;
}

/** What else runs on the machine before we begin takes from broker and generator alike. */
const loadMax = 0.5;
/** Longer ones would not fit into what the generator keeps of a packet that was cut off. */
const payloadBytesMax = 32 * 1024;

// A broker that was started is stopped with us (see processes.ts), however we end.
process.on("SIGINT", () => process.exit(130));
process.on("SIGTERM", () => process.exit(143));

const options = commandLine().parse().opts<Options>();
if (options.list) {
  for (const { name, says } of scenarios) process.stdout.write(`${name.padEnd(16)}${says}\n`);
} else {
  process.exitCode = await bench(options);
}

/** Exit code 1 when a run of HookMQ failed: lost something, or did not come about. */
async function bench(options: Options): Promise<number> {
  const settings: Settings = {
    qos: options.qos,
    payloadBytes: options.payload ?? (options.quick ? [256] : [16, 256, 1024]),
    seconds: options.seconds ?? (options.quick ? 0.8 : 1),
    warmupSeconds: options.quick ? 0.5 : 0.7,
    connections: options.quick ? 2_000 : 10_000,
    awayMessages: options.quick ? 50_000 : 100_000,
    queuedMessages: options.quick ? 10_000 : 100_000,
    backlogEvents: options.backlog ?? (options.quick ? 50_000 : 1_000_000),
  };
  const runsByDefault = options.quick ? 1 : 3;
  const pinned = canPin();
  if (!pinned)
    say("not pinned: that needs taskset and two cores. Broker and load share cores; expect little of the ratios.");
  const [load] = loadavg();
  if (load > loadMax) say(`the machine is busy (load average ${load.toFixed(1)}): measure again when it is not.`);

  const selected = chosen(options);
  const disk = options.disk ?? diskFolder();
  const writes = selected.some(([, peers]) => peers.some((peer) => onDisk.includes(peer)));
  if (writes && !isOnDisk(disk)) say(`${disk} is no disk but memory: expect nothing of the durable figures.`);
  const syncBefore = writes ? measureSync(disk) : undefined;

  const measured: Measured[] = [];
  for (const [scenario, peers] of selected) {
    const cells = scenario.cells(settings);
    const runs = options.runs ?? (options.quick ? runsByDefault : (scenario.runs ?? runsByDefault));
    for (const [index, cell] of cells.entries()) {
      const title = `${scenario.name} ${index + 1}/${cells.length}`;
      const among = peers.filter((peer) => cell.peers?.includes(peer) ?? true);
      if (among.length === 0) continue;
      const place = { pinned, disk };
      measured.push({
        scenario: scenario.name,
        cell,
        runs: await measure({ title, cell, peers: among, runs, place }),
      });
    }
  }

  const ran = peerNames.filter((peer) => measured.some(({ runs }) => runs[peer] !== undefined));
  const rows = measured.flatMap(rowsOf);
  process.stdout.write(`${tablesOf(measured)}\n`);
  const sync = syncBefore && { before: syncBefore, after: measureSync(disk) };
  if (sync !== undefined) process.stdout.write(`\n${syncLine(sync)}\n`);
  const runs = options.runs ?? runsByDefault;
  const file = writeResults({
    file: options.json,
    peers: ran,
    settings,
    runs,
    pinned,
    load,
    disk,
    sync,
    rows,
    measured,
  });
  say(`written to ${file}`);
  const failed = measured.some(({ runs }) =>
    ours.some((peer) => runs[peer]?.some(({ failure }) => failure !== undefined)),
  );
  return failed ? 1 : 0;
}

/** The scenarios to run, each with those of its peers that were asked for and are there. */
function chosen(options: Options): [Scenario, readonly PeerName[]][] {
  const wanted = scenarios
    .filter(({ name, onRequest }) => options.scenario?.includes(name) ?? !onRequest)
    .map((scenario): [Scenario, readonly PeerName[]] => [scenario, peersFor(scenario, options.peers)]);
  const missing = new Set(
    peerNames.filter((name) => {
      if (!wanted.some(([, peers]) => peers.includes(name))) return false;
      const reason = peers[name].missing();
      if (reason !== undefined) say(`${name} is left out: ${reason}`);
      return reason !== undefined;
    }),
  );
  return wanted
    .map(([scenario, peers]): [Scenario, readonly PeerName[]] => [scenario, peers.filter((peer) => !missing.has(peer))])
    .filter(([, peers]) => peers.length > 0);
}

function syncLine({ before, after }: { before: SyncCost; after: SyncCost }): string {
  const told = ({ microsP50, microsP99 }: SyncCost) => `p50 ${microsP50} µs, p99 ${microsP99} µs`;
  return `a synced write of 4 KiB to this disk: ${told(before)} before the runs; ${told(after)} after them`;
}

/** The brokers take turns run by run, so that what drifts on the machine drifts for all of them. */
async function measure(of: { title: string; cell: Cell; peers: readonly PeerName[]; runs: number; place: Place }) {
  const { cell, runs, place } = of;
  const results: Measured["runs"] = Object.fromEntries(of.peers.map((peer) => [peer, []]));
  for (let run = 1; run <= runs; run++) {
    for (const peer of of.peers) {
      const result = await runOnce({ peer, cell, place });
      results[peer]!.push(result);
      say(`${of.title}, run ${run}/${runs}, ${peer}: ${headlineOf(cell, result)}`);
    }
  }
  return results;
}

interface Place {
  pinned: boolean;
  disk: string;
}

async function runOnce({ peer, cell, place }: { peer: PeerName; cell: Cell; place: Place }): Promise<LoadResult> {
  try {
    if (cell.job.kind === "backlog") return await runBacklog(peers[peer], cell.job, place);
    return await runLoad(peer, cell, place);
  } catch (error) {
    return { figures: {}, counts: {}, failure: (error as Error).message };
  }
}

async function runLoad(peer: PeerName, cell: Cell, place: Place): Promise<LoadResult> {
  const sinkPort = cell.webhook && (await freePort());
  const webhook = cell.webhook && { ...cell.webhook, url: `http://127.0.0.1:${sinkPort}/` };
  const forLatency = cell.job.kind === "flow" && cell.job.rate !== undefined;
  const broker = await startBroker(peers[peer], { ...place, webhook, forLatency });
  const sink = cell.webhook && { ...cell.webhook.sink, port: sinkPort };
  const job = { ...cell.job, port: broker.port, brokerPid: broker.pid, sink } as Job;
  return await generate(job, place).finally(() => broker.stop());
}

function commandLine(): Command {
  const names = scenarios.map(({ name }) => name);
  return new Command("npm run bench --")
    .description("Measures HookMQ beside other brokers, each on a core of its own, and prints medians and ratios.")
    .addOption(new Option("--scenario <names>", "only these, by comma; see --list").argParser(listOf(oneOf(names))))
    .addOption(new Option("--qos <levels>", "by comma").argParser(listOf(qos)).default([0, 1, 2], "0,1,2"))
    .addOption(new Option("--payload <bytes>", "by comma (default: 16,256,1024)").argParser(listOf(payload)))
    .addOption(
      new Option("--runs <n>", "runs of each broker, of which the median counts (default: 3)").argParser(count),
    )
    .addOption(new Option("--seconds <n>", "measured in each run, after warming up (default: 1)").argParser(positive))
    .addOption(
      new Option("--peers <names>", `by comma, of ${peerNames.join(", ")} (default: each scenario's own)`).argParser(
        listOf(oneOf(peerNames)),
      ),
    )
    .addOption(new Option("--backlog <n>", "events in `backlog` (default: 1000000)").argParser(events))
    .option("--disk <folder>", "where brokers keep their files (default: the folder for temporary files, or /var/tmp)")
    .option("--quick", "one short run each, 256 bytes, fewer connections: about three minutes")
    .option("--json <file>", "where to write the results (default: bench/results/<date>.json)")
    .option("--list", "say what the scenarios are");
}

function listOf<Item>(parse: (text: string) => Item): (text: string) => Item[] {
  return (text) => text.split(",").map((item) => parse(item.trim()));
}

function oneOf<Name extends string>(names: readonly Name[]): (text: string) => Name {
  return (text) => {
    const name = names.find((name) => name === text);
    if (name === undefined) throw new InvalidArgumentError(`Known are ${names.join(", ")}.`);
    return name;
  };
}

function qos(text: string): Qos {
  if (text !== "0" && text !== "1" && text !== "2") throw new InvalidArgumentError("QoS is 0, 1 or 2.");
  return Number(text) as Qos;
}

function payload(text: string): number {
  const bytes = Number(text);
  if (Number.isInteger(bytes) && bytes >= payloadBytesMin && bytes <= payloadBytesMax) return bytes;
  throw new InvalidArgumentError(`A payload has ${payloadBytesMin} to ${payloadBytesMax} bytes.`);
}

function positive(text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("It must be more than 0.");
}

function count(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a whole number from 1.");
}

function events(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1_000 && value <= 5_000_000) return value;
  throw new InvalidArgumentError("It must be a whole number from 1000 to 5000000.");
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
