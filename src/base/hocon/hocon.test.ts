// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are substitutions of HOCON
/** The reader as a whole: what a text means, and what is said about a bad one. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { fileBytesMax, nestingMax } from "./limits.ts";
import { memoryFiles } from "./memory-files.ts";
import { print } from "./print.ts";
import { readHocon } from "./read.ts";
import type { HoconValue } from "./value.ts";
import { positionText, valueAt } from "./value.ts";

interface Surroundings {
  files?: Record<string, string>;
  env?: Record<string, string>;
}

function read(text: string, { files = {}, env = {} }: Surroundings = {}) {
  return readHocon({ file: "main.conf", text, files: memoryFiles(files), env, cwd: "/etc/broker" });
}

/** The value of a text without mistakes, without positions. */
function meaning(text: string, surroundings: Surroundings = {}): unknown {
  const { root, errors } = read(text, surroundings);
  assert.deepEqual(errors, []);
  return plain(root);
}

function plain(value: HoconValue): unknown {
  switch (value.kind) {
    case "object":
      return Object.fromEntries([...value.fields.values()].map((field) => [field.name, plain(field.value)]));
    case "list":
      return value.items.map(plain);
    case "string":
      return value.text;
    case "number":
      return Number(value.text);
    case "boolean":
      return value.value;
    default:
      return null;
  }
}

function mistakes(text: string, surroundings: Surroundings = {}): string[] {
  return read(text, surroundings).errors.map(({ at, what }) => `${positionText(at)} ${what}`);
}

