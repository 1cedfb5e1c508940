/**
 * The older format of the original, one `key=value` a line. Read for webhooks, listeners and logging; for every other key
 * it says what to write in the present format.
 */
import { Problems } from "../base/hocon/problems.ts";
import type { HoconObject, HoconValue, Position, Problem } from "../base/hocon/value.ts";
import type { Assignment } from "./assignments.ts";
import { assemble, scalar } from "./assignments.ts";
import { listenerOfUrl } from "./broker-url.ts";
import { nearest } from "./nearest.ts";

export interface KeyValueResult {
  root: HoconObject;
  errors: Problem[];
}

/** Keys that no HOCON file of the original has. */
const onlyOld =
  /^\s*(?:web\.hook\.\S+|url|num_taskq_thread|max_taskq_thread|parallel|property_size|max_packet_size|client_max_packet_size|msq_len|qos_duration|keepalive_backoff|allow_anonymous|enable_ipc_internal|daemon|auth_enable|acl_\w+|acl\.rule\.\S+|tls\.\S+|websocket\.\S+|rule_option\S*)\s*=/;

/** Whether a file is in the older format, also when it was handed over as a new one. */
export function looksLikeKeyValue(text: string): boolean {
  const lines = text.split("\n").map((line) => line.replace(/(?:^|\s)(?:#|\/\/).*$/, "").trimEnd());
  return lines.some((line) => onlyOld.test(line)) && !lines.some((line) => /[{[]$/.test(line));
}

/** What is read, and the key it is now. */
const readKeys: Readonly<Record<string, string>> = {
  "web.hook.enable": "webhook.enable",
  "web.hook.url": "webhook.url",
  "web.hook.body.encoding_of_payload_field": "webhook.body.encoding",
  "web.hook.pool_size": "webhook.pool_size",
  "web.hook.cancel_timeout": "webhook.cancel_timeout",
  "tls.enable": "listeners.ssl.enable",
  "tls.url": "listeners.ssl.bind",
  "tls.keyfile": "listeners.ssl.keyfile",
  "tls.certfile": "listeners.ssl.certfile",
  "tls.cacertfile": "listeners.ssl.cacertfile",
  "tls.key_password": "listeners.ssl.key_password",
  "tls.verify_peer": "listeners.ssl.verify_peer",
  "tls.fail_if_no_peer_cert": "listeners.ssl.fail_if_no_peer_cert",
  "websocket.enable": "listeners.ws.enable",
  "websocket.url": "listeners.ws.bind",
  "websocket.tls_enable": "listeners.wss.enable",
  "websocket.tls_url": "listeners.wss.bind",
  "log.level": "log.level",
  "log.dir": "log.dir",
  "log.file": "log.file",
  "log.rotation.size": "log.rotation.size",
  "log.rotation.count": "log.rotation.count",
};

/** What is refused, by the beginning of the key, and where it is written now. */
const movedKeys: readonly (readonly [beginning: string, now: string])[] = [
  ["daemon", "system.daemon"],
  ["num_taskq_thread", "system.num_taskq_thread"],
  ["max_taskq_thread", "system.max_taskq_thread"],
  ["parallel", "system.parallel"],
  ["enable_ipc_internal", "system.enable_ipc_internal"],
  ["property_size", "mqtt.property_size"],
  ["max_packet_size", "mqtt.max_packet_size"],
  ["client_max_packet_size", "mqtt.max_packet_size"],
  ["msq_len", "mqtt.max_mqueue_len"],
  ["qos_duration", "mqtt.retry_interval"],
  ["keepalive_backoff", "mqtt.keepalive_multiplier"],
  ["allow_anonymous", "auth.allow_anonymous"],
  ["auth_enable", "auth.enable"],
  ["auth.http.", "auth.http_auth"],
  ["auth.", "auth.password"],
  ["acl_nomatch", "auth.no_match"],
  ["acl_deny_action", "auth.deny_action"],
  ["acl_cache_", "auth.cache"],
  ["enable_acl_cache", "auth.cache"],
  ["acl_enable", "auth.acl"],
  ["acl.rule.", "auth.acl.rules"],
  ["http_server.", "http_server"],
  ["sqlite.", "sqlite"],
  ["bridge.mqtt.", "bridges.mqtt.<name>"],
  ["bridge.sqlite.", "bridges.mqtt.cache"],
  ["aws.bridge.mqtt.", "bridges.aws.<name>"],
  ["rule_option", "rules"],
  ["rule.", "rules"],
  ["web.hook.ssl.", "webhook.tls"],
];

const headerPrefix = "web.hook.headers.";
const rulePattern = /^web\.hook\.rule\.(client|session|message)\.(\w+)\.\d+$/;
/** `rule.client.connack` and its kin: the event is taken from the key, not from `action`. */
const eventOfRule = (group: string, verb: string) => `on_${group}_${verb}`;

export function readKeyValue(text: string, file: string): KeyValueResult {
  const problems = new Problems();
  const assignments: Assignment[] = [];
  const rules: HoconValue[] = [];
  let hookEnabled = false;
  let hooks = false;

  for (const [index, line] of text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    if (/^\s*(?:#|$)/.test(line)) continue;
    const [, indent, key, separator, written] = /^(\s*)([^\s=]+)(\s*=\s*)(.*)$/.exec(line.trimEnd()) ?? [];
    const at = { file, line: index + 1, column: (indent?.length ?? line.length - line.trimStart().length) + 1 };
    if (indent === undefined || key === undefined || separator === undefined || written === undefined) {
      problems.error(at, "this is no setting", { found: `\`${line.trim().slice(0, 60)}\``, expected: "key=value" });
      continue;
    }
    const valueAt = { ...at, column: at.column + key.length + separator.length };
    const value = scalar(written, valueAt);
    const rule = rulePattern.exec(key);
    hooks ||= key.startsWith("web.hook.");
    if (key === "web.hook.enable") hookEnabled = /^true$/i.test(written);

    if (rule !== null) {
      const item = ruleItem(eventOfRule(rule[1]!, rule[2]!), written, valueAt, problems);
      if (item !== undefined) rules.push(item);
    } else if (key.startsWith(headerPrefix)) {
      assignments.push({ path: ["webhook", "headers", key.slice(headerPrefix.length)], value });
    } else if (key === "url") {
      const target = listenerOfUrl(written) ?? { listener: "tcp", bind: written };
      assignments.push({ path: ["listeners", target.listener, "bind"], value: scalar(target.bind, valueAt) });
    } else if (key === "log.to") {
      const items = written.split(",").map((word) => scalar(word.trim(), valueAt));
      assignments.push({ path: ["log", "to"], value: { kind: "list", items, at: valueAt } });
    } else if (Object.hasOwn(readKeys, key)) {
      assignments.push({ path: readKeys[key]!.split("."), value });
    } else refuse(key, at, problems);
  }

  const start = { file, line: 1, column: 1 };
  if (rules.length > 0) {
    assignments.push({ path: ["webhook", "events"], value: { kind: "list", items: rules, at: rules[0]!.at } });
  }
  // In this format webhooks are off until they are switched on.
  if (hooks && !hookEnabled) {
    assignments.push({ path: ["webhook", "enable"], value: { kind: "boolean", value: false, at: start } });
  }
  return { root: assemble(assignments, start), errors: problems.errors };
}

function ruleItem(event: string, written: string, at: Position, problems: Problems): HoconValue | undefined {
  const expected = 'JSON like {"action": "on_message_publish", "topic": "a/#"}';
  let rule: unknown;
  try {
    rule = JSON.parse(written);
  } catch {
    problems.error(at, "a webhook rule cannot be read", { found: `\`${written.slice(0, 60)}\``, expected });
    return undefined;
  }
  if (typeof rule !== "object" || rule === null || Array.isArray(rule)) {
    problems.error(at, "a webhook rule is no object", { found: `\`${written.slice(0, 60)}\``, expected });
    return undefined;
  }
  const topic = "topic" in rule ? rule.topic : undefined;
  const assignments: Assignment[] = [{ path: ["event"], value: { kind: "string", text: event, at } }];
  if (typeof topic === "string") assignments.push({ path: ["topic"], value: { kind: "string", text: topic, at } });
  else if (topic !== undefined) {
    problems.error(at, "the topic of a webhook rule is no text", { found: JSON.stringify(topic), expected });
  }
  return assemble(assignments, at);
}

function refuse(key: string, at: Position, problems: Problems): void {
  const found = `\`${key.slice(0, 80)}\``;
  const now = movedKeys.find(([beginning]) => key.startsWith(beginning))?.[1];
  if (now === undefined) {
    const similar = nearest(key, [...Object.keys(readKeys), "url", "log.to"]);
    problems.error(at, "unknown key", { found, expected: similar === undefined ? undefined : `\`${similar}\`` });
  } else {
    problems.error(at, `${key.slice(0, 80)} is not read from a key=value file`, {
      found,
      expected: `\`${now}\` in a HOCON file (see docs/configuration.md)`,
    });
  }
}
