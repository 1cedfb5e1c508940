/** Bodies made smaller, on the thread pool of Node.js: nothing here holds up an event. */
import { brotliCompress, constants, gzip, type InputType } from "node:zlib";
import { compressionBytesMin, compressionsAtOnceMax } from "./limits.ts";

export type Compression = "none" | "gzip" | "br";

/** The body, smaller; `undefined`: it is sent as it is. */
type Compressed = (body: Uint8Array | undefined) => void;

/** For one endpoint. What waits for its turn is bounded by the attempts under way. */
export class Compressor {
  readonly encoding: Exclude<Compression, "none">;
  private readonly waiting: (() => void)[] = [];
  private underWay = 0;

  constructor(encoding: Exclude<Compression, "none">) {
    this.encoding = encoding;
  }

  /** Small ones are not worth it. */
  isFor({ length }: Uint8Array): boolean {
    return length >= compressionBytesMin;
  }

  /** Calls back later, always. */
  compress(body: Uint8Array, compressed: Compressed): void {
    this.waiting.push(() => {
      pack(this.encoding, body, (error, packed) => {
        this.underWay--;
        this.next();
        compressed(error === null && packed.length < body.length ? packed : undefined);
      });
    });
    this.next();
  }

  private next(): void {
    if (this.underWay >= compressionsAtOnceMax) return;
    const begin = this.waiting.shift();
    if (begin === undefined) return;
    this.underWay++;
    begin();
  }
}

function pack(
  encoding: Compressor["encoding"],
  body: InputType & Uint8Array,
  packed: (error: Error | null, result: Uint8Array) => void,
): void {
  switch (encoding) {
    case "gzip":
      return gzip(body, packed);
    case "br": {
      // The highest quality, zlib's default, takes a hundred times as long for a few percent.
      const params = { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_SIZE_HINT]: body.length };
      return brotliCompress(body, { params }, packed);
    }
    default:
      return encoding satisfies never;
  }
}
