/** Runs in, medians and ratios out: a table for people, a JSON document for later comparison. */
import type { FigureName, LoadResult } from "./load/job.ts";
import { ours, type PeerName } from "./peers/peers.ts";
import type { Cell } from "./scenarios.ts";

export interface Measured {
  scenario: string;
  cell: Cell;
  runs: Partial<Record<PeerName, LoadResult[]>>;
}

/** One line of the table: one figure of one cell. */
export interface Row {
  scenario: string;
  variant?: string;
  qos?: number;
  payloadBytes?: number;
  figure: FigureName;
  /** Over the runs that did not fail; a peer whose runs all failed is absent. */
  medians: Partial<Record<PeerName, number>>;
  /** The peer that is judged: HookMQ, on disk if that ran. */
  subject?: PeerName;
  /** The subject divided by the peer. */
  ratios: Partial<Record<PeerName, number>>;
  notes: string[];
}

/** Runs that differ by more than this share of their median are told. */
const spreadMax = 0.15;
/** From here on the generator has no time left, and was perhaps what held the run back. */
const busyPercent = 95;
/** A message handed to its socket later than this spoils a latency figure. */
const lateMicros = 500;

export function rowsOf({ scenario, cell, runs }: Measured): Row[] {
  const peers = Object.keys(runs) as PeerName[];
  const subject = ours.find((peer) => peers.includes(peer));
  const notes = peers.flatMap((peer) => notesOn(peer, runs[peer]!));
  return cell.figures.map((figure, index) => {
    const medians: Row["medians"] = {};
    for (const peer of peers) {
      const value = median(figuresOf(runs[peer]!, figure));
      if (value !== undefined) medians[peer] = value;
    }
    const ratios: Row["ratios"] = {};
    for (const peer of peers) {
      if (subject === undefined || peer === subject || medians[subject] === undefined || !medians[peer]) continue;
      ratios[peer] = medians[subject] / medians[peer];
    }
    const { variant, qos, payloadBytes } = cell;
    return {
      scenario,
      variant,
      qos,
      payloadBytes,
      figure,
      medians,
      subject,
      ratios,
      notes: [
        ...(index === 0 ? notes : []),
        ...(subject === undefined ? [] : addedTo(medians, subject, cell.addedTo)),
        ...peers.flatMap((peer) => spreadOf(peer, figuresOf(runs[peer]!, figure))),
      ],
    };
  });
}

/** What one run came to, in a few words. */
export function headlineOf(cell: Cell, { failure, figures }: LoadResult): string {
  if (failure !== undefined) return `failed: ${failure}`;
  return cell.figures
    .map((figure) => `${grouped(figures[figure])} ${figureTitles[figure].replace(lessIsBetter, "")}`)
    .join(", ");
}

export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A table for each group of rows that have their brokers in common, so that no column is empty. */
export function tablesOf(measured: readonly Measured[]): string {
  const groups = new Map<string, { peers: PeerName[]; rows: Row[] }>();
  for (const one of measured) {
    const peers = Object.keys(one.runs) as PeerName[];
    const group = groups.get(peers.join()) ?? { peers, rows: [] };
    group.rows.push(...rowsOf(one));
    groups.set(peers.join(), group);
  }
  return [...groups.values()].map(({ rows, peers }) => tableOf(rows, peers)).join("\n\n");
}

export function tableOf(rows: readonly Row[], peers: readonly PeerName[]): string {
  const subject = ours.find((peer) => peers.includes(peer));
  const rivals = subject === undefined ? [] : peers.filter((peer) => peer !== subject);
  const ratioTitles = rivals.map((peer) => `${subject}/${peer}`);
  const titles = ["scenario", "QoS", "payload", "", "figure", ...peers, ...ratioTitles, "notes"];
  const lines = rows.map((row) => [
    row.scenario,
    row.qos === undefined ? "" : String(row.qos),
    row.payloadBytes === undefined ? "" : `${row.payloadBytes} B`,
    row.variant ?? "",
    figureTitles[row.figure],
    ...peers.map((peer) => grouped(row.medians[peer])),
    ...rivals.map((peer) => row.ratios[peer]?.toFixed(2) ?? "–"),
    row.notes.join("; "),
  ]);
  const leftAligned = new Set([0, 3, 4, titles.length - 1]);
  return columns([titles, ...lines], leftAligned);
}

