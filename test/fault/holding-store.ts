import type { BrokerChange } from "../../src/store/change.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { type Store, StoreUnavailable } from "../../src/store/store.ts";
import { until } from "../support/until.ts";

interface Batch {
  changes: readonly BrokerChange[];
  done: (error?: StoreUnavailable) => void;
}

/** A store whose commits take until the test lets them through: a slow disk, or one that a crash finds half way. */
export class HoldingStore implements Store {
  /** What has been committed. */
  readonly memory: MemoryStore;
  trouble: string | undefined;
  onTrouble: Store["onTrouble"];
  private held: Batch[] = [];

  constructor(memory = new MemoryStore()) {
    this.memory = memory;
  }

  /** Batches under way. */
  get underWay(): number {
    return this.held.length;
  }

  commit(changes: readonly BrokerChange[], done: (error?: StoreUnavailable) => void): void {
    this.held.push({ changes, done });
  }

  /** Commits the first batches under way, all unless told how many. */
  letThrough(count = this.held.length): void {
    for (const { changes, done } of this.held.splice(0, count)) this.memory.commit(changes, done);
  }

  /** Lets everything through until `awaited` has come: a CONNECT with its CONNACK, a message with its whole handshake. */
  async through<T>(awaited: Promise<T>, meanwhile = () => {}): Promise<T> {
    let isDone = false;
    awaited.finally(() => (isDone = true)).catch(() => {});
    await until(() => {
      this.letThrough();
      meanwhile();
      return isDone;
    }, "it is done");
    return awaited;
  }

  /** What is under way fails: none of it is kept. */
  refuse(): void {
    for (const { done } of this.held.splice(0)) done(new StoreUnavailable("commit"));
  }

  /** The disk is full, or works again (`undefined`), and the store has noticed. */
  become(trouble: string | undefined): void {
    this.trouble = trouble;
    this.onTrouble?.(trouble);
  }

  /** The process dies: what was under way is lost, and nobody is told. */
  forget(): void {
    this.held = [];
  }

  load(...asked: Parameters<Store["load"]>): Promise<void> {
    return this.memory.load(...asked);
  }

  async close(): Promise<void> {}
}
