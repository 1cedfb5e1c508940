/**
 * An operation on the webhooks as it crosses the control socket: read strictly, for whoever can open the socket can write
 * anything, and with bodies as base64, since JSON has no bytes. Page sizes keep every answer below what the asker reads.
 */
import type {
  DeadLetterFilter,
  DeadLetterReport,
  Operation,
  OperationAnswer,
  OperationRefusal,
  OperationResults,
} from "../webhook/operations.ts";

/** Of one page or one go. A dead letter or an attempt is 10 KiB at the most: 1 KiB of a stranger's text, escaped. */
export const pageCountMax = 200;
/** Named in one request, which may have 16 KiB. */
export const idsPerRequestMax = 200;

/** A number over this is no position that a store has. */
const positionMax = Number.MAX_SAFE_INTEGER;
const nameLengthMax = 4096;

type DeadLetterOnWire = DeadLetterReport & { bodyBase64: string };

/** What an answer's body is on the socket. */
export type ResultOnWire<What extends Operation["what"] = Operation["what"]> =
  | OperationRefusal
  | (What extends "dead-letter" ? DeadLetterOnWire : OperationResults[What]);

export function toWire(answer: OperationAnswer<Operation["what"]>): ResultOnWire {
  if (!("body" in answer)) return answer;
  const { body, ...report } = answer;
  return { ...report, bodyBase64: Buffer.from(body.buffer, body.byteOffset, body.length).toString("base64") };
}

/** `undefined` when it is none. Nothing that is not part of an operation gets through. */
export function parseOperation(value: unknown): Operation | undefined {
  if (!isObject(value)) return undefined;
  const { what, endpoint, event, after, countMax, deliveryId, filter } = value;
  if (what === "endpoints") return { what };
  if (!isName(endpoint)) return undefined;
  switch (what as Operation["what"]) {
    case "pause":
    case "resume":
      return { what: what as "pause" | "resume", endpoint };
    case "test":
      return isName(event) ? { what: "test", endpoint, event } : undefined;
    case "queue":
      return isPosition(after) && isCount(countMax) ? { what: "queue", endpoint, after, countMax } : undefined;
    case "attempts":
      if (!isCount(countMax) || (deliveryId !== undefined && !isName(deliveryId))) return undefined;
      return { what: "attempts", endpoint, deliveryId, countMax };
    case "dead-letter":
      return isName(deliveryId) ? { what: "dead-letter", endpoint, deliveryId } : undefined;
    case "dead-letters":
    case "replay":
    case "delete-dead-letters": {
      const wanted = parseFilter(filter);
      if (wanted === undefined || !isPosition(after) || !isCount(countMax)) return undefined;
      return {
        what: what as "dead-letters" | "replay" | "delete-dead-letters",
        endpoint,
        filter: wanted,
        after,
        countMax,
      };
    }
    default:
      return undefined;
  }
}

/** A filter that is not understood must not become one that lets everything through. */
function parseFilter(value: unknown): DeadLetterFilter | undefined {
  if (!isObject(value)) return undefined;
  const filter: DeadLetterFilter = {};
  for (const [key, wanted] of Object.entries(value)) {
    switch (key) {
      case "deliveryIds":
        if (!Array.isArray(wanted) || wanted.length > idsPerRequestMax || !wanted.every(isName)) return undefined;
        filter.deliveryIds = wanted;
        break;
      case "reason":
      case "event":
      case "orderKey":
        if (!isText(wanted)) return undefined;
        filter[key] = wanted;
        break;
      default:
        return undefined;
    }
  }
  return filter;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= nameLengthMax;
}

function isName(value: unknown): value is string {
  return isText(value) && value !== "";
}

function isPosition(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= positionMax;
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= pageCountMax;
}
