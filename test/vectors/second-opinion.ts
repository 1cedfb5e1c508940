/**
 * mqtt-packet, the codec of MQTT.js, as a witness that the golden packets mean to others what they mean to us. Our values are
 * put into its words here; where it is known to differ, the tables say why.
 */
import mqttPacket, { type Packet as TheirPacket } from "mqtt-packet";
import { returnCodeOf } from "../../src/mqtt/codec.ts";
import type { Packet, ProtocolVersion, PublishProperties } from "../../src/mqtt/packet.ts";
import type { PacketVector } from "./packets.ts";

type Words = Record<string, unknown>;

/** Why mqtt-packet does not read a golden packet as we do, by title. */
const readsOtherwise: Record<string, string> = {
  "CONNECT 3.1 that ends where its flags announce user name and password": "it does not let the length take precedence",
  "CONNECT 3.1 with Will QoS and Will Retain but no Will": "it judges them as in 3.1.1, where 3.1 disregards them",
  "CONNACK 3.1 with something in the byte it does not use": "it knows Session Present in 3.1",
  "SUBSCRIBE 3.1, sent again": "it judges the flags as in 3.1.1",
  "UNSUBSCRIBE 3.1, sent again": "it judges the flags as in 3.1.1",
  "PUBREL 3.1, sent again": "it judges the flags as in 3.1.1",
  AUTH: "it does not know the short form",
};

/** Why mqtt-packet does not write a golden packet as we do, by title. */
const writesOtherwise: Record<string, string> = {
  "CONNECT 3.1.1 with an empty Will Payload, user name and password": "it wants a password not to be empty",
  "CONNECT 5.0 with a password and no user name": "it wants a user name beside a password",
  "PUBLISH 5.0 at QoS 2 with all it can have": "it moves User Properties of one name together",
  "SUBSCRIBE to a filter that is none: SUBACK is to answer for it": "it refuses such filters",
  "SUBSCRIBE 5.0 with all it can have": "it refuses an empty filter",
  PUBACK: "it writes the Property Length of 5.0 always",
  AUTH: "it does not know the short form",
};

/** The bytes mqtt-packet writes for a golden packet; `undefined` where it is known to write others. */
export function writtenByMqttPacket(version: ProtocolVersion, vector: PacketVector): Buffer | undefined {
  if (vector.long || vector.title in writesOtherwise) return undefined;
  const { packet } = vector;
  const bare = !("properties" in packet) || packet.properties === undefined;
  const shortens = ["puback", "pubrec", "pubrel", "pubcomp", "disconnect"].includes(packet.type);
  // It spells out Reason Code and Property Length where 5.0 lets them be left out.
  if (version === 5 && shortens && bare) return undefined;
  return mqttPacket.generate(inTheirWords(version, packet) as unknown as TheirPacket, { protocolVersion: version });
}

/** What mqtt-packet reads in these bytes, and what our value is in its words; `undefined` where it is known to differ. */
export function readByMqttPacket(
  version: ProtocolVersion,
  vector: PacketVector,
  bytes: Buffer,
): { read: Words; expected: Words } | undefined {
  if (vector.title in readsOtherwise) return undefined;
  const parser = mqttPacket.parser({ protocolVersion: version });
  const packets: Words[] = [];
  parser.on("packet", (packet: object) => packets.push({ ...packet }));
  parser.on("error", (error: Error) => {
    throw error;
  });
  parser.parse(bytes);
  return { read: packets[0], expected: inTheirWords(version, vector.packet) };
}

function inTheirWords(version: ProtocolVersion, packet: Packet): Words {
  const cmd = packet.type;
  const properties =
    "properties" in packet && packet.properties !== undefined ? { properties: theirProperties(packet.properties) } : {};
  switch (packet.type) {
    case "connect":
      return {
        cmd,
        protocolId: packet.protocolVersion === 3 ? "MQIsdp" : "MQTT",
        protocolVersion: packet.protocolVersion,
        ...(packet.bridge && { bridgeMode: true }),
        clean: packet.cleanStart,
        keepalive: packet.keepAliveSeconds,
        clientId: packet.clientId,
        ...(packet.will !== undefined && {
          will: {
            topic: packet.will.topicName,
            payload: Buffer.from(packet.will.payload),
            qos: packet.will.qos,
            retain: packet.will.retain,
            ...(packet.will.properties !== undefined && { properties: theirProperties(packet.will.properties) }),
          },
        }),
        ...(packet.userName !== undefined && { username: packet.userName }),
        ...(packet.password !== undefined && { password: Buffer.from(packet.password) }),
        ...properties,
      };
    case "connack": {
      const answer =
        version === 5 ? { reasonCode: packet.reasonCode } : { returnCode: returnCodeOf(packet.reasonCode) };
      return { cmd, sessionPresent: packet.sessionPresent, ...answer, ...properties };
    }
    case "publish": {
      const delivery =
        packet.qos === 0
          ? { qos: 0, dup: false }
          : { qos: packet.qos, dup: packet.dup, messageId: packet.packetIdentifier };
      const { topicName: topic, retain } = packet;
      return { cmd, topic, payload: Buffer.from(packet.payload), retain, ...delivery, ...properties };
    }
    case "puback":
    case "pubrec":
    case "pubrel":
    case "pubcomp": {
      const reason = version === 5 ? { reasonCode: packet.reasonCode } : {};
      return { cmd, messageId: packet.packetIdentifier, ...reason, ...properties };
    }
    case "subscribe":
      return {
        cmd,
        messageId: packet.packetIdentifier,
        subscriptions: packet.subscriptions.map(
          ({ topicFilter: topic, qos, noLocal: nl, retainAsPublished: rap, retainHandling: rh }) =>
            version === 5 ? { topic, qos, nl, rap, rh } : { topic, qos },
        ),
        ...properties,
      };
    case "suback":
      return { cmd, messageId: packet.packetIdentifier, granted: packet.reasonCodes, ...properties };
    case "unsubscribe":
      return { cmd, messageId: packet.packetIdentifier, unsubscriptions: packet.topicFilters, ...properties };
    case "unsuback": {
      const granted = version === 5 ? { granted: packet.reasonCodes } : {};
      return { cmd, messageId: packet.packetIdentifier, ...granted, ...properties };
    }
    case "pingreq":
    case "pingresp":
      return { cmd };
    case "disconnect":
    case "auth":
      return { cmd, ...(version === 5 && { reasonCode: packet.reasonCode }), ...properties };
    default:
      return packet satisfies never;
  }
}

/** Its User Properties are an object, its Payload Format Indicator a boolean, its one or many Subscription Identifiers one name. */
function theirProperties(values: object): Words {
  const words: Words = {};
  for (const [name, value] of Object.entries(values)) {
    if (name === "payloadFormatIndicator") words[name] = value === 1;
    else if (name === "subscriptionIdentifiers") words.subscriptionIdentifier = value;
    else if (name === "userProperties") words[name] = theirUserProperties(value as PublishProperties["userProperties"]);
    else words[name] = value instanceof Uint8Array ? Buffer.from(value) : value;
  }
  return words;
}

function theirUserProperties(pairs: PublishProperties["userProperties"] = []): Words {
  const names = new Set(pairs.map(([name]) => name));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = pairs.filter((pair) => pair[0] === name).map(([, value]) => value);
      return [name, values.length === 1 ? values[0] : values];
    }),
  );
}
