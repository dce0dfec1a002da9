/** What third-party clients ask of hostd, reproduced call by call, as the clients are not available here. */
import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { createFullVm, FULL_VM_DISK } from '../support/full-vm.js';
import { createVm } from '../support/inventory.js';

let hostd: FakeHostd;
let client: VimClient;

beforeAll(async () => {
  hostd = await startFakeHostd();
  client = await VimClient.connect(hostd);
});
afterAll(async () => {
  await client?.close();
  await hostd?.stop();
});

/** Sends a body unchanged, without a login, and returns the answer as text. */
function raw(body: string, path = '/sdk', method = 'POST'): Promise<{ status: number; text: string }> {
  const xml = `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>${body}</Body></Envelope>`;
  return new Promise((resolve, reject) => {
    const call = request(new URL(path, hostd.url), { method, rejectUnauthorized: false }, async (response) => {
      let text = '';
      for await (const part of response) text += String(part);
      resolve({ status: response.statusCode ?? 0, text });
    });
    call.on('error', reject);
    call.end(method === 'POST' ? xml : undefined);
  });
}

const retrieve = (type: string, value: string, path: string): string =>
  `<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">ha-property-collector</_this><specSet><propSet><type>${type}</type><pathSet>${path}</pathSet></propSet><objectSet><obj type="${type}">${value}</obj></objectSet></specSet></RetrieveProperties>`;

describe('a client that is not logged in', () => {
  it('is told that a property is missing because it is not logged in', async () => {
    const { status, text } = await raw(retrieve('SessionManager', 'ha-sessionmgr', 'currentSession'));
    expect(status).toBe(200);
    expect(text).toContain('<missingSet><path>currentSession</path><fault><fault xsi:type="NotAuthenticated">');
    expect(text).not.toContain('<propSet>');
  });

  it('may read the service instance in every way, and nothing else', async () => {
    const fetch = (type: string, value: string, prop: string): Promise<{ status: number; text: string }> =>
      raw(`<Fetch xmlns="urn:vim25"><_this type="${type}">${value}</_this><prop>${prop}</prop></Fetch>`);
    expect((await raw(retrieve('ServiceInstance', 'ServiceInstance', 'content.about'))).text).toContain(
      'xsi:type="AboutInfo"',
    );
    expect((await fetch('ServiceInstance', 'ServiceInstance', 'content')).text).toContain('xsi:type="ServiceContent"');
    const refused = await fetch('Folder', 'ha-folder-root', 'name');
    expect(refused.status).toBe(500);
    expect(refused.text).toContain('NotAuthenticatedFault');
  });

  it('finds a description of the service', async () => {
    const { text } = await raw('', '/sdk/vimService.wsdl', 'GET');
    expect(text).toContain('<definitions');
    expect(text).toContain('<operation name="RetrieveServiceContent">');
  });
});

it('returns any property by Fetch, with the type that the schema declares', async () => {
  const vm = await createVm(client, 'fetched');
  const fetch = (prop: string): Promise<unknown> => client.call('Fetch', vm, { prop });
  expect(await fetch('name')).toBe('fetched');
  expect(await fetch('runtime.powerState')).toBe('poweredOff');
  expect(await fetch('snapshot')).toBeUndefined();
  expect(await fetch('datastore')).toEqual([{ type: 'Datastore', value: 'datastore1' }]);
  expect(await fetch('config.flags')).toMatchObject({ $type: 'VirtualMachineFlagInfo' });
  await expect(fetch('runtime.nope')).rejects.toMatchObject({
    fault: { $type: 'InvalidProperty', name: 'runtime.nope' },
  });
});

it('lets a list view be refilled, also from another view', async () => {
  const { viewManager, taskManager, eventManager } = client.serviceContent;
  const list = await client.call('CreateListView', viewManager!, { obj: [taskManager!] });
  const gone = { type: 'Task', value: 'task-0' };
  expect(await client.call('ResetListView', list, { obj: [eventManager!, gone] })).toEqual([gone]);
  const members = async (): Promise<unknown> => (await client.retrieve([list], 'ListView', ['view']))[0]?.props.view;
  expect(await members()).toEqual([eventManager]);
  const other = await client.call('CreateListView', viewManager!, { obj: [taskManager!] });
  await client.call('ResetListViewFromView', list, { view: other });
  expect(await members()).toEqual([taskManager]);
});

