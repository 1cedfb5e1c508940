/**
 * HOCON text to its syntax tree, in the dialect of NanoMQ's files and with what HOCON has beyond it. After a mistake it
 * goes on at the next line, so that every mistake of a file is found in one run.
 */
import { nestingMax } from "./limits.ts";
import type { Problems } from "./problems.ts";
import { Scanner } from "./scanner.ts";
import type { ObjectSyntax, Syntax } from "./syntax.ts";
import { addLayer, emptyObject, mergeInto } from "./syntax.ts";
import type { Position } from "./value.ts";

export interface IncludeRequest {
  path: string;
  required: boolean;
  /** Dotted path of the object it stands in, from the root of the whole configuration. */
  scope: readonly string[];
  /** How deep it stands. */
  nesting: number;
  at: Position;
}

export interface ParseOptions {
  text: string;
  file: string;
  problems: Problems;
  /** Where the file was included; empty for the main file. */
  scope?: readonly string[];
  nesting?: number;
  include(request: IncludeRequest): ObjectSyntax | undefined;
}

export function parse({ text, file, problems, scope = [], nesting = 0, include }: ParseOptions): ObjectSyntax {
  return new Parser(new Scanner(text, file), problems, include, scope, nesting).root();
}

type KeyPart = { name: string; at: Position };
type Part = { syntax: Syntax; looks: "unquoted" | "quoted" | "bracketed" | "substitution" };
type Place = "object" | "list";

