import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { decodePacket, encodePacket, UnsupportedProtocol } from "./codec.ts";
import type {
  Connect,
  Packet,
  ProtocolVersion,
  Publish,
  PublishedProperties,
  SubscriptionRequest,
  UserProperties,
} from "./packet.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReasonCode } from "./reason-code.ts";

/** Takes the fixed header off, as the Framer does. */
function decodeWhole(version: ProtocolVersion, bytes: Buffer): Packet {
  const bodyStart = bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1;
  return decodePacket(version, bytes[0], bytes, bodyStart, bytes.length);
}

const versions: readonly ProtocolVersion[] = [3, 4, 5];
const text = fc.string({ unit: "binary", maxLength: 12 }).map((each) => each.replaceAll("\0", ""));
const binary = fc.uint8Array({ maxLength: 12 });
const topicName = text.map((each) => `t/${each.replaceAll(/[+#]/g, "")}`);
const packetIdentifier = fc.integer({ min: 1, max: 0xffff });
const twoBytes = fc.nat(0xffff);
const fourBytes = fc.nat(0xffff_ffff);
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const);
const userProperties: fc.Arbitrary<UserProperties> = fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 3 });

/** Any of these properties, but never an empty set of them: that is read as none. */
function anyOf<T extends object>(model: { [Name in keyof T]-?: fc.Arbitrary<NonNullable<T[Name]>> }): fc.Arbitrary<T> {
  return fc
    .record<Record<string, unknown>>(model as Record<string, fc.Arbitrary<unknown>>, {
      requiredKeys: [],
      noNullPrototype: true,
    })
    .filter((properties) => Object.keys(properties).length > 0) as fc.Arbitrary<unknown> as fc.Arbitrary<T>;
}

/** The packet as it is before 5.0, and in 5.0 also with properties. */
function withProperties<P extends Packet>(
  version: ProtocolVersion,
  packet: fc.Arbitrary<P>,
  properties: fc.Arbitrary<object>,
): fc.Arbitrary<P> {
  if (version !== 5) return packet;
  return fc.oneof(
    packet,
    fc.tuple(packet, properties).map(([each, some]) => ({ ...each, properties: some })),
  );
}

const published = {
  messageExpiryInterval: fourBytes,
  contentType: text,
  responseTopic: topicName,
  correlationData: binary,
  userProperties,
};
// Payloads are any bytes, so the indicator says nothing of them; the golden packets say more.
const payloadFormatIndicator = fc.constant(0 as const);
const answerProperties = anyOf({ reasonString: text, userProperties });

function connect(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const willProperties = anyOf<PublishedProperties & { willDelayInterval?: number }>({
    ...published,
    payloadFormatIndicator,
    willDelayInterval: fourBytes,
  });
  const bareWill = fc.record({ topicName, payload: binary, qos, retain: fc.boolean() }, { noNullPrototype: true });
  const will =
    version === 5
      ? fc.oneof(
          bareWill,
          fc.tuple(bareWill, willProperties).map(([each, properties]) => ({ ...each, properties })),
        )
      : bareWill;
  const packet = fc
    .record(
      {
        type: fc.constant("connect" as const),
        protocolVersion: fc.constant(version),
        cleanStart: fc.boolean(),
        keepAliveSeconds: twoBytes,
        clientId: text,
        will,
        userName: text,
        password: binary,
      },
      {
        requiredKeys: ["type", "protocolVersion", "cleanStart", "keepAliveSeconds", "clientId"],
        noNullPrototype: true,
      },
    )
    .filter(({ userName, password }) => version === 5 || userName !== undefined || password === undefined);
  const properties = anyOf({
    sessionExpiryInterval: fourBytes,
    receiveMaximum: packetIdentifier,
    maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
    topicAliasMaximum: twoBytes,
    requestResponseInformation: fc.boolean(),
    requestProblemInformation: fc.boolean(),
    userProperties,
    authenticationMethod: text,
  });
  return withProperties<Connect>(version, packet, properties);
}

function connack(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const packet = fc.oneof(
    fc.record(
      {
        type: fc.constant("connack" as const),
        sessionPresent: version === 3 ? fc.constant(false) : fc.boolean(),
        reasonCode: fc.constant(ReasonCode.success),
      },
      { noNullPrototype: true },
    ),
    fc.record(
      {
        type: fc.constant("connack" as const),
        sessionPresent: fc.constant(false),
        reasonCode: fc.constantFrom(
          ReasonCode.unsupportedProtocolVersion,
          ReasonCode.clientIdentifierNotValid,
          ReasonCode.serverUnavailable,
          ReasonCode.badUserNameOrPassword,
          ReasonCode.notAuthorized,
        ),
      },
      { noNullPrototype: true },
    ),
  );
  const properties = anyOf({
    sessionExpiryInterval: fourBytes,
    receiveMaximum: packetIdentifier,
    maximumQoS: fc.constantFrom(0, 1),
    retainAvailable: fc.boolean(),
    maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
    assignedClientIdentifier: text,
    topicAliasMaximum: twoBytes,
    reasonString: text,
    userProperties,
    wildcardSubscriptionAvailable: fc.boolean(),
    subscriptionIdentifiersAvailable: fc.boolean(),
    sharedSubscriptionAvailable: fc.boolean(),
    serverKeepAlive: twoBytes,
    responseInformation: text,
    serverReference: text,
    authenticationMethod: text,
    authenticationData: binary,
  });
  return withProperties(version, packet, properties);
}

