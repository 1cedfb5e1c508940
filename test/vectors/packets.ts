/**
 * Golden packets: bytes as the specifications lay them out, and the value they stand for. Each decodes to its value;
 * each but the `long` ones, whose sender did not take the shortest form, is what its value encodes to.
 */
import type { Packet, ProtocolVersion } from "../../src/mqtt/packet.ts";

export interface PacketVector {
  title: string;
  versions: readonly ProtocolVersion[];
  /** As `bytesOf` reads it. */
  written: string;
  packet: Packet;
  long?: true;
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (value: string) => new Uint8Array(Buffer.from(value));

const connects: PacketVector[] = [
  {
    title: "CONNECT 3.1, the least there can be",
    versions: [3],
    written: "10 0f 0006 'MQIsdp' 03 02 003c 0001 'c'",
    packet: { type: "connect", protocolVersion: 3, cleanStart: true, keepAliveSeconds: 60, clientId: "c" },
  },
  {
    title: "CONNECT 3.1 with a client id of more than 23 characters",
    versions: [3],
    written: "10 2c 0006 'MQIsdp' 03 00 000a 001e 'abcdefghijklmnopqrstuvwxyz0123'",
    packet: {
      type: "connect",
      protocolVersion: 3,
      cleanStart: false,
      keepAliveSeconds: 10,
      clientId: "abcdefghijklmnopqrstuvwxyz0123",
    },
  },
  {
    title: "CONNECT 3.1 with all it can have",
    versions: [3],
    written: "10 26 0006 'MQIsdp' 03 ee 0000 0001 'c' 0004 'gone' 0003 'bye' 0004 'user' 0004 'pass'",
    packet: {
      type: "connect",
      protocolVersion: 3,
      cleanStart: true,
      keepAliveSeconds: 0,
      clientId: "c",
      will: { topicName: "gone", payload: text("bye"), qos: 1, retain: true },
      userName: "user",
      password: text("pass"),
    },
  },
  {
    title: "CONNECT 3.1 that ends where its flags announce user name and password",
    versions: [3],
    written: "10 0f 0006 'MQIsdp' 03 c2 003c 0001 'c'",
    packet: { type: "connect", protocolVersion: 3, cleanStart: true, keepAliveSeconds: 60, clientId: "c" },
    long: true,
  },
  {
    title: "CONNECT 3.1 with Will QoS and Will Retain but no Will",
    versions: [3],
    written: "10 0f 0006 'MQIsdp' 03 32 003c 0001 'c'",
    packet: { type: "connect", protocolVersion: 3, cleanStart: true, keepAliveSeconds: 60, clientId: "c" },
    long: true,
  },
  {
    title: "CONNECT 3.1 of a bridge",
    versions: [3],
    written: "10 0f 0006 'MQIsdp' 83 02 003c 0001 'c'",
    packet: {
      type: "connect",
      protocolVersion: 3,
      cleanStart: true,
      keepAliveSeconds: 60,
      clientId: "c",
      bridge: true,
    },
  },
  {
    title: "CONNECT 3.1.1, the least there can be",
    versions: [4],
    written: "10 0c 0004 'MQTT' 04 02 0000 0000",
    packet: { type: "connect", protocolVersion: 4, cleanStart: true, keepAliveSeconds: 0, clientId: "" },
  },
  {
    title: "CONNECT 3.1.1 with all it can have",
    versions: [4],
    written: "10 24 0004 'MQTT' 04 f6 ffff 0001 'c' 0004 'gone' 0003 'bye' 0004 'user' 0004 'pass'",
    packet: {
      type: "connect",
      protocolVersion: 4,
      cleanStart: true,
      keepAliveSeconds: 65_535,
      clientId: "c",
      will: { topicName: "gone", payload: text("bye"), qos: 2, retain: true },
      userName: "user",
      password: text("pass"),
    },
  },
  {
    title: "CONNECT 3.1.1 with an empty Will Payload, user name and password",
    versions: [4],
    written: "10 16 0004 'MQTT' 04 c4 0000 0001 'c' 0001 'w' 0000 0000 0000",
    packet: {
      type: "connect",
      protocolVersion: 4,
      cleanStart: false,
      keepAliveSeconds: 0,
      clientId: "c",
      will: { topicName: "w", payload: bytes(), qos: 0, retain: false },
      userName: "",
      password: bytes(),
    },
  },
  {
    title: "CONNECT 3.1.1 of a bridge",
    versions: [4],
    written: "10 0d 0004 'MQTT' 84 00 003c 0001 'b'",
    packet: {
      type: "connect",
      protocolVersion: 4,
      cleanStart: false,
      keepAliveSeconds: 60,
      clientId: "b",
      bridge: true,
    },
  },
  {
    title: "CONNECT 3.1.1 named after a member of Object.prototype",
    versions: [4],
    written: "10 22 0004 'MQTT' 04 82 003c 0009 '__proto__' 000b 'constructor'",
    packet: {
      type: "connect",
      protocolVersion: 4,
      cleanStart: true,
      keepAliveSeconds: 60,
      clientId: "__proto__",
      userName: "constructor",
    },
  },
  {
    title: "CONNECT 5.0, the least there can be",
    versions: [5],
    written: "10 0d 0004 'MQTT' 05 02 0000 00 0000",
    packet: { type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId: "" },
  },
  {
    title: "CONNECT 5.0 with a password and no user name",
    versions: [5],
    written: "10 13 0004 'MQTT' 05 40 0000 00 0000 0004 ff00fe01",
    packet: {
      type: "connect",
      protocolVersion: 5,
      cleanStart: false,
      keepAliveSeconds: 0,
      clientId: "",
      password: bytes(0xff, 0x00, 0xfe, 0x01),
    },
  },
  {
    title: "CONNECT 5.0 with all it can have",
    versions: [5],
    written: `10 8d01 0004 'MQTT' 05 ee 001e
      2f 11 00000e10 15 0005 'SCRAM' 16 0002 0001 17 00 19 01 21 000a 22 0005 26 0001 'a' 0001 'b' 26 0001 'a' 0001 'c' 27 00100000
      0006 'device'
      33 01 01 02 0000003c 03 0004 'text' 08 0006 'answer' 09 0002 ff00 18 0000000a 26 0003 'key' 0005 'value' 26 0000 0000
      0004 'gone' 0003 'bye' 0004 'user' 0004 'pass'`,
    packet: {
      type: "connect",
      protocolVersion: 5,
      cleanStart: true,
      keepAliveSeconds: 30,
      clientId: "device",
      properties: {
        sessionExpiryInterval: 3600,
        authenticationMethod: "SCRAM",
        authenticationData: bytes(0, 1),
        requestProblemInformation: false,
        requestResponseInformation: true,
        receiveMaximum: 10,
        topicAliasMaximum: 5,
        userProperties: [
          ["a", "b"],
          ["a", "c"],
        ],
        maximumPacketSize: 1_048_576,
      },
      will: {
        topicName: "gone",
        payload: text("bye"),
        qos: 1,
        retain: true,
        properties: {
          payloadFormatIndicator: 1,
          messageExpiryInterval: 60,
          contentType: "text",
          responseTopic: "answer",
          correlationData: bytes(0xff, 0),
          willDelayInterval: 10,
          userProperties: [
            ["key", "value"],
            ["", ""],
          ],
        },
      },
      userName: "user",
      password: text("pass"),
    },
  },
];

const connacks: PacketVector[] = [
  {
    title: "CONNACK 3.1, accepted",
    versions: [3],
    written: "20 02 00 00",
    packet: { type: "connack", sessionPresent: false, reasonCode: 0x00 },
  },
  {
    title: "CONNACK 3.1 with something in the byte it does not use",
    versions: [3],
    written: "20 02 01 00",
    packet: { type: "connack", sessionPresent: false, reasonCode: 0x00 },
    long: true,
  },
  {
    title: "CONNACK 3.1.1, accepted, session present",
    versions: [4],
    written: "20 02 01 00",
    packet: { type: "connack", sessionPresent: true, reasonCode: 0x00 },
  },
  ...([0x84, 0x85, 0x88, 0x86, 0x87] as const).map(
    (reasonCode, index): PacketVector => ({
      title: `CONNACK before 5.0, return code ${index + 1}`,
      versions: [3, 4],
      written: `20 02 00 0${index + 1}`,
      packet: { type: "connack", sessionPresent: false, reasonCode },
    }),
  ),
  {
    title: "CONNACK 5.0, accepted",
    versions: [5],
    written: "20 03 01 00 00",
    packet: { type: "connack", sessionPresent: true, reasonCode: 0x00 },
  },
  {
    title: "CONNACK 5.0, not authorized, with a reason",
    versions: [5],
    written: "20 09 00 87 06 1f 0003 'why'",
    packet: { type: "connack", sessionPresent: false, reasonCode: 0x87, properties: { reasonString: "why" } },
  },
  {
    title: "CONNACK 5.0 with all it can have",
    versions: [5],
    written: `20 4c 00 00 49
      11 ffffffff 12 0004 'auto' 13 0014 15 0004 'PSKX' 16 0001 07 1a 0003 'inf' 1c 0005 'other' 1f 0002 'ok'
      21 03e8 22 0010 24 01 25 01 26 0001 'k' 0001 'v' 27 00000400 28 00 29 01 2a 00`,
    packet: {
      type: "connack",
      sessionPresent: false,
      reasonCode: 0x00,
      properties: {
        sessionExpiryInterval: 0xffff_ffff,
        assignedClientIdentifier: "auto",
        serverKeepAlive: 20,
        authenticationMethod: "PSKX",
        authenticationData: bytes(7),
        responseInformation: "inf",
        serverReference: "other",
        reasonString: "ok",
        receiveMaximum: 1000,
        topicAliasMaximum: 16,
        maximumQoS: 1,
        retainAvailable: true,
        userProperties: [["k", "v"]],
        maximumPacketSize: 1024,
        wildcardSubscriptionAvailable: false,
        subscriptionIdentifiersAvailable: true,
        sharedSubscriptionAvailable: false,
      },
    },
  },
];

const publishes: PacketVector[] = [
  {
    title: "PUBLISH at QoS 0",
    versions: [3, 4],
    written: "30 07 0003 'a/b' 'hi'",
    packet: { type: "publish", topicName: "a/b", payload: text("hi"), retain: false, qos: 0 },
  },
  {
    title: "PUBLISH at QoS 0, retained, without payload",
    versions: [3, 4],
    written: "31 05 0003 'a/b'",
    packet: { type: "publish", topicName: "a/b", payload: bytes(), retain: true, qos: 0 },
  },
  {
    title: "PUBLISH at QoS 1",
    versions: [3, 4],
    written: "32 07 0001 't' 000a 00ff",
    packet: {
      type: "publish",
      topicName: "t",
      payload: bytes(0x00, 0xff),
      retain: false,
      qos: 1,
      packetIdentifier: 10,
      dup: false,
    },
  },
  {
    title: "PUBLISH at QoS 2, again, retained",
    versions: [3, 4],
    written: "3d 06 0001 't' ffff 2a",
    packet: {
      type: "publish",
      topicName: "t",
      payload: bytes(42),
      retain: true,
      qos: 2,
      packetIdentifier: 65_535,
      dup: true,
    },
  },
  {
    title: "PUBLISH to a topic of characters of two, three and four bytes and a byte order mark",
    versions: [3, 4],
    written: "30 0f 000d efbbbf c3a9 2f e282ac f09f9880",
    packet: { type: "publish", topicName: "\ufeffé/€😀", payload: bytes(), retain: false, qos: 0 },
  },
  {
    title: "PUBLISH to a topic of empty levels and a later `$`",
    versions: [3, 4],
    written: "30 08 0006 '/$SYS/'",
    packet: { type: "publish", topicName: "/$SYS/", payload: bytes(), retain: false, qos: 0 },
  },
  {
    title: "PUBLISH of 128 bytes: two bytes of Remaining Length",
    versions: [3, 4],
    written: `30 8001 0001 't' ${"00".repeat(125)}`,
    packet: { type: "publish", topicName: "t", payload: new Uint8Array(125), retain: false, qos: 0 },
  },
  {
    title: "PUBLISH 5.0 at QoS 0 without properties",
    versions: [5],
    written: "30 08 0003 'a/b' 00 'hi'",
    packet: { type: "publish", topicName: "a/b", payload: text("hi"), retain: false, qos: 0 },
  },
  {
    title: "PUBLISH 5.0 at QoS 2 with all it can have",
    versions: [5],
    written: `3c 46 0003 'a/b' 0102
      3c 01 01 02 00000001 03 0009 'text/html' 08 0003 'r/1' 09 0002 00ff 0b 01 0b ffffff7f 23 0007
      26 0001 'n' 0001 'v' 26 0001 'm' 0000 26 0001 'n' 0001 'w'
      'hi'`,
    packet: {
      type: "publish",
      topicName: "a/b",
      payload: text("hi"),
      retain: false,
      qos: 2,
      packetIdentifier: 0x0102,
      dup: true,
      properties: {
        payloadFormatIndicator: 1,
        messageExpiryInterval: 1,
        contentType: "text/html",
        responseTopic: "r/1",
        correlationData: bytes(0x00, 0xff),
        subscriptionIdentifiers: [1, 268_435_455],
        topicAlias: 7,
        userProperties: [
          ["n", "v"],
          ["m", ""],
          ["n", "w"],
        ],
      },
    },
  },
  {
    title: "PUBLISH 5.0 with a Topic Alias instead of a name",
    versions: [5],
    written: "30 07 0000 03 23 ffff 21",
    packet: {
      type: "publish",
      topicName: "",
      payload: text("!"),
      retain: false,
      qos: 0,
      properties: { topicAlias: 65_535 },
    },
  },
  {
    title: "PUBLISH 5.0 whose payload is not said to be UTF-8",
    versions: [5],
    written: "30 07 0001 't' 02 0100 ff",
    packet: {
      type: "publish",
      topicName: "t",
      payload: bytes(0xff),
      retain: false,
      qos: 0,
      properties: { payloadFormatIndicator: 0 },
    },
  },
  {
    title: "PUBLISH 5.0 whose UTF-8 payload holds U+0000",
    versions: [5],
    written: "30 08 0001 't' 02 0101 0041",
    packet: {
      type: "publish",
      topicName: "t",
      payload: bytes(0x00, 0x41),
      retain: false,
      qos: 0,
      properties: { payloadFormatIndicator: 1 },
    },
  },
];

const answers: PacketVector[] = (
  [
    ["puback", "40", 0x10],
    ["pubrec", "50", 0x97],
    ["pubrel", "62", 0x92],
    ["pubcomp", "70", 0x92],
  ] as const
).flatMap(([type, first, reasonCode]): PacketVector[] => {
  const name = type.toUpperCase();
  const code = reasonCode.toString(16);
  return [
    {
      title: name,
      versions: [3, 4, 5],
      written: `${first} 02 1234`,
      packet: { type, packetIdentifier: 0x1234, reasonCode: 0x00 },
    },
    {
      title: `${name} 5.0 that spells out its success`,
      versions: [5],
      written: `${first} 03 1234 00`,
      packet: { type, packetIdentifier: 0x1234, reasonCode: 0x00 },
      long: true,
    },
    {
      title: `${name} 5.0 that spells out that it has no properties`,
      versions: [5],
      written: `${first} 04 1234 ${code} 00`,
      packet: { type, packetIdentifier: 0x1234, reasonCode },
      long: true,
    },
    {
      title: `${name} 5.0 with a Reason Code`,
      versions: [5],
      written: `${first} 03 0001 ${code}`,
      packet: { type, packetIdentifier: 1, reasonCode },
    },
    {
      title: `${name} 5.0 with all it can have`,
      versions: [5],
      written: `${first} 11 0001 ${code} 0d 1f 0003 'why' 26 0001 'a' 0001 'b'`,
      packet: {
        type,
        packetIdentifier: 1,
        reasonCode,
        properties: { reasonString: "why", userProperties: [["a", "b"]] },
      },
    },
    {
      title: `${name} 5.0, success with a User Property`,
      versions: [5],
      written: `${first} 0b 0001 00 07 26 0001 'a' 0001 'b'`,
      packet: { type, packetIdentifier: 1, reasonCode: 0x00, properties: { userProperties: [["a", "b"]] } },
    },
  ];
});

const plain = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

const subscribes: PacketVector[] = [
  {
    title: "SUBSCRIBE before 5.0",
    versions: [3, 4],
    written: "82 10 000a 0001 '#' 00 0003 '+/b' 01 0001 '/' 02",
    packet: {
      type: "subscribe",
      packetIdentifier: 10,
      subscriptions: [
        { topicFilter: "#", qos: 0, ...plain },
        { topicFilter: "+/b", qos: 1, ...plain },
        { topicFilter: "/", qos: 2, ...plain },
      ],
    },
  },
  {
    title: "SUBSCRIBE 3.1, sent again",
    versions: [3],
    written: "8a 06 000a 0001 '#' 00",
    packet: { type: "subscribe", packetIdentifier: 10, subscriptions: [{ topicFilter: "#", qos: 0, ...plain }] },
    long: true,
  },
  {
    title: "SUBSCRIBE to a filter that is none: SUBACK is to answer for it",
    versions: [3, 4],
    written: "82 0f 000a 0003 'a+b' 00 0004 '#/no' 01",
    packet: {
      type: "subscribe",
      packetIdentifier: 10,
      subscriptions: [
        { topicFilter: "a+b", qos: 0, ...plain },
        { topicFilter: "#/no", qos: 1, ...plain },
      ],
    },
  },
  {
    title: "SUBSCRIBE 5.0 with all it can have",
    versions: [5],
    written: "82 25 0001 0a 0b 8001 26 0001 'a' 0001 'b' 0001 'a' 2e 0001 'b' 15 000a '$share/g/t' 0a 0000 00",
    packet: {
      type: "subscribe",
      packetIdentifier: 1,
      properties: { subscriptionIdentifier: 128, userProperties: [["a", "b"]] },
      subscriptions: [
        { topicFilter: "a", qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 2 },
        { topicFilter: "b", qos: 1, noLocal: true, retainAsPublished: false, retainHandling: 1 },
        { topicFilter: "$share/g/t", qos: 2, noLocal: false, retainAsPublished: true, retainHandling: 0 },
        { topicFilter: "", qos: 0, ...plain },
      ],
    },
  },
  {
    title: "SUBACK before 5.0",
    versions: [3, 4],
    written: "90 06 0001 00 01 02 80",
    packet: { type: "suback", packetIdentifier: 1, reasonCodes: [0x00, 0x01, 0x02, 0x80] },
  },
  {
    title: "SUBACK 5.0",
    versions: [5],
    written: "90 0f 0001 00 00 01 02 80 83 87 8f 91 97 9e a1 a2",
    packet: {
      type: "suback",
      packetIdentifier: 1,
      reasonCodes: [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
    },
  },
  {
    title: "SUBACK 5.0 with all it can have",
    versions: [5],
    written: "90 10 0001 0c 1f 0002 'no' 26 0001 'a' 0001 'b' 87",
    packet: {
      type: "suback",
      packetIdentifier: 1,
      properties: { reasonString: "no", userProperties: [["a", "b"]] },
      reasonCodes: [0x87],
    },
  },
  {
    title: "UNSUBSCRIBE before 5.0",
    versions: [3, 4],
    written: "a2 0a 0001 0001 'a' 0003 'b/#'",
    packet: { type: "unsubscribe", packetIdentifier: 1, topicFilters: ["a", "b/#"] },
  },
  {
    title: "UNSUBSCRIBE 3.1, sent again",
    versions: [3],
    written: "aa 05 0001 0001 'a'",
    packet: { type: "unsubscribe", packetIdentifier: 1, topicFilters: ["a"] },
    long: true,
  },
  {
    title: "UNSUBSCRIBE 5.0 with all it can have",
    versions: [5],
    written: "a2 0d 0001 07 26 0001 'a' 0001 'b' 0001 'c'",
    packet: {
      type: "unsubscribe",
      packetIdentifier: 1,
      properties: { userProperties: [["a", "b"]] },
      topicFilters: ["c"],
    },
  },
  {
    title: "UNSUBACK before 5.0",
    versions: [3, 4],
    written: "b0 02 0001",
    packet: { type: "unsuback", packetIdentifier: 1, reasonCodes: [] },
  },
  {
    title: "UNSUBACK 5.0",
    versions: [5],
    written: "b0 0a 0001 00 00 11 80 83 87 8f 91",
    packet: {
      type: "unsuback",
      packetIdentifier: 1,
      reasonCodes: [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
    },
  },
  {
    title: "UNSUBACK 5.0 with all it can have",
    versions: [5],
    written: "b0 10 0001 0c 1f 0002 'no' 26 0001 'a' 0001 'b' 11",
    packet: {
      type: "unsuback",
      packetIdentifier: 1,
      properties: { reasonString: "no", userProperties: [["a", "b"]] },
      reasonCodes: [0x11],
    },
  },
];

const others: PacketVector[] = [
  {
    title: "PUBREL 3.1, sent again",
    versions: [3],
    written: "6a 02 0001",
    packet: { type: "pubrel", packetIdentifier: 1, reasonCode: 0x00 },
    long: true,
  },
  { title: "PINGREQ", versions: [3, 4, 5], written: "c0 00", packet: { type: "pingreq" } },
  { title: "PINGRESP", versions: [3, 4, 5], written: "d0 00", packet: { type: "pingresp" } },
  { title: "DISCONNECT", versions: [3, 4, 5], written: "e0 00", packet: { type: "disconnect", reasonCode: 0x00 } },
  {
    title: "DISCONNECT 5.0 with a Reason Code",
    versions: [5],
    written: "e0 01 04",
    packet: { type: "disconnect", reasonCode: 0x04 },
  },
  {
    title: "DISCONNECT 5.0 that spells out that it has no properties",
    versions: [5],
    written: "e0 02 00 00",
    packet: { type: "disconnect", reasonCode: 0x00 },
    long: true,
  },
  {
    title: "DISCONNECT 5.0 with all it can have",
    versions: [5],
    written: "e0 19 9d 17 11 00000000 1c 0001 'o' 1f 0003 'why' 26 0001 'a' 0002 'bc'",
    packet: {
      type: "disconnect",
      reasonCode: 0x9d,
      properties: {
        sessionExpiryInterval: 0,
        serverReference: "o",
        reasonString: "why",
        userProperties: [["a", "bc"]],
      },
    },
  },
  { title: "AUTH", versions: [5], written: "f0 00", packet: { type: "auth", reasonCode: 0x00 } },
  {
    title: "AUTH that spells out its success",
    versions: [5],
    written: "f0 02 00 00",
    packet: { type: "auth", reasonCode: 0x00 },
    long: true,
  },
  {
    title: "AUTH with all it can have",
    versions: [5],
    written: "f0 19 18 17 15 0004 'PSKX' 16 0002 ff00 1f 0001 'r' 26 0001 'a' 0001 'b'",
    packet: {
      type: "auth",
      reasonCode: 0x18,
      properties: {
        authenticationMethod: "PSKX",
        authenticationData: bytes(0xff, 0x00),
        reasonString: "r",
        userProperties: [["a", "b"]],
      },
    },
  },
];

export const packetVectors: readonly PacketVector[] = [
  ...connects,
  ...connacks,
  ...publishes,
  ...answers,
  ...subscribes,
  ...others,
];
