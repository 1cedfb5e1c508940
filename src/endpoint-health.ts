/** Is a webhook endpoint well? If not: in words, and with what to do next. */
import type { EndpointFigures } from "./webhook/endpoint.ts";
import type { EndpointReport } from "./webhook/operations.ts";

/** `condition` and what else a report has on top is missing while the engine cannot tell. */
export type EndpointHealth = EndpointFigures & Partial<EndpointReport>;

/** `undefined`: it takes deliveries, or nobody wants it to. */
export function complaintOf({ endpoint, queued, breaker, condition }: EndpointHealth): string | undefined {
  const says = (what: string, remedy: string) => `webhook endpoint ${endpoint} ${what}, ${queued} wait (${remedy})`;
  const isAway = says("does not take deliveries", `hookmq webhook attempts ${endpoint} shows what was tried`);
  switch (condition) {
    case "unreachable":
      return isAway;
    case "auth_failed":
      return says("refuses our credentials", `correct them, then hookmq reload and hookmq webhook resume ${endpoint}`);
    case "gone":
      return says("says that it is gone", `correct its url and hookmq reload, or hookmq webhook resume ${endpoint}`);
    case "paused":
      return says("is paused", `hookmq webhook resume ${endpoint} ends that`);
    case "delivering":
    case "held":
    case "disabled":
    case "parked":
      return undefined;
    case undefined:
      return breaker === "closed" ? undefined : isAway;
    default:
      return condition satisfies never;
  }
}
