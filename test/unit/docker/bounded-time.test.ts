/** Clients' input cannot occupy the endpoint: a regular expression that backtracks endlessly is interrupted. */
import { expect, it } from 'vitest';
import { withinTime } from '../../../appliance/docker/values/bounded-time.js';

it('passes on the result of the work, or its error', () => {
  expect(withinTime(1000, () => 7)).toEqual({ value: 7 });
  expect(() =>
    withinTime(1000, () => {
      throw new Error('of the work');
    }),
  ).toThrow('of the work');
});

it('interrupts work that takes too long, and still works afterwards', () => {
  expect(withinTime(50, () => /^(a+)+$/.test(`${'a'.repeat(60)}_`))).toBeUndefined();
  expect(withinTime(1000, () => 'again')).toEqual({ value: 'again' });
});

it('does not count time spent waiting for the processor', () => {
  let times = 0;
  const wait = new Int32Array(new SharedArrayBuffer(4));
  const work = (): string => {
    // As if other processes had the processor.
    if (times++ === 0) for (let i = 0; i < 20; i++) Atomics.wait(wait, 0, 0, 10);
    return 'done';
  };
  expect(withinTime(50, work)).toEqual({ value: 'done' });
  expect(times).toBe(2);
});
