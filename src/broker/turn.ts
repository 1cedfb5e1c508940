/**
 * One event-loop turn of the broker: what it made durable, and what may be said once that is safe.
 *
 *   open ──end()──→ under way ──committed──→ spoken
 *    ↑                  │
 *    └─────refused──────┘   offers are void, all else is held and handed in again
 *
 * First commit, then speak: answers run after the commit of this turn and of every turn before it, in the order they were
 * given. A turn with nothing durable and nothing before it speaks as soon as it ends.
 *
 * The broker's memory runs ahead of the store. When the store refuses a batch, everything that is under way behind it is
 * refused too. Of all that, an *offer* is void: what one PUBLISH made durable, whose publisher is told so, and which is
 * taken back from the broker's memory. Everything else has happened and stays true: it is held, in order, ahead of anything
 * newer, until the store takes it, and so are the answers that depend on it.
 */
import { assert } from "../base/assert.ts";
import { type Clock, systemClock, type Timer } from "../base/clock.ts";
import type { BrokerChange } from "../store/change.ts";
import type { Store, StoreUnavailable } from "../store/store.ts";
import { storeRetryMs, uncommittedBytesMax } from "./limits.ts";
import type { KeptMessage } from "./message.ts";
import { type Offer, Voided } from "./voided.ts";

const changeBytesMin = 200;

type Waiting =
  /** Never told anything false: it waits as long as it takes. */
  | { kind: "kept"; speak: () => void }
  /** The answer to an offer. */
  | { kind: "offer"; speak: (taken: boolean) => void }
  /** An answer that waits only for its turn to speak. */
  | { kind: "behind"; speak: () => void };

class Batch {
  readonly changes: BrokerChange[] = [];
  /** `offers[i]` is the offer that `changes[i]` is part of, if any. */
  readonly offers: (Offer | undefined)[] = [];
  readonly waiting: Waiting[] = [];
  /** Of those waiting, the ones that a refusal decides too. */
  undecided = 0;
  /** Weight of its changes. */
  bytes = 0;
  outcome: "open" | "committing" | "committed" | "refused" | "closed" = "open";

  get isEmpty(): boolean {
    return this.changes.length === 0 && this.waiting.length === 0;
  }

  add(change: BrokerChange): void {
    this.changes.push(change);
    this.bytes += changeBytes(change);
  }

  /** The changes from `from` on are part of `offer`. */
  mark(from: number, offer: Offer | undefined): void {
    while (this.offers.length < from) this.offers.push(undefined);
    while (this.offers.length < this.changes.length) this.offers.push(offer);
  }

  wait(waiting: Waiting): void {
    this.waiting.push(waiting);
    if (waiting.kind !== "kept") this.undecided++;
  }
}

interface TurnParts {
  clock?: Clock;
  takeBack?: (voided: Voided) => void;
  /** Called when the store takes again what it is handed, after it did not. */
  takesAgain?: () => void;
}

export class Turn {
  private readonly store: Store;
  /** Called when the turn has got its first change or speaker: someone must call `end` soon. */
  private readonly onOpened: () => void;
  private readonly clock: Clock;
  /** Takes what is void back from the broker's memory. */
  private readonly takeBack: (voided: Voided) => void;
  private open = new Batch();
  private endAsked = false;
  /** Handed in, oldest first. */
  private readonly underWay: Batch[] = [];
  /** Weight of the changes under way. */
  private uncommittedBytes = 0;
  private waitingForRoom: (() => void)[] = [];
  /** Nothing new can be kept at present: offers are refused at the door. */
  isTroubled: boolean;
  /** Refusals since the last commit. */
  private refusals = 0;
  /** Offers were refused since the store was last known to take what it is handed. */
  private isFailing: boolean;
  private readonly takesAgain: () => void;
  /** While it runs nothing is handed in. */
  private retry: Timer | undefined;
  /** Offers whose publishers have no answer yet. */
  private offersUndecided = 0;
  /** All changes so far that an acknowledgement waits for. */
  awaitedCount = 0;
  private closed = false;
  private finished: ((changesLost: number) => void) | undefined;
  private lastTries = 1;

