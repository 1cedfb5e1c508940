/**
 * What a disk may hold after a power cut: a recording is played into a `Disk` step by step, and `cut()` may be asked for at
 * any step. What is assumed, and what is not:
 *
 * - A sync of a file that has returned covers the bytes and the length that the file had when it began. It covers nothing of
 *   other files. With `names = "own"` (no more than POSIX says) it does not cover the file's name either: what was made,
 *   renamed or removed in a folder is safe once that folder was synced. With `names = "any"` it covers all names there were,
 *   as the journals of ext4 and XFS do.
 * - Every other write has reached the disk, or has not, or in part: by sectors of 512 bytes, in any order, over several
 *   writes and files. A sector holds what it held in memory after one of the writes since the last sync: older bytes never
 *   replace newer ones, and bytes beside what was written are not harmed (SQLite calls that "powersafe overwrite").
 * - A file that has grown may have its new length without its new bytes: zeros then (ext4 with data=ordered, the default, and
 *   XFS; never someone else's old bytes). A truncation may be lost though writes after it are not.
 * - Of the names changed in one folder since its last sync, the first so many are there, whatever became of the files.
 * - A disk that lies about syncs, or forgets what it has, is not modelled.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Random } from "../../fault/random.ts";
import type { Snapshot, Step } from "./recording.ts";

export interface DiskOptions {
  /** All of it was safe when the recording began. */
  before: Snapshot;
  names: "own" | "any";
}

/** A folder as found after the cut: paths relative to the recorded one, `undefined` for a folder. */
export type Image = Map<string, Buffer | undefined>;

export function writeImage(image: Image, target: string): void {
  mkdirSync(target, { recursive: true });
  for (const [name, bytes] of image) {
    if (bytes === undefined) mkdirSync(path.join(target, name));
    else writeFileSync(path.join(target, name), bytes);
  }
}

const sectorBytes = 512;

export class Disk {
  private readonly options: DiskOptions;
  private readonly root = new Folder();
  /** By inode, as it is at present. */
  private readonly nodes = new Map<number, Folder | File>();
  /** By thread: the step at which its sync began. */
  private readonly syncing = new Map<number, number>();
  private step = 0;

  constructor(options: DiskOptions) {
    this.options = options;
    const [{ inode }, ...found] = options.before.found;
    this.nodes.set(inode, this.root);
    for (const { path: absolute, inode, bytes } of found) {
      const folder = this.find(path.dirname(absolute)) as Folder;
      folder.safe.set(path.basename(absolute), this.make(inode, bytes === undefined ? new Folder() : new File(bytes)));
    }
  }

  play(step: Step): void {
    this.step++;
    switch (step.type) {
      case "created":
        return this.name(step.path, this.make(step.inode, new File()));
      case "folder-created":
        return this.name(step.path, this.make(step.inode, new Folder()));
      case "unlinked":
      case "folder-removed":
        return this.name(step.path, undefined);
      case "renamed": {
        const moved = this.find(step.path);
        // One operation of two names: where they are in one folder, `Folder.names` keeps them together.
        this.name(step.path, undefined);
        return this.name(step.to, moved);
      }
      case "written":
        return this.file(step.inode).change({ at: this.step, offset: step.offset, bytes: step.bytes });
      case "truncated":
        return this.file(step.inode).change({ at: this.step, size: step.size });
      case "sync-begun":
        this.syncing.set(step.thread, this.step);
        return;
      case "synced":
        return this.synced(step.inode, this.syncing.get(step.thread)!);
      case "noted":
        return;
      default:
        return step satisfies never;
    }
  }

  /** The power goes now. */
  cut(random: Random): Image {
    // Some cuts find a disk that was far ahead, some one that was far behind.
    const shareKept = random.pick([0, 1, random.next(), random.next(), random.next()]);
    return this.image(
      (folder) => folder.afterCut(shareKept, random),
      (file) => file.afterCut(shareKept, random),
    );
  }

  /** As the process sees it. */
  present(): Image {
    return this.image(
      (folder) => folder.present(),
      (file) => file.present(),
    );
  }

  private image(names: (folder: Folder) => ReadonlyMap<string, Node>, content: (file: File) => Buffer): Image {
    const image: Image = new Map();
    const add = (folder: Folder, at: string) => {
      for (const [name, node] of names(folder)) {
        image.set(path.join(at, name), node instanceof File ? content(node) : undefined);
        if (node instanceof Folder) add(node, path.join(at, name));
      }
    };
    add(this.root, "");
    return image;
  }

  private make<Made extends Node>(inode: number, node: Made): Made {
    this.nodes.set(inode, node);
    return node;
  }

  private file(inode: number): File {
    const node = this.nodes.get(inode);
    if (!(node instanceof File)) throw new Error(`inode ${inode} is no file that the recording knows`);
    return node;
  }

