/**
 * Events as CloudEvents 1.0: structured, as one JSON document, or binary, as headers and the data itself. A published message
 * that is a CloudEvent already, by the MQTT binding, is sent on as that event: its id, source and type are its maker's.
 */
import { isUtf8 } from "node:buffer";
import type { Instant } from "../base/clock.ts";
import type { PublishedProperties } from "../mqtt/packet.ts";
import type { ApplicationMessage } from "../broker/message.ts";
import type { Happening } from "./happening.ts";
import { factsOf } from "./event.ts";
import { messageOf } from "./happening.ts";
import type { OrderBy } from "./options.ts";

type Attribute = readonly [name: string, value: string | number | boolean];

interface CloudEvent {
  attributes: readonly Attribute[];
  /** Of its data. */
  contentType: string;
  data: Uint8Array;
}

export interface CloudEventParts {
  happening: Happening;
  /** `undefined`: it is no message, or has none. */
  properties: PublishedProperties | undefined;
  id: string;
  /** URI of the broker. */
  source: string;
  at: Instant;
  orderBy: OrderBy;
  timestampUnit: "ms" | "s";
}

interface Request {
  body: Uint8Array;
  contentType: string;
  /** `ce-…`, with values as they are. */
  headers: readonly (readonly [name: string, value: string])[];
}

const structuredType = "application/cloudevents+json";

export function structuredEvent(parts: CloudEventParts): Request {
  const contentType = `${structuredType}; charset=utf-8`;
  const body = structuredPayload(parts) ?? Buffer.from(jsonOf(eventOf(parts)));
  return { body, contentType, headers: [] };
}

/** One that came structured goes on so: taking it apart could change it, and the binding lets each event have its mode. */
export function binaryEvent(parts: CloudEventParts): Request {
  if (structuredPayload(parts) !== undefined) return structuredEvent(parts);
  const { attributes, contentType, data } = eventOf(parts);
  return {
    body: data,
    contentType,
    headers: attributes.map(([name, value]) => [`ce-${name}`, String(value)]),
  };
}

function eventOf(parts: CloudEventParts): CloudEvent {
  return binaryMessage(parts) ?? ownEvent(parts);
}

/** The Content Type of a message, where it is a media type at all: it is the publisher's text. [RFC 9110 8.3.1] */
export function contentTypeOf(properties: PublishedProperties | undefined): string | undefined {
  const text = properties?.contentType;
  return text !== undefined && text.length <= 255 && mediaType.test(text) ? text : undefined;
}

const mediaType = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:[ \t]*;[ \t]*[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|"[ !#-[\]-~]*"))*$/;

/** [Trace Context 3.2] */
export function traceparentOf(properties: PublishedProperties | undefined): string | undefined {
  const value = userProperty(properties, "traceparent");
  return value !== undefined && /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(value) ? value : undefined;
}

function ownEvent({ happening, properties, id, source, at, orderBy, timestampUnit }: CloudEventParts): CloudEvent {
  const message = messageOf(happening);
  const { client, event } = happening;
  const subject = message?.topicName ?? client.clientId;
  const partitionKey = orderBy === "client" ? client.clientId : orderBy === "topic" ? subject : "";
  const traceparent = traceparentOf(properties);
  const { clientId, userName } = message === undefined ? client : message.publisher;
  const attributes: Attribute[] = [
    ["specversion", "1.0"],
    ["id", id],
    ["source", source],
    ["type", `mqtt.${event.slice("on_".length).replace("_", ".")}.v1`],
    ...given("subject", subject),
    ["time", new Date(message === undefined ? at : message.acceptedAt).toISOString()],
    ...given("partitionkey", partitionKey),
    ["sequence", id.slice(id.indexOf("_") + 1)],
  ];
  if (message !== undefined) {
    const { expiresAt, qos, retain } = message;
    if (expiresAt !== undefined) attributes.push(["expirytime", new Date(expiresAt).toISOString()]);
    attributes.push(["mqttqos", qos], ["mqttretain", retain]);
  }
  attributes.push(...given("mqttclientid", clientId), ...given("mqttusername", userName ?? ""));
  if (event === "on_message_delivered" || event === "on_message_acked") {
    attributes.push(...given("mqttreceiver", client.clientId));
  } else if (event === "on_message_dropped") {
    attributes.push(...given("mqttreceiver", happening.receiver?.clientId ?? ""), ["mqttreason", happening.reason]);
  }
  if (traceparent !== undefined) attributes.push(["traceparent", traceparent]);
  if (message === undefined) {
    const data = Buffer.from(JSON.stringify(factsOf(happening, timestampUnit, at)));
    return { attributes, contentType: "application/json", data };
  }
  return { attributes, contentType: contentTypeOf(properties) ?? guessedType(message), data: message.payload };
}