function publish(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const message = { type: fc.constant("publish" as const), topicName, payload: binary, retain: fc.boolean() };
  const packet = fc.oneof(
    fc.record({ ...message, qos: fc.constant(0 as const) }, { noNullPrototype: true }),
    fc.record(
      { ...message, qos: fc.constantFrom(1 as const, 2 as const), packetIdentifier, dup: fc.boolean() },
      { noNullPrototype: true },
    ),
  );
  const properties = anyOf({
    ...published,
    payloadFormatIndicator,
    topicAlias: packetIdentifier,
    subscriptionIdentifiers: fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 3 }),
  });
  return withProperties<Publish>(version, packet, properties);
}

function publishAnswer(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const codes = {
    puback: [ReasonCode.success, ReasonCode.noMatchingSubscribers, ReasonCode.quotaExceeded],
    pubrec: [ReasonCode.success, ReasonCode.packetIdentifierInUse, ReasonCode.payloadFormatInvalid],
    pubrel: [ReasonCode.success, ReasonCode.packetIdentifierNotFound],
    pubcomp: [ReasonCode.success, ReasonCode.packetIdentifierNotFound],
  };
  const packet = fc
    .constantFrom("puback" as const, "pubrec" as const, "pubrel" as const, "pubcomp" as const)
    .chain((type) =>
      fc.record(
        {
          type: fc.constant(type),
          packetIdentifier,
          reasonCode: fc.constantFrom<ReasonCode>(...(version === 5 ? codes[type] : [ReasonCode.success])),
        },
        { noNullPrototype: true },
      ),
    );
  return withProperties(version, packet, answerProperties);
}

function subscribe(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const never = fc.constant(false);
  const request: fc.Arbitrary<SubscriptionRequest> = fc.record(
    {
      topicFilter: text,
      qos,
      noLocal: version === 5 ? fc.boolean() : never,
      retainAsPublished: version === 5 ? fc.boolean() : never,
      retainHandling: version === 5 ? fc.constantFrom(0 as const, 1 as const, 2 as const) : fc.constant(0 as const),
    },
    { noNullPrototype: true },
  );
  const packet = fc.record(
    {
      type: fc.constant("subscribe" as const),
      packetIdentifier,
      subscriptions: fc.array(request, { minLength: 1, maxLength: 4 }),
    },
    { noNullPrototype: true },
  );
  const properties = anyOf({ subscriptionIdentifier: fc.integer({ min: 1, max: 268_435_455 }), userProperties });
  return withProperties(version, packet, properties);
}

function suback(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const granted = [ReasonCode.success, ReasonCode.grantedQos1, ReasonCode.grantedQos2, ReasonCode.unspecifiedError];
  const more = version === 5 ? [ReasonCode.notAuthorized, ReasonCode.topicFilterInvalid] : [];
  const packet = fc.record(
    {
      type: fc.constant("suback" as const),
      packetIdentifier,
      reasonCodes: fc.array(fc.constantFrom<ReasonCode>(...granted, ...more), { minLength: 1, maxLength: 4 }),
    },
    { noNullPrototype: true },
  );
  return withProperties(version, packet, answerProperties);
}

function unsubscribe(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const packet = fc.record(
    {
      type: fc.constant("unsubscribe" as const),
      packetIdentifier,
      topicFilters: fc.array(text, { minLength: 1, maxLength: 4 }),
    },
    { noNullPrototype: true },
  );
  return withProperties(version, packet, anyOf({ userProperties }));
}

function unsuback(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const codes = fc.constantFrom<ReasonCode>(ReasonCode.success, ReasonCode.noSubscriptionExisted);
  const packet = fc.record(
    {
      type: fc.constant("unsuback" as const),
      packetIdentifier,
      reasonCodes: version === 5 ? fc.array(codes, { minLength: 1, maxLength: 4 }) : fc.constant([]),
    },
    { noNullPrototype: true },
  );
  return withProperties(version, packet, answerProperties);
}

function disconnect(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const codes =
    version === 5 ? [ReasonCode.success, ReasonCode.disconnectWithWill, ReasonCode.serverMoved] : [ReasonCode.success];
  const packet = fc.record(
    { type: fc.constant("disconnect" as const), reasonCode: fc.constantFrom<ReasonCode>(...codes) },
    { noNullPrototype: true },
  );
  const properties = anyOf({
    sessionExpiryInterval: fourBytes,
    reasonString: text,
    userProperties,
    serverReference: text,
  });
  return withProperties(version, packet, properties);
}

