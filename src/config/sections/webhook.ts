import { isIP } from "node:net";
import type { z } from "zod";
import { isShared, parseTopicFilter } from "../../mqtt/topic.ts";
import { type EgressOptions, rangeFault } from "../../webhook/egress.ts";
import { hmacKeyBytesMin, plainSecretBytesMin, secretsMax } from "../../webhook/limits.ts";
import { secretFault } from "../../webhook/signature.ts";
import { eventNames } from "../../webhook/options.ts";
import { compileTemplate, type TemplatePlace } from "../../webhook/template.ts";
import type { ValueType } from "../schema.ts";
import { entryName, gone, key, list, optional, required, section, sectionWithNamed } from "../schema.ts";
import { atMost, choice, count, decimal, duration, flag, listOf, size, text } from "../value-types.ts";

const dayMs = 86_400_000;

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

const proxyUrl = text({
  type: "http:// address of a proxy",
  check(address) {
    const isProxy = /^http:\/\/[^/?#\s]+\/?$/i.test(address) && URL.canParse(address);
    return isProxy && isDecodable(new URL(address)) ? undefined : "an address like http://user:password@host:port";
  },
});

/** Of user names and passwords with a stray `%`. */
function isDecodable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

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

const signingSecret = text({ type: "secret", check: secretFault });
const glob = text({
  type: "text with `*` and `?`",
  check: (pattern) => (pattern === "" ? "an id or name, or a pattern of one with `*` and `?`" : undefined),
});

const uri = text({
  type: "absolute URI",
  check: (address) =>
    /^[a-z][a-z\d+.-]*:[!#-;=?-Z_a-z~[\]]+$/i.test(address)
      ? undefined
      : "an absolute URI like https://plant.example/broker",
});

function template(place: TemplatePlace): ValueType<string> {
  return text({
    type: "template",
    check(written) {
      const reading = compileTemplate(written, place);
      return "expected" in reading ? reading.expected : undefined;
    },
  });
}

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
      { ...choice(eventNames), type: "event name" },
      { meaning: `The event's name: ${eventNames.map((name) => `\`${name}\``).join(", ")}.` },
    ),
    topic: optional(listOf(topicFilter), {
      meaning:
        "Topic filter or list of them, for `on_message_…`. Without it: every topic that does not begin with `$`.",
    }),
    clientid: optional(listOf(glob), {
      meaning: "Only of a client with such an id, or one of several: `*` is any text, `?` any one character.",
    }),
    username: optional(listOf(glob), { meaning: "Only of a client with such a user name, or one of several." }),
    qos: optional(listOf(count({ min: 0, max: 2 })), {
      meaning: "Only messages published with this QoS, or one of several.",
    }),
    retain: optional(flag, { meaning: "Only messages published with this RETAIN flag." }),
    sample: optional(sample(), { meaning: "Only one in so many, by chance: `1/10`." }),
  },
  { meaning: "A rule: which event is sent. An event that matches several rules of one endpoint is sent once." },
);

const tlsKeys = {
  cacertfile: optional(text({ type: "file" }), {
    meaning:
      "PEM file of the authorities to trust, instead of those that Node.js trusts. Like all files here: beside the configuration file unless the path is absolute, and read again when it changes.",
  }),
  certfile: optional(text({ type: "file" }), { meaning: "PEM file of our own certificate, for receivers that ask." }),
  keyfile: optional(text({ type: "file" }), { meaning: "PEM file of its key." }),
  key_password: optional(text(), { meaning: "Password of the key.", secret: true }),
  verify_peer: optional(flag, {
    meaning: "`false` takes whoever answers for the receiver: for trying things only. Without it: `true`.",
  }),
  server_name: optional(text({ type: "host name", check: serverName }), {
    meaning: "Name to ask for, and that the certificate must have, where it is not the host of `url`.",
  }),
};

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
    meaning:
      "What is sent one after another: events of one `client`, of one `topic` (client events: of one client), all of the `endpoint`, or `none`.",
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
  format: key(choice(["edge", "cloudevents", "cloudevents-binary", "raw", "template"]), {
    default: "edge",
    meaning:
      "Shape of a request: `edge`, the tutorial's JSON; CloudEvents 1.0, structured or binary; `raw`, the payload and headers; `template`, your own.",
  }),
  cloudevents: section(
    {
      source: optional(uri, {
        meaning: "The `source` of CloudEvents, an absolute URI. Without it: `/brokers/` and the name of the node.",
      }),
    },
    { meaning: "For `format = cloudevents` and `cloudevents-binary`." },
  ),
  batch: section(
    {
      max_events: optional(count({ min: 1, max: 10_000 }), {
        meaning:
          "Events that are sent together. Any of the keys of `batch` switches batches on; without this one: 500.",
      }),
      max_bytes: optional(size({ min: 1024, max: 16 * 1024 ** 2 }), {
        meaning: "Bytes of single bodies that are sent together. Without it: `1MB`.",
      }),
      max_wait: optional(duration({ bare: "ms", maxMs: 60_000 }), {
        meaning: "How long the first of them waits for others. Without it: `50ms`.",
      }),
      format: optional(choice(["json", "ndjson"]), {
        meaning: "`json`: an array of the single bodies. `ndjson`: one on each line. Without it: `json`.",
      }),
    },
    { meaning: "Several events in one request; the first limit that is reached sends." },
  ),
  compression: key(choice(["none", "gzip", "br"]), {
    default: "none",
    meaning: "Compresses bodies of 1 KiB and more; the receiver is told by `content-encoding`.",
  }),
  template: section(
    {
      url_path: optional(template("path"), { meaning: "Path of the address, in place of the one in `url`." }),
      query: optional(template("query"), { meaning: "Query of the address, in place of the one in `url`." }),
      headers: sectionWithNamed(
        {},
        {
          meaning: "Headers made of the event.",
          named: {
            label: "<name>",
            checkName: templateHeaderName,
            schema: optional(template("header"), { meaning: "A header." }),
          },
        },
      ),
      body: optional(template("body"), {
        meaning: "The body. JSON stays JSON, whatever is filled in. Without it: that of `edge`.",
      }),
    },
    { meaning: "For `format = template`: texts with placeholders like `${topic}`, in quotes." },
  ),
  secret: optional(signingSecret, {
    secret: true,
    meaning: `Signs every request: [Signatures](webhooks.md#signatures). \`whsec_\` and base64 of ${hmacKeyBytesMin} bytes or more, \`whsk_\` and base64 of an ed25519 key, or any other text of ${plainSecretBytesMin} characters or more (a shorter one can be guessed from one signed request).`,
  }),
  secrets: optional(atMost(secretsMax, listOf(signingSecret)), {
    secret: true,
    meaning:
      "Several secrets, newest first, while one replaces another: each request has a signature for each. `secret`, where it is given as well, is before them.",
  }),
  auth: section(
    {
      basic: section(
        {
          username: optional(text({ type: "user name", check: userName }), { meaning: "User name." }),
          password: optional(text(), { meaning: "Password.", secret: true }),
        },
        { meaning: "Basic authorization." },
      ),
      bearer: optional(text({ type: "token", check: bearerToken }), {
        meaning: "A token that is sent as it is.",
        secret: true,
      }),
      oauth2: section(
        {
          token_url: optional(url, { meaning: "Where access tokens are asked for, by client credentials." }),
          client_id: optional(text(), { meaning: "Who asks." }),
          client_secret: optional(text(), { meaning: "Its secret.", secret: true }),
          scope: optional(text(), { meaning: "What the token is for, in the words of who gives it." }),
          audience: optional(text(), { meaning: "Whom it is for, where the token endpoint asks for that." }),
          credentials_in: key(choice(["header", "body"]), {
            default: "header",
            meaning: "Where the token endpoint wants id and secret: Basic authorization, or the form in the body.",
          }),
        },
        { meaning: "OAuth 2.0." },
      ),
    },
    {
      meaning:
        "Says to the endpoint who we are, by one of three ways; it wins over `headers.authorization` and over a name in `url`.",
    },
  ),
  tls: section(tlsKeys, { meaning: "How an https receiver is met." }),
  ssl: section(
    { enable: optional(flag, { meaning: "`false`: this section says nothing." }), ...tlsKeys },
    { meaning: "Older spelling of `tls`." },
  ),
  proxy: optional(proxyUrl, {
    meaning:
      "HTTP proxy, as `http://user:password@host:port`. What is https is tunnelled through it; which addresses it connects to is its own affair, `egress` judges the proxy's.",
  }),
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
  egress: key(egressType(), {
    default: "guarded",
    meaning:
      'Which addresses may be connected to: [Where requests may go](webhooks.md#where-requests-may-go). `guarded`: all but link-local ones, those of cloud metadata, 0.0.0.0/8 and multicast. `public_only`: public ones. `{ allow = ["10.0.0.0/8"] }`: only these.',
  }),
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

