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
  deliveries: { endpoint: string; deliveries: number; deadLetters: number }[];
}

/** Throws where the tables cannot be counted. An older format may know no dead letters. */
export function inventoryOf(database: DatabaseSync, file: string): Inventory {
  const count = (table: string) =>
    (database.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { count: number }).count;
  const format = formatOf(database);
  const ofEndpoint = (table: string) => `(SELECT count(*) FROM ${table} d WHERE d.endpoint = e.endpoint)`;
  const perEndpoint = database.prepare(`
    SELECT e.name, ${ofEndpoint("deliveries")} AS deliveries, ${format < 2 ? "0" : ofEndpoint("dead_letters")} AS dead_letters
    FROM endpoints e ORDER BY e.name`);
  return {
    file,
    bytes: statSync(file).size + (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0),
    format,
    sessions: count("sessions"),
    queued: count("queue"),
    retained: count("retained"),
    wills: count("wills"),
    deliveries: perEndpoint.all().map(({ name, deliveries, dead_letters }) => ({
      endpoint: String(name),
      deliveries: Number(deliveries),
      deadLetters: Number(dead_letters),
    })),
  };
}
