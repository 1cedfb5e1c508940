import { expect, test } from "vitest";
import { Histogram } from "./histogram.ts";
import { renderMetrics } from "./metrics.ts";

test("counters, gauges and histograms as Prometheus reads them", async () => {
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.5, 0.5, 3]) histogram.observe(value);
  const text = await renderMetrics([
    {
      name: "events_total",
      help: "Events.",
      type: "counter",
      labelNames: ["endpoint"],
      samples: [
        { labels: { endpoint: "a" }, value: 7 },
        { labels: { endpoint: 'b"\\' }, value: 0 },
      ],
    },
    { name: "depth", help: "How deep.", type: "gauge", labelNames: [], samples: [{ labels: {}, value: 2.5 }] },
    {
      name: "took_seconds",
      help: "How long.",
      type: "histogram",
      labelNames: ["endpoint"],
      samples: [{ labels: { endpoint: "a" }, value: histogram.figures() }],
    },
  ]);
  expect(text).toBe(`# HELP events_total Events.
# TYPE events_total counter
events_total{endpoint="a"} 7
events_total{endpoint="b\\"\\\\"} 0

# HELP depth How deep.
# TYPE depth gauge
depth 2.5

# HELP took_seconds How long.
# TYPE took_seconds histogram
took_seconds_bucket{endpoint="a",le="0.1"} 1
took_seconds_bucket{endpoint="a",le="1"} 3
took_seconds_bucket{endpoint="a",le="+Inf"} 4
took_seconds_sum{endpoint="a"} 4.05
took_seconds_count{endpoint="a"} 4
`);
});

test("a name without samples is told all the same", async () => {
  const family = { name: "took_seconds", help: "How long.", type: "histogram", labelNames: [], samples: [] } as const;
  expect(await renderMetrics([family])).toBe("# HELP took_seconds How long.\n# TYPE took_seconds histogram\n");
});

test("a label that the family does not have is a mistake of ours", async () => {
  expect(() =>
    renderMetrics([
      { name: "a", help: "A.", type: "gauge", labelNames: [], samples: [{ labels: { b: "c" }, value: 1 }] },
    ]),
  ).toThrow("label");
});
