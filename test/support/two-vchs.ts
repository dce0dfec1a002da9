/** Two virtual container hosts on one hostd, an attacker and a victim, each with machines, an image and a volume. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createVch, type Vch } from '../../src/cli/vch.js';
import { createEmpty } from '../../src/disk/vmdk/create.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import type { FakeHostd } from './fake-hostd.js';

/** A host with everything that a client with its login needs. */
export interface TestVch extends Vch {
  client: VimClient;
  /** A powered-off machine of the host, with its directory relative to the datastore. */
  machine: ManagedObjectReference;
  directory: string;
  /** Its images and volumes, relative to the datastore. */
  store: string;
}

/** A marker in everything of the victim that could leak, to be searched for in what the attacker gets. */
export const MARK = 'victims-own-secret';

/** Creates a host by name, with a client logged in as the host. `mark` is put wherever its clients can write. */
export async function makeVch(hostd: FakeHostd, admin: VimClient, name: string, mark: string): Promise<TestVch> {
  const { url, user, password, thumbprint } = hostd;
  const vch = await createVch(
    admin,
    {
      name,
      login: { url, user, password, thumbprint },
      imageStore: { datastore: 'datastore1', path: '' },
      networks: [{ name: 'bridge', portGroup: `${name}-bridge`, subnet: '172.16.0.0/16' }],
      listen: [],
      registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
      container: { cpus: 1, memoryMiB: 64, baseImageSizeGiB: 1 },
      channelDir: join(hostd.paths.runDir, 'vch', name),
    },
    () => undefined,
  );
  const client = await VimClient.connect(vch.config.target);
  const store = `VIC/${vch.id}`;
  const at = (path: string): string => join(hostd.paths.datastoreDir, store, path);
  await mkdir(at('images/layer'), { recursive: true });
  await createEmpty(at('images/layer/layer.vmdk'), 1 << 20);
  await mkdir(at('volumes/v'), { recursive: true });
  await createEmpty(at('volumes/v/v.vmdk'), 1 << 20);
  await writeFile(at('secret'), mark);
  const directory = `${mark.slice(0, 8)}-${name}`.padEnd(20, '0');
  const machine = await makeMachine({ ...vch, client, store }, directory, mark);
  return { ...vch, client, machine, directory, store };
}

/** A machine as the port layer creates it for a container. */
export function machineSpec(
  vch: Pick<Vch, 'id' | 'config'> & { store: string },
  directory: string,
  mark = '',
): Record<string, unknown> {
  const { id, config, store } = vch;
  const disk = (key: number, unit: number, backing: object, create: boolean): object => ({
    operation: 'add',
    ...(create ? { fileOperation: 'create' } : {}),
    device: {
      $type: 'VirtualDisk',
      key,
      controllerKey: -100,
      unitNumber: unit,
      capacityInKB: 0,
      backing: { $type: 'VirtualDiskFlatVer2BackingInfo', thinProvisioned: true, ...backing },
    },
  });
  return {
    name: `${directory}`,
    guestId: 'other5xLinux64Guest',
    annotation: mark,
    files: { vmPathName: `[datastore1] ${directory}/${directory}.vmx` },
    numCPUs: 1,
    memoryMB: 64,
    deviceChange: [
      {
        operation: 'add',
        device: { $type: 'ParaVirtualSCSIController', key: -100, busNumber: 0, sharedBus: 'noSharing' },
      },
      disk(
        -2,
        0,
        {
          fileName: `[datastore1] ${directory}/${directory}.vmdk`,
          diskMode: 'persistent',
          parent: { fileName: `[datastore1] ${store}/images/layer/layer.vmdk`, diskMode: 'persistent' },
        },
        true,
      ),
      disk(-3, 1, { fileName: `[datastore1] ${store}/volumes/v/v.vmdk`, diskMode: 'independent_persistent' }, false),
      {
        operation: 'add',
        device: {
          $type: 'VirtualVmxnet3',
          key: -10,
          backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: config.networks[0].portGroup },
        },
      },
      {
        operation: 'add',
        device: {
          $type: 'VirtualSerialPort',
          key: -20,
          yieldOnPoll: true,
          backing: {
            $type: 'VirtualSerialPortURIBackingInfo',
            serviceURI: `unix://${config.channelDir}/x.sock`,
            direction: 'client',
          },
        },
      },
      {
        operation: 'add',
        device: {
          $type: 'VirtualSerialPort',
          key: -21,
          yieldOnPoll: true,
          backing: { $type: 'VirtualSerialPortFileBackingInfo', fileName: `[datastore1] ${directory}/output.log` },
        },
      },
    ],
    extraConfig: [
      { key: 'caisson.container', value: `{"secret":"${mark}"}` },
      { key: 'caisson.vch', value: id },
      { key: 'guestinfo.secret', value: mark },
    ],
  };
}

/** Creates a machine with the host's own login. @param change to its specification, as JSON */
export async function makeMachine(
  vch: Pick<TestVch, 'id' | 'config' | 'store' | 'client'>,
  directory: string,
  mark = '',
  change: (text: string) => string = (text) => text,
): Promise<ManagedObjectReference> {
  return (await vch.client.runTask('CreateVM_Task', vch.config.folder, {
    pool: vch.config.resourcePool,
    config: JSON.parse(change(JSON.stringify(machineSpec(vch, directory, mark)))) as never,
  })) as ManagedObjectReference;
}