describe("what a text means", () => {
  const rows: [text: string, expected: unknown][] = [
    ["", {}],
    ["{}", {}],
    ["{ a = 1 }", { a: 1 }],
    ["a = 1", { a: 1 }],
    ["a : 1", { a: 1 }],
    ["a { b = 1 }", { a: { b: 1 } }],
    ["a = { b : 1 }", { a: { b: 1 } }],
    ['{ "a": 1, "b": [true, null, "x"] }', { a: 1, b: [true, null, "x"] }],
    ["a = 1, b = 2", { a: 1, b: 2 }],
    ["a = 1\r\nb = 2\r\n", { a: 1, b: 2 }],
    ["\uFEFFa = 1", { a: 1 }],
    // dotted and quoted keys
    ["a.b.c = 1\na.d = 2", { a: { b: { c: 1 }, d: 2 } }],
    ['"a.b".c = 1', { "a.b": { c: 1 } }],
    ["a { b = 1 }\na.c = 2\na { b = 3 }", { a: { b: 3, c: 2 } }],
    ["headers.content-type = x", { headers: { "content-type": "x" } }],
    ["include = 5", { include: 5 }],
    ["A = 1\na = 2", { a: 2 }],
    ["a = 1\na = { b = 2 }", { a: { b: 2 } }],
    ["a = { b = 2 }\na = 1", { a: 1 }],
    // comments
    ["# one\n// two\na = 1 # three\nb = 2 // four", { a: 1, b: 2 }],
    ["a = nmq/# # a filter", { a: "nmq/#" }],
    ['a = "x"# touching a closed value', { a: "x" }],
    // strings
    ["a = 0.0.0.0:1883", { a: "0.0.0.0:1883" }],
    ["a = http://127.0.0.1:8888/x?a=b&c=d#e", { a: "http://127.0.0.1:8888/x?a=b&c=d#e" }],
    ["a = two words  here ", { a: "two words  here" }],
    ['a = "x" y', { a: "x y" }],
    ['a = "q\\"\\\\\\n\\u0041"', { a: 'q"\\\nA' }],
    ['a = """raw \\ "quoted"\nlines"""', { a: 'raw \\ "quoted"\nlines' }],
    ['a = ""', { a: "" }],
    ["a = 10s", { a: "10s" }],
    ["a = 10 MB", { a: "10 MB" }],
    ["a = 80%", { a: "80%" }],
    ["a = $SYS/brokers", { a: "$SYS/brokers" }],
    // scalars
    ["a = -1.5e3, b = 007", { a: -1500, b: "007" }],
    ["a = True, b = FALSE, c = null", { a: true, b: false, c: null }],
    // items by juxtaposition, as NanoMQ has them
    ["a = [{b = 1} {b = 2}]", { a: [{ b: 1 }, { b: 2 }] }],
    ["a = [{b = 1}\n{b = 2}]", { a: [{ b: 1 }, { b: 2 }] }],
    ['a = ["x" "y", z\nv w]', { a: ["x", "y", "z", "v w"] }],
    ["a = [1, 2,]", { a: [1, 2] }],
    ['{ event = "e" topic = "t" }', { event: "e", topic: "t" }],
    ["a { b = 0.0.0.0:1883 c = true } d { e = 1 }", { a: { b: "0.0.0.0:1883", c: true }, d: { e: 1 } }],
    // substitutions
    ["a = 5\nb = ${a}", { a: 5, b: 5 }],
    ["b = ${a.c}\na { c = 5, d = ${a.c} }", { b: 5, a: { c: 5, d: 5 } }],
    ["a = x\nb = pre-${a}/post", { a: "x", b: "pre-x/post" }],
    ['a = 8888\nb = "http://h:"${a}', { a: 8888, b: "http://h:8888" }],
    ["a = ${?none}", {}],
    ["a = 1\na = ${?none}", { a: 1 }],
    ["a = x${?none}y", { a: "xy" }],
    ["base { a = 1, b = 2 }\nc = ${base} { b = 3 }", { base: { a: 1, b: 2 }, c: { a: 1, b: 3 } }],
    ["base { y = 1 }\na = ${base}\na.x = ${a.y}", { base: { y: 1 }, a: { y: 1, x: 1 } }],
    ["a = [1]\nb = ${a} [2]", { a: [1], b: [1, 2] }],
    ["a = /bin\na = ${a}:/opt", { a: "/bin:/opt" }],
    ["a = [1]\na += 2\na += 3", { a: [1, 2, 3] }],
    ["a += 1", { a: [1] }],
    ["a = 1\nA2 = ${A}", { a: 1, A2: 1 }],
    ['a = "${clientid}"', { a: "${clientid}" }],
    // names that other parsers trip over
    ['a { constructor = 1, toString = 2, "__proto__x" = 3 }', { a: { constructor: 1, toString: 2, __proto__x: 3 } }],
  ];
  for (const [text, expected] of rows) {
    test(JSON.stringify(text), () => assert.deepEqual(meaning(text), expected));
  }

  test("substitutions look at the environment last", () => {
    const env = { HOME: "/root", a: "env" };
    assert.deepEqual(meaning('a = file\nb = ${HOME}/x\nc = "${?HOME}"\nd = ${a}', { env }), {
      a: "file",
      b: "/root/x",
      c: "/root",
      d: "file",
    });
  });

  test("`__proto__` is a key like any other and changes no prototype", () => {
    const { root, errors } = read('__proto__ { polluted = 1 }\n"__proto__".x = 2\na = ${__proto__.polluted}');
    assert.deepEqual(errors, []);
    assert.equal(({} as { polluted?: number }).polluted, undefined);
    assert.equal(plain(valueAt(root, ["a"])!), 1);
    assert.equal(plain(valueAt(root, ["__proto__", "x"])!), 2);
  });

  test("every value knows its file, line and column", () => {
    const { root } = read('a {\n\tb = "x"\n  c = [1,\n    {d = 2}]\n}');
    const place = (...path: (string | number)[]) => positionText(valueAt(root, path)!.at);
    assert.equal(place("a"), "main.conf:1:3");
    assert.equal(place("a", "b"), "main.conf:2:6");
    assert.equal(place("a", "c", 0), "main.conf:3:8");
    assert.equal(place("A", "C", 1, "D"), "main.conf:4:10");
  });
});

