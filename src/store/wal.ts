/**
 * SQLite's write-ahead log as it lies on the disk, read without SQLite: SQLite passes over a log that is damaged as if
 * nothing had ever been in it, and everything acknowledged since the last checkpoint would go without a word.
 *
 *   header (32 bytes): magic, version, page size, sequence, two salts, checksum
 *   frames:            page number, pages of the file (in the last frame of a transaction), the salts, checksum; the page
 *
 * Each checksum goes on from the one before it. Frames behind the last one are left from earlier rounds, under other salts.
 * https://sqlite.org/fileformat2.html#walformat
 */
import { closeSync, openSync, readSync } from "node:fs";

const headerBytes = 32;
const frameHeaderBytes = 24;
const magicLittleEndian = 0x377f0682;
const magicBigEndian = 0x377f0683;

/** What a log holds, whatever of it SQLite itself would still read. */
export interface Wal {
  /** Where each page's newest bytes are, of transactions that came to their end. */
  readonly pages: ReadonlyMap<number, number>;
  /** The pages of the data file after the last of them; `undefined` when there is none. */
  readonly pageCount: number | undefined;
  readonly pageSize: number | undefined;
  /** Its header is not one: SQLite reads nothing of it. */
  readonly headerIsBroken: boolean;
  /** Frames that are damaged themselves. */
  readonly brokenFrames: number;
  /** Of transactions behind the first broken frame that were complete: SQLite does not read them. */
  readonly framesCutOff: number;
}

type Checksum = readonly [number, number];

interface Header {
  bigEndian: boolean;
  salt: bigint;
  checksum: Checksum | undefined;
}

/** `undefined` when there is no log, or nothing was ever written to it. `pageSize` is asked for when its header is broken. */
export function readWal(file: string, pageSize?: number): Wal | undefined {
  return withFile(file, (descriptor) => read(descriptor, pageSize));
}

/** A look at its beginning alone. */
export function hasBrokenHeader(file: string): boolean {
  const head = withFile(file, readHead);
  return head !== undefined && headerOf(head) === undefined;
}

/** In words; empty when SQLite reads all of it. */
export function faultsOfWal(wal: Wal | undefined): string[] {
  if (wal === undefined) return [];
  if (wal.headerIsBroken) return ["the write-ahead log has no valid header: nothing in it would be read"];
  if (wal.framesCutOff === 0) return [];
  return [
    `the write-ahead log is broken: ${wal.framesCutOff} pages written behind that would not be read ` +
      "(with store.sync = interval or none, a power cut may do that)",
  ];
}

