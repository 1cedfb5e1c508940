/** CONNACK: the answer to CONNECT, with a Reason Code in 5.0 and a return code before. [MQTT5 3.2] [MQTT311 3.2] */
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { Connack, ProtocolVersion } from "../packet.ts";
import { readProperties, writeProperties } from "../properties.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";
import { readReasonCode } from "./fields.ts";

type ReturnCode = 0 | 1 | 2 | 3 | 4 | 5;

/** By return code: accepted, version, identifier, server unavailable, bad user name or password, not authorized. */
const reasonCodes: readonly ReasonCode[] = [
  ReasonCode.success,
  ReasonCode.unsupportedProtocolVersion,
  ReasonCode.clientIdentifierNotValid,
  ReasonCode.serverUnavailable,
  ReasonCode.badUserNameOrPassword,
  ReasonCode.notAuthorized,
];

/** The nearest of the six return codes of 3.1 and 3.1.1. [MQTT311 3.2.2.3] */
export function returnCodeOf(reasonCode: ReasonCode): ReturnCode {
  switch (reasonCode) {
    case ReasonCode.success:
      return 0;
    case ReasonCode.unsupportedProtocolVersion:
      return 1;
    case ReasonCode.clientIdentifierNotValid:
      return 2;
    case ReasonCode.badUserNameOrPassword:
    case ReasonCode.badAuthenticationMethod:
      return 4;
    case ReasonCode.notAuthorized:
    case ReasonCode.banned:
      return 5;
    default:
      return 3;
  }
}

/** `undefined` for a number that is no return code: 6–255 are reserved. [MQTT311 3.2.2.3] */
export function reasonCodeOf(returnCode: number): ReasonCode | undefined {
  return reasonCodes[returnCode];
}

/** [MQTT5 3.2.2.2], table 3-1. */
const allowed: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.unspecifiedError,
  ReasonCode.malformedPacket,
  ReasonCode.protocolError,
  ReasonCode.implementationSpecificError,
  ReasonCode.unsupportedProtocolVersion,
  ReasonCode.clientIdentifierNotValid,
  ReasonCode.badUserNameOrPassword,
  ReasonCode.notAuthorized,
  ReasonCode.serverUnavailable,
  ReasonCode.serverBusy,
  ReasonCode.banned,
  ReasonCode.badAuthenticationMethod,
  ReasonCode.topicNameInvalid,
  ReasonCode.packetTooLarge,
  ReasonCode.quotaExceeded,
  ReasonCode.payloadFormatInvalid,
  ReasonCode.retainNotSupported,
  ReasonCode.qosNotSupported,
  ReasonCode.useAnotherServer,
  ReasonCode.serverMoved,
  ReasonCode.connectionRateExceeded,
]);

export function decodeConnack(version: ProtocolVersion, reader: ByteReader): Connack {
  const flags = reader.u8();
  // 3.1 has no Session Present: the byte is not used.
  if (version === 3) return { type: "connack", sessionPresent: false, reasonCode: readReturnCode(reader) };
  if (flags > 1) throw new ProtocolError(ReasonCode.malformedPacket, "a reserved connect acknowledge flag is set"); // [MQTT5 3.2.2-1]
  const sessionPresent = flags === 1;
  const reasonCode = version === 5 ? readReasonCode(reader, allowed) : readReturnCode(reader);
  if (sessionPresent && reasonCode !== ReasonCode.success)
    throw new ProtocolError(ReasonCode.protocolError, "a session in a refusal"); // [MQTT5 3.2.2-6] [MQTT311 3.2.2-4]
  const connack: Connack = { type: "connack", sessionPresent, reasonCode };
  const properties = version === 5 ? readProperties(reader, "connack") : undefined;
  if (properties !== undefined) connack.properties = properties;
  return connack;
}

function readReturnCode(reader: ByteReader): ReasonCode {
  const returnCode = reader.u8();
  const reasonCode = reasonCodeOf(returnCode);
  if (reasonCode !== undefined) return reasonCode;
  throw new ProtocolError(ReasonCode.protocolError, `there is no return code ${returnCode}`);
}

export function encodeConnack(version: ProtocolVersion, writer: ByteWriter, connack: Connack): void {
  writer.u8(connack.sessionPresent && version !== 3 ? 1 : 0);
  writer.u8(version === 5 ? connack.reasonCode : returnCodeOf(connack.reasonCode));
  if (version === 5) writeProperties(writer, "connack", connack.properties);
}
