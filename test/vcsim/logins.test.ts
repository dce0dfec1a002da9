/** The login of one virtual container host can neither see nor change anything of another's, or of the host itself. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat, symlink, unlink } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deleteVch, separateLogin } from '../../src/cli/vch.js';
import { createChild } from '../../src/disk/vmdk/create.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { operationInfo, operationNames, typeFamily, typeFields } from '../../src/vim25/table.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { createVm } from '../support/inventory.js';
import { implementedOperations } from '../support/operations.js';
import { MARK, machineSpec, makeMachine, makeVch, type TestVch } from '../support/two-vchs.js';

let hostd: FakeHostd;
let admin: VimClient;
let mine: TestVch;
let theirs: TestVch;
/** A machine of the administrator, in no host's pool. */
let adminsVm: ManagedObjectReference;

beforeAll(async () => {
  hostd = await startFakeHostd();
  admin = await VimClient.connect(hostd);
  mine = await makeVch(hostd, admin, 'mine', 'attacker');
  theirs = await makeVch(hostd, admin, 'theirs', MARK);
  adminsVm = await createVm(admin, `${MARK}-admin`);
});
afterAll(async () => {
  for (const client of [mine?.client, theirs?.client, admin]) await client?.close();
  await hostd?.stop();
});

type AnyCall = (operation: string, target: ManagedObjectReference, args: unknown, options?: object) => Promise<unknown>;
const as =
  (client: VimClient): AnyCall =>
  (operation, target, args, options) =>
    client.call(operation as never, target, args as never, options);

/** Calls, and waits for the task if there is one. */
async function attempt(operation: string, target: ManagedObjectReference, args: unknown): Promise<unknown> {
  const call = as(mine.client);
  const result = await call(operation, target, args);
  return operation.endsWith('_Task') ? (await mine.client.waitTask(result as ManagedObjectReference)).result : result;
}
const refused = (call: Promise<unknown>): Promise<void> =>
  expect(call).rejects.toMatchObject({ fault: { $type: 'NoPermission' } });

/** Everything that is not the attacker's: files, the administrator's view of the inventory, users and permissions. */
async function everything(): Promise<string[]> {
  const files: string[] = [];
  const walk = async (directory: string): Promise<void> => {
    for (const name of (await readdir(directory)).sort()) {
      const path = join(directory, name);
      if ((await stat(path)).isDirectory()) await walk(path);
      else
        files.push(
          `${path} ${createHash('sha256')
            .update(await readFile(path))
            .digest('hex')}`,
        );
    }
  };
  for (const directory of [theirs.directory, theirs.store, theirs.name, mine.name, `${MARK}-admin`])
    await walk(join(hostd.paths.datastoreDir, directory));
  const told: string[] = [];
  for (const ref of await view(admin)) {
    const [object] = await admin.retrieve([ref], ref.type as 'VirtualMachine', [
      'name',
      ...(ref.type === 'VirtualMachine' ? (['config', 'runtime.powerState', 'resourcePool'] as const) : []),
    ]);
    const owned = object?.props.resourcePool?.value === mine.config.resourcePool.value;
    if (!owned || ref.value === mine.endpoint.value) told.push(JSON.stringify(object));
  }
  return [...files, ...told, await readFile(hostd.paths.accessFile, 'utf8')];
}

async function view(client: VimClient): Promise<ManagedObjectReference[]> {
  const container = await client.call('CreateContainerView', client.serviceContent.viewManager!, {
    container: client.serviceContent.rootFolder,
    recursive: true,
  } as never);
  const [content] = await client.retrieve([container], 'ContainerView', ['view']);
  await client.call('DestroyView', container, {});
  return content?.props.view ?? [];
}

