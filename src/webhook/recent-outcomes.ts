/** How many of the last requests an endpoint failed, over a span of time that moves on in steps. */
import { isByUs, type Outcome } from "./outcome.ts";
import { breakerSpanMs, breakerSpanRequestsMin } from "./limits.ts";

const steps = 10;
const stepMs = breakerSpanMs / steps;

export class RecentOutcomes {
  private readonly requests = new Array<number>(steps).fill(0);
  private readonly failures = new Array<number>(steps).fill(0);
  private step = 0;

  /** Times are those of a clock that only goes forward. */
  add(outcome: Outcome, monotonic: number): void {
    // These say nothing of the endpoint.
    if (outcome.kind === "cancelled" || outcome.kind === "unanswered" || isByUs(outcome)) return;
    this.moveOn(Math.floor(monotonic / stepMs));
    this.requests[this.step % steps]++;
    if (outcome.kind === "endpoint") this.failures[this.step % steps]++;
  }

  /** So many failed that it is not the receiver's single requests that fail. */
  get areBad(): boolean {
    const requests = sum(this.requests);
    return requests >= breakerSpanRequestsMin && sum(this.failures) * 2 >= requests;
  }

  clear(): void {
    this.requests.fill(0);
    this.failures.fill(0);
  }

  private moveOn(to: number): void {
    if (to - this.step >= steps) this.clear();
    else {
      for (let step = this.step + 1; step <= to; step++) {
        this.requests[step % steps] = 0;
        this.failures[step % steps] = 0;
      }
    }
    this.step = Math.max(this.step, to);
  }
}

function sum(numbers: readonly number[]): number {
  let all = 0;
  for (const number of numbers) all += number;
  return all;
}
