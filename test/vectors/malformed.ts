/**
 * Packets that break a rule: bytes, who might send them, the Reason Code they earn, and the clause they break. 3.1 and 3.1.1
 * have no Reason Codes; there the codec names the same one and the broker only closes.
 */
import type { ProtocolVersion } from "../../src/mqtt/packet.ts";
import { ReasonCode } from "../../src/mqtt/reason-code.ts";

export interface MalformedVector {
  title: string;
  version: ProtocolVersion;
  from: "client" | "server";
  /** As `bytesOf` reads it. */
  written: string;
  reasonCode: ReasonCode;
  clause: string;
}

const malformed = ReasonCode.malformedPacket;
const refused = ReasonCode.protocolError;

type Row = readonly [title: string, written: string, reasonCode: ReasonCode, clause: string];

function rows(version: ProtocolVersion, from: "client" | "server", table: readonly Row[]): MalformedVector[] {
  return table.map(([title, written, reasonCode, clause]) => ({ title, version, from, written, reasonCode, clause }));
}

const fixedHeader: MalformedVector[] = [
  ...rows(5, "client", [
    ["packet type 0", "00 00", malformed, "MQTT5 2.1.2"],
    ["flags of CONNECT", "11 0d 0004 'MQTT' 05 02 0000 00 0000", malformed, "MQTT5 2.1.3-1"],
    ["flags of PUBACK", "42 02 0001", malformed, "MQTT5 2.1.3-1"],
    ["flags of PUBREC", "51 02 0001", malformed, "MQTT5 2.1.3-1"],
    ["flags of PUBREL: none", "60 02 0001", malformed, "MQTT5 3.6.1-1"],
    ["flags of PUBREL: DUP", "6a 02 0001", malformed, "MQTT5 3.6.1-1"],
    ["flags of PUBCOMP", "78 02 0001", malformed, "MQTT5 2.1.3-1"],
    ["flags of SUBSCRIBE: none", "80 07 0001 00 0001 'a' 00", malformed, "MQTT5 3.8.1-1"],
    ["flags of SUBSCRIBE: DUP", "8a 07 0001 00 0001 'a' 00", malformed, "MQTT5 3.8.1-1"],
    ["flags of UNSUBSCRIBE: none", "a0 06 0001 00 0001 'a'", malformed, "MQTT5 3.10.1-1"],
    ["flags of UNSUBSCRIBE: DUP", "aa 06 0001 00 0001 'a'", malformed, "MQTT5 3.10.1-1"],
    ["flags of PINGREQ", "c1 00", malformed, "MQTT5 2.1.3-1"],
    ["flags of DISCONNECT", "e2 00", malformed, "MQTT5 3.14.1-1"],
    ["flags of AUTH", "f4 00", malformed, "MQTT5 3.15.1-1"],
    ["Remaining Length of five bytes", "c0 8080808001", malformed, "MQTT5 1.5.5"],
    ["Remaining Length not in its shortest form", "c0 8000", malformed, "MQTT5 1.5.5-1"],
    ["PINGREQ with a byte too many", "c0 01 00", malformed, "MQTT5 3.12"],
  ]),
  ...rows(4, "client", [
    ["packet type 0", "00 00", malformed, "MQTT311 2.2.1"],
    ["packet type 15", "f0 00", malformed, "MQTT311 2.2.1"],
    ["flags of PUBREL: none", "60 02 0001", malformed, "MQTT311 3.6.1-1"],
    ["flags of PUBREL: DUP", "6a 02 0001", malformed, "MQTT311 3.6.1-1"],
    ["flags of SUBSCRIBE: DUP", "8a 06 0001 0001 'a' 00", malformed, "MQTT311 3.8.1-1"],
    ["flags of UNSUBSCRIBE: DUP", "aa 05 0001 0001 'a'", malformed, "MQTT311 3.10.1-1"],
    ["flags of DISCONNECT", "e1 00", malformed, "MQTT311 3.14.1-1"],
    ["Remaining Length of five bytes", "c0 ffffffff01", malformed, "MQTT311 2.2.3"],
    ["DISCONNECT with a byte too many", "e0 01 00", malformed, "MQTT311 3.14"],
  ]),
  ...rows(3, "client", [
    ["packet type 15", "f0 00", malformed, "MQTT31 2.1"],
    ["flags of SUBSCRIBE: QoS 0", "80 06 0001 0001 'a' 00", malformed, "MQTT31 3.8"],
    ["flags of SUBSCRIBE: QoS 2", "84 06 0001 0001 'a' 00", malformed, "MQTT31 3.8"],
    ["flags of PUBREL: DUP at QoS 0", "68 02 0001", malformed, "MQTT31 3.6"],
    ["flags of PUBACK: DUP", "48 02 0001", malformed, "MQTT31 3.4"],
  ]),
  ...rows(5, "server", [
    ["flags of CONNACK", "21 03 00 00 00", malformed, "MQTT5 2.1.3-1"],
    ["flags of SUBACK", "92 04 0001 00 00", malformed, "MQTT5 2.1.3-1"],
    ["flags of UNSUBACK", "b2 04 0001 00 00", malformed, "MQTT5 2.1.3-1"],
    ["flags of PINGRESP", "d8 00", malformed, "MQTT5 2.1.3-1"],
    ["PINGRESP with a byte too many", "d0 01 00", malformed, "MQTT5 3.13"],
  ]),
];

