/**
 * One event-loop turn of the broker: what it made durable, and what may be said once that is safe.
 *
 *   open ──end()──→ committing ──done──→ spoken
 *
 * First commit, then speak: answers given to `whenCommitted` run after the commit of this turn and of every turn before
 * it, in the order they were given. A turn with nothing durable and nothing before it speaks as soon as it ends.
 */
import type { BrokerChange } from "../store/change.ts";
import type { Store } from "../store/store.ts";
import { uncommittedBytesMax } from "./limits.ts";

const changeBytesMin = 200;

/** Told whether the turn's changes are safe; `false`: nothing may be acknowledged. */
type Speaker = (committed: boolean) => void;

interface EndedTurn {
  speakers: Speaker[];
  /** Weight of its changes. */
  bytes: number;
  outcome: "committing" | "committed" | "failed";
}

export class Turn {
  private readonly store: Store;
  /** Called when the turn has got its first change or speaker: someone must call `end` soon. */
  private readonly onOpened: () => void;
  private changes: BrokerChange[] = [];
  private speakers: Speaker[] = [];
  private readonly ended: EndedTurn[] = [];
  /** Weight of the changes not yet answered for by the store, those of this turn included. */
  private uncommittedBytes = 0;
  private bytes = 0;
  private waitingForRoom: (() => void)[] = [];

  constructor(store: Store, onOpened: () => void) {
    this.store = store;
    this.onOpened = onOpened;
  }

  /** Adds what must survive. */
  add(change: BrokerChange): void {
    if (this.changes.length === 0 && this.speakers.length === 0) this.onOpened();
    this.changes.push(change);
    this.bytes += changeBytes(change);
  }

  /** The store is behind: whoever adds more should wait for `whenRoom`. */
  get isFull(): boolean {
    return this.uncommittedBytes + this.bytes > uncommittedBytesMax;
  }

  /** Runs `act` once when the store has caught up. */
  whenRoom(act: () => void): void {
    this.waitingForRoom.push(act);
  }

  /** How many changes this turn has so far: an answer after one that added some must wait for the commit. */
  get changeCount(): number {
    return this.changes.length;
  }

  /** Runs `speak` when all that was added so far is safe. */
  whenCommitted(speak: Speaker): void {
    if (this.changes.length === 0 && this.speakers.length === 0) this.onOpened();
    this.speakers.push(speak);
  }

  /** Ends the event-loop turn: one commit at most. */
  end(): void {
    const { changes, speakers, bytes } = this;
    if (changes.length === 0 && speakers.length === 0) return;
    this.changes = [];
    this.speakers = [];
    this.bytes = 0;
    this.uncommittedBytes += bytes;
    const ended: EndedTurn = { speakers, bytes, outcome: changes.length === 0 ? "committed" : "committing" };
    this.ended.push(ended);
    if (changes.length === 0) return this.speak();
    this.store.commit(changes, (error) => {
      ended.outcome = error === undefined ? "committed" : "failed";
      this.speak();
    });
  }

  private speak(): void {
    for (let first = this.ended[0]; first !== undefined && first.outcome !== "committing"; first = this.ended[0]) {
      this.ended.shift();
      this.uncommittedBytes -= first.bytes;
      for (const speaker of first.speakers) speaker(first.outcome === "committed");
    }
    if (this.waitingForRoom.length > 0 && this.uncommittedBytes <= uncommittedBytesMax / 2) {
      const waiting = this.waitingForRoom;
      this.waitingForRoom = [];
      for (const act of waiting) act();
    }
  }
}

/** What a change weighs on its way to the store: its payload, and a round figure for the rest. */
function changeBytes(change: BrokerChange): number {
  if (change.type === "message-kept") {
    const { topicName, properties, payload } = change.message;
    return changeBytesMin + topicName.length + properties.length + payload.length;
  }
  if (change.type === "delivery-owed") return changeBytesMin + change.delivery.body.length;
  return changeBytesMin;
}
