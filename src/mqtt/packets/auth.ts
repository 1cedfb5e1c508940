/** AUTH: a step of extended authentication, only in 5.0. [MQTT5 3.15] [MQTT5 4.12] */
import type { ByteReader, ByteWriter } from "../bytes.ts";
import type { Auth } from "../packet.ts";
import { isWithoutProperties, readProperties, writeProperties } from "../properties.ts";
import { ProtocolError } from "../protocol-error.ts";
import { ReasonCode } from "../reason-code.ts";
import { readReasonCode } from "./fields.ts";

/** [MQTT5 3.15.2.1], table 3-11. */
const allowed: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.success,
  ReasonCode.continueAuthentication,
  ReasonCode.reauthenticate,
]);

export function decodeAuth(reader: ByteReader): Auth {
  // Success without properties may be left out whole. [MQTT5 3.15.2.1]
  if (reader.remaining === 0) return { type: "auth", reasonCode: ReasonCode.success };
  const reasonCode = readReasonCode(reader, allowed);
  const properties = readProperties(reader, "auth");
  if (properties === undefined && reasonCode === ReasonCode.success) return { type: "auth", reasonCode };
  if (properties?.authenticationMethod === undefined)
    throw new ProtocolError(ReasonCode.protocolError, "AUTH without an Authentication Method"); // [MQTT5 3.15.2.2.2]
  return { type: "auth", reasonCode, properties };
}

export function encodeAuth(writer: ByteWriter, auth: Auth): void {
  if (auth.reasonCode === ReasonCode.success && isWithoutProperties("auth", auth.properties)) return;
  writer.u8(auth.reasonCode);
  writeProperties(writer, "auth", auth.properties);
}
