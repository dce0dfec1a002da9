/** Limits on what one virtual container host's login can make hostd keep, look up or answer. */
import { execFileSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createChild } from '../../src/disk/vmdk/create.js';
import { datastorePlaces } from '../../src/hostd/datastore/datastore-places.js';
import { OpenDisks } from '../../src/hostd/disks/open-disks.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { makeMachine, makeVch, type TestVch } from '../support/two-vchs.js';

const MIB = 2 ** 20;
let hostd: FakeHostd;
let admin: VimClient;
let mine: TestVch;
let theirs: TestVch;

beforeAll(async () => {
  hostd = await startFakeHostd({ userBytes: 16 * MIB });
  admin = await VimClient.connect(hostd);
  mine = await makeVch(hostd, admin, 'mine', 'attacker');
  theirs = await makeVch(hostd, admin, 'theirs', 'victim');
});
afterAll(async () => {
  for (const client of [mine?.client, theirs?.client, admin]) await client?.close();
  await hostd?.stop();
});

type Call = (operation: string, target: ManagedObjectReference, args: unknown) => Promise<unknown>;
const as =
  (client: VimClient): Call =>
  (operation, target, args) =>
    client.call(operation as never, target, args as never);
/** Calls until it is refused. @returns how often it succeeded */
async function untilRefused(most: number, attempt: (number: number) => Promise<unknown>): Promise<number> {
  for (let number = 0; number < most; number++) {
    try {
      await attempt(number);
    } catch (error) {
      expect(error).toMatchObject({ fault: { $type: 'LimitExceeded' } });
      return number;
    }
  }
  throw new Error(`${most} times, and nothing refused it`);
}
const limited = (call: Promise<unknown>): Promise<void> =>
  expect(call).rejects.toMatchObject({ fault: { $type: 'LimitExceeded' } });

/** A separately logged-in client, whose session ends with the test. */
async function withSession<T>(body: (client: VimClient, call: Call) => Promise<T>): Promise<T> {
  const client = await VimClient.connect(mine.config.target);
  try {
    return await body(client, as(client));
  } finally {
    await client.close();
  }
}