it('lists recent tasks with their objects, and reads events from the oldest', async () => {
  const vm = await createVm(client, 'worked-on');
  await client.runTask('PowerOnVM_Task', vm, {});
  await client.runTask('Rename_Task', vm, { newName: 'renamed' });
  const [object] = await client.retrieve([vm], 'VirtualMachine', ['recentTask']);
  const tasks = await client.retrieve(object!.props.recentTask!, 'Task', ['info']);
  expect(tasks.map(({ props }) => [props.info!.descriptionId, props.info!.entity])).toEqual([
    ['VirtualMachine.powerOn', vm],
    ['ManagedEntity.rename', vm],
  ]);

  const { eventManager } = client.serviceContent;
  const filter = { entity: { entity: vm, recursion: 'self' as const } };
  const events = await client.call('CreateCollectorForEvents', eventManager!, { filter });
  const types = (await client.call('ReadNextEvents', events, { maxCount: 100 })).map((event) => event.$type);
  expect(types).toEqual(['VmCreatedEvent', 'VmStartingEvent', 'VmPoweredOnEvent', 'VmRenamedEvent']);

  // The collector ends with its session.
  const other = await VimClient.connect(hostd);
  const theirs = await other.call('CreateCollectorForEvents', eventManager!, { filter });
  await other.close();
  await expect(client.call('ReadNextEvents', theirs, { maxCount: 1 })).rejects.toMatchObject({
    fault: { $type: 'ManagedObjectNotFound' },
  });
});

it('lets our client continue after its session was terminated', async () => {
  const other = await VimClient.connect(hostd);
  const vm = await createVm(client, 'still-there');
  const { sessionManager } = client.serviceContent;
  const [manager] = await other.retrieve([sessionManager!], 'SessionManager', ['currentSession']);
  await client.call('TerminateSession', sessionManager!, { sessionId: [manager!.props.currentSession!.key] });
  expect((await other.retrieve([vm], 'VirtualMachine', ['name']))[0]?.props.name).toBe('still-there');
  await other.close();
});

it('shows a machine’s devices, sizes and parent disks', async () => {
  const vm = await createFullVm(client, hostd, 'full');
  const [object] = await client.retrieve([vm], 'VirtualMachine', ['config.hardware.device' as 'config.hardware']);
  const devices = object!.props['config.hardware.device' as 'config.hardware'] as unknown as {
    $type: string;
    key: number;
    [key: string]: unknown;
  }[];
  const keys = new Set(devices.map(({ key }) => key));
  for (const device of devices) if (device.controllerKey !== undefined) expect(keys).toContain(device.controllerKey);
  expect(new Set(devices.map(({ $type }) => $type))).toEqual(
    new Set([
      'VirtualIDEController',
      'VirtualPS2Controller',
      'VirtualPCIController',
      'VirtualSIOController',
      'VirtualKeyboard',
      'VirtualPointingDevice',
      'VirtualMachineVideoCard',
      'ParaVirtualSCSIController',
      'VirtualDisk',
      'VirtualVmxnet3',
      'VirtualSerialPort',
    ]),
  );
  const disk = devices.find(({ $type }) => $type === 'VirtualDisk')!;
  expect(disk).toMatchObject({
    capacityInKB: FULL_VM_DISK / 1024,
    capacityInBytes: FULL_VM_DISK,
    backing: { parent: { fileName: '[datastore1] images/base.vmdk' } },
  });
  expect((disk.backing as { uuid: string }).uuid).toMatch(/^6000C29[0-9a-f-]{29}$/);
});

