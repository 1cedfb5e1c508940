/** A broker in this process over real TCP on a free port, with everything about it at hand. */
import { openAccess } from "../../src/access/access.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { Broker, type BrokerParts } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { type Store, StoreUnavailable } from "../../src/store/store.ts";
import { TcpListener } from "../../src/transport/tcp.ts";
import { until } from "./until.ts";

export interface TestBroker {
  port: number;
  broker: Broker;
  /** Resolves when no connection of this client is left. */
  gone(clientId: string): Promise<void>;
  /** The end without warning: connections are cut and nothing more reaches the store. */
  crash(): Promise<void>;
  close(): Promise<void>;
}

const defaults: BrokerOptions = {
  nodeName: "test",
  version: "1.2.3",
  packetBytesMax: 1024 * 1024,
  queuedMessagesMax: 1000,
  topicAliasMax: 16,
  receiveMaximum: 1000,
  inflightMessagesMax: 1000,
  keepAliveMultiplier: 1.5,
  keepAliveSecondsMax: undefined,
  sessionExpirySecondsMax: 0xffff_ffff,
  connectionsMax: 10_000,
  sysIntervalSeconds: 0,
  responseInformation: undefined,
};

const lingerMs = 200;

/** A store handed in stays open: the next broker may take it up. */
export async function startBroker(
  options: Partial<BrokerOptions> = {},
  parts: Partial<BrokerParts> = {},
): Promise<TestBroker> {
  const store = new LentStore(parts.store ?? new MemoryStore());
  const broker = new Broker({
    options: { ...defaults, ...options },
    clock: systemClock,
    log: silentLogger,
    access: openAccess,
    taps: [],
    defer: setImmediate,
    ...parts,
    store,
  });
  await broker.start();
  const listener = await TcpListener.open({ name: "test", host: "127.0.0.1", port: 0 }, (wire) => broker.accept(wire));
  return {
    port: listener.listening.port,
    broker,
    gone: (clientId) => until(() => broker.sessions.get(clientId)?.holder === undefined, `client ${clientId} is gone`),
    async crash() {
      store.cutOff = true;
      await listener.close(0);
      await broker.stop();
    },
    async close() {
      listener.stopAccepting();
      await broker.stop();
      await listener.close(lingerMs);
    },
  };
}

/** Somebody else's store: never closed, and out of reach after a crash. */
class LentStore implements Store {
  cutOff = false;
  private readonly store: Store;

  get trouble(): string | undefined {
    return this.store.trouble;
  }

  set onTrouble(listener: Store["onTrouble"]) {
    this.store.onTrouble = listener;
  }

  constructor(store: Store) {
    this.store = store;
  }

  commit(...[changes, done]: Parameters<Store["commit"]>): void {
    if (this.cutOff) done(new StoreUnavailable("closed"));
    else this.store.commit(changes, done);
  }

  load(...asked: Parameters<Store["load"]>): Promise<void> {
    return this.store.load(...asked);
  }

  async close(): Promise<void> {}
}
