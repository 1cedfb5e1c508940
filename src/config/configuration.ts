import type { z } from "zod";
import { section } from "./schema.ts";
import { auth, bridges, httpServer, known, sqlite } from "./sections/later.ts";
import { listeners } from "./sections/listeners.ts";
import { log } from "./sections/log.ts";
import { mqtt } from "./sections/mqtt.ts";
import { store } from "./sections/store.ts";
import { system } from "./sections/system.ts";
import { webhook } from "./sections/webhook.ts";

/** The whole of a configuration file. */
export const configuration = section(
  { system, mqtt, listeners, log, webhook, store, auth, http_server: httpServer, bridges, sqlite, ...known },
  { meaning: "The configuration." },
);

export type Configuration = z.output<typeof configuration>;
