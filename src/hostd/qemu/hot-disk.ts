/** A disk that is plugged into a running VM: its files as descriptors, QEMU's block node on them, and the device. */
import { open, stat } from 'node:fs/promises';
import { internal, invalid, isKind, messageOf } from '../../common/errors.js';
import { OpenDisks } from '../disks/open-disks.js';
import type { RuntimeDisk } from '../runtime.js';
import type { FileToSend } from './descriptor-sender.js';
import { diskNodes } from './given-files.js';
import type { DiskOwner, HotDevice, HotVm } from './hot-device.js';
import { deviceOfId } from './qom.js';

/** What a disk was switched to has the sets from here on, relative to the disk's first. */
const SWITCHED_SETS = 500;
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
    const over = await this.withoutUnused(await this.over());
    const present = over.at(-1) ?? this.node;
    const number = over.length + 1;
    const node = this.overNode(number);
    const set = this.firstSet + SWITCHED_SETS + number;
    if (number >= SETS - SWITCHED_SETS) throw invalid('the disk was switched too often: restart the VM');
    const file = await open(to, 'r+');
    try {
      await host.sender.send(monitor, [{ set, path: `/proc/${process.pid}/fd/${file.fd}`, access: 'write' }]);
      await qmp.command('blockdev-add', {
        driver: 'vmdk',
        'node-name': node,
        file: { driver: 'file', locking: 'off', filename: `/dev/fdset/${set}` },
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

  /** A killed hostd may have given QEMU the last node, but not put it over the disk. QEMU removes only a node that nothing stands on. */
  private async withoutUnused(over: string[]): Promise<string[]> {
    const { qmp } = this.vm;
    const last = over.at(-1);
    if (last === undefined) return over;
    const unused = await qmp.command('blockdev-del', { 'node-name': last }).then(
      () => true,
      () => false,
    );
    if (!unused) return over;
    await qmp.command('remove-fd', { 'fdset-id': this.firstSet + SWITCHED_SETS + over.length });
    return over.slice(0, -1);
  }

  private overNode(number: number): string {
    return `${this.node}-${number}`;
  }

  /** The nodes that the disk was switched to while the VM ran, the latest last. */
  private async over(): Promise<string[]> {
    const nodes = await this.vm.qmp.command('query-named-block-nodes', { flat: true });
    if (!Array.isArray(nodes)) throw internal('QEMU tells no nodes');
    const names = new Set(nodes.map((one: { 'node-name'?: unknown } | null) => one?.['node-name']));
    const found: string[] = [];
    while (names.has(this.overNode(found.length + 1))) found.push(this.overNode(found.length + 1));
    return found;
  }

  find(): Promise<string | null> {
    return deviceOfId(this.vm.qmp, diskDevice(this.disk));
  }

  async close(): Promise<void> {
    const { qmp } = this.vm;
    for (const node of [...(await this.over()).reverse(), this.node])
      await qmp.command('blockdev-del', { 'node-name': node }).catch((error: unknown) => {
        if (!/find node/i.test(messageOf(error))) throw error;
      });
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
