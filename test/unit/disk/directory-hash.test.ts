import { describe, expect, test } from 'vitest';
import { crc16 } from '../../../src/disk/ext4/crc16.js';
import { directoryHash } from '../../../src/disk/ext4/directory-hash.js';
import { program } from './support.js';

describe('directory hash', () => {
  const seed = Buffer.from('0123456789abcdeffedcba9876543210', 'hex');
  const uuid = '01234567-89ab-cdef-fedc-ba9876543210';
  test.each([
    'a',
    'abc',
    'abcd',
    'hello.txt',
    'x'.repeat(31),
    'x'.repeat(32),
    'x'.repeat(33),
    'some quite ordinary file name of sixty-four characters, or more',
    'n'.repeat(255),
    'ümläut',
    '日本語',
  ])('of %j is what debugfs computes', async (name) => {
    const { output } = await program('debugfs', '-R', `dx_hash -h 4 -s ${uuid} "${name}"`);
    const match = /is 0x([0-9a-f]+) \(minor 0x([0-9a-f]+)\)/.exec(output);
    const { hash, minor } = directoryHash(Buffer.from(name).toString('latin1'), seed);
    expect(`${hash.toString(16)} ${minor.toString(16)}`).toBe(`${match?.[1]} ${match?.[2]}`);
  });

  test('crc16 has its check value', () => {
    expect(crc16(0, Buffer.from('123456789'))).toBe(0xbb3d);
  });
});
