import { key, optional, section, unused } from "../schema.ts";
import { count, decimal, flag, orWord, seconds, size, text } from "../value-types.ts";

const resend = "messages are sent again when a client reconnects, as MQTT says, and never on a timer";

/** The largest packet that MQTT can express: five bytes of fixed header and a Remaining Length of 28 bits. */
const packetBytesLargest = 268_435_460;

const amount = count({ min: 0, max: Number.MAX_SAFE_INTEGER });
const time = seconds({ max: 0xffff_ffff });

export const mqtt = section(
  {
    max_packet_size: key(size({ min: 64, max: packetBytesLargest }), {
      default: "10MB",
      meaning: "Largest packet taken; MQTT 5 clients are told. A larger one ends its connection.",
    }),
    max_mqueue_len: key(count({ min: 1, max: 1_000_000 }), {
      default: "1024",
      meaning: "Messages that may wait for one session; beyond it the oldest are dropped.",
    }),
    max_inflight_window: key(count({ min: 1, max: 65_535 }), {
      default: "2048",
      meaning:
        "QoS 1 and 2 messages on their way to one subscriber at a time; a smaller Receive Maximum of its own holds.",
    }),
    max_topic_alias: key(count({ min: 0, max: 65_535 }), {
      default: "64",
      meaning: "Topic Alias Maximum that MQTT 5 publishers are told; 0: none.",
    }),
    receive_maximum: key(count({ min: 1, max: 65_535 }), {
      default: "1000",
      meaning: "QoS 1 and 2 messages a publisher may have unacknowledged; MQTT 5 clients are told.",
    }),
    keepalive_multiplier: key(decimal({ above: 0.5, max: 10 }), {
      default: "1.5",
      meaning: "A client that is silent for its keep alive times this is cut off.",
    }),
    max_keepalive: optional(seconds({ min: 1, max: 65_535 }), {
      meaning: "Longest keep alive; MQTT 5 clients with a longer one or none are given this. Without it theirs stands.",
    }),
    max_session_expiry: key(orWord("never", 0xffff_ffff, seconds({ max: 0xffff_fffe })), {
      default: "never",
      meaning: "Longest time a session is kept after its client has left, whatever the client asks for.",
    }),
    max_connections: key(count({ min: 1, max: 10_000_000 }), {
      default: "100000",
      meaning: "Connections at the same time; further ones are refused.",
    }),
    sys_interval: key(seconds({ max: 86_400 }), {
      default: "10s",
      meaning: "How often the figures under `$SYS/brokers/…` are published; 0: never.",
    }),
    response_information: optional(text(), {
      meaning: "Response Information for MQTT 5 clients that ask for it: the prefix of their response topics.",
    }),
    property_size: unused("idle", amount, "Largest user property.", "`max_packet_size` bounds properties as well"),
    retry_interval: unused("idle", time, "Timer for sending QoS messages again.", resend),
    batch_resend: unused("idle", flag, "Sending QoS messages again in batches.", resend),
    max_awaiting_rel: unused("idle", time, "Unused in the original too."),
    await_rel_timeout: unused("idle", time, "Unused in the original too."),
  },
  { meaning: "The protocol and its limits." },
);
