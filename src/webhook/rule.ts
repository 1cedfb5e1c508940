/** The configured rules, compiled: which endpoints want which event. One event is one delivery to each, however many of its rules match. */
import { assert } from "../base/assert.ts";
import type { TopicFilter, TopicName } from "../mqtt/topic.ts";
import { matches, parseTopicFilter } from "../mqtt/topic.ts";
import type { EventStyle } from "./event.ts";
import type { EndpointOptions, EventName, RuleOptions, WebhookOptions } from "./options.ts";

/** Endpoints that get one and the same body of an event. */
interface Audience {
  readonly style: EventStyle;
  readonly recipients: readonly Recipient[];
}

export type Recipient = Pick<EndpointOptions, "name" | "durability">;

/** Who wants the messages of a topic. */
export interface MessageInterest {
  readonly audiences: readonly Audience[];
}

interface MessageRule {
  readonly endpoint: EndpointOptions;
  readonly topicFilters: readonly TopicFilter[];
}

export class Rules {
  private readonly enabled: readonly EndpointOptions[];
  private readonly messageRules: readonly MessageRule[];

  constructor({ endpoints }: WebhookOptions) {
    this.enabled = endpoints.filter((endpoint) => endpoint.enable);
    this.messageRules = this.enabled
      .map((endpoint) => ({ endpoint, topicFilters: endpoint.rules.filter(isForMessages).flatMap(topicFiltersOf) }))
      .filter(({ topicFilters }) => topicFilters.length > 0);
  }

  /** The endpoints that want an event of a client. */
  recipientsOf(event: EventName): readonly Recipient[] {
    return this.enabled.filter(({ rules }) => rules.some((rule) => rule.event === event));
  }

  /** Who wants `on_message_publish` of this topic; `undefined`: nobody. */
  interest(topicName: string): MessageInterest | undefined {
    // Only names that the broker has judged come here.
    const name = topicName as TopicName;
    const wanting = this.messageRules
      .filter(({ topicFilters }) => topicFilters.some((topicFilter) => matches(topicFilter, name)))
      .map(({ endpoint }) => endpoint);
    return wanting.length === 0 ? undefined : { audiences: audiencesOf(wanting) };
  }
}

function isForMessages(rule: RuleOptions): boolean {
  return rule.event === "on_message_publish";
}

/** Without a topic a rule is for every one, `$` topics left out as MQTT has it for `#`. [MQTT5 4.7.2-1] */
function topicFiltersOf(rule: RuleOptions): TopicFilter[] {
  const topicFilters = rule.topicFilters.length === 0 ? ["#"] : rule.topicFilters;
  return topicFilters.map((text) => {
    const topicFilter = parseTopicFilter(text);
    assert(topicFilter !== undefined, `the configuration let through the topic filter ${JSON.stringify(text)}`);
    return topicFilter;
  });
}

function audiencesOf(endpoints: readonly EndpointOptions[]): Audience[] {
  const groups = Map.groupBy(endpoints, ({ bodyEncoding, timestampUnit }) => `${bodyEncoding} ${timestampUnit}`);
  return [...groups.values()].map((group) => ({ style: group[0], recipients: group }));
}