describe("includes", () => {
  test("all four forms, beside the including file first and then in the working directory", () => {
    const files = {
      "/etc/broker/one.conf": "a = 1",
      "/etc/broker/sub/two.conf": 'b = 2\ninclude "three.conf"',
      "/etc/broker/sub/three.conf": "c = 3",
      "/etc/broker/three.conf": "c = wrong",
      "/elsewhere/four.conf": 'd = 4\ninclude "one.conf"',
    };
    const text = `x {include "one.conf"}
include file("sub/two.conf")
include required("one.conf")
include required(file("/elsewhere/four.conf"))`;
    assert.deepEqual(meaning(text, { files }), { x: { a: 1 }, a: 1, b: 2, c: 3, d: 4 });
  });

  test("substitutions in an included file look from where it was included, then from the root", () => {
    const files = { "/etc/broker/f.conf": "a = 1\nb = ${a}\nc = ${top}" };
    assert.deepEqual(meaning('top = 9\nx.y {include "f.conf"}', { files }), { top: 9, x: { y: { a: 1, b: 1, c: 9 } } });
  });

  test("positions name the included file", () => {
    const files = { "/etc/broker/sub/f.conf": "\n  a = ${none}" };
    assert.deepEqual(mistakes('include "sub/f.conf"', { files }), ["sub/f.conf:2:7 ${none} has no value"]);
  });

  test("a missing file is a warning, a missing required one an error", () => {
    const { errors, warnings } = read('include "none.conf"\na { include required("none.conf") }\nb = 1');
    assert.deepEqual(
      warnings.map(({ at }) => positionText(at)),
      ["main.conf:1:9"],
    );
    assert.deepEqual(
      errors.map(({ at }) => positionText(at)),
      ["main.conf:2:13"],
    );
  });

  test("a loop of includes is an error, not the end", () => {
    const files = { "/etc/broker/a.conf": 'x = 1\ninclude "b.conf"', "/etc/broker/b.conf": 'include "a.conf"' };
    assert.deepEqual(mistakes('include "a.conf"', { files }), ["b.conf:1:9 a.conf includes itself"]);
    assert.deepEqual(mistakes('include "main.conf"'), ["main.conf:1:9 main.conf includes itself"]);
  });

  test("includes end after ten levels", () => {
    const files: Record<string, string> = {};
    for (let level = 1; level <= 12; level++) files[`/etc/broker/${level}.conf`] = `include "${level + 1}.conf"`;
    assert.deepEqual(mistakes('include "1.conf"', { files }), ["10.conf:1:9 too many includes"]);
  });

  test("a fan of includes ends after a hundred", () => {
    const files: Record<string, string> = {};
    for (let level = 1; level <= 9; level++) {
      files[`/etc/broker/${level}.conf`] = `include "${level + 1}.conf"\n`.repeat(20);
    }
    assert.ok(mistakes('include "1.conf"', { files }).some((line) => line.endsWith("too many includes")));
  });
});

describe("mistakes", () => {
  for (const [text, ...expected] of [
    ["a b = 1\nc = 2", "1:3 the key a has no value"],
    ["a =\nb = 2", "1:4 the key a has no value"],
    ["a = # nothing", "1:5 the key a has no value"],
    ["= 1\nb = 2", "1:1 a key is missing"],
    ["a..b = 1", "1:3 a key is missing"],
    ['a = "x\nb = 2', "1:5 this string is not closed"],
    ['a = """x\nb = 2', "1:5 this string is never closed"],
    ['a = "C:\\temp\\new"\nb = "\\d"', "2:6 a string has an unknown escape"],
    ["a { b = 1", "1:3 this `{` is never closed"],
    ["a = [1, 2", "1:5 this `[` is never closed"],
    ["a = 1 }\nb = ", "1:7 no object is open here", "2:5 the key b has no value"],
    ["a = 1 ]", "1:7 no list is open here"],
    ["a { b = [ {c = 1 } }\nd = 1", "1:20 a list is still open here"],
    ["a = [ { b = 1 ]\nc = 2", "1:15 no list is open here"],
    ["a = x{ b = 1 }", "1:6 text and an object cannot become one value"],
    ["a = [1] 2", "1:9 a list and a number cannot become one value"],
    ["a = ${b", "1:8 a substitution is not closed"],
    ["a = ${}", "1:7 a key is missing"],
    ["a = ${b}", "1:5 ${b} has no value"],
    ["a = 1\na += 2", "2:3 a += … needs a list to add to"],
    ['include url("x")', "1:9 an include cannot be read"],
    ['include required("x"', "1:21 an include cannot be read"],
    // cycles
    ["a = ${a}", "1:5 ${a} leads back to itself"],
    ["a = ${b}\nb = ${a}", "2:5 ${a} leads back to itself"],
    ["a { b = ${a} }", "1:9 ${a} leads back to itself"],
  ] as const) {
    test(JSON.stringify(text), () => {
      assert.deepEqual(
        mistakes(text),
        expected.map((line) => `main.conf:${line}`),
      );
    });
  }

  test("all mistakes of a file are found in one run, with what was found and expected", () => {
    const { errors, root } = read('one two\na = "x\nb = ]\nc { d = ${none}\n e }\nf = 5');
    assert.deepEqual(
      errors.map(({ at, found, expected }) => [at.line, at.column, found, expected !== undefined]).sort(),
      [
        [1, 5, "`two`", true],
        [2, 5, "the end of the line", true],
        [3, 5, "`]`", true],
        [4, 9, undefined, true],
        [5, 4, "`}`", true],
      ],
    );
    assert.equal(plain(valueAt(root, ["f"])!), 5);
  });

  test("a mistake in an opening bracket's line does not make errors of what the bracket holds", () => {
    assert.deepEqual(mistakes("a b {\n c = 1\n d { e = 2 }\n}\nf = 1"), ["main.conf:1:3 the key a has no value"]);
  });
});

