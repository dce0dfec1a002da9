/** hostd read completely by pyVmomi, the way Debian's version reads properties and the way newer ones do. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { createFullVm, FULL_VM_DISK } from '../support/full-vm.js';

interface Walk {
  objects: string[];
  values: number;
  errors: string[];
  machines: { name: string; power: string; disks: number[]; parents: string[]; cards: number[][] }[];
  firstEvent: number;
  searchEntity: string;
  taskEntities: string[];
  task: string;
}

const PROGRAM = new URL('../support/clients/pyvmomi_walk.py', import.meta.url).pathname;
let hostd: FakeHostd;

beforeAll(async () => {
  hostd = await startFakeHostd();
  const client = await VimClient.connect(hostd);
  await createFullVm(client, hostd, 'full');
  await client.close();
});
afterAll(async () => {
  await hostd?.stop();
});

async function walk(way: 'collector' | 'fetch'): Promise<Walk> {
  const { hostname, port } = new URL(hostd.url);
  // Debian's own Python, which has the packages.
  const args = [PROGRAM, hostname, port, hostd.user, hostd.password, way];
  const { stdout } = await promisify(execFile)('/usr/bin/python3', args, { maxBuffer: 16 * 1024 * 1024 });
  return JSON.parse(stdout) as Walk;
}

it.each(['collector', 'fetch'] as const)('reads every property of every object by %s', async (way) => {
  const told = await walk(way);
  expect(told.errors).toEqual([]);
  expect(told.objects).toContain('ha-host');
  expect(told.objects).toContain('ha-property-collector');
  expect(told.values).toBeGreaterThan(1000);
  expect(told.machines).toEqual([
    {
      name: 'full',
      power: 'poweredOn',
      disks: [FULL_VM_DISK / 1024],
      parents: ['[datastore1] images/base.vmdk'],
      cards: [
        [100, 7],
        [100, 8],
      ],
    },
  ]);
  expect(told).toMatchObject({ firstEvent: 1, task: 'success', searchEntity: 'vim.Datastore' });
});
