/** `inventory.json`: its contents, and files that earlier versions wrote. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { InventoryFile, type InventoryRecords, UNLIMITED } from '../../../src/hostd/inventory/inventory-file.js';
import { REJECT_ALL } from '../../../src/hostd/switch/security-policy.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'inventory-'));
});
afterAll(() => rm(directory, { recursive: true }));

const root = { id: 'ha-root-pool', name: 'Resources', parent: null, cpu: UNLIMITED, memory: UNLIMITED };
const lax = { ...REJECT_ALL, macChanges: true };

it('starts with a root pool and one port group', async () => {
  const file = new InventoryFile(join(directory, 'none.json'), () => expect.fail('nothing is written'));
  const records = await file.load();
  expect(records).toEqual({
    pools: [root],
    portGroups: new Map([['VM Network', REJECT_ALL]]),
    owners: new Map(),
    vms: [],
  });
  expect(file.nextId()).toBe(1);
});

it('reads what it wrote, and never gives a number twice', async () => {
  const path = join(directory, 'kept.json');
  const records: InventoryRecords = {
    pools: [root, { ...root, id: 'pool-1', name: 'p', parent: root.id }],
    portGroups: new Map([
      ['VM Network', REJECT_ALL],
      ['lax', lax],
    ]),
    owners: new Map([['lax', 'vch-1']]),
    vms: [{ id: 'vm-2', vmx: 'a/a.vmx', pool: 'pool-1' }],
  };
  const file = new InventoryFile(path, () => records);
  await file.load();
  expect([file.nextId(), file.nextId()]).toEqual([1, 2]);
  await file.save();
  const again = new InventoryFile(path, () => records);
  expect(await again.load()).toEqual(records);
  expect(again.nextId()).toBe(3);
});

it('reads a file from before port groups had policies', async () => {
  const path = join(directory, 'older.json');
  const stored = { nextId: 7, pools: [root], portGroups: ['a'], vms: [] };
  await writeFile(path, JSON.stringify(stored));
  const file = new InventoryFile(path, () => ({
    pools: [root],
    portGroups: new Map([['a', lax]]),
    owners: new Map(),
    vms: [],
  }));
  expect((await file.load()).portGroups).toEqual(new Map([['a', REJECT_ALL]]));
  await file.save();
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ ...stored, policies: { a: lax }, owners: {} });
});
