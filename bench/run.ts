/** `npm run bench`: every scenario on every broker, one broker at a time, the runs of the brokers taking turns. */
import { loadavg } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Job, LoadResult } from "./load/job.ts";
import type { Qos } from "./load/packets.ts";
import { payloadBytesMin } from "./load/stamp.ts";
import { peerNames, peers, type PeerName } from "./peers/peers.ts";
import { canPin, freePort, generate, startBroker } from "./peers/processes.ts";
import { headlineOf, rowsOf, tableOf, type Measured } from "./report.ts";
import { writeResults } from "./results.ts";
import { scenarios, type Cell, type Scenario, type Settings } from "./scenarios.ts";

interface Options {
  scenario?: string[];
  qos: Qos[];
  payload?: number[];
  runs?: number;
  seconds?: number;
  peers: PeerName[];
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
  };
  const runs = options.runs ?? (options.quick ? 1 : 3);
  const pinned = canPin();
  if (!pinned)
    say("not pinned: that needs taskset and two cores. Broker and load share cores; expect little of the ratios.");
  const [load] = loadavg();
  if (load > loadMax) say(`the machine is busy (load average ${load.toFixed(1)}): measure again when it is not.`);

  const measured: Measured[] = [];
  for (const [scenario, peers] of chosen(options)) {
    const cells = scenario.cells(settings);
    for (const [index, cell] of cells.entries()) {
      const title = `${scenario.name} ${index + 1}/${cells.length}`;
      measured.push({ scenario: scenario.name, cell, runs: await measure({ title, cell, peers, runs, pinned }) });
    }
  }

  const ran = peerNames.filter((peer) => measured.some(({ runs }) => runs[peer] !== undefined));
  const rows = measured.flatMap(rowsOf);
  process.stdout.write(`${tableOf(rows, ran)}\n`);
  say(`written to ${writeResults({ file: options.json, peers: ran, settings, runs, pinned, load, rows, measured })}`);
  return measured.some(({ runs }) => runs.hookmq?.some(({ failure }) => failure !== undefined)) ? 1 : 0;
}

/** The scenarios to run, each with those of its peers that were asked for and are there. */
function chosen(options: Options): [Scenario, readonly PeerName[]][] {
  const available = options.peers.filter((name) => {
    const missing = peers[name].missing();
    if (missing !== undefined) say(`${name} is left out: ${missing}`);
    return missing === undefined;
  });
  return scenarios
    .filter(({ name, onRequest }) => options.scenario?.includes(name) ?? !onRequest)
    .map((scenario): [Scenario, readonly PeerName[]] => {
      if (scenario.onRequest) return [scenario, scenario.peers ?? available];
      return [scenario, available.filter((peer) => scenario.peers?.includes(peer) ?? true)];
    })
    .filter(([, peers]) => peers.length > 0);
}

/** The brokers take turns run by run, so that what drifts on the machine drifts for all of them. */
async function measure(of: { title: string; cell: Cell; peers: readonly PeerName[]; runs: number; pinned: boolean }) {
  const { cell, runs, pinned } = of;
  const results: Measured["runs"] = Object.fromEntries(of.peers.map((peer) => [peer, []]));
  for (let run = 1; run <= runs; run++) {
    for (const peer of of.peers) {
      const result = await runOnce({ peer, cell, pinned });
      results[peer]!.push(result);
      say(`${of.title}, run ${run}/${runs}, ${peer}: ${headlineOf(cell, result)}`);
    }
  }
  return results;
}

async function runOnce({ peer, cell, pinned }: { peer: PeerName; cell: Cell; pinned: boolean }): Promise<LoadResult> {
  const sinkPort = cell.webhook && (await freePort());
  const webhook = cell.webhook && { url: `http://127.0.0.1:${sinkPort}/`, topicFilter: cell.webhook.topicFilter };
  try {
    const broker = await startBroker(peers[peer], { pinned, webhook });
    const sink = cell.webhook && { ...cell.webhook.sink, port: sinkPort };
    const job = { ...cell.job, port: broker.port, brokerPid: broker.pid, sink } as Job;
    return await generate(job, { pinned }).finally(() => broker.stop());
  } catch (error) {
    return { figures: {}, counts: {}, failure: (error as Error).message };
  }
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
      new Option("--peers <names>", `by comma, of ${peerNames.join(", ")}`)
        .argParser(listOf(oneOf(peerNames)))
        .default(["hookmq", "mosquitto", "aedes"], "hookmq,mosquitto,aedes"),
    )
    .option("--quick", "one short run each, 256 bytes, fewer connections: under two minutes")
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

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