describe('what hostd keeps for one user', () => {
  const long = 'x'.repeat(MIB);

  it('is limited, whatever it is, and released with the session', async () => {
    const filter = (): object => ({
      spec: {
        propSet: [{ type: 'VirtualMachine', pathSet: ['name'] }],
        objectSet: [{ obj: mine.machine, skip: false, selectSet: [{ $type: 'SelectionSpec', name: long }] }],
      },
      partialUpdates: false,
    });
    for (const take of [
      (client: VimClient, call: Call) => call('CreateFilter', client.serviceContent.propertyCollector, filter()),
      (client: VimClient, call: Call) =>
        call('CreateContainerView', client.serviceContent.viewManager!, {
          container: mine.config.resourcePool,
          type: [long],
          recursive: true,
        }),
      (client: VimClient, call: Call) =>
        call('CreateCollectorForEvents', client.serviceContent.eventManager!, { filter: { eventTypeId: [long] } }),
    ]) {
      const taken = await withSession((client, call) => untilRefused(60, () => take(client, call)));
      expect(taken).toBeGreaterThan(5);
      // The same amount again: nothing is left of the earlier session.
      expect(await withSession((client, call) => untilRefused(60, () => take(client, call)))).toBe(taken);
    }
    // Others still have room, and so has the host itself.
    await as(theirs.client)('CreateListView', theirs.client.serviceContent.viewManager!, { obj: [theirs.machine] });
  });

  it('is also limited in number', async () => {
    const many = 2000;
    for (const take of [
      (client: VimClient, call: Call) =>
        call('CreatePropertyCollector', client.serviceContent.propertyCollector, {}) as Promise<unknown>,
      (client: VimClient, call: Call) => call('CreateListView', client.serviceContent.viewManager!, {}),
    ])
      await withSession(async (client, call) => {
        let refused = false;
        for (let made = 0; made < many && !refused; made += 200) {
          const results = await Promise.allSettled(Array.from({ length: 200 }, () => take(client, call)));
          refused = results.some(({ status }) => status === 'rejected');
        }
        expect(refused).toBe(true);
      });
  });

  it('includes an answer of which the user reads only the beginning', async () => {
    const annotation = 'a'.repeat(60_000);
    await mine.client.runTask('ReconfigVM_Task', mine.machine, { spec: { annotation } });
    const specSet = Array.from({ length: 40 }, () => ({
      propSet: [{ type: 'VirtualMachine', pathSet: ['config.annotation'] }],
      objectSet: [{ obj: mine.machine }],
    }));
    await withSession(async (client, call) => {
      const { propertyCollector } = client.serviceContent;
      const read = (): Promise<unknown> =>
        call('RetrievePropertiesEx', propertyCollector, { specSet, options: { maxObjects: 1 } });
      const begun = await untilRefused(200, read);
      expect(begun).toBeGreaterThan(3);
    });
    await withSession(async (client, call) => {
      const { propertyCollector } = client.serviceContent;
      // Read to the end, repeatedly.
      for (let round = 0; round < 30; round++) {
        let seen = 0;
        let page = (await call('RetrievePropertiesEx', propertyCollector, {
          specSet,
          options: { maxObjects: 25 },
        })) as {
          token?: string;
          objects: unknown[];
        };
        seen += page.objects.length;
        while (page.token !== undefined) {
          page = (await call('ContinueRetrievePropertiesEx', propertyCollector, { token: page.token })) as typeof page;
          seen += page.objects.length;
        }
        expect(seen).toBe(40);
      }
    });
  });

  it('includes answers that the user does not read at all', async () => {
    const { machine, client } = mine;
    await client.runTask('ReconfigVM_Task', machine, {
      spec: { extraConfig: [{ key: 'guestinfo.x', value: 'v'.repeat(6 * MIB) }] },
    });
    const soap = `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><Fetch xmlns="urn:vim25"><_this type="VirtualMachine">${machine.value}</_this><prop>config.extraConfig</prop></Fetch></soapenv:Body></soapenv:Envelope>`;
    const { user, password } = mine.config.target;
    const agent = new Agent({ rejectUnauthorized: false, maxSockets: 100, keepAlive: true });
    const send = (
      body: string,
      cookie?: string,
    ): Promise<{ status: number; cookie: string; text(): Promise<string> }> =>
      new Promise((resolve, reject) => {
        const call = request(
          hostd.url,
          { method: 'POST', agent, headers: cookie === undefined ? {} : { cookie } },
          (response) =>
            resolve({
              status: response.statusCode ?? 0,
              cookie: response.headers['set-cookie']?.[0]?.split(';')[0] ?? '',
              async text() {
                let text = '';
                for await (const part of response) text += String(part);
                return text;
              },
            }),
        );
        call.on('error', reject);
        call.end(body);
      });
    const login = await send(
      soap.replace(
        /<Fetch.*<\/Fetch>/,
        `<Login xmlns="urn:vim25"><_this type="SessionManager">ha-sessionmgr</_this><userName>${user}</userName><password>${password}</password></Login>`,
      ),
    );
    await login.text();
    const answers = [];
    for (let number = 0; number < 40; number++) answers.push(await send(soap, login.cookie));
    const refused = answers.findIndex(({ status }) => status !== 200);
    expect(refused).toBeGreaterThan(0);
    expect(await answers[refused]!.text()).toContain('LimitExceeded');
    // Reading answers makes room.
    for (const answer of answers.slice(0, refused)) await answer.text();
    const again = await send(soap, login.cookie);
    expect(again.status).toBe(200);
    await again.text();
    agent.destroy();
    await client.runTask('ReconfigVM_Task', machine, { spec: { extraConfig: [{ key: 'guestinfo.x', value: '' }] } });
  });

  it('is enough for the machines, and no more', async () => {
    const big = (value: string, number = 0): Promise<unknown> =>
      mine.client.runTask('ReconfigVM_Task', mine.machine, {
        spec: { extraConfig: [{ key: `guestinfo.big${number}`, value }] },
      });
    const value = 'v'.repeat(3 * MIB);
    expect(await untilRefused(10, (number) => big(value, number))).toBe(7);
    for (let number = 0; number < 7; number++) await big('', number);
    await limited(mine.client.runTask('ReconfigVM_Task', mine.machine, { spec: { annotation: value } }));
    for (const spec of [{ uuid: 'u'.repeat(5000) }, { instanceUuid: 'x' }, { guestId: 'g'.repeat(5000) }])
      await expect(mine.client.runTask('ReconfigVM_Task', mine.machine, { spec })).rejects.toMatchObject({
        fault: { $type: 'InvalidArgument' },
      });
  });
});

