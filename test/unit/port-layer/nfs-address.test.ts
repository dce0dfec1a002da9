import { expect, it } from 'vitest';
import type { VolumeMount } from '../../../port-layer/index.js';
import { addressed, nfsHost, withAddress } from '../../../port-layer/storage/nfs-address.js';

it.each([
  [':/p', 'addr=10.0.0.1,rw', '10.0.0.1'],
  ['other:/p', 'soft,addr=nas', 'nas'],
  ['nas:/p', '', 'nas'],
  ['[fd00::1]:/p', '', 'fd00::1'],
  [':/p', 'addr=[fd00::1]', 'fd00::1'],
  [':/p', 'clientaddr=1.2.3.4', ''],
  ['/p', '', ''],
])('of %s and %s the server is %s', (device, data, host) => {
  expect(nfsHost({ device, data })).toBe(host);
});

it('takes the place of the name', () => {
  expect(withAddress('soft,addr=nas,vers=4', '10.0.0.1')).toBe('addr=10.0.0.1,soft,vers=4');
  expect(withAddress('', '10.0.0.1')).toBe('addr=10.0.0.1');
});

const nfs = (device: string, data: string): VolumeMount => ({
  volume: 'v',
  path: '/v',
  readOnly: false,
  mount: { type: 'nfs', device, flags: 0, data },
});

it('is looked up for names alone, and said when there is none', async () => {
  const asked: string[] = [];
  const find = async (host: string): Promise<{ address: string }> => {
    asked.push(host);
    if (host === 'nosuch') throw Object.assign(new Error(), { code: 'ENOTFOUND' });
    return { address: '10.9.9.9' };
  };
  const disk = { volume: 'd', path: '/d', readOnly: false };
  const found = await addressed([disk, nfs('nas:/p', 'soft'), nfs(':/p', 'addr=10.0.0.1')], find);
  expect(found.map(({ mount }) => mount?.data)).toEqual([undefined, 'addr=10.9.9.9,soft', 'addr=10.0.0.1']);
  expect(asked).toEqual(['nas']);
  await expect(addressed([nfs('nosuch:/p', '')], find)).rejects.toThrow(
    "volume 'v' cannot be found: lookup nosuch: no such host",
  );
});
