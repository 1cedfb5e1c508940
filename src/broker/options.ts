/** What the broker is told, typed and with every default filled in. `config/` reads it from the file. */
export interface BrokerOptions {
  /** Names this broker in `$SYS` and events. */
  nodeName: string;
  version: string;
  /** Largest packet taken, fixed header included; announced to v5 clients. */
  packetBytesMax: number;
  /** Messages a session may hold unsent. */
  queuedMessagesMax: number;
  /** Topic Alias Maximum announced to v5 clients. */
  topicAliasMax: number;
  /** QoS 1 and 2 messages a publisher may have unacknowledged; announced to v5 clients. */
  receiveMaximum: number;
  /** QoS 1 and 2 messages in flight to one subscriber, whatever larger window it offers. */
  inflightMessagesMax: number;
  /** A silent client is cut off after its keep alive times this. */
  keepAliveMultiplier: number;
  /** Sent to v5 clients as Server Keep Alive when theirs is longer or 0; `undefined`: theirs stands. */
  keepAliveSecondsMax: number | undefined;
  /** The longest Session Expiry Interval granted. */
  sessionExpirySecondsMax: number;
  connectionsMax: number;
  /** `$SYS/brokers/…` figures are published this often; 0: never. */
  sysIntervalSeconds: number;
  /** Response Information for v5 clients that ask: the prefix of their response topics; `undefined`: none. */
  responseInformation: string | undefined;
}
