import { describe, expect, it } from 'vitest';
import { Watchdog } from '../../../src/common/watchdog.js';

const EVERY_MS = 2000;
const HANG_MS = 30_000;

/** Watches a process that behaves like this. @returns after how many seconds it was given up, and why */
function watch(
  seconds: number,
  at: (ms: number) => { beat?: number | null; state?: string; usedMs?: number },
  lookedAt = (ms: number): number => ms,
): [number, string] | null {
  const watchdog = new Watchdog(0, EVERY_MS, HANG_MS);
  for (let ms = 0; ms <= seconds * 1000; ms += EVERY_MS) {
    const { beat = 1, state = 'S', usedMs = 0 } = at(ms);
    const why = watchdog.look(lookedAt(ms), { beat, state, ticks: usedMs / 10 });
    if (why !== null) return [ms / 1000, why];
  }
  return null;
}

describe('a process is left alone', () => {
  it('while its event loop beats', () =>
    expect(watch(10_000, (ms) => ({ beat: 1 + ms, state: 'R', usedMs: ms }))).toBeNull());

  it('when it beats now and then', () =>
    expect(watch(10_000, (ms) => ({ beat: 1 + Math.floor(ms / 28_000) }))).toBeNull());

  it('for minutes, when it waits for a processor or a disk', () => {
    expect(watch(290, (ms) => ({ state: 'R', usedMs: ms / 20 }))).toBeNull();
    expect(watch(290, () => ({ state: 'D' }))).toBeNull();
  });

  it('when the watchdog itself was delayed, or the machine was suspended', () =>
    expect(
      watch(
        18,
        () => ({}),
        (ms) => (ms > 8000 ? ms + 3_600_000 : ms),
      ),
    ).toBeNull());

  it('while it is loading', () => expect(watch(590, (ms) => ({ beat: -1, usedMs: ms }))).toBeNull());

  it('when it has no heartbeat at all', () => expect(watch(10_000, () => ({ beat: null }))).toBeNull());
});

describe('a process is ended', () => {
  it('when it is stopped', () =>
    expect(watch(60, () => ({ state: 'T' }))).toEqual([32, expect.stringContaining('stopped')]));

  it('when it waits, but not in its event loop', () =>
    expect(watch(60, () => ({}))).toEqual([32, expect.stringContaining('done nothing')]));

  it('when it is in an endless loop', () =>
    expect(watch(60, (ms) => ({ state: 'R', usedMs: ms }))).toEqual([32, expect.stringContaining('circle')]));

  it('when it is in an endless loop on a busy machine, a little later', () =>
    expect(watch(600, (ms) => ({ state: 'R', usedMs: ms / 5 }))).toEqual([122, expect.stringContaining('circle')]));

  it('when it made no progress for ten times as long, whatever the machine does', () =>
    expect(watch(1000, () => ({ state: 'D' }))).toEqual([302, expect.stringContaining('anywhere')]));

  it('when it never comes up', () =>
    expect(watch(1000, () => ({ beat: -1 }))).toEqual([602, expect.stringContaining('up')]));
});
