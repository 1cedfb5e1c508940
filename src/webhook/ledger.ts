/**
 * What the webhook engine tells the store, and tells it again until it is taken: on a disk that fails deliveries go on, and
 * their ends are not forgotten.
 *
 *   taking ──refused──→ behind (all that is new waits in order) ──taken again──→ taking
 */
import type { Clock, Instant, Timer } from "../base/clock.ts";
import type { DeliveryChange } from "../store/change.ts";
import type { DeliveryStore } from "../store/deliveries.ts";
import { ledgerRetryMs, untakenChangesMax } from "./limits.ts";

export class Ledger {
  private readonly store: DeliveryStore;
  private readonly clock: Clock;
  private readonly onCaughtUp: () => void;
  /** Refused or never handed in, oldest first. */
  private untaken: DeliveryChange[] = [];
  /** Deliveries that the store still shows as they were before, with the last that it was not told. */
  private readonly untold = new Map<number, DeliveryChange>();
  private retryTimer: Timer | undefined;
  private closed = false;

  constructor(store: DeliveryStore, clock: Clock, onCaughtUp: () => void) {
    this.store = store;
    this.clock = clock;
    this.onCaughtUp = onCaughtUp;
  }

  record(change: DeliveryChange): void {
    this.recordAll([change]);
  }

  /** Together or not at all. `then`: they are recorded, or cannot be for now. */
  recordAll(changes: readonly DeliveryChange[], then?: () => void): void {
    if (this.retryTimer === undefined) return this.handIn(changes, then);
    for (const change of changes) this.keep(change);
    then?.();
  }

  /** So much is untaken that nothing new should be begun. */
  get isFull(): boolean {
    return this.untaken.length >= untakenChangesMax;
  }

  /** The store does not know all yet. */
  get isBehind(): boolean {
    return this.untaken.length > 0;
  }

  /** A delivery as it is, where the store shows it as it was; `undefined`: it has ended. */
  asItIs<Seen extends { position: number; dueAt: Instant | undefined }>(seen: Seen): Seen | undefined {
    const change = this.untold.get(seen.position);
    if (change === undefined) return seen;
    if (change.type !== "delivery-put-back") return undefined;
    const { attempts, failures, dueAt } = change;
    return { ...seen, attempts, failures, dueAt };
  }

  /** One last time. */
  close(): void {
    this.closed = true;
    if (this.retryTimer === undefined) return;
    this.retryTimer.cancel();
    this.retryTimer = undefined;
    this.store.record(this.untaken, () => {});
  }

  private handIn(changes: readonly DeliveryChange[], then?: () => void): void {
    this.store.record(changes, (error) => {
      if (error === undefined) return then?.();
      for (const change of changes) this.keep(change);
      if (!this.closed) this.retryTimer ??= this.clock.after(ledgerRetryMs, () => this.retry());
      then?.();
    });
  }

  private keep(change: DeliveryChange): void {
    this.untaken.push(change);
    if ("position" in change) this.untold.set(change.position, change);
  }

  private retry(): void {
    const changes = [...this.untaken];
    this.store.record(changes, (error) => {
      this.retryTimer = undefined;
      if (this.closed) return;
      if (error !== undefined) {
        this.retryTimer = this.clock.after(ledgerRetryMs, () => this.retry());
        return;
      }
      // What has come since waits behind it.
      const since = this.untaken.slice(changes.length);
      this.untaken = [];
      this.untold.clear();
      if (since.length > 0) this.handIn(since);
      this.onCaughtUp();
    });
  }
}
