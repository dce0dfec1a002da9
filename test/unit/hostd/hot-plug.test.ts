/** Devices of a running VM: possible changes, and QEMU's possible answers. QEMU, switch and guest are fakes. */
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { internal } from '../../../src/common/errors.js';
import { HotDevices } from '../../../src/hostd/qemu/hot-plug.js';
import type { RuntimeDevice } from '../../../src/hostd/runtime.js';
import { emptyHardware, type Hardware } from '../../../src/hostd/vm/hardware/hardware.js';
import { hotSteps, takeHotSteps } from '../../../src/hostd/vm/hot-changes.js';

const NIC: RuntimeDevice = {
  kind: 'nic',
  nic: { index: 1, mac: '00:50:56:00:00:01', portGroup: 'pg', connected: true },
};
const OWNER = { extraConfig: new Map<string, string>() };

/** QEMU's monitor, with its devices: paths and the backends of network cards. */
class FakeQmp extends EventEmitter {
  closed = false;
  readonly devices = new Map<string, string>();
  readonly backends = new Set<string>();
  readonly asked: string[] = [];
  /** What the guest does when asked to release a device. */
  guest: 'releases' | 'keeps' = 'releases';
  full = false;

  async command(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const id = String(args.id ?? args.path ?? '');
    switch (execute) {
      case 'qom-list':
        return [...this.devices.keys()]
          .filter((path) => path.startsWith(`${id}/`))
          .map((path) => ({ name: path.slice(id.length + 1), type: 'child<virtio-net-pci>' }));
      case 'qom-get': {
        const backend = this.devices.get(id);
        if (backend === '') throw internal(`QEMU: Property 'virtio-balloon-pci.netdev' not found`);
        return backend;
      }
      case 'device_add':
        if (this.full)
          throw internal('QEMU: PCI: no slot/function available for virtio-net-pci, all in use or reserved');
        this.devices.set(`/machine/peripheral/${id}`, String(args.netdev));
        break;
      case 'device_del':
        if (this.asked.includes(`device_del ${id}`) && this.devices.has(id))
          throw internal(`QEMU: Device ${id} is already in the process of unplug`);
        if (this.guest === 'releases') setImmediate(() => this.release(id));
        break;
      case 'netdev_del':
        if (!this.backends.delete(id)) throw internal(`QEMU: Device '${id}' not found`);
    }
    this.asked.push(`${execute} ${id}`);
    return {};
  }

  release(path: string): void {
    this.devices.delete(path);
    this.emit('event', 'DEVICE_DELETED', { path });
  }

  end(): void {
    this.closed = true;
    this.emit('close');
  }
}

function hotDevices(qmp = new FakeQmp(), monitor: string | null = '/m') {
  const taps = new Set<string>();
  const host = {
    virtualSwitch: {
      path: '/ns',
      plugCard: async (moid: string, { index }: { index: number }) => {
        taps.add(`${moid}n${index}`);
        return `${moid}n${index}`;
      },
      unplugCard: async (moid: string, index: number) => void taps.delete(`${moid}n${index}`),
    },
    sender: { tap: async (_monitor: string, id: string) => void qmp.backends.add(id) },
  };
  const devices = new HotDevices({ moid: 'vm', pid: 1, qmp, monitor, host } as never, 100);
  return { qmp, taps, devices };
}

describe('a network card of a running VM', () => {
  it('gets a tap, a backend and a device, and loses all three', async () => {
    const { qmp, taps, devices } = hotDevices();
    await devices.plug(NIC, OWNER);
    expect([...qmp.devices]).toEqual([['/machine/peripheral/net1-device', 'net1']]);
    expect([[...taps], [...qmp.backends]]).toEqual([['vmn1'], ['net1']]);
    await devices.unplug(NIC);
    expect([qmp.devices.size, taps.size, qmp.backends.size]).toEqual([0, 0, 0]);
  });

  it('that the VM was started with is found by its backend', async () => {
    const { qmp, devices } = hotDevices();
    qmp.devices.set('/machine/peripheral/ports', '').set('/machine/peripheral-anon/device[3]', 'net1');
    await devices.unplug(NIC);
    expect([...qmp.devices.keys()]).toEqual(['/machine/peripheral/ports']);
  });

  it('for which there is no slot leaves nothing behind', async () => {
    const { qmp, taps, devices } = hotDevices();
    qmp.full = true;
    await expect(devices.plug(NIC, OWNER)).rejects.toMatchObject({ kind: 'insufficientResources' });
    expect([taps.size, qmp.backends.size]).toEqual([0, 0]);
  });

  it('that the guest keeps stays intact, and is cleaned up when the guest releases it late', async () => {
    const { qmp, taps, devices } = hotDevices();
    await devices.plug(NIC, OWNER);
    qmp.guest = 'keeps';
    await expect(devices.unplug(NIC)).rejects.toMatchObject({ kind: 'timeout' });
    // Asked again, QEMU says that the guest has been asked already.
    await expect(devices.unplug(NIC)).rejects.toMatchObject({ kind: 'timeout' });
    expect([taps.size, qmp.backends.size]).toEqual([1, 1]);
    qmp.release('/machine/peripheral/net1-device');
    await expect.poll(() => taps.size).toBe(0);
    await devices.unplug(NIC);
    expect(qmp.backends.size).toBe(0);
  });

  it('left by a killed hostd is replaced by the same one', async () => {
    const { qmp, taps, devices } = hotDevices();
    await devices.plug(NIC, OWNER);
    await devices.plug(NIC, OWNER);
    expect([qmp.devices.size, taps.size, qmp.backends.size]).toEqual([1, 1, 1]);
  });

  it('is not waited for when the VM ends', async () => {
    const { qmp, devices } = hotDevices();
    await devices.plug(NIC, OWNER);
    qmp.guest = 'keeps';
    const unplugged = devices.unplug(NIC);
    setTimeout(() => qmp.end(), 10);
    await unplugged;
    expect(qmp.listenerCount('event')).toBe(0);
  });

  it('cannot be added to a VM that an earlier version started', async () => {
    const { devices } = hotDevices(new FakeQmp(), null);
    await expect(devices.plug(NIC, OWNER)).rejects.toMatchObject({ kind: 'unsupported' });
  });

  it('that the inventory does not know is removed; others are left alone', async () => {
    const { qmp, taps, devices } = hotDevices();
    await devices.plug(NIC, OWNER);
    qmp.devices.set('/machine/peripheral/net2-device', 'net2').set('/machine/peripheral/guestrpc-port', '');
    await devices.sweep({ nics: [{ ...NIC.nic, index: 2 }], disks: [] });
    expect([...qmp.devices.keys()]).toEqual(['/machine/peripheral/net2-device', '/machine/peripheral/guestrpc-port']);
    expect(taps.size).toBe(0);
  });
});

