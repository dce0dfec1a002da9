import { expect, test } from 'vitest';
import { BitSet } from '../../../src/disk/ext4/bit-set.js';

test('holds numbers of any size, independently of each other', () => {
  const set = new BitSet();
  // Block numbers of a 16 TiB disk do not fit in a signed 32-bit integer.
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
