import { ReasonCode } from "../mqtt/reason-code.ts";
import type { DisconnectReason } from "./tap.ts";

const reasons = new Map<number, DisconnectReason>([
  [ReasonCode.success, "normal"],
  [ReasonCode.disconnectWithWill, "disconnect_with_will"],
  [ReasonCode.malformedPacket, "malformed_packet"],
  [ReasonCode.protocolError, "protocol_error"],
  [ReasonCode.notAuthorized, "not_authorized"],
  [ReasonCode.serverShuttingDown, "server_shutdown"],
  [ReasonCode.keepAliveTimeout, "keepalive_timeout"],
  [ReasonCode.sessionTakenOver, "session_taken_over"],
  [ReasonCode.topicFilterInvalid, "topic_filter_invalid"],
  [ReasonCode.topicNameInvalid, "topic_name_invalid"],
  [ReasonCode.receiveMaximumExceeded, "receive_maximum_exceeded"],
  [ReasonCode.topicAliasInvalid, "topic_alias_invalid"],
  [ReasonCode.packetTooLarge, "packet_too_large"],
  [ReasonCode.quotaExceeded, "quota_exceeded"],
  [ReasonCode.administrativeAction, "kicked"],
  [ReasonCode.payloadFormatInvalid, "payload_format_invalid"],
]);

/** The word for a DISCONNECT Reason Code; a client's own complaint without one of its own is `connection_lost`. */
export function disconnectReasonOf(reasonCode: number): DisconnectReason {
  return reasons.get(reasonCode) ?? "connection_lost";
}
