/** ReconfigVM_Task on a running VM, as a vSphere client sees it; the VM's runtime is a fake. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { insufficientResources, timeout, unsupported } from '../../src/common/errors.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { createVm } from '../support/inventory.js';

let hostd: FakeHostd;
let client: VimClient;
let vm: ManagedObjectReference;

beforeEach(async () => {
  hostd = await startFakeHostd();
  client = await VimClient.connect(hostd);
  vm = await createVm(client, 'web');
  await reconfigure([
    { operation: 'add', device: { $type: 'ParaVirtualSCSIController', key: -1, busNumber: 0, sharedBus: 'noSharing' } },
  ]);
  await client.runTask('PowerOnVM_Task', vm, {});
});
afterEach(async () => {
  await client?.close();
  await hostd?.stop();
});

const reconfigure = (deviceChange: object[]): Promise<unknown> =>
  client.runTask('ReconfigVM_Task', vm, { spec: { deviceChange: deviceChange as never } });

const card = (deviceName = 'VM Network'): object => ({
  operation: 'add',
  device: {
    $type: 'VirtualVmxnet3',
    key: -10,
    backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName },
    addressType: 'generated',
  },
});
const disk = (fileName = ''): object => ({
  operation: 'add',
  fileOperation: 'create',
  device: {
    $type: 'VirtualDisk',
    key: -2,
    controllerKey: 1000,
    unitNumber: 3,
    capacityInKB: 1024,
    backing: { $type: 'VirtualDiskFlatVer2BackingInfo', fileName, diskMode: 'persistent' },
  },
});
const remove = (key: number, more: object = {}): object => ({
  operation: 'remove',
  ...more,
  device: { $type: 'VirtualDevice', key },
});

async function keys(): Promise<number[]> {
  const [found] = await client.retrieve([vm], 'VirtualMachine', ['config.hardware']);
  return (found?.props['config.hardware']?.device ?? [])
    .map(({ key }) => key)
    .filter((key) => key >= 2000 && key < 5000);
}

const plugged = (): string[] =>
  hostd.runtime.plugged.map(({ operation, device }) => {
    const what = device.kind === 'nic' ? `card ${device.nic.index}` : `disk ${device.disk.bus}:${device.disk.unit}`;
    return `${operation} ${what}`;
  });

it('adds cards and disks, and removes them', async () => {
  await reconfigure([card(), disk()]);
  expect(await keys()).toEqual([2003, 4000]);
  expect(plugged()).toEqual(['plug disk 0:3', 'plug card 0']);
  const [{ device } = { device: undefined }] = hostd.runtime.plugged;
  const path = device?.kind === 'disk' ? device.disk.path : '';
  expect(path.startsWith(join(hostd.paths.datastoreDir, 'web'))).toBe(true);
  expect(existsSync(path)).toBe(true);
  hostd.runtime.plugged.length = 0;
  await reconfigure([remove(4000), remove(2003, { fileOperation: 'destroy' })]);
  expect(await keys()).toEqual([]);
  expect(plugged()).toEqual(['unplug disk 0:3', 'unplug card 0']);
  expect(existsSync(path)).toBe(false);
});

it.each([
  [insufficientResources('no free PCI slot'), 'TooManyDevices'],
  [unsupported('not here'), 'DeviceHotPlugNotSupported'],
  [new Error('QEMU: no'), 'SystemError'],
])('answers %s with %s, and changes nothing', async (error, $type) => {
  hostd.runtime.refusePlug = (operation, device) => {
    if (operation === 'plug' && device.kind === 'nic') throw error;
  };
  await expect(reconfigure([disk('[datastore1] web/new.vmdk'), card()])).rejects.toMatchObject({ fault: { $type } });
  expect(await keys()).toEqual([]);
  expect(plugged()).toEqual(['plug disk 0:3', 'unplug disk 0:3']);
  expect(existsSync(join(hostd.paths.datastoreDir, 'web/new.vmdk'))).toBe(false);
});

it('keeps a device that the guest does not release', async () => {
  await reconfigure([disk('[datastore1] web/new.vmdk')]);
  hostd.runtime.refusePlug = (operation) => {
    if (operation === 'unplug') throw timeout('the guest does not release the device');
  };
  await expect(reconfigure([remove(2003, { fileOperation: 'destroy' })])).rejects.toMatchObject({
    fault: { $type: 'Timedout' },
    message: expect.stringContaining('the guest does not release the device'),
  });
  expect(await keys()).toEqual([2003]);
  expect(existsSync(join(hostd.paths.datastoreDir, 'web/new.vmdk'))).toBe(true);
});

it('refuses missing devices, changes that need the VM off, and a suspended VM', async () => {
  const serial = { $type: 'VirtualSerialPortFileBackingInfo', fileName: '[datastore1] web/x' };
  await expect(reconfigure([remove(4007)])).rejects.toMatchObject({ fault: { $type: 'DeviceNotFound' } });
  await expect(reconfigure([card('no such')])).rejects.toMatchObject({ fault: { $type: 'InvalidDeviceBacking' } });
  for (const change of [
    { operation: 'add', device: { $type: 'VirtualSerialPort', key: -20, yieldOnPoll: true, backing: serial } },
    remove(1000),
  ])
    await expect(reconfigure([change])).rejects.toMatchObject({ fault: { $type: 'InvalidPowerState' } });
  await client.runTask('SuspendVM_Task', vm, {});
  await expect(reconfigure([card()])).rejects.toMatchObject({
    fault: { $type: 'InvalidPowerState', existingState: 'suspended' },
  });
  expect(plugged()).toEqual([]);
});

it('a VM that ends meanwhile is off and unchanged', async () => {
  hostd.runtime.endDuring = 'plug';
  await expect(reconfigure([disk('[datastore1] web/new.vmdk')])).rejects.toMatchObject({
    fault: { $type: 'InvalidPowerState', existingState: 'poweredOff' },
  });
  hostd.runtime.endDuring = null;
  expect(await keys()).toEqual([]);
  expect(existsSync(join(hostd.paths.datastoreDir, 'web/new.vmdk'))).toBe(false);
  await reconfigure([card()]);
  expect(plugged()).toEqual([]);
});
