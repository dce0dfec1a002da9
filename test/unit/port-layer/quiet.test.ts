/** When a scan of files is given up. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Quiet } from '../../../port-layer/files/quiet.js';
import { SIZE } from '../../../port-layer/interaction/patience.js';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }));
afterEach(() => void vi.useRealTimers());

it('time spent queueing does not count, and a silent guest is given up after that', async () => {
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

it('a guest that answers has longer, but not forever', async () => {
  const quiet = new Quiet('the size', SIZE, () => performance.now());
  vi.advanceTimersByTime(9500);
  expect(quiet.signal.aborted).toBe(false);
  vi.advanceTimersByTime(1000);
  expect(quiet.signal.aborted).toBe(true);
  quiet.close();
});
