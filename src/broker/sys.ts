/** The broker's own figures, as retained messages below `$SYS/brokers/`. */
import type { Timer } from "../base/clock.ts";
import type { Broker } from "./broker.ts";

export class SysTopics {
  private readonly broker: Broker;
  private timer: Timer | undefined;

  constructor(broker: Broker) {
    this.broker = broker;
  }

  start(): void {
    const { sysIntervalSeconds } = this.broker.options;
    if (sysIntervalSeconds === 0) return;
    this.publish("version", this.broker.options.version);
    this.publish("sysdescr", "HookMQ Broker");
    this.publishFigures();
    this.timer = this.broker.clock.every(sysIntervalSeconds * 1000, () => this.publishFigures());
  }

  stop(): void {
    this.timer?.cancel();
  }

  private publishFigures(): void {
    const { broker } = this;
    const { figures } = broker;
    const uptimeSeconds = Math.floor((broker.clock.now() - broker.startedAt) / 1000);
    const values: [string, number | string][] = [
      ["uptime", uptimeSeconds],
      ["datetime", new Date(broker.clock.now()).toISOString()],
      ["clients/connected", connectedClients(broker)],
      ["clients/total", broker.sessions.count],
      ["subscriptions/count", broker.subscriptions.count],
      ["retained/count", broker.retained.count],
      ["messages/received", figures.messagesReceived],
      ["messages/sent", figures.messagesSent],
      ["messages/dropped", figures.messagesDropped],
      ["bytes/received", figures.bytesReceived],
      ["bytes/sent", figures.bytesSent],
    ];
    for (const [name, value] of values) this.publish(name, String(value));
  }

  private publish(name: string, text: string): void {
    const publisher = { clientId: this.broker.options.nodeName, userName: undefined };
    const payload = Buffer.from(text);
    this.broker.publish({ topicName: `$SYS/brokers/${name}`, payload, qos: 0, retain: true, publisher });
  }
}

function connectedClients({ sessions }: Broker): number {
  let connected = 0;
  for (const session of sessions.all()) if (session.connection !== undefined) connected++;
  return connected;
}
