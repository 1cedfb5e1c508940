/** Where a command writes records, a line of JSON each: a file that was not there before, or the standard output. */
import { createWriteStream, openSync } from "node:fs";

/** Gathered before it is written. */
const chunkLength = 64 * 1024;

export class RecordOutput {
  private readonly stream: NodeJS.WritableStream;
  private readonly isFile: boolean;
  private text = "";
  records = 0;

  /**
   * Without a file: the standard output, which stays open. What is written is for the broker's user alone. Throws when the
   * file cannot be made.
   */
  constructor(file: string | undefined, stdout: NodeJS.WritableStream) {
    this.isFile = file !== undefined;
    this.stream = file === undefined ? stdout : createWriteStream(file, { fd: openSync(file, "wx", 0o600) });
    // Told by whoever writes; between two writes as well there is somebody to hear it.
    if (this.isFile) this.stream.on("error", () => {});
  }

  async add(record: unknown): Promise<void> {
    this.text += `${JSON.stringify(record)}\n`;
    this.records++;
    if (this.text.length >= chunkLength) await this.flush();
  }

  async end(): Promise<void> {
    await this.flush();
    if (this.isFile) await new Promise<void>((resolve) => this.stream.end(resolve));
  }

  private flush(): Promise<void> {
    const { stream, text } = this;
    this.text = "";
    return new Promise((resolve, reject) => {
      stream.once("error", reject);
      stream.write(text, (error) => {
        stream.off("error", reject);
        if (error) reject(error);
        else resolve();
      });
    });
  }
}
