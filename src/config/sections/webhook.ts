import type { z } from "zod";
import { isShared, parseTopicFilter } from "../../mqtt/topic.ts";
import type { ValueType } from "../schema.ts";
import { entryName, gone, key, list, optional, required, section, sectionWithNamed, unused } from "../schema.ts";
import { anything, choice, count, decimal, duration, flag, listOf, size, text } from "../value-types.ts";

const dayMs = 86_400_000;

/** Every event of the family; `webhook/options.ts` lists those that fire. */
const knownEvents = [
  "on_client_connack",
  "on_client_disconnected",
  "on_message_publish",
  "on_client_connect",
  "on_client_connected",
  "on_client_subscribe",
  "on_client_unsubscribe",
  "on_session_subscribed",
  "on_session_unsubscribed",
  "on_session_terminated",
  "on_message_delivered",
  "on_message_acked",
  "on_message_dropped",
] as const;

const url = text({
  type: "http:// or https:// address",
  check(address) {
    const expected = "an address like http://host:port/path or https://host/path";
    // URL() would quietly take line breaks out.
    if (/[\s\0]/.test(address) || !URL.canParse(address)) return expected;
    const { protocol, hostname } = new URL(address);
    const written = /^https?:\/\/[^/?#]/i.test(address);
    return written && (protocol === "http:" || protocol === "https:") && hostname !== "" ? undefined : expected;
  },
});

// CR, LF or NUL would let a value become a header of its own. [RFC 9110 5.5]
const headerValue = text({
  type: "header value",
  check: (value) => (/^[\t\x20-\x7e\x80-\xff]*$/.test(value) ? undefined : "a header value: one line of Latin-1 text"),
});

const topicFilter = text({
  type: "topic filter",
  check(filter) {
    if (isShared(filter)) return "a topic filter without `$share`: webhooks have no group to share with";
    return parseTopicFilter(filter) === undefined
      ? "a topic filter: `+` and `#` stand alone in their level, `#` at the end"
      : undefined;
  },
});

const headers = sectionWithNamed(
  {},
  {
    meaning: "Headers of every request, in this order.",
    named: {
      label: "<name>",
      checkName: headerName,
      schema: optional(headerValue, { meaning: "A header. Without a `content-type`: `application/json`." }),
    },
  },
);

const event = section(
  {
    event: required(
      { ...choice(knownEvents), type: "event name" },
      {
        meaning:
          "The event's name: `on_message_publish`, `on_client_connack` or `on_client_disconnected`. " +
          "(The other names of the family are known and not yet supported.)",
        laterValues: knownEvents.slice(3),
        note: "this event never fires",
      },
    ),
    topic: optional(listOf(topicFilter), {
      meaning:
        "Topic filter or list of them, for `on_message_publish`. Without it: every topic that does not begin with `$`.",
    }),
    clientid: unused("later", anything, "Only of clients with such an id.", "the rule fires for every client"),
    username: unused("later", anything, "Only of clients with such a user name.", "the rule fires for every user"),
    qos: unused("later", anything, "Only messages of this QoS.", "the rule fires for every QoS"),
    retain: unused("later", anything, "Only messages with this retain flag.", "the rule fires with and without"),
    sample: unused("later", anything, "One in so many.", "the rule fires every time"),
  },
  { meaning: "A rule: which event is sent. An event that matches several rules of one endpoint is sent once." },
);

const plainBody = "bodies are sent in the `edge` format, one a request";

const endpointKeys = {
  enable: key(flag, { default: "true", meaning: "`false` sends nothing." }),
  url: required(url, { meaning: "Where events are posted." }),
  headers,
  body: section(
    {
      encoding: key(choice(["plain", "base64", "base62"]), {
        default: "plain",
        meaning: "How the payload of a message stands in the body.",
      }),
    },
    { meaning: "The body of a request." },
  ),
  pool_size: key(count({ min: 1, max: 1024 }), {
    default: "32",
    meaning: "Connections to the endpoint at the same time.",
  }),
  cancel_timeout: key(duration({ bare: "ms", minMs: 1, maxMs: dayMs }), {
    default: "5s",
    meaning: "How long one attempt may take, from its start to the end of the answer.",
  }),
  request_timeout: optional(duration({ bare: "s", minMs: 1, maxMs: dayMs }), {
    meaning: "The same as `cancel_timeout`, and wins over it.",
  }),
  connect_timeout: key(duration({ bare: "s", minMs: 1, maxMs: dayMs }), {
    default: "5s",
    meaning: "How long connecting may take.",
  }),
  order_by: key(choice(["client", "topic", "endpoint", "none"]), {
    default: "client",
    laterValues: ["topic", "endpoint", "none"],
    note: "the order is kept per client",
    meaning: "What is sent in order: events of one `client`. (`topic`, `endpoint`, `none` are not yet supported.)",
  }),
  retry: section(
    {
      schedule: key(listOf(duration({ bare: "s", maxMs: 7 * dayMs })), {
        default: ["1s", "5s", "15s", "60s", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "8h"],
        meaning: "The waits before attempt 2, 3, …; after the last the delivery is given up. `[]`: one attempt only.",
      }),
      jitter: key(fraction(), { default: "0.2", meaning: "Each wait is spread by ± this part of it." }),
    },
    { meaning: "What follows a failed attempt." },
  ),
  max_age: key(duration({ bare: "s", minMs: 1000, maxMs: 365 * dayMs }), {
    default: "24h",
    meaning: "An event older than this is given up, whatever the schedule says.",
  }),
  queue: section(
    {
      max_bytes: optional(size({ min: 1024, max: 1024 ** 4 }), {
        meaning:
          "What may wait for this endpoint: its bodies, and 512 bytes for each. Without it: `1GB` on disk, `16MB` where `durability` is `memory`.",
      }),
      overflow: key(choice(["drop_oldest", "drop_newest", "block"]), {
        default: "drop_oldest",
        laterValues: ["block"],
        note: "the oldest are dropped",
        meaning: "What goes when there is no room. (`block` is not yet supported.)",
      }),
    },
    { meaning: "Events that wait." },
  ),
  ts_unit: key(choice(["ms", "s"]), { default: "ms", meaning: "Unit of `ts` in message events." }),
  events: list(event, { meaning: "The rules." }),
  durability: key(choice(["strict", "disk", "memory"]), {
    default: "strict",
    meaning:
      "`strict`: PUBACK and PUBREC are sent when the event is safe on the disk. `disk`: it is written at once and safe within 50 ms, PUBACK does not wait. `memory`: it ends with the process.",
  }),
  format: optional(choice(["edge", "cloudevents", "cloudevents-binary", "raw", "template"]), {
    meaning: "Shape of the body. Only `edge`, the tutorial's, is supported yet.",
    laterValues: ["cloudevents", "cloudevents-binary", "raw", "template"],
    note: plainBody,
  }),
  batch: section(
    {
      max_events: optional(count({ min: 1, max: 10_000 }), {
        meaning: "So many are sent together. Any of the keys of `batch` switches batches on; without this one: 500.",
      }),
      max_bytes: optional(size({ min: 1024, max: 16 * 1024 ** 2 }), {
        meaning: "… or so many bytes of single bodies. Without it: `1MB`.",
      }),
      max_wait: optional(duration({ bare: "ms", maxMs: 60_000 }), {
        meaning: "… or after the first has waited for so long. Without it: `50ms`.",
      }),
      format: optional(choice(["json", "ndjson"]), {
        meaning: "`json`: an array of the single bodies. `ndjson`: one on each line. Without it: `json`.",
      }),
    },
    { meaning: "Several events in one request; the first limit that is reached sends." },
  ),
  compression: unused("later", anything, "Compressed bodies."),
  template: unused("later", anything, "Bodies of your own making.", plainBody),
  secret: unusedSecret("Signs every request.", "requests are not signed"),
  secrets: unusedSecret("Several secrets, while one replaces another.", "requests are not signed"),
  auth: unusedSecret("Proves to the endpoint who we are.", "requests carry no credentials but those in `headers`"),
  tls: unused("later", anything, "Certificates for https.", "the certificates that Node.js trusts are used"),
  ssl: unused("later", anything, "Older spelling of `tls`.", "the certificates that Node.js trusts are used"),
  proxy: unusedSecret("HTTP proxy.", "requests go straight to the endpoint"),
  dead_letters: section(
    {
      max_bytes: optional(size({ min: 1024, max: 1024 ** 4 }), {
        meaning:
          "What is kept of deliveries that were given up: their bodies, and 512 bytes for each; beyond it the oldest go. Without it: `256MB` on disk, `16MB` where `durability` is `memory`.",
      }),
      max_age: key(duration({ bare: "s", minMs: 1000, maxMs: 365 * dayMs }), {
        default: "7d",
        meaning: "How long they are kept.",
      }),
    },
    { meaning: "Deliveries that were given up: kept for a while to be looked at." },
  ),
  egress: unused("later", anything, "Which addresses may be connected to.", "any address may be"),
  rate: optional(requestsPerSecond(), { meaning: "Most requests a second, as `100` or `100/s`." }),
};

/** One endpoint, complete: its own keys over those it takes from `webhook`. */
export const endpoint = section(endpointKeys, { meaning: "One receiver of events." });
export type EndpointKeys = z.output<typeof endpoint>;

const oldRules =
  'rules as a list: events = [ { event = on_client_connack }, { event = on_message_publish, topic = "a/b" } ]';

/** The section as written: the keys of the endpoint `default`, which also hold for every endpoint that leaves them out. */
export const webhook = section(
  {
    ...endpointKeys,
    url: optional(url, { meaning: "Where events are posted. Needed unless every one of `endpoints` has its own." }),
    endpoints: sectionWithNamed(
      {},
      {
        meaning: "Further endpoints.",
        named: {
          label: "<name>",
          checkName: entryName,
          schema: section(
            { ...endpointKeys, url: optional(url, { meaning: "Where its events are posted." }) },
            {
              meaning: "One more receiver. It has every key of `webhook`, and takes from there what it leaves out.",
              inherits: "webhook",
            },
          ),
        },
      },
    ),
    rule: gone(oldRules),
  },
  { meaning: "Events posted to HTTP endpoints." },
);

// Node and undici set these from the request itself and refuse to send others.
const ownHeaders = ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "expect"];

function headerName(name: string): string | undefined {
  if (ownHeaders.includes(name.toLowerCase())) return "a header that is not set by the connection itself";
  return /^[\w!#$%&'*+.^`|~-]+$/.test(name) ? undefined : "a header name: letters, digits and `-`"; // [RFC 9110 5.1]
}

function unusedSecret(meaning: string, note: string) {
  return optional(anything, { meaning, status: "later", note, secret: true });
}

function requestsPerSecond(): ValueType<number> {
  const type = "requests a second";
  return {
    type,
    read(input) {
      const match = /^(\d{1,6}(?:\.\d+)?)(?:\s*\/\s*s)?$/.exec(`${input}`.trim());
      const value = match === null ? 0 : Number(match[1]);
      return value >= 0.01 && value <= 100_000 ? { value } : { expected: "requests a second, like 100 or 100/s" };
    },
  };
}

function fraction(): ValueType<number> {
  const upTo = decimal({ above: -1, max: 1 });
  const type = "a number from 0 to 1";
  return {
    type,
    read(input) {
      const reading = upTo.read(input);
      return "value" in reading && reading.value >= 0 ? reading : { expected: type };
    },
  };
}