describe('what a user sees', () => {
  it("is the user's own objects and those they depend on", async () => {
    const seen = (await view(mine.client)).map(({ value }) => value).sort();
    expect(seen).toEqual(
      [
        ...['ha-compute-res', 'ha-datacenter', 'ha-folder-vm', 'ha-host', 'datastore1', 'HaNetwork-mine-bridge'],
        ...[mine.config.resourcePool.value, mine.endpoint.value, mine.machine.value],
      ].sort(),
    );
  });

  it('includes nothing of others in lists, searches, events, tasks or sessions', async () => {
    const { searchIndex, eventManager, taskManager, sessionManager } = mine.client.serviceContent;
    const [uuids] = await admin.retrieve([theirs.machine], 'VirtualMachine', ['config.uuid']);
    const call = as(mine.client);
    const found = [
      await call('FindByUuid', searchIndex!, { uuid: uuids!.props['config.uuid'], vmSearch: true }),
      await call('FindByInventoryPath', searchIndex!, { inventoryPath: `ha-datacenter/vm/${theirs.directory}` }),
      await call('FindByDnsName', searchIndex!, { dnsName: theirs.directory, vmSearch: true }),
      await call('FindByDatastorePath', searchIndex!, {
        datacenter: { type: 'Datacenter', value: 'ha-datacenter' },
        path: `[datastore1] ${theirs.directory}/${theirs.directory}.vmx`,
      }),
    ];
    expect(found).toEqual([undefined, undefined, undefined, undefined]);
    const events = await call('QueryEvents', eventManager!, { filter: {} });
    expect(JSON.stringify(events)).toContain(mine.machine.value);
    expect(JSON.stringify(events)).not.toMatch(new RegExp(`${MARK}|theirs|root logged`));
    const [tasks] = await mine.client.retrieve([taskManager!], 'TaskManager', ['recentTask']);
    const infos = await mine.client.retrieve(tasks!.props.recentTask ?? [], 'Task', ['info']);
    expect(infos.length).toBeGreaterThan(0);
    expect(JSON.stringify(infos)).not.toMatch(new RegExp(`${MARK}|theirs|${theirs.machine.value}"`));
    const [sessions] = await mine.client.retrieve([sessionManager!], 'SessionManager', ['sessionList']);
    expect(sessions!.props.sessionList?.map(({ userName }) => userName)).toEqual([mine.config.target.user]);
    const everybodys = await admin.retrieve([sessionManager!], 'SessionManager', ['sessionList']);
    for (const { key } of everybodys[0]!.props.sessionList ?? [])
      await refused(call('TerminateSession', sessionManager!, { sessionId: [key] }));
  });

  it('does not include machines of others in lists of shared objects', async () => {
    for (const [type, value, property] of [
      ['HostSystem', 'ha-host', 'vm'],
      ['Datastore', 'datastore1', 'vm'],
      ['Folder', 'ha-folder-vm', 'childEntity'],
    ] as const) {
      const [object] = await mine.client.retrieve([{ type, value }], type, [property as never]);
      const refs = Object.values(object!.props)[0] as ManagedObjectReference[];
      expect(refs.map((ref) => ref.value).sort()).toEqual([mine.endpoint.value, mine.machine.value].sort());
    }
    const [host] = await mine.client.retrieve([{ type: 'HostSystem', value: 'ha-host' }], 'HostSystem', ['config']);
    expect(JSON.stringify(host)).not.toContain('theirs-bridge');
  });

  it('does not change during a watch, whatever others do', async () => {
    const call = as(mine.client);
    const collector = (await call(
      'CreatePropertyCollector',
      mine.client.serviceContent.propertyCollector,
      {},
    )) as never;
    const watch = (type: string, value: string, pathSet: string[]): object => ({
      propSet: [{ type, pathSet }],
      objectSet: [{ obj: { type, value } }],
    });
    for (const spec of [
      watch('HostSystem', 'ha-host', ['vm']),
      watch('EventManager', 'ha-eventmgr', ['latestEvent']),
      watch('TaskManager', 'ha-taskmgr', ['recentTask']),
    ])
      await call('CreateFilter', collector, { spec, partialUpdates: false });
    const first = (await call('WaitForUpdatesEx', collector, { options: { maxWaitSeconds: 1 } })) as {
      version: string;
    };
    const waiting = call('WaitForUpdatesEx', collector, { version: first.version, options: { maxWaitSeconds: 2 } });
    await theirs.client.runTask('PowerOnVM_Task', theirs.machine, {});
    await theirs.client.runTask('PowerOffVM_Task', theirs.machine, {});
    expect(await waiting).toBeUndefined();
    await call('DestroyPropertyCollector', collector, {});
  });
});

