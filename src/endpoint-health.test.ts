import { expect, test } from "vitest";
import { complaintOf, type EndpointHealth } from "./endpoint-health.ts";

function endpoint(health: Partial<EndpointHealth>): EndpointHealth {
  return {
    endpoint: "lake",
    accepted: 3,
    delivered: 0,
    dead: 0,
    dropped: 0,
    expired: 0,
    queued: 3,
    inflight: 0,
    bytes: 1,
    deadLetters: 0,
    attempts: 0,
    droppedBy: { drop_oldest: 0, drop_newest: 0 },
    breaker: "closed",
    ...health,
  };
}

test.each<[Partial<EndpointHealth>, string]>([
  [
    { condition: "unreachable" },
    "webhook endpoint lake does not take deliveries, 3 wait (hookmq webhook attempts lake shows what was tried)",
  ],
  [
    { condition: "auth_failed" },
    "webhook endpoint lake refuses our credentials, 3 wait (correct them, then hookmq reload and hookmq webhook resume lake)",
  ],
  [
    { condition: "gone" },
    "webhook endpoint lake says that it is gone, 3 wait (correct its url and hookmq reload, or hookmq webhook resume lake)",
  ],
  [{ condition: "paused" }, "webhook endpoint lake is paused, 3 wait (hookmq webhook resume lake ends that)"],
  [
    { breaker: "open" },
    "webhook endpoint lake does not take deliveries, 3 wait (hookmq webhook attempts lake shows what was tried)",
  ],
])("%o is told with what to do next", (health, words) => {
  expect(complaintOf(endpoint(health))).toBe(words);
});

test.each(["delivering", "held", "disabled", "parked"] as const)("%s is no reason to complain", (condition) => {
  expect(complaintOf(endpoint({ condition }))).toBeUndefined();
});
