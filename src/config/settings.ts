/** Sections as read become the options that the rest of the house takes. */
import path from "node:path";
import type { LogOptions } from "../base/log.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { StoreOptions } from "../store/options.ts";
import type { TcpListenerOptions } from "../transport/options.ts";
import { deadLetterBytesMaxInMemory, queueBytesMaxInMemory } from "../webhook/limits.ts";
import type { BatchOptions, EndpointOptions, EventName, RuleOptions, WebhookOptions } from "../webhook/options.ts";
import { batchDefaults, eventNames } from "../webhook/options.ts";
import type { Configuration } from "./configuration.ts";
import { namedEntries } from "./schema.ts";
import { defaultBind, parseBind } from "./sections/listeners.ts";
import type { EndpointKeys } from "./sections/webhook.ts";

export interface Settings {
  system: SystemOptions;
  broker: BrokerOptions;
  listeners: { tcp: readonly TcpListenerOptions[] };
  log: LogOptions;
  webhook: WebhookOptions;
  store: StoreOptions;
}

const gibibyte = 1024 ** 3;

interface SystemOptions {
  daemon: boolean;
  pidFile: string;
}

export const defaultPidFile = "/tmp/hookmq/hookmq.pid";

export interface Sections {
  configuration: Configuration;
  /** Of `webhook`, each with what it inherits. */
  endpoints: readonly (readonly [name: string, keys: EndpointKeys])[];
  /** A file that lists only other listeners wants none on TCP. */
  tcp: boolean;
  version: string;
  /** Of the configuration file: a relative data folder is beside it. */
  folder: string;
}

export function toSettings({ configuration, endpoints, tcp, version, folder }: Sections): Settings {
  const { system, mqtt, log, webhook, store } = configuration;
  return {
    system: { daemon: system.daemon, pidFile: system.pid_file ?? defaultPidFile },
    broker: {
      nodeName: system.node_name,
      version,
      packetBytesMax: mqtt.max_packet_size,
      queuedMessagesMax: mqtt.max_mqueue_len,
      topicAliasMax: mqtt.max_topic_alias,
      receiveMaximum: mqtt.receive_maximum,
      inflightMessagesMax: mqtt.max_inflight_window,
      keepAliveMultiplier: mqtt.keepalive_multiplier,
      keepAliveSecondsMax: mqtt.max_keepalive,
      sessionExpirySecondsMax: mqtt.max_session_expiry,
      connectionsMax: mqtt.max_connections,
      sysIntervalSeconds: mqtt.sys_interval,
      responseInformation: mqtt.response_information,
    },
    listeners: { tcp: tcp ? tcpListeners(configuration) : [] },
    log: {
      level: log.level,
      format: log.format,
      console: log.to.includes("console"),
      file: log.to.includes("file")
        ? { path: path.join(log.dir, log.file), rotateBytes: log.rotation.size, rotatedFilesMax: log.rotation.count }
        : undefined,
    },
    webhook: {
      endpoints: endpoints.map(([name, keys]) => toEndpoint(name, keys, webhook.enable, store.engine === "disk")),
    },
    store:
      store.engine === "disk"
        ? { engine: "disk", directory: path.resolve(folder, store.dir ?? "data"), sync: store.sync }
        : { engine: "memory" },
  };
}

function tcpListeners({ listeners: { tcp } }: Configuration): TcpListenerOptions[] {
  const named = tcp[namedEntries];
  const bind = tcp.bind ?? (named.length === 0 ? parseBind(defaultBind) : undefined);
  const main = bind === undefined ? [] : [["default", { bind, enable: tcp.enable }] as const];
  return [...main, ...named].flatMap(([name, { bind, enable }]) => (enable ? [{ name, ...bind }] : []));
}

function toEndpoint(name: string, keys: EndpointKeys, webhookEnabled: boolean, hasDisk: boolean): EndpointOptions {
  const headers = keys.headers[namedEntries].flatMap(([header, value]) =>
    value === undefined ? [] : [[header, value] as const],
  );
  const hasContentType = headers.some(([header]) => header.toLowerCase() === "content-type");
  // Without a store on disk there is nothing that could outlive the process.
  const durability = hasDisk ? keys.durability : "memory";
  const batch = toBatch(keys);
  const inMemory = durability === "memory";
  return {
    name,
    enable: webhookEnabled && keys.enable,
    url: keys.url,
    headers: hasContentType ? headers : [...headers, ["content-type", "application/json"]],
    bodyEncoding: keys.body.encoding,
    poolSize: keys.pool_size,
    attemptTimeoutMs: keys.request_timeout ?? keys.cancel_timeout,
    connectTimeoutMs: keys.connect_timeout,
    retry: { scheduleMs: keys.retry.schedule, jitter: keys.retry.jitter },
    maxAgeMs: keys.max_age,
    durability,
    queueBytesMax: keys.queue.max_bytes ?? (inMemory ? queueBytesMaxInMemory : gibibyte),
    overflow: keys.queue.overflow === "drop_newest" ? "drop_newest" : "drop_oldest",
    deadLetters: {
      bytesMax: keys.dead_letters.max_bytes ?? (inMemory ? deadLetterBytesMaxInMemory : gibibyte / 4),
      maxAgeMs: keys.dead_letters.max_age,
    },
    timestampUnit: keys.ts_unit,
    ...(batch && { batch }),
    ...(keys.rate && { rate: keys.rate }),
    rules: keys.events.flatMap(({ event, topic }): RuleOptions[] =>
      fires(event) ? [{ event, topicFilters: event === "on_message_publish" ? (topic ?? []) : [] }] : [],
    ),
  };
}

/** Any of its keys switches batches on. */
function toBatch({ batch, format }: EndpointKeys): BatchOptions | undefined {
  const { max_events, max_bytes, max_wait } = batch;
  if (Object.values(batch).every((value) => value === undefined)) return undefined;
  return {
    eventsMax: max_events ?? batchDefaults.eventsMax,
    bytesMax: max_bytes ?? batchDefaults.bytesMax,
    waitMs: max_wait ?? batchDefaults.waitMs,
    format: format === "cloudevents" ? "cloudevents" : (batch.format ?? batchDefaults.format),
  };
}

function fires(event: string): event is EventName {
  return (eventNames as readonly string[]).includes(event);
}
