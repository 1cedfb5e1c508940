import { key, optional, section, unused } from "../schema.ts";
import { count, flag, text } from "../value-types.ts";

const amount = count({ min: 0, max: Number.MAX_SAFE_INTEGER });
const threads = "HookMQ has one thread for MQTT and one for storage and webhooks";

export const system = section(
  {
    daemon: key(flag, { default: "false", meaning: "Run in the background." }),
    node_name: key(text({ type: "a name without `/`, `+`, `#`", check: topicLevel }), {
      default: "hookmq",
      meaning: "Names this broker: the publisher of its own messages below `$SYS/brokers/`.",
    }),
    pid_file: optional(text(), {
      meaning:
        "Where `start` writes its process number, for `stop` and `reload`. Without it: `/tmp/hookmq/hookmq.pid`.",
    }),
    num_taskq_thread: unused("idle", amount, "Task threads of the original.", threads),
    max_taskq_thread: unused("idle", amount, "Task threads of the original.", threads),
    parallel: unused("idle", amount, "Work contexts of the original.", threads),
    enable_ipc_internal: unused("idle", flag, "The original's internal command pipe."),
    hook_ipc_url: unused("idle", text(), "The original's pipe to its webhook thread."),
    cmd_ipc_url: unused("idle", text(), "The original's pipe for `reload`."),
  },
  { meaning: "The process." },
);

function topicLevel(name: string): string | undefined {
  return name !== "" && !/[/+#\0]/.test(name) ? undefined : "a name without `/`, `+` and `#`";
}