/** What the engine says in every request is not for a template to say. */
function templateHeaderName(name: string): string | undefined {
  const isOurs = /^(?:webhook-.*|x-webhook-attempt|host)$/i.test(name);
  return isOurs ? "a header that is not set by the broker itself" : headerName(name);
}

/** Basic authorization has the colon between name and password. [RFC 7617 2] */
function userName(name: string): string | undefined {
  return name !== "" && !name.includes(":") ? undefined : "a user name without `:`";
}

/** [RFC 6750 2.1] */
function bearerToken(token: string): string | undefined {
  return /^[\x21-\x7e]+$/.test(token) ? undefined : "a token: letters, digits and signs, no spaces";
}

function serverName(name: string): string | undefined {
  return /^[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?$/i.test(name) && isIP(name) === 0 ? undefined : "a host name";
}

function egressType(): ValueType<EgressOptions> {
  const mode = choice(["guarded", "public_only"]);
  const ranges = listOf(
    text({
      type: "address range",
      check: rangeFault,
    }),
  );
  const expected = 'guarded, public_only or { allow = ["10.0.0.0/8"] }';
  return {
    type: "guarded, public_only, or { allow = list of address ranges }",
    read(input) {
      if (typeof input !== "object" || input === null || Array.isArray(input)) {
        const reading = mode.read(input);
        return "value" in reading ? { value: { mode: reading.value } } : { expected };
      }
      const entries = Object.entries(input);
      if (entries.length !== 1 || entries[0]![0].toLowerCase() !== "allow") return { expected };
      const reading = ranges.read(entries[0]![1]);
      return "value" in reading ? { value: { mode: "allow", ranges: reading.value } } : reading;
    },
  };
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

/** One in n, as `1/n` or as the number that is. */
function sample(): ValueType<number> {
  const type = "1/n, or a number over 0 and up to 1";
  const number = decimal({ above: 0, max: 1 });
  return {
    type,
    read(input) {
      const n = typeof input === "string" ? /^\s*1\s*\/\s*([1-9]\d{0,8})\s*$/.exec(input)?.[1] : undefined;
      if (n !== undefined) return { value: 1 / Number(n) };
      const reading = number.read(input);
      return "value" in reading ? reading : { expected: `one in n as 1/n, like 1/10` };
    },
  };
}
