/** The vSphere client against govmomi's simulator, as a vCenter and as an ESX host. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isKind, kindOf } from '../../src/common/errors.js';
import { type ManagedObjectReference, VimClient, VimFault } from '../../src/vim25/index.js';
import { createVm, dropSession, inventory, place } from '../support/inventory.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

describe.each(['vpx', 'esx'] as const)('VimClient on the %s model', (model) => {
  let vcsim: Vcsim;
  let client: VimClient;

  beforeAll(async () => {
    vcsim = await startVcsim(model);
    client = await connect();
  });
  afterAll(async () => {
    await client?.close();
    await vcsim?.stop();
  });

  const connect = (): Promise<VimClient> => VimClient.connect(vcsim);

  it('logs in and identifies the server', () => {
    expect(client.serviceContent.about.apiType).toBe(model === 'vpx' ? 'VirtualCenter' : 'HostAgent');
  });

  it('refuses a wrong password as InvalidLogin', async () => {
    const error = await VimClient.connect({ ...vcsim, password: 'no' }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(VimFault);
    expect((error as VimFault).fault?.$type).toBe('InvalidLogin');
    expect(isKind(error, 'unauthorized')).toBe(true);
  });

  it('refuses a server with another certificate before anything is sent', async () => {
    const thumbprint = vcsim.thumbprint.replace(/^../, (byte) => (byte === '00' ? '01' : '00'));
    await expect(VimClient.connect({ ...vcsim, thumbprint })).rejects.toThrow(/thumbprint/);
    await expect(VimClient.connect({ ...vcsim, thumbprint: undefined })).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('lists the inventory with typed properties', async () => {
    const vms = await inventory(client, 'VirtualMachine');
    const objects = await client.retrieve([...vms.values()], 'VirtualMachine', [
      'name',
      'runtime.powerState',
      'config',
    ]);
    expect(objects).toHaveLength(vms.size);
    expect(vms.size).toBeGreaterThan(1);
    for (const { props } of objects) {
      expect(props['runtime.powerState']).toBe('poweredOn');
      expect(props.config?.hardware.device?.some((device) => device.$type === 'VirtualDisk')).toBe(true);
      expect(props.config?.modified).toBeInstanceOf(Date);
    }
  });

  it('leaves out objects that are gone', async () => {
    const vms = [...(await inventory(client, 'VirtualMachine')).values()];
    const gone = { type: 'VirtualMachine', value: 'vm-gone' };
    const objects = await client.retrieve([vms[0]!, gone, vms[1]!], 'VirtualMachine', ['name']);
    expect(objects.map((object) => object.ref.value).sort()).toEqual([vms[0]!.value, vms[1]!.value].sort());
    expect(await client.retrieve([gone], 'VirtualMachine', ['name'])).toEqual([]);
  });

  it('creates, reconfigures, powers and destroys a VM with all its hardware', async () => {
    const { folder, pool, datastore } = await place(client);
    const secret = ' a & b < c > "d" \t\n\r\n é 𝄞 ]]> ';
    const vm = (await client.runTask('CreateVM_Task', folder, {
      pool,
      config: {
        name: 'hardware & <name>',
        guestId: 'other3xLinux64Guest',
        numCPUs: 2,
        memoryMB: 512,
        files: { vmPathName: `[${datastore}] hardware/hardware.vmx` },
        deviceChange: [
          {
            operation: 'add',
            device: { $type: 'ParaVirtualSCSIController', key: -1, busNumber: 0, sharedBus: 'noSharing' },
          },
          {
            operation: 'add',
            fileOperation: 'create',
            device: {
              $type: 'VirtualDisk',
              key: -2,
              controllerKey: -1,
              unitNumber: 0,
              capacityInKB: 1024,
              backing: {
                $type: 'VirtualDiskFlatVer2BackingInfo',
                fileName: `[${datastore}] hardware/hardware.vmdk`,
                diskMode: 'persistent',
                thinProvisioned: true,
                parent: { fileName: `[${datastore}] parent/parent.vmdk`, diskMode: 'persistent' },
              },
            },
          },
          {
            operation: 'add',
            device: {
              $type: 'VirtualVmxnet3',
              key: -3,
              backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: 'VM Network' },
              connectable: { startConnected: true, allowGuestControl: true, connected: true },
              addressType: 'generated',
            },
          },
          {
            operation: 'add',
            device: {
              $type: 'VirtualSerialPort',
              key: -4,
              yieldOnPoll: true,
              backing: {
                $type: 'VirtualSerialPortURIBackingInfo',
                serviceURI: 'unix:///run/x.sock',
                direction: 'client',
              },
            },
          },
        ],
        extraConfig: [{ key: 'guestinfo.secret', value: secret }],
      },
    })) as ManagedObjectReference;
    const config = async () => (await client.retrieve([vm], 'VirtualMachine', ['config']))[0]!.props.config!;
    const before = await config();
    expect(before.name).toBe('hardware & <name>');
    expect(before.hardware).toMatchObject({ numCPU: 2, memoryMB: 512 });
    expect(before.extraConfig?.find((option) => option.key === 'guestinfo.secret')?.value).toBe(secret);
    const devices = before.hardware.device ?? [];
    const disk = devices.find((device) => device.$type === 'VirtualDisk');
    expect(disk).toMatchObject({
      capacityInKB: 1024,
      backing: { $type: 'VirtualDiskFlatVer2BackingInfo', parent: { fileName: `[${datastore}] parent/parent.vmdk` } },
    });
    const controller = devices.find((device) => device.$type === 'ParaVirtualSCSIController');
    expect(disk?.controllerKey).toBe(controller?.key);
    expect(devices.find((device) => device.$type === 'VirtualVmxnet3')).toMatchObject({
      macAddress: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
    });
    expect(devices.find((device) => device.$type === 'VirtualSerialPort')).toMatchObject({
      backing: { $type: 'VirtualSerialPortURIBackingInfo', serviceURI: 'unix:///run/x.sock', direction: 'client' },
    });

    await client.runTask('ReconfigVM_Task', vm, {
      spec: {
        numCPUs: 4,
        extraConfig: [{ key: 'guestinfo.more', value: '1' }],
        deviceChange: [{ operation: 'remove', device: disk! }],
      },
    });
    const after = await config();
    expect(after.hardware.numCPU).toBe(4);
    expect(after.hardware.device?.some((device) => device.$type === 'VirtualDisk')).toBe(false);

    const state = async () =>
      (await client.retrieve([vm], 'VirtualMachine', ['runtime.powerState']))[0]?.props['runtime.powerState'];
    await client.runTask('PowerOnVM_Task', vm, {});
    expect(await state()).toBe('poweredOn');
    await expect(client.runTask('PowerOnVM_Task', vm, {})).rejects.toMatchObject({
      kind: 'conflict',
      fault: { $type: 'InvalidPowerState', existingState: 'poweredOn' },
    });
    await client.runTask('PowerOffVM_Task', vm, {});
    expect(await state()).toBe('poweredOff');
    await client.runTask('Destroy_Task', vm, {});
    expect(await state()).toBeUndefined();
  });

  it('gives the faults of calls their type, kind and fields', async () => {
    const { pool } = await place(client);
    const shares = { level: 'normal' as const, shares: 0 };
    const allocation = { reservation: 0, expandableReservation: true, limit: -1, shares };
    const args = { name: 'twice', spec: { cpuAllocation: allocation, memoryAllocation: allocation } };
    const first = await client.call('CreateResourcePool', pool, args);
    await expect(client.call('CreateResourcePool', pool, args)).rejects.toMatchObject({
      kind: 'conflict',
      fault: { $type: 'DuplicateName', name: 'twice', object: first },
    });
    await client.runTask('Destroy_Task', first, {});
    const error = await client
      .call('RefreshDatastore', { type: 'Datastore', value: 'none' }, {})
      .catch((e: unknown) => e);
    expect(kindOf(error)).toBe('notFound');
    expect((error as VimFault).fault).toMatchObject({ $type: 'ManagedObjectNotFound' });
  });

  it('awaits many tasks with one long poll', async () => {
    const names = Array.from({ length: 8 }, (_, i) => `many-${i}`);
    const before = client.calls.get('WaitForUpdatesEx') ?? 0;
    const vms = await Promise.all(names.map((name) => createVm(client, name)));
    expect(new Set(vms.map((vm) => vm.value)).size).toBe(8);
    expect((client.calls.get('WaitForUpdatesEx') ?? 0) - before).toBeLessThan(40);
    await Promise.all(vms.map((vm) => client.runTask('Destroy_Task', vm, {})));
  });

  it('reports a task that does not exist, and others are still awaited', async () => {
    const missing = client.waitTask({ type: 'Task', value: 'none' });
    const vm = createVm(client, 'beside a missing task');
    await expect(missing).rejects.toMatchObject({ kind: 'notFound' });
    await client.runTask('Destroy_Task', await vm, {});
  });

  it('stops waiting for a task when told to', async () => {
    const abort = new AbortController();
    abort.abort();
    await expect(client.waitTask({ type: 'Task', value: 'none' }, { signal: abort.signal })).rejects.toMatchObject({
      kind: 'cancelled',
    });
  });

  it('logs in again when the session was dropped, once for all callers', async () => {
    const other = await connect();
    const third = await connect();
    try {
      await dropSession(other, third);
      const logins = other.calls.get('Login') ?? 0;
      const service = { type: 'ServiceInstance', value: 'ServiceInstance' };
      const times = await Promise.all(Array.from({ length: 10 }, () => other.call('CurrentTime', service, {})));
      for (const time of times) expect(time).toBeInstanceOf(Date);
      expect((other.calls.get('Login') ?? 0) - logins).toBe(1);
    } finally {
      await other.close();
      await third.close();
    }
  });

  it('is aborted in the middle of a long poll', async () => {
    const collector = await client.call('CreatePropertyCollector', client.serviceContent.propertyCollector, {});
    const { version } = (await client.call('WaitForUpdatesEx', collector, { version: '' }))!;
    const abort = new AbortController();
    const waiting = client.call('WaitForUpdatesEx', collector, { version }, { signal: abort.signal });
    await sleep(50);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ kind: 'cancelled' });
    await client.call('DestroyPropertyCollector', collector, {});
  });
});