const connects: MalformedVector[] = [
  ...rows(5, "client", [
    ["CONNECT without anything", "10 00", malformed, "MQTT5 3.1.2"],
    ["protocol name cut off", "10 03 0004 'M'", malformed, "MQTT5 3.1.2.1"],
    ["protocol name in lower case", "10 0d 0004 'mqtt' 05 02 0000 00 0000", 0x84, "MQTT5 3.1.2-1"],
    ["empty protocol name", "10 09 0000 05 02 0000 00 0000", 0x84, "MQTT5 3.1.2-1"],
    ["ill-formed protocol name", "10 0d 0004 'MQT' ff 05 02 0000 00 0000", malformed, "MQTT5 1.5.4-1"],
    ["protocol level 6", "10 0d 0004 'MQTT' 06 02 0000 00 0000", 0x84, "MQTT5 3.1.2-2"],
    ["protocol level 0", "10 0d 0004 'MQTT' 00 02 0000 00 0000", 0x84, "MQTT5 3.1.2-2"],
    ["level 5 with the bridge bit", "10 0d 0004 'MQTT' 85 02 0000 00 0000", 0x84, "MQTT5 3.1.2-2"],
    ["level 5 of MQIsdp", "10 0f 0006 'MQIsdp' 05 02 0000 00 0000", 0x84, "MQTT5 3.1.2-1"],
    ["level cut off", "10 06 0004 'MQTT'", malformed, "MQTT5 3.1.2.2"],
    ["flags cut off", "10 07 0004 'MQTT' 05", malformed, "MQTT5 3.1.2.3"],
    ["reserved connect flag", "10 0d 0004 'MQTT' 05 03 0000 00 0000", malformed, "MQTT5 3.1.2-3"],
    ["Will QoS without a Will", "10 0d 0004 'MQTT' 05 08 0000 00 0000", malformed, "MQTT5 3.1.2-11"],
    ["Will QoS 3", "10 13 0004 'MQTT' 05 1c 0000 00 0000 00 0001 'w' 0000", malformed, "MQTT5 3.1.2-12"],
    ["Will Retain without a Will", "10 0d 0004 'MQTT' 05 20 0000 00 0000", malformed, "MQTT5 3.1.2-13"],
    ["Keep Alive cut off", "10 09 0004 'MQTT' 05 02 00", malformed, "MQTT5 3.1.2.10"],
    ["Property Length missing", "10 0a 0004 'MQTT' 05 02 0000", malformed, "MQTT5 3.1.2.11.1"],
    ["properties longer than the packet", "10 0d 0004 'MQTT' 05 02 0000 7f 0000", malformed, "MQTT5 3.1.2.11.1"],
    ["Property Length of five bytes", "10 11 0004 'MQTT' 05 02 0000 8080808001 0000", malformed, "MQTT5 1.5.5"],
    ["Property Length not in its shortest form", "10 0e 0004 'MQTT' 05 02 0000 8000 0000", malformed, "MQTT5 1.5.5-1"],
    ["client id missing", "10 0b 0004 'MQTT' 05 02 0000 00", malformed, "MQTT5 3.1.3-3"],
    ["client id cut off", "10 0e 0004 'MQTT' 05 02 0000 00 0005 'c'", malformed, "MQTT5 3.1.3-4"],
    ["U+0000 in the client id", "10 0f 0004 'MQTT' 05 02 0000 00 0002 'c' 00", malformed, "MQTT5 1.5.4-2"],
    ["surrogate in the client id", "10 10 0004 'MQTT' 05 02 0000 00 0003 eda080", malformed, "MQTT5 1.5.4-1"],
    ["overlong slash in the client id", "10 0f 0004 'MQTT' 05 02 0000 00 0002 c0af", malformed, "MQTT5 1.5.4-1"],
    ["user name missing", "10 0d 0004 'MQTT' 05 82 0000 00 0000", malformed, "MQTT5 3.1.2-17"],
    ["user name cut off", "10 10 0004 'MQTT' 05 82 0000 00 0000 0002 'u'", malformed, "MQTT5 3.1.3-12"],
    ["ill-formed user name", "10 10 0004 'MQTT' 05 82 0000 00 0000 0001 ff", malformed, "MQTT5 3.1.3-12"],
    ["password missing", "10 0d 0004 'MQTT' 05 42 0000 00 0000", malformed, "MQTT5 3.1.2-19"],
    ["password cut off", "10 10 0004 'MQTT' 05 42 0000 00 0000 0002 'p'", malformed, "MQTT5 1.5.6"],
    ["a byte too many", "10 0e 0004 'MQTT' 05 02 0000 00 0000 00", malformed, "MQTT5 3.1.3"],
    ["a password without its flag", "10 13 0004 'MQTT' 05 02 0000 00 0000 0004 'pass'", malformed, "MQTT5 3.1.2-18"],
    ["Will missing", "10 0d 0004 'MQTT' 05 06 0000 00 0000", malformed, "MQTT5 3.1.2-9"],
    [
      "Will properties longer than the packet",
      "10 10 0004 'MQTT' 05 06 0000 00 0000 7f 0000",
      malformed,
      "MQTT5 3.1.3.2.1",
    ],
    ["Will Topic empty", "10 12 0004 'MQTT' 05 06 0000 00 0000 00 0000 0000", malformed, "MQTT5 4.7.3-1"],
    ["wildcard in the Will Topic", "10 13 0004 'MQTT' 05 06 0000 00 0000 00 0001 '#' 0000", malformed, "MQTT5 4.7.0-1"],
    ["ill-formed Will Topic", "10 13 0004 'MQTT' 05 06 0000 00 0000 00 0001 80 0000", malformed, "MQTT5 3.1.3-11"],
    ["Will Payload missing", "10 11 0004 'MQTT' 05 06 0000 00 0000 00 0001 'w'", malformed, "MQTT5 3.1.2-9"],
    ["Will Payload cut off", "10 14 0004 'MQTT' 05 06 0000 00 0000 00 0001 'w' 0009 'p'", malformed, "MQTT5 1.5.6"],
    [
      "Will Payload that is not UTF-8 as announced",
      "10 16 0004 'MQTT' 05 06 0000 00 0000 02 0101 0001 'w' 0001 ff",
      ReasonCode.payloadFormatInvalid,
      "MQTT5 3.1.3.2.3",
    ],
    [
      "Will Delay Interval twice",
      "10 1d 0004 'MQTT' 05 06 0000 00 0000 0a 1800000001 1800000001 0001 'w' 0000",
      refused,
      "MQTT5 3.1.3.2.2",
    ],
    [
      "Will Delay Interval first, then one that is cut off",
      "10 1a 0004 'MQTT' 05 06 0000 00 0000 07 1800000001 0200 0001 'w' 0000",
      malformed,
      "MQTT5 3.1.3.2",
    ],
    [
      "wildcard in the Will's Response Topic",
      "10 17 0004 'MQTT' 05 06 0000 00 0000 04 080001 '+' 0001 'w' 0000",
      refused,
      "MQTT5 3.1.3.2.6",
    ],
    [
      "Topic Alias in a Will",
      "10 16 0004 'MQTT' 05 06 0000 00 0000 03 230001 0001 'w' 0000",
      malformed,
      "MQTT5 2.2.2.2",
    ],
  ]),
  ...(
    [
      ["unknown property", "02 7f00", malformed, "MQTT5 2.2.2.2"],
      ["unknown property of two bytes", "03 808001", malformed, "MQTT5 2.2.2.2"],
      ["property identifier of five bytes", "05 8080808001", malformed, "MQTT5 1.5.5"],
      ["property identifier not in its shortest form", "03 918000", malformed, "MQTT5 1.5.5-1"],
      ["property of CONNACK", "03 130001", malformed, "MQTT5 2.2.2.2"],
      ["property of a Will", "05 1800000000", malformed, "MQTT5 2.2.2.2"],
      ["property of PUBLISH", "02 0101", malformed, "MQTT5 2.2.2.2"],
      ["property longer than the properties", "04 11000000", malformed, "MQTT5 2.2.2"],
      ["Session Expiry Interval twice", "0a 1100000001 1100000001", refused, "MQTT5 3.1.2.11.2"],
      ["Receive Maximum 0", "03 210000", refused, "MQTT5 3.1.2.11.3"],
      ["Receive Maximum twice", "06 210001 210001", refused, "MQTT5 3.1.2.11.3"],
      ["Maximum Packet Size 0", "05 2700000000", refused, "MQTT5 3.1.2.11.4"],
      ["Maximum Packet Size twice", "0a 2700000001 2700000001", refused, "MQTT5 3.1.2.11.4"],
      ["Topic Alias Maximum twice", "06 220000 220000", refused, "MQTT5 3.1.2.11.5"],
      ["Request Response Information 2", "02 1902", refused, "MQTT5 3.1.2.11.6"],
      ["Request Response Information twice", "04 1900 1900", refused, "MQTT5 3.1.2.11.6"],
      ["Request Problem Information 255", "02 17ff", refused, "MQTT5 3.1.2.11.7"],
      ["Request Problem Information twice", "04 1701 1701", refused, "MQTT5 3.1.2.11.7"],
      ["U+0000 in a User Property", "07 26 0001 00 0001 'v'", malformed, "MQTT5 1.5.4-2"],
      ["User Property without a value", "04 26 0001 'n'", malformed, "MQTT5 1.5.7"],
      ["Authentication Method twice", "08 15 0001 'a' 15 0001 'a'", refused, "MQTT5 3.1.2.11.9"],
      ["Authentication Data without a method", "04 16 0001 00", refused, "MQTT5 3.1.2.11.10"],
      ["Authentication Data twice", "0c 15 0001 'a' 16 0001 00 16 0001 00", refused, "MQTT5 3.1.2.11.10"],
    ] as const satisfies readonly Row[]
  ).map(([title, properties, reasonCode, clause]): MalformedVector => {
    const propertyBytes = Number.parseInt(properties.slice(0, 2), 16);
    const length = (13 + propertyBytes).toString(16).padStart(2, "0");
    const written = `10 ${length} 0004 'MQTT' 05 02 0000 ${properties} 0000`;
    return { title: `CONNECT: ${title}`, version: 5, from: "client", written, reasonCode, clause };
  }),
  ...rows(4, "client", [
    ["reserved connect flag", "10 0c 0004 'MQTT' 04 03 0000 0000", malformed, "MQTT311 3.1.2-3"],
    ["protocol level 3 of MQTT", "10 0c 0004 'MQTT' 03 02 0000 0000", 0x84, "MQTT311 3.1.2-2"],
    ["Will QoS without a Will", "10 0c 0004 'MQTT' 04 10 0000 0000", malformed, "MQTT311 3.1.2-13"],
    ["Will QoS 3", "10 11 0004 'MQTT' 04 1c 0000 0000 0001 'w' 0000", malformed, "MQTT311 3.1.2-14"],
    ["Will Retain without a Will", "10 0c 0004 'MQTT' 04 20 0000 0000", malformed, "MQTT311 3.1.2-15"],
    ["password without a user name", "10 0f 0004 'MQTT' 04 42 0000 0000 0001 'p'", malformed, "MQTT311 3.1.2-22"],
    ["user name missing", "10 0c 0004 'MQTT' 04 82 0000 0000", malformed, "MQTT311 3.1.2-19"],
    ["wildcard in the Will Topic", "10 13 0004 'MQTT' 04 06 0000 0000 0003 'a/+' 0000", malformed, "MQTT311 4.7.1-1"],
    ["U+0000 in the client id", "10 0d 0004 'MQTT' 04 02 0000 0001 00", malformed, "MQTT311 1.5.3-2"],
    ["surrogates in the client id", "10 12 0004 'MQTT' 04 02 0000 0006 eda080edb080", malformed, "MQTT311 1.5.3-1"],
    ["a byte too many", "10 0d 0004 'MQTT' 04 02 0000 0000 00", malformed, "MQTT311 3.1.3"],
  ]),
  ...rows(3, "client", [
    ["protocol level 4 of MQIsdp", "10 0e 0006 'MQIsdp' 04 02 0000 0000", 0x84, "MQTT31 3.1"],
    ["protocol level 2 of MQIsdp", "10 0e 0006 'MQIsdp' 02 02 0000 0000", 0x84, "MQTT31 3.1"],
    ["reserved connect flag", "10 0e 0006 'MQIsdp' 03 03 0000 0000", malformed, "MQTT31 3.1"],
    ["Will QoS 3", "10 13 0006 'MQIsdp' 03 1c 0000 0000 0001 'w' 0000", malformed, "MQTT31 3.1"],
    ["password without a user name", "10 11 0006 'MQIsdp' 03 42 0000 0000 0001 'p'", malformed, "MQTT31 3.1"],
    ["user name cut off", "10 10 0006 'MQIsdp' 03 82 0000 0000 0001", malformed, "MQTT31 3.1"],
  ]),
];

