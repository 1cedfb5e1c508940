/**
 * Sections of the original whose features are not built yet. Their keys are known and checked, so that a typing mistake
 * does not wait for the day they are; one warning says that the section does nothing.
 */
import { entryName, list, optional, section, sectionWithNamed, unused } from "../schema.ts";
import { anything, choice, count, duration, flag, listOf, orWord, size, text } from "../value-types.ts";

const hourMs = 3_600_000;
const time = duration({ bare: "s", maxMs: 24_000 * hourMs });
const timeMs = duration({ bare: "ms", maxMs: 24_000 * hourMs });
const amount = count({ min: 0, max: Number.MAX_SAFE_INTEGER });
const qos = count({ min: 0, max: 2 });
/** The original takes any other number for "leave it as it is". */
const anyNumber = count({ min: -1, max: 255 });

const everyone = "everyone may connect, publish and subscribe";

export const auth = section(
  {
    allow_anonymous: optional(flag, {
      meaning: "Only `true` is supported yet: everyone may connect.",
      laterValues: ["false", "no", "off"],
      note: "everyone may connect, with any password or none",
    }),
    no_match: unused("later", choice(["allow", "deny"]), "What holds when no access rule matches.", everyone),
    deny_action: unused("later", choice(["ignore", "disconnect"]), "What follows a refusal.", everyone),
    enable: unused("later", flag, "Switches authentication on.", everyone),
    password: optional(anything, {
      meaning: "User names and passwords.",
      status: "later",
      note: "passwords are not checked, everyone may connect",
      secret: true,
    }),
    acl: unused("later", anything, "Access rules.", `rules are not applied, ${everyone}`),
    cache: unused("later", anything, "Cache of access decisions."),
    http_auth: optional(anything, {
      meaning: "Asks an HTTP service who may connect.",
      status: "later",
      note: "nobody is asked, everyone may connect",
      secret: true,
    }),
  },
  { meaning: "Who may connect, and do what." },
);

export const httpServer = section(
  {
    enable: one(flag),
    port: one(count({ min: 0, max: 65_535 })),
    ip_addr: one(text()),
    limit_conn: one(amount),
    max_body: one(size({ min: 1, max: 1024 ** 3 })),
    parallel: one(amount),
    username: one(text()),
    password: secret(),
    auth_type: one(choice(["basic", "jwt", "no_auth"])),
    jwt: section(
      {
        public: section({ keyfile: one(text()) }, { meaning: "" }),
        private: section({ keyfile: one(text()) }, { meaning: "" }),
      },
      { meaning: "" },
    ),
  },
  { meaning: "Management API over HTTP.", status: "later", note: "no management API is served" },
);

export const sqlite = section(
  {
    enable: one(flag),
    disk_cache_size: one(amount),
    mounted_file_path: one(text()),
    flush_mem_threshold: one(amount),
    resend_interval: one(timeMs),
  },
  {
    meaning: "Sessions and messages on disk.",
    status: "later",
    note: "its keys do nothing, the store keeps both without them",
  },
);

const tls = section(
  {
    enable: one(flag),
    key_password: secret(),
    keyfile: one(text()),
    certfile: one(text()),
    cacertfile: one(text()),
    verify_peer: one(flag),
  },
  { meaning: "" },
);

const userProperties = one(anything);

const bridged = {
  remote_topic: one(text()),
  local_topic: one(text()),
  qos: one(anyNumber),
  retain: one(orWord<number>("true", 1, orWord<number>("false", 0, anyNumber))),
  prefix: one(text()),
  suffix: one(text()),
};

