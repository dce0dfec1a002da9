/** Hot-plugging network cards and disks by ReconfigVM_Task, as seen by the guest, the switch and a restarted hostd. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Hostd, startHostd } from '../../src/hostd/hostd.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { place } from '../support/inventory.js';
import { type LabGuest, PORT_GROUP, until, VmLab } from '../support/vm-lab.js';

const OTHER = 'lab other';
/** Prints what the guest sees, in a loop: interfaces with their addresses, disks with their serial numbers. */
const LOOK = `n=0; while :; do n=$((n+1)); s="";
for i in /sys/class/net/eth*; do [ -e $i ] && s="$s \${i##*/}=$(cat $i/address)"; done;
for d in /sys/block/vd*; do [ -e $d ] && s="$s $(cat $d/serial):$(cat $d/size)"; done;
echo "seen$s."; sleep 0.3; done`;

let lab: VmLab;
let hostd: Hostd;
let client: VimClient;
let guest: LabGuest;
let vm: ManagedObjectReference;

async function start(): Promise<void> {
  const { paths, runtime } = lab;
  hostd = await startHostd({
    ...{ paths, runtime, virtualSwitch: runtime.virtualSwitch },
    listen: { host: '127.0.0.1', port: 0 },
  });
  client = await VimClient.connect(hostd);
}

/** Stops hostd, while VMs keep running, and starts another one on the same directory. */
async function restart(): Promise<void> {
  await client.close();
  await hostd.close();
  await lab.restart();
  await start();
}

beforeAll(async () => {
  lab = await VmLab.open();
  guest = await lab.define({ script: LOOK });
  await start();
  const [system] = await client.retrieve([{ type: 'HostSystem', value: 'ha-host' }], 'HostSystem', ['configManager']);
  const network = system!.props.configManager!.networkSystem!;
  for (const name of [PORT_GROUP, OTHER])
    await client.call('AddPortGroup', network, {
      portgrp: { name, vlanId: 0, vswitchName: 'vSwitch0', policy: {} },
    });
  const { folder, pool } = await place(client);
  const { name, extraConfig } = guest.definition;
  vm = (await client.runTask('CreateVM_Task', folder, {
    pool,
    config: {
      name,
      guestId: 'other5xLinux64Guest',
      numCPUs: 1,
      memoryMB: 256,
      files: { vmPathName: '[datastore1] hot/hot.vmx' },
      extraConfig: [...extraConfig].map(([key, value]) => ({ key, value })),
      deviceChange: [
        {
          operation: 'add',
          device: { $type: 'ParaVirtualSCSIController', key: -100, busNumber: 0, sharedBus: 'noSharing' },
        },
        disk('add', 0, `${name}/${name}.vmdk`),
        card('add'),
        ...[
          {
            $type: 'VirtualSerialPortURIBackingInfo',
            serviceURI: `unix://${join(lab.paths.runDir, 'x.sock')}`,
            direction: 'client',
          },
          { $type: 'VirtualSerialPortFileBackingInfo', fileName: `[datastore1] ${name}/output.log` },
        ].map((backing, at) => ({
          operation: 'add' as const,
          device: { $type: 'VirtualSerialPort' as const, key: -20 - at, yieldOnPoll: true, backing: backing as never },
        })),
      ],
    },
  })) as ManagedObjectReference;
  await client.runTask('PowerOnVM_Task', vm, {});
});
afterAll(async () => {
  await client?.runTask('PowerOffVM_Task', vm, {}).catch(() => undefined);
  await client?.close();
  await hostd?.close();
  await lab?.close();
});

function disk(operation: 'add' | 'remove', unit: number, file: string, more: object = {}): never {
  return {
    operation,
    ...more,
    device: {
      $type: 'VirtualDisk',
      key: operation === 'add' ? -2 - unit : 2000 + unit,
      controllerKey: operation === 'add' && vm === undefined ? -100 : 1000,
      unitNumber: unit,
      capacityInKB: 32 * 1024,
      backing: {
        $type: 'VirtualDiskFlatVer2BackingInfo',
        fileName: `[datastore1] ${file}`,
        diskMode: 'persistent',
        thinProvisioned: true,
      },
    },
  } as never;
}

function card(operation: 'add' | 'remove', key = -10, portGroup = PORT_GROUP, macAddress?: string): never {
  return {
    operation,
    device: {
      $type: 'VirtualVmxnet3',
      key,
      backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: portGroup },
      ...(macAddress === undefined ? { addressType: 'generated' } : { addressType: 'manual', macAddress }),
    },
  } as never;
}

const reconfigure = (deviceChange: object[], extraConfig: { key: string; value: string }[] = []) =>
  client.runTask('ReconfigVM_Task', vm, { spec: { deviceChange: deviceChange as never, extraConfig } });