  constructor(
    store: Store,
    onOpened: () => void,
    { clock = systemClock, takeBack = () => {}, takesAgain = () => {} }: TurnParts = {},
  ) {
    this.store = store;
    this.onOpened = onOpened;
    this.clock = clock;
    this.takeBack = takeBack;
    this.takesAgain = takesAgain;
    this.isTroubled = store.trouble !== undefined;
    this.isFailing = this.isTroubled;
    store.onTrouble = (trouble) => this.troubleChanged(trouble);
  }

  /** Adds what must survive. */
  add(change: BrokerChange): void {
    if (!this.endAsked) this.askForEnd();
    this.open.add(change);
    this.awaitedCount++;
  }

  /** Adds what goes to the store without anybody waiting for it: no acknowledgement depends on it. */
  addUnawaited(change: BrokerChange): void {
    if (!this.endAsked) this.askForEnd();
    this.open.add(change);
  }

  /** The store is behind: whoever adds more should wait for `whenRoom`. */
  get isFull(): boolean {
    return this.uncommittedBytes + this.open.bytes > uncommittedBytesMax;
  }

  /** Full, and not for want of a moment: the store takes nothing. */
  get isStuck(): boolean {
    return (this.isTroubled || this.refusals > 0) && this.isFull;
  }

  /** Runs `act` once when the store has caught up. */
  whenRoom(act: () => void): void {
    this.waitingForRoom.push(act);
  }

  /** How many changes this turn has so far. */
  get changeCount(): number {
    return this.open.changes.length;
  }

  /** Every publisher's offer so far has been answered. */
  get isDecided(): boolean {
    return this.offersUndecided === 0;
  }

  /** Runs `speak` when all that was added so far is safe; never, if the store is closed first. */
  whenCommitted(speak: () => void): void {
    this.wait({ kind: "kept", speak });
  }

  /** Makes an offer of the changes from number `from` on, and runs `speak` when it is taken or void. */
  offer({ from, former }: { from: number; former: KeptMessage | undefined }, speak: (taken: boolean) => void): void {
    this.open.mark(from, { former });
    this.offersUndecided++;
    this.wait({ kind: "offer", speak });
  }

  /** Runs `speak` when every offer so far is taken or void. */
  whenDecided(speak: () => void): void {
    this.wait({ kind: "behind", speak });
  }

  /** Ends the event-loop turn: one commit at most. */
  end(): void {
    this.endAsked = false;
    if (this.closed) return this.decide([this.open], false);
    if (this.open.isEmpty || this.isDraining) return;
    if (this.open.changes.length > 0 && this.holdsBack) return this.hold();
    this.handIn();
  }

  /**
   * The broker stops: what is held is handed in a last time, whatever the store has said. Resolves when the store has
   * answered for everything, with the number of changes that it did not take.
   */
  finish(): Promise<number> {
    this.stopWaiting();
    return new Promise((resolve) => {
      this.finished = resolve;
      if (this.closed) this.end();
      else if (!this.isDraining) return this.handIn();
      this.finishIfDone();
    });
  }

  private wait(waiting: Waiting): void {
    if (!this.endAsked) this.askForEnd();
    this.open.wait(waiting);
  }

  private askForEnd(): void {
    this.endAsked = true;
    this.onOpened();
  }

  /** Something was refused, and not all that was handed in behind it has been answered. */
  private get isDraining(): boolean {
    return this.underWay.length > 0 && this.underWay[0].outcome === "refused";
  }

  private get holdsBack(): boolean {
    return (this.isTroubled || this.retry !== undefined) && this.finished === undefined;
  }

  /** Nothing is handed in before the trouble is over; offers are not kept waiting for that. */
  private hold(): void {
    this.refuseOffersInTrouble();
    if (this.open.changes.length > 0) this.waitToRetry();
  }

  private handIn(): void {
    const batch = this.open;
    this.open = new Batch();
    this.uncommittedBytes += batch.bytes;
    this.underWay.push(batch);
    if (batch.changes.length === 0) return this.answered(batch, "committed");
    batch.outcome = "committing";
    this.store.commit(batch.changes, (error) => this.answered(batch, outcomeOf(error)));
  }

  private answered(batch: Batch, outcome: Batch["outcome"]): void {
    batch.outcome = outcome;
    this.speak();
    const [first] = this.underWay;
    if (first === undefined) this.refuseOffersInTrouble();
    else if (this.underWay.every(({ outcome }) => outcome !== "committing")) this.refused();
    this.makeRoom();
    this.noticeEnd();
    this.finishIfDone();
  }

