/**
 * The broker is killed again and again on one data folder, while publishers, subscribers and receivers go on. In the end it
 * lives, everything drains, and the ledger is balanced.
 */
import type { Orders } from "./back.ts";
import type { BrokerProcess } from "./broker-process.ts";
import { type Kill, type PlanOptions, planOf, type Round } from "./plan.ts";
import { Trial } from "./trial.ts";

export interface KillsOptions {
  seed: number;
  kills: number;
  /** One of the two receivers fails, hangs, and comes back. */
  frail: boolean;
  /** What the broker acknowledges and does not keep. */
  forgets?: Orders["forgets"];
  /** When nothing has come for so long, nothing will. */
  quietMs?: number;
}

export interface Account {
  /** By what the broker was doing. */
  kills: Record<string, number>;
  /** Acknowledgements, and messages whose fate was thereby decided. */
  acknowledgements: number;
  messages: number;
  sendings: number;
  events: number;
  /** What at least once allows. */
  repeatedToSubscribers: number;
  repeatedToReceivers: number;
  violations: string[];
}

/** So long may a round take to come to its kill; one that never comes to its moment ends by then. */
const roundMsMax = 1500;

export async function killAgainAndAgain({ seed, kills, frail, forgets, quietMs }: KillsOptions): Promise<Account> {
  const trial = await Trial.open(seed);
  const { ledger, publishers, subscribers } = trial;
  const done: Record<string, number> = {};
  try {
    ledger.progress = "before the first kill";
    await trial.subscribeAndKill({ forgets });
    const size: PlanOptions = { seed, kills, publishers: publishers.length, subscribers: subscribers.length };
    for (const [i, round] of planOf(size).entries()) {
      ledger.progress = `kill ${i + 1} (${describe(round)})`;
      const how = await play(trial, round, { frail, forgets, quietMs });
      done[how] = (done[how] ?? 0) + 1;
      if (round.opensStore) await trial.inspectStore(false);
    }
    ledger.progress = "at the end";
    const { broker, port } = await trial.startListening({ forgets });
    await trial.lookAtRetained(port, quietMs);
    await trial.drain(port, quietMs);
    await trial.stop(broker);
    trial.verdict();
    await trial.inspectStore(true);
    const receivers = trial.receivers;
    return {
      kills: done,
      acknowledgements: ledger.acknowledgements,
      messages: ledger.acknowledgedMessages,
      sendings: sum([...ledger.messages.values()].map(({ sendings }) => sendings)),
      events: sum(receivers.map(({ events }) => events)),
      repeatedToSubscribers: sum(subscribers.map(({ repetitions }) => repetitions)),
      repeatedToReceivers: sum(receivers.map(({ repetitions }) => repetitions)),
      violations: ledger.violations,
    };
  } finally {
    await trial.close();
  }
}

/** One life of the broker. Resolves with what it was doing when it was killed. */
async function play(
  trial: Trial,
  round: Round,
  { frail, forgets, quietMs }: Omit<KillsOptions, "seed" | "kills">,
): Promise<string> {
  const { kill } = round;
  const killAt = "reached" in kill ? { moment: kill.when, reached: kill.reached } : undefined;
  if (frail) await trial.frail.become(round.receiver.first);
  const broker = trial.start({ killAt, forgets });
  const timers: NodeJS.Timeout[] = [];
  const after = (ms: number, act: () => void) => timers.push(setTimeout(act, ms));
  if (kill.when === "starting") after(kill.ms, () => broker.signal("SIGKILL"));
  try {
    const port = await broker.listening;
    if (port !== undefined) {
      if (frail) after(round.receiver.afterMs, () => trial.frail.become(round.receiver.then));
      if (round.looksAtRetained) await trial.lookAtRetained(port, quietMs);
      letThemCome(trial, round, port);
      await comeToTheKill(trial, broker, kill, after);
    }
    const how = broker.isAlive && "reached" in kill ? "idle" : kill.when;
    if (how === "idle") broker.signal("SIGKILL");
    const { code, signal } = await broker.ended;
    await trial.ended(broker);
    // A stop may have been quicker than its kill.
    if (signal !== "SIGKILL" && !(kill.when === "stopping" && code === 0))
      throw new Error(`the broker has ended by itself, with ${code ?? signal}: ${broker.log}`);
    return signal === null ? "stopped" : how;
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

function letThemCome({ publishers, subscribers }: Trial, round: Round, port: number): void {
  for (const [i, publisher] of publishers.entries()) publisher.connect(port, round.publishers[i]);
  for (const [i, subscriber] of subscribers.entries()) subscriber.connect(port, round.subscribers[i]);
}

async function comeToTheKill(
  trial: Trial,
  broker: BrokerProcess,
  kill: Kill,
  after: (ms: number, act: () => void) => void,
): Promise<void> {
  const { ledger, publishers, well } = trial;
  const before = ledger.acknowledgements;
  const nothingMoves = () => !broker.isAlive || (publishers.every(({ isIdle }) => isIdle) && well.isIdle);
  const acknowledged = (count: number) =>
    trial.eventually(() => ledger.acknowledgements - before >= count || nothingMoves(), roundMsMax);
  switch (kill.when) {
    case "starting":
      return;
    case "listening":
      return after(kill.ms, () => broker.signal("SIGKILL"));
    case "acknowledged":
      await acknowledged(kill.count);
      return broker.signal("SIGKILL");
    case "stopping":
      await acknowledged(20);
      broker.signal("SIGTERM");
      return after(kill.ms, () => broker.signal("SIGKILL"));
    default:
      return trial.eventually(nothingMoves, roundMsMax);
  }
}

function describe({ kill, receiver }: Round): string {
  const how = "reached" in kill ? `${kill.reached}. ${kill.when}` : JSON.stringify(kill);
  return `${how}; the frail receiver ${receiver.first}, ${receiver.then} after ${receiver.afterMs} ms`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
