import { expect, it } from 'vitest';
import { imageKey, withDependencies } from '../../../tether/image/build.js';

/** A module with dependencies. */
const module = (depends: string): Buffer => Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`, 'latin1');

it('loads modules after their dependencies, which differ by kernel', async () => {
  const kernel = new Map([
    ['virtio', module('')],
    ['net_failover', module('failover')],
    ['failover', module('')],
    ['virtio_net', module('net_failover,dimlib')],
    ['dimlib', module('')],
    ['odd', module('odd,built-in,virtio')],
  ]);
  const names = ['virtio_net', 'virtio_blk', 'odd'];
  const found = await withDependencies(names, async (name) => kernel.get(name) ?? null);
  expect([...found.keys()]).toEqual(['failover', 'net_failover', 'dimlib', 'virtio_net', 'virtio', 'odd']);
});

it('is rebuilt when a constant, a source, its name or the kernel has changed', () => {
  const keys = [
    imageKey('/modules/1', '#define A 1u', ['a.c', 'b.c'], ['a', 'b']),
    imageKey('/modules/2', '#define A 1u', ['a.c', 'b.c'], ['a', 'b']),
    imageKey('/modules/1', '#define A 2u', ['a.c', 'b.c'], ['a', 'b']),
    imageKey('/modules/1', '#define A 1u', ['a.c', 'c.c'], ['a', 'b']),
    imageKey('/modules/1', '#define A 1u', ['a.c', 'b.c'], ['ab', '']),
  ];
  expect(new Set(keys).size).toBe(keys.length);
});
