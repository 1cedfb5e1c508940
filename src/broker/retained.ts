/** The retained message of each topic, in a tree by level, so that a filter finds its topics without looking at all. [MQTT5 3.3.1.3] */
import { retainedBytesMax, retainedLevelsMax, retainedMessagesMax } from "./limits.ts";
import type { KeptMessage } from "./message.ts";

interface Level {
  children: Map<string, Level> | undefined;
  message: KeptMessage | undefined;
}

export class Retained {
  private readonly root: Level = { children: undefined, message: undefined };
  count = 0;
  /** Levels in the tree, the root left out. */
  levels = 0;
  bytes = 0;

  /** False when there is no room for it. */
  hasRoomFor(message: KeptMessage): boolean {
    const former = this.get(message.topicName);
    const count = this.count + (former === undefined ? 1 : 0);
    const bytes = this.bytes + message.bytes - (former?.bytes ?? 0);
    const levels = former === undefined ? this.levels + message.topicName.split("/").length : this.levels;
    return count <= retainedMessagesMax && bytes <= retainedBytesMax && levels <= retainedLevelsMax;
  }

  get(topicName: string): KeptMessage | undefined {
    let level: Level | undefined = this.root;
    for (const name of topicName.split("/")) {
      level = level.children?.get(name);
      if (level === undefined) return undefined;
    }
    return level.message;
  }

  /** Takes the place of the topic's former retained message, which is returned. */
  set(message: KeptMessage): KeptMessage | undefined {
    let level = this.root;
    for (const name of message.topicName.split("/")) {
      level.children ??= new Map();
      let next = level.children.get(name);
      if (next === undefined) {
        next = { children: undefined, message: undefined };
        level.children.set(name, next);
        this.levels++;
      }
      level = next;
    }
    const former = level.message;
    level.message = message;
    this.bytes += message.bytes - (former?.bytes ?? 0);
    if (former === undefined) this.count++;
    return former;
  }

  delete(topicName: string): KeptMessage | undefined {
    const former = this.get(topicName);
    if (former !== undefined) {
      this.deleteBelow(this.root, topicName.split("/"), 0);
      this.count--;
      this.bytes -= former.bytes;
    }
    return former;
  }

  /**
   * The retained messages that a topic filter matches, one step through the tree at a time; `undefined` is a step that
   * found none. What comes or goes behind the walk's back may be missed or met, as with any message under way.
   */
  walk(topicFilter: string): Generator<KeptMessage | undefined, undefined> {
    return walkBelow(this.root, topicFilter.split("/"), 0);
  }

  /** True when the level has become empty. */
  private deleteBelow(level: Level, names: string[], depth: number): boolean {
    if (depth === names.length) {
      level.message = undefined;
    } else {
      const next = level.children?.get(names[depth]);
      if (next !== undefined && this.deleteBelow(next, names, depth + 1)) {
        level.children!.delete(names[depth]);
        this.levels--;
        if (level.children!.size === 0) level.children = undefined;
      }
    }
    return level.children === undefined && level.message === undefined;
  }
}

function* walkBelow(level: Level, names: string[], depth: number): Generator<KeptMessage | undefined, undefined> {
  if (depth === names.length) {
    yield level.message;
    return;
  }
  const name = names[depth];
  if (name === "#") {
    // `sport/#` matches `sport` itself. [MQTT5 4.7.1.2]
    yield* walkAll(level, depth === 0);
    return;
  }
  if (name !== "+") {
    const next = level.children?.get(name);
    if (next !== undefined) yield* walkBelow(next, names, depth + 1);
    return;
  }
  for (const [childName, child] of level.children ?? []) {
    if (depth === 0 && childName.startsWith("$")) continue; // [MQTT5 4.7.2-1] [MQTT311 4.7.2-1]
    yield undefined;
    yield* walkBelow(child, names, depth + 1);
  }
}

function* walkAll(level: Level, atRoot: boolean): Generator<KeptMessage | undefined, undefined> {
  yield level.message;
  for (const [name, child] of level.children ?? []) {
    if (atRoot && name.startsWith("$")) continue;
    yield* walkAll(child, false);
  }
}
