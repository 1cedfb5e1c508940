/** MQTT.js, by others, as a witness inside the test's own process. */
import { connectAsync, type IClientOptions, type MqttClient } from "mqtt";
import { News } from "./news.ts";
import type { Place } from "./place.ts";

/** Connected, and ended with the place; it never reconnects by itself. */
export async function connectMqttJs(place: Place, port: number, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync({ host: "127.0.0.1", port, reconnectPeriod: 0, ...options });
  // A broker that goes while the test looks elsewhere is for the test to notice.
  client.on("error", () => {});
  place.whenLeaving(() => client.endAsync(true));
  return client;
}

/** The payloads of what clients receive, in their order. */
export class Inbox {
  readonly texts: string[] = [];
  private readonly news = new News();

  constructor(...clients: MqttClient[]) {
    for (const client of clients) {
      client.on("message", (_topicName, payload) => {
        this.texts.push(payload.toString());
        this.news.tell();
      });
    }
  }

  /** Resolves with all there are once there are so many. */
  holds(count: number): Promise<string[]> {
    return this.news.until(
      () => (this.texts.length >= count ? this.texts : undefined),
      () => new Error(`waited for ${count} messages, but only ${this.texts.length} came`),
    );
  }
}
