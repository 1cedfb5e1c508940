/** Connections as fast as the broker accepts them: either closed at once, or kept to see what an idle one costs. */
import { setTimeout as sleep } from "node:timers/promises";
import { microsNow } from "./clock.ts";
import { Connection } from "./connection.ts";
import { Histogram } from "./histogram.ts";
import type { ConnectJob, LoadResult } from "./job.ts";
import { readProcess } from "./process-figures.ts";

export async function runConnect(job: ConnectJob): Promise<LoadResult> {
  const latency = new Histogram();
  const open: Connection[] = [];
  const failures: string[] = [];
  let next = 0;

  async function connectInTurn(): Promise<void> {
    while (next < job.connections) {
      const clientId = `client-${next++}`;
      const startedAt = microsNow();
      const connection = new Connection({ port: job.port, lost: (reason) => failures.push(reason.message) });
      try {
        await connection.open(clientId);
      } catch {
        continue; // `lost` has heard why
      }
      latency.add(Math.round(microsNow() - startedAt));
      if (job.holdSeconds === undefined) connection.close();
      else open.push(connection);
    }
  }

  const before = readProcess(job.brokerPid);
  const cpuBefore = process.cpuUsage();
  const startedAt = microsNow();
  await Promise.all(Array.from({ length: job.concurrency }, connectInTurn));
  const micros = microsNow() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  const after = readProcess(job.brokerPid);

  if (job.holdSeconds !== undefined) await sleep(job.holdSeconds * 1000);
  const held = readProcess(job.brokerPid);
  for (const connection of open) connection.close();

  const grownBytes = job.holdSeconds !== undefined && before && held && held.residentBytes - before.residentBytes;
  return {
    figures: {
      connectionsPerSecond: (latency.count * 1e6) / micros,
      connackMicrosP50: latency.percentile(50),
      connackMicrosP99: latency.percentile(99),
      bytesPerConnection: grownBytes ? grownBytes / open.length : undefined,
    },
    counts: { connected: latency.count, failed: failures.length },
    failure: failures.length > 0 ? `${failures.length} connections failed: ${failures[0]}` : undefined,
    generatorCpuPercent: ((cpu.user + cpu.system) / micros) * 100,
    brokerCpuPercent: before && after && ((after.cpuSeconds - before.cpuSeconds) * 1e8) / micros,
  };
}
