import type { Position } from "./value.ts";

/** Walks over a file's text and knows where it is. */
export class Scanner {
  readonly text: string;
  readonly file: string;
  offset = 0;
  private line = 1;
  private lineStart = 0;

  constructor(text: string, file: string) {
    // A byte order mark, as Windows editors leave it.
    this.text = text.startsWith("\uFEFF") ? text.slice(1) : text;
    this.file = file;
  }

  get position(): Position {
    return { file: this.file, line: this.line, column: this.offset - this.lineStart + 1 };
  }

  get atEnd(): boolean {
    return this.offset >= this.text.length;
  }

  /** The character here; empty at the end. */
  get char(): string {
    return this.text.charAt(this.offset);
  }

  get atLineEnd(): boolean {
    return this.atEnd || this.char === "\n";
  }

  startsWith(text: string): boolean {
    return this.text.startsWith(text, this.offset);
  }

  advance(count = 1): void {
    const end = Math.min(this.offset + count, this.text.length);
    for (; this.offset < end; this.offset++) {
      if (this.text.charCodeAt(this.offset) !== 10) continue;
      this.line++;
      this.lineStart = this.offset + 1;
    }
  }

  /** Takes what a sticky pattern matches here; the empty string when it does not. */
  take(pattern: RegExp): string {
    pattern.lastIndex = this.offset;
    const match = pattern.exec(this.text)?.[0] ?? "";
    this.advance(match.length);
    return match;
  }

  matches(pattern: RegExp): boolean {
    pattern.lastIndex = this.offset;
    return pattern.test(this.text);
  }

  /** White space on this line. */
  skipSpaces(): string {
    return this.take(/[^\S\n]+/y);
  }

  get atComment(): boolean {
    return this.char === "#" || this.startsWith("//");
  }

  /** White space, line ends, comments and commas: what may stand between two items. */
  skipBetweenItems(): void {
    for (;;) {
      this.take(/[\s,]+/y);
      if (!this.atComment) return;
      this.take(/[^\n]+/y);
    }
  }

  /** What stands here, in words for an error message. */
  found(): string {
    if (this.atEnd) return "the end of the file";
    if (this.char === "\n" || this.char === "\r") return "the end of the line";
    if (this.atComment) return "a comment";
    const word = /[^\s{}[\],="]{1,40}/y;
    word.lastIndex = this.offset;
    return `\`${word.exec(this.text)?.[0] ?? this.char}\``;
  }

  /**
   * Past a mistake: to the end of the line, or to the bracket that closes what we are in. Brackets opened on the way
   * are skipped with all they hold, so that one mistake makes one error.
   */
  skipMistake(): void {
    let open = 0;
    while (!this.atEnd) {
      if (this.atComment) this.take(/[^\n]+/y);
      else if (this.char === '"') this.take(/"""[\s\S]*?"""+|"(?:[^"\\\n]|\\.)*"?/y);
      else if (this.char === "{" || this.char === "[") {
        open++;
        this.advance();
      } else if (this.char === "}" || this.char === "]") {
        if (open === 0) return;
        open--;
        this.advance();
      } else if (this.char === "\n" && open === 0) return;
      else this.advance();
    }
  }
}
