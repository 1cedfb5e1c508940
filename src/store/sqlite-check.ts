/** Is the data file whole, and does what is in it fit together? Both only read. */
import type { DatabaseSync } from "node:sqlite";
import { faultsNamedMax } from "./limits.ts";
import { isDamage } from "./sqlite-error.ts";

/** What SQLite finds wrong with the file itself. `integrity_check` also compares indexes with their tables. */
export function faultsOfFile(database: DatabaseSync, how: "quick_check" | "integrity_check"): string[] {
  try {
    const rows = database.prepare(`PRAGMA ${how}(${faultsNamedMax})`).all();
    return rows.map((row) => String(row[how])).filter((finding) => finding !== "ok");
  } catch (error) {
    // It gives up its check, instead of telling, where it cannot go on.
    if (!isDamage(error)) throw error;
    return [(error as Error).message];
  }
}

/** What cannot be, whatever was committed. */
export function faultsOfState(database: DatabaseSync): string[] {
  return claims.flatMap(([claim, exceptions]) => {
    const { count } = database.prepare(`SELECT count(*) AS count FROM (${exceptions})`).get() as { count: number };
    return count === 0 ? [] : [`${count} × not so: ${claim}`];
  });
}

const claims: readonly (readonly [claim: string, exceptions: string])[] = [
  [
    "a queue entry names a message that is kept",
    "SELECT 1 FROM queue WHERE state < 2 AND message_id NOT IN (SELECT message_id FROM messages)",
  ],
  [
    "a retained topic names a message that is kept",
    "SELECT 1 FROM retained WHERE message_id NOT IN (SELECT message_id FROM messages)",
  ],
  [
    "a will names a message that is kept",
    "SELECT 1 FROM wills WHERE message_id NOT IN (SELECT message_id FROM messages)",
  ],
  [
    "a kept message is named",
    `SELECT 1 FROM messages m WHERE NOT EXISTS (SELECT 1 FROM queue WHERE message_id = m.message_id AND state < 2)
       AND NOT EXISTS (SELECT 1 FROM retained WHERE message_id = m.message_id)
       AND NOT EXISTS (SELECT 1 FROM wills WHERE message_id = m.message_id)`,
  ],
  [
    "subscriptions, queues and received packet identifiers belong to a session",
    `SELECT session FROM subscriptions UNION ALL SELECT session FROM queue UNION ALL SELECT session FROM received
     EXCEPT SELECT session FROM sessions`,
  ],
  [
    "a delivery and a dead letter belong to an endpoint",
    `SELECT endpoint FROM deliveries UNION SELECT endpoint FROM dead_letters EXCEPT SELECT endpoint FROM endpoints`,
  ],
  [
    "a delivery has its body",
    `SELECT 1 FROM deliveries WHERE body IS NULL
       AND (shared_body IS NULL OR shared_body NOT IN (SELECT shared_body FROM shared_bodies))`,
  ],
  ["what is owed is no dead letter", "SELECT 1 FROM deliveries WHERE position IN (SELECT position FROM dead_letters)"],
  [
    "an endpoint's attempts under way are a list of positions",
    `SELECT 1 FROM endpoints WHERE CASE WHEN json_valid(under_way) THEN json_type(under_way) <> 'array'
       OR EXISTS (SELECT 1 FROM json_each(under_way) WHERE type <> 'integer') ELSE 1 END`,
  ],
  [
    "an endpoint's queue is as long and as large as it is counted",
    `SELECT endpoint, messages, message_bytes, client_events, client_event_bytes FROM endpoints EXCEPT
     SELECT e.endpoint, count(position) FILTER (WHERE client_event = 0),
       coalesce(sum(d.body_bytes) FILTER (WHERE client_event = 0), 0), count(position) FILTER (WHERE client_event = 1),
       coalesce(sum(d.body_bytes) FILTER (WHERE client_event = 1), 0)
     FROM endpoints e LEFT JOIN deliveries d ON d.endpoint = e.endpoint GROUP BY e.endpoint`,
  ],
  [
    "an endpoint's dead letters are as many and as large as they are counted",
    `SELECT endpoint, dead_letters, dead_letter_bytes FROM endpoints EXCEPT
     SELECT e.endpoint, count(position), coalesce(sum(length(body)), 0)
     FROM endpoints e LEFT JOIN dead_letters d ON d.endpoint = e.endpoint GROUP BY e.endpoint`,
  ],
  [
    "accepted = delivered + dead + dropped + expired + queued for every endpoint",
    `SELECT 1 FROM endpoints e WHERE accepted - delivered - dead - dropped - expired <>
       (SELECT count(*) FROM deliveries d WHERE d.endpoint = e.endpoint)`,
  ],
];
