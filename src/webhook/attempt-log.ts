/** The last attempts of an endpoint, for whoever looks after it. In memory only, and bounded. */
import { attemptsRememberedMax } from "./limits.ts";
import type { AttemptReport, EndpointReport } from "./operations.ts";

export class AttemptLog {
  /** A ring: the oldest is overwritten in place, so that a busy endpoint leaves nothing behind for the garbage collector. */
  private readonly reports: AttemptReport[] = [];
  private next = 0;

  add(report: AttemptReport): void {
    const oldest = this.reports[this.next];
    if (oldest === undefined) this.reports[this.next] = { ...report };
    else Object.assign(oldest, report);
    this.next = (this.next + 1) % attemptsRememberedMax;
  }

  /** Newest first; of one delivery or batch where it is named. */
  newest(deliveryId: string | undefined, countMax: number): AttemptReport[] {
    const found: AttemptReport[] = [];
    for (let back = 1; back <= this.reports.length && found.length < countMax; back++) {
      const report = this.reports.at(this.next - back)!;
      if (deliveryId === undefined || report.deliveryId === deliveryId) found.push({ ...report });
    }
    return found;
  }

  /** What we took back ourselves says nothing of the endpoint. */
  get figures(): Pick<EndpointReport, "successRate" | "requestMsP50" | "requestMsP95"> {
    const told = this.reports.filter(({ outcome }) => outcome !== "cancelled");
    const durations = told.map(({ durationMs }) => durationMs).sort((one, other) => one - other);
    const accepted = told.filter(({ outcome }) => outcome === "accepted").length;
    return {
      successRate: told.length === 0 ? undefined : accepted / told.length,
      requestMsP50: quantile(durations, 0.5),
      requestMsP95: quantile(durations, 0.95),
    };
  }
}

/** The smallest that is not below so large a part of them. */
function quantile(sorted: readonly number[], part: number): number | undefined {
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)];
}
