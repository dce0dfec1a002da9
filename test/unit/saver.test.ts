import { describe, expect, it } from 'vitest';
import { Saver } from '../../src/common/saver.js';

describe('a saver', () => {
  it('combines waiting writes into one, and continues after a failed one', async () => {
    const written: number[] = [];
    let state = 0;
    let full = false;
    const saver = new Saver(async () => {
      await Promise.resolve();
      if (full) throw new Error('no space');
      written.push(state);
    });
    const saves: Promise<void>[] = [];
    for (state = 1; state < 5; state++) saves.push(saver.save());
    await Promise.all(saves);
    expect(written).toEqual([5]);

    full = true;
    await expect(saver.save()).rejects.toThrow('no space');
    await saver.idle();
    full = false;
    state = 6;
    await saver.save();
    expect(written).toEqual([5, 6]);
  });

  it('writes again what changes during a write', async () => {
    const written: number[] = [];
    let state = 1;
    let release = (): void => {};
    const saver = new Saver(async () => {
      const seen = state;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      written.push(seen);
    });
    const first = saver.save();
    await Promise.resolve();
    state = 2;
    const second = saver.save();
    release();
    await first;
    await Promise.resolve();
    release();
    await second;
    expect(written).toEqual([1, 2]);
  });
});
