/**
 * As much HTTP/1.1 as a webhook receiver under load needs: requests one behind the other on a kept connection, each
 * with a Content-Length. What was cut off is kept until the rest comes.
 */
export class HttpRequests {
  private pending: Buffer = Buffer.alloc(0);
  private readonly request: (body: Buffer, path: string) => void;

  /** `request` gets each body; its bytes hold until it returns. */
  constructor(request: (body: Buffer, path: string) => void) {
    this.request = request;
  }

  receive(chunk: Buffer): void {
    const bytes = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    let at = 0;
    for (;;) {
      const headEnd = bytes.indexOf("\r\n\r\n", at);
      if (headEnd < 0) break;
      const bodyAt = headEnd + 4;
      const head = bytes.toString("latin1", at, headEnd);
      const bodyEnd = bodyAt + contentLength(head);
      if (bodyEnd > bytes.length) break;
      this.request(bytes.subarray(bodyAt, bodyEnd), head.slice("POST ".length, head.indexOf(" HTTP/")));
      at = bodyEnd;
    }
    this.pending = at === bytes.length ? empty : Buffer.from(bytes.subarray(at));
  }
}

const empty = Buffer.alloc(0);

function contentLength(head: string): number {
  const found = /\r\ncontent-length: *(\d+)/i.exec(head);
  if (found === null) throw new Error(`a request without Content-Length: ${head.slice(0, 80)}`);
  return Number(found[1]);
}
