/**
 * Devices that a VM gets and loses while it runs. What a device needs in QEMU besides itself is up to its kind (`hot-nic.ts`,
 * `hot-disk.ts`); this file does what all have in common: adding a PCI device, and having the guest release it.
 *
 * The only list of them is QEMU's own, so that a restarted hostd knows what was plugged in.
 */
import { insufficientResources, messageOf, timeout, unsupported } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { within } from '../../common/within.js';
import type { RuntimeDevice, RuntimeDisk, VmDefinition } from '../runtime.js';
import type { DiskOwner, HotDevice, HotVm } from './hot-device.js';
import { diskDevice, HotDisk } from './hot-disk.js';
import { HotNic, nicDevice } from './hot-nic.js';
import { deviceIds } from './qom.js';

const log = logger('hotplug');
/** Longest wait for the guest to release a device. An emulated guest on a busy machine needs a second or two. */
const RELEASE_MS = 30_000;
/** A QEMU that was taken over may answer slowly and without end. It cannot delay powering its VM off for longer than this. */
const MOST_MS = 60_000;

/** The devices of one running VM, which change one at a time. */
export class HotDevices {
  private turn: Promise<unknown> = Promise.resolve();

  /** @param vm its monitor is null if an earlier version started it: it has none that could be used */
  constructor(
    private readonly vm: Omit<HotVm, 'monitor'> & { monitor: string | null },
    private readonly releaseMs = RELEASE_MS,
  ) {}

  /** See `RunningVm.plug`. */
  plug(device: RuntimeDevice, owner: DiskOwner): Promise<void> {
    return this.inTurn(() => this.add(this.hot(device), owner));
  }

  /** See `RunningVm.unplug`. */
  unplug(device: RuntimeDevice): Promise<void> {
    return this.inTurn(() => this.release(this.hot(device)));
  }

  /** See `RunningVm.switchDisk`. */
  switchDisk(disk: RuntimeDisk, to: string): Promise<void> {
    return this.inTurn(() => new HotDisk(disk, this.withMonitor()).switchTo(to));
  }

  /** See `RunningVm.releaseDisk`. */
  releaseDisk(disk: RuntimeDisk): Promise<void> {
    return this.inTurn(() => new HotDisk(disk, this.withMonitor()).release());
  }

  /** See `RunningVm.relinkDisk`. */
  relinkDisk(disk: RuntimeDisk, owner: DiskOwner): Promise<void> {
    return this.inTurn(() => new HotDisk(disk, this.withMonitor()).relink(owner));
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return within(done, MOST_MS, () => {
      throw timeout('the devices of the VM take too long to change');
    });
  }

  private async add(hot: HotDevice, owner: DiskOwner): Promise<void> {
    // A hostd that was killed may have begun plugging it in.
    await this.release(hot);
    const settings = await hot.open(owner);
    if (settings === null) return;
    try {
      await this.vm.qmp.command('device_add', settings);
    } catch (error) {
      await hot.close();
      // QEMU's message is "PCI: no slot/function available for virtio-net-pci, all in use or reserved".
      if (/no slot/.test(messageOf(error))) throw insufficientResources('the VM has no free PCI slot', error);
      throw error;
    }
  }

  /**
   * Unplugs what was plugged in but is not in the VM's definition, because hostd was killed before it could write it down.
   * Never throws.
   */
  sweep(vm: Pick<VmDefinition, 'nics' | 'disks'>): Promise<void> {
    const work = this.turn.then(() => this.takeUnknown(vm));
    this.turn = work;
    return work;
  }

  private async takeUnknown({ nics, disks }: Pick<VmDefinition, 'nics' | 'disks'>): Promise<void> {
    const known = new Set([...nics.map(({ index }) => nicDevice(index)), ...disks.map(diskDevice)]);
    const { moid, qmp } = this.vm;
    try {
      for (const id of await deviceIds(qmp)) {
        const device = known.has(id) ? null : deviceOf(id);
        if (device === null) continue;
        log.warn({ moid, device: id }, 'a device that is not in the inventory is taken from a running VM');
        await this.release(this.hot(device));
      }
    } catch (error) {
      log.warn({ moid, err: messageOf(error) }, 'a running VM keeps a device that is not in the inventory');
    }
  }

  private withMonitor(): HotVm {
    const { monitor } = this.vm;
    if (monitor === null)
      throw unsupported('an earlier version started this VM: its devices can be changed when it is off');
    return { ...this.vm, monitor };
  }

  private hot(device: RuntimeDevice): HotDevice {
    const vm = this.withMonitor();
    return device.kind === 'nic' ? new HotNic(device.nic, vm) : new HotDisk(device.disk, vm);
  }

  /** Has the guest release a device, if QEMU has it, and removes what is behind it. @throws timeout */
  private async release(hot: HotDevice): Promise<void> {
    const path = await hot.find();
    if (path === null) {
      await hot.close();
      return;
    }
    const { qmp, moid } = this.vm;
    const released = this.deleted(path).then((is) => (is ? hot.close() : undefined));
    released.catch((error: unknown) => log.warn({ moid, err: messageOf(error) }, 'what was behind a device stays'));
    await qmp.command('device_del', { id: path }).catch(async (error: unknown) => {
      // The guest was asked before, by somebody who gave up waiting, or it has just released the device.
      if (!/process of unplug/.test(messageOf(error)) && (await hot.find()) !== null) throw error;
    });
    await within(released, this.releaseMs, () => {
      // The guest may still release it later: what is behind it is removed then, and whoever asks again finds it gone.
      throw timeout('the guest does not release the device');
    });
  }

  /** Resolves with true when QEMU has deleted the device, with false when QEMU has ended. */
  private deleted(path: string): Promise<boolean> {
    const { qmp } = this.vm;
    return new Promise((resolve) => {
      const finish = (is: boolean): void => {
        qmp.off('event', heard);
        qmp.off('close', ended);
        resolve(is);
      };
      const heard = (name: string, data: Record<string, unknown>): void => {
        if (name === 'DEVICE_DELETED' && data.path === path) finish(true);
      };
      const ended = (): void => finish(false);
      qmp.on('event', heard);
      qmp.once('close', ended);
      if (qmp.closed) ended();
    });
  }
}

/** The device with this id, if the id is one that hot-plug gives; otherwise null. */
function deviceOf(id: string): RuntimeDevice | null {
  const [, index] = /^net(\d+)-device$/.exec(id) ?? [];
  if (index !== undefined)
    return { kind: 'nic', nic: { index: Number(index), mac: '', portGroup: '', connected: true } };
  const [, bus, unit] = /^disk(\d+)-(\d+)-device$/.exec(id) ?? [];
  if (bus === undefined) return null;
  return { kind: 'disk', disk: { bus: Number(bus), unit: Number(unit), path: '', readOnly: false } };
}
