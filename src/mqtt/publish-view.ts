/**
 * A received PUBLISH as offsets into the bytes it came in: the form in which the broker handles the great majority of
 * messages, so that passing one on makes no object, no string and no copy of the payload. One view serves a whole broker;
 * `readPublish` fills it anew for each packet.
 */
import type { ProtocolVersion, QoS } from "./packet.ts";
import { type PublishPropertyScan, scanPublishProperties } from "./properties.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

export class PublishView {
  bytes: Buffer = Buffer.alloc(0);
  /** The packet's first byte and the byte behind its last. */
  start = 0;
  end = 0;
  qos: QoS = 0;
  dup = false;
  retain = false;
  topicStart = 0;
  topicEnd = 0;
  /** 0 at QoS 0. */
  packetIdentifier = 0;
  /** The properties behind their length; empty before 5.0. */
  propertiesStart = 0;
  propertiesEnd = 0;
  payloadStart = 0;
  payloadEnd = 0;
  /** What the properties say. */
  readonly scan: PublishPropertyScan = {
    topicAlias: 0,
    aliasStart: -1,
    aliasEnd: -1,
    expirySeconds: -1,
    expiryOffset: -1,
    payloadFormatIndicator: 0,
  };
}

/** Reads the PUBLISH at `bytes[start..end)`. Throws ProtocolError; judges all but the topic name. [MQTT5 3.3] */
export function readPublish(
  view: PublishView,
  version: ProtocolVersion,
  bytes: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): void {
  const flags = bytes[start];
  const qos = (flags >> 1) & 0x03;
  if (qos === 3) throw malformed("QoS 3 does not exist"); // [MQTT5 3.3.1-4] [MQTT311 3.3.1-4]
  const dup = (flags & 0x08) !== 0;
  if (dup && qos === 0) throw malformed("DUP is set at QoS 0"); // [MQTT5 3.3.1-2] [MQTT311 3.3.1-2]
  if (bodyStart + 2 > end) throw cutOff();
  const topicStart = bodyStart + 2;
  let at = topicStart + ((bytes[bodyStart] << 8) | bytes[bodyStart + 1]);
  if (at > end) throw cutOff();
  view.bytes = bytes;
  view.start = start;
  view.end = end;
  view.qos = qos as QoS;
  view.dup = dup;
  view.retain = (flags & 0x01) !== 0;
  view.topicStart = topicStart;
  view.topicEnd = at;
  view.packetIdentifier = 0;
  if (qos !== 0) {
    if (at + 2 > end) throw cutOff();
    view.packetIdentifier = (bytes[at] << 8) | bytes[at + 1];
    if (view.packetIdentifier === 0) throw malformed("the Packet Identifier is 0"); // [MQTT5 2.2.1-3] [MQTT311 2.3.1-1]
    at += 2;
  }
  view.propertiesStart = at;
  view.propertiesEnd = at;
  if (version === 5) at = readProperties(view, at, end);
  else forgetProperties(view.scan);
  view.payloadStart = at;
  view.payloadEnd = end;
}

function readProperties(view: PublishView, at: number, end: number): number {
  const { bytes } = view;
  if (at >= end) throw cutOff();
  let length = bytes[at++];
  if (length >= 0x80) {
    length &= 0x7f;
    for (let shift = 7; ; shift += 7) {
      if (shift > 21) throw malformed("the Property Length has more than four bytes");
      if (at >= end) throw cutOff();
      const byte = bytes[at++];
      length |= (byte & 0x7f) << shift;
      if (byte >= 0x80) continue;
      if (byte === 0) throw malformed("the Property Length is not in its shortest form"); // [MQTT5 1.5.5-1]
      break;
    }
  }
  view.propertiesStart = at;
  view.propertiesEnd = at + length;
  if (view.propertiesEnd > end) throw malformed("the properties are longer than the packet");
  if (length > 0) scanPublishProperties(bytes, view.propertiesStart, view.propertiesEnd, view.scan);
  else forgetProperties(view.scan);
  return view.propertiesEnd;
}

function forgetProperties(scan: PublishPropertyScan): void {
  scan.topicAlias = 0;
  scan.expirySeconds = -1;
  scan.payloadFormatIndicator = 0;
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, what);
}

function cutOff(): ProtocolError {
  return malformed("PUBLISH ends too early");
}
