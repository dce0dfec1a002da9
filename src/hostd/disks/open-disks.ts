/**
 * A VM's disks with all their parents. hostd opens and checks them before the VM's QEMU runs, which gets them as descriptors and follows
 * no path.
 *
 * The parent of a VM's disk is the recorded one (`disk-records.ts`), never the one that its file names now: a QEMU that was taken over may
 * have written that. Below it are image layers, which no QEMU can ever write to; their own word for their parents is taken, as long as the
 * parent is in the same directory of images. A volume may also stand on points (`point-disks.ts`), each with a record. Disks that clients made over plain vSphere have the parents on record of each.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { invalid, messageOf } from '../../common/errors.js';
import {
  type BlockReader,
  checkTablesFit,
  MAX_CHAIN,
  readVmdkIdentity,
  type VmdkIdentity,
  vmdkDifference,
} from '../../disk/index.js';
import type { DatastorePlace } from '../datastore/datastore-places.js';
import type { RuntimeDisk, VmDefinition } from '../runtime.js';
import { imagesOf, readRecord, writeRecord } from './disk-records.js';
import { mayStandOnPoint, pointsOf } from './point-disks.js';
import { whileSettled } from './settled-disks.js';

/** A file that is open, and its path for messages. */
export interface OpenFile {
  path: string;
  handle: FileHandle;
}

/** One disk. */
export interface OpenDisk {
  bus: number;
  unit: number;
  readOnly: boolean;
  capacityBytes: number;
  /** The disk's own, open for writing unless it is read-only. */
  own: OpenFile;
  /** Open for reading, the nearest first. */
  parents: OpenFile[];
}

const VCH_KEY = 'caisson.vch';
const KEPT = 4000;

interface Known {
  file: string;
  identity: VmdkIdentity;
  cid: string;
}

/** What layers say of themselves, kept as long as they are the same files. */
const layers = new Map<string, Known>();

/** See the file's head. Its owner must `close()` it. */
export class OpenDisks {
  private constructor(
    readonly disks: OpenDisk[],
    private readonly handles: FileHandle[],
  ) {}

  /** @param places the host's datastores. @throws invalid naming the disk, and what is wrong with it; nothing stays open then */
  static async open(
    vm: Pick<VmDefinition, 'disks' | 'extraConfig' | 'vch'>,
    places: readonly DatastorePlace[],
  ): Promise<OpenDisks> {
    const handles: FileHandle[] = [];
    // A client of a virtual container host makes VMs with or without the key, but cannot choose whose pool they are in.
    const vch = vm.vch ?? vm.extraConfig.get(VCH_KEY);
    const chains = (): Promise<OpenDisk>[] => vm.disks.map((disk) => new Chain(disk, places, vch, handles).open());
    const opened = await whileSettled(() => Promise.allSettled(chains()));
    const failed = opened.find((one) => one.status === 'rejected');
    if (failed !== undefined) {
      await closeAll(handles);
      throw failed.reason;
    }
    const disks = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    return new OpenDisks(disks, handles);
  }

  close(): Promise<void> {
    return closeAll(this.handles);
  }
}

/**
 * Only the disks that a disk stands on, which a VM may be writing to. @returns them, the nearest first; whoever calls this closes them
 * @throws invalid, as {@link OpenDisks.open} does; nothing stays open then
 */
export async function openParents(
  disk: RuntimeDisk,
  vm: Pick<VmDefinition, 'extraConfig' | 'vch'>,
  places: readonly DatastorePlace[],
): Promise<OpenFile[]> {
  const handles: FileHandle[] = [];
  const chain = new Chain(disk, places, vm.vch ?? vm.extraConfig.get(VCH_KEY), handles);
  try {
    return await whileSettled(async () => {
      const record = await readRecord(disk.path);
      if (record === null) throw invalid('there is no record of the disk');
      return chain.parents(record);
    });
  } catch (error) {
    await closeAll(handles);
    throw error;
  }
}

/** One disk with its parents, while it is being opened. */
class Chain {
  private readonly seen = new Set<string>();

  constructor(
    private readonly disk: RuntimeDisk,
    private readonly places: readonly DatastorePlace[],
    private readonly vch: string | undefined,
    private readonly handles: FileHandle[],
  ) {}

