// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are substitutions of HOCON
import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "vitest";
import { memoryFiles } from "./memory-files.ts";
import { print } from "./print.ts";
import { readHocon } from "./read.ts";
import type { HoconField, HoconObject, HoconValue } from "./value.ts";
import { fold } from "./value.ts";

const nowhere = { file: "test", line: 1, column: 1 };

/** Names and texts that mean something to a parser come up often. */
const anyText = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    "true",
    "null",
    "include",
    "__proto__",
    "10s",
    "0.0.0.0:1883",
    "a b",
    "//",
    "#",
    "${x}",
    "${?x}",
    '"',
  ),
);

const scalar: fc.Arbitrary<HoconValue> = fc.oneof(
  anyText.map((text): HoconValue => ({ kind: "string", text, at: nowhere })),
  fc
    .double({ noNaN: true, noDefaultInfinity: true })
    .map((value): HoconValue => ({ kind: "number", text: JSON.stringify(value), at: nowhere })),
  fc.boolean().map((value): HoconValue => ({ kind: "boolean", value, at: nowhere })),
  fc.constant<HoconValue>({ kind: "null", at: nowhere }),
);

const { object } = fc.letrec<{ value: HoconValue; object: HoconObject }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    scalar,
    tie("object"),
    fc.array(tie("value"), { maxLength: 4 }).map((items): HoconValue => ({ kind: "list", items, at: nowhere })),
  ),
  object: fc
    .uniqueArray(fc.tuple(anyText, tie("value")), { maxLength: 5, selector: ([name]) => fold(name) })
    .map((entries): HoconObject => {
      const fields = entries.map(([name, value]): [string, HoconField] => [
        fold(name),
        { name, nameAt: nowhere, value },
      ]);
      return { kind: "object", fields: new Map(fields), at: nowhere };
    }),
}));

test("what is printed reads back as the same value", () => {
  fc.assert(
    fc.property(object, (value) => {
      const text = print(value);
      const { root, errors } = readHocon({ file: "test", text, files: memoryFiles({}), env: {}, cwd: "/" });
      assert.deepEqual(errors, []);
      assert.deepEqual(withoutPlaces(root), withoutPlaces(value));
    }),
    { numRuns: 500 },
  );
});

function withoutPlaces(value: HoconValue): unknown {
  switch (value.kind) {
    case "object":
      return [...value.fields.values()].map((field) => [field.name, withoutPlaces(field.value)]);
    case "list":
      return value.items.map(withoutPlaces);
    default: {
      const { at: _, ...rest } = value;
      return rest;
    }
  }
}

test("no text makes the reader throw", () => {
  const pieces = fc.constantFrom(
    ...'{ } [ ] = : , \n # // " """ ${ ${? } += . \\ a b include required( file( ) 1 true null'.split(" "),
    " ",
    "\n",
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string({ maxLength: 3 })), { maxLength: 60 }), (words) => {
      readHocon({ file: "test", text: words.join(""), files: memoryFiles({}), env: {}, cwd: "/" });
    }),
    { numRuns: 2000 },
  );
});