describe('what one call', () => {
  it('looks up and answers is limited', async () => {
    const call = as(mine.client);
    const { propertyCollector, authorizationManager, searchIndex } = mine.client.serviceContent;
    const all = { propSet: [{ type: 'VirtualMachine', all: true }], objectSet: [{ obj: mine.machine }] };
    await limited(call('RetrieveProperties', propertyCollector, { specSet: Array.from({ length: 2500 }, () => all) }));
    const names = Array.from({ length: 2000 }, (_, number) => `config.extraConfig["${number}"]`);
    const refs = Array.from({ length: 200 }, () => ({ obj: mine.machine }));
    const wide = { propSet: [{ type: 'VirtualMachine', pathSet: names }], objectSet: refs };
    await limited(call('RetrieveProperties', propertyCollector, { specSet: [wide] }));
    await limited(call('CreateFilter', propertyCollector, { spec: wide, partialUpdates: false }));
    await limited(
      call('HasUserPrivilegeOnEntities', authorizationManager!, {
        entities: refs.map(({ obj }) => obj),
        userName: mine.config.target.user,
        privId: names.map(() => 'System.View'),
      }),
    );
    await expect(call('FindByInventoryPath', searchIndex!, { inventoryPath: '/a'.repeat(1 << 20) })).rejects.toThrow();
    const path = `config.extraConfig["${'p'.repeat(1 << 20)}"]`;
    await expect(call('Fetch', mine.machine, { prop: path })).rejects.toMatchObject({
      fault: { $type: 'InvalidProperty' },
    });
    const elements = Array.from({ length: 100_001 }, () => mine.machine);
    await expect(call('CreateListView', mine.client.serviceContent.viewManager!, { obj: elements })).rejects.toThrow(
      /elements/,
    );
  });

  it('searches for takes little time, whatever the pattern', async () => {
    await writeFile(join(hostd.paths.datastoreDir, mine.store, 'a'.repeat(200)), '');
    const began = process.cpuUsage();
    const found = (await as(mine.client)(
      'SearchDatastore_Task',
      { type: 'HostDatastoreBrowser', value: 'ha-datastorebrowser' },
      { datastorePath: `[datastore1] ${mine.store}`, searchSpec: { matchPattern: [`${'*a'.repeat(60)}*b`] } },
    )) as ManagedObjectReference;
    const { result } = await mine.client.waitTask(found);
    expect((result as { file?: unknown[] }).file ?? []).toEqual([]);
    // Backtracking would take far longer.
    expect(process.cpuUsage(began).user).toBeLessThan(60_000_000);
  });
});

