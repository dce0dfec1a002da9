import { expect, it } from 'vitest';
import { Rounds } from '../../../src/common/rounds.js';

const INSTANTS = Array.from({ length: 12 }, (_, microtasks) => microtasks);

it.each(INSTANTS)('serves a request made %i microtasks after a round began', async (microtasks) => {
  const wanted = ['first'];
  const done: string[] = [];
  const rounds = new Rounds(async () => {
    done.push(...wanted.splice(0));
    await null;
  });
  const first = rounds.ask();
  for (let passed = 0; passed < microtasks; passed++) await null;
  wanted.push('second');
  await rounds.ask();
  expect(done).toEqual(['first', 'second']);
  await first;
});

it('runs one round at a time, and a single one for all requests made meanwhile', async () => {
  let under = 0;
  let count = 0;
  const rounds = new Rounds(async () => {
    count++;
    expect(++under).toBe(1);
    await new Promise(setImmediate);
    under--;
  });
  await Promise.all([rounds.ask(), rounds.ask(), rounds.ask()]);
  expect(count).toBe(2);
  await rounds.idle();
});

it('carries on after a failed round', async () => {
  let fails = true;
  const rounds = new Rounds(async () => {
    if (fails) throw new Error('no');
  });
  await expect(rounds.ask()).rejects.toThrow('no');
  await rounds.idle();
  fails = false;
  await rounds.ask();
});