const lessIsBetter = " (less is better)";

const figureTitles: Record<FigureName, string> = {
  messagesPerSecond: "messages/s",
  messagesPerGeneratorSecond: "generator ceiling, messages/s",
  brokerMicrosPerMessage: `broker CPU µs/message${lessIsBetter}`,
  latencyMicrosP50: `latency p50 µs${lessIsBetter}`,
  latencyMicrosP99: `latency p99 µs${lessIsBetter}`,
  latencyMicrosP999: `latency p99.9 µs${lessIsBetter}`,
  ackMicrosP50: `PUBACK p50 µs${lessIsBetter}`,
  ackMicrosP99: `PUBACK p99 µs${lessIsBetter}`,
  connectionsPerSecond: "connections/s",
  connackMicrosP50: `CONNACK p50 µs${lessIsBetter}`,
  connackMicrosP99: `CONNACK p99 µs${lessIsBetter}`,
  bytesPerConnection: `bytes/connection${lessIsBetter}`,
  eventsPerSecond: "events/s",
  eventMicrosP50: `sent → request p50 µs${lessIsBetter}`,
  eventMicrosP99: `sent → request p99 µs${lessIsBetter}`,
  acknowledgedPerSecond: "acknowledged/s",
  drainedPerSecond: "drained/s",
  startMillis: `start → listening ms${lessIsBetter}`,
  restartMillis: `restart → listening ms${lessIsBetter}`,
  firstDeliveryMillis: `restart → first delivery ms${lessIsBetter}`,
  residentMibBefore: `RSS MiB, idle${lessIsBetter}`,
  residentMibGrown: `RSS MiB, grown by what waits${lessIsBetter}`,
  residentMibDraining: `RSS MiB, most in the drain${lessIsBetter}`,
};

function figuresOf(runs: readonly LoadResult[], figure: FigureName): number[] {
  return runs.flatMap(({ failure, figures }) => (failure === undefined ? (figures[figure] ?? []) : []));
}

function addedTo(medians: Row["medians"], subject: PeerName, peer: PeerName | undefined): string[] {
  if (peer === undefined || medians[peer] === undefined || medians[subject] === undefined) return [];
  const added = medians[subject] - medians[peer];
  return [`${added < 0 ? "−" : "+"}${grouped(Math.abs(added))} to ${peer}`];
}

function spreadOf(peer: PeerName, figures: readonly number[]): string[] {
  const middle = median(figures);
  if (middle === undefined || figures.length < 3) return [];
  const [least, most] = [Math.min(...figures), Math.max(...figures)];
  return most - least > spreadMax * middle ? [`${peer}: ${grouped(least)} to ${grouped(most)}`] : [];
}

function notesOn(peer: PeerName, runs: readonly LoadResult[]): string[] {
  const notes: string[] = [];
  const failures = runs.flatMap(({ failure }) => failure ?? []);
  if (failures.length > 0) notes.push(`${peer}: ${failures.length} of ${runs.length} failed: ${failures[0]}`);
  const good = runs.filter(({ failure }) => failure === undefined);
  if (good.some(wasTheLimit)) notes.push(`${peer}: the generator was the limit`);
  if (good.some(({ sendLagMicrosP999 = 0 }) => sendLagMicrosP999 > lateMicros)) notes.push(`${peer}: sent late`);
  for (const [count, says] of [
    ["duplicates", "came twice"],
    ["outOfOrder", "out of order"],
  ] as const) {
    const most = Math.max(0, ...good.map(({ counts }) => counts[count] ?? 0));
    if (most > 0) notes.push(`${peer}: ${most} ${says}`);
  }
  return notes;
}

/** A busy generator is no limit while the broker has no time left either. */
function wasTheLimit({ generatorCpuPercent = 0, brokerCpuPercent = 0 }: LoadResult): boolean {
  return generatorCpuPercent >= busyPercent && brokerCpuPercent < busyPercent;
}

function grouped(value: number | undefined): string {
  if (value === undefined) return "–";
  return value < 10 ? value.toFixed(2) : Math.round(value).toLocaleString("en-US");
}

function columns(lines: readonly string[][], leftAligned: ReadonlySet<number>): string {
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines
    .map((line) =>
      line
        .map((text, column) => (leftAligned.has(column) ? text.padEnd(widths[column]) : text.padStart(widths[column])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
