/**
 * Settings from environment variables: the original's `NANOMQ_…` names, the same names with `HOOKMQ_`, and for every key
 * `HOOKMQ_` and its path with `__` for the dot: HOOKMQ_WEBHOOK__URL. The later in this list wins.
 */
import type { Environment } from "../base/hocon/resolve.ts";
import type { HoconValue } from "../base/hocon/value.ts";
import type { Assignment } from "./assignments.ts";
import { placeOf, scalar } from "./assignments.ts";
import { listenerOfUrl } from "./broker-url.ts";

type Kind = "text" | "flag" | "kilobytes" | "targets" | "url";

const variables: readonly (readonly [name: string, path: string, kind?: Kind])[] = [
  ["BROKER_URL", "listeners", "url"],
  ["TCP_ENABLE", "listeners.tcp.enable", "flag"],
  ["DAEMON", "system.daemon", "flag"],
  ["NUM_TASKQ_THREAD", "system.num_taskq_thread"],
  ["MAX_TASKQ_THREAD", "system.max_taskq_thread"],
  ["PARALLEL", "system.parallel"],
  ["PID_FILE", "system.pid_file"],
  ["PROPERTY_SIZE", "mqtt.property_size"],
  ["MAX_PACKET_SIZE", "mqtt.max_packet_size", "kilobytes"],
  ["MSQ_LEN", "mqtt.max_mqueue_len"],
  ["QOS_DURATION", "mqtt.retry_interval"],
  ["ALLOW_ANONYMOUS", "auth.allow_anonymous", "flag"],
  ["WEBSOCKET_ENABLE", "listeners.ws.enable", "flag"],
  ["WEBSOCKET_URL", "listeners.ws.bind"],
  ["WEBSOCKET_TLS_ENABLE", "listeners.wss.enable", "flag"],
  ["WEBSOCKET_TLS_URL", "listeners.wss.bind"],
  ["TLS_ENABLE", "listeners.ssl.enable", "flag"],
  ["TLS_URL", "listeners.ssl.bind"],
  ["TLS_CA_CERT_PATH", "listeners.ssl.cacertfile"],
  ["TLS_CERT_PATH", "listeners.ssl.certfile"],
  ["TLS_KEY_PATH", "listeners.ssl.keyfile"],
  ["TLS_KEY_PASSWORD", "listeners.ssl.key_password"],
  ["TLS_VERIFY_PEER", "listeners.ssl.verify_peer", "flag"],
  ["TLS_FAIL_IF_NO_PEER_CERT", "listeners.ssl.fail_if_no_peer_cert", "flag"],
  ["HTTP_SERVER_ENABLE", "http_server.enable", "flag"],
  ["HTTP_SERVER_PORT", "http_server.port"],
  ["HTTP_SERVER_URL", "http_server.ip_addr"],
  ["HTTP_SERVER_PARALLEL", "http_server.parallel"],
  ["HTTP_SERVER_USERNAME", "http_server.username"],
  ["HTTP_SERVER_PASSWORD", "http_server.password"],
  ["HTTP_SERVER_AUTH_TYPE", "http_server.auth_type"],
  ["HTTP_SERVER_JWT_PUBLIC_KEYFILE", "http_server.jwt.public.keyfile"],
  ["HTTP_SERVER_JWT_PRIVATE_KEYFILE", "http_server.jwt.private.keyfile"],
  ["LOG_LEVEL", "log.level"],
  ["LOG_TO", "log.to", "targets"],
  ["LOG_UDS_ADDR", "log.uds_addr"],
  ["LOG_DIR", "log.dir"],
  ["LOG_FILE", "log.file"],
  ["LOG_ROTATION_SIZE", "log.rotation.size"],
  ["LOG_ROTATION_COUNT", "log.rotation.count"],
];

export function environmentAssignments(env: Environment): Assignment[] {
  const assignments: Assignment[] = [];
  for (const prefix of ["NANOMQ_", "HOOKMQ_"]) {
    for (const [name, path, kind = "text"] of variables) {
      const text = env[prefix + name];
      if (text !== undefined && text !== "") assignments.push(assignment(prefix + name, path, kind, text));
    }
  }
  for (const [name, text] of Object.entries(env)) {
    const path = /^HOOKMQ_([A-Z].*__.*)$/.exec(name)?.[1];
    if (path === undefined || text === undefined || text === "") continue;
    assignments.push(assignment(name, path.toLowerCase().replaceAll("__", "."), "text", text));
  }
  return assignments;
}

function assignment(variable: string, path: string, kind: Kind, text: string): Assignment {
  const at = placeOf(`environment ${variable}`);
  const target = kind === "url" ? listenerOfUrl(text) : undefined;
  if (target !== undefined) {
    return { path: ["listeners", target.listener, "bind"], value: { kind: "string", text: target.bind, at } };
  }
  // An address that nobody understands goes where its mistake will be found.
  const keys = kind === "url" ? ["listeners", "tcp", "bind"] : path.split(".");
  return { path: keys, value: hoconOf(kind, text, at) };
}

function hoconOf(kind: Kind, text: string, at: HoconValue["at"]): HoconValue {
  switch (kind) {
    case "flag":
      // The original's rule: these words are true, every other is false.
      return { kind: "boolean", value: /^(?:true|yes)$/i.test(text), at };
    case "kilobytes":
      return scalar(/^\d+$/.test(text) ? `${text}KB` : text, at);
    case "targets": {
      // The original looks for the words anywhere in the text.
      const words = text.toLowerCase().match(/console|file|syslog|uds/g) ?? [text];
      return { kind: "list", items: words.map((word) => ({ kind: "string", text: word, at })), at };
    }
    case "text":
    case "url":
      return scalar(text, at);
    default:
      return kind satisfies never;
  }
}
