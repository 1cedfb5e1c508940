import { readFileSync } from "node:fs";

export interface ProcessFigures {
  cpuSeconds: number;
  residentBytes: number;
  /** The most it ever was. */
  residentBytesPeak: number;
}

/** Linux counts CPU time for /proc in hundredths of a second, whatever the kernel's own tick. */
const ticksPerSecond = 100;

/** A process's CPU time and memory from /proc; `undefined` where there is no such thing. */
export function readProcess(pid: number): ProcessFigures | undefined {
  try {
    // The name in the second field may hold anything, so fields are counted from its closing parenthesis.
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
      residentBytes: kilobytes(status, "VmRSS") * 1024,
      residentBytesPeak: kilobytes(status, "VmHWM") * 1024,
    };
  } catch {
    return undefined;
  }
}

function kilobytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
}
