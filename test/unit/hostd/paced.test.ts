/** Pacing of work that a guest can trigger over and over. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Paced } from '../../../src/hostd/vm/paced.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('runs at once while calls are rare, and twice a second while there are many; the last call is never lost', () => {
  let value = 0;
  const seen: number[] = [];
  const paced = new Paced(() => seen.push(value));
  for (; value < 5; value++) paced.ask();
  expect(seen).toEqual([0, 1, 2, 3, 4]);
  // 100 a second, for ten seconds.
  for (; value < 1005; value++) {
    paced.ask();
    vi.advanceTimersByTime(10);
  }
  expect(seen.length).toBeLessThan(5 + 10 + 20 + 2);
  vi.advanceTimersByTime(500);
  expect(seen.at(-1)).toBe(1004);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  const told = seen.length;
  vi.advanceTimersByTime(60_000);
  expect(seen).toHaveLength(told);
});

it('runs at once on flush', () => {
  let acted = 0;
  const paced = new Paced(() => acted++);
  for (let i = 0; i < 30; i++) paced.ask();
  expect(acted).toBe(10);
  paced.flush();
  expect(acted).toBe(11);
  paced.flush();
  vi.advanceTimersByTime(1000);
  expect(acted).toBe(11);
});
