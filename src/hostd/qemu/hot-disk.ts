/** A disk that is plugged into a running VM: its files as descriptors, QEMU's block node on them, and the device. */
import { open, stat } from 'node:fs/promises';
import { internal, invalid, isKind, messageOf, unsupported } from '../../common/errors.js';
import { OpenDisks, openParents } from '../disks/open-disks.js';
import type { RuntimeDisk } from '../runtime.js';
import type { FileToSend } from './descriptor-sender.js';
import { backingNode, diskNodes, fileNode } from './given-files.js';
import type { DiskOwner, HotDevice, HotVm } from './hot-device.js';
import { deviceOfId } from './qom.js';

/** Sets of what a disk stands on since it was put on other files, relative to the disk's first. */
const BELOW_SETS = 300;
/** What a disk was switched to has the sets from here on. */
const SWITCHED_SETS = 700;
/** Descriptor sets of plugged-in disks start here: this many for each place that a disk can have. */
const FIRST_SET = 100_000;
const SETS = 1000;
const UNITS = 16;

type Place = Pick<RuntimeDisk, 'bus' | 'unit'>;

/** Id of a disk's device, as on QEMU's command line. */
export function diskDevice({ bus, unit }: Place): string {
  return `disk${bus}-${unit}-device`;
}

export class HotDisk implements HotDevice {
  private readonly node: string;
  private readonly firstSet: number;

  constructor(
    private readonly disk: RuntimeDisk,
    private readonly vm: HotVm,
  ) {
    const { bus, unit } = disk;
    this.node = `disk${bus}-${unit}-node`;
    this.firstSet = FIRST_SET + (bus * UNITS + unit) * SETS;
  }

  async open(owner: DiskOwner): Promise<Record<string, unknown>> {
    const { qmp, monitor, host } = this.vm;
    const opened = await OpenDisks.open({ ...owner, disks: [this.disk] }, host.datastores);
    try {
      const files: FileToSend[] = [];
      const nodes = diskNodes(opened.disks, ({ handle }, access) => {
        const set = this.firstSet + files.length;
        // Named by hostd's own descriptor, so that it is the file that was checked.
        files.push({ set, path: `/proc/${process.pid}/fd/${handle.fd}`, access });
        return `/dev/fdset/${set}`;
      });
      if (files.length > SETS) throw invalid('the disk stands on too many others');
      await host.sender.send(monitor, files);
      for (const { node } of nodes) await qmp.command('blockdev-add', { ...node }).catch(unusable);
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      await opened.close();
    }
    const { bus, unit } = this.disk;
    return { driver: 'virtio-blk-pci', id: diskDevice(this.disk), drive: this.node, serial: `scsi${bus}:${unit}` };
  }

  /** See `RunningVm.switchDisk`. */
  async switchTo(to: string): Promise<void> {
    const { qmp, monitor, host } = this.vm;
    await this.release();
    const present = await this.present();
    const names = await this.nodeNames();
    let number = 1;
    while (names.has(this.overNode(number))) number++;
    const node = this.overNode(number);
    const set = await this.freeSet(SWITCHED_SETS, SETS);
    const file = await open(to, 'r+');
    try {
      await host.sender.send(monitor, [{ set, path: `/proc/${process.pid}/fd/${file.fd}`, access: 'write' }]);
      await qmp.command('blockdev-add', {
        driver: 'vmdk',
        'node-name': node,
        file: { driver: 'file', 'node-name': fileNode(node), locking: 'off', filename: `/dev/fdset/${set}` },
        backing: null,
      });
      await qmp.command('blockdev-snapshot', { node: present, overlay: node });
    } catch (error) {
      await qmp.command('blockdev-del', { 'node-name': node }).catch(() => undefined);
      await qmp.command('remove-fd', { 'fdset-id': set }).catch(() => undefined);
      throw unusableBecause(error);
    } finally {
      await file.close();
    }
  }

  /** See `RunningVm.releaseDisk`. */
  async release(): Promise<void> {
    await this.removeUnused(await this.present());
    await this.removeSets();
  }