/** What the guest sees now. */
async function seen(wanted: RegExp, not?: RegExp): Promise<string> {
  let last = '';
  const before = (await guest.output()).split('\n').length;
  await until(
    async () => {
      const lines = (await guest.output()).split('\n').slice(before);
      last = lines.filter((line) => line.endsWith('.')).at(-1) ?? '';
      return wanted.test(last) && not?.test(last) !== true;
    },
    `the guest sees ${wanted} and not ${not}`,
    () => `it sees: ${last}`,
  );
  return last;
}

const taps = (): string[] =>
  execFileSync('ip', ['-n', lab.runtime.virtualSwitch.namespace, '-o', 'link', 'show'], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => /^\d+: (t\d+n\d+)/.exec(line)?.[1] ?? []);

const rules = (): string =>
  execFileSync(
    'ip',
    ['netns', 'exec', lab.runtime.virtualSwitch.namespace, 'nft', 'list', 'table', 'bridge', 'caisson'],
    {
      encoding: 'utf8',
    },
  );

const MAC = '00:50:56:00:12:34';

it('a running VM gets a card and a disk, keeps them over a restart of hostd, and loses them again', async () => {
  await seen(/eth0=.* scsi0:0:/);
  await reconfigure(
    [card('add', -10, OTHER, MAC), disk('add', 1, 'hot/more.vmdk', { fileOperation: 'create' })],
    [{ key: 'caisson.addresses', value: `${MAC}=10.9.8.7` }],
  );
  expect(await seen(/eth1=.* scsi0:1:/)).toMatch(new RegExp(`eth1=${MAC}.* scsi0:1:65536`));
  expect(taps().filter((name) => name.endsWith('n1'))).toHaveLength(1);
  expect(rules()).toMatch(/"t\d+n1" \. 10\.9\.8\.7/);

  await restart();
  const [found] = await client.retrieve([vm], 'VirtualMachine', ['config.hardware', 'runtime.powerState']);
  expect(found?.props['runtime.powerState']).toBe('poweredOn');
  expect(found?.props['config.hardware']?.device?.map(({ key }) => key)).toEqual(expect.arrayContaining([2001, 4001]));
  await seen(/eth1=.* scsi0:1:/);
  expect(rules()).toMatch(/"t\d+n1" \. 10\.9\.8\.7/);

  // The disk's file is removed with it.
  await reconfigure([card('remove', 4001), disk('remove', 1, 'hot/more.vmdk', { fileOperation: 'destroy' })]);
  await seen(/eth0=/, /eth1|scsi0:1/);
  expect(taps().some((name) => name.endsWith('n1'))).toBe(false);
  expect(existsSync(join(lab.paths.datastoreDir, 'hot/more.vmdk'))).toBe(false);
  await until(() => !/"t\d+n1"/.test(rules()), 'the switch forgets the card');
});

it('a card from the start can be removed and returns to its place, even if an earlier card is gone', async () => {
  await reconfigure([card('add', -10, OTHER)]);
  await seen(/eth1=/);
  await reconfigure([card('remove', 4000)]);
  await seen(/eth1=/, /eth0=/);
  await restart();
  await seen(/eth1=/, /eth0=/);
  await reconfigure([card('add')]);
  await seen(/eth0=.*eth1=/);
  await reconfigure([card('remove', 4001)]);
  await seen(/eth0=/, /eth1=/);
});

it('an impossible change is refused with a fault, and leaves nothing behind', async () => {
  const before = taps();
  await expect(reconfigure([card('remove', 4007)])).rejects.toMatchObject({ fault: { $type: 'DeviceNotFound' } });
  await expect(reconfigure([disk('add', 1, 'hot/nosuch.vmdk')])).rejects.toMatchObject({
    fault: { $type: 'FileNotFound' },
  });
  // All or nothing: the card had been plugged in by then.
  await expect(reconfigure([card('add'), disk('add', 1, 'hot/hot.vmx')])).rejects.toMatchObject({
    fault: { $type: 'InvalidDeviceBacking' },
  });
  await seen(/eth0=/, /eth1=/);
  expect(taps()).toEqual(before);
  await client.runTask('SuspendVM_Task', vm, {});
  await expect(reconfigure([card('add')])).rejects.toMatchObject({ fault: { $type: 'InvalidPowerState' } });
  await client.runTask('PowerOnVM_Task', vm, {});
  await reconfigure([disk('add', 1, 'hot/again.vmdk', { fileOperation: 'create' })]);
  await seen(/scsi0:1:/);
  await reconfigure([disk('remove', 1, 'hot/again.vmdk')]);
  await seen(/scsi0:0:/, /scsi0:1:/);
});
