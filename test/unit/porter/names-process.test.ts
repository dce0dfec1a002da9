/** The server of names and its spare, with small programs in place of the server. */
import { afterEach, expect, it, vi } from 'vitest';
import { NamesProcess } from '../../../src/porter/names-process.js';

/** Says that it is ready when it is told to serve. */
const SERVER = `process.on('message', ({ kind, request }) => process.send(kind === 'serve' ? { kind: 'ready' } : { kind: 'done', request }));`;
const CHANGE = { whole: true, networks: [], servers: [], containers: [], gone: [], reported: [] };

let names: NamesProcess;
afterEach(() => names.stop());

const start = (script: string, ready: () => void): void => {
  names = new NamesProcess(
    [process.execPath, '-e', script],
    { ready, report: () => undefined, refused: () => undefined },
    null,
    {
      restart: 10,
      spare: 0,
    },
  );
  names.start();
};
/** Process ids of the server and its spare; null: there is none. */
const ids = (): (number | null)[] => {
  const { child, spare } = names as unknown as Record<'child' | 'spare', { pid: number } | null>;
  return [child?.pid ?? null, spare?.pid ?? null];
};
const bothThere = (): Promise<void> => vi.waitFor(() => expect(ids()).not.toContain(null), 20_000);

it('keeps a spare that takes over when the server ends', async () => {
  const ready = vi.fn();
  start(SERVER, ready);
  await bothThere();
  const [server, spare] = ids();
  process.kill(server!, 'SIGKILL');
  await vi.waitFor(() => expect(ready).toHaveBeenCalledTimes(2), 20_000);
  expect(ids()[0]).toBe(spare);
  await names.change(CHANGE);
  await bothThere();
  expect(ids()[1]).not.toBe(spare);
});

it('replaces a spare that ends, while the server goes on', async () => {
  const ready = vi.fn();
  start(SERVER, ready);
  await bothThere();
  const [server, spare] = ids();
  process.kill(spare!, 'SIGKILL');
  await vi.waitFor(() => expect([null, spare]).not.toContain(ids()[1]), 20_000);
  expect([ids()[0], ready.mock.calls.length]).toEqual([server, 1]);
});

it('tries again, later and later, where the server cannot run', async () => {
  start('process.exit(1)', () => undefined);
  const tried = vi.spyOn(names, 'start');
  await vi.waitFor(() => expect(tried.mock.calls.length).toBeGreaterThan(2), 20_000);
  await expect(names.change(CHANGE)).rejects.toThrow('the names server is not ready');
});