describe("hostile files", () => {
  test(`nesting ends at ${nestingMax} levels, by brackets, lists and dotted keys`, () => {
    for (const deep of [
      "a {".repeat(100_000),
      `${"a {".repeat(1000)}${"}".repeat(1000)}`,
      `a = ${"[".repeat(100_000)}`,
      `${"a.".repeat(100_000)}a = 1`,
    ]) {
      const found = mistakes(`${deep}`);
      assert.ok(
        found.some((line) => line.endsWith("nested too deeply")),
        deep.slice(0, 20),
      );
    }
    const allowed = `${"a {".repeat(nestingMax - 1)} b = 1 ${"}".repeat(nestingMax - 1)}`;
    assert.deepEqual(mistakes(allowed), []);
  });

  test("a file that goes on after what was too deep is read on", () => {
    const { root } = read(`x = ${"[".repeat(80)}${"]".repeat(80)}\ny = 1`);
    assert.equal(plain(valueAt(root, ["y"])!), 1);
  });

  for (const [name, lines] of [
    ["lists of lists", (level: number) => `l${level} = [${`\${l${level - 1}},`.repeat(10)}]`],
    ["strings of strings", (level: number) => `l${level} = ${`\${l${level - 1}}`.repeat(10)}`],
    ["objects of objects", (level: number) => `l${level} { a = \${l${level - 1}}, b = \${l${level - 1}} }`],
  ] as const) {
    test(`a billion ${name} cost a bounded amount`, () => {
      const text = ["l0 = lol", ...Array.from({ length: 40 }, (_, level) => lines(level + 1))].join("\n");
      assert.ok(mistakes(text).some((line) => /too much|nested too deeply/.test(line)));
    });
  }

  test("layers of one key that each name it twice cost a bounded amount", () => {
    assert.ok(mistakes(`a = x\n${"a = ${a}${a}\n".repeat(100)}`).some((line) => line.endsWith("add up to too much")));
  });

  test("a long chain of substitutions is an error, not a stack overflow", () => {
    const chain = Array.from({ length: 20_000 }, (_, index) => `k${index} = \${k${index + 1}}`).join("\n");
    assert.ok(mistakes(`${chain}\nk20000 = 1`).some((line) => line.endsWith("lead into each other too deeply")));
  });

  for (const [name, unit] of [
    ["additions", "a += 1\n"],
    ["quotes", '"'],
    ["closed quotes", 'a = """"""""\n'],
    ["words", "a "],
    ["white space", " \t\n"],
    ["open brackets", "[{"],
    ["closing brackets", "]}"],
    ["dollars", "a = ${"],
    ["keys", "a=b,"],
    ["NULs", "\0"],
  ] as const) {
    test(`a megabyte of ${name} is read in time linear to it`, { timeout: 60_000 }, () => {
      const text = unit.repeat(Math.floor(fileBytesMax / unit.length));
      const { errors } = read(text);
      assert.ok(errors.length <= 101);
    });
  }

  test("errors are listed up to a limit, and the list says so", () => {
    const { errors } = read("bad line\n".repeat(1000));
    assert.equal(errors.length, 101);
    assert.match(errors.at(-1)!.what, /more than 100 mistakes/);
  });
});

test("print writes what people write", () => {
  const { root } = read('a { b = on_x, c = [1, "two words", 10s, "${?X}", "nmq/#"] }, "d e" = {}');
  assert.equal(print(root), '{ a = { b = on_x, c = [1, "two words", 10s, "nmq/#"] }, "d e" = {} }');
});