  /** See `RunningVm.relinkDisk`. */
  async relink(owner: DiskOwner): Promise<void> {
    const { qmp, monitor, host } = this.vm;
    const present = await this.present();
    const names = await this.nodeNames();
    if (!names.has(fileNode(present)))
      throw unsupported('an earlier version started this VM: it lets go of files when it is off');
    let number = 1;
    while (names.has(this.belowNode(number))) number++;
    const below = this.belowNode(number);
    const parents = await openParents(this.disk, owner, host.datastores);
    try {
      const files: FileToSend[] = [];
      const first = await this.freeSet(BELOW_SETS, SWITCHED_SETS, parents.length);
      const node = backingNode(below, parents, ({ handle }, access) => {
        const set = first + files.length;
        files.push({ set, path: `/proc/${process.pid}/fd/${handle.fd}`, access });
        return `/dev/fdset/${set}`;
      });
      await host.sender.send(monitor, files);
      if (node !== null) await qmp.command('blockdev-add', { ...node });
      const { readOnly } = this.disk;
      await qmp.command('blockdev-reopen', {
        options: [
          {
            driver: 'vmdk',
            'node-name': present,
            'read-only': readOnly,
            file: fileNode(present),
            backing: node === null ? null : below,
          },
        ],
      });
    } catch (error) {
      await this.removeUnused(present);
      throw unusableBecause(error);
    } finally {
      await Promise.all(parents.map(({ handle }) => handle.close()));
    }
    await this.release();
  }

  /**
   * Numbers of sets that QEMU does not have: one whose VM is stopped keeps what is removed, and would open that again.
   * @param count how many in a row @returns the first of them
   */
  private async freeSet(from: number, to: number, count = 1): Promise<number> {
    const taken = new Set(fdSets(await this.vm.qmp.command('query-fdsets')).map(({ set }) => set));
    let free = 0;
    for (let set = this.firstSet + from; set < this.firstSet + to; set++) {
      free = taken.has(set) ? 0 : free + 1;
      if (free >= count) return set - free + 1;
    }
    throw invalid('QEMU keeps too many files of the disk: restart the VM');
  }

  /** Removes this disk's descriptor sets that no node has. */
  private async removeSets(): Promise<void> {
    const { qmp } = this.vm;
    const used = new Set((await this.nodes()).flatMap(({ file }) => /\/dev\/fdset\/(\d+)$/.exec(file)?.[1] ?? []));
    for (const { set } of fdSets(await qmp.command('query-fdsets'))) {
      const mine = set >= this.firstSet && set < this.firstSet + SETS;
      if (mine && !used.has(String(set))) await qmp.command('remove-fd', { 'fdset-id': set });
    }
  }

  /**
   * Removes the nodes of this disk that nothing stands on, and QEMU's descriptors of files that are deleted. What a hostd that was killed
   * gave QEMU is among them.
   */
  private async removeUnused(present: string): Promise<void> {
    const { qmp } = this.vm;
    const mine = [...(await this.nodeNames())].filter((name) => name !== present && this.isNode(name));
    // Those on top first: QEMU refuses the others.
    for (let removed = mine.length; removed > 0; ) {
      removed = 0;
      for (const name of [...mine])
        await qmp.command('blockdev-del', { 'node-name': name }).then(
          () => {
            removed++;
            mine.splice(mine.indexOf(name), 1);
          },
          () => undefined,
        );
    }
    for (const { set, fds } of fdSets(await qmp.command('query-fdsets')))
      if (fds.length > 0 && (await this.areDeleted(fds))) await qmp.command('remove-fd', { 'fdset-id': set });
  }

  private async areDeleted(fds: readonly number[]): Promise<boolean> {
    const files = await Promise.all(fds.map((fd) => stat(`/proc/${this.vm.pid}/fd/${fd}`).catch(() => null)));
    return files.every((file) => file?.isFile() && file.nlink === 0);
  }

