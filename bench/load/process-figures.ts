import { readFileSync } from "node:fs";

export interface ProcessFigures {
  cpuSeconds: number;
  residentBytes: number;
}

/** Linux counts CPU time for /proc in hundredths of a second, whatever the kernel's own tick. */
const ticksPerSecond = 100;

/** A process's CPU time and memory from /proc; `undefined` where there is no such thing. */
export function readProcess(pid: number): ProcessFigures | undefined {
  try {
    // The name in the second field may hold anything, so fields are counted from its closing parenthesis.
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");
    const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
      residentBytes: Number(resident?.[1] ?? 0) * 1024,
    };
  } catch {
    return undefined;
  }
}
