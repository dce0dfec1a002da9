/** A VM with all of a container's hardware: a chain of disks, a card, two serial ports. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createEmpty } from '../../src/disk/vmdk/create.js';
import type { ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import type { FakeHostd } from './fake-hostd.js';
import { place } from './inventory.js';

/** Capacity of its disk in bytes. */
export const FULL_VM_DISK = 64 * 2 ** 20;

/** Creates such a VM; `images/base.vmdk` is its disk's parent. */
export async function createFullVm(client: VimClient, hostd: FakeHostd, name: string): Promise<ManagedObjectReference> {
  const { folder, pool, datastore } = await place(client);
  await mkdir(join(hostd.paths.datastoreDir, 'images'), { recursive: true });
  const base = join(hostd.paths.datastoreDir, 'images/base.vmdk');
  if (!existsSync(base)) await createEmpty(base, FULL_VM_DISK);
  const config = {
    name,
    guestId: 'other5xLinux64Guest',
    numCPUs: 2,
    memoryMB: 128,
    files: { vmPathName: `[${datastore}] ${name}/${name}.vmx` },
    extraConfig: [{ key: 'guestinfo.a', value: 'b' }],
    deviceChange: [
      {
        operation: 'add' as const,
        device: { $type: 'ParaVirtualSCSIController' as const, key: -1, busNumber: 0, sharedBus: 'noSharing' as const },
      },
      {
        operation: 'add' as const,
        fileOperation: 'create' as const,
        device: {
          $type: 'VirtualDisk' as const,
          key: -2,
          controllerKey: -1,
          unitNumber: 0,
          capacityInKB: 0,
          backing: {
            $type: 'VirtualDiskFlatVer2BackingInfo' as const,
            fileName: `[${datastore}] ${name}/${name}.vmdk`,
            diskMode: 'persistent',
            parent: { fileName: `[${datastore}] images/base.vmdk`, diskMode: 'persistent' },
          },
        },
      },
      ...[-10, -11].map((key) => ({
        operation: 'add' as const,
        device: {
          $type: 'VirtualVmxnet3' as const,
          key,
          backing: { $type: 'VirtualEthernetCardNetworkBackingInfo' as const, deviceName: 'VM Network' },
        },
      })),
      {
        operation: 'add' as const,
        device: {
          $type: 'VirtualSerialPort' as const,
          key: -20,
          yieldOnPoll: true,
          backing: {
            $type: 'VirtualSerialPortFileBackingInfo' as const,
            fileName: `[${datastore}] ${name}/output.log`,
          },
        },
      },
    ],
  };
  return (await client.runTask('CreateVM_Task', folder, { pool, config })) as ManagedObjectReference;
}
