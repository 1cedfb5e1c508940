/**
 * A receiver of HookMQ's webhooks: Node 20 or newer, no packages. Begin here and change `work`.
 *
 * A delivery is answered with 200 when its work is done and its `webhook-id` is on the disk. A crash between the two, or an
 * answer that is lost, brings it once more: the id tells what is done already, and for the moment between the two `work`
 * itself has to bear being done twice.
 *
 * Settings come from the environment: WEBHOOK_SECRET, HOST, PORT, STATE, REMEMBER_IDS. README.md beside this folder says more.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { promisify } from "node:util";
import { brotliDecompress, gunzip } from "node:zlib";

/** One event ends at 1 MiB. Twice that leaves room for a batch of `max_bytes = 1MB`; for a larger one, raise it. */
const bodyBytesMax = 2 * 1024 * 1024;
/** What is read of a body over the limit, and thrown away, so that the answer is heard; then the connection is cut. */
const discardedBytesMax = 16 * 1024 * 1024;
const timestampToleranceSeconds = 5 * 60;
/** Longer than the broker leaves a connection silent: it closes first, and no request meets a connection that is ending. */
const keepAliveMs = 30_000;
const stopMsMax = 4000;

/** The application's work: what `work` is given is one event. What it throws is answered with 500, and comes again. */
async function work(event, id) {
  await print(`${id} ${JSON.stringify(event)}`);
}

// --- a request and its answer ------------------------------------------------------------------------------------------------

/** An answer other than 200. */
class Refusal extends Error {
  constructor(status, because, headers = {}) {
    super(because);
    this.status = status;
    this.headers = headers;
  }
}

/** Deliveries at work, by id: the same one that comes again meanwhile waits for the first and gets its answer. */
const underWay = new Map();

async function receive(request, { key, seen }) {
  if (request.method !== "POST") throw new Refusal(405, "only POST is taken", { allow: "POST" });
  const body = await decoded(await read(request), request.headers["content-encoding"]);
  const id = request.headers["webhook-id"] ?? "";
  if (key !== undefined) verify(request.headers, body, key);
  // Letters, digits, `_` and `-`: a line of the file, and no `.` that could shift the parts of what is signed.
  if (!/^[\w-]{1,200}$/.test(id)) throw new Refusal(400, "webhook-id is missing, or is none");
  if (seen.has(id)) return note(`${id} came again: it is done already`);
  const first = underWay.get(id);
  if (first !== undefined) return await first;
  const events = eventsIn(body, request.headers["content-type"] ?? "");
  const done = workOff(events, id, seen).finally(() => underWay.delete(id));
  underWay.set(id, done);
  await done;
}

async function workOff(events, id, seen) {
  for (const event of events) await work(event, id);
  try {
    await seen.add(id);
  } catch (cause) {
    note(`the id of a delivery could not be written: ${cause.message}`);
    throw new Refusal(503, "busy: the id could not be written");
  }
}

/** Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, the body as it was before it was compressed. */
function verify(headers, body, key) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = headers["webhook-signature"];
  if (!id || !timestamp || !signatures) throw new Refusal(401, "the request is not signed");
  if (!/^\d{1,12}$/.test(timestamp)) throw new Refusal(401, "webhook-timestamp is no number of seconds");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > timestampToleranceSeconds) {
    throw new Refusal(401, "webhook-timestamp is more than 5 minutes off: are both clocks right?");
  }
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // While a secret is replaced there is one signature for each. Other versions than v1 are not for this key.
  const matches = signatures.split(" ").some((signature) => {
    if (!signature.startsWith("v1,")) return false;
    const given = Buffer.from(signature.slice(3), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!matches) throw new Refusal(401, "no signature matches: is it the same secret?");
}

async function read(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
    else chunks.length = 0;
    if (bytes > discardedBytesMax) break;
  }
  if (bytes > bodyBytesMax) throw new Refusal(413, `a body may have ${bodyBytesMax} bytes`);
  return Buffer.concat(chunks);
}

const decoders = { gzip: promisify(gunzip), br: promisify(brotliDecompress) };

async function decoded(body, encoding = "identity") {
  const name = encoding.trim().toLowerCase();
  if (name === "identity") return body;
  if (!Object.hasOwn(decoders, name)) throw new Refusal(415, "gzip and br are the encodings that are read");
  try {
    return await decoders[name](body, { maxOutputLength: bodyBytesMax });
  } catch (cause) {
    if (cause.code === "ERR_BUFFER_TOO_LARGE")
      throw new Refusal(413, `a body may have ${bodyBytesMax} bytes, unpacked`);
    throw new Refusal(400, `the body is no whole ${name}`);
  }
}

/** One event, a JSON array of them, or one a line. */
function eventsIn(body, contentType) {
  let events;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    if (/ndjson|jsonl/i.test(contentType)) {
      events = text.split("\n").filter((line) => line.trim() !== "");
      events = events.map((line) => JSON.parse(line));
    } else {
      events = [JSON.parse(text)].flat();
    }
  } catch {
    throw new Refusal(400, "the body is no JSON");
  }
  if (events.some((event) => typeof event !== "object" || event === null || Array.isArray(event))) {
    throw new Refusal(400, "an event is a JSON object");
  }
  return events;
}

// --- ids that were done, on the disk -----------------------------------------------------------------------------------------

/**
 * `ids` holds one id a line; when it has `max` of them it becomes `ids.1`, and the former `ids.1` is forgotten: so the last
 * `max` are always known, and never more than twice as many are kept. For one process: a second would not see what is added.
 */