/** An attribute is there or has a text: never empty. [CloudEvents 3.1] */
function given(name: string, value: string): Attribute[] {
  return value === "" ? [] : [[name, value]];
}

function guessedType({ payload }: ApplicationMessage): string {
  if (!isUtf8(payload)) return "application/octet-stream";
  return isJson(textOf(payload)) ? "application/json" : "text/plain; charset=utf-8";
}

/** A message in the binary mode of the MQTT binding: its attributes are User Properties. [CloudEvents MQTT 3.1] */
function binaryMessage({ happening, properties }: CloudEventParts): CloudEvent | undefined {
  if (happening.event !== "on_message_publish" || properties?.userProperties === undefined) return undefined;
  const attributes = new Map(
    properties.userProperties.filter(([name, value]) => /^[a-z\d]+$/.test(name) && value !== "").toReversed(),
  );
  // It names its data's type otherwise.
  attributes.delete("datacontenttype");
  attributes.delete("data");
  if (attributes.get("specversion") !== "1.0" || !required.every((name) => attributes.has(name))) return undefined;
  const { payload } = happening.message;
  // What is not there is not made up: only bytes have no other name.
  const contentType = contentTypeOf(properties) ?? guessedType(happening.message);
  const names = ["specversion", ...required];
  const others = [...attributes].filter(([name]) => !names.includes(name)).toReversed();
  return {
    attributes: [...names.map((name) => [name, attributes.get(name)!] as const), ...others],
    contentType,
    data: payload,
  };
}

const required = ["id", "source", "type"];

/** The payload, where it is a CloudEvent in JSON. [CloudEvents MQTT 3.2] */
function structuredPayload({ happening, properties }: CloudEventParts): Uint8Array | undefined {
  const contentType = properties?.contentType?.toLowerCase().split(";")[0].trim();
  if (happening.event !== "on_message_publish" || contentType !== structuredType) return undefined;
  const { payload } = happening.message;
  if (!isUtf8(payload)) return undefined;
  const event = parsed(textOf(payload));
  if (typeof event !== "object" || event === null || Array.isArray(event)) return undefined;
  const attributes = event as Record<string, unknown>;
  const isText = (name: string) => typeof attributes[name] === "string" && attributes[name] !== "";
  return attributes.specversion === "1.0" && required.every(isText) ? payload : undefined;
}

function jsonOf({ attributes, contentType, data }: CloudEvent): string {
  const members = [...attributes, ["datacontenttype", contentType] as const].map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
  if (data.length > 0) members.push(dataMember(contentType, data));
  return `{${members.join(",")}}`;
}

/** JSON as it is, text as text, all else as base64. [CloudEvents JSON 3.1] */
function dataMember(contentType: string, data: Uint8Array): string {
  const text = isUtf8(data) ? textOf(data) : undefined;
  const isOfJson = /^[^;]*[/+]json\s*(?:;|$)/i.test(contentType);
  if (text !== undefined && isOfJson && isJson(text)) return `"data":${text}`;
  if (text !== undefined && !isOfJson) return `"data":${JSON.stringify(text)}`;
  return `"data_base64":"${bufferOf(data).toString("base64")}"`;
}

function userProperty(properties: PublishedProperties | undefined, name: string): string | undefined {
  return properties?.userProperties?.find((pair) => pair[0] === name)?.[1];
}

function isJson(text: string): boolean {
  return parsed(text) !== undefined;
}

/** `undefined`: it is not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function textOf(bytes: Uint8Array): string {
  return bufferOf(bytes).toString("utf8");
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
