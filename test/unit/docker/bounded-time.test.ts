/** Clients' input cannot occupy the endpoint: a regular expression that backtracks without end is interrupted. */
import { expect, it } from 'vitest';
import { withinTime } from '../../../appliance/docker/values/bounded-time.js';

it('gives what the work gives, and its error', () => {
  expect(withinTime(1000, () => 7)).toEqual({ value: 7 });
  expect(() =>
    withinTime(1000, () => {
      throw new Error('of the work');
    }),
  ).toThrow('of the work');
});

it('breaks off what takes too long, and works again afterwards', () => {
  expect(withinTime(50, () => /^(a+)+$/.test(`${'a'.repeat(60)}_`))).toBeUndefined();
  expect(withinTime(1000, () => 'again')).toEqual({ value: 'again' });
});

it('does not count the time that the machine kept it waiting', () => {
  let times = 0;
  const wait = new Int32Array(new SharedArrayBuffer(4));
  const work = (): string => {
    // As if others had the processor.
    if (times++ === 0) for (let i = 0; i < 20; i++) Atomics.wait(wait, 0, 0, 10);
    return 'done';
  };
  expect(withinTime(50, work)).toEqual({ value: 'done' });
  expect(times).toBe(2);
});
