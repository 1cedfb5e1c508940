import { MemoryStore } from "./memory.ts";
import type { Store, StoredState } from "./store.ts";

/** For tests: what a store would have a broker start from, put together. */
export async function storedState(store: Pick<Store, "load">): Promise<StoredState> {
  const memory = new MemoryStore();
  await store.load((part) => memory.take(part));
  return memory.state();
}
