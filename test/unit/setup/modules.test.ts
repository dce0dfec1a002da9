import { expect, it } from 'vitest';
import { withDependencies } from '../../../tether/image/build.js';

/** A module that needs others. */
const module = (depends: string): Buffer => Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`, 'latin1');

it('loads modules after those they need, which differ by kernel', async () => {
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
