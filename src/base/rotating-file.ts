import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import path from "node:path";

export interface RotatingFileOptions {
  path: string;
  /** Before a line would make the file larger than this, the file is put aside. */
  rotateBytes: number;
  /** `<path>.1`, the youngest, to `<path>.<n>`; 0: the file starts anew. */
  rotatedFilesMax: number;
}

/**
 * A file of lines that puts itself aside when it is full. Each line is written before `write` returns, so that the last
 * words of a crash are there. A disk that refuses costs lines, counted, and never the caller.
 */
export class RotatingFile {
  private readonly options: RotatingFileOptions;
  private descriptor: number | undefined;
  private bytes = 0;
  private lostLines = 0;

  constructor(options: RotatingFileOptions) {
    this.options = options;
    // The first opening may fail loudly: a log file that cannot be had is a mistake in the configuration.
    mkdirSync(path.dirname(options.path), { recursive: true });
    this.open();
  }

  write(line: string): void {
    try {
      const bytes = Buffer.from(this.lostLines > 0 ? `${this.lostLines} lines were lost\n${line}` : line);
      if (this.descriptor === undefined) this.open();
      if (this.bytes > 0 && this.bytes + bytes.length > this.options.rotateBytes) this.rotate();
      this.bytes += writeSync(this.descriptor!, bytes);
      this.lostLines = 0;
    } catch {
      this.lostLines++;
    }
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor);
    this.descriptor = undefined;
  }

  private open(): void {
    this.descriptor = openSync(this.options.path, "a");
    this.bytes = fstatSync(this.descriptor).size;
  }

  private rotate(): void {
    const { path: name, rotatedFilesMax } = this.options;
    this.close();
    const aside = (number: number) => (number === 0 ? name : `${name}.${number}`);
    rmSync(aside(rotatedFilesMax), { force: true });
    for (let number = rotatedFilesMax - 1; number >= 0; number--) {
      try {
        renameSync(aside(number), aside(number + 1));
      } catch (cause) {
        // A gap in the row is no harm.
        if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
      }
    }
    this.open();
  }
}
