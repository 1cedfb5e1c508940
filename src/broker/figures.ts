/** Plain counters of the broker since its start: `$SYS` and, later, metrics read them; hot code only adds to them. */
export class Figures {
  connectionsOpened = 0;
  connectionsRefused = 0;
  messagesReceived = 0;
  messagesSent = 0;
  bytesReceived = 0;
  bytesSent = 0;
  readonly messagesReceivedByQoS = [0, 0, 0];
  readonly messagesSentByQoS = [0, 0, 0];
  /** Messages not delivered to a session that should have had them, by the reason. */
  readonly dropped = {
    /** QoS 0 to a connection whose peer reads too slowly. */
    slowReader: 0,
    /** The oldest of a session's full queue. */
    queueFull: 0,
    /** Message Expiry Interval ran out. [MQTT5 3.3.2-5] */
    expired: 0,
    /** Larger than the client's Maximum Packet Size. [MQTT5 3.1.2-24] */
    tooLarge: 0,
    /** Owed to a session that ended first. */
    sessionEnded: 0,
  };
  /** Messages that had no subscriber and no rule. */
  messagesUnmatched = 0;
  /** Messages routed but not retained, for want of room or of a store that takes them. */
  retainedRefused = 0;
  /** QoS 1 and 2 messages refused because the store can keep nothing at present. */
  messagesRefused = 0;
  /** Happenings that Taps were not told of, because the store can keep nothing at present. */
  happeningsUntold = 0;

  get messagesDropped(): number {
    const { slowReader, queueFull, expired, tooLarge, sessionEnded } = this.dropped;
    return slowReader + queueFull + expired + tooLarge + sessionEnded;
  }
}