  private overNode(number: number): string {
    return `${this.node}-${number}`;
  }

  private belowNode(number: number): string {
    return `${this.node}-below-${number}`;
  }

  /** Whether a node is one that hostd gave QEMU by name for this disk. */
  private isNode(name: string): boolean {
    return (
      name === this.node || (name.startsWith(`${this.node}-`) && /^-(below-)?\d+$/.test(name.slice(this.node.length)))
    );
  }

  /** The node that the device has now. */
  private async present(): Promise<string> {
    const devices = await this.vm.qmp.command('query-block');
    if (!Array.isArray(devices)) throw internal('QEMU tells no disks');
    const device = devices.find((one: { qdev?: unknown }) =>
      String(one.qdev).split('/').includes(diskDevice(this.disk)),
    );
    const name: unknown = (device as { inserted?: { 'node-name'?: unknown } } | undefined)?.inserted?.['node-name'];
    if (typeof name !== 'string') throw internal('QEMU does not have the disk');
    return name;
  }

  private async nodeNames(): Promise<Set<string>> {
    return new Set((await this.nodes()).map(({ name }) => name));
  }

  private async nodes(): Promise<{ name: string; file: string }[]> {
    const nodes = await this.vm.qmp.command('query-named-block-nodes', { flat: true });
    if (!Array.isArray(nodes)) throw internal('QEMU tells no nodes');
    return nodes.map((one: { 'node-name'?: unknown; file?: unknown } | null) => ({
      name: String(one?.['node-name']),
      file: String(one?.file),
    }));
  }

  find(): Promise<string | null> {
    return deviceOfId(this.vm.qmp, diskDevice(this.disk));
  }

  async close(): Promise<void> {
    const { qmp } = this.vm;
    // The device is gone: nothing is above the first of them.
    const left = [...(await this.nodeNames())].filter((name) => this.isNode(name));
    let failure: unknown = null;
    for (let before = left.length + 1; left.length > 0 && left.length < before; ) {
      before = left.length;
      for (const node of [...left])
        await qmp.command('blockdev-del', { 'node-name': node }).then(
          () => left.splice(left.indexOf(node), 1),
          (error: unknown) => {
            failure = error;
          },
        );
    }
    if (left.length > 0) throw failure;
    for (const set of await this.sets()) await qmp.command('remove-fd', { 'fdset-id': set });
  }

  /** The descriptor sets that were given for this disk. If it was there when the VM started, only the set of its own file is known. */
  private async sets(): Promise<number[]> {
    const own = await stat(this.disk.path).catch(() => null);
    const found: number[] = [];
    for (const { set, fds } of fdSets(await this.vm.qmp.command('query-fdsets'))) {
      const ofThis = set >= this.firstSet && set < this.firstSet + SETS;
      if (ofThis || (own !== null && (await this.have(fds, own)))) found.push(set);
    }
    return found;
  }

  /** Whether QEMU has these descriptors of that file. */
  private async have(fds: readonly number[], file: { dev: number; ino: number }): Promise<boolean> {
    const open = await Promise.all(fds.map((fd) => stat(`/proc/${this.vm.pid}/fd/${fd}`).catch(() => null)));
    return open.length > 0 && open.every((one) => one?.dev === file.dev && one.ino === file.ino);
  }
}

function unusable(error: unknown): never {
  throw unusableBecause(error);
}

function unusableBecause(error: unknown): unknown {
  return isKind(error, 'internal') ? invalid(`a disk cannot be used: ${messageOf(error)}`, error) : error;
}

/** Reads QEMU's answer about its descriptor sets. */
function fdSets(said: unknown): { set: number; fds: number[] }[] {
  if (!Array.isArray(said)) throw internal('QEMU tells no sets of descriptors');
  return said.map(({ 'fdset-id': set, fds }: { 'fdset-id'?: unknown; fds?: unknown }) => ({
    set: Number(set),
    fds: Array.isArray(fds) ? fds.map(({ fd }: { fd?: unknown }) => Number(fd)) : [],
  }));
}