const publishes: MalformedVector[] = [
  ...rows(5, "client", [
    ["PUBLISH without anything", "30 00", malformed, "MQTT5 3.3.2"],
    ["QoS 3", "36 06 0001 't' 0001 00", malformed, "MQTT5 3.3.1-4"],
    ["DUP at QoS 0", "38 04 0001 't' 00", malformed, "MQTT5 3.3.1-2"],
    ["Topic Name cut off", "30 03 0002 't'", malformed, "MQTT5 3.3.2.1"],
    ["Packet Identifier 0", "32 06 0001 't' 0000 00", malformed, "MQTT5 2.2.1-3"],
    ["Packet Identifier missing", "32 03 0001 't'", malformed, "MQTT5 2.2.1-2"],
    ["Packet Identifier cut off", "34 04 0001 't' 00", malformed, "MQTT5 2.2.1-2"],
    ["Property Length missing", "30 03 0001 't'", malformed, "MQTT5 3.3.2.3.1"],
    ["Property Length missing at QoS 1", "32 05 0001 't' 0001", malformed, "MQTT5 3.3.2.3.1"],
    ["Property Length of five bytes", "30 08 0001 't' ffffffff01", malformed, "MQTT5 1.5.5"],
    ["Property Length not in its shortest form", "30 05 0001 't' 8000", malformed, "MQTT5 1.5.5-1"],
    ["Property Length cut off", "30 04 0001 't' 80", malformed, "MQTT5 1.5.5"],
    ["properties longer than the packet", "30 05 0001 't' 02 01", malformed, "MQTT5 3.3.2.3.1"],
    ["neither Topic Name nor Topic Alias", "30 03 0000 00", refused, "MQTT5 3.3.2.1"],
    ["wildcard # in the Topic Name", "30 06 0003 'a/#' 00", malformed, "MQTT5 3.3.2-2"],
    ["wildcard + in the Topic Name", "30 06 0003 'a+b' 00", malformed, "MQTT5 3.3.2-2"],
    ["U+0000 in the Topic Name", "30 06 0003 'a' 00 'b' 00", malformed, "MQTT5 4.7.3-2"],
    ["lone continuation byte in the Topic Name", "30 04 0001 80 00", malformed, "MQTT5 3.3.2-1"],
    ["cut off character in the Topic Name", "30 05 0002 e282 00", malformed, "MQTT5 1.5.4-1"],
    ["surrogate in the Topic Name", "30 06 0003 edbfbf 00", malformed, "MQTT5 1.5.4-1"],
    ["overlong NUL in the Topic Name", "30 05 0002 c080 00", malformed, "MQTT5 1.5.4-1"],
    ["character above U+10FFFF in the Topic Name", "30 07 0004 f4908080 00", malformed, "MQTT5 1.5.4-1"],
    [
      "payload that is not UTF-8 as announced",
      "30 07 0001 't' 02 0101 ff",
      ReasonCode.payloadFormatInvalid,
      "MQTT5 3.3.2.3.2",
    ],
  ]),
  ...(
    [
      ["unknown property", "02 0400", malformed, "MQTT5 2.2.2.2"],
      ["unknown property of two bytes", "03 a30100", malformed, "MQTT5 2.2.2.2"],
      ["property identifier of five bytes", "05 8080808001", malformed, "MQTT5 1.5.5"],
      ["property of CONNECT", "05 1100000000", malformed, "MQTT5 2.2.2.2"],
      ["property of a Will", "05 1800000000", malformed, "MQTT5 2.2.2.2"],
      ["property of PUBACK", "04 1f 0001 'r'", malformed, "MQTT5 2.2.2.2"],
      ["Payload Format Indicator 2", "02 0102", refused, "MQTT5 3.3.2.3.2"],
      ["Payload Format Indicator twice", "04 0101 0101", refused, "MQTT5 3.3.2.3.2"],
      ["Payload Format Indicator without its value", "01 01", malformed, "MQTT5 3.3.2.3.2"],
      ["Message Expiry Interval twice", "0a 0200000001 0200000002", refused, "MQTT5 3.3.2.3.3"],
      ["Message Expiry Interval cut off", "04 02000000", malformed, "MQTT5 3.3.2.3.3"],
      ["Topic Alias 0", "03 230000", ReasonCode.topicAliasInvalid, "MQTT5 3.3.2-8"],
      ["Topic Alias twice", "06 230001 230001", refused, "MQTT5 3.3.2.3.4"],
      ["Topic Alias cut off", "02 2300", malformed, "MQTT5 3.3.2.3.4"],
      ["wildcard in the Response Topic", "04 08 0001 '#'", refused, "MQTT5 3.3.2-14"],
      ["empty Response Topic", "03 08 0000", refused, "MQTT5 4.7.3-1"],
      ["ill-formed Response Topic", "04 08 0001 ff", malformed, "MQTT5 3.3.2-13"],
      ["Response Topic twice", "08 08 0001 'r' 08 0001 'r'", refused, "MQTT5 3.3.2.3.5"],
      ["Response Topic cut off", "04 08 0009 'r'", malformed, "MQTT5 3.3.2.3.5"],
      ["Correlation Data twice", "06 09 0000 09 0000", refused, "MQTT5 3.3.2.3.6"],
      ["Correlation Data cut off", "04 09 0002 00", malformed, "MQTT5 3.3.2.3.6"],
      ["length of Correlation Data cut off", "02 09 00", malformed, "MQTT5 3.3.2.3.6"],
      ["Content Type twice", "06 03 0000 03 0000", refused, "MQTT5 3.3.2.3.9"],
      ["U+0000 in the Content Type", "04 03 0001 00", malformed, "MQTT5 3.3.2-19"],
      ["ill-formed name of a User Property", "06 26 0001 c3 0000", malformed, "MQTT5 1.5.7-1"],
      ["ill-formed value of a User Property", "06 26 0000 0001 c3", malformed, "MQTT5 1.5.7-1"],
      ["User Property without a value", "04 26 0001 'n'", malformed, "MQTT5 1.5.7"],
    ] as const satisfies readonly Row[]
  ).map(([title, properties, reasonCode, clause]): MalformedVector => {
    const propertyBytes = Number.parseInt(properties.slice(0, 2), 16);
    const length = (5 + propertyBytes).toString(16).padStart(2, "0");
    const written = `30 ${length} 0001 't' ${properties} '!'`;
    return { title: `PUBLISH: ${title}`, version: 5, from: "client", written, reasonCode, clause };
  }),
  ...rows(5, "server", [
    ["Subscription Identifier 0", "30 06 0001 't' 02 0b00", refused, "MQTT5 3.3.2.3.8"],
    ["Subscription Identifier of five bytes", "30 0a 0001 't' 06 0b8080808001", malformed, "MQTT5 1.5.5"],
  ]),
  ...rows(4, "client", [
    ["QoS 3", "3e 05 0001 't' 0001", malformed, "MQTT311 3.3.1-4"],
    ["DUP at QoS 0", "38 03 0001 't'", malformed, "MQTT311 3.3.1-2"],
    ["empty Topic Name", "30 02 0000", refused, "MQTT311 4.7.3-1"],
    ["wildcard in the Topic Name", "30 03 0001 '+'", malformed, "MQTT311 3.3.2-2"],
    ["U+0000 in the Topic Name", "30 03 0001 00", malformed, "MQTT311 4.7.3-2"],
    ["surrogate in the Topic Name", "30 05 0003 eda080", malformed, "MQTT311 1.5.3-1"],
    ["Packet Identifier 0", "32 05 0001 't' 0000", malformed, "MQTT311 2.3.1-1"],
    ["Packet Identifier missing", "32 03 0001 't'", malformed, "MQTT311 2.3.1"],
    ["Topic Name cut off", "30 04 ffff 'ab'", malformed, "MQTT311 3.3.2.1"],
  ]),
  ...rows(3, "client", [
    ["QoS 3", "36 05 0001 't' 0001", malformed, "MQTT31 2.1"],
    ["Packet Identifier 0", "34 05 0001 't' 0000", malformed, "MQTT31 2.4"],
    ["wildcard in the Topic Name", "30 03 0001 '#'", malformed, "MQTT31 3.3"],
  ]),
];

