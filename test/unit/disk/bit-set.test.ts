import { expect, test } from 'vitest';
import { BitSet } from '../../../src/disk/ext4/bit-set.js';

test('holds numbers of any size, each by itself', () => {
  const set = new BitSet();
  // Blocks of a disk of 16 TiB do not fit 32 bits with a sign.
  const numbers = [0, 1, 7, 8, 32_767, 32_768, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32 + 5];
  for (const number of numbers) {
    expect(set.has(number)).toBe(false);
    set.add(number);
    expect(set.has(number)).toBe(true);
    expect(set.has(number + 2)).toBe(false);
  }
  set.delete(2 ** 31);
  set.delete(99);
  expect(numbers.filter((number) => !set.has(number))).toEqual([2 ** 31]);
});
