/**
 * What was published, what was acknowledged, and every promise seen broken. An acknowledgement is an obligation: what it
 * stands for must reach whoever it is owed to, whatever happens to the broker.
 */
import { Random } from "../fault/random.ts";

export interface Message {
  /** `<publisher> <number>`: how payloads begin. */
  readonly key: string;
  readonly publisher: string;
  /** 1, 2, 3 … of this publisher. */
  readonly number: number;
  readonly topicName: string;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  /** Empty: it clears the retained message of its topic, and nobody is told. */
  readonly payload: string;
  /** Of its publisher's connections, the first that it was sent on. */
  readonly firstConnection: number;
  sendings: number;
  outcome: "open" | "acknowledged" | "refused";
  /** The connection on which it was. */
  acknowledgedOn: number;
}

/** Told to subscribers and receivers; `bare/…` is retained and nothing else. */
export const toldTopics = "judge/";
export const bareTopics = "bare/";

/** Receivers refuse these for good, so that there are dead letters to be counted. */
export function isPoison({ number }: Message): boolean {
  return number % 29 === 0;
}

export class Ledger {
  readonly seed: number;
  /** How far the run is, for whoever reads of a violation. */
  progress = "";
  readonly messages = new Map<string, Message>();
  readonly violations: string[] = [];
  /** PUBACK, PUBREC, PUBCOMP and SUBACK. */
  acknowledgements = 0;
  acknowledgedMessages = 0;
  refusals = 0;
  /** By topic: the messages it may hold now, the last acknowledged one first. */
  private readonly retained = new Map<string, Message[]>();

  constructor(seed: number) {
    this.seed = seed;
  }

  violated(claim: string): void {
    this.violations.push(`${this.progress}: ${claim}`);
  }

  /** The next message of a publisher: what it is follows from the seed, the publisher and its number. */
  publish(publisher: string, number: number, firstConnection: number): Message {
    const random = new Random(this.seed + number * 7919 + hash(publisher));
    const [topic, qos, retain] = random.pick(kindsOfMessage);
    const key = `${publisher} ${number}`;
    const bare = topic.startsWith(bareTopics);
    const filling = random.chance(0.05) ? random.below(8000) : random.below(80);
    const message: Message = {
      key,
      publisher,
      number,
      topicName: topic.replace("+", publisher),
      qos: qos ?? (random.chance(0.5) ? 1 : 2),
      retain,
      payload: bare && random.chance(0.4) ? "" : `${key} ${"-".repeat(filling)}`,
      firstConnection,
      sendings: 0,
      outcome: "open",
      acknowledgedOn: 0,
    };
    this.messages.set(key, message);
    if (retain) this.mayHold(message.topicName).push(message);
    return message;
  }

  acknowledged(message: Message, connection: number): void {
    message.outcome = "acknowledged";
    message.acknowledgedOn = connection;
    this.acknowledgedMessages++;
    if (!message.retain) return;
    const held = this.mayHold(message.topicName);
    held.splice(0, held.indexOf(message));
  }

  refused(message: Message): void {
    message.outcome = "refused";
    this.refusals++;
    if (!message.retain) return;
    const held = this.mayHold(message.topicName);
    held.splice(held.indexOf(message), 1);
  }

  messageOf(payload: string): Message | undefined {
    return this.messages.get(payload.split(" ", 2).join(" "));
  }

  /** What a topic may hold: the last acknowledged message, or a later one that was sent. */
  mayHold(topicName: string): Message[] {
    let held = this.retained.get(topicName);
    if (held === undefined) {
      held = [];
      this.retained.set(topicName, held);
    }
    return held;
  }

  /** Topics that must hold something. */
  mustHold(): string[] {
    return [...this.retained].flatMap(([topicName, held]) =>
      held.length > 0 && held[0].outcome === "acknowledged" && held.every(({ payload }) => payload !== "")
        ? [topicName]
        : [],
    );
  }
}

/** One QoS for each retained topic: a QoS 1 message that is sent again may overtake one of QoS 2. */
const kindsOfMessage: readonly (readonly [topic: string, qos: 1 | 2 | undefined, retain: boolean])[] = [
  [`${toldTopics}+/a`, undefined, false],
  [`${toldTopics}+/a`, undefined, false],
  [`${toldTopics}+/b`, 1, false],
  [`${toldTopics}+/c`, 2, false],
  [`${toldTopics}+/kept-1`, 1, true],
  [`${toldTopics}+/kept-2`, 2, true],
  [`${bareTopics}+/1`, 1, true],
  [`${bareTopics}+/2`, 2, true],
];

function hash(text: string): number {
  let sum = 0;
  for (const letter of text) sum = (sum * 31 + letter.charCodeAt(0)) % 2 ** 31;
  return sum;
}