const auth: fc.Arbitrary<Packet> = fc.record(
  {
    type: fc.constant("auth" as const),
    reasonCode: fc.constantFrom<ReasonCode>(
      ReasonCode.continueAuthentication,
      ReasonCode.reauthenticate,
      ReasonCode.success,
    ),
    properties: fc.record(
      { authenticationMethod: text, authenticationData: binary, reasonString: text, userProperties },
      { requiredKeys: ["authenticationMethod"], noNullPrototype: true },
    ),
  },
  { noNullPrototype: true },
);

function packetOf(version: ProtocolVersion): fc.Arbitrary<Packet> {
  return fc.oneof(
    connect(version),
    connack(version),
    publish(version),
    publishAnswer(version),
    subscribe(version),
    suback(version),
    unsubscribe(version),
    unsuback(version),
    fc.constantFrom<Packet>({ type: "pingreq" }, { type: "pingresp" }),
    disconnect(version),
    ...(version === 5 ? [auth] : []),
  );
}

for (const version of versions) {
  describe(`level ${version}`, () => {
    test("what is encoded is decoded to the same", () => {
      fc.assert(
        fc.property(packetOf(version), (packet) => {
          assert.deepEqual(decodeWhole(version, encodePacket(version, packet)), packet);
        }),
        { numRuns: 1500 },
      );
    });

    test("no byte changed, no byte missing and no byte too many makes anything but a packet or a ProtocolError", () => {
      const spoiled = fc.tuple(packetOf(version), fc.nat(), fc.nat(255), fc.constantFrom("change", "cut", "add"));
      fc.assert(
        fc.property(spoiled, ([packet, at, byte, how]) => {
          const bytes = encodePacket(version, packet);
          const place = at % bytes.length;
          if (how === "change") bytes[place] = byte;
          const end = how === "cut" ? Math.max(place, 2) : bytes.length;
          const body = how === "add" ? Buffer.concat([bytes, Buffer.of(byte)]) : bytes.subarray(0, end);
          isPacketOrRefused(() => decodePacket(version, body[0], body, 2, body.length));
        }),
        { numRuns: 1500 },
      );
    });

    test("any bytes are a packet or a ProtocolError", () => {
      const random = fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 40 }));
      fc.assert(
        fc.property(random, ([firstByte, body]) => {
          isPacketOrRefused(() => decodePacket(version, firstByte, Buffer.from(body), 0, body.length));
        }),
        { numRuns: 3000 },
      );
    });
  });
}

/** What is taken must also be a value that can be sent on. */
function isPacketOrRefused(decode: () => Packet): void {
  let packet: Packet;
  try {
    packet = decode();
  } catch (error) {
    assert.ok(error instanceof ProtocolError, `threw ${error}`);
    return;
  }
  const version = packet.type === "connect" ? packet.protocolVersion : 5;
  assert.ok(encodePacket(version, packet).length >= 2);
}

test("a protocol that is not ours can be answered in its own words", () => {
  const connect = Buffer.from("0004 4d515454 06 02 0000 0000".replaceAll(" ", ""), "hex");
  assert.throws(
    () => decodePacket(4, 0x10, connect, 0, connect.length),
    (error) => {
      assert.ok(error instanceof UnsupportedProtocol);
      assert.deepEqual(
        [error.reasonCode, error.protocolName, error.level],
        [ReasonCode.unsupportedProtocolVersion, "MQTT", 6],
      );
      return true;
    },
  );
});

test("a CONNECT says itself which version it speaks", () => {
  const packet: Packet = { type: "connect", protocolVersion: 5, cleanStart: true, keepAliveSeconds: 0, clientId: "c" };
  for (const version of versions) {
    assert.deepEqual(decodeWhole(version, encodePacket(version, packet)), packet);
  }
});

test("before 5.0 every failure of SUBACK is 0x80 [MQTT311 3.9.3-2]", () => {
  const packet: Packet = {
    type: "suback",
    packetIdentifier: 1,
    reasonCodes: [ReasonCode.grantedQos2, ReasonCode.notAuthorized, ReasonCode.topicFilterInvalid],
  };
  assert.equal(encodePacket(4, packet).toString("hex"), "90050001028080");
});

test("no properties and an empty set of them are written alike, in the shortest form", () => {
  const answer = { type: "puback", packetIdentifier: 1, reasonCode: ReasonCode.success, properties: {} } as const;
  assert.equal(encodePacket(5, answer).toString("hex"), "40020001");
  const farewell = { type: "disconnect", reasonCode: ReasonCode.success, properties: { userProperties: [] } } as const;
  assert.equal(encodePacket(5, farewell).toString("hex"), "e000");
});

test("what 5.0 alone has is left out before", () => {
  const publish: Packet = {
    type: "publish",
    topicName: "t",
    payload: Uint8Array.of(1),
    retain: false,
    qos: 0,
    properties: { contentType: "a" },
  };
  assert.equal(encodePacket(4, publish).toString("hex"), "300400017401");
  assert.throws(() => encodePacket(4, { type: "auth", reasonCode: ReasonCode.success }), /broken invariant/);
});