  async open(): Promise<OpenDisk> {
    const { bus, unit, path, readOnly } = this.disk;
    if (!readOnly && imagesOf(path) !== null)
      throw this.refusal(path, 'it is part of an image, which nobody writes to');
    if (!readOnly && pointsOf(path) !== null)
      throw this.refusal(path, 'it belongs to a snapshot of a volume, which nobody writes to');
    const own = await this.file(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    const { identity } = await (imagesOf(path) === null ? this.recorded(own) : this.layer(own));
    return { bus, unit, readOnly, capacityBytes: identity.capacity, own, parents: await this.parents(identity) };
  }

  /** The disks that it stands on, according to the identity of its own. */
  async parents(ofOwn: VmdkIdentity): Promise<OpenFile[]> {
    const { path } = this.disk;
    const parents: OpenFile[] = [];
    let identity = ofOwn;
    for (let child = path; identity.parentHint !== null; ) {
      if (parents.length === MAX_CHAIN) throw this.refusal(path, `it stands on more than ${MAX_CHAIN} disks`);
      const parentPath = resolve(dirname(child), identity.parentHint);
      this.checkPlace(child, parentPath);
      const parent = await this.file(parentPath, constants.O_RDONLY);
      const found = imagesOf(parentPath) === null ? await this.recorded(parent) : await this.layer(parent);
      if (found.cid !== identity.parentCid)
        throw this.refusal(
          parentPath,
          `it was changed after ${this.name(child)} was made on it: its content id is ${found.cid} and was ${identity.parentCid}`,
        );
      if (found.identity.capacity > ofOwn.capacity)
        throw this.refusal(parentPath, 'it is larger than what stands on it');
      parents.push(parent);
      child = parentPath;
      identity = found.identity;
    }
    return parents;
  }

  /** A regular file, once in a chain. */
  private async file(path: string, access: number): Promise<OpenFile> {
    let handle: FileHandle;
    try {
      // A pipe in its place is not waited for.
      handle = await open(path, access | constants.O_NONBLOCK);
    } catch (error) {
      throw this.refusal(path, `it cannot be opened: ${messageOf(error)}`, error);
    }
    this.handles.push(handle);
    const stat = await handle.stat();
    if (!stat.isFile()) throw this.refusal(path, 'it is no regular file');
    const inode = `${stat.dev}:${stat.ino}`;
    if (this.seen.has(inode)) throw this.refusal(path, 'it stands on itself');
    this.seen.add(inode);
    return { path, handle };
  }

  /** A disk that VMs write to, or may: it must match its record. A disk that is new here is recorded now. */
  private async recorded({ path, handle }: OpenFile): Promise<{ identity: VmdkIdentity; cid: string }> {
    try {
      const record = await readRecord(path);
      const found = await readVmdkIdentity(await blocks(handle));
      if (record === null) await writeRecord(path, found.identity);
      const difference = record === null ? null : vmdkDifference(record, found.identity);
      if (difference !== null) throw invalid(`it is not what was recorded of it: ${difference}`);
      await checkTables(handle);
      return found;
    } catch (error) {
      throw this.refusal(path, messageOf(error), error);
    }
  }

  private async layer({ path, handle }: OpenFile): Promise<{ identity: VmdkIdentity; cid: string }> {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await handle.stat({ bigint: true });
      const file = [dev, ino, size, mtimeNs, ctimeNs].join(':');
      const known = layers.get(path);
      if (known?.file === file) return known;
      const found = await readVmdkIdentity(await blocks(handle));
      await checkTables(handle);
      if (layers.size >= KEPT) layers.clear();
      layers.set(path, { file, ...found });
      return found;
    } catch (error) {
      throw this.refusal(path, messageOf(error), error);
    }
  }

  private checkPlace(child: string, parent: string): void {
    if (!this.mayStandOn(child, parent))
      throw this.refusal(child, `its parent ${this.name(parent)} is not in the directory of its images`);
  }

  /**
   * Where the parent of `child` may be: a volume's among the points beside it, an image layer's among the images of its directory, a VCH's
   * disk's among the VCH's images, and the parent of a disk made over plain vSphere anywhere in a datastore.
   */
  private mayStandOn(child: string, parent: string): boolean {
    const images = imagesOf(parent);
    const childImages = imagesOf(child);
    if (childImages !== null) return images === childImages;
    if (mayStandOnPoint(child, parent)) return true;
    const place = images === null ? null : `/${this.relative(images)}`;
    const root = /^(.*\/VIC\/[^/]+)\//.exec(`/${this.relative(child)}`)?.[1];
    if (root !== undefined) return place === `${root}/images`;
    if (this.vch !== undefined) return place?.endsWith(`/VIC/${this.vch}/images`) === true;
    return this.placeOf(parent) !== undefined;
  }

  private relative(path: string): string {
    const place = this.placeOf(path);
    return place === undefined ? path : path.slice(place.directory.length + 1);
  }

  private placeOf(path: string): DatastorePlace | undefined {
    return this.places.find(({ directory }) => path.startsWith(`${directory}/`));
  }

  private name(path: string): string {
    const place = this.placeOf(path);
    return place === undefined ? path : `[${place.name}] ${this.relative(path)}`;
  }

  private refusal(path: string, why: string, cause?: unknown): Error {
    const through = path === this.disk.path ? '' : `, which ${this.name(this.disk.path)} stands on,`;
    return invalid(
      `disk ${this.name(path)}${through} cannot be used: ${why} ('vic-machine fsck' tells what else is damaged)`,
      cause,
    );
  }
}

/** A new disk has nothing in its tables, which are holes in its file, and need not be read. */
const NEW_DISK_BYTES = 64 * 1024;
const STAT_BLOCK = 512;

/** A disk whose tables point out of its file is not given to a QEMU. */
async function checkTables(handle: FileHandle): Promise<void> {
  if ((await handle.stat()).blocks * STAT_BLOCK > NEW_DISK_BYTES) await checkTablesFit(await blocks(handle));
}

async function blocks(handle: FileHandle): Promise<BlockReader> {
  const { size } = await handle.stat();
  return {
    size,
    read: async (offset, length) => {
      const buffer = Buffer.alloc(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(buffer, done, length - done, offset + done);
        if (bytesRead === 0) throw invalid('the file is too short');
        done += bytesRead;
      }
      return buffer;
    },
    close: () => Promise.resolve(),
  };
}

async function closeAll(handles: FileHandle[]): Promise<void> {
  await Promise.all(handles.map((handle) => handle.close()));
}
