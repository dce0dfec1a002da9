/** hostd's records of disks: no datastore client can read, write or replace one, and it follows its disk. */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createChild, createEmpty } from '../../src/disk/index.js';
import { datastorePlaces } from '../../src/hostd/datastore/datastore-places.js';
import { recordPath } from '../../src/hostd/disks/disk-records.js';
import { OpenDisks } from '../../src/hostd/disks/open-disks.js';
import { type DatastoreClient, VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { createFullVm } from '../support/full-vm.js';
import { place } from '../support/inventory.js';

let hostd: FakeHostd;
let client: VimClient;
let files: DatastoreClient;
let name: string;
let disk: string;
let count = 0;

const at = (path: string): string => join(hostd.paths.datastoreDir, path);
const named = (path: string): string => `[datastore1] ${path}`;

beforeAll(async () => {
  hostd = await startFakeHostd();
  client = await VimClient.connect(hostd);
  const { datastore, datacenter } = await place(client);
  files = client.datastore(datastore, datacenter);
  await mkdir(at('victim'));
  await createEmpty(at('victim/victim.vmdk'), 2 ** 26);
});
afterAll(async () => {
  await client?.close();
  await hostd?.stop();
});

beforeEach(async () => {
  name = `box${++count}`;
  disk = `${name}/${name}.vmdk`;
  await createFullVm(client, hostd, name);
});

/** What a QEMU could do to the disk while it runs. */
async function tamper(path: string): Promise<void> {
  const cid = /^CID=(.*)$/m.exec(await readFile(at('victim/victim.vmdk'), 'latin1'))![1]!;
  const file = await open(at(path), 'r+');
  const bytes = Buffer.alloc(20 * 512);
  await file.read(bytes, 0, bytes.length, 512);
  const changed = Buffer.alloc(bytes.length);
  const text = bytes
    .toString('latin1')
    .replace(/\0+$/, '')
    .replace(/^parentFileNameHint=.*\n/m, '');
  changed.write(text.replace(/^parentCID=.*$/m, `parentCID=${cid}\nparentFileNameHint="../victim/victim.vmdk"`));
  await file.write(changed, 0, changed.length, 512);
  await file.close();
}

/** The part of a start that concerns the disk. */
async function start(path: string): Promise<string[]> {
  const opened = await OpenDisks.open(
    { disks: [{ bus: 0, unit: 0, path: at(path), readOnly: false }], extraConfig: new Map() },
    datastorePlaces(hostd.paths),
  );
  await opened.close();
  return opened.disks.flatMap(({ parents }) => parents.map((parent) => parent.path));
}

it('is created with the disk, and removed with the machine', async () => {
  expect(existsSync(recordPath(at(disk)))).toBe(true);
  expect(await start(disk)).toEqual([at('images/base.vmdk')]);
  await tamper(disk);
  await expect(start(disk)).rejects.toThrow(/its parent is "..\/victim\/victim.vmdk" and was "..\/images\/base.vmdk"/);
  const vm = await client.call('FindByInventoryPath', client.serviceContent.searchIndex!, {
    inventoryPath: `ha-datacenter/vm/${name}`,
  });
  await client.runTask('Destroy_Task', vm!, {});
  expect(existsSync(at(name))).toBe(false);
});

it('cannot be named or seen by a client', async () => {
  const record = recordPath(disk);
  for (const attempt of [
    () => files.put(record, '{}'),
    () => files.read(record),
    () => files.delete(record),
    () => files.put(`${name}//${name}.vmdk.caisson-disk`, 'x'),
  ])
    await expect(attempt()).rejects.toThrow();
  const { fileManager } = client.serviceContent;
  for (const [from, to] of [
    [named('images/base.vmdk'), named(record)],
    [named(record), named('elsewhere')],
  ] as const)
    for (const operation of ['MoveDatastoreFile_Task', 'CopyDatastoreFile_Task'] as const)
      await expect(
        client.runTask(operation, fileManager!, { sourceName: from, destinationName: to, force: true }),
      ).rejects.toThrow();
  await expect(client.runTask('DeleteDatastoreFile_Task', fileManager!, { name: named(record) })).rejects.toThrow();
  await expect(client.call('MakeDirectory', fileManager!, { name: named('a.vmdk.caisson-disk') })).rejects.toThrow();
  expect(existsSync(recordPath(at(disk)))).toBe(true);
  const browser = { type: 'HostDatastoreBrowser' as const, value: 'ha-datastorebrowser' };
  const { file } = (await client.runTask('SearchDatastore_Task', browser, { datastorePath: named(name) })) as {
    file: { path: string }[];
  };
  expect(file.map(({ path }) => path).sort()).toEqual([`${name}.vmdk`, `${name}.vmx`]);
});

it('is copied and moved with the disk, by every operation', async () => {
  await tamper(disk);
  const { fileManager, virtualDiskManager } = client.serviceContent;
  const copies = [1, 2, 3].map((number) => `${name}/copy${number}.vmdk`);
  await client.runTask('CopyDatastoreFile_Task', fileManager!, {
    sourceName: named(disk),
    destinationName: named(copies[0]!),
  });
  await client.runTask('CopyVirtualDisk_Task', virtualDiskManager!, {
    sourceName: named(disk),
    destName: named(copies[1]!),
  });
  await client.runTask('MoveDatastoreFile_Task', fileManager!, {
    sourceName: named(disk),
    destinationName: named(copies[2]!),
  });
  for (const copy of copies) await expect(start(copy)).rejects.toThrow(/its parent is/);
  expect(readdirSync(at(name)).filter((file) => file.endsWith('.caisson-disk'))).toHaveLength(3);
});

it('applies to an uploaded replacement of the disk, unless that has no parent', async () => {
  await tamper(disk);
  await files.put(disk, await readFile(at(disk)));
  await expect(start(disk)).rejects.toThrow(/its parent is/);
  await createEmpty(at('empty.vmdk'), 2 ** 22);
  await files.put(disk, await readFile(at('empty.vmdk')));
  expect(await start(disk)).toEqual([]);
  // After a deletion, it is a new disk.
  await createChild(at(`${name}/child.vmdk`), at('images/base.vmdk'));
  await files.delete(disk);
  await files.put(disk, await readFile(at(`${name}/child.vmdk`)));
  expect(await start(disk)).toEqual([at('images/base.vmdk')]);
});

it('is created when an existing disk is attached to a machine', async () => {
  await createEmpty(at('attached.vmdk'), 2 ** 22);
  const vm = await client.call('FindByInventoryPath', client.serviceContent.searchIndex!, {
    inventoryPath: `ha-datacenter/vm/${name}`,
  });
  await client.runTask('ReconfigVM_Task', vm!, {
    spec: {
      deviceChange: [
        {
          operation: 'add',
          device: {
            $type: 'VirtualDisk',
            key: -1,
            controllerKey: 1000,
            unitNumber: 1,
            capacityInKB: 0,
            backing: {
              $type: 'VirtualDiskFlatVer2BackingInfo',
              fileName: named('attached.vmdk'),
              diskMode: 'independent_persistent',
            },
          },
        },
      ],
    },
  } as never);
  expect(existsSync(recordPath(at('attached.vmdk')))).toBe(true);
  await tamper('attached.vmdk');
  await expect(start('attached.vmdk')).rejects.toThrow(/its parent is/);
});
