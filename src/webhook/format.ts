/** What a happening becomes for an endpoint: the body of its request, and what the request has beside it. */
import { assert } from "../base/assert.ts";
import type { Instant } from "../base/clock.ts";
import type { PublishedProperties } from "../mqtt/packet.ts";
import { decodePublishedProperties } from "../mqtt/properties.ts";
import { binaryEvent, type CloudEventParts, contentTypeOf, structuredEvent, traceparentOf } from "./cloud-event.ts";
import { edgeBody } from "./event.ts";
import { type EventHead, headerValueOf, writeEventHead } from "./event-head.ts";
import type { Happening } from "./happening.ts";
import { messageOf } from "./happening.ts";
import { bodyBytesMax, eventHeadLengthMax } from "./limits.ts";
import type { EndpointOptions } from "./options.ts";
import { refusal } from "./payload-encoding.ts";
import { compileTemplate, hasDotSegment, type Template, type TemplatePlace, TemplateValues } from "./template.ts";

/** As a delivery is owed it. */
interface Formatted {
  readonly body: Uint8Array;
  readonly head: string;
}

/** `id` names the event, `at` is when it happened. */
export type Formatter = (happening: Happening, id: string, at: Instant) => Formatted;

type FormatOptions = Pick<
  EndpointOptions,
  "format" | "bodyEncoding" | "timestampUnit" | "orderBy" | "source" | "template" | "url"
>;

/** Equal for endpoints whose events are all alike. */
export function formatKey({
  format,
  bodyEncoding,
  timestampUnit,
  orderBy,
  source,
  template,
  url,
}: FormatOptions): string {
  const common = [format, bodyEncoding, timestampUnit];
  switch (format) {
    case "edge":
    case "raw":
      return JSON.stringify(common);
    case "cloudevents":
    case "cloudevents-binary":
      return JSON.stringify([...common, orderBy, source]);
    case "template":
      return JSON.stringify([...common, template, url]);
    default:
      return format satisfies never;
  }
}

export function compileFormat(options: FormatOptions): Formatter {
  switch (options.format) {
    case "edge":
      return (happening, _id, at) => edge(happening, at, options);
    case "cloudevents":
      return (happening, id, at) => {
        const { body, contentType } = structuredEvent(partsOf(happening, id, at, options));
        return formatted(body, { contentType, headers: traceOf(propertiesOf(happening)) });
      };
    case "cloudevents-binary":
      return (happening, id, at) => binary(partsOf(happening, id, at, options));
    case "raw":
      return (happening, _id, at) => raw(happening, at, options);
    case "template":
      return templateFormat(options);
    default:
      return options.format satisfies never;
  }
}

function edge(happening: Happening, at: Instant, options: FormatOptions): Formatted {
  const body = edgeBody(happening, options, at);
  if (body === undefined) return refused(refusal(options.bodyEncoding));
  return formatted(body, { headers: traceOf(propertiesOf(happening)) });
}

function partsOf(happening: Happening, id: string, at: Instant, options: FormatOptions): CloudEventParts {
  return { happening, properties: propertiesOf(happening), id, at, ...options };
}

function binary(parts: CloudEventParts): Formatted {
  const { body, contentType, headers } = binaryEvent(parts);
  const encoded = headers.map(([name, value]) => [name, headerValueOf(value)] as const);
  return formatted(body, { headers: [["content-type", contentType], ...encoded, ...traceOf(parts.properties)] });
}

/** The payload itself, or for events without one the edge body. */
function raw(happening: Happening, at: Instant, options: FormatOptions): Formatted {
  const message = messageOf(happening);
  const properties = propertiesOf(happening);
  const contentType = contentTypeOf(properties);
  const { clientId, userName } = message?.publisher ?? happening.client;
  const facts: [string, string][] = [["x-mqtt-event", happening.event]];
  if (message !== undefined) {
    const { topicName, qos, retain } = message;
    facts.push(["x-mqtt-topic", topicName], ["x-mqtt-qos", `${qos}`], ["x-mqtt-retain", `${retain}`]);
  }
  facts.push(["x-mqtt-client-id", clientId]);
  if (userName !== undefined) facts.push(["x-mqtt-username", userName]);
  const headers = facts.map(([name, value]) => [name, headerValueOf(value)] as const);
  const own = contentType === undefined ? [] : [["content-type", contentType] as const];
  const unnamedType = message === undefined ? "application/json" : "application/octet-stream";
  return formatted(message?.payload ?? edgeBody(happening, options, at)!, {
    contentType: unnamedType,
    headers: [...own, ...headers, ...traceOf(properties)],
  });
}

function templateFormat(options: FormatOptions): Formatter {
  const { template, url } = options;
  const body = template?.body === undefined ? undefined : compiled(template.body, "body");
  const urlPath = template?.urlPath === undefined ? undefined : compiled(template.urlPath, "path");
  const query = template?.query === undefined ? undefined : compiled(template.query, "query");
  const headers = (template?.headers ?? []).map(([name, text]) => [name, compiled(text, "header")] as const);
  const address = new URL(url);
  const contentType = body === undefined || body.isJson ? "application/json" : "text/plain; charset=utf-8";
  return (happening, id, at) => {
    const values = new TemplateValues(happening, { id, at, ...options });
    const filledBody = body === undefined ? edgeBody(happening, options, at) : values.fill(body);
    const filledPath = urlPath === undefined ? address.pathname : values.fill(urlPath);
    const filledQuery = query === undefined ? address.search.slice(1) : values.fill(query);
    const filledHeaders: [string, string][] = [];
    for (const [name, text] of headers) {
      const value = values.fill(text);
      if (value === undefined) return refused("template");
      filledHeaders.push([name, value]);
    }
    if (filledBody === undefined && body === undefined) return refused(refusal(options.bodyEncoding));
    if (filledBody === undefined || filledPath === undefined || filledQuery === undefined) return refused("template");
    if (urlPath !== undefined && hasDotSegment(filledPath)) return refused("template");
    const path = filledQuery === "" ? filledPath : `${filledPath}?${filledQuery}`;
    return formatted(typeof filledBody === "string" ? Buffer.from(filledBody) : filledBody, {
      contentType,
      ...((urlPath !== undefined || query !== undefined) && { path }),
      headers: [...filledHeaders, ...traceOf(propertiesOf(happening))],
    });
  };
}

function compiled(text: string, place: TemplatePlace): Template {
  const template = compileTemplate(text, place);
  assert("parts" in template, `the configuration let through the template ${JSON.stringify(text)}`);
  return template;
}

function formatted(body: Uint8Array, head: EventHead): Formatted {
  const text = writeEventHead(head);
  if (body.length > bodyBytesMax || text.length > eventHeadLengthMax) return refused("too_large");
  return { body, head: text };
}

const noBody = new Uint8Array(0);

/** Owed all the same: the dispatcher makes a dead letter of it that says why. */
function refused(reason: string): Formatted {
  return { body: noBody, head: writeEventHead({ refused: reason }) };
}

function propertiesOf(happening: Happening): PublishedProperties | undefined {
  const properties = messageOf(happening)?.properties;
  return properties === undefined || properties.length === 0 ? undefined : decodePublishedProperties(properties);
}

function traceOf(properties: PublishedProperties | undefined): [string, string][] {
  const traceparent = traceparentOf(properties);
  return traceparent === undefined ? [] : [["traceparent", traceparent]];
}