describe('what belongs to others', () => {
  it('cannot be claimed or disowned by what a machine says about its host', async () => {
    const key = `{"key":"caisson.vch","value":"${mine.id}"},`;
    for (const instead of ['', key.replace(mine.id, theirs.id)])
      await expect(
        makeMachine(mine, 'attacker-nobody', '', (text) => text.replace(key, instead)),
      ).rejects.toMatchObject({ fault: { $type: 'NoPermission' } });
    const vm = await makeMachine(mine, 'attacker-nobody');
    for (const value of ['', theirs.id])
      await expect(
        mine.client.runTask('ReconfigVM_Task', vm, { spec: { extraConfig: [{ key: 'caisson.vch', value }] } }),
      ).rejects.toMatchObject({ fault: { $type: 'NoPermission' } });
    await mine.client.runTask('Destroy_Task', vm, {});
  });

  it('cannot be the parent of a disk, not even in a machine that claims to belong to no host', async () => {
    const at = (path: string): string => join(hostd.paths.datastoreDir, path);
    const { folder, resourcePool: pool } = mine.config;
    const config = { name: 'nobodys', files: { vmPathName: '[datastore1] nobodys/nobodys.vmx' } };
    const vm = (await admin.runTask('CreateVM_Task', folder, { pool, config } as never)) as ManagedObjectReference;
    const disk = at('nobodys/thief.vmdk');
    for (const parent of [`${theirs.store}/volumes/v/v.vmdk`, `${theirs.store}/images/layer/layer.vmdk`]) {
      await createChild(disk, at(parent));
      await mine.client.runTask('PowerOnVM_Task', vm, {});
      const { vm: given } = hostd.runtime.guests.get('nobodys')!;
      const disks = [{ bus: 0, unit: 0, path: disk, readOnly: false }];
      const started = OpenDisks.open({ ...given, disks }, datastorePlaces(hostd.paths));
      await expect(started.then((opened) => opened.close())).rejects.toThrow('not in the directory of its images');
      await mine.client.runTask('PowerOffVM_Task', vm, {});
      await rm(disk);
      await rm(`${disk}.caisson-disk`);
    }
    await mine.client.runTask('Destroy_Task', vm, {});
  });

  it('includes hostd’s records of disks, by whatever name', async () => {
    const record = `[datastore1] ${mine.directory}/${mine.directory}.vmdk.caisson-disk`;
    const { fileManager } = mine.client.serviceContent;
    const run = async (operation: string, args: object): Promise<unknown> => {
      const result = await as(mine.client)(operation, fileManager!, args);
      return operation.endsWith('_Task') ? mine.client.waitTask(result as ManagedObjectReference) : result;
    };
    for (const name of [record, `${record}/`, `${record}//`, `${record}/.`, `${record}/x`, `${record}/./x/`])
      for (const [operation, args] of [
        ['DeleteDatastoreFile_Task', { name }],
        ['MakeDirectory', { name, createParentDirectories: true }],
        ['CopyDatastoreFile_Task', { sourceName: name, destinationName: `[datastore1] ${mine.store}/copy` }],
        ['MoveDatastoreFile_Task', { sourceName: `[datastore1] ${mine.store}/secret`, destinationName: name }],
      ] as const)
        await expect(run(operation, args), `${operation} ${name}`).rejects.toMatchObject({
          fault: { $type: 'InvalidDatastorePath' },
        });
    const files = mine.client.datastore('datastore1', 'ha-datacenter');
    await expect(files.put(`${mine.directory}/x.vmdk.caisson-disk/`, '{}')).rejects.toThrow();
  });

  it('includes the host’s files: a path that a disk names as its parent is not opened', async () => {
    const disk = join(hostd.paths.datastoreDir, mine.store, 'volumes/v/pipe.vmdk');
    const pipe = join(hostd.paths.datastoreDir, mine.store, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await mkdir(join(hostd.paths.datastoreDir, mine.store, 'd'));
    const parent = join(hostd.paths.datastoreDir, mine.store, 'volumes/v/v.vmdk');
    for (const hint of ['../../pipe', '../../d', '../../../../../../../../dev/zero', '../../x.caisson-disk', 'a\0b']) {
      await createChild(disk, parent, hint).catch((error: Error) => {
        if (!hint.includes('\0')) throw error;
      });
      const vm = await makeMachine(mine, 'attacker-pipe', '', (text) =>
        text.replace('volumes/v/v.vmdk', 'volumes/v/pipe.vmdk'),
      );
      for (const property of ['config', 'layout', 'layoutEx', 'storage', 'summary'] as const)
        for (const client of [mine.client, admin])
          expect(await client.retrieve([vm], 'VirtualMachine', [property])).toHaveLength(1);
      await mine.client.runTask('Destroy_Task', vm, {});
      await rm(disk, { force: true });
      await rm(`${disk}.caisson-disk`, { force: true });
    }
  });
});
