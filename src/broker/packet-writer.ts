/** PUBLISH packets for one connection alone: those whose bytes nobody shares. */
import type { QoS } from "../mqtt/packet.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import { tellDropped } from "./fates.ts";
import type { KeptMessage } from "./message.ts";
import { type PublishParts, publishBytes, writePublish } from "./publish-encoder.ts";
import { encodeIdentifiers } from "./route.ts";
import { slabBytesMax } from "./slabs.ts";

const nothing = Buffer.alloc(0);

/** False, and counted, when the PUBLISH would be larger than the client takes. [MQTT5 3.1.2-24] [MQTT5 3.1.2-25] */
export function fitsClient(
  broker: Broker,
  connection: Connection,
  message: KeptMessage,
  qos: QoS,
  subscriptionIdentifiers: readonly number[],
): boolean {
  const { keptParts } = broker;
  keptParts.ofMessage(message);
  const extra = connection.version5 ? encodeIdentifiers(subscriptionIdentifiers) : nothing;
  const fits =
    publishBytes(keptParts, connection.version5, qos, extra, keptParts.topic.length) <= connection.packetBytesMax;
  if (!fits) {
    broker.figures.dropped.tooLarge++;
    tellDropped(broker, broker.routes.fatesOfMessage(message), message, connection.session.publisher, "too_large");
  }
  return fits;
}

/** Writes a PUBLISH of a message that stayed, its Message Expiry Interval counted down. [MQTT5 3.3.2-6] */
export function writeMessage(
  broker: Broker,
  connection: Connection,
  message: KeptMessage,
  flags: number,
  packetIdentifier: number,
  subscriptionIdentifiers: readonly number[],
): void {
  const { keptParts } = broker;
  keptParts.ofMessage(message);
  if (message.expiresAt !== undefined) {
    const secondsLeft = Math.max(0, Math.ceil((message.expiresAt - broker.clock.now()) / 1000));
    keptParts.properties = Buffer.from(keptParts.properties);
    keptParts.properties.writeUInt32BE(secondsLeft, keptParts.expiryOffset);
  }
  const extra = connection.version5 ? encodeIdentifiers(subscriptionIdentifiers) : nothing;
  writeParts(connection, keptParts, message.topicName, flags, packetIdentifier, extra);
  broker.figures.messagesSent++;
  broker.figures.messagesSentByQoS[(flags >> 1) & 3]++;
}

/** Writes a PUBLISH, with a Topic Alias where the client takes them. `extra`: further encoded properties. */
export function writeParts(
  connection: Connection,
  parts: PublishParts,
  topicName: string,
  flags: number,
  packetIdentifier: number,
  extra: Buffer,
): void {
  const { outbox, version5 } = connection;
  const qos = ((flags >> 1) & 3) as QoS;
  let topicBytes = parts.topic.length;
  let properties = extra;
  const unaliased = publishBytes(parts, version5, qos, extra, topicBytes);
  // An alias can make the packet larger by its property, and perhaps by a byte of the Property Length.
  const hasRoom = unaliased + 4 <= connection.packetBytesMax;
  const alias = hasRoom ? connection.outboundAlias(topicName) : undefined;
  if (alias !== undefined) {
    properties = Buffer.concat([extra, alias.property]);
    if (alias.known) topicBytes = 0; // [MQTT5 3.3.2.3.4]
  }
  const bytes = publishBytes(parts, version5, qos, properties, topicBytes);
  const inSlab = bytes <= slabBytesMax;
  const at = inSlab ? outbox.reserve(bytes) : 0;
  const out = inSlab ? outbox.slab : Buffer.allocUnsafeSlow(bytes);
  const identifierAt = writePublish(out, at, parts, version5, flags, properties, topicBytes);
  if (qos !== 0) writeIdentifier(out, identifierAt, packetIdentifier);
  if (!inSlab) outbox.append(out, 0, bytes);
}

export function writeIdentifier(out: Buffer, at: number, packetIdentifier: number): void {
  out[at] = packetIdentifier >> 8;
  out[at + 1] = packetIdentifier & 0xff;
}
