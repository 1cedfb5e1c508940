/**
 * A data file of SQLite read page by page, without SQLite: what can be read of it is, however damaged the rest. Never
 * writes, and trusts nothing that a page says.
 *
 * Pages come from the write-ahead log where that has newer ones. A table is found from its root page downwards; what a
 * lost page leaves out of reach is found through the pointer map, which names the parent of each page.
 * https://sqlite.org/fileformat2.html
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { readWal, type Wal } from "./wal.ts";

type SqliteValue = null | number | bigint | string | Uint8Array;

/** The rowid is `undefined` in tables without. */
export interface SqliteRecord {
  rowid: number | bigint | undefined;
  values: SqliteValue[];
}

/** What of a table could not be read. */
export interface Loss {
  pages: number;
  records: number;
}

/** Tables without rowid are kept as indexes are. */
export type TreeKind = "table" | "index";

/** Of the 100 bytes at the beginning of the file. */
export interface FileHeader {
  pageSize: number;
  /** `undefined` where that is not to be believed. */
  pageCount: number | undefined;
  format: number;
  applicationId: number;
}

const magic = Buffer.from("SQLite format 3\0", "latin1");
const fileHeaderBytes = 100;
/** Where the header is broken: ours have no other. */
const usualPageSize = 4096;

/** 64 GiB of usual pages: each takes five bytes of memory here. */
const pagesBelievedMax = 2 ** 24;

const interiorIndex = 2;
const interiorTable = 5;
const leafIndex = 10;
const leafTable = 13;

/** Kinds of pages in the pointer map. */
const rootOfTree = 1;
const partOfTree = 5;

/** A record larger than any that SQLite writes by itself is a misread length. */
const recordBytesMax = 1024 * 1024 * 1024;

export class SqlitePages {
  readonly header: FileHeader | undefined;
  readonly wal: Wal | undefined;
  readonly pageSize: number;
  readonly pageCount: number;
  private readonly descriptor: number;
  private readonly walDescriptor: number | undefined;
  private readonly usableBytes: number;
  private parents: Int32Array | undefined;

  /** Closing it lets go of every lock that this process has on the file: close what holds one before. */
  constructor(file: string) {
    this.descriptor = openSync(file, "r");
    const { size } = fstatSync(this.descriptor);
    const ofFile = headerOf(this.bytesAt(this.descriptor, 0, fileHeaderBytes));
    this.wal = readWal(`${file}-wal`, ofFile?.pageSize ?? usualPageSize);
    this.walDescriptor = this.wal === undefined ? undefined : openSync(`${file}-wal`, "r");
    this.pageSize = ofFile?.pageSize ?? this.wal?.pageSize ?? usualPageSize;
    const pagesOfFile = Math.ceil(size / this.pageSize);
    // One that was cut short tells how long it was.
    this.pageCount = this.wal?.pageCount ?? Math.max(pagesOfFile, ofFile?.pageCount ?? 0);
    // Bytes at the end of each page that SQLite leaves to others: ours reserve none.
    this.usableBytes = this.pageSize;
    const first = this.page(1);
    this.header = first === undefined ? undefined : headerOf(first);
  }

  close(): void {
    closeSync(this.descriptor);
    if (this.walDescriptor !== undefined) closeSync(this.walDescriptor);
  }

  /** All records of the table with this root page, in its order where nothing is lost; what is lost is added up in `loss`. */
  *records(root: number, tree: TreeKind, loss: Loss): Generator<SqliteRecord> {
    const visited = new Uint8Array(this.pageCount + 1);
    yield* this.below(root, tree, visited, loss);
    for (let page = 2; page <= this.pageCount; page++) {
      // Only where something is amiss is one not visited yet.
      if (visited[page] === 0 && this.rootAbove(page) === root) yield* this.below(page, tree, visited, loss);
    }
  }

  private *below(top: number, tree: TreeKind, visited: Uint8Array, loss: Loss): Generator<SqliteRecord> {
    const open = [top];
    for (let number = open.pop(); number !== undefined; number = open.pop()) {
      if (visited[number] !== 0) continue;
      visited[number] = 1;
      const page = this.page(number);
      const start = number === 1 ? fileHeaderBytes : 0;
      const kind = page?.[start];
      const isOfTree =
        tree === "table" ? kind === interiorTable || kind === leafTable : kind === interiorIndex || kind === leafIndex;
      const cells = page === undefined || !isOfTree ? undefined : cellsOf(page, start, loss);
      if (page === undefined || cells === undefined) {
        loss.pages++;
        continue;
      }
      if (kind === interiorIndex || kind === interiorTable) {
        const children = [...cells.map((at) => page.readUInt32BE(at)), page.readUInt32BE(start + 8)];
        open.push(...children.filter((child) => this.mayBeChild(child, number)).reverse());
      }
      if (kind === interiorTable) continue;
      for (const at of cells) {
        const record = this.record(page, kind === interiorIndex ? at + 4 : at, kind === leafTable);
        if (record === undefined) loss.records++;
        else yield record;
      }
    }
  }

