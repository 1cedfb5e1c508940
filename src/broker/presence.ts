/** Who is there, as messages on `$SYS/brokers/client_status/<client identifier>`. */
import { ReasonCode } from "../mqtt/reason-code.ts";
import type { Broker } from "./broker.ts";
import type { ClientInfo, DisconnectReason } from "./tap.ts";

/** The Reason Code that existing consumers of these messages know for a connection that just ended. */
const connectionLostCode = ReasonCode.serverShuttingDown;

export class Presence {
  private readonly broker: Broker;

  constructor(broker: Broker) {
    this.broker = broker;
  }

  online(client: ClientInfo): void {
    this.publish(client, () => ({
      status: "online",
      username: userNameOf(client),
      ts: this.broker.clock.now(),
      proto_name: client.protocolVersion === 3 ? "MQIsdp" : "MQTT",
      keepalive: client.keepAliveSeconds,
      return_code: "0",
      proto_ver: client.protocolVersion,
      client_id: client.clientId,
      clean_start: client.cleanStart ? 1 : 0,
      IPv4: ipv4Of(client),
    }));
  }

  offline(client: ClientInfo, reason: DisconnectReason, reasonCode: number): void {
    const shownCode = reason === "connection_lost" ? connectionLostCode : reasonCode;
    this.publish(client, () => ({
      status: "offline",
      username: userNameOf(client),
      ts: this.broker.clock.now(),
      reason_code: shownCode.toString(16),
      client_id: client.clientId,
      IPv4: ipv4Of(client),
    }));
  }

  private publish(client: ClientInfo, body: () => object): void {
    const topicName = `$SYS/brokers/client_status/${client.clientId}`;
    // Most brokers have nobody listening: a storm of connections then costs no message each.
    if (!this.broker.isHeard(topicName)) return;
    const { clientId, userName } = client;
    const payload = Buffer.from(JSON.stringify(body()));
    this.broker.publish({ topicName, payload, qos: 0, retain: false, publisher: { clientId, userName } });
  }
}

/** The text that existing consumers of these messages know for "none". */
function userNameOf({ userName }: ClientInfo): string {
  return userName ?? "(null)";
}

/** Empty for a peer that came over IPv6, as it always was. */
function ipv4Of({ remoteAddress }: ClientInfo): string {
  const plain = remoteAddress.startsWith("::ffff:") ? remoteAddress.slice("::ffff:".length) : remoteAddress;
  return plain.includes(":") ? "" : plain;
}
