import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type Spare, Spares } from '../../../src/common/spares.js';

class FakeSpare implements Spare {
  ended = false;
  private readonly listeners: (() => void)[] = [];

  constructor(
    readonly number: number,
    readonly key: string,
  ) {}

  onEnd(listener: () => void): void {
    this.listeners.push(listener);
  }

  dies(): void {
    this.ended = true;
    for (const listener of this.listeners) listener();
  }

  async end(): Promise<void> {
    this.dies();
  }
}

let started: FakeSpare[];
let failures: string[];
let fails: boolean;
let gate: Promise<void>;
let spares: Spares<FakeSpare>;

beforeEach(() => {
  vi.useFakeTimers();
  [started, failures, fails, gate] = [[], [], false, Promise.resolve()];
  spares = new Spares<FakeSpare>(
    async () => {
      await gate;
      if (fails) throw new Error('no memory');
      const spare = new FakeSpare(started.length + 1, 'same');
      started.push(spare);
      return spare;
    },
    (why) => failures.push(why),
  );
});
afterEach(() => {
  vi.useRealTimers();
});

const present = (): number | undefined => spares.present?.number;
const later = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

it('one is kept, however often it is asked for, and given away once', async () => {
  for (let times = 0; times < 3; times++) spares.provide();
  await later(0);
  spares.provide();
  await later(10_000);
  expect(started).toHaveLength(1);
  expect((await spares.take('same'))?.number).toBe(1);
  expect(await spares.take('same')).toBeNull();
  // Only whoever took it knows when there is time for another one.
  await later(100_000);
  expect(started).toHaveLength(1);
  spares.provide();
  await later(0);
  expect(present()).toBe(2);
});

it('one that has been given away is nobody’s spare: its end changes nothing', async () => {
  spares.provide();
  await later(0);
  (await spares.take('same'))!.dies();
  await later(100_000);
  expect([started.length, failures]).toEqual([1, []]);
});

it('one that was started otherwise has ended when nothing is given', async () => {
  spares.provide();
  await later(0);
  expect(await spares.take('another build')).toBeNull();
  expect(started[0]?.ended).toBe(true);
  expect(failures).toEqual([]);
});

it('one that dies while it waits is replaced, with growing pauses', async () => {
  spares.provide();
  await later(0);
  const at: number[] = [];
  for (let deaths = 0; deaths < 4; deaths++) {
    const { length } = started;
    const since = performance.now();
    started.at(-1)!.dies();
    expect(present()).toBeUndefined();
    while (started.length === length) await later(100);
    at.push(performance.now() - since);
  }
  expect(at.map((ms) => Math.round(ms / 1000))).toEqual([1, 2, 4, 8]);
  expect(failures).toEqual(['it has ended', 'it has ended', 'it has ended', 'it has ended']);
});

it('one that cannot be started is tried again', async () => {
  fails = true;
  spares.provide();
  await later(500);
  expect(failures).toEqual(['no memory']);
  fails = false;
  await later(1000);
  expect(present()).toBe(1);
});

it('one that is just being started is waited for', async () => {
  let open = (): void => undefined;
  gate = new Promise((resolve) => {
    open = resolve;
  });
  spares.provide();
  await later(0);
  const taken = spares.take('same');
  open();
  expect((await taken)?.number).toBe(1);
});

it('none is left, and none comes, when nobody wants any more', async () => {
  let open = (): void => undefined;
  spares.provide();
  await later(0);
  await spares.close();
  expect(started[0]?.ended).toBe(true);
  spares.provide();
  await later(100_000);
  expect(started).toHaveLength(1);

  // Also one that was being started then.
  const late = new Spares<FakeSpare>(
    () =>
      new Promise((resolve) => {
        open = () => resolve(started[started.push(new FakeSpare(2, 'same')) - 1]!);
      }),
    (why) => failures.push(why),
  );
  late.provide();
  await later(0);
  const closed = late.close();
  open();
  await closed;
  expect([started[1]?.ended, late.present]).toEqual([true, null]);
  await later(100_000);
  expect([started.length, failures]).toEqual([2, []]);
});
