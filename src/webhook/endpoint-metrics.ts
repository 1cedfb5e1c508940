/** What is counted of one endpoint's attempts since the start of the process, for metrics alone: nothing is decided by it. */
import { Histogram, type HistogramFigures } from "../base/histogram.ts";
import type { Outcome } from "./outcome.ts";

export interface EndpointMetricsFigures {
  endpoint: string;
  /** Attempts by the class of their outcome. */
  attempts: Readonly<Record<Outcome["kind"], number>>;
  /** From the start of an attempt to its outcome. */
  requestSeconds: HistogramFigures;
  /** From the acceptance of an event to its delivery. */
  deliverySeconds: HistogramFigures;
}

const requestBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Up to the age at which events are given up. */
const deliveryBounds = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86_400,
];

export class EndpointMetrics {
  private readonly attempts: Record<Outcome["kind"], number> = {
    accepted: 0,
    endpoint: 0,
    auth: 0,
    gone: 0,
    retry: 0,
    rejected: 0,
    unanswered: 0,
    cancelled: 0,
  };
  private readonly requestSeconds = new Histogram(requestBounds);
  private readonly deliverySeconds = new Histogram(deliveryBounds);

  attempted({ kind }: Outcome, tookMs: number): void {
    this.attempts[kind]++;
    this.requestSeconds.observe(inSeconds(tookMs));
  }

  delivered(sinceAcceptedMs: number): void {
    this.deliverySeconds.observe(inSeconds(sinceAcceptedMs));
  }

  figures(endpoint: string): EndpointMetricsFigures {
    return {
      endpoint,
      attempts: { ...this.attempts },
      requestSeconds: this.requestSeconds.figures(),
      deliverySeconds: this.deliverySeconds.figures(),
    };
  }
}

/** A clock that was set back meanwhile makes no time negative. */
function inSeconds(ms: number): number {
  return Math.max(0, ms) / 1000;
}
