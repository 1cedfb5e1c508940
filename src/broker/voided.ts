/** What is void of a range of Changes: the offers that the store has refused, and whatever names a message of theirs. */
import type { BrokerChange } from "../store/change.ts";
import type { KeptMessage } from "./message.ts";

/** What one QoS 1 or 2 PUBLISH made durable: taken as a whole, or void as a whole. */
export interface Offer {
  /** What its topic retained before, where it retains or clears. */
  former: KeptMessage | undefined;
}

/** Sorts Changes, told in the order they were made. */
export class Voided {
  readonly messageIds = new Set<number>();
  /** Clients whose sessions were to be owed something void. */
  readonly clientIds = new Set<string>();
  /** What each topic retains when its void changes are left out; only topics whose last change is void. */
  readonly formerRetained = new Map<string, KeptMessage | undefined>();

  /** True for a Change that is void. `refused`: the offer it is part of, when that is void; `pending`: when that is not decided. */
  takes(change: BrokerChange, refused: Offer | undefined, pending: Offer | undefined): boolean {
    const isVoid = (refused !== undefined && isOffered(change)) || this.namesVoid(change);
    if (isVoid && change.type === "message-kept") this.messageIds.add(change.messageId);
    if (isVoid && change.type === "queued") this.clientIds.add(change.clientId);
    if (change.type === "retained" || change.type === "retained-cleared") {
      this.seeRetained(change.topicName, isVoid ? refused : undefined, pending);
    }
    return isVoid;
  }

  /** A message that a shared subscription passed on, or a new subscriber was to get, goes with the offer it came from. */
  private namesVoid(change: BrokerChange): boolean {
    return change.type === "queued" && this.messageIds.has(change.messageId);
  }

  /** Of void changes in a row the first knows what was there before. */
  private seeRetained(topicName: string, refused: Offer | undefined, pending: Offer | undefined): void {
    const { formerRetained } = this;
    if (refused !== undefined) {
      if (!formerRetained.has(topicName)) formerRetained.set(topicName, refused.former);
      return;
    }
    if (pending !== undefined && formerRetained.has(topicName)) pending.former = formerRetained.get(topicName);
    formerRetained.delete(topicName);
  }
}

/** The Changes by which a PUBLISH is taken; what else came about meanwhile, as a full queue's oldest that went, stays true. */
function isOffered({ type }: BrokerChange): boolean {
  switch (type) {
    case "message-kept":
    case "queued":
    case "received":
    case "retained":
    case "retained-cleared":
    case "delivery-owed":
      return true;
    default:
      return false;
  }
}