describe('an option that the host cannot provide', () => {
  it.each([
    ['cpuAllocation.limit', { cpuAllocation: { limit: 500 } }],
    ['memoryAllocation.limit', { memoryAllocation: { limit: 64 } }],
    ['latencySensitivity.level', { latencySensitivity: { level: 'high' as const } }],
    ['nestedHVEnabled', { nestedHVEnabled: true }],
    ['memoryHotAddEnabled', { memoryHotAddEnabled: true }],
    ['tools.syncTimeWithHost', { tools: { syncTimeWithHost: true } }],
    ['firmware', { firmware: 'efi' }],
    ['bootOptions.efiSecureBootEnabled', { bootOptions: { efiSecureBootEnabled: true } }],
  ])('is refused by name: %s', async (path, spec) => {
    const target = await createVm(client, `option-${path}`);
    await expect(client.runTask('ReconfigVM_Task', target, { spec })).rejects.toMatchObject({
      fault: { $type: 'InvalidVmConfig', property: `configSpec.${path}` },
    });
  });

  it('is accepted where it asks for the current state', async () => {
    const vm = await createVm(client, 'as-it-is');
    const spec = { cpuAllocation: { limit: -1, reservation: 0 }, firmware: 'bios', nestedHVEnabled: false };
    await client.runTask('ReconfigVM_Task', vm, { spec });
  });
});

it('shows the guest-reported address and prefix of each card', async () => {
  const vm = await createFullVm(client, hostd, 'cards');
  await client.runTask('PowerOnVM_Task', vm, {});
  const net = async (): Promise<unknown> => {
    const [object] = await client.retrieve([vm], 'VirtualMachine', ['guest.net']);
    return object?.props['guest.net'];
  };
  const [first, second] = (await net()) as { macAddress: string }[];
  const { hooks } = hostd.runtime.guests.get('cards')!;
  hooks.infoSet(
    'guestinfo.caisson.run.addresses',
    `${first!.macAddress}=172.16.0.2/16,${second!.macAddress}=10.0.0.2/8,02:00:00:00:00:01=10.0.0.3/8,x`,
  );
  hooks.infoSet('guestinfo.ip', '172.16.0.2');
  expect(await net()).toMatchObject([
    { ipAddress: ['172.16.0.2'], ipConfig: { ipAddress: [{ ipAddress: '172.16.0.2', prefixLength: 16 }] } },
    { ipAddress: ['10.0.0.2'], ipConfig: { ipAddress: [{ ipAddress: '10.0.0.2', prefixLength: 8 }] } },
  ]);
  // Each is done when its task completes, so the next one finds the VM in the right state.
  await client.runTask('PowerOffVM_Task', vm, {});
  await client.runTask('PowerOnVM_Task', vm, {});
  await client.runTask('ResetVM_Task', vm, {});
  await client.runTask('SuspendVM_Task', vm, {});
  await client.runTask('PowerOnVM_Task', vm, {});
  expect((await net()) as object[]).not.toContainEqual(expect.objectContaining({ ipConfig: expect.anything() }));
});

it('names files in faults by their datastore path, never by a path of the machine', async () => {
  const manager = { type: 'FileManager', value: 'ha-nfc-file-manager' };
  const make = (name: string): Promise<unknown> => client.call('MakeDirectory', manager, { name });
  await make('[datastore1] twice');
  await expect(make('[datastore1] twice')).rejects.toMatchObject({
    message: expect.stringContaining('File [datastore1] twice already exists'),
    fault: { $type: 'FileAlreadyExists', file: '[datastore1] twice' },
  });
  await expect(make('[datastore1] none/below')).rejects.toMatchObject({
    message: expect.stringContaining('File [datastore1] none/below was not found'),
    fault: { $type: 'FileNotFound', file: '[datastore1] none/below' },
  });
  await expect(client.runTask('DeleteDatastoreFile_Task', manager, { name: '[datastore1] none' })).rejects.toThrow(
    'File [datastore1] none was not found',
  );
});

it('reports that no VM autostarts, which libvirt asks before it shows a VM', async () => {
  const host = { type: 'HostSystem', value: 'ha-host' };
  const [system] = await client.retrieve([host], 'HostSystem', ['configManager.autoStartManager']);
  const autoStart = system?.props['configManager.autoStartManager'] as { type: string; value: string };
  const [manager] = await client.retrieve([autoStart], 'HostAutoStartManager', ['config.defaults']);
  expect(manager?.props['config.defaults']).toMatchObject({ enabled: false, stopAction: 'powerOff' });
});
