/**
 * A broker in a process of its own, for `fuzz.test.ts`: listens on a free port and says which, passes on what its log
 * says of errors, and when asked tells what it holds once all garbage is gone.
 */
import { openAccess } from "../../src/access/access.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { Logger } from "../../src/base/log.ts";
import { Broker } from "../../src/broker/broker.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { TcpListener } from "../../src/transport/tcp.ts";

/** What this process says. */
export type Report =
  | { type: "listening"; port: number }
  | { type: "error"; message: string }
  | {
      type: "holds";
      connections: number;
      sessions: number;
      subscriptions: number;
      queuedBytes: number;
      waitingBytes: number;
      /** Objects, and what buffers hold. */
      bytesInUse: number;
      residentBytes: number;
    };

const report = (report: Report) => process.send!(report);

const log: Logger = {
  debug() {},
  info() {},
  warn: (message, facts) => report({ type: "error", message: `${message} ${JSON.stringify(facts)}` }),
  error: (message, facts) => report({ type: "error", message: `${message} ${JSON.stringify(facts)}` }),
};

const broker = new Broker({
  options: {
    nodeName: "fuzz",
    version: "0",
    packetBytesMax: 256 * 1024,
    queuedMessagesMax: 100,
    topicAliasMax: 10,
    receiveMaximum: 20,
    inflightMessagesMax: 20,
    keepAliveMultiplier: 1.5,
    keepAliveSecondsMax: undefined,
    // Sessions end while the test waits.
    sessionExpirySecondsMax: 1,
    connectionsMax: 1000,
    sysIntervalSeconds: 1,
    responseInformation: "response/",
  },
  clock: systemClock,
  log,
  store: new MemoryStore(),
  access: openAccess,
  taps: [],
  defer: setImmediate,
});
await broker.start();
const listener = await TcpListener.open({ name: "fuzz", host: "127.0.0.1", port: 0 }, (wire) => broker.accept(wire));

process.on("message", () => {
  globalThis.gc!();
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  report({
    type: "holds",
    connections: broker.connections.size,
    sessions: broker.sessions.count,
    subscriptions: broker.subscriptions.count,
    queuedBytes: broker.queuedBytes,
    waitingBytes: broker.waitingBytes,
    bytesInUse: heapUsed + arrayBuffers,
    residentBytes: rss,
  });
});
report({ type: "listening", port: listener.listening.port });
