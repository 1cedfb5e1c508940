/** Events made up for an operator who wants to see whether a receiver takes them: as the broker tells them, of nobody. */
import type { Instant } from "../base/clock.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Happening } from "./happening.ts";
import type { EventName } from "./options.ts";

const client = {
  clientId: "hookmq-test",
  userName: undefined,
  protocolVersion: 5,
  keepAliveSeconds: 60,
  cleanStart: true,
  remoteAddress: "127.0.0.1",
  remotePort: 0,
} as const;
const topicFilter = "hookmq/#";
const subscription = { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

/** Its order key is the client's id. */
export const testOrderKey = client.clientId;

export function testHappening(event: EventName, now: Instant): Happening {
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
  switch (event) {
    case "on_client_connect":
    case "on_client_connected":
      return { event, client };
    case "on_client_connack":
      return { event, client, reasonCode: ReasonCode.success };
    case "on_client_disconnected":
      return { event, client, reason: "normal" };
    case "on_client_subscribe":
    case "on_session_subscribed":
      return { event, client, subscription };
    case "on_client_unsubscribe":
    case "on_session_unsubscribed":
      return { event, client, topicFilter };
    case "on_session_terminated":
      return { event, client, reason: "expired" };
    case "on_message_publish":
    case "on_message_delivered":
    case "on_message_acked":
      return { event, client, message };
    case "on_message_dropped":
      return { event, client, message, receiver: client, reason: "queue_full" };
    default:
      return event satisfies never;
  }
}