  /** Nothing is refused any more, and nothing held. */
  private noticeEnd(): void {
    if (!this.isFailing || this.isTroubled || this.refusals > 0 || this.underWay.length > 0) return;
    this.isFailing = false;
    this.takesAgain();
  }

  private speak(): void {
    for (let first = this.underWay[0]; first?.outcome === "committed"; first = this.underWay[0]) {
      this.underWay.shift();
      this.uncommittedBytes -= first.bytes;
      if (first.changes.length > 0) this.refusals = 0;
      for (const waiting of first.waiting) {
        if (waiting.kind === "offer") this.offersUndecided--;
        waiting.speak(true);
      }
    }
  }

  /** The store has answered for all that was under way, and has taken none of what is left. */
  private refused(): void {
    const batches = this.underWay.splice(0);
    this.uncommittedBytes = 0;
    if (batches.some(({ outcome }) => outcome === "closed")) {
      this.closed = true;
      this.stopWaiting();
      return this.decide([...batches, this.open], false);
    }
    this.refusals++;
    this.isFailing = true;
    this.decide(batches, true);
    // A store that says nothing of trouble is asked again at once, but once.
    if (this.refusals > 1 && !this.open.isEmpty) this.waitToRetry();
    if (!this.open.isEmpty && !this.endAsked) this.askForEnd();
  }

  private refuseOffersInTrouble(): void {
    if (this.isTroubled && this.open.undecided > 0 && this.underWay.length === 0) this.decide([this.open], true);
  }

  /**
   * None of the offers in `batches` is taken; what else is in them goes back to the front of the open turn, or is dropped
   * with a closed store.
   */
  private decide(batches: readonly Batch[], hold: boolean): void {
    const last = this.open;
    const held = new Batch();
    const voided = new Voided();
    const decided: Waiting[] = [];
    this.open = held;
    for (const batch of batches.includes(last) ? batches : [...batches, last]) {
      assert(batch.outcome !== "committed" || batch.changes.length === 0, "what follows a refusal is refused");
      const isRefused = batches.includes(batch);
      for (const [i, change] of batch.changes.entries()) {
        const offer = batch.offers[i];
        const pending = isRefused ? undefined : offer;
        if (!hold || voided.takes(change, isRefused ? offer : undefined, pending)) continue;
        held.add(change);
        if (pending !== undefined) held.mark(held.changes.length - 1, pending);
      }
      for (const waiting of batch.waiting) {
        if (isRefused && waiting.kind !== "kept") decided.push(waiting);
        else if (hold) held.wait(waiting);
      }
    }
    this.takeBack(voided);
    for (const waiting of decided) {
      if (waiting.kind === "offer") this.offersUndecided--;
      waiting.speak(waiting.kind === "behind");
    }
  }

  private waitToRetry(): void {
    if (this.finished !== undefined) return;
    this.retry ??= this.clock.after(storeRetryMs, () => {
      this.retry = undefined;
      if (!this.isDraining && !this.open.isEmpty) this.handIn();
    });
  }

  private stopWaiting(): void {
    this.retry?.cancel();
    this.retry = undefined;
  }

  private troubleChanged(trouble: string | undefined): void {
    this.isTroubled = trouble !== undefined;
    if (this.isTroubled) this.isFailing = true;
    else this.stopWaiting();
    if (this.open.isEmpty) this.noticeEnd();
    else if (!this.endAsked) this.askForEnd();
  }

  private makeRoom(): void {
    if (this.waitingForRoom.length === 0 || this.uncommittedBytes + this.open.bytes > uncommittedBytesMax / 2) return;
    const waiting = this.waitingForRoom;
    this.waitingForRoom = [];
    for (const act of waiting) act();
  }

  private finishIfDone(): void {
    if (this.finished === undefined || this.underWay.length > 0) return;
    if (this.open.isEmpty) return this.finished(0);
    if (this.refusals > 0 && this.lastTries-- <= 0) return this.finished(this.open.changes.length);
    this.handIn();
  }
}

function outcomeOf(error: StoreUnavailable | undefined): Batch["outcome"] {
  if (error === undefined) return "committed";
  return error.code === "closed" ? "closed" : "refused";
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
