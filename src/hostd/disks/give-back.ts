/**
 * Gives back what a VM's disk no longer needs: QEMU's VMDK driver ignores a guest's discards (7.2 and 10), so a disk only grows while its VM
 * runs. Once the VM is off, the blocks that its filesystem has freed become holes in the file. Nothing moves: QEMU and all others find every
 * grain where it was, and what is in a hole reads as zeros and is filled when it is written.
 */
import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { isKind, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { type BlockReader, type FileRange, freedGrains, VmdkChain, VmdkExtent } from '../../disk/index.js';
import type { DatastorePlace } from '../datastore/datastore-places.js';
import type { VmDefinition } from '../runtime.js';
import { OpenDisks } from './open-disks.js';

const log = logger('disks');
/** Files that take less are left alone. */
const WORTH = 32 * 2 ** 20;
/** Smaller holes are not worth a call each. */
const SMALLEST = 256 * 1024;
const MOST_HOLES = 4000;
/** Reads `offset length` lines. */
const PUNCH =
  'while read -r o l; do fallocate --punch-hole --offset "$o" --length "$l" /proc/self/fd/3 || exit 1; done';

/**
 * The VM must be off and stay off until this is done, and no other VM may have the disks.
 * @param vm with the disks in question @returns bytes that the files take less
 */
export async function giveBack(
  vm: Pick<VmDefinition, 'disks' | 'extraConfig' | 'vch'>,
  places: readonly DatastorePlace[],
): Promise<number> {
  const opened = await OpenDisks.open(vm, places);
  try {
    let freed = 0;
    for (const { own, parents } of opened.disks) {
      const before = await taken(own.handle);
      if (before < WORTH) continue;
      const handles = new Map([own, ...parents].map(({ path, handle }) => [path, handle]));
      try {
        await punch(own.handle, await holesOf(own.path, handles));
      } catch (error) {
        // A guest's own filesystem, or a datastore without holes.
        if (!isKind(error, 'unsupported'))
          log.info({ disk: own.path, err: messageOf(error) }, 'freed blocks of a disk are not given back');
      }
      freed += before - (await taken(own.handle));
    }
    return freed;
  } finally {
    await opened.close();
  }
}

const taken = async (handle: FileHandle): Promise<number> => (await handle.stat()).blocks * 512;

async function holesOf(path: string, handles: ReadonlyMap<string, FileHandle>): Promise<FileRange[]> {
  let own: VmdkExtent | undefined;
  const disk = await VmdkChain.open(path, async (file) => {
    const extent = await VmdkExtent.open(await blocksOf(handles.get(file)!));
    own ??= extent;
    return extent;
  });
  const holes: FileRange[] = [];
  for await (const range of freedGrains(own!, disk)) {
    if (range.length >= SMALLEST) holes.push(range);
    if (holes.length === MOST_HOLES) break;
  }
  return holes;
}

/** Whoever opened the file closes it. */
async function blocksOf(handle: FileHandle): Promise<BlockReader> {
  const { size } = await handle.stat();
  return {
    size,
    read: async (offset, length) => {
      const buffer = Buffer.alloc(length);
      const { bytesRead } = await handle.read(buffer, 0, length, offset);
      // A disk's last grain may be short.
      if (bytesRead !== length) throw new Error(`the file has no ${length} bytes at ${offset}`);
      return buffer;
    },
    close: () => Promise.resolve(),
  };
}

/** @throws Error of the tool: a filesystem may have no holes */
async function punch(file: FileHandle, holes: readonly FileRange[]): Promise<void> {
  if (holes.length === 0) return;
  const tool = spawn('sh', ['-c', PUNCH], { stdio: ['pipe', 'ignore', 'pipe', file.fd] });
  const words: Buffer[] = [];
  tool.stderr!.on('data', (part: Buffer) => words.push(part));
  // It may end early.
  tool.stdin!.on('error', () => undefined);
  tool.stdin!.end(holes.map(({ offset, length }) => `${offset} ${length}\n`).join(''));
  await new Promise<void>((resolve, reject) => {
    tool.on('error', reject);
    tool.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(Buffer.concat(words).toString('utf8').trim() || `fallocate: ${code}`)),
    );
  });
}
