import type { Clock } from "../base/clock.ts";
import { PublishView } from "../mqtt/publish-view.ts";
import { KeptMessage, ownBytes, type Publisher } from "./message.ts";
import { type Arena, EncodedPublish } from "./publish-encoder.ts";
import type { Route } from "./route.ts";
import type { Session } from "./session.ts";

/**
 * The message in hand: a PUBLISH being passed on, as offsets, with its route and its publisher. There is one for the whole
 * broker, filled anew for each message; what outlives the handling takes `message()`, made at most once.
 */
export class Arrival {
  readonly view = new PublishView();
  readonly encoded: EncodedPublish;
  /** Set before anything below is asked. */
  route!: Route;
  publisher!: Publisher;
  /** The publisher's session; `undefined` for wills and the broker's own messages. */
  session: Session | undefined;
  private readonly clock: Clock;
  private kept: KeptMessage | undefined;

  constructor(arena: Arena, clock: Clock) {
    this.clock = clock;
    this.encoded = new EncodedPublish(arena);
  }

  /** Takes the PUBLISH in `view` in hand. */
  begin(route: Route, publisher: Publisher, session: Session | undefined, version5: boolean): void {
    this.route = route;
    this.publisher = publisher;
    this.session = session;
    this.kept = undefined;
    this.fillParts(version5);
  }

  /** The same message as one that stays. */
  message(): KeptMessage {
    if (this.kept === undefined) {
      const { view, encoded } = this;
      const acceptedAt = this.clock.now();
      const { properties, propertiesStart, propertiesEnd, expiryOffset } = encoded.parts;
      const payload = ownBytes(view.bytes.subarray(view.payloadStart, view.payloadEnd));
      this.kept = new KeptMessage({
        topicName: this.route.topicName,
        topicBytes: this.route.topicBytes,
        payload,
        qos: view.qos,
        retain: view.retain,
        properties:
          propertiesEnd === propertiesStart ? nothing : ownBytes(properties.subarray(propertiesStart, propertiesEnd)),
        expiryOffset,
        acceptedAt,
        expiresAt: view.scan.expirySeconds < 0 ? undefined : acceptedAt + view.scan.expirySeconds * 1000,
        publisher: this.publisher,
      });
    }
    return this.kept;
  }

  /** For a message that stays already. */
  setMessage(message: KeptMessage): void {
    this.kept = message;
  }

  private fillParts(version5: boolean): void {
    const { view } = this;
    const { parts } = this.encoded;
    const { scan } = view;
    parts.topic = this.route.topicBytes;
    parts.payload = view.bytes;
    parts.payloadStart = view.payloadStart;
    parts.payloadEnd = view.payloadEnd;
    parts.expiryOffset = scan.expirySeconds < 0 ? -1 : scan.expiryOffset;
    parts.properties = view.bytes;
    parts.propertiesStart = view.propertiesStart;
    parts.propertiesEnd = view.propertiesEnd;
    // A Topic Alias ends at the server. [MQTT5 3.3.2.3.4]
    if (scan.topicAlias !== 0) {
      const before = view.bytes.subarray(view.propertiesStart, scan.aliasStart);
      const after = view.bytes.subarray(scan.aliasEnd, view.propertiesEnd);
      parts.properties = Buffer.concat([before, after]);
      parts.propertiesStart = 0;
      parts.propertiesEnd = parts.properties.length;
      if (scan.aliasStart - view.propertiesStart < parts.expiryOffset)
        parts.expiryOffset -= scan.aliasEnd - scan.aliasStart;
    }
    this.encoded.begin(view, version5);
  }
}

const nothing = Buffer.alloc(0);
