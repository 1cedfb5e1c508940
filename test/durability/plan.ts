/**
 * What a run does, from its seed alone: when the broker is killed, how its receiver behaves, who comes and goes. The same
 * seed makes the same plan; how it meets on the way is chance.
 */
import { type CommitMoment, commitMoments } from "../../src/store/sqlite.ts";
import { Random } from "../fault/random.ts";

/** well: takes all; fails, errs: answers 503, 500; hangs: never answers; resets: hangs up; closed: nobody listens. */
const illnesses = ["fails", "errs", "hangs", "resets", "closed"] as const;
export type ReceiverMode = "well" | (typeof illnesses)[number];

export type Kill =
  /** By the broker itself, in the middle of a commit. */
  | { when: CommitMoment; reached: number }
  /** By the judge: once so many acknowledgements have come, and so long after the broker was started, listened, was told to stop. */
  | { when: "acknowledged"; count: number }
  | { when: "starting" | "listening" | "stopping"; ms: number };

export interface Round {
  kill: Kill;
  /** Of the receiver that is not always well. */
  receiver: { first: ReceiverMode; then: ReceiverMode; afterMs: number };
  publishers: readonly PublisherRound[];
  subscribers: readonly SubscriberRound[];
  /** A new subscriber looks at what is retained before anybody else comes. */
  looksAtRetained: boolean;
  /** The data folder is opened after the kill. That repairs it, so most kills leave it to the next broker. */
  opensStore: boolean;
}

export interface PublisherRound {
  messages: number;
  /** Unacknowledged at a time. */
  window: number;
  /** Loses its connection after so many acknowledgements, and comes back. */
  dropsAfter: number;
}

export interface SubscriberRound {
  comes: boolean;
  /** Loses its connection at that message, without acknowledging it. */
  dropsAfter: number;
  /** After that, within the round. */
  comesBack: boolean;
}

export interface PlanOptions {
  seed: number;
  kills: number;
  publishers: number;
  subscribers: number;
}

const never = Number.POSITIVE_INFINITY;
const killsPerCycle = commitMoments.length + 3;

export function planOf({ seed, kills, publishers, subscribers }: PlanOptions): Round[] {
  const random = new Random(seed);
  return Array.from({ length: kills }, (_, i) => ({
    kill: killOf(i, random),
    receiver: receiverOf(i, random),
    publishers: Array.from({ length: publishers }, () => ({
      messages: 10 + random.below(50),
      window: 1 + random.below(12),
      dropsAfter: random.chance(0.2) ? 1 + random.below(20) : never,
    })),
    subscribers: Array.from({ length: subscribers }, () => ({
      comes: random.chance(0.7),
      dropsAfter: random.chance(0.4) ? random.below(60) : never,
      comesBack: random.chance(0.5),
    })),
    looksAtRetained: random.chance(0.4),
    opensStore: random.chance(0.25),
  }));
}

/** Every way in each cycle. */
function killOf(i: number, random: Random): Kill {
  const way = i % killsPerCycle;
  if (way < commitMoments.length) return { when: commitMoments[way], reached: 1 + random.below(random.pick([5, 40])) };
  if (way === commitMoments.length) return { when: "acknowledged", count: 1 + random.below(150) };
  if (way === commitMoments.length + 1) return { when: "listening", ms: random.below(120) };
  const starting = Math.floor(i / killsPerCycle) % 2 === 0;
  return starting ? { when: "starting", ms: 50 + random.below(300) } : { when: "stopping", ms: random.below(20) };
}

/** Well at every third start, so that a backlog drains in between. */
function receiverOf(i: number, random: Random): Round["receiver"] {
  const first = i % 3 === 0 ? "well" : random.pick(illnesses);
  const then = random.chance(0.5) ? "well" : random.pick(illnesses);
  return { first, then, afterMs: random.below(200) };
}
