/**
 * What one event's request has beside its body, as the text that is stored with its delivery. Whatever publishers could have
 * chosen is percent-encoded before it comes here: no value can break out of its header.
 */

export interface EventHead {
  /** No body could be made: the reason of its dead letter. */
  readonly refused?: string;
  /** Unless the endpoint has one configured. */
  readonly contentType?: string;
  /** In place of the endpoint's own of the same name. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Path and query, in place of the endpoint's. */
  readonly path?: string;
}

const plain: EventHead = {};

export function readEventHead(text: string): EventHead {
  return text === "" ? plain : (JSON.parse(text) as EventHead);
}

export function writeEventHead(head: EventHead): string {
  const { refused, contentType, headers, path } = head;
  const isPlain = refused === undefined && contentType === undefined && path === undefined;
  return isPlain && (headers === undefined || headers.length === 0) ? "" : JSON.stringify(head);
}

/**
 * A value for a header, as the HTTP binding of CloudEvents has it: space, `"`, `%` and all that is not printable ASCII is
 * percent-encoded UTF-8. [CloudEvents HTTP 3.1.3.2]
 */
export function headerValueOf(text: string): string {
  if (/^[!#-$&-~]*$/.test(text)) return text;
  return text
    .toWellFormed()
    .replace(/[^!#-$&-~]+/gu, (part) => Buffer.from(part).toString("hex").toUpperCase().replace(/../g, "%$&"));
}
