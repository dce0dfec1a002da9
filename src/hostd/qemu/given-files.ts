/**
 * The files that a VM is given: descriptors that its QEMU inherits, and disks that are put behind its devices after it has dropped its
 * rights. QEMU never follows a disk's path, nor opens a disk as root.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import { internal, invalid, isKind, messageOf } from '../../common/errors.js';
import type { OpenDisk, OpenDisks, OpenFile } from '../disks/open-disks.js';
import type { VmDefinition } from '../runtime.js';
import { FIRST_FD } from './cage.js';
import { type DiskBacking, FIRST_GIVEN_SET, type InheritedSet } from './command-line.js';
import type { Qmp } from './qmp.js';

/** Descriptors that a QEMU inherits. Its owner must `close()` it whether or not QEMU was started. */
export class Inherited {
  /** QEMU has them as descriptors {@link FIRST_FD} and up. */
  readonly handles: FileHandle[] = [];
  private readonly own: FileHandle[] = [];

  /** @returns the number that the file has in QEMU. In this process, whoever opened the file closes it. */
  lend(handle: FileHandle): number {
    return FIRST_FD + this.handles.push(handle) - 1;
  }

  /** @returns the same, for a file that {@link close} closes */
  give(handle: FileHandle): number {
    this.own.push(handle);
    return this.lend(handle);
  }

  async close(): Promise<void> {
    await Promise.all(this.own.splice(0).map((handle) => handle.close()));
  }
}

/** How a file is opened for QEMU. */
export type Access = 'read' | 'write';

/** A disk as QEMU's monitor takes it, and the device that it belongs to. */
export interface DiskNode {
  id: string;
  node: object;
}

/** Gives QEMU a file and returns its name there. */
type Give = (file: OpenFile, access: Access) => string;

/** The node of a disk's own file, by which the disk's node is opened anew (`HotDisk.relink`). */
export function fileNode(node: string): string {
  return `${node}-file`;
}

/** A VMDK as a node, on others. */
function vmdkNode(file: OpenFile, access: Access, backing: object | null, give: Give, name?: string): object {
  return {
    driver: 'vmdk',
    ...(name === undefined ? {} : { 'node-name': name }),
    'read-only': access === 'read',
    file: {
      driver: 'file',
      ...(name === undefined ? {} : { 'node-name': fileNode(name) }),
      // QEMU could not lock the file: it first looks for /dev/null, which its cage does not have, and complains.
      locking: 'off',
      filename: give(file, access),
      'read-only': access === 'read',
    },
    backing,
  };
}

/** Disks that nobody writes to, the nearest first; null if there are none. */
function readNodes(files: readonly OpenFile[], give: Give): object | null {
  return files.reduceRight<object | null>((under, file) => vmdkNode(file, 'read', under, give), null);
}

/** The disks with everything they are based on, each as an open file. */
export function diskNodes(disks: readonly OpenDisk[], give: Give): DiskNode[] {
  return disks.map(({ bus, unit, readOnly, own, parents }) => {
    const id = `disk${bus}-${unit}`;
    const below = readNodes(parents, give);
    return { id, node: vmdkNode(own, readOnly ? 'read' : 'write', below, give, `${id}-node`) };
  });
}

/** What a disk stands on, as one node. */
export function backingNode(name: string, [first, ...below]: readonly OpenFile[], give: Give): object | null {
  return first === undefined ? null : vmdkNode(first, 'read', readNodes(below, give), give, name);
}

/** What a VM gets when it is started: its disks, and the files behind its serial ports. */
export interface StartFiles {
  disks: DiskBacking[];
  nodes: DiskNode[];
  serialFiles: Map<number, number>;
  given: InheritedSet[];
}

/** @throws as `open` does */
export async function startFiles(vm: VmDefinition, opened: OpenDisks, inherited: Inherited): Promise<StartFiles> {
  const serialFiles = await openSerialFiles(vm, inherited);
  const given: InheritedSet[] = [];
  const nodes = diskNodes(opened.disks, ({ handle }) => {
    const set = FIRST_GIVEN_SET + given.length;
    given.push({ set, fd: inherited.lend(handle) });
    return `/dev/fdset/${set}`;
  });
  const disks = opened.disks.map(({ capacityBytes }) => ({ kind: 'none' as const, capacityBytes }));
  return { disks, nodes, serialFiles, given };
}

/** Opens the files that a VM's serial ports write to. @param instead one file to use for all of them */
export async function openSerialFiles(
  { serials }: Pick<VmDefinition, 'serials'>,
  inherited: Inherited,
  instead?: string,
): Promise<Map<number, number>> {
  const files = new Map<number, number>();
  for (const { index, backing } of serials)
    if (backing.kind === 'file') files.set(index, inherited.give(await open(instead ?? backing.path, 'a', 0o640)));
  return files;
}

/** Opens a raw placeholder and gives QEMU its descriptors. */
export async function openRaw(path: string, readOnly: boolean, inherited: Inherited): Promise<DiskBacking> {
  const readFd = inherited.give(await open(path, 'r'));
  return { kind: 'raw', readFd, writeFd: readOnly ? -1 : inherited.give(await open(path, 'r+')) };
}

/** Makes sure that a process has a file open read-only. @throws internal */
export async function checkReadOnly(pid: number, file: FileHandle): Promise<void> {
  const wanted = await file.stat();
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const found = await stat(`/proc/${pid}/fd/${fd}`).catch(() => null);
    if (found?.ino !== wanted.ino || found.dev !== wanted.dev) continue;
    const flags = /^flags:\s*(\d+)$/m.exec(await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '2';
    if ((Number.parseInt(flags, 8) & 3) !== constants.O_RDONLY)
      throw internal('QEMU has the memory of its boot snapshot open for writing');
  }
}

/** Puts disks behind existing devices. QEMU does this in order. @throws invalid with QEMU's message */
export async function putDisks(qmp: Qmp, nodes: readonly DiskNode[]): Promise<void> {
  const put = Promise.all(
    nodes.flatMap(({ id, node }) => [
      qmp.command('blockdev-add', { ...node }),
      qmp.command('qom-set', {
        path: `/machine/peripheral/${id}-device/virtio-backend`,
        property: 'drive',
        value: `${id}-node`,
      }),
    ]),
  );
  await put.catch((error: unknown) => {
    throw isKind(error, 'internal') ? invalid(`a disk cannot be used: ${messageOf(error)}`, error) : error;
  });
}