it('the devices of a VM change one after the other', async () => {
  const { qmp, taps, devices } = hotDevices();
  // A restarted hostd gets a card for the VM before it has checked QEMU's devices.
  const swept = devices.sweep({ nics: [], disks: [] });
  await Promise.all([swept, devices.plug(NIC, OWNER), devices.unplug(NIC), devices.plug(NIC, OWNER)]);
  expect([qmp.devices.size, taps.size, qmp.backends.size]).toEqual([1, 1, 1]);
});

describe('the steps of a change', () => {
  const nic = (key: number, portGroup = 'pg') => ({
    ...{ key, portGroup, type: 'VirtualVmxnet3', mac: `m${key}`, manualMac: false, connected: true },
  });
  const disk = (unit: number, file = `f${unit}`) => ({ key: 2000 + unit, bus: 0, unit, file, mode: 'persistent' });
  const controller = (bus: number) => ({ key: 1000 + bus, bus, type: 'ParaVirtualSCSIController' });
  const serial = { key: 9000, backing: { kind: 'file' as const, file: 'x' } };
  const hardware = (more: Partial<Hardware>): Hardware => ({ ...emptyHardware(), ...more });
  const before = hardware({ controllers: [controller(0)], disks: [disk(0), disk(1)], nics: [nic(4000), nic(4001)] });

  it.each<[string, Partial<Hardware>, string[] | null]>([
    ['nothing', {}, []],
    ['a card more', { nics: [...before.nics, nic(4002)] }, ['add nic 4002']],
    ['a card less', { nics: [nic(4001)] }, ['remove nic 4000']],
    ['a card on another port group', { nics: [nic(4000, 'other'), nic(4001)] }, null],
    [
      'a disk more, on a new controller',
      { controllers: [controller(0), controller(1)], disks: [...before.disks, { ...disk(2), bus: 1, key: 2018 }] },
      ['add disk 2018'],
    ],
    ['a disk in the place of another', { disks: [disk(0), disk(1, 'new')] }, ['remove disk 2001', 'add disk 2001']],
    [
      'a disk less and a card more',
      { disks: [disk(0)], nics: [...before.nics, nic(4002)] },
      ['remove disk 2001', 'add nic 4002'],
    ],
    ['a controller less', { controllers: [], disks: [] }, null],
    ['a serial port more', { serials: [serial] }, null],
  ])('%s', (_, change, wanted) => {
    const steps = hotSteps(before, { ...before, ...change });
    expect(steps?.map(({ operation, kind, key }) => `${operation} ${kind} ${key}`) ?? null).toEqual(wanted);
  });

  it('are undone in reverse order when one fails', async () => {
    const done: string[] = [];
    const after = { ...before, disks: [disk(0)], nics: [...before.nics, nic(4002), nic(4003)] };
    const running = {
      plug: async (device: { key: number }) => {
        if (device.key === 4003) throw internal('QEMU: no');
        done.push(`plug ${device.key}`);
      },
      unplug: async (device: { key: number }) => void done.push(`unplug ${device.key}`),
    };
    const context = { running, owner: OWNER, device: ({ key }: { key: number }) => ({ key }), index: () => 0 };
    await expect(takeHotSteps(hotSteps(before, after)!, context as never)).rejects.toThrow('QEMU: no');
    expect(done).toEqual(['unplug 2001', 'plug 4002', 'unplug 4002', 'plug 2001']);
  });
});