  private record(page: Buffer, start: number, hasRowid: boolean): SqliteRecord | undefined {
    const [length, afterLength] = readVarint(page, start);
    const [rowid, payloadStart] = hasRowid ? readVarint(page, afterLength) : [undefined, afterLength];
    if (typeof length === "bigint" || length > recordBytesMax) return undefined;
    const payload = this.payload(page, payloadStart, length, hasRowid);
    const values = payload === undefined ? undefined : decodeRecord(payload);
    return values === undefined ? undefined : { rowid, values };
  }

  /** With what has overflown into pages of its own. */
  private payload(page: Buffer, start: number, length: number, isTable: boolean): Buffer | undefined {
    const usable = this.usableBytes;
    const localMax = isTable ? usable - 35 : Math.floor(((usable - 12) * 64) / 255) - 23;
    if (length <= localMax) return start + length > usable ? undefined : page.subarray(start, start + length);
    const localMin = Math.floor(((usable - 12) * 32) / 255) - 23;
    const fitting = localMin + ((length - localMin) % (usable - 4));
    const local = fitting <= localMax ? fitting : localMin;
    if (start + local + 4 > usable || length > this.pageCount * this.pageSize) return undefined;
    const parts = [page.subarray(start, start + local)];
    let next = page.readUInt32BE(start + local);
    for (let left = length - local; left > 0; ) {
      const overflow = this.page(next);
      if (overflow === undefined) return undefined;
      parts.push(overflow.subarray(4, 4 + Math.min(left, usable - 4)));
      left -= usable - 4;
      next = overflow.readUInt32BE(0);
    }
    return Buffer.concat(parts, length);
  }

  /** A pointer that the pointer map contradicts is a broken one. */
  private mayBeChild(child: number, parent: number): boolean {
    if (child < 2 || child > this.pageCount) return false;
    const known = this.parentsOf()[child];
    return known === unknown || known === parent;
  }

  private rootAbove(page: number): number | undefined {
    const parents = this.parentsOf();
    let above = page;
    // No tree is deeper; a broken map may run in circles.
    for (let depth = 0; depth < 40; depth++) {
      const parent = parents[above];
      if (parent === isRoot) return above === page ? undefined : above;
      if (parent <= 0 || parent > this.pageCount) return undefined;
      above = parent;
    }
    return undefined;
  }

  /** From the pointer map; without one in the file nothing is known. */
  private parentsOf(): Int32Array {
    if (this.parents !== undefined) return this.parents;
    const parents = new Int32Array(this.pageCount + 1).fill(unknown);
    this.parents = parents;
    const first = this.page(1);
    parents[1] = isRoot;
    const hasMap = first === undefined || headerOf(first) === undefined || first.readUInt32BE(52) !== 0;
    if (!hasMap) return parents;
    const entriesPerPage = Math.floor(this.usableBytes / 5);
    for (let map = 2; map <= this.pageCount; map += entriesPerPage + 1) {
      parents[map] = isOther;
      const page = this.page(map);
      for (let entry = 0; page !== undefined && entry < entriesPerPage; entry++) {
        const number = map + 1 + entry;
        if (number > this.pageCount) break;
        const kind = page[entry * 5];
        if (kind === partOfTree) parents[number] = page.readUInt32BE(entry * 5 + 1) | 0;
        else if (kind === rootOfTree) parents[number] = isRoot;
        else if (kind > 1 && kind < partOfTree) parents[number] = isOther;
      }
    }
    return parents;
  }

  private page(number: number): Buffer | undefined {
    if (number < 1 || number > this.pageCount) return undefined;
    const inWal = this.wal?.pages.get(number);
    const bytes =
      inWal === undefined
        ? this.bytesAt(this.descriptor, (number - 1) * this.pageSize, this.pageSize)
        : this.bytesAt(this.walDescriptor!, inWal, this.pageSize);
    return bytes.length === this.pageSize ? bytes : undefined;
  }

