/** The configured rules, compiled: which endpoints want which event. One event is one delivery to each, however many of its rules match. */
import { assert } from "../base/assert.ts";
import type { TopicFilter, TopicName } from "../mqtt/topic.ts";
import { matches, parseTopicFilter } from "../mqtt/topic.ts";
import type { Happening } from "./happening.ts";
import { compileFormat, formatKey, type Formatter } from "./format.ts";
import { messageOf } from "./happening.ts";
import type { EndpointOptions, EventName, RuleFilter, RuleOptions, WebhookOptions } from "./options.ts";

/** Endpoints that get one and the same body of an event. */
export interface Audience {
  readonly formatter: Formatter;
  readonly recipients: readonly Recipient[];
}

export interface Recipient extends Pick<EndpointOptions, "name" | "durability" | "orderBy"> {
  /** Asked for each event where there is more to a rule than its topic. */
  readonly wants: ((happening: Happening) => boolean) | undefined;
}

/** Who wants the messages of a topic. */
export interface MessageInterest {
  readonly audiences: readonly Audience[];
}

interface CompiledRule {
  readonly topicFilters: readonly TopicFilter[];
  readonly wants: ((happening: Happening) => boolean) | undefined;
}

/** The rules of one endpoint for one event. */
interface Wish {
  readonly endpoint: EndpointOptions;
  readonly rules: readonly CompiledRule[];
}

export class Rules {
  private readonly wishes = new Map<EventName, Wish[]>();
  private readonly formatters = new Map<string, Formatter>();

  /** `random` gives a number in [0, 1), for samples. */
  constructor({ endpoints }: WebhookOptions, random: () => number) {
    for (const endpoint of endpoints) {
      if (!endpoint.enable) continue;
      for (const [event, options] of Map.groupBy(endpoint.rules, (rule) => rule.event)) {
        const wish = { endpoint, rules: options.map((rule) => compile(rule, random)) };
        const others = this.wishes.get(event);
        if (others === undefined) this.wishes.set(event, [wish]);
        else others.push(wish);
      }
    }
  }

  /** Who wants an event that is not of a message. */
  audiences(event: EventName): readonly Audience[] {
    return this.audiencesOf(this.wishes.get(event) ?? []);
  }

  wantsAny(event: EventName): boolean {
    return this.wishes.has(event);
  }

  /** Who wants this event of messages on this topic; `undefined`: nobody. */
  interest(topicName: string, event: EventName = "on_message_publish"): MessageInterest | undefined {
    // Only names that the broker has judged come here.
    const name = topicName as TopicName;
    const wishes = (this.wishes.get(event) ?? []).flatMap(({ endpoint, rules }) => {
      const matching = rules.filter(({ topicFilters }) => topicFilters.some((filter) => matches(filter, name)));
      return matching.length === 0 ? [] : [{ endpoint, rules: matching }];
    });
    return wishes.length === 0 ? undefined : { audiences: this.audiencesOf(wishes) };
  }

  private audiencesOf(wishes: readonly Wish[]): Audience[] {
    const groups = Map.groupBy(wishes, ({ endpoint }) => formatKey(endpoint));
    return Array.from(groups, ([key, group]) => {
      // Compiled once, however many topics there are.
      const formatter = this.formatters.get(key) ?? compileFormat(group[0].endpoint);
      this.formatters.set(key, formatter);
      return { formatter, recipients: group.map(recipientOf) };
    });
  }
}

function recipientOf({ endpoint: { name, durability, orderBy }, rules }: Wish): Recipient {
  const unconditional = rules.some(({ wants }) => wants === undefined);
  const wants = (happening: Happening) => rules.some((rule) => rule.wants!(happening));
  return { name, durability, orderBy, wants: unconditional ? undefined : wants };
}

function compile({ topicFilters, filter }: RuleOptions, random: () => number): CompiledRule {
  return { topicFilters: topicFiltersOf(topicFilters), wants: filter && wantsOf(filter, random) };
}

/** Without a topic a rule is for every one, `$` topics left out as MQTT has it for `#`. [MQTT5 4.7.2-1] */
function topicFiltersOf(texts: readonly string[]): TopicFilter[] {
  return (texts.length === 0 ? ["#"] : texts).map((text) => {
    const topicFilter = parseTopicFilter(text);
    assert(topicFilter !== undefined, `the configuration let through the topic filter ${JSON.stringify(text)}`);
    return topicFilter;
  });
}

function wantsOf(filter: RuleFilter, random: () => number): (happening: Happening) => boolean {
  const { qos, retain, sample } = filter;
  const isClientWanted = anyGlob(filter.clientIds);
  const isUserWanted = anyGlob(filter.userNames);
  return (happening) => {
    const message = messageOf(happening);
    const { clientId, userName } = happening.client;
    if (isClientWanted !== undefined && !isClientWanted(clientId)) return false;
    if (isUserWanted !== undefined && (userName === undefined || !isUserWanted(userName))) return false;
    if (qos !== undefined && message !== undefined && !qos.includes(message.qos)) return false;
    if (retain !== undefined && message !== undefined && message.retain !== retain) return false;
    // Last: only what is wanted otherwise is a case.
    return sample === undefined || random() < sample;
  };
}

function anyGlob(globs: readonly string[] | undefined): ((text: string) => boolean) | undefined {
  return globs && ((text) => globs.some((glob) => matchesGlob(glob, text)));
}

/** `*` is any text, `?` any one character. In time that grows with both lengths only: the text is a stranger's. */
export function matchesGlob(glob: string, text: string): boolean {
  let at = 0;
  let inGlob = 0;
  /** The last `*`, and how far it reaches. */
  let star = -1;
  let starEnd = 0;
  while (at < text.length) {
    if (glob[inGlob] === "*") {
      star = inGlob++;
      starEnd = at;
      continue;
    }
    const size = text.codePointAt(at)! > 0xffff ? 2 : 1;
    if (glob[inGlob] === "?") {
      inGlob++;
      at += size;
    } else if (inGlob < glob.length && glob[inGlob] === text[at]) {
      inGlob++;
      at++;
    } else if (star < 0) return false;
    else {
      inGlob = star + 1;
      at = ++starEnd;
    }
  }
  while (glob[inGlob] === "*") inGlob++;
  return inGlob === glob.length;
}
