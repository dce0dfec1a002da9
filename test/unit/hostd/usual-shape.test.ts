import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readUsualShape, writeUsualShape } from '../../../src/hostd/qemu/usual-shape.js';

const SHAPE = {
  cpus: 2,
  memoryMiB: 2048,
  disks: [{ bus: 0, unit: 0, readOnly: false, capacityBytes: 2 ** 35 }],
  serials: ['unixClient' as const, 'file' as const],
  nics: [0],
};
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-shape-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it('is read back as written', async () => {
  await writeUsualShape(join(directory, 'shape'), SHAPE);
  expect(await readUsualShape(join(directory, 'shape'))).toEqual(SHAPE);
});

it.each(['', '{', 'null', '{"cpus":2}', JSON.stringify({ ...SHAPE, memoryMiB: '2048' })])(
  'is ignored if it is %j',
  async (text) => {
    await writeFile(join(directory, 'shape'), text);
    expect(await readUsualShape(join(directory, 'shape'))).toBeNull();
    expect(await readUsualShape(join(directory, 'missing'))).toBeNull();
  },
);
