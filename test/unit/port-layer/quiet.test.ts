/** When a look through files is given up. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Quiet } from '../../../port-layer/files/quiet.js';
import { SIZE } from '../../../port-layer/interaction/patience.js';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }));
afterEach(() => void vi.useRealTimers());

it('the time that it waits for its turn does not count, what is silent after that is given up', async () => {
  let heard = Number.POSITIVE_INFINITY;
  const quiet = new Quiet('the size', SIZE, () => heard);
  vi.advanceTimersByTime(300_000);
  expect(quiet.signal.aborted).toBe(false);
  heard = performance.now();
  vi.advanceTimersByTime(2500);
  expect(quiet.signal.aborted).toBe(false);
  vi.advanceTimersByTime(1000);
  expect(quiet.signal.reason).toMatchObject({ kind: 'timeout', message: 'the size was given up after 3 s' });
  quiet.close();
});

it('one that answers has longer, but brings something', async () => {
  const quiet = new Quiet('the size', SIZE, () => performance.now());
  vi.advanceTimersByTime(9500);
  expect(quiet.signal.aborted).toBe(false);
  vi.advanceTimersByTime(1000);
  expect(quiet.signal.aborted).toBe(true);
  quiet.close();
});
