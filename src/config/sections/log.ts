import { key, section, unused } from "../schema.ts";
import { choice, count, listOf, size, text, anything } from "../value-types.ts";

export const log = section(
  {
    to: key(listOf(choice(["console", "file", "syslog", "uds"])), {
      default: ["console"],
      laterValues: ["syslog", "uds"],
      meaning: "Where messages go: `console`, `file`. (`syslog` and `uds` are not yet supported.)",
    }),
    level: key(choice(["trace", "debug", "info", "warn", "error", "fatal"]), {
      default: "warn",
      meaning: "The least important messages still written.",
    }),
    format: key(choice(["text", "json"]), {
      default: "text",
      meaning: "One line a message for people, or one JSON object a message for machines.",
    }),
    dir: key(text(), { default: "/tmp", meaning: "Folder of the log file; made when it is not there." }),
    file: key(text({ type: "file name", check: (name) => (name === "" ? "a file name" : undefined) }), {
      default: "nanomq.log",
      meaning: "Name of the log file.",
    }),
    rotation: section(
      {
        size: key(size({ min: 1024, max: 1024 ** 4 }), {
          default: "10MB",
          meaning: "A log file of this size is put aside as `<file>.1`, the one before as `<file>.2`, ….",
        }),
        count: key(count({ min: 0, max: 1000 }), { default: "5", meaning: "How many are kept aside." }),
      },
      { meaning: "Rotation of the log file." },
    ),
    uds_addr: unused("later", anything, "Address of the Unix socket for `uds`."),
  },
  { meaning: "Messages about what the broker does." },
);