const answers: MalformedVector[] = [
  ...(["40", "50", "62", "70"] as const).flatMap((first) => [
    ...rows(5, "client", [
      [`answer ${first} without anything`, `${first} 00`, malformed, "MQTT5 3.4.2"],
      [`answer ${first}: Packet Identifier cut off`, `${first} 01 00`, malformed, "MQTT5 2.2.1"],
      [`answer ${first}: Packet Identifier 0`, `${first} 02 0000`, malformed, "MQTT5 2.2.1-3"],
      [`answer ${first}: a Reason Code of SUBACK`, `${first} 03 0001 01`, refused, "MQTT5 2.4"],
      [`answer ${first}: a Reason Code that there is not`, `${first} 03 0001 ff`, refused, "MQTT5 2.4"],
      [`answer ${first}: properties longer than the packet`, `${first} 04 0001 00 05`, malformed, "MQTT5 2.2.2"],
      [`answer ${first}: Reason String twice`, `${first} 0a 0001 00 06 1f0000 1f0000`, refused, "MQTT5 3.4.2.2.2"],
      [`answer ${first}: property of PUBLISH`, `${first} 06 0001 00 02 0101`, malformed, "MQTT5 2.2.2.2"],
      [`answer ${first}: a byte too many`, `${first} 05 0001 00 00 00`, malformed, "MQTT5 3.4"],
    ]),
    ...rows(4, "client", [
      [`answer ${first}: Packet Identifier 0`, `${first} 02 0000`, malformed, "MQTT311 2.3.1-1"],
      [`answer ${first}: a byte too many`, `${first} 03 0001 00`, malformed, "MQTT311 3.4.1"],
    ]),
  ]),
  ...rows(5, "client", [
    ["PUBACK with a Reason Code of PUBREL", "40 03 0001 92", refused, "MQTT5 3.4.2-1"],
    ["PUBREL with a Reason Code of PUBREC", "62 03 0001 80", refused, "MQTT5 3.6.2-1"],
    ["PUBCOMP with a Reason Code of PUBREC", "70 03 0001 10", refused, "MQTT5 3.7.2-1"],
  ]),
];