  /** Fewer at the end of the file, or where the disk itself fails. */
  private bytesAt(descriptor: number, at: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    try {
      return bytes.subarray(0, readSync(descriptor, bytes, 0, length, at));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EIO") return bytes.subarray(0, 0);
      throw error;
    }
  }
}

/** In place of a parent. */
const unknown = 0;
const isRoot = -1;
const isOther = -2;

/** `undefined` when it cannot be one. */
function headerOf(bytes: Buffer): FileHeader | undefined {
  if (bytes.length < fileHeaderBytes || Buffer.compare(bytes.subarray(0, 16), magic) !== 0) return undefined;
  const stored = bytes.readUInt16BE(16);
  const pageSize = stored === 1 ? 65_536 : stored;
  if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0) return undefined;
  // Fractions of a page that are always these.
  if (bytes[21] !== 64 || bytes[22] !== 32 || bytes[23] !== 32) return undefined;
  const pages = bytes.readUInt32BE(28);
  // Programs that do not keep it leave the second of these counters behind the first.
  const isKept = bytes.readUInt32BE(24) === bytes.readUInt32BE(92) && pages <= pagesBelievedMax;
  const pageCount = isKept ? pages : undefined;
  return { pageSize, pageCount, format: bytes.readUInt32BE(60), applicationId: bytes.readUInt32BE(68) };
}

/** Where the cells of a page of a tree begin; `undefined` when it makes no sense as one. */
function cellsOf(page: Buffer, start: number, loss: Loss): number[] | undefined {
  const isInterior = page[start] === interiorIndex || page[start] === interiorTable;
  const count = page.readUInt16BE(start + 3);
  const pointers = start + (isInterior ? 12 : 8);
  const end = pointers + count * 2;
  if (end > page.length) return undefined;
  const cells: number[] = [];
  for (let at = pointers; at < end; at += 2) {
    const cell = page.readUInt16BE(at);
    if (cell >= end && cell <= page.length - 4) cells.push(cell);
  }
  if (cells.length === 0 && count > 0) return undefined;
  loss.records += count - cells.length;
  return cells;
}

/** Up to nine bytes, the high ones first. A negative number, or one beyond what a number holds, comes as a bigint. */
function readVarint(bytes: Buffer, start: number): [value: number | bigint, end: number] {
  let value = 0;
  for (let index = 0; index < 7; index++) {
    const byte = bytes[start + index] ?? 0;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return [value, start + index + 1];
  }
  let large = BigInt(value);
  for (let index = 7; index < 9; index++) {
    const byte = BigInt(bytes[start + index] ?? 0);
    large = index === 8 ? (large << 8n) | byte : (large << 7n) | (byte & 0x7fn);
    if (index === 8 || byte < 0x80n) return [narrow(BigInt.asIntN(64, large)), start + index + 1];
  }
  return [narrow(large), start + 9];
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** `undefined` when the bytes are no record. */
function decodeRecord(bytes: Buffer): SqliteValue[] | undefined {
  const [headerEnd, first] = readVarint(bytes, 0);
  if (typeof headerEnd === "bigint" || headerEnd < 2 || headerEnd > bytes.length) return undefined;
  const values: SqliteValue[] = [];
  let at = headerEnd;
  for (let cursor = first; cursor < headerEnd; ) {
    const [type, next] = readVarint(bytes, cursor);
    cursor = next;
    if (typeof type === "bigint") return undefined;
    const length = lengthOf(type);
    if (length === undefined || at + length > bytes.length) return undefined;
    const value = readValue(type, bytes, at, length);
    if (value === undefined) return undefined;
    values.push(value);
    at += length;
  }
  // A record fills its cell: anything else has been read from the wrong place.
  return at === bytes.length ? values : undefined;
}

function lengthOf(type: number): number | undefined {
  if (type >= 12) return Math.floor((type - 12) / 2);
  return [0, 1, 2, 3, 4, 6, 8, 8, 0, 0][type];
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function readValue(type: number, bytes: Buffer, at: number, length: number): SqliteValue | undefined {
  switch (type) {
    case 0:
      return null;
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
      return bytes.readIntBE(at, length);
    case 6:
      return narrow(bytes.readBigInt64BE(at));
    case 7:
      return bytes.readDoubleBE(at);
    case 8:
    case 9:
      return type - 8;
    default: {
      const content = bytes.subarray(at, at + length);
      if (type % 2 === 0) return Uint8Array.from(content);
      try {
        return utf8.decode(content);
      } catch {
        return undefined;
      }
    }
  }
}
