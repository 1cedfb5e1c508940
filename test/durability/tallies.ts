/** How many deliveries came to which end, as the store counts them: the one place that knows how it is asked. */
import type { SqliteStore } from "../../src/store/sqlite.ts";

export interface Tally {
  endpoint: string;
  accepted: number;
  delivered: number;
  dead: number;
  dropped: number;
  expired: number;
  /** Those being sent count as queued. */
  queued: number;
}

export function talliesOf(store: SqliteStore): Tally[] {
  return store.endpoints().map(({ queued: { messages, clientEvents }, ...tally }) => ({
    ...tally,
    queued: messages.count + clientEvents.count,
  }));
}