const subscribes: MalformedVector[] = [
  ...rows(5, "client", [
    ["SUBSCRIBE without anything", "82 00", malformed, "MQTT5 3.8.2"],
    ["SUBSCRIBE without Property Length", "82 02 0001", malformed, "MQTT5 3.8.2.1.1"],
    ["SUBSCRIBE without a topic filter", "82 03 0001 00", refused, "MQTT5 3.8.3-2"],
    ["SUBSCRIBE: Packet Identifier 0", "82 07 0000 00 0001 'a' 00", malformed, "MQTT5 2.2.1-3"],
    ["SUBSCRIBE: topic filter cut off", "82 06 0001 00 0002 'a'", malformed, "MQTT5 3.8.3"],
    ["SUBSCRIBE cut before its options byte", "82 06 0001 00 0001 'a'", malformed, "MQTT5 3.8.3"],
    ["SUBSCRIBE: second options byte missing", "82 0a 0001 00 0001 'a' 00 0001 'b'", malformed, "MQTT5 3.8.3"],
    ["SUBSCRIBE: one byte behind the last filter", "82 08 0001 00 0001 'a' 00 00", malformed, "MQTT5 3.8.3"],
    ["SUBSCRIBE: reserved option bit 6", "82 07 0001 00 0001 'a' 40", malformed, "MQTT5 3.8.3-5"],
    ["SUBSCRIBE: reserved option bit 7", "82 07 0001 00 0001 'a' 80", malformed, "MQTT5 3.8.3-5"],
    ["SUBSCRIBE: QoS 3", "82 07 0001 00 0001 'a' 03", refused, "MQTT5 3.8.3.1"],
    ["SUBSCRIBE: Retain Handling 3", "82 07 0001 00 0001 'a' 30", refused, "MQTT5 3.8.3.1"],
    ["SUBSCRIBE: No Local on a Shared Subscription", "82 10 0001 00 000a '$share/g/t' 04", refused, "MQTT5 3.8.3-4"],
    ["SUBSCRIBE: U+0000 in a topic filter", "82 08 0001 00 0002 'a' 00 00", malformed, "MQTT5 4.7.3-2"],
    ["SUBSCRIBE: ill-formed topic filter", "82 07 0001 00 0001 ff 00", malformed, "MQTT5 3.8.3-1"],
    ["SUBSCRIBE: Subscription Identifier 0", "82 09 0001 02 0b00 0001 'a' 00", refused, "MQTT5 3.8.2.1.2"],
    ["SUBSCRIBE: Subscription Identifier twice", "82 0b 0001 04 0b01 0b02 0001 'a' 00", refused, "MQTT5 3.8.2.1.2"],
    [
      "SUBSCRIBE: Subscription Identifier of five bytes",
      "82 0d 0001 06 0bffffffff01 0001 'a' 00",
      malformed,
      "MQTT5 1.5.5",
    ],
    ["SUBSCRIBE: property of PUBLISH", "82 0a 0001 03 230001 0001 'a' 00", malformed, "MQTT5 2.2.2.2"],
    ["SUBSCRIBE: properties longer than the packet", "82 07 0001 40 0001 'a' 00", malformed, "MQTT5 2.2.2"],
    ["UNSUBSCRIBE without anything", "a2 00", malformed, "MQTT5 3.10.2"],
    ["UNSUBSCRIBE without a topic filter", "a2 03 0001 00", refused, "MQTT5 3.10.3-2"],
    ["UNSUBSCRIBE: Packet Identifier 0", "a2 06 0000 00 0001 'a'", malformed, "MQTT5 2.2.1-3"],
    ["UNSUBSCRIBE: topic filter cut off", "a2 06 0001 00 0009 'a'", malformed, "MQTT5 3.10.3"],
    ["UNSUBSCRIBE: ill-formed topic filter", "a2 06 0001 00 0001 c3", malformed, "MQTT5 3.10.3-1"],
    ["UNSUBSCRIBE: property of SUBSCRIBE", "a2 08 0001 02 0b01 0001 'a'", malformed, "MQTT5 2.2.2.2"],
  ]),
  ...rows(4, "client", [
    ["SUBSCRIBE without a topic filter", "82 02 0001", refused, "MQTT311 3.8.3-3"],
    ["SUBSCRIBE: Packet Identifier 0", "82 06 0000 0001 'a' 00", malformed, "MQTT311 2.3.1-1"],
    ["SUBSCRIBE cut before its QoS", "82 05 0001 0001 'a'", malformed, "MQTT311 3.8.3"],
    ["SUBSCRIBE: QoS 3", "82 06 0001 0001 'a' 03", refused, "MQTT311 3.8.3-4"],
    ["SUBSCRIBE: an option of 5.0", "82 06 0001 0001 'a' 04", malformed, "MQTT311 3.8.3-4"],
    ["SUBSCRIBE: U+0000 in a topic filter", "82 06 0001 0001 00 00", malformed, "MQTT311 4.7.3-2"],
    ["UNSUBSCRIBE without a topic filter", "a2 02 0001", refused, "MQTT311 3.10.3-2"],
    ["UNSUBSCRIBE: Packet Identifier 0", "a2 05 0000 0001 'a'", malformed, "MQTT311 2.3.1-1"],
  ]),
  ...rows(3, "client", [
    ["SUBSCRIBE without a topic filter", "82 02 0001", refused, "MQTT31 3.8"],
    ["SUBSCRIBE, sent again, Packet Identifier 0", "8a 06 0000 0001 'a' 00", malformed, "MQTT31 2.4"],
    ["SUBSCRIBE: QoS 3", "82 06 0001 0001 'a' 03", refused, "MQTT31 3.8"],
  ]),
  ...rows(5, "server", [
    ["SUBACK without anything", "90 00", malformed, "MQTT5 3.9.2"],
    ["SUBACK without a Reason Code", "90 03 0001 00", malformed, "MQTT5 3.9.3"],
    ["SUBACK: Packet Identifier 0", "90 04 0000 00 00", malformed, "MQTT5 2.2.1-3"],
    ["SUBACK: a Reason Code of UNSUBACK", "90 04 0001 00 11", refused, "MQTT5 3.9.3-2"],
    ["SUBACK: property of SUBSCRIBE", "90 06 0001 02 0b01 00", malformed, "MQTT5 2.2.2.2"],
    ["UNSUBACK without a Reason Code", "b0 03 0001 00", malformed, "MQTT5 3.11.3"],
    ["UNSUBACK: a Reason Code of SUBACK", "b0 04 0001 00 01", refused, "MQTT5 3.11.3-2"],
  ]),
  ...rows(4, "server", [
    ["SUBACK without a return code", "90 02 0001", malformed, "MQTT311 3.9.3"],
    ["SUBACK: return code 3", "90 03 0001 03", refused, "MQTT311 3.9.3-2"],
    ["SUBACK: a Reason Code of 5.0", "90 03 0001 87", refused, "MQTT311 3.9.3-2"],
    ["UNSUBACK with a payload", "b0 03 0001 00", malformed, "MQTT311 3.11.3"],
  ]),
];

