/** The receivers of webhooks, as they are: mostly well, sometimes slow, broken, drowned, moved or gone, for minutes or for days. */
import type { Timer } from "../../src/base/clock.ts";
import type { EndpointOptions } from "../../src/webhook/options.ts";
import type { Random } from "../fault/random.ts";
import type { Timeline } from "./timeline.ts";
import type { Ending } from "./world.ts";

const moods = [
  "well",
  "well",
  "well",
  "slow",
  "flaky",
  "busy",
  "picky",
  "down",
  "silent",
  "unavailable",
  "gone",
  "resetting",
] as const;
type Mood = (typeof moods)[number];

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** Hears what reaches a receiver and what it made of it. */
export interface Audience {
  arrived(endpoint: string, deliveryId: string, ending: Ending): void;
  /** For tests of the simulation itself: true when the receiver says yes and forgets. */
  isSwallowed(endpoint: string, deliveryId: string): boolean;
}

interface Request {
  /** While it is on its way. */
  arrival: Timer | undefined;
  arrive: () => void;
}

export class Receivers {
  private readonly timeline: Timeline;
  private readonly random: Random;
  private readonly audience: Audience;
  private readonly moods = new Map<string, { mood: Mood; until: number }>();
  private readonly underWay = new Set<Request>();
  private healed = false;

  constructor(timeline: Timeline, random: Random, audience: Audience) {
    this.timeline = timeline;
    this.random = random;
    this.audience = audience;
  }

  /** From here on all are well. */
  heal(): void {
    this.healed = true;
  }

  post(endpoint: EndpointOptions, deliveryId: string, answer: (ending: Ending) => void): void {
    const { random, timeline } = this;
    const { ending, arrives, waitMs } = this.reaction(this.moodOf(endpoint.name), endpoint.attemptTimeoutMs);
    const request: Request = {
      arrival: undefined,
      arrive: () => {
        request.arrival = undefined;
        if (!this.audience.isSwallowed(endpoint.name, deliveryId))
          this.audience.arrived(endpoint.name, deliveryId, ending);
      },
    };
    this.underWay.add(request);
    if (arrives) request.arrival = timeline.after(random.below(waitMs), request.arrive);
    timeline.after(waitMs, () => {
      this.underWay.delete(request);
      answer(ending);
    });
  }

  /** The sender is dead: what is on its way arrives or is lost, and nobody reads the answers. */
  senderCrashed(): void {
    for (const { arrival, arrive } of this.underWay) {
      arrival?.cancel();
      if (arrival !== undefined && this.random.chance(0.5)) arrive();
    }
    this.underWay.clear();
  }

  private moodOf(endpoint: string): Mood {
    if (this.healed) return "well";
    const known = this.moods.get(endpoint);
    if (known !== undefined && known.until > this.timeline.elapsed) return known.mood;
    const { random } = this;
    const mood = random.pick(moods);
    const lasts = mood === "well" || random.chance(0.7) ? hourMs : random.chance(0.8) ? 8 * hourMs : 40 * hourMs;
    this.moods.set(endpoint, { mood, until: this.timeline.elapsed + minuteMs + random.below(lasts) });
    return mood;
  }

  private reaction(mood: Mood, timeoutMs: number): { ending: Ending; arrives: boolean; waitMs: number } {
    const { random } = this;
    const soon = 2 + random.below(60);
    const yes = { ending: { status: random.pick([200, 200, 202, 204]) }, arrives: true, waitMs: soon };
    const status = (code: number, retryAfter?: string) => ({
      ending: { status: code, retryAfter },
      arrives: true,
      waitMs: soon,
    });
    switch (mood) {
      case "well":
        return yes;
      case "slow":
        return { ...yes, waitMs: 2 + random.below(timeoutMs - 2) };
      case "flaky":
        if (random.chance(0.5)) return yes;
        return random.chance(0.5)
          ? status(random.pick([500, 502, 404, 409]))
          : { ending: "timeout", arrives: random.chance(0.5), waitMs: timeoutMs };
      case "busy":
        return random.chance(0.6) ? yes : status(429, random.chance(0.7) ? String(1 + random.below(900)) : undefined);
      case "picky":
        return random.chance(0.85) ? yes : status(random.pick([400, 413, 422, 501, 301]));
      case "down":
        return { ending: "refused", arrives: false, waitMs: 1 + random.below(3) };
      case "silent":
        return { ending: "timeout", arrives: random.chance(0.3), waitMs: timeoutMs };
      case "unavailable":
        return status(503, random.chance(0.2) ? "120" : undefined);
      case "gone":
        return status(random.pick([410, 401]));
      case "resetting":
        return random.chance(0.6) ? yes : { ending: "reset", arrives: random.chance(0.5), waitMs: soon };
      default:
        return mood satisfies never;
    }
  }
}
