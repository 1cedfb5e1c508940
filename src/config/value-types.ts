/**
 * The types of values in the tables of the configuration reference. Case does not matter in words and units; an amount in
 * quotes is the amount. Whatever does not fit is refused with what was expected: nothing is quietly left at its default.
 */
import { nearest } from "./nearest.ts";
import type { ValueType } from "./schema.ts";

interface TextNotes {
  type?: string;
  /** What was expected, when the text is not that. */
  check?(text: string): string | undefined;
}

/** Text as it stands; a number or a word like `true` is taken as written. */
export function text({ type = "text", check }: TextNotes = {}): ValueType<string> {
  return {
    type,
    read(input: unknown) {
      const value = scalarText(input);
      if (value === undefined) return { expected: type };
      const expected = check?.(value);
      return expected === undefined ? { value } : { expected };
    },
  };
}

export const flag: ValueType<boolean> = {
  type: "true or false",
  read(input) {
    const word = scalarText(input)?.toLowerCase();
    if (word === "true" || word === "yes" || word === "on") return { value: true };
    if (word === "false" || word === "no" || word === "off") return { value: false };
    return { expected: "true or false" };
  },
};

export function choice<const Word extends string>(words: readonly Word[]): ValueType<Word> {
  return {
    type: words.join(", "),
    read(input) {
      const word = scalarText(input)?.toLowerCase();
      const value = words.find((one) => one.toLowerCase() === word);
      if (value !== undefined) return { value };
      // A long row of words does not help; the one that was meant does.
      const similar = words.length > 6 ? nearest(word ?? "", words) : undefined;
      return { expected: similar ?? oneOf(words) };
    },
  };
}

interface Range {
  min: number;
  max: number;
}

/** A whole number. */
export function count({ min, max }: Range): ValueType<number> {
  const type = `a whole number from ${min} to ${max}`;
  return {
    type,
    read(input) {
      const value = number(input);
      const fits = value !== undefined && Number.isInteger(value) && value >= min && value <= max;
      return fits ? { value } : { expected: type };
    },
  };
}

export function decimal({ above, max }: { above: number; max: number }): ValueType<number> {
  const type = `a number over ${above}, at most ${max}`;
  return {
    type,
    read(input) {
      const value = number(input);
      return value !== undefined && value > above && value <= max ? { value } : { expected: type };
    },
  };
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A span in milliseconds. `bare` is the unit of a number without one, as the original has it for that key. */
export function duration({
  bare,
  minMs = 0,
  maxMs,
}: {
  bare: "ms" | "s";
  minMs?: number;
  maxMs: number;
}): ValueType<number> {
  const unit = bare === "ms" ? "milliseconds" : "seconds";
  return {
    type: `duration, bare number in ${unit}`,
    read(input) {
      const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/i.exec(scalarText(input)?.trim() ?? "");
      if (match === null) return { expected: `a duration like 500ms, 10s, 5m, 2h or 1d; a bare number is ${unit}` };
      const value = Math.round(Number(match[1]) * unitMs[match[2]?.toLowerCase() ?? bare]!);
      if (value >= minMs && value <= maxMs) return { value };
      return { expected: `a duration from ${durationText(minMs)} to ${durationText(maxMs)}` };
    },
  };
}

/** The same in whole seconds, for what MQTT counts in seconds; parts of a second are rounded up. */
export function seconds({ min = 0, max }: { min?: number; max: number }): ValueType<number> {
  const inMs = duration({ bare: "s", minMs: min * 1000, maxMs: max * 1000 });
  return {
    type: inMs.type,
    read(input) {
      const reading = inMs.read(input);
      return "value" in reading ? { value: Math.ceil(reading.value / 1000) } : reading;
    },
  };
}

const sizeUnits: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** Bytes; `KB` and its kin are powers of 1024. */
export function size({ min, max }: Range): ValueType<number> {
  return {
    type: "size, bare number in bytes",
    read(input) {
      const match = /^(\d+(?:\.\d+)?)\s*(b?|[kmg](?:i?b)?)$/i.exec(scalarText(input)?.trim() ?? "");
      if (match === null) return { expected: "a size like 512, 64KB, 10MB or 1GB" };
      const value = Math.floor(Number(match[1]) * sizeUnits[match[2]!.charAt(0).toLowerCase()]!);
      return value >= min && value <= max
        ? { value }
        : { expected: `a size from ${sizeText(min)} to ${sizeText(max)}` };
    },
  };
}

/** A list, or one item where a list of one is meant. */
export function listOf<Value>(item: ValueType<Value>): ValueType<readonly Value[]> {
  return {
    type: `list of: ${item.type}`,
    read(input) {
      const values: Value[] = [];
      for (const one of Array.isArray(input) ? input : [input]) {
        const reading = item.read(one);
        if (!("value" in reading)) return { expected: `a list, each item ${reading.expected}` };
        values.push(reading.value);
      }
      return { value: values };
    },
  };
}

/** A list that is not longer. */
export function atMost<Item>(itemsMax: number, list: ValueType<readonly Item[]>): ValueType<readonly Item[]> {
  return {
    type: list.type,
    read(input) {
      const reading = list.read(input);
      if ("value" in reading && reading.value.length > itemsMax) return { expected: `${itemsMax} of them at most` };
      return reading;
    },
  };
}

/** The value itself, or a word that stands for another value. */
export function orWord<Value>(word: string, meant: Value, type: ValueType<Value>): ValueType<Value> {
  return {
    type: `${type.type}, or ${word}`,
    read(input) {
      if (scalarText(input)?.toLowerCase() === word) return { value: meant };
      const reading = type.read(input);
      return "value" in reading ? reading : { expected: `${reading.expected}, or ${word}` };
    },
  };
}

/** Whatever stands there: parts of the original's configuration that nobody here reads. */
export const anything: ValueType<unknown> = { type: "any", read: (value) => ({ value }) };

function scalarText(input: unknown): string | undefined {
  switch (typeof input) {
    case "string":
      return input;
    case "number":
    case "boolean":
      return String(input);
    default:
      return undefined;
  }
}

function number(input: unknown): number | undefined {
  const written = scalarText(input)?.trim() ?? "";
  return /^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(written) ? Number(written) : undefined;
}

function oneOf(words: readonly string[]): string {
  return words.length === 1 ? words[0]! : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function durationText(ms: number): string {
  for (const unit of ["d", "h", "m", "s"]) {
    if (ms > 0 && ms % unitMs[unit]! === 0) return `${ms / unitMs[unit]!}${unit}`;
  }
  return `${ms}ms`;
}

function sizeText(bytes: number): string {
  for (const unit of ["g", "m", "k"]) {
    if (bytes > 0 && bytes % sizeUnits[unit]! === 0) return `${bytes / sizeUnits[unit]!}${unit.toUpperCase()}B`;
  }
  return String(bytes);
}
