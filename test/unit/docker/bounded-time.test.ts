/** What a client gives cannot keep the endpoint: a regular expression that backtracks without end is broken off. */
import { expect, it } from 'vitest';
import { withinTime } from '../../../appliance/docker/bounded-time.js';

it('gives what the work gives, and its error', () => {
  expect(withinTime(1000, () => 7)).toEqual({ value: 7 });
  expect(() =>
    withinTime(1000, () => {
      throw new Error('of the work');
    }),
  ).toThrow('of the work');
});

it('breaks off what takes too long, and works again afterwards', () => {
  const started = Date.now();
  expect(withinTime(50, () => /^(a+)+$/.test(`${'a'.repeat(60)}_`))).toBeUndefined();
  expect(Date.now() - started).toBeLessThan(5000);
  expect(withinTime(1000, () => 'again')).toEqual({ value: 'again' });
});
