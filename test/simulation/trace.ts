/** What happened, as lines: the last of them for people, all of them as one number that two runs can be compared by. */
import { createHash } from "node:crypto";
import type { Timeline } from "./timeline.ts";

const linesKept = 60;
const unsummedMax = 64 * 1024;

export class Trace {
  count = 0;
  private readonly timeline: Timeline;
  private readonly last: { at: number; text: string }[] = [];
  private readonly sum = createHash("sha256");
  private unsummed = "";

  constructor(timeline: Timeline) {
    this.timeline = timeline;
  }

  note(text: string): void {
    const at = this.timeline.elapsed;
    this.count++;
    this.unsummed += `${at} ${text}\n`;
    if (this.unsummed.length > unsummedMax) this.addUp();
    this.last.push({ at, text });
    if (this.last.length > 2 * linesKept) this.last.splice(0, linesKept);
  }

  get time(): string {
    return timeOf(this.timeline.elapsed);
  }

  get tail(): string {
    return this.last
      .slice(-linesKept)
      .map(({ at, text }) => `${timeOf(at)} ${text}`)
      .join("\n");
  }

  hash(): string {
    this.addUp();
    return this.sum.copy().digest("hex");
  }

  private addUp(): void {
    this.sum.update(this.unsummed);
    this.unsummed = "";
  }
}

/** Day, hours, minutes, seconds and milliseconds of the simulation. */
function timeOf(elapsed: number): string {
  return `day ${Math.floor(elapsed / 86_400_000)} ${new Date(elapsed).toISOString().slice(11, 23)}`;
}
