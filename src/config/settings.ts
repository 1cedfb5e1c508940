/** Sections as read become the options that the rest of the house takes. */
import path from "node:path";
import type { LogOptions } from "../base/log.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { StoreOptions } from "../store/options.ts";
import type { TcpListenerOptions } from "../transport/options.ts";
import type { TlsOptions } from "../webhook/certificates.ts";
import { deadLetterBytesMaxInMemory, queueBytesMaxInMemory } from "../webhook/limits.ts";
import type { QoS } from "../mqtt/packet.ts";
import type {
  AuthOptions,
  BatchOptions,
  EndpointOptions,
  RequestOptions,
  RuleFilter,
  RuleOptions,
  TemplateOptions,
  WebhookOptions,
} from "../webhook/options.ts";
import { batchDefaults, plainRequest } from "../webhook/options.ts";
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
      endpoints: endpoints.map(([name, keys]) =>
        toEndpoint(name, keys, {
          webhookEnabled: webhook.enable,
          hasDisk: store.engine === "disk",
          nodeName: system.node_name,
          folder,
        }),
      ),
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

interface Surroundings {
  webhookEnabled: boolean;
  hasDisk: boolean;
  nodeName: string;
  folder: string;
}

function toEndpoint(
  name: string,
  keys: EndpointKeys,
  { webhookEnabled, hasDisk, nodeName, folder }: Surroundings,
): EndpointOptions {
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
    // Other formats know better what they send.
    headers: hasContentType || keys.format !== "edge" ? headers : [...headers, ["content-type", "application/json"]],
    bodyEncoding: keys.body.encoding,
    poolSize: keys.pool_size,
    attemptTimeoutMs: keys.request_timeout ?? keys.cancel_timeout,
    connectTimeoutMs: keys.connect_timeout,
    request: toRequest(keys, folder),
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
    orderBy: keys.order_by,
    format: keys.format,
    source: keys.cloudevents.source ?? `/brokers/${encodeURIComponent(nodeName)}`,
    template: keys.format === "template" ? toTemplate(keys.template) : undefined,
    ...(batch && { batch }),
    ...(keys.rate && { rate: keys.rate }),
    rules: keys.events.map(toRule),
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

function toRequest(keys: EndpointKeys, folder: string): RequestOptions {
  const { secret, secrets = [], egress } = keys;
  return {
    secrets: secret === undefined ? secrets : [secret, ...secrets],
    egress,
    tls: toTls(keys, folder),
    auth: toAuth(keys.auth),
    proxy: keys.proxy,
    compression: keys.compression,
  };
}

/** Checked: it is one of the three, and whole. */
function toAuth({ basic, bearer, oauth2 }: EndpointKeys["auth"]): AuthOptions {
  if (bearer !== undefined) return { kind: "bearer", token: bearer };
  if (basic.username !== undefined) {
    return { kind: "basic", username: basic.username, password: basic.password ?? "" };
  }
  const { token_url: tokenUrl, client_id: clientId, client_secret: clientSecret, scope, audience } = oauth2;
  if (tokenUrl === undefined || clientId === undefined || clientSecret === undefined) return { kind: "none" };
  return { kind: "oauth2", tokenUrl, clientId, clientSecret, scope, audience, sendsCredentials: oauth2.credentials_in };
}

/** `folder`: of the configuration file, which relative paths are beside. */
export function toTls({ url, tls, ssl }: EndpointKeys, folder: string): TlsOptions {
  if (!isHttps(url)) return plainRequest.tls;
  const older: Partial<typeof ssl> = ssl.enable === false ? {} : ssl;
  const file = (name: string | undefined) => (name === undefined ? undefined : path.resolve(folder, name));
  return {
    authorityFile: file(tls.cacertfile ?? older.cacertfile),
    certificateFile: file(tls.certfile ?? older.certfile),
    keyFile: file(tls.keyfile ?? older.keyfile),
    keyPassword: tls.key_password ?? older.key_password,
    verifiesPeer: tls.verify_peer ?? older.verify_peer ?? true,
    serverName: tls.server_name ?? older.server_name,
  };
}

/** Of a checked URL: its scheme may be in capitals. */
export function isHttps(url: string): boolean {
  return /^https:/i.test(url);
}

function toTemplate({ url_path: urlPath, query, headers, body }: EndpointKeys["template"]): TemplateOptions {
  return {
    ...(urlPath !== undefined && { urlPath }),
    ...(query !== undefined && { query }),
    headers: headers[namedEntries].flatMap(([name, text]) => (text === undefined ? [] : [[name, text] as const])),
    ...(body !== undefined && { body }),
  };
}

function toRule({ event, topic = [], ...keys }: EndpointKeys["events"][number]): RuleOptions {
  const { clientid: clientIds, username: userNames, retain, sample } = keys;
  const isOfMessage = event.startsWith("on_message_");
  const filter: RuleFilter = {
    ...(clientIds && { clientIds }),
    ...(userNames && { userNames }),
    ...(keys.qos && isOfMessage && { qos: keys.qos as readonly QoS[] }),
    ...(retain !== undefined && isOfMessage && { retain }),
    ...(sample !== undefined && sample < 1 && { sample }),
  };
  const rule = { event, topicFilters: isOfMessage ? topic : [] };
  return Object.keys(filter).length === 0 ? rule : { ...rule, filter };
}