const mqttBridge = section(
  {
    enable: one(flag),
    server: one(text()),
    proto_ver: one(count({ min: 3, max: 5 })),
    clientid: one(text()),
    keepalive: one(time),
    backoff_max: one(time),
    clean_start: one(flag),
    username: one(text()),
    password: secret(),
    retry_qos_0: one(flag),
    no_local_v4: one(flag),
    transparent: one(flag),
    ssl: tls,
    tcp: section(
      {
        nodelay: one(flag),
        keepalive: one(flag),
        quickack: one(flag),
        keepidle: one(time),
        keepintvl: one(time),
        keepcnt: one(time),
        sendtimeo: one(timeMs),
        recvtimeo: one(timeMs),
        bind_interface: one(text()),
      },
      { meaning: "" },
    ),
    conn_properties: section(
      {
        session_expiry_interval: one(amount),
        request_problem_infomation: one(amount),
        request_response_infomation: one(amount),
        receive_maximum: one(amount),
        topic_alias_maximum: one(amount),
        maximum_packet_size: one(amount),
        user_property: userProperties,
      },
      { meaning: "" },
    ),
    will: section(
      {
        topic: one(text()),
        payload: one(text()),
        qos: one(qos),
        retain: one(flag),
        properties: section(
          {
            payload_format_indicator: one(amount),
            message_expiry_interval: one(amount),
            content_type: one(text()),
            response_topic: one(text()),
            correlation_data: one(text()),
            will_delay_interval: one(amount),
            user_property: userProperties,
          },
          { meaning: "" },
        ),
      },
      { meaning: "" },
    ),
    forwards: list(section(bridged, { meaning: "" }), { meaning: "" }),
    subscription: list(
      section(
        {
          ...bridged,
          retain_as_published: one(orWord<number>("true", 1, orWord<number>("false", 0, anyNumber))),
          retain_handling: one(count({ min: 0, max: 2 })),
          nolocal: one(flag),
          stream_id: one(amount),
        },
        { meaning: "" },
      ),
      { meaning: "" },
    ),
    sub_properties: section({ identifier: one(amount), user_property: userProperties }, { meaning: "" }),
    max_parallel_processes: one(amount),
    max_send_queue_len: one(amount),
    max_recv_queue_len: one(amount),
    resend_interval: one(timeMs),
    resend_wait: one(timeMs),
    cancel_timeout: one(timeMs),
    hybrid_bridging: one(flag),
    hybrid_servers: one(listOf(text())),
    quic_keepalive: one(time),
    quic_idle_timeout: one(time),
    quic_discon_timeout: one(time),
    quic_handshake_timeout: one(time),
    quic_send_idle_timeout: one(time),
    quic_initial_rtt_ms: one(timeMs),
    quic_max_ack_delay_ms: one(timeMs),
    quic_multi_stream: one(flag),
    quic_qos_priority: one(flag),
    quic_0rtt: one(flag),
  },
  { meaning: "" },
);

const named = { label: "<name>", checkName: entryName };

export const bridges = section(
  {
    mqtt: sectionWithNamed({ cache: sqlite }, { meaning: "", named: { ...named, schema: mqttBridge } }),
    aws: sectionWithNamed({}, { meaning: "", named: { ...named, schema: mqttBridge } }),
    nng: one(anything),
  },
  {
    meaning: "Topics carried to and from other brokers.",
    status: "later",
    note: "no topic is carried to or from another broker",
  },
);

/** Sections of which only the name is known here. */
export const known = {
  preset: unknownInside("Sessions of clients that have not connected yet.", "no session is made"),
  rules: unknownInside("Rules that write to databases.", "no rule is run"),
  exchange_client: unknownInside("Message queues of the commercial editions.", "nothing is queued"),
  parquet: unknownInside("Parquet files of the commercial editions.", "nothing is written"),
  plugin: unknownInside("Shared libraries.", "no library is loaded"),
};

/** A key inside a section that is not supported: that section's warning speaks for it. */
function one(type: Parameters<typeof optional>[0]) {
  return optional(type, { meaning: "" });
}

function secret() {
  return optional(text(), { meaning: "", secret: true });
}

function unknownInside(meaning: string, note: string) {
  return optional(anything, { meaning, status: "later", note, secret: true });
}
