/** Answers what an operator asks of the endpoints. What cannot be done is answered too, in words. */
import { StoreUnavailable } from "../store/store.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Operation, OperationAnswer, OperationRefusal } from "./operations.ts";
import { type EventName, eventNames } from "./options.ts";

/** What comes back for one operation or another. */
export type AnyAnswer = OperationAnswer<Operation["what"]>;

export function operate(
  operation: Operation,
  endpoints: ReadonlyMap<string, Endpoint>,
  /** What is left of endpoints in the store they had before their durability moved. */
  former: readonly Endpoint[],
): AnyAnswer | Promise<AnyAnswer> {
  try {
    if (operation.what === "endpoints") {
      return [...endpoints.values(), ...former].map((endpoint) => endpoint.report());
    }
    const endpoint = endpoints.get(operation.endpoint);
    if (endpoint !== undefined) return operateOn(endpoint, operation);
    const known = endpoints.size === 0 ? "there are none" : `there are: ${[...endpoints.keys()].join(", ")}`;
    return { refused: "no_such_endpoint", message: `no webhook endpoint is named ${operation.endpoint}; ${known}` };
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    return {
      refused: "store_unavailable",
      message: "the store cannot do this at present: `hookmq health` says what is wrong with it; try again then",
    };
  }
}

function operateOn(
  endpoint: Endpoint,
  operation: Exclude<Operation, { what: "endpoints" }>,
): AnyAnswer | Promise<AnyAnswer> {
  switch (operation.what) {
    case "pause":
      endpoint.pause();
      return endpoint.report();
    case "resume":
      endpoint.goOn();
      return endpoint.report();
    case "test": {
      const { event } = operation;
      if (isEventName(event)) return endpoint.test(event) ?? notSending(operation.endpoint);
      return {
        refused: "no_such_event",
        message: `no event that can be tested is named ${event}; there are: ${eventNames.join(", ")}`,
      };
    }
    case "queue":
      return endpoint.queue(operation.after, operation.countMax);
    case "attempts":
      return endpoint.attempts.newest(operation.deliveryId, operation.countMax);
    case "dead-letters":
      return endpoint.deadLetters.page(operation);
    case "dead-letter": {
      const letter = endpoint.deadLetters.letter(operation.deliveryId);
      if (letter === undefined) {
        const message = `endpoint ${operation.endpoint} has no dead letter ${operation.deliveryId}`;
        return { refused: "no_such_dead_letter", message };
      }
      const { position, owed, reason, detail, attempts, diedAt } = letter;
      const { deliveryId, event, orderKey, acceptedAt, body } = owed;
      const facts = { deliveryId, event, orderKey, acceptedAt, bodyBytes: body.length, body };
      return { position, ...facts, diedAt, attempts, reason, detail };
    }
    case "replay": {
      const report = endpoint.deadLetters.replay(operation);
      endpoint.pump();
      return report;
    }
    case "delete-dead-letters":
      return endpoint.deadLetters.delete(operation);
    default:
      return operation satisfies never;
  }
}

function notSending(endpoint: string): OperationRefusal {
  const message = `endpoint ${endpoint} sends nothing: it is switched off, not configured any more, the broker stops, or many tests wait already`;
  return { refused: "not_sending", message };
}

function isEventName(event: string): event is EventName {
  return (eventNames as readonly string[]).includes(event);
}
