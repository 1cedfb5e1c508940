/** Events made up for an operator who wants to see whether a receiver takes them: as the broker makes them, of nobody. */
import type { Instant } from "../base/clock.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import { connackBody, disconnectedBody, publishBody } from "./event.ts";
import type { EndpointOptions, EventName } from "./options.ts";

const client = {
  clientId: "hookmq-test",
  userName: undefined,
  protocolVersion: 5,
  keepAliveSeconds: 60,
  cleanStart: true,
  remoteAddress: "127.0.0.1",
  remotePort: 0,
} as const;

/** Its order key is the client's id. */
export const testOrderKey = client.clientId;

export function testBody(event: EventName, options: EndpointOptions, now: Instant): Uint8Array {
  switch (event) {
    case "on_client_connack":
      return connackBody(client, ReasonCode.success);
    case "on_client_disconnected":
      return disconnectedBody(client, "normal");
    case "on_message_publish": {
      const message = {
        topicName: "hookmq/test",
        payload: Buffer.from("hello"),
        qos: 0,
        retain: false,
        properties: new Uint8Array(0),
        acceptedAt: now,
        expiresAt: undefined,
        publisher: client,
      } as const;
      return publishBody(message, options)!; // Far below every limit.
    }
    default:
      return event satisfies never;
  }
}
