/** What may be scraped: the names, and what stands behind each. docs/operations.md has the same list. */
import type { HistogramFigures } from "./base/histogram.ts";
import type { Family, Sample } from "./base/metrics.ts";
import type { EndpointFigures } from "./webhook/endpoint.ts";
import type { EndpointMetricsFigures } from "./webhook/endpoint-metrics.ts";
import type { EndpointReport } from "./webhook/operations.ts";

/** All figures of the back at one moment. */
export interface BackMetrics {
  /** With what only a store that can be read can tell. */
  endpoints: readonly (EndpointFigures & Partial<Pick<EndpointReport, "oldestAgeMs">>)[];
  attempts: readonly EndpointMetricsFigures[];
  /** `undefined`: the store does not commit to a disk. */
  storeCommitSeconds: HistogramFigures | undefined;
}

const breakerStates: Readonly<Record<EndpointFigures["breaker"], number>> = { closed: 0, probing: 1, open: 2 };

export function metricFamilies({ endpoints, attempts, storeCommitSeconds }: BackMetrics): Family[] {
  const ofEach = (value: (figures: BackMetrics["endpoints"][number]) => number): Sample<number>[] =>
    endpoints.map((figures) => ({ labels: { endpoint: figures.endpoint }, value: value(figures) }));
  return [
    {
      name: "webhook_events_accepted_total",
      help: "Events owed to an endpoint, since ever.",
      type: "counter",
      labelNames: ["endpoint"],
      samples: ofEach(({ accepted }) => accepted),
    },
    {
      name: "webhook_deliveries_total",
      help: "Deliveries that have ended, by how, since ever.",
      type: "counter",
      labelNames: ["endpoint", "outcome"],
      samples: endpoints.flatMap((figures) =>
        (["delivered", "dead", "dropped", "expired"] as const).map((outcome) => ({
          labels: { endpoint: figures.endpoint, outcome },
          value: figures[outcome],
        })),
      ),
    },
    {
      name: "webhook_attempts_total",
      help: "Requests made, by the class of their outcome, since the start of the process.",
      type: "counter",
      labelNames: ["endpoint", "class"],
      samples: attempts.flatMap(({ endpoint, attempts: byKind }) =>
        Object.entries(byKind).map(([kind, value]) => ({ labels: { endpoint, class: kind }, value })),
      ),
    },
    {
      name: "webhook_dropped_total",
      help: "Deliveries dropped, by the reason, since the start of the process.",
      type: "counter",
      labelNames: ["endpoint", "reason"],
      samples: endpoints.flatMap(({ endpoint, droppedBy }) =>
        Object.entries(droppedBy).map(([reason, value]) => ({ labels: { endpoint, reason }, value })),
      ),
    },
    {
      name: "webhook_dead_letters",
      help: "Dead letters that are kept.",
      type: "gauge",
      labelNames: ["endpoint"],
      samples: ofEach(({ deadLetters }) => deadLetters),
    },
    {
      name: "webhook_queue_deliveries",
      help: "Deliveries that wait; those in flight are not among them.",
      type: "gauge",
      labelNames: ["endpoint"],
      samples: ofEach(({ queued }) => queued),
    },
    {
      name: "webhook_queue_bytes",
      help: "Bodies that wait or are in flight, and what keeping them costs.",
      type: "gauge",
      labelNames: ["endpoint"],
      samples: ofEach(({ bytes }) => bytes),
    },
    {
      name: "webhook_inflight",
      help: "Deliveries that are being sent.",
      type: "gauge",
      labelNames: ["endpoint"],
      samples: ofEach(({ inflight }) => inflight),
    },
    {
      name: "webhook_oldest_age_seconds",
      help: "Age of the oldest delivery that waits; 0 when none does.",
      type: "gauge",
      labelNames: ["endpoint"],
      samples: ofEach(({ oldestAgeMs }) => (oldestAgeMs ?? 0) / 1000),
    },
    {
      name: "webhook_breaker_state",
      help: "0: the endpoint takes deliveries; 1: it is being probed; 2: it is not, and nothing is sent.",
      type: "gauge",
      labelNames: ["endpoint"],
      samples: ofEach(({ breaker }) => breakerStates[breaker]),
    },
    {
      name: "webhook_request_seconds",
      help: "From the start of a request to its outcome.",
      type: "histogram",
      labelNames: ["endpoint"],
      samples: attempts.map(({ endpoint, requestSeconds: value }) => ({ labels: { endpoint }, value })),
    },
    {
      name: "webhook_delivery_latency_seconds",
      help: "From the acceptance of an event to its delivery.",
      type: "histogram",
      labelNames: ["endpoint"],
      samples: attempts.map(({ endpoint, deliverySeconds: value }) => ({ labels: { endpoint }, value })),
    },
    {
      name: "store_commit_seconds",
      help: "One transaction of the store, from its beginning until it is committed.",
      type: "histogram",
      labelNames: [],
      samples: storeCommitSeconds === undefined ? [] : [{ labels: {}, value: storeCommitSeconds }],
    },
  ];
}
