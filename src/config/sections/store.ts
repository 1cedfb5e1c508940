import { key, optional, section } from "../schema.ts";
import { choice, text } from "../value-types.ts";

export const store = section(
  {
    engine: key(choice(["memory", "disk"]), {
      default: "disk",
      meaning:
        "Where sessions, queued and retained messages, wills and owed webhook deliveries are kept: `memory` forgets them at the end of the process, `disk` does not.",
    }),
    dir: optional(text(), {
      meaning: "Data folder of `disk`, made when it is not there; beside the configuration file. Without it: `data`.",
    }),
    sync: key(choice(["commit", "interval", "none"]), {
      default: "commit",
      meaning:
        "What a power cut may take: `commit`, nothing that was acknowledged; `interval`, the last 50 ms; `none`, what the system had not written yet. A crash of the process takes nothing.",
    }),
  },
  { meaning: "What outlives a restart." },
);