class SeenIds {
  static async open(folder, max) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const seen = new SeenIds(folder, max);
    seen.older = new Set((await linesOf(path.join(folder, "ids.1"))).lines);
    const { lines, bytes } = await linesOf(path.join(folder, "ids"));
    seen.newer = new Set(lines);
    seen.file = await open(path.join(folder, "ids"), "a", 0o600);
    // A line that a crash has cut short was never answered for.
    await seen.file.truncate(bytes);
    seen.bytes = bytes;
    await syncFolder(folder);
    return seen;
  }

  constructor(folder, max) {
    this.folder = folder;
    this.max = max;
    this.renamed = false;
    this.last = Promise.resolve();
  }

  has(id) {
    return this.newer.has(id) || this.older.has(id);
  }

  /** Resolves when the id is on the disk. One after another. */
  add(id) {
    const added = this.last.then(() => this.append(id));
    this.last = added.catch(() => {});
    return added;
  }

  async close() {
    await this.last;
    await this.file.close();
  }

  async append(id) {
    if (this.newer.size >= this.max) await this.rotate();
    const line = Buffer.from(`${id}\n`);
    try {
      await this.file.appendFile(line);
      await this.file.datasync();
    } catch (error) {
      // Half a line would spoil the next one.
      await this.file.truncate(this.bytes);
      throw error;
    }
    this.bytes += line.length;
    this.newer.add(id);
  }

  async rotate() {
    const [current, former] = [path.join(this.folder, "ids"), path.join(this.folder, "ids.1")];
    // A step that fails is made again with the next id; a second rename would put the new, empty file over the ids.
    if (!this.renamed) await rename(current, former);
    this.renamed = true;
    const file = await open(current, "a", 0o600);
    await syncFolder(this.folder).catch(async (error) => {
      await file.close();
      throw error;
    });
    await this.file.close();
    this.renamed = false;
    [this.file, this.bytes, this.older, this.newer] = [file, 0, this.newer, new Set()];
  }
}

async function linesOf(file) {
  const text = await readFile(file, "latin1").catch((error) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const bytes = text.lastIndexOf("\n") + 1;
  return { lines: text.slice(0, bytes).split("\n").slice(0, -1), bytes };
}

async function syncFolder(folder) {
  // Windows has no such thing.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  await handle.sync().finally(() => handle.close());
}

// --- start and stop ----------------------------------------------------------------------------------------------------------

function settings(env) {
  const [host, port, state] = [env.HOST ?? "127.0.0.1", Number(env.PORT ?? 8888), env.STATE ?? "receiver-state"];
  const max = Number(env.REMEMBER_IDS ?? 100_000);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error("PORT is a number up to 65535");
  if (!Number.isInteger(max) || max < 1 || max > 5_000_000)
    throw new Error("REMEMBER_IDS is a number from 1 to 5000000");
  return { host, port, state, max, key: keyOf(env.WEBHOOK_SECRET) };
}

/** The bytes that `whsec_…` stands for. An empty secret is a mistake, not a wish for none. */
function keyOf(secret) {
  if (secret === undefined) return undefined;
  const text = secret.replace(/^whsec_/, "");
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) || text === "") {
    throw new Error(
      "WEBHOOK_SECRET is whsec_ and base64, as in the broker's configuration; unset it to take everything",
    );
  }
  return Buffer.from(text, "base64");
}

async function main() {
  const { host, port, state, max, key } = settings(process.env);
  const seen = await SeenIds.open(state, max);
  if (key === undefined) note("WARNING: WEBHOOK_SECRET is not set, so whoever reaches this port is believed");
  let stopping = false;

  const server = createServer({ keepAliveTimeout: keepAliveMs, requestTimeout: 60_000 }, (request, response) => {
    const answer = (status, text, headers) => {
      // What is left of a request that was not read to its end cannot be told from the next one.
      const last = stopping || !request.complete;
      response.writeHead(status, { "content-type": "text/plain", ...headers, ...(last && { connection: "close" }) });
      response.end(`${text}\n`);
    };
    receive(request, { key, seen }).then(
      () => answer(200, "ok"),
      (error) => {
        // It went away in the middle of its request.
        if (request.destroyed && !request.complete) return response.destroy();
        const known = error instanceof Refusal;
        note(known ? `answered ${error.status}: ${error.message}` : `answered 500: ${error.stack}`);
        answer(known ? error.status : 500, known ? error.message : "the work failed", error.headers);
      },
    );
  });

  const stop = () => {
    if (stopping) return;
    stopping = true;
    // What is under way is finished; for what hangs there is an end.
    setTimeout(() => server.closeAllConnections(), stopMsMax).unref();
    server.close(() => void seen.close());
  };
  process.on("SIGTERM", stop).on("SIGINT", stop);
  server.on("error", fail);
  server.listen(port, host, () => {
    const { address, family, port: taken } = server.address();
    void print(`Receiver is listening on http://${family === "IPv6" ? `[${address}]` : address}:${taken}`);
  });
}

/** Done when whoever reads it has it: the standard output may be a pipe that has ended. */
function print(line) {
  return new Promise((resolve, reject) => {
    process.stdout.write(`${line}\n`, (error) => (error ? reject(error) : resolve()));
  });
}

function note(line) {
  process.stderr.write(`${line}\n`);
}

function fail(error) {
  note(`The receiver does not start: ${error.message}`);
  process.exit(1);
}

// `print` tells of it.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});
main().catch(fail);