const others: MalformedVector[] = [
  ...rows(5, "client", [
    ["DISCONNECT: Reason Code of CONNACK", "e0 01 85", refused, "MQTT5 3.14.2-1"],
    ["DISCONNECT: Reason Code that there is not", "e0 01 7f", refused, "MQTT5 3.14.2-1"],
    ["DISCONNECT: properties longer than the packet", "e0 02 00 05", malformed, "MQTT5 2.2.2"],
    ["DISCONNECT: Session Expiry Interval twice", "e0 0c 00 0a 1100000000 1100000000", refused, "MQTT5 3.14.2.2.2"],
    ["DISCONNECT: Session Expiry Interval cut off", "e0 04 00 02 1100", malformed, "MQTT5 3.14.2.2.2"],
    ["DISCONNECT: property of CONNECT", "e0 05 00 03 210001", malformed, "MQTT5 2.2.2.2"],
    ["DISCONNECT: a byte too many", "e0 03 00 00 00", malformed, "MQTT5 3.14"],
    ["AUTH without Property Length", "f0 01 18", malformed, "MQTT5 3.15.2.2.1"],
    ["AUTH without an Authentication Method", "f0 02 18 00", refused, "MQTT5 3.15.2.2.2"],
    ["AUTH with data but without a method", "f0 05 00 03 160000", refused, "MQTT5 3.15.2.2.2"],
    ["AUTH: Authentication Method twice", "f0 08 18 06 150000 150000", refused, "MQTT5 3.15.2.2.2"],
    ["AUTH: Reason Code of DISCONNECT", "f0 05 80 03 150000", refused, "MQTT5 3.15.2-1"],
    ["AUTH: property of CONNECT", "f0 08 18 06 150000 210001", malformed, "MQTT5 2.2.2.2"],
    ["AUTH: a byte too many", "f0 06 18 03 150000 00", malformed, "MQTT5 3.15"],
  ]),
  ...rows(5, "server", [
    ["CONNACK without anything", "20 00", malformed, "MQTT5 3.2.2"],
    ["CONNACK without Property Length", "20 02 00 00", malformed, "MQTT5 3.2.2.3.1"],
    ["CONNACK: reserved acknowledge flag", "20 03 02 00 00", malformed, "MQTT5 3.2.2-1"],
    ["CONNACK: session present in a refusal", "20 03 01 87 00", refused, "MQTT5 3.2.2-6"],
    ["CONNACK: Reason Code of DISCONNECT", "20 03 00 8e 00", refused, "MQTT5 3.2.2-8"],
    ["CONNACK: return code of 3.1.1", "20 03 00 01 00", refused, "MQTT5 3.2.2-8"],
    ["CONNACK: Maximum QoS 2", "20 05 00 00 02 2402", refused, "MQTT5 3.2.2.3.4"],
    ["CONNACK: Retain Available 2", "20 05 00 00 02 2502", refused, "MQTT5 3.2.2.3.5"],
    ["CONNACK: Receive Maximum 0", "20 06 00 00 03 210000", refused, "MQTT5 3.2.2.3.3"],
    ["CONNACK: Maximum Packet Size 0", "20 08 00 00 05 2700000000", refused, "MQTT5 3.2.2.3.6"],
    ["CONNACK: Wildcard Subscription Available 2", "20 05 00 00 02 2802", refused, "MQTT5 3.2.2.3.11"],
    ["CONNACK: Subscription Identifiers Available 2", "20 05 00 00 02 2902", refused, "MQTT5 3.2.2.3.12"],
    ["CONNACK: Shared Subscription Available 2", "20 05 00 00 02 2a02", refused, "MQTT5 3.2.2.3.13"],
    ["CONNACK: Assigned Client Identifier twice", "20 09 00 00 06 120000 120000", refused, "MQTT5 3.2.2.3.7"],
    ["CONNACK: property of CONNECT", "20 05 00 00 02 1901", malformed, "MQTT5 2.2.2.2"],
    ["CONNACK: a byte too many", "20 04 00 00 00 00", malformed, "MQTT5 3.2.3"],
  ]),
  ...rows(4, "server", [
    ["CONNACK: reserved acknowledge flag", "20 02 80 00", malformed, "MQTT311 3.2.2.1"],
    ["CONNACK: session present in a refusal", "20 02 01 05", refused, "MQTT311 3.2.2-4"],
    ["CONNACK: return code 6", "20 02 00 06", refused, "MQTT311 3.2.2.3"],
    ["CONNACK: properties", "20 03 00 00 00", malformed, "MQTT311 3.2.3"],
  ]),
  ...rows(3, "server", [["CONNACK: return code 6", "20 02 00 06", refused, "MQTT31 3.2"]]),
];

export const malformedVectors: readonly MalformedVector[] = [
  ...fixedHeader,
  ...connects,
  ...publishes,
  ...answers,
  ...subscribes,
  ...others,
];