/** `key =`, `key {`, `key +=` after white space begins the next field: `bind = "a" enable = true` is two. */
const nextField = /(?:"(?:[^"\\\n]|\\.)*"|[^\s"{}[\],=:+#$])+[^\S\n]*(?:=|\+=|\{)/y;
/** After a closed value a colon counts as well; inside unquoted text it does not, because addresses have colons. */
const nextFieldAfterClosed = /(?:"(?:[^"\\\n]|\\.)*"|[^\s"{}[\],=:+#$])+[^\S\n]*(?:=|\+=|\{|:)/y;
const includeStatement = /include[^\S\n]+(?="|required\(|file\(|url\(|classpath\()/iy;
const jsonNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

class Parser {
  private readonly scanner: Scanner;
  private readonly problems: Problems;
  private readonly include: ParseOptions["include"];
  private readonly fileScope: readonly string[];
  /** Of the object being read, from the file's root; `undefined` inside a list, whose items have no path. */
  private path: readonly string[] | undefined = [];
  private nesting: number;
  private openLists = 0;

  constructor(
    scanner: Scanner,
    problems: Problems,
    include: ParseOptions["include"],
    scope: readonly string[],
    nesting: number,
  ) {
    this.scanner = scanner;
    this.problems = problems;
    this.include = include;
    this.fileScope = scope;
    this.nesting = nesting;
  }

  root(): ObjectSyntax {
    const { scanner } = this;
    const root = emptyObject(scanner.position);
    scanner.skipBetweenItems();
    if (scanner.char === "{") {
      const open = scanner.position;
      scanner.advance();
      this.fields(root, open);
    }
    this.fields(root, undefined);
    return root;
  }

  /** Fields up to the bracket that closes the object opened at `open`, or to the end of the file. */
  private fields(object: ObjectSyntax, open: Position | undefined): void {
    const { scanner, problems } = this;
    for (;;) {
      scanner.skipBetweenItems();
      const at = scanner.position;
      if (scanner.atEnd) {
        if (open) problems.error(open, "this `{` is never closed", { found: "the end of the file", expected: "`}`" });
        return;
      }
      if (scanner.char === "}") {
        scanner.advance();
        if (open) return;
        problems.error(at, "no object is open here", { found: "`}`", expected: "a key" });
      } else if (scanner.char === "]") {
        problems.error(at, "no list is open here", { found: "`]`", expected: open ? "a key or `}`" : "a key" });
        // Inside a list it rather closes that, and a `}` is missing.
        if (open && this.openLists > 0) return;
        scanner.advance();
      } else if (scanner.matches(includeStatement)) this.includeStatement(object);
      else this.field(object);
    }
  }

  private field(object: ObjectSyntax): void {
    const { scanner, problems } = this;
    const key = this.keyPath();
    if (key === undefined) {
      scanner.skipMistake();
      return;
    }
    scanner.skipSpaces();
    const at = scanner.position;
    if (scanner.char === "{") {
      this.write(object, key, () => this.value("object", key));
    } else if (scanner.char === "=" || scanner.char === ":") {
      scanner.advance();
      this.write(object, key, () => this.value("object", key));
    } else if (scanner.startsWith("+=")) {
      scanner.advance(2);
      this.write(object, key, () => ({ kind: "append", items: [this.value("object", key)], at }));
    } else {
      problems.error(at, `the key ${keyText(key)} has no value`, {
        found: scanner.found(),
        expected: "`=`, `:`, `+=` or `{`",
      });
      scanner.skipMistake();
    }
  }

  /** Reads a value with the path set to where it will stand, and writes it there. */
  private write(object: ObjectSyntax, key: readonly KeyPart[], read: () => Syntax): void {
    const { scanner, problems } = this;
    // The key's last part is counted with the object it may hold.
    const partsBetween = key.length - 1;
    if (this.nesting + partsBetween > nestingMax) {
      this.tooDeep(key[0]!.at);
      scanner.skipMistake();
      return;
    }
    const outerPath = this.path;
    this.path = outerPath && [...outerPath, ...key.map(({ name }) => name)];
    this.nesting += partsBetween;
    let layer = read();
    this.nesting -= partsBetween;
    this.path = outerPath;
    for (const { name, at } of key.slice(1).reverse()) {
      const wrapped = emptyObject(at);
      addLayer(wrapped, name, at, layer);
      layer = wrapped;
    }
    addLayer(object, key[0]!.name, key[0]!.at, layer);
    scanner.skipSpaces();
    if (scanner.atLineEnd || scanner.atComment || /[,}\]]/.test(scanner.char)) return;
    if (scanner.matches(nextFieldAfterClosed)) return;
    problems.error(scanner.position, "a value ends here", {
      found: scanner.found(),
      expected: "a new line, `,` or `}`",
    });
    scanner.skipMistake();
  }

  private keyPath(): KeyPart[] | undefined {
    const { scanner, problems } = this;
    const key: KeyPart[] = [];
    for (;;) {
      const at = scanner.position;
      const name = scanner.char === '"' ? this.quoted() : scanner.take(/(?:[^\s{}[\],=:+#$".]|\+(?!=)|\$(?!\{))+/y);
      if (name === undefined) return undefined;
      if (name === "" && scanner.text.charAt(scanner.offset - 1) !== '"') {
        problems.error(at, "a key is missing", { found: scanner.found(), expected: "a key" });
        return undefined;
      }
      key.push({ name, at });
      if (scanner.char !== ".") return key;
      scanner.advance();
    }
  }

  /** One value, with everything that stands beside it. A value with a mistake in it comes back `broken`. */
  private value(place: Place, key: readonly KeyPart[] = []): Syntax {
    const { scanner } = this;
    scanner.skipSpaces();
    const operatorEnd = scanner.position;
    if (scanner.matches(/\s*[{["]/y)) scanner.take(/\s+/y);
    const at = scanner.position;
    const parts: Part[] = [];
    for (;;) {
      const part = this.part();
      if (part === "mistake") {
        scanner.skipMistake();
        return { kind: "broken", at };
      }
      if (part === undefined) break;
      parts.push(part);
      const spaces = this.spacesBeforePart(part, place);
      if (spaces === undefined) break;
      if (spaces !== "")
        parts.push({ syntax: { kind: "string", text: spaces, at: scanner.position }, looks: "unquoted" });
    }
    if (parts.length > 0) return joined(parts, at);
    this.problems.error(operatorEnd, key.length > 0 ? `the key ${keyText(key)} has no value` : "a value is missing", {
      found: scanner.found(),
      expected: "a value",
    });
    return { kind: "broken", at };
  }

  /** The white space between `part` and a next part of the same value; `undefined` when the value ends here. */
  private spacesBeforePart({ looks }: Part, place: Place): string | undefined {
    const { scanner } = this;
    const start = scanner.offset;
    const spaces = scanner.skipSpaces();
    if (scanner.atLineEnd || /[,}\]]/.test(scanner.char)) return undefined;
    // Right behind unquoted text a `#` belongs to it, so one that is met here follows white space or a closed value.
    if (scanner.atComment) return undefined;
    if (place === "object") {
      const next = looks === "unquoted" ? nextField : nextFieldAfterClosed;
      if (spaces !== "" && scanner.matches(next)) return undefined;
    } else if (looks === "bracketed" || looks === "quoted") {
      // `[{…} {…}]` and `["a" "b"]` are lists of two.
      const opens = scanner.char === "{" || scanner.char === "[";
      if (opens || (scanner.char === '"' && (spaces !== "" || looks === "bracketed"))) return undefined;
    }
    return scanner.text.slice(start, scanner.offset);
  }

  private part(): Part | "mistake" | undefined {
    const { scanner } = this;
    const at = scanner.position;
    if (scanner.atLineEnd) return undefined;
    switch (scanner.char) {
      case "{":
        return { syntax: this.object(), looks: "bracketed" };
      case "[":
        return { syntax: this.list(), looks: "bracketed" };
      case ",":
      case "}":
      case "]":
      case "#":
        return undefined;
      case '"': {
        const substitution = this.quotedSubstitution();
        if (substitution !== undefined) return substitution;
        const text = this.quoted();
        return text === undefined ? "mistake" : { syntax: { kind: "string", text, at }, looks: "quoted" };
      }
    }
    if (scanner.startsWith("//")) return undefined;
    if (scanner.startsWith("${")) return this.substitution();
    const text = scanner.take(/(?:[^\s{}[\],"$]|\$(?!\{))+/y);
    return { syntax: unquotedScalar(text, at), looks: "unquoted" };
  }

  private object(): Syntax {
    const { scanner } = this;
    const at = scanner.position;
    if (this.nesting >= nestingMax) return this.skipTooDeep(at);
    const object = emptyObject(at);
    this.nesting++;
    scanner.advance();
    this.fields(object, at);
    this.nesting--;
    return object;
  }

  private list(): Syntax {
    const { scanner, problems } = this;
    const at = scanner.position;
    if (this.nesting >= nestingMax) return this.skipTooDeep(at);
    const items: Syntax[] = [];
    const outerPath = this.path;
    this.path = undefined;
    this.nesting++;
    this.openLists++;
    scanner.advance();
    for (;;) {
      scanner.skipBetweenItems();
      if (scanner.char === "]") {
        scanner.advance();
        break;
      }
      if (scanner.atEnd) {
        problems.error(at, "this `[` is never closed", { found: "the end of the file", expected: "`]`" });
        break;
      }
      if (scanner.char === "}") {
        problems.error(scanner.position, "a list is still open here", { found: "`}`", expected: "a value or `]`" });
        break;
      }
      items.push(this.value("list"));
    }
    this.openLists--;
    this.nesting--;
    this.path = outerPath;
    return { kind: "list", items, at };
  }

  private skipTooDeep(at: Position): Syntax {
    this.tooDeep(at);
    this.scanner.advance();
    this.skipToClosing();
    return { kind: "broken", at };
  }

  /** Behind an opening bracket: past the one that closes it, however deep that is. */
  private skipToClosing(): void {
    const { scanner } = this;
    while (!scanner.atEnd) {
      scanner.skipMistake();
      const closing = scanner.char === "}" || scanner.char === "]";
      scanner.advance();
      if (closing) return;
    }
  }

  private tooDeep(at: Position): void {
    this.problems.error(at, "nested too deeply", { expected: `at most ${nestingMax} levels` });
  }

  /** A quoted string, with or without triple quotes; `undefined` after a mistake in it. */
  private quoted(): string | undefined {
    const { scanner, problems } = this;
    const at = scanner.position;
    if (scanner.startsWith('"""')) {
      const raw = scanner.take(/"""[\s\S]*?"""+/y);
      if (raw !== "") return raw.slice(3, -3);
      problems.error(at, "this string is never closed", { found: "the end of the file", expected: '`"""`' });
      scanner.advance(scanner.text.length);
      return undefined;
    }
    scanner.advance();
    let text = "";
    for (;;) {
      text += scanner.take(/[^"\\\n]+/y);
      if (scanner.char === '"') {
        scanner.advance();
        return text;
      }
      if (scanner.atLineEnd) {
        problems.error(at, "this string is not closed", { found: scanner.found(), expected: '`"`' });
        return undefined;
      }
      const escapeAt = scanner.position;
      const escaped = scanner.take(/\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y);
      if (escaped === "") {
        problems.error(escapeAt, "a string has an unknown escape", {
          found: `\`${scanner.text.slice(scanner.offset, scanner.offset + 2).trimEnd()}\``,
          expected: '`\\\\` for a backslash, or one of `\\"` `\\/` `\\b` `\\f` `\\n` `\\r` `\\t` `\\uXXXX`',
        });
        scanner.take(/\\.?(?:[^"\\\n]|\\.)*"?/y);
        return undefined;
      }
      text += JSON.parse(`"${escaped}"`);
    }
  }

  /**
   * `"${?NAME}"` on its own is a substitution although it is quoted, because people quote all their strings; without the
   * question mark it is text: `"${clientid}"` is a placeholder of access rules.
   */
  private quotedSubstitution(): Part | undefined {
    const { scanner } = this;
    const at = scanner.position;
    if (!scanner.matches(/"\$\{\?[^"\\\n}]+\}"/y)) return undefined;
    const name = scanner.take(/"\$\{\?[^"\\\n}]+\}"/y).slice(4, -2);
    const path = name.split(".").map((part) => part.trim());
    return { syntax: { kind: "substitution", path, optional: true, scope: this.fileScope, at }, looks: "substitution" };
  }

  private substitution(): Part | "mistake" {
    const { scanner, problems } = this;
    const at = scanner.position;
    const optional = scanner.take(/\$\{\??/y) === "${?";
    scanner.skipSpaces();
    const key = this.keyPath();
    if (key === undefined) return "mistake";
    scanner.skipSpaces();
    if (scanner.char !== "}") {
      problems.error(scanner.position, "a substitution is not closed", { found: scanner.found(), expected: "`}`" });
      return "mistake";
    }
    scanner.advance();
    const path = key.map(({ name }) => name);
    return { syntax: { kind: "substitution", path, optional, scope: this.fileScope, at }, looks: "substitution" };
  }

  /** `include "f"`, `include file("f")`, `include required("f")`, `include required(file("f"))`. */
  private includeStatement(object: ObjectSyntax): void {
    const { scanner, problems } = this;
    scanner.take(includeStatement);
    const at = scanner.position;
    const required = scanner.take(/required\([^\S\n]*/iy) !== "";
    const file = scanner.take(/file\([^\S\n]*/iy) !== "";
    const path = scanner.char === '"' ? this.quoted() : "";
    const closed = scanner.take(/[^\S\n]*\)/y) !== "" || !(required || file);
    const closedTwice = !(required && file) || scanner.take(/[^\S\n]*\)/y) !== "";
    if (path === undefined) {
      scanner.skipMistake();
      return;
    }
    if (path === "" || !closed || !closedTwice) {
      problems.error(path === "" ? at : scanner.position, "an include cannot be read", {
        found: scanner.found(),
        expected: path === "" ? '`"file"`, `file("file")` or `required("file")`' : "`)`",
      });
      scanner.skipMistake();
      return;
    }
    const scope = this.path === undefined ? [] : [...this.fileScope, ...this.path];
    const included = this.include({ path, required, scope, nesting: this.nesting, at });
    if (included !== undefined) mergeInto(object, included);
  }
}

function joined(parts: readonly Part[], at: Position): Syntax {
  if (parts.length === 1) return parts[0]!.syntax;
  // Plain words become one string here: no need to remember them for later.
  if (parts.every(({ looks }) => looks === "unquoted" || looks === "quoted")) {
    return { kind: "string", text: parts.map(({ syntax }) => wordText(syntax)).join(""), at };
  }
  return { kind: "concatenation", parts: parts.map(({ syntax }) => syntax), at };
}

function wordText(syntax: Syntax): string {
  switch (syntax.kind) {
    case "string":
    case "number":
      return syntax.text;
    case "boolean":
      return String(syntax.value);
    default:
      return "null";
  }
}

function unquotedScalar(text: string, at: Position): Syntax {
  switch (text.toLowerCase()) {
    case "true":
    case "false":
      return { kind: "boolean", value: text.toLowerCase() === "true", at };
    case "null":
      return { kind: "null", at };
    default:
      return { kind: jsonNumber.test(text) ? "number" : "string", text, at };
  }
}

function keyText(key: readonly KeyPart[]): string {
  return key.map(({ name }) => (name.length > 40 ? `${name.slice(0, 40)}…` : name)).join(".");
}
