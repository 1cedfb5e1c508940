/** What a store holds, in figures: for whoever checks it. */
import { statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { formatOf } from "./sqlite-schema.ts";

export interface Inventory {
  file: string;
  bytes: number;
  format: number;
  sessions: number;
  queued: number;
  retained: number;
  wills: number;
  deliveries: { endpoint: string; deliveries: number }[];
}

/** Throws where the tables cannot be counted. */
export function inventoryOf(database: DatabaseSync, file: string): Inventory {
  const count = (table: string) =>
    (database.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { count: number }).count;
  const perEndpoint = database.prepare(`
    SELECT e.name, (SELECT count(*) FROM deliveries d WHERE d.endpoint = e.endpoint) AS deliveries FROM endpoints e
    ORDER BY e.name`);
  return {
    file,
    bytes: statSync(file).size + (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0),
    format: formatOf(database),
    sessions: count("sessions"),
    queued: count("queue"),
    retained: count("retained"),
    wills: count("wills"),
    deliveries: perEndpoint.all().map(({ name, deliveries }) => ({
      endpoint: String(name),
      deliveries: Number(deliveries),
    })),
  };
}