/** Values for an argument of a type, each belonging to the victim or to the host. */
function hostile(type: string, array: boolean, depth: number, ref: ManagedObjectReference, text: string): unknown {
  const one = (): unknown => {
    switch (type) {
      case 'ManagedObjectReference':
        return ref;
      case 'string':
        return text;
      case 'boolean':
        return true;
      case 'int':
      case 'long':
      case 'short':
        return 1;
      case 'dateTime':
        return new Date(0);
      default: {
        const concrete = typeFamily(type)[0] ?? type;
        const fields = typeFields(concrete);
        if (fields === undefined || depth > 2) return undefined;
        const value: Record<string, unknown> = { $type: concrete };
        for (const field of fields) {
          const inner = hostile(field.type, field.array, depth + 1, ref, text);
          if (inner !== undefined && (!field.optional || ['ManagedObjectReference', 'string'].includes(field.type)))
            value[field.name] = inner;
        }
        return value;
      }
    }
  };
  const value = one();
  return array ? (value === undefined ? [] : [value]) : value;
}

describe('what a user can do', () => {
  /** Operations that end the session, or wait. */
  const leftOut = new Set(['Logout', 'Login', 'WaitForUpdates', 'WaitForUpdatesEx']);

  it('to objects of others is nothing: every operation is tried on them, and with them as arguments', async () => {
    const call = as(theirs.client);
    const { propertyCollector, viewManager, eventManager, rootFolder } = theirs.client.serviceContent;
    const collector = (await call('CreatePropertyCollector', propertyCollector, {})) as ManagedObjectReference;
    const filter = (await call('CreateFilter', collector, {
      spec: { propSet: [{ type: 'VirtualMachine', pathSet: ['name'] }], objectSet: [{ obj: theirs.machine }] },
      partialUpdates: false,
    })) as ManagedObjectReference;
    const list = (await call('CreateListView', viewManager!, { obj: [theirs.machine] })) as ManagedObjectReference;
    const container = (await call('CreateContainerView', viewManager!, {
      container: rootFolder,
      recursive: true,
    })) as ManagedObjectReference;
    const history = (await call('CreateCollectorForEvents', eventManager!, { filter: {} })) as ManagedObjectReference;
    const task = (await call('PowerOffVM_Task', theirs.machine, {})) as ManagedObjectReference;
    const others = [theirs.machine, theirs.endpoint, theirs.config.resourcePool, adminsVm, collector, filter, list]
      .concat([container, history, task])
      .concat([
        { type: 'Network', value: 'HaNetwork-theirs-bridge' },
        { type: 'Network', value: 'HaNetwork-VM Network' },
        { type: 'ResourcePool', value: 'ha-root-pool' },
      ]);
    const shared = Object.values(mine.client.serviceContent).filter(
      (value): value is ManagedObjectReference => typeof value === 'object' && 'value' in value && 'type' in value,
    );
    const fixed = [
      ['HostSystem', 'ha-host'],
      ['ComputeResource', 'ha-compute-res'],
      ['Datacenter', 'ha-datacenter'],
      ['Folder', 'ha-folder-vm'],
      ['Folder', 'ha-folder-network'],
      ['Datastore', 'datastore1'],
      ['HostNetworkSystem', 'networkSystem'],
      ['HostAutoStartManager', 'ha-autostart-mgr'],
      ['HostLocalAccountManager', 'ha-localacctmgr'],
      ['HostDatastoreBrowser', 'ha-datastorebrowser'],
      ['VirtualMachine', mine.endpoint.value],
    ].map(([type, value]) => ({ type: type!, value: value! }));
    const texts = [
      `[datastore1] ${theirs.directory}/${theirs.directory}.vmdk`,
      `[datastore1] ${theirs.store}/secret`,
      theirs.directory,
      hostd.user,
    ];
    const before = await everything();
    const answered = new Set<string>();
    const implemented = new Set((await implementedOperations()).map((pair) => pair.join('.')));
    const faults = new Map<string, number>();
    /** Plausible names, for calls that are refused because of their texts. */
    const own = (name: string): ManagedObjectReference =>
      name === 'pool' ? mine.config.resourcePool : name === 'datacenter' ? fixed[2]! : mine.machine;
    const targets = [...others, ...shared, ...fixed, mine.machine];
    let turn = 0;
    for (const operation of operationNames().filter((name) => !leftOut.has(name))) {
      const { args } = operationInfo(operation)!;
      for (const target of targets) {
        const call = `${target.type}.${operation}`;
        if (!implemented.has(call) && operation !== 'Fetch') continue;
        if (target === mine.machine && operation === 'Destroy_Task') continue;
        for (const [text, foreign] of texts.flatMap((one) => [[one, true] as const, [one, false] as const])) {
          const victim = others[turn++ % others.length]!;
          const values = Object.fromEntries(
            args.map(({ name, type, array }) => [name, hostile(type, array, 0, foreign ? victim : own(name), text)]),
          );
          const result = await attempt(operation, target, values).catch(
            (error: Error & { fault?: { $type: string } }) => {
              const kind = error.fault?.$type ?? error.message;
              faults.set(kind, (faults.get(kind) ?? 0) + 1);
              return new Error(error.message);
            },
          );
          if (!(result instanceof Error) && target !== mine.machine) answered.add(call);
          const told = (result instanceof Error ? result.message : (JSON.stringify(result) ?? '')).replaceAll(text, '');
          expect(told, `${call} of ${target.value}`).not.toContain(MARK);
          if (args.length === 0) break;
        }
      }
    }
    expect(faults.get('NoPermission')).toBeGreaterThan(800);
    expect([...faults.keys()]).not.toContain('SystemError');
    expect(await everything()).toEqual(before);
    // Only lookups succeed: they find nothing of others, as shown above.
    const harmless =
      /\.(Fetch|Find\w+|Retrieve\w+|Query\w+|Has\w+|Create\w*(View|Collector|Filter)\w*|CreateCollectorForEvents|\w*View\w*|CheckForUpdates|Cancel\w+|CurrentTime|Refresh\w+|Search\w+|ContinueRetrieve\w+)$/;
    expect([...answered].filter((one) => !harmless.test(one))).toEqual([]);
    for (const ref of [collector, filter, list, container, history])
      expect(await admin.retrieve([ref], ref.type as never, [])).toBeDefined();
    expect(await call('ReadNextEvents', history, { maxCount: 1 })).toHaveLength(1);
  }, 900_000);

  it('to files of others is nothing, however they are named', async () => {
    const { fileManager, virtualDiskManager } = mine.client.serviceContent;
    const browser = { type: 'HostDatastoreBrowser', value: 'ha-datastorebrowser' };
    const own = `[datastore1] ${mine.store}/volumes/v/v.vmdk`;
    const foreign = [
      `[datastore1] ${theirs.store}/secret`,
      `[datastore1]${theirs.store}/secret`,
      `[datastore1] /${theirs.store}//secret`,
      `[datastore1] ./${theirs.store}/./secret`,
      `[datastore1] ${theirs.store}/volumes/v`,
      `[datastore1] ${theirs.store}`,
      `[datastore1] ${theirs.directory}`,
      `[datastore1] ${theirs.directory}/${theirs.directory}.vmx`,
      `[datastore1] ${mine.name}/${mine.name}.vmx`,
      `[datastore1] ${mine.name}`,
      '[datastore1] VIC',
      '[datastore1] ',
      // The attacker's own machine: a file written there would be its configuration at hostd's next start.
      `[datastore1] ${mine.directory}/${mine.directory}.vmx`,
      `[datastore1] ${mine.directory}/${mine.directory}.vmx.new`,
      `[datastore1] ${mine.directory}`,
    ];
    const before = await everything();
    for (const name of foreign) {
      await refused(attempt('MakeDirectory', fileManager!, { name: `${name}/x.vmx/y`, createParentDirectories: true }));
      await refused(attempt('DeleteDatastoreFile_Task', fileManager!, { name }));
      await refused(attempt('DeleteVirtualDisk_Task', virtualDiskManager!, { name }));
      for (const [sourceName, destinationName] of [
        [name, `[datastore1] ${mine.store}/taken`],
        [own, name],
      ]) {
        const move = { sourceName, destinationName, force: true };
        await refused(attempt('MoveDatastoreFile_Task', fileManager!, move));
        // Reading one's own files is allowed.
        if (sourceName === name && name.includes(mine.directory)) continue;
        await refused(attempt('CopyDatastoreFile_Task', fileManager!, move));
        await refused(
          attempt('CopyVirtualDisk_Task', virtualDiskManager!, { sourceName, destName: destinationName, force: true }),
        );
      }
      if (name.includes(mine.directory)) continue;
      await refused(attempt('SearchDatastore_Task', browser, { datastorePath: name }));
      await refused(attempt('SearchDatastoreSubFolders_Task', browser, { datastorePath: name }));
    }
    for (const name of [
      `[datastore1] ${mine.store}/../${theirs.id}/secret`,
      '[datastore1] ../credentials.json',
      '[datastore2] x',
    ])
      await expect(attempt('DeleteDatastoreFile_Task', fileManager!, { name })).rejects.toThrow();
    expect(await everything()).toEqual(before);
  });

  it('to files of others over /folder is nothing, with a session or a password', async () => {
    const { user, password } = mine.config.target;
    const basic = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    const send = (method: string, path: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const call = request(
          new URL(`/folder/${path}?dcPath=ha-datacenter&dsName=datastore1`, hostd.url),
          { method, rejectUnauthorized: false, agent: false, headers: { authorization: basic } },
          (response) => {
            response.resume();
            response.on('end', () => resolve(response.statusCode ?? 0));
          },
        );
        call.on('error', reject);
        call.end(method === 'PUT' ? 'written by the attacker' : undefined);
      });
    const before = await everything();
    const encoded = theirs.store.replace('V', '%56');
    for (const path of [
      `${theirs.store}/secret`,
      `${encoded}/secret`,
      `/${theirs.store}/secret`,
      `${theirs.directory}/x.vmdk`,
    ])
      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) expect(await send(method, path)).toBe(403);
    expect(await send('GET', `${mine.store}/%2e%2e/${theirs.id}/secret`)).not.toBe(200);
    expect(await send('PUT', `${mine.directory}/${mine.directory}.vmx`)).toBe(403);
    expect(await send('GET', `${mine.name}/${mine.name}.vmx`)).toBe(403);
    await expect(mine.client.datastore('datastore1', 'ha-datacenter').read(`${theirs.store}/secret`)).rejects.toThrow();
    expect(await send('PUT', `${mine.store}/new`)).toBe(201);
    expect(await send('GET', `${mine.store}/new`)).toBe(200);
    expect(await everything()).toEqual(before);
    // A link in one's own directory does not lead into another's.
    const link = join(hostd.paths.datastoreDir, mine.store, 'link');
    await symlink(join(hostd.paths.datastoreDir, theirs.store), link);
    expect(await send('GET', `${mine.store}/link/secret`)).not.toBe(200);
    expect(await send('PUT', `${mine.store}/link/secret`)).not.toBe(201);
    await unlink(link);
  });

  it('with machines is limited to building them from the user’s own parts', async () => {
    const { folder, resourcePool: pool, channelDir } = mine.config;
    const theirDisk = `[datastore1] ${theirs.store}/volumes/v/v.vmdk`;
    const theirSocket = `unix://${theirs.config.channelDir}/x.sock`;
    const before = await everything();
    let number = 0;
    /** A valid machine, except for what `change` does to the text of its specification. */
    const make = (change: (text: string) => string, placement = pool): Promise<unknown> => {
      const spec = JSON.stringify(machineSpec(mine, `attacker-new${number++}`));
      const changed = change(spec);
      if (placement === pool) expect(changed).not.toBe(spec);
      return attempt('CreateVM_Task', folder, { pool: placement, config: JSON.parse(changed) });
    };
    const ownDisk = `[datastore1] ${mine.store}/volumes/v/v.vmdk`;
    const ownSocket = `unix://${channelDir}/x.sock`;
    const attacks: ((text: string) => string)[] = [
      (text) => text.replace(ownDisk, theirDisk),
      (text) => text.replace(ownDisk, theirDisk).replace('independent_persistent', 'independent_nonpersistent'),
      (text) => text.replace(ownDisk, `[datastore1] ${theirs.directory}/${theirs.directory}.vmdk`),
      (text) => text.replace(`${mine.store}/images`, `${theirs.store}/images`),
      (text) => text.replace(ownSocket, theirSocket),
      (text) => text.replace(ownSocket, 'unix:///run/docker.sock'),
      (text) => text.replace(ownSocket, `unix://${channelDir}/../theirs/x.sock`),
      (text) => text.replace(ownSocket, `unix://${channelDir}/deeper/x.sock`),
      (text) => text.replace(/\[datastore1\] attacker-new\d+\/output.log/, `[datastore1] ${theirs.store}/secret`),
      (text) =>
        text.replace(/\[datastore1\] attacker-new\d+\/output.log/, `[datastore1] ${mine.name}/${mine.name}.vmx`),
      (text) => text.replace(/output.log/, 'other.vmx'),
      (text) => text.replace('"caisson.container"', '"caisson.appliance"'),
      (text) => text.replace('"caisson.container"', '"caisson.scope"'),
      (text) => text.replace('"caisson.container"', '"Caisson.anything"'),
      (text) =>
        text
          .replace(mine.id, (id) => (text.indexOf(id) > text.indexOf('caisson.vch') ? theirs.id : id))
          .replace(`"value":"${mine.id}"`, `"value":"${theirs.id}"`),
      (text) =>
        text.replace(/\[datastore1\] attacker-new\d+\/attacker-new\d+.vmx/, `[datastore1] ${theirs.store}/in/in.vmx`),
      (text) => text.replace(/\[datastore1\] attacker-new\d+\/attacker-new\d+.vmx/, '[datastore1] VIC/VIC.vmx'),
      (text) => text.replace(/\[datastore1\] attacker-new\d+\/attacker-new\d+.vmx/, '[datastore1] x.vmx'),
      (text) =>
        text.replace(
          /\[datastore1\] attacker-new\d+\/attacker-new\d+.vmx/,
          `[datastore1] ${theirs.directory}/own/own.vmx`,
        ),
      (text) =>
        text.replace(/\[datastore1\] attacker-new\d+\/attacker-new\d+.vmx/, `[datastore1] ${mine.store}/own.vmx`),
    ];
    for (const attack of attacks) await refused(make(attack));
    // Networks of others do not exist for the user.
    for (const network of ['theirs-bridge', 'VM Network'])
      await expect(make((text) => text.replace('mine-bridge', network))).rejects.toMatchObject({
        fault: { $type: 'InvalidDeviceBacking' },
      });
    await refused(make((text) => text, theirs.config.resourcePool));
    await refused(make((text) => text, { type: 'ResourcePool', value: 'ha-root-pool' }));
    for (const [path, placement] of [
      [`[datastore1] ${theirs.directory}/${theirs.directory}.vmx`, pool],
      [`[datastore1] ${mine.directory}/${mine.directory}.vmx`, pool],
      [`[datastore1] ${mine.directory}/${mine.directory}.vmx`, undefined],
    ])
      await refused(attempt('RegisterVM_Task', folder, { path, name: 'x', asTemplate: false, pool: placement }));
    // The same by changing an existing machine.
    const spec = (deviceChange: unknown[], extraConfig: unknown[] = []): Promise<unknown> =>
      attempt('ReconfigVM_Task', mine.machine, { spec: { deviceChange, extraConfig } });
    const whole = machineSpec(mine, 'attacker-x') as {
      deviceChange: { device: { key: number; unitNumber?: number } }[];
    };
    const change = (key: number, replace: (text: string) => string): unknown => {
      const device = whole.deviceChange.find((one) => one.device.key === key)!;
      const moved = {
        ...device,
        device: { ...device.device, ...(key === -3 ? { controllerKey: 1000, unitNumber: 5 } : {}) },
      };
      return JSON.parse(replace(JSON.stringify(moved)));
    };
    await refused(spec([change(-3, (text) => text.replace(ownDisk, theirDisk))]));
    await refused(spec([change(-20, (text) => text.replace(ownSocket, theirSocket))]));
    await expect(spec([change(-10, (text) => text.replace('mine-bridge', 'theirs-bridge'))])).rejects.toMatchObject({
      fault: { $type: 'InvalidDeviceBacking' },
    });
    await refused(spec([], [{ key: 'caisson.appliance', value: 'endpoint' }]));
    await refused(spec([], [{ key: 'caisson.vch', value: theirs.id }]));
    await refused(attempt('ReconfigVM_Task', mine.endpoint, { spec: { annotation: 'x' } }));
    await refused(attempt('PowerOffVM_Task', mine.endpoint, {}));
    await refused(attempt('Destroy_Task', mine.endpoint, {}));
    expect(await everything()).toEqual(before);
    expect((await readdir(hostd.paths.datastoreDir)).filter((name) => name.startsWith('attacker-new'))).toEqual([]);
  });

  it('does not reveal files of others through a disk that claims to be their child', async () => {
    const at = (path: string): string => join(hostd.paths.datastoreDir, path);
    await createChild(at(`${mine.store}/volumes/v/child.vmdk`), at(`${theirs.store}/volumes/v/v.vmdk`));
    const vm = await makeMachine({ ...mine, store: mine.store }, 'attacker-child', '', (text) =>
      text.replace('volumes/v/v.vmdk', 'volumes/v/child.vmdk'),
    );
    for (const property of ['config', 'layout', 'layoutEx'] as const) {
      const [object] = await mine.client.retrieve([vm], 'VirtualMachine', [property]);
      expect(JSON.stringify(object)).toContain('attacker-child');
      expect(JSON.stringify(object)).not.toContain(theirs.id);
    }
    const [seen] = await admin.retrieve([vm], 'VirtualMachine', ['layout']);
    expect(JSON.stringify(seen)).toContain(theirs.id);
    await mine.client.runTask('Destroy_Task', vm, {});
  });

  it('includes everything that a host needs for its own machines and files', async () => {
    const vm = await makeMachine(mine, 'attacker-good');
    const [secret] = await mine.client.retrieve([vm], 'VirtualMachine', ['config.extraConfig', 'config.hardware']);
    expect(JSON.stringify(secret)).toContain('attacker-good.vmdk');
    const set = { key: 'guestinfo.caisson.program', value: 'p' };
    await mine.client.runTask('ReconfigVM_Task', vm, { spec: { name: 'attacker-renamed', extraConfig: [set] } });
    await mine.client.runTask('PowerOnVM_Task', vm, {});
    await mine.client.runTask('SuspendVM_Task', vm, {});
    await mine.client.runTask('PowerOnVM_Task', vm, {});
    await mine.client.runTask('PowerOffVM_Task', vm, {});
    const files = mine.client.datastore('datastore1', 'ha-datacenter');
    await files.put('attacker-good/attacker-good.vmdk', 'new content');
    expect(String(await files.read('attacker-good/attacker-good.vmdk'))).toBe('new content');
    await mine.client.runTask('Destroy_Task', vm, {});
    const { fileManager } = mine.client.serviceContent;
    const at = (path: string): string => `[datastore1] ${mine.store}/${path}`;
    await attempt('MakeDirectory', fileManager!, { name: at('a/b'), createParentDirectories: true });
    await attempt('MoveDatastoreFile_Task', fileManager!, { sourceName: at('a/b'), destinationName: at('c') });
    await attempt('DeleteDatastoreFile_Task', fileManager!, { name: at('c') });
  });
});

