/**
 * MQTT Control Packets as plain values: what `codec.ts` decodes bytes to and encodes bytes from.
 * One set of types serves 3.1, 3.1.1 and 5.0; what a version lacks is simply absent (`properties` before 5.0).
 * PUBLISH and its acknowledgements have a second, allocation-free path for the broker: `publish-view.ts`.
 */
import type { ReasonCode } from "./reason-code.ts";

/** The protocol level as sent in CONNECT: 3 is MQTT 3.1 (`MQIsdp`), 4 is 3.1.1, 5 is 5.0. */
export type ProtocolVersion = 3 | 4 | 5;
export type QoS = 0 | 1 | 2;
/** What reaches a subscriber is the lower of the message's QoS and the subscription's. [MQTT5 3.8.4-8] [MQTT311 3.8.4-6] */
export function lowerQoS(one: QoS, other: QoS): QoS {
  return Math.min(one, other) as QoS;
}

/** 1–65535. */
export type PacketIdentifier = number;
/** In the order sent; the same name may come more than once. [MQTT5 3.1.2.11.8] */
export type UserProperties = readonly (readonly [name: string, value: string])[];

export interface ConnectProperties {
  sessionExpiryInterval?: number;
  receiveMaximum?: number;
  maximumPacketSize?: number;
  topicAliasMaximum?: number;
  requestResponseInformation?: boolean;
  requestProblemInformation?: boolean;
  userProperties?: UserProperties;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
}

export interface WillProperties extends PublishedProperties {
  willDelayInterval?: number;
}

/** The properties of an Application Message: they travel from publisher to subscriber unchanged. */
export interface PublishedProperties {
  payloadFormatIndicator?: 0 | 1;
  messageExpiryInterval?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  userProperties?: UserProperties;
}

export interface PublishProperties extends PublishedProperties {
  topicAlias?: number;
  subscriptionIdentifiers?: readonly number[];
}

export interface ConnackProperties {
  sessionExpiryInterval?: number;
  receiveMaximum?: number;
  maximumQoS?: 0 | 1;
  retainAvailable?: boolean;
  maximumPacketSize?: number;
  assignedClientIdentifier?: string;
  topicAliasMaximum?: number;
  reasonString?: string;
  userProperties?: UserProperties;
  wildcardSubscriptionAvailable?: boolean;
  subscriptionIdentifiersAvailable?: boolean;
  sharedSubscriptionAvailable?: boolean;
  serverKeepAlive?: number;
  responseInformation?: string;
  serverReference?: string;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK. */
export interface AnswerProperties {
  reasonString?: string;
  userProperties?: UserProperties;
}

export interface SubscribeProperties {
  subscriptionIdentifier?: number;
  userProperties?: UserProperties;
}

export interface UnsubscribeProperties {
  userProperties?: UserProperties;
}

export interface DisconnectProperties {
  sessionExpiryInterval?: number;
  reasonString?: string;
  userProperties?: UserProperties;
  serverReference?: string;
}

export interface AuthProperties {
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
  reasonString?: string;
  userProperties?: UserProperties;
}

export interface Will {
  topicName: string;
  payload: Uint8Array;
  qos: QoS;
  retain: boolean;
  properties?: WillProperties;
}

export interface Connect {
  type: "connect";
  protocolVersion: ProtocolVersion;
  /** Clean Session before 5.0. */
  cleanStart: boolean;
  keepAliveSeconds: number;
  /** May be empty: then the server assigns one. */
  clientId: string;
  will?: Will;
  userName?: string;
  password?: Uint8Array;
  properties?: ConnectProperties;
  /** The bridge bit (0x80 of the level) that some 3.1.1 bridges set; absent when not set. */
  bridge?: true;
}

export interface Connack {
  type: "connack";
  sessionPresent: boolean;
  /** In 3.1 and 3.1.1 the codec writes and reads the matching return code. */
  reasonCode: ReasonCode;
  properties?: ConnackProperties;
}

export type Publish = {
  type: "publish";
  /** Empty only with a Topic Alias. */
  topicName: string;
  payload: Uint8Array;
  retain: boolean;
  properties?: PublishProperties;
} & ({ qos: 0 } | { qos: 1 | 2; packetIdentifier: PacketIdentifier; dup: boolean });

export interface PublishAnswer {
  type: "puback" | "pubrec" | "pubrel" | "pubcomp";
  packetIdentifier: PacketIdentifier;
  reasonCode: ReasonCode;
  properties?: AnswerProperties;
}

export interface SubscriptionRequest {
  topicFilter: string;
  qos: QoS;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
}

export interface Subscribe {
  type: "subscribe";
  packetIdentifier: PacketIdentifier;
  subscriptions: readonly SubscriptionRequest[];
  properties?: SubscribeProperties;
}

export interface Suback {
  type: "suback";
  packetIdentifier: PacketIdentifier;
  reasonCodes: readonly ReasonCode[];
  properties?: AnswerProperties;
}

export interface Unsubscribe {
  type: "unsubscribe";
  packetIdentifier: PacketIdentifier;
  topicFilters: readonly string[];
  properties?: UnsubscribeProperties;
}

export interface Unsuback {
  type: "unsuback";
  packetIdentifier: PacketIdentifier;
  /** Empty before 5.0, which has none on the wire. */
  reasonCodes: readonly ReasonCode[];
  properties?: AnswerProperties;
}

interface Pingreq {
  type: "pingreq";
}

interface Pingresp {
  type: "pingresp";
}

export interface Disconnect {
  type: "disconnect";
  reasonCode: ReasonCode;
  properties?: DisconnectProperties;
}

export interface Auth {
  type: "auth";
  reasonCode: ReasonCode;
  properties?: AuthProperties;
}

export type Packet =
  | Connect
  | Connack
  | Publish
  | PublishAnswer
  | Subscribe
  | Suback
  | Unsubscribe
  | Unsuback
  | Pingreq
  | Pingresp
  | Disconnect
  | Auth;
