/**
 * A backlog: filled while nobody takes anything, perhaps left behind by a crash, drained once somebody is there. Three
 * processes take part: the broker, and one generator for each half.
 *
 *   broker starts ──→ fill ──→ [ SIGKILL ──→ broker starts again ] ──→ drain ──→ nothing of what was acknowledged is missing
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { DrainJob, FillJob, LoadResult } from "./load/job.ts";
import { readProcess } from "./load/process-figures.ts";
import type { Peer } from "./peers/peers.ts";
import { closedPort, generate, startBroker, startGenerator, type RunningBroker } from "./peers/processes.ts";

export interface BacklogPlan
  extends Omit<FillJob, "kind" | "port" | "brokerPid">,
    Pick<DrainJob, "firstMsMax" | "silenceMsMax"> {
  kind: "backlog";
  crash: boolean;
}

interface BacklogPlace {
  pinned: boolean;
  disk?: string;
}

/** What is on its way to the disk when the last message is acknowledged, and memory that is given back at once. */
const settleMs = 1_000;
/** All bodies together: what an event holds beside the payload is less than this. */
const eventBytesBesidePayload = 512;
const everyEvent = "bench/#";

export async function runBacklog(peer: Peer, plan: BacklogPlan, place: BacklogPlace): Promise<LoadResult> {
  const sinkPort = plan.shape === "to-webhook" ? await closedPort() : undefined;
  const queueBytesMax = Math.max(2 ** 30, plan.messages * (plan.payloadBytes + eventBytesBesidePayload));
  const webhook = sinkPort && { url: `http://127.0.0.1:${sinkPort}/`, topicFilter: everyEvent, queueBytesMax };
  const running = new Running(await startBroker(peer, { ...place, webhook: webhook || undefined }));
  try {
    return await measure(running, plan, { ...place, sinkPort });
  } finally {
    await running.broker.stop();
  }
}

/** Whichever of the two brokers is there must be stopped in the end. */
class Running {
  broker: RunningBroker;

  constructor(broker: RunningBroker) {
    this.broker = broker;
  }
}

async function measure(
  running: Running,
  plan: BacklogPlan,
  { pinned, sinkPort }: { pinned: boolean; sinkPort: number | undefined },
): Promise<LoadResult> {
  const { startMillis, port, pid } = running.broker;
  const before = residentMib(pid);
  const { crash, ...load } = plan;
  const filled = await generate({ ...load, kind: "fill", port, brokerPid: pid }, { pinned });
  if (filled.failure !== undefined) return filled;
  await sleep(settleMs);
  const full = residentMib(pid);

  const job: DrainJob = {
    ...load,
    kind: "drain",
    port,
    brokerPid: pid,
    sink: sinkPort === undefined ? undefined : { port: sinkPort, answers: "ok", expectsAll: true },
  };
  // What died is known to be dead before anyone looks whether it listens.
  if (crash) await running.broker.kill();
  const drain = startGenerator(job, { pinned });
  try {
    await drain.ready;
    if (crash) running.broker = await running.broker.startAgain();
    const drained = await drain.result;
    return together({ startMillis, before, full, filled, drained, running, crash });
  } finally {
    drain.stop();
  }
}

function together(of: {
  startMillis: number;
  before: number | undefined;
  full: number | undefined;
  filled: LoadResult;
  drained: LoadResult;
  running: Running;
  crash: boolean;
}): LoadResult {
  const { before, full, filled, drained, crash } = of;
  const { startedAtMicros, pid } = of.running.broker;
  const { listening, first } = drained.moments ?? {};
  const sinceStart = (micros: number | undefined) =>
    crash && micros !== undefined ? (micros - startedAtMicros) / 1000 : undefined;
  return {
    ...filled,
    figures: {
      ...filled.figures,
      ...drained.figures,
      startMillis: of.startMillis,
      restartMillis: sinceStart(listening),
      firstDeliveryMillis: sinceStart(first),
      residentMibBefore: before,
      residentMibGrown: full === undefined || before === undefined ? undefined : full - before,
      residentMibDraining: residentMib(pid, "residentBytesPeak"),
    },
    counts: { ...filled.counts, ...drained.counts },
    failure: drained.failure,
  };
}

function residentMib(pid: number, which: "residentBytes" | "residentBytesPeak" = "residentBytes"): number | undefined {
  const figures = readProcess(pid);
  return figures && figures[which] / 2 ** 20;
}
