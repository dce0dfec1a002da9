/** What the warm pool keeps, and when it gives it up; `test/vm/warm-pool.test.ts` tests the spare VMs themselves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { SPARE_RESERVE_MIB } from '../../../src/hostd/admission.js';
import type { BootSnapshot } from '../../../src/hostd/qemu/boot-snapshots.js';
import type { VmShape } from '../../../src/hostd/qemu/snapshot-builder.js';
import { type Spare, WarmPool } from '../../../src/hostd/qemu/warm-pool.js';
import { warmPoolSize } from '../../../src/hostd/warm-pool-size.js';

const shape = (memoryMiB: number): VmShape => ({ cpus: 1, memoryMiB, disks: [], serials: [], nics: [] });

class FakeHost {
  readonly made: (Spare & { gone(): void; disposed: boolean })[] = [];
  attempts = 0;
  isBusy = false;
  free = 100_000;
  fails = false;
  snapshots = new Set(['small', 'large']);

  snapshot = async (key: string): Promise<BootSnapshot | null> =>
    this.snapshots.has(key) ? { key, files: { again: () => Promise.reject(new Error('not read')) } } : null;
  make = async (_: VmShape, { key }: BootSnapshot, gone: (spare: Spare) => void): Promise<Spare> => {
    this.attempts++;
    if (this.fails) throw new Error('it does not work');
    const spare = {
      key,
      disposed: false,
      gone: () => gone(spare),
      dispose: async () => {
        spare.disposed = true;
      },
    };
    this.made.push(spare);
    return spare;
  };
  busy = (): boolean => this.isBusy;
  freeMiB = (): number => this.free;
  get alive(): string[] {
    return this.made.filter(({ disposed }) => !disposed).map(({ key }) => key);
  }
}

let pool: WarmPool<Spare>;
afterEach(() => pool?.close());

function poolOf(size: number): FakeHost {
  const host = new FakeHost();
  pool = new WarmPool(size, host, 20);
  return host;
}

describe('the warm pool', () => {
  it('is filled with VMs of the shape powered on most often lately', async () => {
    const host = poolOf(2);
    expect(pool.note('small', shape(64))).toBe(true);
    expect(pool.note('small', shape(64))).toBe(false);
    expect(pool.note('large', shape(4096))).toBe(false);
    pool.fill();
    await expect.poll(() => pool.waiting).toBe(2);
    expect(host.alive).toEqual(['small', 'small']);
    expect(pool.take('large')).toBeNull();
    expect(pool.take('small')?.key).toBe('small');
    for (let i = 0; i < 8; i++) pool.note('large', shape(4096));
    pool.fill();
    await expect.poll(() => host.alive.filter((key) => key === 'large')).toHaveLength(2);
    // The VM that was taken no longer belongs to the pool.
    expect(host.alive).toEqual(['small', 'large', 'large']);
  });

  it('waits while VMs are started', async () => {
    const host = poolOf(1);
    host.isBusy = true;
    pool.note('small', shape(64));
    pool.fill();
    await sleep(150);
    expect(host.attempts).toBe(0);
    host.isBusy = false;
    await expect.poll(() => pool.waiting).toBe(1);
  });

  it('is given up when memory runs short, and refilled when there is enough', async () => {
    const host = poolOf(2);
    pool.note('small', shape(64));
    pool.fill();
    await expect.poll(() => pool.waiting).toBe(2);
    host.free = SPARE_RESERVE_MIB - 1;
    await expect.poll(() => host.alive).toEqual([]);
    // Enough for waiting VMs, but not to make more.
    host.free = SPARE_RESERVE_MIB + 1;
    await sleep(150);
    expect(pool.waiting).toBe(0);
    host.free = 100_000;
    await expect.poll(() => pool.waiting).toBe(2);
  });

  it('is given up for a VM that needs the room', async () => {
    const host = poolOf(1);
    pool.note('small', shape(64));
    pool.fill();
    await expect.poll(() => pool.waiting).toBe(1);
    expect(await pool.giveUp()).toBe(true);
    expect(host.alive).toEqual([]);
    expect(await pool.giveUp()).toBe(false);
  });

  it('replaces a VM that ended by itself', async () => {
    const host = poolOf(1);
    pool.note('small', shape(64));
    pool.fill();
    await expect.poll(() => pool.waiting).toBe(1);
    host.made[0]!.gone();
    expect(pool.take('small')).toBeNull();
    await expect.poll(() => host.made.length).toBe(2);
  });

  it('is not retried forever where it does not work', async () => {
    const host = poolOf(2);
    host.fails = true;
    pool.note('small', shape(64));
    pool.fill();
    await expect.poll(() => host.attempts).toBe(3);
    await sleep(150);
    expect(host.attempts).toBe(3);
  });

  it('makes nothing with size 0 or without a snapshot', async () => {
    const none = poolOf(0);
    // The next hostd's pool may have a size.
    expect(pool.note('small', shape(64))).toBe(true);
    pool.fill();
    await pool.close();
    const host = poolOf(2);
    host.snapshots.clear();
    pool.note('small', shape(64));
    pool.fill();
    await sleep(150);
    expect([none.attempts, host.attempts]).toEqual([0, 0]);
  });

  it('leaves nothing behind when it is closed', async () => {
    const host = poolOf(2);
    pool.note('small', shape(64));
    pool.fill();
    await expect.poll(() => pool.waiting).toBeGreaterThan(0);
    await pool.close();
    expect(host.alive).toEqual([]);
    pool.fill();
    await sleep(100);
    expect(host.alive).toEqual([]);
  });
});

it.each(['-1', '1.5', 'two', '', '65'])('--warm-pool %j is refused', (text) => {
  expect(() => warmPoolSize(text)).toThrow(`--warm-pool '${text}' is not a number from 0 to 64`);
});