  private name(absolute: string, node: Node | undefined): void {
    const folder = this.find(path.dirname(absolute));
    if (!(folder instanceof Folder)) throw new Error(`${absolute} is in no folder that the recording knows`);
    folder.pending.push({ at: this.step, name: path.basename(absolute), node });
  }

  private find(absolute: string): Node | undefined {
    const names = path.relative(this.options.before.folder, path.normalize(absolute)).split(path.sep);
    let node: Node | undefined = this.root;
    for (const name of names) if (name !== "" && node instanceof Folder) node = node.present().get(name);
    return node;
  }

  private synced(inode: number, begun: number): void {
    this.nodes.get(inode)!.synced(begun);
    if (this.options.names === "own") return;
    for (const node of this.nodes.values()) if (node instanceof Folder) node.synced(begun);
  }
}

type Node = Folder | File;

class Folder {
  readonly safe = new Map<string, Node>();
  /** `node` undefined: removed. Operations of one step are one. */
  readonly pending: { at: number; name: string; node: Node | undefined }[] = [];

  synced(begun: number): void {
    while (this.pending.length > 0 && this.pending[0].at < begun) rename(this.safe, this.pending.shift()!);
  }

  present(): ReadonlyMap<string, Node> {
    return this.upTo(Number.POSITIVE_INFINITY);
  }

  afterCut(shareKept: number, random: Random): ReadonlyMap<string, Node> {
    const lost = this.pending.find(() => !random.chance(shareKept));
    return this.upTo(lost?.at ?? Number.POSITIVE_INFINITY);
  }

  private upTo(step: number): ReadonlyMap<string, Node> {
    if (this.pending.length === 0) return this.safe;
    const names = new Map(this.safe);
    for (const operation of this.pending) if (operation.at < step) rename(names, operation);
    return names;
  }
}

function rename(names: Map<string, Node>, { name, node }: { name: string; node: Node | undefined }): void {
  if (node === undefined) names.delete(name);
  else names.set(name, node);
}

type FileChange = { at: number } & ({ offset: number; bytes: Buffer } | { size: number });

class File {
  private readonly safe = new Bytes();
  private pending: FileChange[] = [];

  constructor(bytes: Buffer = Buffer.alloc(0)) {
    this.safe.apply({ at: 0, offset: 0, bytes });
  }

  change(change: FileChange): void {
    this.pending.push(change);
  }

  synced(begun: number): void {
    for (const change of this.pending) if (change.at < begun) this.safe.apply(change);
    this.pending = this.pending.filter(({ at }) => at >= begun);
  }

  present(): Buffer {
    const memory = this.safe.copy();
    for (const change of this.pending) memory.apply(change);
    return memory.content;
  }

  afterCut(shareKept: number, random: Random): Buffer {
    const disk = this.safe.copy();
    if (this.pending.length === 0 || shareKept === 0) return disk.content;
    const memory = this.safe.copy();
    for (const change of this.pending) {
      memory.apply(change);
      const kept = random.chance(shareKept);
      if (!("bytes" in change)) {
        if (kept) disk.apply(change);
        continue;
      }
      const torn = shareKept < 1 && random.chance(0.2);
      if (!kept && !torn) {
        // Its length alone.
        if (random.chance(shareKept / 4))
          disk.grow(Math.min(change.offset + change.bytes.length, memory.content.length));
        continue;
      }
      const end = change.offset + change.bytes.length;
      for (let start = change.offset - (change.offset % sectorBytes); start < end; start += sectorBytes) {
        if (torn && random.chance(0.5)) continue;
        disk.take(memory, start, start + sectorBytes);
      }
    }
    return disk.content;
  }
}

/** Bytes that grow. */
class Bytes {
  private bytes = Buffer.alloc(0);
  private length = 0;

  get content(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  copy(): Bytes {
    const copy = new Bytes();
    copy.bytes = Buffer.from(this.content);
    copy.length = this.length;
    return copy;
  }

  apply(change: FileChange): void {
    if ("bytes" in change) {
      this.grow(change.offset + change.bytes.length);
      change.bytes.copy(this.bytes, change.offset);
    } else {
      this.grow(change.size);
      // What is cut off is zeros should it come back.
      this.bytes.fill(0, change.size, this.length);
      this.length = change.size;
    }
  }

  grow(length: number): void {
    if (length <= this.length) return;
    if (length > this.bytes.length) {
      const larger = Buffer.alloc(Math.max(length, 2 * this.bytes.length));
      this.content.copy(larger);
      this.bytes = larger;
    }
    this.length = length;
  }

  /** From `start` to `end`, as far as `other` has it. */
  take(other: Bytes, start: number, end: number): void {
    const last = Math.min(end, other.length);
    if (last <= start) return;
    this.grow(last);
    other.bytes.copy(this.bytes, start, start, last);
  }
}
