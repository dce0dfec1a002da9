import { expect, it } from 'vitest';
import { RestartPause } from '../../../src/common/restart-pause.js';

it('there is no pause after a process that ran for a while or ended soon by chance, and growing ones after those that keep ending soon', () => {
  const pause = new RestartPause(100, 500);
  const after = (...runs: number[]): number[] => runs.map((ran) => pause.after(ran));
  expect(after(2000, 60_000)).toEqual([0, 0]);
  expect(after(0, 1999, 0, 1999, 20, 20, 20)).toEqual([0, 0, 100, 200, 400, 500, 500]);
  expect(after(6000, 20, 20, 20, 20)).toEqual([0, 0, 0, 100, 200]);
  expect(new RestartPause(100, 500, 0).after(0)).toBe(100);
});