describe('the login itself', () => {
  it('is stored as a hash in a root-owned file, and shown nowhere', async () => {
    const { password, user } = mine.config.target;
    expect(user).toBe(`vch-${mine.id.slice(0, 16)}`);
    const file = await readFile(hostd.paths.accessFile, 'utf8');
    expect(file).toContain(user);
    expect(file).not.toContain(password);
    expect((await stat(hostd.paths.accessFile)).mode & 0o777).toBe(0o600);
    const events = await admin.call('QueryEvents', admin.serviceContent.eventManager!, { filter: {} });
    expect(JSON.stringify(events)).not.toContain(password);
    const holders: string[] = [];
    const walk = async (directory: string): Promise<void> => {
      for (const entry of await readdir(directory, { withFileTypes: true })) {
        const path = join(directory, entry.name);
        if (entry.isDirectory()) await walk(path);
        else if ((await readFile(path)).includes(password)) holders.push(path);
      }
    };
    await walk(hostd.paths.stateDir);
    // The endpoint's configuration.
    expect(holders).toEqual([join(hostd.paths.datastoreDir, mine.name, `${mine.name}.vmx`)]);
    expect((await stat(holders[0]!)).mode & 0o777).toBe(0o600);
  });

  it('works after a restart of hostd, but not with a wrong password', async () => {
    await hostd.restart();
    const again = await VimClient.connect(mine.config.target);
    expect((await view(again)).map(({ value }) => value)).toContain(mine.machine.value);
    expect((await view(again)).map(({ value }) => value)).not.toContain(theirs.machine.value);
    await again.close();
    for (const password of ['wrong-password', theirs.config.target.password, ''])
      await expect(VimClient.connect({ ...mine.config.target, password })).rejects.toThrow(/incorrect/);
  });

  it('is created for a host of an earlier version, and removed with the host', async () => {
    admin = await VimClient.connect(hostd);
    const old = await makeVch(hostd, admin, 'old', 'attacker');
    await old.client.close();
    const { accountManager } = admin.serviceContent;
    await admin.call('RemoveUser', accountManager!, { userName: old.config.target.user });
    await expect(VimClient.connect(old.config.target)).rejects.toThrow(/incorrect/);
    const { url, user, password, thumbprint } = hostd;
    const target = { url, user, password, thumbprint };
    const earlier = { ...old, powerState: 'poweredOn', config: { ...old.config, target } };
    await separateLogin(admin, earlier, target);
    const [vm] = await admin.retrieve([old.endpoint], 'VirtualMachine', ['config.extraConfig', 'runtime.powerState']);
    const keys = vm!.props['config.extraConfig']!;
    const config = JSON.parse(
      String(keys.find(({ key }) => key === 'guestinfo.caisson.vch')!.value),
    ) as typeof old.config;
    expect(config.target.user).toBe(old.config.target.user);
    expect(vm!.props['runtime.powerState']).toBe('poweredOn');
    const client = await VimClient.connect(config.target);
    expect((await view(client)).map(({ value }) => value)).toContain(old.machine.value);
    await deleteVch(admin, { ...old, config }, { force: true }, () => undefined);
    // Its sessions end with it.
    await expect(view(client)).rejects.toThrow(/incorrect|authenticated/);
    await client.close();
    await expect(VimClient.connect(config.target)).rejects.toThrow(/incorrect/);
    expect(await readFile(hostd.paths.accessFile, 'utf8')).not.toContain(config.target.user);
    // Roles stay while another host uses them, and are removed with the last one.
    expect(await readFile(hostd.paths.accessFile, 'utf8')).toContain('caisson-vch-folder');
    for (const vch of [mine, theirs]) await deleteVch(admin, vch, { force: true }, () => undefined);
    const kept = JSON.parse(await readFile(hostd.paths.accessFile, 'utf8')) as object;
    expect(kept).toMatchObject({ users: [], roles: [], permissions: [] });
    // A host whose creation fails leaves none either.
    const before = await view(admin);
    hostd.runtime.powerOn = () => Promise.reject(new Error('it cannot be started'));
    await expect(makeVch(hostd, admin, 'half', 'half')).rejects.toThrow('it cannot be started');
    expect(JSON.parse(await readFile(hostd.paths.accessFile, 'utf8'))).toMatchObject({
      users: [],
      roles: [],
      permissions: [],
    });
    expect(await view(admin)).toEqual(before);
    await admin.close();
  });
});