function withFile<Answer>(file: string, ask: (descriptor: number) => Answer): Answer | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return ask(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function read(descriptor: number, pageSizeOfFile: number | undefined): Wal | undefined {
  const head = readHead(descriptor);
  if (head === undefined) return undefined;
  let header = headerOf(head);
  const headerIsBroken = header === undefined;
  const pageSize = header === undefined ? pageSizeOfFile : head.readUInt32BE(8);
  const nothing = { pages: new Map(), pageCount: undefined, pageSize, brokenFrames: 0, framesCutOff: 0 };
  if (pageSize === undefined) return { ...nothing, headerIsBroken };
  header ??= guessHeader(descriptor, pageSize);
  if (header === undefined) return { ...nothing, headerIsBroken };
  return { ...readFrames(descriptor, pageSize, header), pageSize, headerIsBroken };
}

/** A crash as the log begins leaves it short, or a file of zeros: nothing was in it yet. */
function readHead(descriptor: number): Buffer | undefined {
  const head = Buffer.alloc(headerBytes);
  const length = readSync(descriptor, head, 0, headerBytes, 0);
  return length < headerBytes || head.every((byte) => byte === 0) ? undefined : head;
}

function headerOf(head: Buffer): Header | undefined {
  const magic = head.readUInt32BE(0);
  const pageSize = head.readUInt32BE(8);
  if (magic !== magicLittleEndian && magic !== magicBigEndian) return undefined;
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return undefined;
  const bigEndian = magic === magicBigEndian;
  const checksum = checksumOf(head.subarray(0, 24), [0, 0], bigEndian);
  if (!same(checksum, [head.readUInt32BE(24), head.readUInt32BE(28)])) return undefined;
  return { bigEndian, salt: head.readBigUInt64BE(16), checksum };
}

/** From the first two frames that follow on each other. A log of one frame has none. */
function guessHeader(descriptor: number, pageSize: number): Header | undefined {
  let before: Buffer | undefined;
  for (const frame of frames(descriptor, pageSize)) {
    for (const bigEndian of [false, true]) {
      if (before === undefined || saltOf(frame) !== saltOf(before)) continue;
      if (!same(checksumOfFrame(frame, storedChecksum(before), bigEndian), storedChecksum(frame))) continue;
      return { bigEndian, salt: saltOf(frame), checksum: undefined };
    }
    before = Buffer.from(frame);
  }
  return undefined;
}

interface Transaction {
  pages: [pageNumber: number, offset: number][];
  brokenFrames: number;
}

function readFrames(descriptor: number, pageSize: number, { bigEndian, salt, checksum }: Header) {
  const pages = new Map<number, number>();
  let pageCount: number | undefined;
  let brokenFrames = 0;
  let framesCutOff = 0;
  let transaction: Transaction = { pages: [], brokenFrames: 0 };
  /** Complete but for a gap. As the very last it was never acknowledged: only what follows shows that it was. */
  let doubtful: { transaction: Transaction; pageCount: number } | undefined;
  const take = (taken: Transaction, pagesAfter: number, isCutOff: boolean) => {
    for (const [number, at] of taken.pages) pages.set(number, at);
    pageCount = pagesAfter;
    brokenFrames += taken.brokenFrames;
    if (isCutOff) framesCutOff += taken.pages.length;
  };
  let seed = checksum;
  let hasGap = false;
  let index = 0;
  for (const frame of frames(descriptor, pageSize)) {
    const offset = headerBytes + index++ * (frameHeaderBytes + pageSize) + frameHeaderBytes;
    if (saltOf(frame) !== salt) {
      // Left from an earlier round; or broken, when more of ours follow.
      transaction.brokenFrames++;
      seed = undefined;
      continue;
    }
    const isWhole = seed === undefined || same(checksumOfFrame(frame, seed, bigEndian), storedChecksum(frame));
    if (isWhole) transaction.pages.push([frame.readUInt32BE(0), offset]);
    else transaction.brokenFrames++;
    seed = storedChecksum(frame);
    const pagesAfter = frame.readUInt32BE(4);
    if (pagesAfter === 0) continue;
    if (doubtful !== undefined) take(doubtful.transaction, doubtful.pageCount, true);
    doubtful = transaction.brokenFrames > 0 ? { transaction, pageCount: pagesAfter } : undefined;
    if (doubtful === undefined) take(transaction, pagesAfter, hasGap);
    else hasGap = true;
    transaction = { pages: [], brokenFrames: 0 };
  }
  return { pages, pageCount, brokenFrames, framesCutOff };
}

/** Each with its header; the buffer is the same again and again. What is cut short at the end is none. */
function* frames(descriptor: number, pageSize: number): Generator<Buffer> {
  const frame = Buffer.alloc(frameHeaderBytes + pageSize);
  for (let at = headerBytes; readSync(descriptor, frame, 0, frame.length, at) === frame.length; at += frame.length) {
    yield frame;
  }
}

function saltOf(frame: Buffer): bigint {
  return frame.readBigUInt64BE(8);
}

function storedChecksum(frame: Buffer): Checksum {
  return [frame.readUInt32BE(16), frame.readUInt32BE(20)];
}

function checksumOfFrame(frame: Buffer, seed: Checksum, bigEndian: boolean): Checksum {
  const ofHeader = checksumOf(frame.subarray(0, 8), seed, bigEndian);
  return checksumOf(frame.subarray(frameHeaderBytes), ofHeader, bigEndian);
}

function checksumOf(bytes: Buffer, [first, second]: Checksum, bigEndian: boolean): Checksum {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let a = first;
  let b = second;
  for (let at = 0; at < bytes.length; at += 8) {
    a = (a + view.getUint32(at, !bigEndian) + b) >>> 0;
    b = (b + view.getUint32(at + 4, !bigEndian) + a) >>> 0;
  }
  return [a, b];
}

function same([a, b]: Checksum, [c, d]: Checksum): boolean {
  return a === c && b === d;
}
