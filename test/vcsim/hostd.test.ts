/** hostd (with simulated VMs) tested with govmomi, a third-party client, and with our own client. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import {
  type AnyVirtualDevice,
  type ManagedObjectReference,
  PropertyWatcher,
  readEvents,
  VimClient,
} from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { govmomi } from '../support/govmomi.js';
import { createVm, inventory, place } from '../support/inventory.js';

let hostd: FakeHostd;
let client: VimClient;

beforeEach(async () => {
  hostd = await startFakeHostd();
  client = await VimClient.connect(hostd);
});
afterEach(async () => {
  await client?.close();
  await hostd?.stop();
});

const powerState = async (vm: ManagedObjectReference) =>
  (await client.retrieve([vm], 'VirtualMachine', ['runtime.powerState']))[0]?.props['runtime.powerState'];

it('is listed, watched and told to power off by govmomi', async () => {
  expect(await govmomi(hostd)).toEqual([]);
  const vm = await createVm(client, 'web');
  await createVm(client, 'off');
  const extraConfig = [
    { key: 'guestinfo.a', value: ' <x> & "y" ' },
    { key: 'caisson.secret', value: 'z' },
  ];
  await client.runTask('ReconfigVM_Task', vm, { spec: { extraConfig } });
  await client.runTask('PowerOnVM_Task', vm, {});
  hostd.runtime.guests.get('web')!.hooks.infoSet('guestinfo.ip', '172.16.0.2');

  const listed = await govmomi(hostd);
  expect(listed.map((one) => [one.name, one.powerState]).sort()).toEqual([
    ['off', 'poweredOff'],
    ['web', 'poweredOn'],
  ]);
  expect(listed.find((one) => one.name === 'web')).toMatchObject({
    reference: vm.value,
    ipAddress: '172.16.0.2',
    guestinfo: { 'guestinfo.a': ' <x> & "y" ', 'guestinfo.ip': '172.16.0.2' },
  });

  const watching = govmomi(hostd, { watch: 'web' });
  const off = await govmomi(hostd, { powerOff: 'web' });
  expect(off.find((one) => one.name === 'web')?.powerState).toBe('poweredOff');
  expect((await watching).find((one) => one.name === 'web')?.powerState).toBe('poweredOff');
  expect(await powerState(vm)).toBe('poweredOff');
  await expect(govmomi(hostd, { powerOff: 'off' })).rejects.toThrow(/state/i);
  await expect(govmomi({ ...hostd, password: 'no' })).rejects.toThrow(/login/i);
});

it('shows each client its own session', async () => {
  const { sessionManager } = client.serviceContent;
  const current = async (one: VimClient): Promise<string | undefined> =>
    (await one.retrieve([sessionManager!], 'SessionManager', ['currentSession']))[0]?.props.currentSession?.key;
  const other = await VimClient.connect(hostd);
  try {
    const [mine, its] = [await current(client), await current(other)];
    expect(mine).toMatch(/^[0-9a-f-]{36}$/);
    expect(its).toMatch(/^[0-9a-f-]{36}$/);
    expect(its).not.toBe(mine);
  } finally {
    await other.close();
  }
});

it('refuses unknown operations and missing arguments with a fault', async () => {
  const { folder } = await place(client);
  const wrong = (call: Promise<unknown>, type: string) =>
    expect(call).rejects.toMatchObject({ fault: { $type: type } });
  await wrong(client.call('PowerOnVM_Task', folder, {}), 'MethodNotFound');
  await wrong(client.call('PowerOnVM_Task', { type: 'VirtualMachine', value: 'vm-0' }, {}), 'ManagedObjectNotFound');
  const vm = await createVm(client, 'one');
  await wrong(client.runTask('PowerOffVM_Task', vm, {}), 'InvalidPowerState');
  await wrong(createVm(client, 'one'), 'DuplicateName');
  await wrong(client.retrieve([vm], 'VirtualMachine', ['colour' as 'name']), 'InvalidProperty');
});

it('has up to four SCSI controllers with fifteen disks each', async () => {
  const vm = await createVm(client, 'many');
  const reconfigure = (...devices: AnyVirtualDevice[]) =>
    client.runTask('ReconfigVM_Task', vm, {
      spec: { deviceChange: devices.map((device) => ({ operation: 'add' as const, device })) },
    });
  const controller = (busNumber: number): AnyVirtualDevice => ({
    $type: 'ParaVirtualSCSIController',
    key: -100 - busNumber,
    busNumber,
    sharedBus: 'noSharing',
  });
  const disk = (controllerKey: number, unitNumber: number): AnyVirtualDevice => ({
    $type: 'VirtualDisk',
    key: -200 - unitNumber,
    controllerKey,
    unitNumber,
    capacityInKB: 0,
    backing: {
      $type: 'VirtualDiskFlatVer2BackingInfo',
      fileName: `[datastore1] v${unitNumber}.vmdk`,
      diskMode: 'persistent',
    },
  });
  const devices = async (): Promise<Record<string, unknown>[]> => {
    const [object] = await client.retrieve([vm], 'VirtualMachine', ['config.hardware']);
    return (object?.props['config.hardware']?.device ?? []) as unknown as Record<string, unknown>[];
  };
  const before = (await devices()).filter(({ $type }) => $type === 'ParaVirtualSCSIController').length;
  await reconfigure(...[0, 1, 2, 3].slice(before).map(controller), disk(-103, 15), disk(-103, 0));
  const now = await devices();
  expect(now.filter(({ $type }) => $type === 'ParaVirtualSCSIController')).toMatchObject([
    { key: 1000, busNumber: 0 },
    { key: 1001, busNumber: 1 },
    { key: 1002, busNumber: 2 },
    { key: 1003, busNumber: 3, device: [2063, 2048] },
  ]);
  expect(now.filter(({ controllerKey }) => controllerKey === 1003)).toMatchObject([
    { key: 2063, unitNumber: 15 },
    { key: 2048, unitNumber: 0 },
  ]);
  for (const wrong of [controller(4), controller(1), disk(1001, 7), disk(1001, 16), disk(1003, 15), disk(1004, 0)])
    await expect(reconfigure(wrong)).rejects.toThrow(/Device 0/);
  expect((await devices()).length).toBe(now.length);
});

it('reports every change of a VM, in order', async () => {
  const states: string[] = [];
  const watcher = new PropertyWatcher(
    client,
    client.serviceContent.rootFolder,
    'VirtualMachine',
    ['runtime.powerState', 'config.extraConfig'],
    {
      changed: (object) => states.push(String(object.props.get('runtime.powerState'))),
      left: () => states.push('left'),
    },
  );
  await watcher.start();
  try {
    expect(watcher.objects.size).toBe(0);
    const other = await VimClient.connect(hostd);
    const vm = await createVm(other, 'watched');
    await other.runTask('PowerOnVM_Task', vm, {});
    hostd.runtime.guests.get('watched')!.hooks.infoSet('guestinfo.caisson.run.status', 'started 1 2');
    await expect
      .poll(() => watcher.objects.get(vm.value)?.props.get('config.extraConfig'))
      .toContainEqual({
        key: 'guestinfo.caisson.run.status',
        value: 'started 1 2',
      });
    hostd.runtime.guests.get('watched')!.hooks.exited({ reason: 'guestPowerOff' });
    await expect.poll(() => states.at(-1)).toBe('poweredOff');
    await other.runTask('Destroy_Task', vm, {});
    await expect.poll(() => states.at(-1)).toBe('left');
    expect(states.filter((state, index) => state !== states[index - 1])).toEqual([
      'poweredOff',
      'poweredOn',
      'poweredOff',
      'left',
    ]);
    await other.close();
  } finally {
    await watcher.close();
  }
});

it('is found again by a client after a restart', async () => {
  const abort = new AbortController();
  const types: string[] = [];
  const told: string[] = [];
  const events = await readEvents(client, { signal: abort.signal });
  const reading = (async () => {
    for await (const event of events) types.push(`${event.$type} ${event.vm?.name ?? ''}`);
  })();
  const watcher = new PropertyWatcher(client, client.serviceContent.rootFolder, 'VirtualMachine', ['name'], {
    changed: (object) => told.push(String(object.props.get('name'))),
    left: (ref) => told.push(`left ${ref.value}`),
  });
  await watcher.start();
  try {
    const before = await createVm(client, 'before');
    await expect.poll(() => types).toContain('VmCreatedEvent before');
    await expect.poll(() => told).toEqual(['before']);
    await hostd.restart();
    const after = await createVm(client, 'after');
    expect([...(await inventory(client, 'VirtualMachine')).keys()].sort()).toEqual(['after', 'before']);
    expect(await powerState(before)).toBe('poweredOff');
    await expect.poll(() => types).toContain('VmCreatedEvent after');
    await expect.poll(() => told).toEqual(['before', 'after']);
    await client.runTask('Destroy_Task', after, {});
    await expect.poll(() => told).toEqual(['before', 'after', `left ${after.value}`]);
  } finally {
    abort.abort();
    await reading;
    await watcher.close();
  }
});

it.each(['powerOn', 'adopt', 'resume', 'suspend'] as const)(
  'sees that a VM ended by itself during %s, and can use it again',
  async (moment) => {
    const vm = await createVm(client, 'brief');
    const { runtime } = hostd;
    if (moment !== 'powerOn') await client.runTask('PowerOnVM_Task', vm, {});
    if (moment === 'resume') await client.runTask('SuspendVM_Task', vm, {});
    runtime.endDuring = moment;
    const ended = { fault: { $type: 'InvalidPowerState', existingState: 'poweredOff' } };
    if (moment === 'powerOn') await client.runTask('PowerOnVM_Task', vm, {});
    else if (moment === 'adopt') await hostd.restart();
    else
      await expect(
        client.runTask(moment === 'resume' ? 'PowerOnVM_Task' : 'SuspendVM_Task', vm, {}),
      ).rejects.toMatchObject(ended);
    await expect.poll(() => powerState(vm), { timeout: 5000 }).toBe('poweredOff');
    runtime.endDuring = null;
    await client.runTask('PowerOnVM_Task', vm, {});
    expect(await powerState(vm)).toBe('poweredOn');
    await client.runTask('PowerOffVM_Task', vm, {});
    await client.runTask('Destroy_Task', vm, {});
  },
);

it('leaves no files of a VM that is not in the inventory', async () => {
  const { datastoreDir, stateDir } = hostd.paths;
  const inventoryFile = join(stateDir, 'inventory.json');
  const left = (): string[] => readdirSync(datastoreDir).sort();
  await createVm(client, 'stays');
  const gone = await createVm(client, 'gone');
  const taken = await createVm(client, 'taken out');
  const before = left();
  // Neither the inventory's file nor the VM.
  mkdirSync(`${inventoryFile}.new`);
  await expect(createVm(client, 'refused')).rejects.toThrow();
  rmSync(`${inventoryFile}.new`, { recursive: true });
  expect(left()).toEqual(before);
  expect([...(await inventory(client, 'VirtualMachine')).keys()].sort()).toEqual(['gone', 'stays', 'taken out']);

  // As a hostd leaves it that was killed while it made a VM, while it destroyed one, and just after it had made one.
  const mark = (name: string): void => writeFileSync(join(datastoreDir, name, '.caisson-unfinished'), '');
  await client.call('UnregisterVM', taken, {});
  await client.call('UnregisterVM', gone, {});
  mark('gone');
  mark('stays');
  mkdirSync(join(datastoreDir, 'begun'));
  writeFileSync(join(datastoreDir, 'begun', 'begun.vmdk'), 'a part');
  mark('begun');
  await client.close();
  await hostd.restart();
  client = await VimClient.connect(hostd);
  await vi.waitFor(() => expect(left()).toEqual(['stays', 'taken_out']));
  expect(readdirSync(join(datastoreDir, 'stays'))).toEqual(['stays.vmx']);

  await client.runTask('Destroy_Task', (await inventory(client, 'VirtualMachine')).get('stays')!, {});
  expect(left()).toEqual(['taken_out']);
});

it('reports a task that was lost in a restart', async () => {
  const vm = await createVm(client, 'slow');
  vi.spyOn(hostd.runtime, 'powerOn').mockImplementation(() => new Promise(() => undefined));
  const task = await client.call('PowerOnVM_Task', vm, {});
  const waiting = client.waitTask(task);
  waiting.catch(() => undefined);
  await hostd.restart();
  await expect(waiting).rejects.toMatchObject({ kind: 'notFound' });
});

it('stores files in created directories', async () => {
  const { datastore, datacenter } = await place(client);
  const files = client.datastore(datastore, datacenter);
  const path = 'VIC/ü & %41 #?+;=,~ "x"/file';
  await expect(files.put(path, 'x')).rejects.toMatchObject({ kind: 'notFound' });
  const [dc] = [...(await inventory(client, 'Datacenter')).values()];
  await client.call('MakeDirectory', client.serviceContent.fileManager!, {
    name: `[${datastore}] VIC/ü & %41 #?+;=,~ "x"`,
    datacenter: dc,
    createParentDirectories: true,
  });
  await files.put(path, 'content');
  expect(await files.size(path)).toBe(7);
  let part = '';
  for await (const bytes of await files.get(path, { start: 2, end: 5 })) part += String(bytes);
  expect(part).toBe('nte');
  const [object] = await client.retrieve([...(await inventory(client, 'Datastore')).values()], 'Datastore', [
    'browser',
  ]);
  const result = await client.runTask('SearchDatastore_Task', object!.props.browser!, {
    datastorePath: `[${datastore}] VIC/ü & %41 #?+;=,~ "x"`,
    searchSpec: { details: { fileType: false, fileSize: true, modification: true, fileOwner: false } },
  });
  expect(result).toMatchObject({ file: [{ path: 'file', fileSize: 7 }] });
  await files.delete(path);
  expect(await files.exists(path)).toBe(false);
});

it('a VM without room for its disk asks a question, which can be answered', async () => {
  const vm = await createVm(client, 'full');
  await client.runTask('PowerOnVM_Task', vm, {});
  const question = async () =>
    (await client.retrieve([vm], 'VirtualMachine', ['runtime.question']))[0]?.props['runtime.question'];
  expect(await question()).toBeUndefined();
  const { hooks } = hostd.runtime.guests.get('full')!;
  // The temporary directory has room, so the VM resumes by itself.
  hooks.stalled();
  const { eventManager } = client.serviceContent;
  const [latest] = await client.retrieve([eventManager!], 'EventManager', ['latestEvent']);
  expect(latest?.props.latestEvent?.$type).toBe('VmDiskFailedEvent');
  expect((await question())?.choice.choiceInfo?.map(({ label }) => label)).toEqual(['Retry', 'Cancel']);
  await expect.poll(question).toBeUndefined();
  expect(hostd.runtime.resumed).toEqual(['full']);
  hooks.stalled();
  const { id } = (await question())!;
  await expect(client.call('AnswerVM', vm, { questionId: 'none', answerChoice: '0' })).rejects.toThrow(/question/);
  await expect(client.call('AnswerVM', vm, { questionId: id, answerChoice: '7' })).rejects.toThrow(/choice/);
  await client.call('AnswerVM', vm, { questionId: id, answerChoice: '1' });
  expect(await powerState(vm)).toBe('poweredOff');
  expect(await question()).toBeUndefined();
});
