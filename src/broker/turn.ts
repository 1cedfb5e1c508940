/**
 * One event-loop turn of the broker: what it made durable, and what may be said once that is safe.
 *
 *   open ──end()──→ committing ──done──→ spoken
 *
 * First commit, then speak: answers given to `whenCommitted` run after the commit of this turn and of every turn before
 * it, in the order they were given. A turn with nothing durable and nothing before it speaks as soon as it ends.
 */
import type { Change } from "../store/change.ts";
import type { Store } from "../store/store.ts";

/** Told whether the turn's changes are safe; `false`: nothing may be acknowledged. */
type Speaker = (committed: boolean) => void;

interface EndedTurn {
  speakers: Speaker[];
  outcome: "committing" | "committed" | "failed";
}

export class Turn {
  private readonly store: Store;
  /** Called when the turn has got its first change or speaker: someone must call `end` soon. */
  private readonly onOpened: () => void;
  private changes: Change[] = [];
  private speakers: Speaker[] = [];
  private readonly ended: EndedTurn[] = [];

  constructor(store: Store, onOpened: () => void) {
    this.store = store;
    this.onOpened = onOpened;
  }

  /** Adds what must survive. */
  add(change: Change): void {
    if (this.changes.length === 0 && this.speakers.length === 0) this.onOpened();
    this.changes.push(change);
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
    const { changes, speakers } = this;
    if (changes.length === 0 && speakers.length === 0) return;
    this.changes = [];
    this.speakers = [];
    const ended: EndedTurn = { speakers, outcome: changes.length === 0 ? "committed" : "committing" };
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
      for (const speaker of first.speakers) speaker(first.outcome === "committed");
    }
  }
}
