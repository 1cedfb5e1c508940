/**
 * Figures as Prometheus reads them. What is counted is counted elsewhere, as plain numbers; here they get their names, and
 * become text. Each rendering has a registry of its own: two at a time do not mix, and what is gone leaves nothing behind.
 */
import { Counter, Gauge, Histogram, type MetricConfiguration, Registry } from "prom-client";
import type { HistogramFigures } from "./histogram.ts";

export interface Sample<Value> {
  labels: Readonly<Record<string, string>>;
  value: Value;
}

interface Named {
  name: string;
  help: string;
  /** Of every sample. */
  labelNames: readonly string[];
}

/** All samples of one name. */
export type Family = Named &
  (
    | { type: "counter" | "gauge"; samples: readonly Sample<number>[] }
    | { type: "histogram"; samples: readonly Sample<HistogramFigures>[] }
  );

/** In the text format, version 0.0.4. */
export function renderMetrics(families: readonly Family[]): Promise<string> {
  const registry = new Registry();
  for (const family of families) add(family, registry);
  return registry.metrics();
}

function add(family: Family, registry: Registry): void {
  const { name, help, labelNames } = family;
  const configuration: MetricConfiguration<string> = { name, help, labelNames: [...labelNames], registers: [registry] };
  switch (family.type) {
    case "counter": {
      const counter = new Counter(configuration);
      for (const { labels, value } of family.samples) counter.inc(labels, value);
      return;
    }
    case "gauge": {
      const gauge = new Gauge(configuration);
      for (const { labels, value } of family.samples) gauge.set(labels, value);
      return;
    }
    case "histogram":
      new CountedHistogram(configuration, family.samples);
      return;
    default:
      family satisfies never;
  }
}

/** One that was counted already: prom-client's own can only observe, value by value. */
class CountedHistogram extends Histogram {
  private readonly description: { name: string; help: string };
  private readonly samples: readonly Sample<HistogramFigures>[];

  constructor(configuration: MetricConfiguration<string>, samples: readonly Sample<HistogramFigures>[]) {
    super(configuration);
    this.description = configuration;
    this.samples = samples;
  }

  /** What the registry asks a histogram for, before it asks for `get`. */
  async getForPromString() {
    const { name, help } = this.description;
    const values = this.samples.flatMap(({ labels, value }) => linesOf(name, labels, value));
    return { name, help, type: "histogram", values, aggregator: "sum" };
  }
}

function linesOf(name: string, labels: Sample<unknown>["labels"], { bounds, counts, sum }: HistogramFigures) {
  let count = 0;
  const buckets = counts.map((inBucket, index) => {
    count += inBucket;
    const le = index < bounds.length ? `${bounds[index]}` : "+Inf";
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
